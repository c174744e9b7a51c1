r"""What law matching does to a batch of ``n`` states: it solves the identity, with a known error.

A plain step leaves the batch's defect ``F`` off zero; the move brings ``|F|`` within its standard
error. On a batch of the level's own law the root is 0 but for sampling. By the delta method, with
``f(y) = <y - m, N(y)> / (sigma^2 d)``, ``N(y) = y - alpha D(y)`` and ``z = y - m``,

    Var(c) = Var(f) / (n F'^2),        F' = E[<z, N> + <z, N' z>] / (sigma^2 d),

for the scale of the state; the batch's mean in the place of ``m`` adds nothing to this order, since
``E N = 0``. Isotropic Gaussian data: ``F' = 2`` and ``Var(c) = 1 / (2 n d)``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from analytic import NoiseLevel
from steinlab.corrections.law_matched import LawMatched, defect, secants
from steinlab.diffusion.laws import problem
from steinlab.solvers import SOLVERS
from steinlab.solvers.step import Step
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Effort
from steinlab.verification.comparison import Comparison
from steinlab.verification.significance import square_band

NAMES = ("two modes, 1-D", "25-mode grid, 2-D", "five modes, 64-D", "Gaussian, 2-D")
SIGMAS, SPAN = (2.0, 0.5), 4.0
"""Noise levels at the step's end, ``alpha = 1``, and the start's over the end's."""

STATES, REPLICATES = 256, 300
REFERENCE = 40_000
"""States that the formula's expectations are taken over: errors of a per cent, in a band of 30."""


@dataclass(frozen=True)
class Sampled(SingleCase):
    """A law by name, the level at the step's end, and a seed."""

    name: str
    sigma: float
    seed: int

    def states(self, n: int, sigma: float, rng: np.random.Generator) -> np.ndarray:
        """Draw states of the law at a level."""
        clean = problem(self.name).sample(n, rng)
        return np.asarray(clean + sigma * rng.standard_normal(clean.shape))

    def batches(self, count: int, sigma: float, rng: np.random.Generator) -> np.ndarray:
        """Draw batches ``(count, STATES, d)``, one after the other."""
        return np.stack([self.states(STATES, sigma, rng) for _ in range(count)])


def draw(effort: Effort) -> list[Sampled]:
    """Return every law at every level."""
    return [Sampled(n, s, int(effort.rng.integers(2**32))) for n in NAMES for s in SIGMAS]


class Solved(NamedTuple):
    """Defects over the plain batch's standard error, before the move and after it."""

    before: float
    after: float
    moved: bool


def measure_solved(case: Sampled, *, factor: float = 1.0) -> Solved:
    """Take a long first-order step, match the law, and look at the defect of the same states.

    With another ``factor`` the move is so many times what the correction says, whether or not it
    declined.
    """
    law, rng = problem(case.name), np.random.default_rng(case.seed)
    s, t = NoiseLevel(1.0, SPAN * case.sigma), NoiseLevel(1.0, case.sigma)
    x = case.states(2 * STATES, s.sigma, rng)
    step = Step.take(law, SOLVERS["euler"], x, s, t)
    candidate = step.candidate
    state, done = LawMatched(part="state", states=len(x))(step, rng)
    state = candidate.state + factor * (state - candidate.state)
    before, after = defect(law, candidate.state, t), defect(law, state, t)
    acted = bool(done.move) or factor != 1
    return Solved(before.value / before.error, after.value / before.error, acted)


def compare_solved(data: Solved, limit: float) -> Comparison:
    """The defect left, in standard errors, against one; a declined batch was within two."""
    bound = limit if data.moved else 2.0 * limit
    row = (np.array([abs(data.after)]), np.array([bound]), np.zeros(1))
    return Comparison(*row, upper=True, sampled=True, grade=SOLVED_GRADE)


SOLVED_GRADE = 0.99
"""The graded control claims a hundredth of a standard error, a tenth of where the secants stop."""


class Roots(NamedTuple):
    """Roots on batches of the law itself, the errors they came with, and the expectations."""

    roots: np.ndarray
    errors: np.ndarray
    terms: float
    slope: float


ELEMENTS = 2**18
"""Elements of the largest temporary, a cache's: batches are matched in parts below it."""


def measure_roots(case: Sampled) -> Roots:
    """Match the law on batches that follow it, whether or not the defect is significant."""
    law: Any = problem(case.name)
    rng = np.random.default_rng(case.seed)
    level = NoiseLevel(1.0, case.sigma)
    size = max(1, ELEMENTS // (STATES * law.means.size))
    counts = [min(size, REPLICATES - done) for done in range(0, REPLICATES, size)]
    parts = [matched(law, case.batches(count, level.sigma, rng), level) for count in counts]
    roots, errors = np.concatenate(parts, axis=1)
    y = case.states(REFERENCE, level.sigma, rng)
    z = y - law.mean()
    scale = level.sigma**2 * law.dim
    terms = (z * (y - law(y, level))).sum(axis=1) / scale
    bend = (z * (z - law.jvp(y, level, z))).sum(axis=1) / scale
    return Roots(roots, errors, float(terms.var(ddof=1)), float((terms + bend).mean()))


def matched(law: Any, batches: np.ndarray, level: NoiseLevel) -> np.ndarray:
    """Return the roots on batches ``(B, n, d)`` and their standard errors, ``(2, B)``.

    The step before stays where it is. Where no trial is better than the plain batch, the root is
    0 and its error nan.
    """
    s = NoiseLevel(1.0, level.sigma * (1 + 1e-9))
    found = secants(Step.take(law, SOLVERS["euler"], batches, s, level), "state", significance=0.0)
    return np.stack((found.coefficient, np.where(found.coefficient == 0, np.nan, found.error)))


Variance = Callable[[Roots], float]


def variance(data: Roots) -> float:
    """``Var(f) / (n F'^2)``."""
    return data.terms / (STATES * data.slope**2)


def compare_roots(data: Roots, formula: Variance) -> Comparison:
    """The roots' mean square, to which a bias would add, in the formula's chi-square band."""
    measured, stated = float(np.mean(data.roots**2)), formula(data)
    low, high = square_band(REPLICATES, tests=len(NAMES) * len(SIGMAS))
    slack = stated * (high - 1 if measured > stated else 1 - low)
    row = (np.array([measured]), np.array([stated]), np.array([slack]))
    return Comparison(*row, sampled=True, grade=BAND_GRADE)


def reported(data: Roots) -> float:
    """Return the root mean square of the reported errors over the formula's."""
    return math.sqrt(float(np.nanmean(data.errors**2)) / variance(data))


BAND_GRADE = 0.6
"""Relative error that so many replicates expose."""
