"""Steps that lack one condition of the coefficient's derivation, and steps with any slope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.exact import exact_flow
from analytic.memory import remembering
from analytic.quadrature import REACH, expect
from steinlab.claims.instruments.linear_forms import Measured
from steinlab.claims.instruments.random_steps import StepCases, draw_law, draw_levels
from steinlab.claims.instruments.step_checks import CLAIMED_SOLVERS, past_states
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.coefficient.step_terms import Integrated, Problem, quadrature_terms
from steinlab.diffusion.processes import VP_LINEAR
from steinlab.solvers import SOLVERS, first_order
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Effort


@dataclass(frozen=True, eq=False)
class Steep:
    """A stack of one-dimensional laws whose denoisers rise by ``2 A`` over a width ``w`` at 0.

    Only at the noise level ``sigma`` where the step begins. ``w = 0`` is a jump. The attributes of
    the law are passed on, so that quadrature under it works unchanged.
    """

    law: GaussianMixture
    sigma: np.ndarray
    height: np.ndarray
    width: np.ndarray

    def __getattr__(self, name: str) -> Any:
        return getattr(self.law, name)

    def take(self, index: Any) -> Steep:
        """Return the cases ``index``."""
        parts = (v[index] for v in (self.sigma, self.height, self.width))
        return Steep(remembering(self.law.take(index)), *parts)

    def _rise(self, x: Any, level: NoiseLevel) -> tuple[Any, Any]:
        """``A tanh(x/w)`` and its derivative at the beginning's level, zero elsewhere."""
        here = np.where(np.asarray(level.sigma) == self.sigma, self.height, 0.0)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            z = np.clip(x / self.width, -300.0, 300.0)
            slope = np.where(self.width > 0, here / (self.width * np.cosh(z) ** 2), 0.0)
        return here * np.where(self.width > 0, np.tanh(z), np.sign(x)), slope

    def __call__(self, x: Any, level: NoiseLevel) -> Any:
        """Denoise."""
        return self.law(x, level) + self._rise(x, level)[0]

    def divergence(self, x: Any, level: NoiseLevel) -> Any:
        """Return ``D'``."""
        return self.law.divergence(x, level) + self._rise(x, level)[1][..., 0]

    def jvp(self, x: Any, level: NoiseLevel, tangent: Any) -> Any:
        """Return ``D' v``."""
        return self.law.jvp(x, level, tangent) + self._rise(x, level)[1] * tangent

    def moments(self, x: Any, level: NoiseLevel) -> tuple[Any, Any, Any]:
        """Return ``D``, ``D'`` and a variance whose root bounds the rounding's scale."""
        denoised, slope, variance = self.law.moments(x, level)
        rise, steep = self._rise(x, level)
        height = np.asarray(self.height)[..., 0]
        return denoised + rise, slope + steep[..., 0], variance + height**2


class SteepCases(StepCases):
    """Steps with a steep denoiser; heights and widths are drawn from the cases' seeds."""

    def steep(self, *, jump: bool) -> Problem:
        """Return the problem with its denoiser made steep."""
        p = self.problem
        sigma = p.s.sigma
        draws = [np.random.default_rng([seed, 5]).random(2) for seed in self.seeds]
        height, share = (np.array(v)[:, None, None] for v in zip(*draws, strict=True))
        widest = sigma * 1e-6**share
        height = 0.2 + height
        law: Any = Steep(p.law, sigma, height, 0 * widest if jump else widest)
        return p._replace(law=law)


MARKS = np.concatenate((-REACH[:0:-1], REACH, [20.0, -20.0]))
"""Breaks about the rise, in its widths: beyond 20 it is flat to 1e-17."""


class SteepMeasured(NamedTuple):
    """Integrated terms with the steepest slope of ``T`` at the rise, ``(C,)``."""

    measured: Measured
    slope: np.ndarray


def integrate_steep(cases: SteepCases, *, jump: bool = False) -> SteepMeasured:
    """Integrate the terms with breaks about the rise."""
    p = cases.steep(jump=jump)
    law: Any = p.law
    breaks = (law.width * MARKS)[:, 0, :]
    terms = quadrature_terms(p, past_states(cases), breaks=np.sort(breaks, axis=1))
    beta = np.asarray(first_order(p.s, p.t).betas[0])[:, 0, 0]
    with np.errstate(divide="ignore"):
        slope = beta * (law.height / law.width)[:, 0, 0]
    return SteepMeasured(Measured(p.s.alpha[:, 0, 0], p.s.sigma[:, 0, 0], terms), slope)


