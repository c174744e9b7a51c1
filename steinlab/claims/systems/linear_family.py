r"""The linear family: every solver of one evaluation per step is in it, and what its fit reaches.

A solver on a grid is written as a table by running it on letters; the table must then take the same
steps on data. The fit is by least squares to the exact flow, step by step. On centred Gaussian data
of ``q`` distinct variances a step has as many equations as variances, and step ``i`` has ``i + 2``
numbers: ``n`` steps end on the flow if ``q <= n + 1``, unless the outputs are dependent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from analytic import GaussianMixture
from analytic.flow.exact import gaussian_gain
from steinlab.claims.instruments.gaussian_data import law_of
from steinlab.claims.instruments.ranges import Ranges, between
from steinlab.claims.instruments.sized_runs import linear_solvers, run_sized, uneven_grid
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.grids import Grid, make_grid
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import get_solver
from steinlab.solvers.gaussian_runs import gaussian_run
from steinlab.solvers.linear_family import LinearTable, as_table, fit_table
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Result
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number

POINT, ISOTROPIC, SEVERAL = "points of the family", "isotropic", "as many numbers as variances"
STEPS = 5


@dataclass(frozen=True)
class Point(SingleCase):
    """A solver on an uneven grid of a process, with two modes on a line."""

    solver: str
    process: str
    seed: int

    def grid(self) -> Grid:
        """Return its grid."""
        return uneven_grid(self.process, self.seed, STEPS)


class Ends(NamedTuple):
    """A solver's ends with its table and their rounding."""

    case: Point
    table: LinearTable
    ends: np.ndarray
    size: np.ndarray


def measure_point(case: Point) -> Ends:
    """Run the solver, and write its table."""
    grid, solver = case.grid(), get_solver(case.solver, PROCESSES[case.process])
    run = run_sized(solver, grid)
    return Ends(case, as_table(solver, grid), run.value[0], run.size[0])


def compare_point(
    data: Ends, alter: Callable[[tuple[float, ...]], tuple[float, ...]]
) -> Comparison:
    """Compare the first state's end with that of the table, its rows altered."""
    rows = tuple(alter(row) for row in data.table.rows)
    found = run_sized(replace(data.table, rows=rows), data.case.grid())
    growth = sum(abs(number) for row in data.table.rows for number in row)
    slack = float((ROUNDING * EPS * growth * (data.size + found.size[0])).item())
    scale = np.maximum(np.abs(data.ends), 0.1).ravel()
    return single(float(data.ends.item()), float(found.value[0].item()), slack, scale=scale)


@dataclass(frozen=True)
class Fit(SingleCase):
    """A table fitted on a Gaussian whose axes have deviations even in the logarithm."""

    variances: int
    steps: int
    low: float
    mean: float = 0.0

    @property
    def law(self) -> GaussianMixture:
        """The law."""
        return law_of(np.geomspace(self.low, 2.0, self.variances), self.mean)


def measure_fit(case: Fit) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the fitted run's gains, the flow's, and the rounding."""
    law, grid = case.law, make_grid("edm", "karras", case.steps)
    start = law.means + grid[0].sigma * np.array([[1.0], [-1.0]])
    gains = [np.asarray(gaussian_gain(law.spectra[0], grid[0], level)) for level in grid[1:]]
    targets = [law.means + gain * (start - law.means) for gain in gains]
    table = fit_table(law, start, grid, targets)
    found = gaussian_run(law, table, grid).gains[-1]
    growth = max(abs(number) for row in table.rows for number in row)
    return found, gains[-1], ROUNDING * EPS * growth * case.steps * 2**10


def compare_fit(data: tuple[np.ndarray, np.ndarray, float], formula: Any) -> Comparison:  # noqa: ARG001
    """Compare gains of all axes with the flow's: equal ones are W2 = 0."""
    found, exact, slack = data
    worst = int(np.argmax(np.abs(found / exact - 1)))
    return single(float(found[worst]), float(exact[worst]), slack * float(exact[worst]))


EVERY = Ranges(Point, {"solver": linear_solvers(), "process": ("edm", "flow")}, method="property")
NUMBERS = (*between(log=True, low=(0.05, 1.0)), *between(mean=(-3.0, 3.0)))
FITS = Ranges(Fit, {"variances": (1,), "steps": range(1, 9)}, NUMBERS, seeded=False)
WIDTH = between(log=True, low=(0.05, 0.5))
SEVERALS = Ranges(Fit, {"variances": (2, 3, 4), "steps": (3, 5)}, WIDTH, seeded=False)
MORE = Ranges(Fit, {"variances": (4,), "steps": (2,)}, WIDTH, seeded=False)


def altered(error: float) -> Callable[[tuple[float, ...]], tuple[float, ...]]:
    """Return the rows with their newest output's number off by a relative error."""
    return lambda row: (row[0], row[1] * (1 + error), *row[2:])


def _shortened(row: tuple[float, ...]) -> tuple[float, ...]:
    return row if len(row) == 2 else (*row[:-1], 0.0)


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    off = [abs(found / exact - 1).max() for found, exact, _ in results[SEVERAL].data]
    return [
        Number("solvers of one evaluation per step", len(linear_solvers()), key="solvers"),
        Number("largest relative error of a fitted gain", max(off)),
        Number("the same with more variances than numbers", _off(results["too many"].data)),
    ]


def _off(data: Any) -> float:
    return float(min(abs(found / exact - 1).max() for found, exact, _ in data))


CLAIM = Claim(
    id="linear-family",
    title="One family holds every solver of one evaluation per step",
    statement="every linear solver here with one evaluation per step is, on a grid, x_(i+1) = "
    "kappa_i x_i + sum b_ij D_j; on isotropic Gaussians two numbers per step follow the exact "
    "flow, and n steps end on it for centred Gaussians of at most n + 1 distinct variances",
    latex=(
        r"x_{i+1} = \kappa_i x_i + \sum_{j \le i} b_{ij} D_j, \qquad "
        r"\min_{\kappa, b} W_2 = 0 \text{ for } q \le n + 1",
    ),
    source="DDSS and GGDM (Watson et al., 2022), bespoke non-stationary solvers (Shaul et al., "
    "2024), S4S (2025)",
    kind="identity",
    owner="peer",
    conditions=(
        "each state alone, deterministic",
        "fits: exact flow, Karras grid to zero noise",
        "no more distinct variances than numbers in the last step",
    ),
    formula=altered(0.0),
    checks=(
        EVERY.check(POINT, 72, measure_point, compare_point),
        FITS.check(ISOTROPIC, 8, measure_fit, compare_fit),
        SEVERALS.check(SEVERAL, 6, measure_fit, compare_fit),
    ),
    controls=(
        NegativeControl("newest number off by 1e-6", altered(1e-6), (POINT,)),
        NegativeControl("oldest output left out", _shortened, (POINT,)),
    ),
    dropped=(
        Dropped(
            "no more variances than numbers", MORE.check("too many", 3, measure_fit, compare_fit)
        ),
    ),
    headline="All {solvers} solvers of one evaluation per step are points of one family, whose fit "
    "is exact on few-scale Gaussians.",
    numbers=_numbers,
    finding="Euler, DPM-Solver++, UniPC, DEIS and iPNDM differ only in the numbers of one table "
    "per grid. Fitted to the exact flow, step by step, that table ends on it where the data have "
    "no more variances than its last step has numbers; with more it cannot. The fit's price is "
    "counted beside the run's.",
    search=lambda _: [EVERY.space(POINT), FITS.space(ISOTROPIC)],
)
