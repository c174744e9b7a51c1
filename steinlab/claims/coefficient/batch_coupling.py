r"""Outputs of a batch in Algorithm 1 are exchangeable, not independent: how much that costs.

One coefficient, ``gamma_hat = mean a / mean b`` with ``b = |u|^2``, moves every state of a batch:
``x' = x - gamma_hat u``. With ``q = |x - gamma u|^2``, ``m' = dE q/dgamma = -2 E<x - gamma u, u>``
and ``psi = (a - gamma b) / E b``, the delta method gives the intraclass correlation of ``|x'|^2``

    B rho_B -> C = [2 m' Cov(q, psi) + m'^2 Var psi] / Var q = Var(q + m' psi) / Var q - 1.

``N`` outputs, in however many batches, then say as much about ``E|x'|^2`` as ``N / (1 + C)``
independent ones. Where ``psi = 0`` nothing is coupled: a coefficient fixed beforehand, and
Tweedie's in EDM, where ``u`` is a multiple of ``x - D``. ``C`` may be negative.

Measured is the covariance over ``Var q``, by the analysis of variance, less what the same batches
say of the means of ``q`` and ``q + m' psi``, whose variances are integrals: an unbiased estimate
whatever ``m'`` is, with little noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from analytic import NoiseLevel
from analytic.memory import remembering
from analytic.quadrature import expect
from steinlab.claims.coefficient.ratio_estimator import LAW
from steinlab.coefficient.divergence import Exact
from steinlab.coefficient.formulas import stein_numerator, tweedie_numerator
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import SOLVERS
from steinlab.solvers.step import Step, inner
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Check, Claim, Effort, NegativeControl, Results
from steinlab.verification.comparison import Comparison
from steinlab.verification.quantities import Number, Table
from steinlab.verification.significance import Mean

KINDS = (
    ("vp-linear", "euler", 1.0, "stein"),
    ("vp-linear", "euler", 4.0, "stein"),
    ("vp-linear", "euler", 4.0, "tweedie"),
    ("vp-linear", "euler", 4.0, "fixed"),
    ("edm", "heun", 1.0, "stein"),
    ("edm", "euler", 1.0, "tweedie"),
    ("flow", "euler", 1.0, "stein"),
)
"""Process, solver, ``sigma/alpha`` where the step begins, one in its logarithm long, and route."""

DRAWS, BATCH = 2**17, 256
SHOWN = (8, 32, 128)
GRADE = 0.1


@dataclass(frozen=True)
class Coupled(SingleCase):
    """Replicated batches of one step on a two-mode law, with a coefficient from each batch."""

    process: str
    solver: str
    ratio: float
    route: str
    seed: int

    def levels(self) -> tuple[NoiseLevel, NoiseLevel]:
        """Return the step."""
        process = PROCESSES[self.process]
        return process.level_at(self.ratio), process.level_at(self.ratio * np.exp(-1.0))

    def parts(self, x: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return ``a``, ``|u|^2``, ``<x, u>`` and ``|x|^2`` at states, each ``(N,)``."""
        s, t = self.levels()
        step = Step.take(remembering(LAW.take(0)), SOLVERS[self.solver], x, s, t)
        u, power = step.candidate.residual, inner(step.candidate.residual, step.candidate.residual)
        if self.route == "stein":
            a = stein_numerator(x, u, np.asarray(Exact()(step, np.random.default_rng(0))), s)
        else:
            a = tweedie_numerator(x, u, step.candidate.denoised)
        return np.asarray(a), power, inner(x, u), inner(x, x)


class Moments(NamedTuple):
    """``gamma``, ``E b``, ``m'``, ``E q``; ``Cov(q, psi)``, ``Var psi``, ``Var q``, their sum's.

    ``sum`` is ``Var(q + m' psi)``; ``size`` bounds the rounding of ``Cov(q, psi)``.
    """

    gamma: float
    power: float
    slope: float = 0.0
    level: float = 0.0
    cross: float = 0.0
    spread: float = 0.0
    square: float = 0.0
    sum: float = 0.0
    size: float = 0.0


