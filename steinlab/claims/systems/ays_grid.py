r"""The tangent grid under the names it is sold by: ``kl_optimal``, and Align Your Steps.

Sabour, Fidler and Kreis (2024) derive ``t_i = c tan(...)``, equal angles, for Euler on
``N(0, c^2)`` (:mod:`steinlab.claims.causes.cosine_law`); for other data they lower a bound on path
space (:mod:`steinlab.claims.instruments.path_bound`), least at another grid than the divergence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from steinlab.claims.causes import cosine_law
from steinlab.claims.causes.gaussian_axis import LEVELS
from steinlab.claims.instruments.path_bound import klub_grid
from steinlab.claims.instruments.ranges import Ranges
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Result
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number, Table

UNIT, EDM_DATA, THREE = "1", "0.5", "0.05 0.5 2"
TANGENT, PATHS, ZERO = "tangent", "klub", "zero"


@dataclass(frozen=True)
class Grids(SingleCase):
    """Euler on a Gaussian of these deviations, on a grid that may have zero noise appended."""

    deviations: str
    steps: int
    grid: str = TANGENT
    zero: bool = False


def measure(case: Grids) -> tuple[float, float]:
    """Return the divergence on the grid, and on the best grid with the same ends."""
    scales, n = tuple(map(float, case.deviations.split())), case.steps
    levels = cosine_law.kl_optimal(n) if case.zero else cosine_law.tangent(1.0, n)
    if case.grid == PATHS:
        levels = klub_grid(scales, n, LEVELS)
    return cosine_law.divergence(levels, scales), cosine_law.best_grid(scales, n, float(levels[-1]))


def compare(data: tuple[float, float], formula: Callable[[float], float]) -> Comparison:
    """Bound the divergence by the least."""
    how: Any = {"upper": True, "grade": 1e-3, "sampled": True}
    return single(data[0], formula(data[1]), cosine_law.SEARCHED, **how)


GRIDS = Ranges(Grids, {"steps": range(2, 7), "deviations": (UNIT,)}, seeded=False)


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    over = {name: np.median([a / least for a, least in one.data]) for name, one in results.items()}
    return [
        Number("KL over the least, data of deviation 0.5", over[EDM_DATA], key="edm"),
        Number("KL over the least, zero noise appended", over[ZERO], key="zero"),
        Number("KL over the least, three scales", over[THREE]),
        Number("KL over the least, grid of least KLUB", over[PATHS], key="klub"),
    ]


def _table(results: Mapping[str, Result]) -> Table:  # noqa: ARG001
    rows = []
    for deviations in (UNIT, EDM_DATA, THREE):
        unit, paths = (measure(Grids(deviations, 4, grid))[0] for grid in (TANGENT, PATHS))
        scales = tuple(map(float, deviations.split()))
        best = cosine_law.measure_scales(cosine_law.Scales(scales, 4))
        rows.append([deviations, *(f"{value:.3g}" for value in (unit, *best, paths))])
    columns = ["deviations", "tangent, c = 1", "tangent, best c", "best grid", "least KLUB"]
    return Table("KL of Euler's output, 4 steps, levels 80 to 0.002", columns, rows)


def _dropped(without: str, name: str, count: int, **fixed: Any) -> Dropped:
    return Dropped(without, GRIDS.check(name, count, measure, compare, **fixed), unstated=True)


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
    dropped=(
        _dropped("data of deviation 1: 0.5, EDM's", EDM_DATA, 5, deviations=EDM_DATA),
        _dropped("no step to zero noise", ZERO, 3, zero=True),
        _dropped("one scale", THREE, 3, deviations=THREE),
        _dropped("the divergence itself: the bound on path space", PATHS, 3, grid=PATHS),
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
