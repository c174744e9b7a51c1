r"""The tangent grid under the names it is sold by: ``kl_optimal``, and Align Your Steps.

Sabour, Fidler and Kreis (2024) derive ``t_i = c tan(...)``, equal angles, for Euler on
``N(0, c^2)`` (:mod:`steinlab.claims.causes.cosine_law`); for other data they lower a bound on path
space,

    KLUB = sum_i int_(t_i+1)^(t_i) E|D(x_t, t) - D(x_(t_i), t_i)|^2 / t^3 dt,

of the reverse *stochastic* equation with ``D`` held. Interfaces ship the tangent grid as
``kl_optimal`` with ``c = 1``, and append zero noise. On ``N(0, l)`` the outputs ``D`` are a
martingale up the noise, so ``E|D_t - D_s|^2 = l^2 (1/(l + t^2) - 1/(l + s^2))`` and the integral is
elementary; its smallest value is at another grid than the divergence's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.optimize import minimize

from steinlab.claims.causes.cosine_law import (
    SEARCHED,
    best_grid,
    best_tangent,
    divergence,
    kl_optimal,
    tangent,
)
from steinlab.claims.causes.gaussian_axis import LEVELS
from steinlab.claims.instruments.ranges import Ranges
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Result
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number, Table

UNIT, EDM_DATA, THREE = "1", "0.5", "0.05 0.5 2"
TANGENT, PATHS = "tangent", "klub"


def klub(levels: np.ndarray, scales: tuple[float, ...]) -> float:
    """Return the bound on path space."""
    s, t = levels[:-1], levels[1:]
    total = 0.0
    for variance in np.asarray(scales) ** 2:
        moving = [np.log1p(variance / u**2) - variance / u**2 for u in (s, t)]
        held = variance**2 * (1 / t**2 - 1 / s**2) / (variance + s**2)
        total += 0.5 * float((moving[0] - moving[1] - held).sum())
    return total


@cache
def klub_grid(scales: tuple[float, ...], steps: int) -> np.ndarray:
    """Return the grid of least :func:`klub` from EDM's noisiest level to its least noisy."""
    span = math.log(LEVELS[1] / LEVELS[0])

    def grid(free: np.ndarray) -> np.ndarray:
        shares = np.exp(free - free.max())
        left = np.append(1.0, 1.0 - np.cumsum(shares / shares.sum()))
        return np.asarray(LEVELS[0] * np.exp(span * np.maximum(left, 0.0)))

    found = minimize(lambda free: math.log(klub(grid(free), scales)), np.zeros(steps))
    return grid(found.x)


@dataclass(frozen=True)
class Grids(SingleCase):
    """Euler on a Gaussian of these deviations, on a grid that may have zero noise appended."""

    deviations: str
    steps: int
    grid: str = TANGENT
    zero: bool = False

    @property
    def scales(self) -> tuple[float, ...]:
        """The deviations."""
        return tuple(map(float, self.deviations.split()))

    def levels(self) -> np.ndarray:
        """Return the levels."""
        if self.grid == PATHS:
            return klub_grid(self.scales, self.steps)
        return kl_optimal(self.steps) if self.zero else tangent(1.0, self.steps)


def measure(case: Grids) -> tuple[float, float]:
    """Return the divergence on the grid, and on the best grid with the same ends."""
    levels = case.levels()
    best = best_grid(case.scales, case.steps, float(levels[-1]))
    return divergence(levels, case.scales), best


def compare(data: tuple[float, float], formula: Callable[[float], float]) -> Comparison:
    """Bound the divergence by the least."""
    how: Any = {"upper": True, "grade": 1e-3, "sampled": True}
    return single(data[0], formula(data[1]), SEARCHED, **how)


GRIDS = Ranges(Grids, {"steps": range(2, 7), "deviations": (UNIT,)}, seeded=False)


def _over(results: Mapping[str, Result], name: str) -> float:
    """Median of a grid's divergence over the least."""
    return float(np.median([found / best for found, best in results[name].data]))


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    return [
        Number("KL over the least, data of deviation 0.5", _over(results, EDM_DATA), key="edm"),
        Number("KL over the least, zero noise appended", _over(results, "zero"), key="zero"),
        Number("KL over the least, three scales", _over(results, THREE)),
        Number("KL over the least, grid of least KLUB", _over(results, PATHS), key="klub"),
    ]


def _table(results: Mapping[str, Result]) -> Table:  # noqa: ARG001
    rows = []
    for deviations in (UNIT, EDM_DATA, THREE):
        scales = Grids(deviations, 4).scales
        best = best_tangent(scales, 4, LEVELS[0])[1], best_grid(scales, 4, LEVELS[0])
        paths = divergence(klub_grid(scales, 4), scales)
        found = (divergence(tangent(1.0, 4), scales), *best, paths)
        rows.append([deviations, *(f"{value:.3g}" for value in found)])
    columns = ["deviations", "tangent, c = 1", "tangent, best c", "best grid", "least KLUB"]
    return Table("KL of Euler's output, 4 steps, levels 80 to 0.002", columns, rows)


DROPPED: tuple[tuple[str, str, int, Any], ...] = (
    ("data of deviation 1: 0.5, EDM's", EDM_DATA, 5, {"deviations": EDM_DATA}),
    ("no step to zero noise", "zero", 3, {"zero": True}),
    ("one scale", THREE, 3, {"deviations": THREE}),
    ("the divergence itself: the bound on path space", PATHS, 3, {"grid": PATHS}),
)
"""What is left out, the check, its cases in the quick profile and what they have in common."""

CLAIM = Claim(
    id="ays-grid",
    title="kl_optimal and the KL-optimal grid",
    statement="the schedule kl_optimal, equal angles arctan(t), has the least Kullback-Leibler "
    "divergence of Euler's output from the exact flow's among all grids with its ends",
    latex=(r"t_i = \tan\bigl(a_0 + \tfrac{i}{n}(a_n - a_0)\bigr), \quad a = \arctan t",),
    expected="conditional",
    source="Sabour, Fidler, Kreis, Align Your Steps (2024), theorem 3.1; kl_optimal of ComfyUI and "
    "others",
    kind="upper",
    owner="peer",
    conditions=(
        "EDM coordinates, Gaussian data, Euler (DDIM)",
        "unstated: data of deviation 1, on one scale",
        "unstated: no step to zero noise after the angles",
        "unstated: the divergence itself, not a bound on path space",
    ),
    formula=float,
    checks=(GRIDS.check("unit data", 5, measure, compare),),
    controls=(NegativeControl("2 % less", lambda best: 0.98 * best),),
    dropped=tuple(
        Dropped(without, GRIDS.check(name, count, measure, compare, **fixed), unstated=True)
        for without, name, count, fixed in DROPPED
    ),
    headline="kl_optimal is optimal for data of unit deviation alone: on EDM's its KL is {edm} "
    "times the least.",
    numbers=_numbers,
    finding="Equal angles are best for data of one scale whose size they are told. The shipped "
    "schedule is told 1 and appends a last step outside the angles. Align Your Steps optimises a "
    "bound on the paths of the stochastic equation: even on one scale its grid is far from the "
    "best for Euler's.",
    table=_table,
    search=lambda _: [GRIDS.space("unit data")],
)
