r"""``chooser``: a pilot that chooses the solver of the run on its own fine run.

The first ``n`` states follow the flow by one fine run, as the pilot's do
(:mod:`steinlab.corrections.pilot`). From the same states, over the same grid, run the asked solver
and every candidate, which spends one evaluation per step, the least there is: plain, and with a
table of three directions that the other half of the states fitted. State by state

    delta_i = |y_i (candidate) - fine_i|^2 - |y_i (asked solver, plain) - fine_i|^2,

and of the candidates with ``mean(delta) + c se(delta) < 0`` the one of least mean takes the run of
the whole batch, its table fitted again on all ``n``. ``c`` is Student's quantile of 2.3 % over the
number of candidates, so that a choice among many is made no more lightly than one.

Guarantee: a candidate that brings the run no nearer to the fine run in mean square than the asked
solver does is chosen with probability 2.3 % at most, as far as the mean of ``n`` differences is
normal and the halves' tables stand for the one of all. It says nothing of the
candidates among themselves, of the law's other distances, nor of states so rare that the pilot
holds none.

A solver that follows the flow exactly is kept, to rounding. The order is that of the chosen solver.
Distances turn, shift and scale with the data, so the choice does too where its tables do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from steinlab.corrections.calibrated import Calibrated
from steinlab.corrections.fitted import (
    FITTED,
    LEAST_STATES,
    FittedOnTheRun,
    Followed,
    fine_price,
)
from steinlab.corrections.pilot import STATES, SUBSTEPS, cross_fitted, improves, plainly
from steinlab.corrections.prepared import Prepared
from steinlab.diffusion.grids import Grid
from steinlab.errors import InputError
from steinlab.solvers.base import Solver
from steinlab.solvers.loop import Run
from steinlab.solvers.plans import Plan, evaluations_on
from steinlab.solvers.registry import get_solver
from steinlab.solvers.step import NoCorrection
from steinlab.solvers.unit_speed import begins

CANDIDATES = ("euler", "dpmpp-2m", "dpmpp-3m-exact", "unipc-2", "ipndm-3", "unit-speed-3")

RUNS = 3
"""Runs of a candidate per state: plain, to fit, and with the table."""

GUARANTEE = (
    "a candidate that brings the run no nearer to its fine run in mean square than the solver "
    "asked for is chosen with a probability of 2.3 % at most"
)


def candidates(solver: Solver | Plan, grid: Grid) -> Iterator[Solver | Plan]:
    """Yield the asked solver, then the others that can begin where the grid does."""
    yield solver
    for one in (get_solver(name) for name in CANDIDATES if name != solver.name):
        if begins(one, grid[0]):
            yield one


def choose(run: Run, *, model: str, substeps: int = SUBSTEPS) -> Prepared:
    """Return what takes the run: a solver, its table or none, and what the choice cost per state.

    Parameters
    ----------
    run : Run
        Of the states to choose on, at least 5: two fit a table, three have a scatter.
    model : str
        What a table is for.
    substeps : int
        Steps of the fine run per step, at least 1.
    """
    count = run.x.shape[-2]
    if count < LEAST_STATES:
        raise InputError(f"chooser states must be >= {LEAST_STATES}, got {count}")
    asked = Followed.of(run, substeps)
    price, plain, found = fine_price(run.grid, substeps), plainly(asked), []
    for solver in candidates(run.solver, run.grid):
        flow = replace(asked, run=replace(run, solver=solver))
        price += RUNS * evaluations_on(solver, run.grid)
        own = plain if solver is run.solver else plainly(flow)
        found += [(own, flow, False), (cross_fitted(flow), flow, True)]
    better = [one for one in found if improves(one[0], plain, len(found) - 1)]
    if not better:
        note = f"no candidate gains on {count} states: {run.solver.name}, plain"
        return Prepared(NoCorrection(), "chooser", float(price), note)
    errors, flow, fitted = min(better, key=lambda one: float(one[0].mean()))
    name, solver = flow.run.solver.name, flow.run.solver
    note = f"chose {name}{' with a table' if fitted else ''} on {count} states: error over the "
    note += f"asked solver's {math.sqrt(errors.mean() / plain.mean()):.3g}"
    table = flow.table(FITTED, model) if fitted else None
    price += fitted * evaluations_on(solver, run.grid)
    correction = NoCorrection() if table is None else Calibrated(table)
    return Prepared(correction, "chooser", float(price), note, solver)


def price_of(solver: Solver | Plan, grid: Grid, substeps: int = SUBSTEPS) -> int:
    """Return the evaluations per pilot state, at most.

    Examples
    --------
    Eight steps to zero noise, 48 of 10,000 states, six solvers: 0.96 evaluations per state.

    >>> from steinlab.diffusion.grids import make_grid
    >>> price_of(get_solver("ipndm-3"), make_grid("edm", "karras", 8)) * 48 / 10_000
    0.9648
    """
    runs = [evaluations_on(one, grid) for one in candidates(solver, grid)]
    return fine_price(grid, substeps) + RUNS * sum(runs) + max(runs)


def chooser(*, states: int = STATES, substeps: int = SUBSTEPS) -> FittedOnTheRun:
    """Return the correction that chooses the solver of the run on its first states.

    Parameters
    ----------
    states : int
        The first so many states of the batch, at least 8.
    substeps : int
        Steps of the fine run per step, at least 1.
    """
    if substeps < 1:
        raise ValueError(f"substeps must be >= 1, got {substeps}")
    fit, price = partial(choose, substeps=substeps), partial(price_of, substeps=substeps)
    return FittedOnTheRun(fit, price, GUARANTEE, states, "chooser")
