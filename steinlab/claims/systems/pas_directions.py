r"""PAS's few directions hold the step that is needed; coordinates shared by all samples miss it.

On ``N(0, C)`` with ``q`` distinct variances directions and needed step lie in the span of the ``q``
parts of the start (:mod:`steinlab.claims.instruments.part_lengths`), which ``q`` vectors of the
buffer fill. The coordinates depend on the parts' lengths. For one variance they are a number times
``|x|``, whose law is that of ``chi`` in ``d`` dimensions: shared ones err by ``(2 d)^(-1/2)`` of
the step, to leading order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from steinlab.claims.instruments.part_lengths import Trajectories, length_scatter, shared_error
from steinlab.claims.instruments.ranges import Ranges
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Result
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number

SHARE, MORE = "the step in the span", "six variances"
SCATTER, SIZE = "shared coordinates", "shared coordinates, one variance"
SIZES = (64, 1024)
"""Dimensions per variance between which the scatter's slope is read."""
Formula = Callable[[int], float]
"""``dimension -> error over the step``."""


def measure_rest(case: Trajectories, index: int = 3) -> float:
    """Return which part of a step's needed length lies off the span, the largest."""
    basis, needed, _ = case.step(index)
    rest = needed - np.einsum("nkd,nk->nd", basis, np.einsum("nkd,nd->nk", basis, needed))
    return float(np.max(np.linalg.norm(rest, axis=1) / np.linalg.norm(needed, axis=1)))


def measure_slope(case: Trajectories) -> float:
    """Return the slope of the best shared coordinates' error in the logarithm of the dimension."""
    return slope_of(*(shared_error(replace(case, size=size))[0] for size in SIZES))


def slope_of(smaller: float, larger: float) -> float:
    """Return the slope between :data:`SIZES`."""
    return math.log(larger / smaller) / math.log(SIZES[1] / SIZES[0])


def compare_rest(rest: float, formula: Formula) -> Comparison:  # noqa: ARG001
    """Compare what the part off the span leaves with all; the part inside hides its square."""
    return single(1 - rest, 1.0, 100 * ROUNDING * EPS)


def compare_size(data: tuple[float, int], formula: Formula) -> Comparison:
    """Compare that error in a dimension; what the formula takes from one cancels."""
    found, size = data
    slack = ROUNDING * EPS * size * math.log(size) / length_scatter(size)
    return single(found, formula(size), slack, scale=np.array([found]))


def compare_slope(slope: float, formula: Formula) -> Comparison:
    """Compare the slope with the formula's."""
    return single(slope, slope_of(*map(formula, SIZES)), 0.05, sampled=True, grade=0.3)


GRIDS = ("karras", "logsnr")
RUNS = Ranges(Trajectories, {"grid": GRIDS, "variances": (2, 3, 4), "size": (64,)}, seeded=False)
SIX = RUNS.check(MORE, 2, measure_rest, compare_rest, variances=6)
SIZED = replace(RUNS, lists={"grid": GRIDS, "variances": (1,), "size": (64, 256, 1024)})


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    shared, euler = shared_error(Trajectories(2, 1024, "karras"))
    label = "2,048 dimensions, first step: shared over Euler's error"
    return [
        Number("outside the span, largest part", results[SHARE].comparison.excess.max()),
        Number("slope of the shared coordinates' error", np.mean(results[SCATTER].data)),
        Number(label, shared / euler, key="over"),
    ]


CLAIM = Claim(
    id="pas-directions",
    title="PAS: the directions suffice, shared coordinates do not",
    statement="on Gaussian data of at most four distinct variances the needed step lies in PAS's "
    "four directions; coordinates shared by all samples miss it by O(d^(-1/2)), for one "
    "variance by sqrt(1 - (E chi_d)^2/d)",
    latex=(
        r"x^\star(t') - x \in \operatorname{span}(u_1, \dots, u_4), \qquad "
        r"\min_c \frac{\lVert x^\star - x - U c \rVert}{\lVert x^\star - x \rVert} = "
        r"\sqrt{1 - (\mathbb{E} \chi_d)^2 / d} = O(d^{-1/2})",
    ),
    headline="Four directions hold the step exactly; coordinates shared by all samples miss it, as "
    "1/sqrt(d).",
    numbers=_numbers,
    source="PAS (Wang et al., 2025): principal directions with coordinates shared by all samples",
    kind="identity",
    owner="peer",
    conditions=("Gaussian data", "at most four distinct variances", "the fourth step or later"),
    formula=length_scatter,
    checks=(
        RUNS.check(SHARE, 6, measure_rest, compare_rest),
        SIZED.check(SIZE, 6, lambda case: (shared_error(case)[0], case.size), compare_size),
        RUNS.check(SCATTER, 4, measure_slope, compare_slope),
    ),
    controls=(
        NegativeControl("an error that does not fall", lambda _: 0.05),
        NegativeControl("an error that falls like 1/d", lambda size: 1 / (2 * size)),
        NegativeControl("the leading term alone", lambda size: (2 * size) ** -0.5, (SIZE,)),
    ),
    dropped=(Dropped("at most four variances: six", SIX),),
    finding="The basis is not the limit, the sharing is: the length of each sample's direction is "
    "replaced by one number. At the first step that costs far more than it mends; the authors keep "
    "a correction only where the loss falls. Let coordinates scale with the direction's length.",
    search=lambda _: [],
)