def _q_psi(case: Coupled, m: Moments, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return ``q``, ``m'`` per state, ``psi`` and the size of its terms."""
    a, b, cross, x_x = case.parts(x)
    psi = 0 * a if case.route == "fixed" else (a - m.gamma * b) / m.power
    q = x_x - 2 * m.gamma * cross + m.gamma**2 * b
    return q, -2 * (cross - m.gamma * b), psi, (np.abs(a) + np.abs(m.gamma) * b) / m.power


@lru_cache(maxsize=64)
def moments(case: Coupled) -> Moments:
    """Integrate what the limit is made of."""

    def means(of: Callable[[np.ndarray], Sequence[np.ndarray]]) -> Any:
        return expect(lambda x: np.stack(of(x), axis=-1), LAW.take(0), case.levels()[0]).value[0]

    a, b = means(lambda x: case.parts(x)[:2])
    m = Moments(a / b, b)
    level, slope = means(lambda x: _q_psi(case, m, x)[:2])

    def products(x: np.ndarray) -> tuple[np.ndarray, ...]:
        q, _, psi, size = _q_psi(case, m, x)
        off = q - level
        return off * psi, psi**2, off**2, (off + slope * psi) ** 2, np.abs(off) * size

    return Moments(a / b, b, slope, level, *means(products))


def limit(m: Moments) -> float:
    """``[2 m' Cov(q, psi) + m'^2 Var psi] / Var q``."""
    return (2 * m.slope * m.cross + m.slope**2 * m.spread) / m.square


class Measured(NamedTuple):
    """``B Cov / Var q`` extrapolated to large ``B``, what ``B`` to ``2 B`` moves, and ``rho_B``."""

    case: Coupled
    limit: Mean
    moved: float
    correlations: tuple[float, ...]


@lru_cache(maxsize=64)
def measure(case: Coupled) -> Measured:
    """Draw batches of ``B`` and of ``2 B``, the same states; ``2 f(2B) - f(B)`` has no ``1/B``."""
    m, rng = moments(case), np.random.default_rng(case.seed)
    law, s = LAW.take(0), case.levels()[0]
    x = s.noised(law.sample(DRAWS, rng), rng)
    a, b, cross, x_x = case.parts(x)
    q, _, psi, _ = _q_psi(case, m, x)

    def batches(size: int) -> tuple[np.ndarray, ...]:
        rows = (DRAWS // size, size)
        top, low = (v.reshape(rows).mean(axis=1, keepdims=True) for v in (a, b))
        gamma = np.full_like(top, m.gamma) if case.route == "fixed" else top / low
        square = x_x.reshape(rows) - 2 * gamma * cross.reshape(rows) + gamma**2 * b.reshape(rows)
        return square, q.reshape(rows), (q + m.slope * psi).reshape(rows)

    def per_batch(size: int) -> np.ndarray:
        own, plain, line = batches(size)
        count = len(own)
        means = (v.mean(axis=1) for v in (own, line))
        over, straight = ((v - v.mean()) ** 2 * count / (count - 1) for v in means)
        within = own.var(axis=1, ddof=1) - plain.var(axis=1, ddof=1)
        return (m.sum - m.square + np.asarray(size * (over - straight) - within)) / m.square

    one, two = per_batch(BATCH).reshape(-1, 2).mean(axis=1), per_batch(2 * BATCH)
    rho = []
    for size in SHOWN:
        own = batches(size)[0]
        between = own.mean(axis=1).var(ddof=1) - own.var(axis=1, ddof=1).mean() / size
        rho.append(float(between / own.var()))
    return Measured(case, Mean.of(2 * two - one), float(two.mean() - one.mean()), tuple(rho))


Formula = Callable[[Moments], float]


def compare(data: Measured, formula: Formula) -> Comparison:
    """Compare with the limit; the ``1/B^2`` left is taken as a geometric series' next term."""
    m, stated = moments(data.case), formula(moments(data.case))
    rest = 2 * data.moved**2 / abs(stated) if stated else 0.0
    rounding = ROUNDING * EPS * 2 * abs(m.slope) * m.size / m.square
    tolerance = data.limit.limit(data.limit.value - stated, len(KINDS)) + rest + rounding
    seen, right, slack = (np.array([v]) for v in (data.limit.value, stated, tolerance))
    return Comparison(seen, right, slack, sampled=True, grade=GRADE)


def _draw(effort: Effort) -> list[Coupled]:
    return [
        Coupled(process, solver, ratio, route, int(effort.rng.integers(2**32)))
        for process, solver, ratio, route in KINDS
    ]


def _numbers(results: Results) -> list[Number]:
    data = results["batches"].data
    found = {(d.case.process, d.case.ratio, d.case.route): d for d in data}
    far = found["vp-linear", 4.0, "stein"]
    return [
        Number(
            "outputs' worth, VP from sigma = 4 alpha",
            1 / (1 + far.limit.value),
            unit="%",
            key="worth",
        ),
        *(
            Number(f"correlation in batches of {size}, VP from sigma = 4 alpha", rho)
            for size, rho in zip(SHOWN, far.correlations, strict=True)
        ),
        Number("B rho, VP from sigma = alpha", found["vp-linear", 1.0, "stein"].limit.value),
        Number("B rho, VP from sigma = 4 alpha", far.limit.value),
        Number("B rho, the same by Tweedie", found["vp-linear", 4.0, "tweedie"].limit.value),
        Number("B rho, EDM with Heun", found["edm", 1.0, "stein"].limit.value),
    ]


def _table(results: Results) -> Table:
    rows = [
        [
            *(d.case.process, d.case.solver, f"{d.case.ratio:g}", d.case.route),
            *(f"{rho:.3g}" for rho in d.correlations),
            f"{d.limit.value:.3g} +- {d.limit.error:.1g}",
            f"{limit(moments(d.case)):.3g}",
        ]
        for d in results["batches"].data
    ]
    sizes = [f"rho, B = {size}" for size in SHOWN]
    columns = ["process", "solver", "sigma/alpha", "route", *sizes, "B rho, large B", "theory"]
    return Table("Correlation of |x'|^2 between outputs of a batch", columns, rows)


CLAIM = Claim(
    id="batch-coupling",
    title="Outputs of a batch are coupled",
    statement="outputs of a batch in Algorithm 1 are exchangeable, not independent: for the "
    "intraclass correlation of |x'|^2, B rho_B -> Var(q + m' psi) / Var q - 1",
    latex=(
        r"B \rho_B \to \frac{\operatorname{Var}(q + m' \psi)}{\operatorname{Var} q} - 1, \qquad "
        r"q = \|x - \gamma u\|^2, \quad m' = \partial_\gamma \mathbb{E} q, \quad "
        r"\psi = \frac{a - \gamma b}{\mathbb{E} b}",
    ),
    headline="Couples the outputs of a batch: in VP they can be worth {worth} as many independent "
    "ones.",
    numbers=_numbers,
    source="Algorithm 1, by the delta method",
    kind="limit",
    owner="laboratory",
    conditions=(
        "independent states before the step; the batch's own coefficient, not clipped",
        "large B: the noisier the step, the larger",
    ),
    formula=limit,
    checks=(
        Check("batches", "monte-carlo", Coupled, draw=_draw, measure=measure, compare=compare),
    ),
    controls=(
        NegativeControl("independent outputs", lambda _: 0.0),
        NegativeControl(
            "the coefficient's variance alone", lambda m: m.slope**2 * m.spread / m.square
        ),
        NegativeControl("m' of the other sign", lambda m: limit(m._replace(slope=-m.slope))),
    ),
    finding="One coefficient moves a whole batch, so its outputs share an error and their averages "
    "do not sharpen as those of independent ones: the more so, the noisier the step. Tweedie's "
    "estimate couples nothing in EDM and little in VP; a coefficient fixed beforehand couples "
    "nothing. Count independent batches, not outputs, where a standard error is needed.",
    table=_table,
)
