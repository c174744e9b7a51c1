"""Two modes and the ridge between them: slopes of steps and of the exact flow at ``x = 0``."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import EDM, PROCESSES
from steinlab.solvers import EULER, first_order
from steinlab.verification.cases import SingleCase

NARROW = 1e-26
"""Variance of modes that stand for point masses."""

NUDGE = 1e-5
"""``alpha R x / sigma^2`` where the slope at the ridge is read off as ``T(x)/x``: the odd step's
curvature there is a third of its square, and responsibilities near 1/2 carry ``eps`` over it."""


def modes(half: np.ndarray) -> GaussianMixture:
    """Return two point masses at ``+-half``, a stack ``(C, 2)``."""
    means = np.stack((-half, half), axis=-1)
    return GaussianMixture(np.full(means.shape, 0.5), means, NARROW)


def ridge_slope(half: np.ndarray, s: NoiseLevel, t: NoiseLevel) -> np.ndarray:
    """Return ``T(x)/x`` of the first-order step beside the ridge between the modes, ``(C,)``."""
    x = NUDGE * s.sigma**2 / (s.alpha * half[:, None, None])
    return np.asarray((EULER.step(modes(half), x, s, t, ()).state / x)[:, 0, 0])


@dataclass(frozen=True)
class Ridge(SingleCase):
    """Two modes at ``+-R`` of deviation ``width`` and a range of noise-to-signal ratios."""

    process: str
    half: float
    width: float
    top: float
    bottom: float

    def law(self) -> GaussianMixture:
        """Return the data law."""
        means = np.array([-self.half, self.half])
        return GaussianMixture(np.array([0.5, 0.5]), means, np.array(self.width**2))


class Refined(NamedTuple):
    """Logarithms of the product of ``T'`` along the ridge, coarse grids first."""

    ridge: Ridge
    coarse: tuple[float, ...]
    limit: float
    error: float


REFINED = (2000, 4000, 8000)


def measure_refined(ridge: Ridge) -> Refined:
    """Multiply the steps' slopes along the ridge on finer and finer grids, and extrapolate."""
    logs = [_log_product(ridge, n) for n in REFINED]
    first, second = (2 * b - a for a, b in itertools.pairwise(logs))
    rounding = ROUNDING * EPS * REFINED[-1]
    return Refined(ridge, tuple(logs), second, abs(second - first) + rounding)


def _log_product(ridge: Ridge, steps: int) -> float:
    ratios = np.geomspace(ridge.top, ridge.bottom, steps + 1)[:, None, None]
    levels = PROCESSES[ridge.process].level_at(ratios)
    return float(np.log(slopes_between(ridge.law(), levels)).sum())


def ridge_slopes(law: GaussianMixture, grid: Sequence[NoiseLevel]) -> np.ndarray:
    """Return ``T'(0)`` of every step of a grid: its largest slope, for two equal modes."""
    pairs = np.array([(level.alpha, level.sigma) for level in grid])
    return slopes_between(law, NoiseLevel(pairs[:, :1, None], pairs[:, 1:, None]))


def slopes_between(law: GaussianMixture, levels: NoiseLevel) -> np.ndarray:
    """Return the same between one level and the next of a stack ``(C, 1, 1)``."""
    alpha, sigma = np.broadcast_arrays(levels.alpha, levels.sigma)
    s, t = NoiseLevel(alpha[:-1], sigma[:-1]), NoiseLevel(alpha[1:], sigma[1:])
    step = first_order(s, t)
    count = len(alpha) - 1
    stack = GaussianMixture(
        np.broadcast_to(law.weights, (count, 2)).copy(),
        np.broadcast_to(law.means[:, 0], (count, 2)).copy(),
        np.broadcast_to(law.spectra[:, 0], (count, 2)).copy(),
    )
    slope = stack.divergence(np.zeros((count, 1, 1)), s)[:, :, None]
    return np.asarray(step.kappa + step.betas[0] * slope)[:, 0, 0]


def flow_log_slope(ridge: Ridge) -> float:
    """``log f_s(0) - log f_t(0)``: the exact flow's own expansion of the ridge."""
    process, x = PROCESSES[ridge.process], np.zeros((1, 1))
    top, bottom = (
        float(ridge.law().log_prob(x, process.level_at(r))[0]) for r in (ridge.top, ridge.bottom)
    )
    return top - bottom


BUDGETS = (6, 100, 1000)
FIGURE_LAW = Ridge("edm", 1.0, 0.05, 80.0, 0.002)


def grid_maxima() -> list[tuple[int, float, int]]:
    """Return steps, largest ``L_T`` and expansive steps on Karras grids, modes at ``+-1``."""
    out = []
    for n in BUDGETS:
        slopes = ridge_slopes(FIGURE_LAW.law(), make_grid(EDM, "karras", n, final_zero=False))
        out.append((n, float(slopes.max()), int((slopes > 1).sum())))
    return out
