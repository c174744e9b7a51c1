r"""PAS's few directions hold the step that is needed; coordinates shared by all samples miss it.

On ``N(0, C)`` with ``q`` distinct variances every state of a trajectory is ``sum_l g_l P_l x_T``:
directions and needed step lie in the span of the ``q`` parts ``P_l x_T``, which ``q`` vectors of
the buffer fill. The coordinates depend on the lengths ``|P_l x_T|``, which scatter relatively by
``(2n)^-1/2`` in ``n`` dimensions each: shared ones err by that much of the step. A basis along the
parts turns the state into their ``q`` lengths, so that dimension ``q n`` is exact here at the price
of ``q``. Lengths are taken at even quantiles of their law, and nothing is drawn.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.exact import gaussian_gain
from steinlab.claims.instruments.observed_order import check_of
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.grids import make_grid
from steinlab.solvers import Evaluation, History
from steinlab.solvers.principal import Principal
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Claim, Dropped, Effort, NegativeControl, Result
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number

QUANTILES, STEPS, SPREAD = 3, 6, (0.05, 2.0)
SHARE, SCATTER, MORE = "the step in the span", "shared coordinates", "six variances"
SIZES = (64, 1024)
"""Dimensions per variance between which the scatter's slope is read."""

_NOTHING: History = ()


@dataclass(frozen=True)
class Trajectories(SingleCase):
    """Plain runs on Gaussian data of ``variances`` distinct ones, ``size`` dimensions each."""

    variances: int
    size: int
    grid: str

    def step(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the bases ``(N, K, q)`` of a step, the steps needed and Euler's ``(N, q)``."""
        values = np.geomspace(*SPREAD, self.variances) ** 2
        law = GaussianMixture(np.ones(1), np.zeros((1, self.variances)), np.diag(values)[None])
        levels = make_grid("edm", self.grid, STEPS)
        lengths = chi.ppf((np.arange(QUANTILES) + 0.5) / QUANTILES, self.size) / self.size**0.5
        x = np.array(list(itertools.product(lengths, repeat=self.variances)))
        x = x * np.sqrt(values + levels[0].sigma ** 2)
        first, history = x, _NOTHING
        solver = Principal("pas", _euler)
        for s, t in itertools.pairwise(levels[: index + 2]):
            taken = solver.step(law, x, s, t, history)
            needed = first * gaussian_gain(values, levels[0], t) - x
            found = solver.basis(x, s, taken.denoised, history), needed, taken.state - x
            x, history = taken.state, (Evaluation(s, x, taken.denoised), *history)
        return found


def _euler(_: NoiseLevel) -> None:
    """Take Euler's step at every level."""


def shared_error(case: Trajectories, index: int) -> tuple[float, float]:
    """Return the error of the best shared coordinates, and Euler's, over the needed step."""
    basis, needed, euler = case.step(index)
    columns = np.swapaxes(basis, -1, -2).reshape(-1, basis.shape[-2])
    best = columns @ np.linalg.lstsq(columns, needed.ravel(), rcond=None)[0]
    size = np.linalg.norm(needed)
    gap = np.linalg.norm(best - needed.ravel())
    return float(gap / size), float(np.linalg.norm(euler - needed) / size)


def measure_rest(case: Trajectories, index: int = 3) -> float:
    """Return which part of a step's needed length lies off the span, the largest."""
    basis, needed, _ = case.step(index)
    rest = needed - np.einsum("nkd,nk->nd", basis, np.einsum("nkd,nd->nk", basis, needed))
    return float(np.max(np.linalg.norm(rest, axis=1) / np.linalg.norm(needed, axis=1)))


def measure_slope(case: Trajectories) -> float:
    """Return the slope in ``log d`` of the error of the best shared coordinates, first step."""
    pairs = [shared_error(Trajectories(case.variances, n, case.grid), 0)[0] for n in SIZES]
    return math.log(pairs[1] / pairs[0]) / math.log(SIZES[1] / SIZES[0])


def compare_rest(rest: float, slope: float) -> Comparison:  # noqa: ARG001
    """Compare what the part off the span leaves with all; the part inside hides its square."""
    return single(1 - rest, 1.0, 100 * ROUNDING * EPS)


def compare_slope(slope: float, predicted: float) -> Comparison:
    """Compare a slope with the predicted one."""
    return single(slope, predicted, 0.05, sampled=True, grade=0.3)


def _draw(*variances: int) -> Callable[[Effort], list[Trajectories]]:
    def draw(_: Effort) -> list[Trajectories]:
        return [Trajectories(q, 64, g) for q in variances for g in ("karras", "logsnr")]

    return draw


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    rest = results[SHARE].comparison.excess.max()
    worse = shared_error(Trajectories(2, 1024, "karras"), 0)
    return [
        Number("outside the span, largest part", rest),
        Number("slope of the shared coordinates' error", np.mean(results[SCATTER].data)),
        Number(
            "2,048 dimensions, first step: shared over Euler's error",
            worse[0] / worse[1],
            key="over",
        ),
    ]


CLAIM = Claim(
    id="pas-directions",
    title="PAS: the directions suffice, shared coordinates do not",
    statement="on Gaussian data of at most four distinct variances the needed step lies in PAS's "
    "four directions; coordinates shared by all samples miss it by O(d^(-1/2))",
    latex=(
        r"x^\star(t') - x \in \operatorname{span}(u_1, \dots, u_4), \qquad "
        r"\min_c \frac{\lVert x^\star - x - U c \rVert}{\lVert x^\star - x \rVert} = O(d^{-1/2})",
    ),
    headline="Four directions hold the step exactly; coordinates shared by all samples miss it, as "
    "1/sqrt(d).",
    numbers=_numbers,
    source="PAS (Wang et al., 2025): principal directions with coordinates shared by all samples",
    kind="identity",
    owner="peer",
    conditions=("Gaussian data", "at most four distinct variances", "the fourth step or later"),
    formula=-0.5,
    checks=(
        check_of(SHARE, _draw(2, 3, 4), measure_rest, compare_rest, Trajectories.restore),
        check_of(SCATTER, _draw(2, 3), measure_slope, compare_slope, Trajectories.restore),
    ),
    controls=(
        NegativeControl("an error that does not fall", 0.0),
        NegativeControl("an error that falls like 1/d", -1.0),
    ),
    dropped=(
        Dropped(
            "at most four variances: six",
            check_of(MORE, _draw(6), measure_rest, compare_rest, Trajectories.restore),
        ),
    ),
    finding="The basis is not the limit, the sharing is: the length of each sample's direction is "
    "replaced by one number. At the first step that costs far more than it mends; the authors keep "
    "a correction only where the loss falls. Let coordinates scale with the direction's length.",
    search=lambda _: [],
)
