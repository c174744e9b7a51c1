"""How many steps a budget of denoiser evaluations buys."""

from __future__ import annotations

import bisect

from steinlab.errors import InputError
from steinlab.grids import Grid, make_grid
from steinlab.processes import Process
from steinlab.solvers import Solver


def spent_on(solver: Solver, grid: Grid) -> int:
    """Return the denoiser evaluations that the solver spends on a grid."""
    return sum(solver.evaluations(level) for level in grid[1:])


def grid_within(solver: Solver, process: Process, grid: str, evaluations: int) -> Grid:
    """Return the grid of the most steps, down to zero noise, that a budget pays for.

    Evaluations grow with the number of steps, so the number is found by bisection. The budget may
    not be spent exactly: Heun, with one evaluation in the last step, spends 7 of 8.

    Parameters
    ----------
    solver : Solver
    process : Process
    grid : str
        A name in :data:`steinlab.grids.GRIDS`.
    evaluations : int
        The budget, at least what one step costs.

    Raises
    ------
    InputError
        If the budget does not pay for one step.

    Examples
    --------
    >>> from steinlab.processes import EDM
    >>> from steinlab.solvers import HEUN
    >>> levels = grid_within(HEUN, EDM, "karras", 8)
    >>> len(levels) - 1, spent_on(HEUN, levels)
    (4, 7)
    """

    def price(steps: int) -> int:
        return spent_on(solver, make_grid(process, grid, steps))

    if price(1) > evaluations:
        raise InputError(
            f"evaluations must be >= {price(1)} for one step of {solver.name}, got {evaluations}"
        )
    steps = bisect.bisect_right(range(1, evaluations + 1), evaluations, key=price)
    return make_grid(process, grid, steps)


def ends_at_zero(solver: Solver) -> bool:
    """Return whether the solver can step to zero noise; one that cannot says ``ends_at_zero``."""
    return bool(getattr(solver, "ends_at_zero", True))