def draw_steep(effort: Effort, *, count: int) -> list[SteepCases]:
    """Draw steps of any length on laws with a mode at 0, so that the rise carries mass."""
    rng, out = effort.rng, []
    for name in CLAIMED_SOLVERS:
        for family in ("edm", "vp-linear", "flow"):
            size = effort.count(count) // 9
            s, t, earlier = draw_levels(rng, size, family, final_zero=False)
            law = draw_law(rng, size, 2, 1, "scalar")
            means = law.means.copy()
            means[:, 0] = 0.0
            law = GaussianMixture(law.weights, means, law.spectra[..., 0])
            solver = SOLVERS[name]
            problem = Problem(law, s, t, solver, earlier if solver.depth else None)
            out.append(SteepCases(problem, rng.integers(2**32, size=size), np.ones(size, int)))
    return out


def integrate_coupled(cases: StepCases, *, factors: Sequence[float]) -> Measured:
    """Integrate with noise of other laws: an even mixture of normal laws scaled by ``factors``."""
    p = cases.problem
    total: Integrated | None = None
    for factor in factors:
        coupling = NoiseLevel(p.s.alpha, p.s.sigma * factor)
        part = quadrature_terms(p, past_states(cases), coupling=coupling)
        share = np.full(len(cases), 1 / len(factors))
        part = Integrated(*(terms.scaled(share) for terms in part))
        total = part if total is None else total.plus(part, np.ones(len(cases)))
    assert total is not None
    return Measured(p.s.alpha[:, 0, 0], p.s.sigma[:, 0, 0], total)


TWO_SCALES = (0.2, float(np.sqrt(1.96)))
"""Deviations of an even mixture of normal laws that has variance 1 and is not normal."""


@dataclass(frozen=True)
class Tail(SingleCase):
    """A candidate whose residual grows as fast as the density falls: ``u = F / p``.

    ``F`` is the logistic function of ``x / scale``; ``E|u|^2`` and ``E|div u|`` are infinite.
    """

    alpha: float
    sigma: float
    scale: float


class Sides(NamedTuple):
    """Both numerators of a case, with what was added up in them."""

    alpha: float
    sigma: float
    u_x: float
    u_ref: float
    div: float
    size: float


TAIL_LAW = GaussianMixture(np.array([0.4, 0.6]), np.array([-1.0, 1.0]), np.array([0.3, 0.5]))


def integrate_tail(case: Tail) -> Sides:
    """Integrate both sides over ten deviations; the tails beyond diverge."""
    level = NoiseLevel(case.alpha, case.sigma)

    def both(x: np.ndarray) -> np.ndarray:
        density = np.exp(TAIL_LAW.log_prob(x, level))
        ramp = 1 / (1 + np.exp(-x[:, 0] / case.scale))
        u, score = ramp / density, TAIL_LAW.score(x, level)[:, 0]
        slope = ramp * (1 - ramp) / case.scale / density - u * score
        off = x[:, 0] - TAIL_LAW(x, level)[:, 0]
        return np.stack((u * x[:, 0], u * off, slope), axis=-1)

    out = expect(both, TAIL_LAW, level)
    gain = np.array([abs(1 - 1 / case.alpha), 1.0, case.sigma**2 / case.alpha])
    size = float((gain * (out.size + out.error)[0]).sum())
    u_x, u_ref, div = (float(v) for v in out.value[0])
    return Sides(case.alpha, case.sigma, u_x, u_ref, div, size)


@dataclass(frozen=True)
class Still(SingleCase):
    """The exact flow of standard normal data in VP: ``T(x) = x``, so ``u = 0``."""

    start: float
    end: float
    seed: int


CANDIDATES = (-1.0, 0.0, 1.0, 2.0)
NORMAL = GaussianMixture(np.ones(1), np.zeros(1), np.ones(1))


def count_minima(case: Still) -> int:
    """Count the coefficients among four that reach the least ``J``, to rounding."""
    s, t = (VP_LINEAR.level_at(ratio) for ratio in (case.start, case.end))
    rng = np.random.default_rng(case.seed)
    x_star, eps = rng.standard_normal((2, 256, 1))
    x = s.noised(x_star, eps)
    flow = exact_flow(NORMAL, x, s, t)
    u = x - flow.state
    errors = np.array([np.mean((x - gamma * u - x_star) ** 2) for gamma in CANDIDATES])
    slip = 4 * float(np.mean(np.abs(x - x_star)) * flow.error.max()) + ROUNDING * EPS * errors.min()
    return int((errors <= errors.min() + slip).sum())
