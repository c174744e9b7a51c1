r"""The ratio of batch means that estimates the coefficient: its bias and its mean square error.

The ratio ``gamma_hat = mean a / mean b`` over ``B`` states, ``b = |u|^2``, has with the moments
``c_jk = E[A^j Y^k]`` of ``A = (a - gamma b)/E b`` and ``Y = b/E b - 1``

    bias = -c_11 / B + (c_12 - 3 c_11 c_02) / B^2 + O(B^-3),
    E(gamma_hat - gamma)^2 = c_20 / B + (3 c_20 c_02 + 6 c_11^2 - 2 c_21) / B^2 + O(B^-3),

where probes add ``p_k = (sigma^2/alpha)^2 E[Y^k Var of a probe] / (m E[b]^2)`` to ``c_2k``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from analytic import GaussianMixture
from analytic.quadrature import expect
from steinlab.claims.instruments.random_steps import level_of, stacked
from steinlab.coefficient.divergence import Exact, Hutchinson
from steinlab.coefficient.formulas import stein_numerator
from steinlab.coefficient.step_terms import Problem, take_step
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import SOLVERS
from steinlab.verification.cases import SingleCase
from steinlab.verification.quantities import Table
from steinlab.verification.significance import Mean


@dataclass(frozen=True)
class Batch(SingleCase):
    """Replicated batches of one first-order step on a two-mode law in one dimension.

    Gaussian probes, ``probes`` per state; 0 stands for the exact divergence.
    """

    process: str
    ratio: float
    step: float
    states: int
    probes: int
    seed: int

    def problem(self) -> Problem:
        """Return the step, a stack of one."""
        process = PROCESSES[self.process]
        ratios = (self.ratio, self.ratio * np.exp(-self.step))
        s, t = (stacked(process.level_at(ratio)) for ratio in ratios)
        return Problem(LAW, s, t, SOLVERS["euler"], None)


LAW = GaussianMixture(np.array([[0.3, 0.7]]), np.array([[-1.0, 1.5]]), np.array([[0.16, 0.49]]))
DRAWS = 2**18
"""States drawn per case; batches divide them."""


class Ratios(NamedTuple):
    """Measured bias and variance of ``gamma_hat``: means over batches."""

    batch: Batch
    bias: Mean
    variance: Mean


class Moments(NamedTuple):
    """``gamma``, ``E b``, ``c_jk`` and ``m p_k`` of one step."""

    gamma: float
    power: float
    c11: float
    c12: float
    c02: float
    c20: float
    c21: float
    p0: float
    p1: float


@lru_cache(maxsize=64)
def moments(batch: Batch) -> Moments:
    """Integrate the moments that the ratio's bias and variance are made of."""
    p = batch.problem()
    law = p.law.take(0)
    s, t = level_of(p.s), level_of(p.t)
    gain = s.sigma**2 / s.alpha

    def parts(x: np.ndarray) -> tuple[np.ndarray, ...]:
        step = take_step(Problem(law, s, t, p.solver, None), x, None)
        u = step.candidate.residual
        div = np.asarray(Exact()(step, np.random.default_rng(0)))
        linear = step.candidate.linear
        assert linear is not None
        probed = div - linear.one_minus_kappa
        return stein_numerator(x, u, div, s), u[:, 0] ** 2, 2 * (gain * probed) ** 2

    def means(x: np.ndarray) -> np.ndarray:
        return np.stack(parts(x)[:2], axis=-1)

    a, b = expect(means, law, s).value[0]
    gamma = a / b

    def products(x: np.ndarray) -> np.ndarray:
        top, low, probe = parts(x)
        big, small, own = (top - gamma * low) / b, low / b - 1, probe / b**2
        first = (big * small, big * small**2, small**2, big**2, big**2 * small)
        return np.stack((*first, own, own * small), axis=-1)

    return Moments(gamma, b, *expect(products, law, s).value[0])


def ratio_bias(batch: Batch) -> tuple[float, float]:
    """``-c_11/B`` and ``(c_12 - 3 c_11 c_02)/B^2``; unbiased probes add nothing."""
    m, n = moments(batch), batch.states
    return -m.c11 / n, (m.c12 - 3 * m.c11 * m.c02) / n**2


def ratio_variance(batch: Batch) -> tuple[float, float]:
    """``c_20/B`` and ``(3 c_20 c_02 + 6 c_11^2 - 2 c_21)/B^2`` with the probes' share."""
    m, n = moments(batch), batch.states
    share = 1 / batch.probes if batch.probes else 0.0
    c20, c21 = m.c20 + share * m.p0, m.c21 + share * m.p1
    return c20 / n, (3 * c20 * m.c02 + 6 * m.c11**2 - 2 * c21) / n**2


@lru_cache(maxsize=64)
def measure_ratio(batch: Batch) -> Ratios:
    """Draw batches and average what their ratios miss.

    The linear part ``mean(a - gamma b)/E b`` has mean zero; subtracting it leaves the bias without
    most of its noise.
    """
    m, p = moments(batch), batch.problem()
    rng = np.random.default_rng(batch.seed)
    x_star = p.law.sample(DRAWS, rng)
    x = p.s.noised(x_star, rng.standard_normal(x_star.shape))
    step = take_step(p, x, None)
    divergence = Hutchinson(batch.probes, "gaussian") if batch.probes else Exact()
    div = np.asarray(divergence(step, rng))
    a = np.asarray(stein_numerator(x, step.candidate.residual, div, p.s))[0]
    b = step.candidate.residual[0, :, 0] ** 2
    rows = (DRAWS // batch.states, batch.states)
    top, low = (v[: rows[0] * rows[1]].reshape(rows).mean(axis=1) for v in (a, b))
    ratio = top / low
    left = ratio - m.gamma - (top - m.gamma * low) / m.power
    return Ratios(batch, Mean.of(left), Mean.of((ratio - m.gamma) ** 2))


def ratio_table(data: Sequence[Ratios]) -> Table:
    """Return measured bias and root mean square error beside their theory."""
    rows = []
    for one in data:
        m, b = moments(one.batch), one.batch
        rows.append(
            [
                b.process,
                f"{b.ratio:g}",
                b.states,
                b.probes or "exact",
                f"{m.gamma:.4g}",
                f"{one.bias.value:.3g} +- {one.bias.error:.1g}",
                f"{sum(ratio_bias(b)):.3g}",
                f"{np.sqrt(one.variance.value):.3g}",
                f"{np.sqrt(sum(ratio_variance(b))):.3g}",
            ]
        )
    columns = [
        "process", "sigma/alpha", "B", "probes", "gamma*", "bias", "theory", "root m.s.", "theory",
    ]  # fmt: skip
    return Table("gamma_hat over batches of B states, Gaussian probes", columns, rows)
