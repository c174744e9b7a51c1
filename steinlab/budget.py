"""How many steps a budget of denoiser evaluations buys."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from steinlab.errors import InputError
from steinlab.grids import Grid, make_grid
from steinlab.processes import Process
from steinlab.solvers import Plan, Solver, evaluations_on, make_plan


def run_within(
    solver: Solver,
    process: Process,
    grid: str,
    evaluations: int,
    *,
    start: Sequence[Solver] = (),
    finish: Sequence[Solver] = (),
    final_zero: bool = True,
) -> tuple[Plan, Grid]:
    """Return the run of the most steps that a budget pays for: its solvers and its grid.

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
    start, finish : sequence of Solver
        Take the first and the last steps, and are paid for: :func:`steinlab.solvers.make_plan`.
    final_zero : bool
        Whether the grid ends at zero noise or at the process's least noisy level.

    Raises
    ------
    InputError
        If the budget does not pay for one step.
    ValueError
        If the grid ends at zero noise and the last solver cannot.

    Examples
    --------
    >>> from steinlab.processes import EDM
    >>> from steinlab.solvers import DPMPP_2M, HEUN, matching_start
    >>> plan, levels = run_within(HEUN, EDM, "karras", 8)
    >>> len(levels) - 1, evaluations_on(plan, levels)
    (4, 7)
    >>> plan, levels = run_within(DPMPP_2M, EDM, "karras", 8, start=matching_start(DPMPP_2M))
    >>> len(levels) - 1, evaluations_on(plan, levels)
    (7, 8)
    """

    def run(steps: int) -> tuple[Plan, Grid]:
        plan = make_plan(solver, steps, start=start, finish=finish)
        return plan, make_grid(process, grid, steps, final_zero=final_zero)

    def price(steps: int) -> int:
        return evaluations_on(*run(steps))

    least = price(1)
    if least > evaluations:
        first = run(1)[0].solvers[0].name
        name = solver.name if first == solver.name else f"{solver.name}, started by {first}"
        raise InputError(
            f"evaluations must be >= {least} for one step of {name}, got {evaluations}"
        )
    return run(bisect.bisect_right(range(1, evaluations + 1), evaluations, key=price))
