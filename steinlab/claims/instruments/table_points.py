"""Solvers of one evaluation per step as tables of numbers, which must take the same steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from steinlab.claims.instruments.ranges import Ranges
from steinlab.claims.instruments.sized_runs import linear_solvers, run_sized, uneven_grid
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.grids import Grid
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import get_solver
from steinlab.solvers.linear_family import LinearTable, as_table
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Check
from steinlab.verification.comparison import Comparison, single

STEPS = 5
Row = tuple[float, ...]
"""A step's numbers, as :class:`~steinlab.solvers.linear_family.LinearTable` has them."""


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


def measure(case: Point) -> Ends:
    """Run the solver, and write its table."""
    grid, solver = case.grid(), get_solver(case.solver, PROCESSES[case.process])
    run = run_sized(solver, grid)
    return Ends(case, as_table(solver, grid), run.value[0], run.size[0])


def compare(data: Ends, alter: Callable[[Row], Row]) -> Comparison:
    """Compare the first state's end with that of the table, its rows altered."""
    rows = tuple(alter(row) for row in data.table.rows)
    found = run_sized(replace(data.table, rows=rows), data.case.grid())
    growth = sum(abs(number) for row in data.table.rows for number in row)
    slack = float((ROUNDING * EPS * growth * (data.size + found.size[0])).item())
    scale = np.maximum(np.abs(data.ends), 0.1).ravel()
    return single(float(data.ends.item()), float(found.value[0].item()), slack, scale=scale)


POINTS = Ranges(Point, {"solver": linear_solvers(), "process": ("edm", "flow")}, method="property")


def point_check(name: str, count: int) -> Check:
    """Return the check of ``count`` points; its formula alters a table's rows, or does not."""
    return POINTS.check(name, count, measure, compare)


def altered(error: float) -> Callable[[Row], Row]:
    """Return the rows with their newest output's number off by a relative error."""
    return lambda row: (row[0], row[1] * (1 + error), *row[2:])


def shortened(row: Row) -> Row:
    """Return the row without its oldest output."""
    return row if len(row) == 2 else (*row[:-1], 0.0)
