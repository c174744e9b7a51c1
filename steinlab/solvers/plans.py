"""Which solver takes which step of a run, and how many steps a budget of evaluations buys.

A :class:`Plan` has one solver per step. Any mixture can be written down; two rules are common:

    start-up     the first ``width - 1`` steps of a multistep solver lack a past. By itself the
                 solver takes them at lower order, as peers do; :func:`matching_start` gives them
                 to a single-step solver of matching order, whose evaluations are counted.
    final order  peers' ``lower_order_final`` means three things in three libraries. Here
                 :func:`lowered` says how many outputs each of the last steps combines.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from analytic import NoiseLevel
from steinlab.diffusion.grids import Grid, given_steps, make_grid
from steinlab.diffusion.processes import Process
from steinlab.errors import InputError
from steinlab.solvers.base import LinearMultistep, Solver, require_end
from steinlab.solvers.euler import EULER
from steinlab.solvers.single import DPMPP_2S, DPMPP_3S


@dataclass(frozen=True)
class Plan:
    """A run's solvers, from the first step to the last."""

    name: str
    order: int  # global, first and last steps considered
    solvers: tuple[Solver, ...]

    @cached_property
    def depth(self) -> int:
        """Past evaluations that the loop must keep."""
        return max(solver.depth for solver in self.solvers)


def matching_start(solver: Solver) -> tuple[Solver, ...]:
    """Return single-step solvers for the first steps of a multistep solver without own starters.

    Guarantee: the solver then reaches its ``full_order``, since a fixed number of steps of local
    error ``h^(p+1)`` adds ``h^(p+1)`` to the global error.

    Examples
    --------
    >>> from steinlab.solvers import DPMPP_3M_EXACT
    >>> [starter.name for starter in matching_start(DPMPP_3M_EXACT)]
    ['dpmpp-3s', 'dpmpp-3s']
    """
    if not isinstance(solver, LinearMultistep) or solver.starters:
        return ()
    full = solver.full_order or solver.order
    starter = DPMPP_3S if full > 2 else DPMPP_2S
    return (starter,) * (solver.width - 1)


def lowered(solver: LinearMultistep, *nodes: int) -> tuple[Solver, ...]:
    """Return the solver of each of the last steps, given the number of outputs each combines.

    ``lowered(DPMPP_3M, 2, 1)`` ends a run with a two-output step and an Euler step, as peers do
    below 15 steps (DPM-Solver++, DEIS in diffusers) or always (UniPC).
    """
    return tuple(solver.narrowed(count) for count in nodes)


def make_plan(
    solver: Solver, steps: int, *, start: Sequence[Solver] = (), finish: Sequence[Solver] = ()
) -> Plan:
    """Return the plan of a run of ``steps`` steps.

    Parameters
    ----------
    solver : Solver
        Takes every step that the others do not.
    steps : int
        At least 1.
    start : sequence of Solver
        Take the first steps; see :func:`matching_start`. By default the solver's own starters.
    finish : sequence of Solver
        Take the last steps; see :func:`lowered`. A run too short for all takes the last of
        ``finish``, and then the first of ``start``.

    Examples
    --------
    >>> from steinlab.solvers import DPMPP_3M, EULER
    >>> plan = make_plan(DPMPP_3M, 5, start=(EULER,), finish=lowered(DPMPP_3M, 2, 1))
    >>> [getattr(solver, "width", 1) for solver in plan.solvers]
    [1, 3, 3, 2, 1]
    """
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")
    last = tuple(finish)[-steps:] if finish else ()
    first = (tuple(start) or _starters(solver))[: steps - len(last)]
    middle = (solver,) * (steps - len(first) - len(last))
    return Plan(solver.name, _order(solver, first, last), (*first, *middle, *last))


def _starters(solver: Solver) -> tuple[Solver, ...]:
    return solver.starters if isinstance(solver, LinearMultistep) else ()


def _order(solver: Solver, first: Sequence[Solver], last: Sequence[Solver]) -> int:
    """Guaranteed order: a few steps of local error ``h^(q+1)`` cap that of the run at ``q + 1``.

    For the last steps, which no corrector follows, ``q`` is the number of outputs combined.
    """
    order = solver.order
    own = _starters(solver)
    if isinstance(solver, LinearMultistep) and not own and len(first) >= solver.width - 1:
        order = solver.full_order or solver.order
    starts = [one.order for one in first]
    ends = [one.width if isinstance(one, LinearMultistep) else one.order for one in last]
    return min([order, *(q + 1 for q in starts + ends)])


def plan_of(solver: Solver | Plan, grid: Sequence[NoiseLevel]) -> tuple[Solver, ...]:
    """Return the solver of each step of a grid.

    Raises
    ------
    ValueError
        If a plan is for another number of steps, or the last solver cannot end where the grid
        does.
    """
    steps = len(grid) - 1
    if isinstance(solver, Plan):
        if len(solver.solvers) != steps:
            raise ValueError(
                f"plan must hold one solver per step, {steps} in all, got {len(solver.solvers)}"
            )
        solvers = solver.solvers
    else:
        solvers = make_plan(solver, steps).solvers
    require_end(solvers[-1], grid[-1])
    return solvers


def evaluations_on(solver: Solver | Plan, grid: Sequence[NoiseLevel]) -> int:
    """Return the denoiser evaluations of a run over a grid, start-up included.

    Examples
    --------
    >>> from steinlab.diffusion.grids import make_grid
    >>> from steinlab.diffusion.processes import EDM
    >>> from steinlab.solvers import DPMPP_3M_EXACT, HEUN
    >>> grid = make_grid(EDM, "karras", 6)
    >>> evaluations_on(HEUN, grid)
    11
    >>> evaluations_on(make_plan(DPMPP_3M_EXACT, 6, start=matching_start(DPMPP_3M_EXACT)), grid)
    10
    """
    solvers = plan_of(solver, grid)
    return sum(one.evaluations(t) for one, t in zip(solvers, grid[1:], strict=True))


def run_within(
    solver: Solver,
    process: Process,
    grid: str,
    evaluations: int | None,
    *,
    start: Sequence[Solver] = (),
    finish: Sequence[Solver] = (),
    final_zero: bool = True,
) -> tuple[Plan, Grid]:
    """Return the plan and the grid of the longest run within a budget of evaluations.

    The budget may not be spent exactly: Heun, with one evaluation in the last step, spends 7 of 8.

    Parameters
    ----------
    solver : Solver
    process : Process
    grid : str
        A name, with options where it has some (:func:`steinlab.diffusion.grids.grid_name`).
    evaluations : int, optional
        The budget of denoiser evaluations, at least the cost of one step. A grid of given levels is
        run whole, and needs none.
    start, finish : sequence of Solver
        Take the first and the last steps, within the budget: :func:`make_plan`. By default a
        first-order step finishes a run to zero noise of a solver that cannot end there.
    final_zero : bool
        Whether the grid ends at zero noise or at the process's least noisy level. Given levels end
        where they end.

    Raises
    ------
    InputError
        If the budget is below the cost of one step, or of the given levels.
    ValueError
        If the grid ends at zero noise and the last of ``finish`` cannot.

    Examples
    --------
    >>> from steinlab.diffusion.processes import EDM
    >>> from steinlab.solvers import DPMPP_2M, HEUN, matching_start
    >>> plan, levels = run_within(HEUN, EDM, "karras", 8)
    >>> len(levels) - 1, evaluations_on(plan, levels)
    (4, 7)
    >>> plan, levels = run_within(DPMPP_2M, EDM, "karras", 8, start=matching_start(DPMPP_2M))
    >>> len(levels) - 1, evaluations_on(plan, levels)
    (7, 8)
    """
    steps = given_steps(grid)
    if steps is not None:
        final_zero = make_grid(process, grid)[-1].sigma == 0
    if final_zero and not finish and not solver.ends_at_zero:
        finish = (EULER,)

    def run(steps: int) -> tuple[Plan, Grid]:
        plan = make_plan(solver, steps, start=start, finish=finish)
        return plan, make_grid(process, grid, steps, final_zero=final_zero)

    def price(steps: int) -> int:
        return evaluations_on(*run(steps))

    least = price(steps or 1)
    if evaluations is None and steps:
        evaluations = least
    if evaluations is None or least > evaluations:
        first = run(steps or 1)[0].solvers[0].name
        name = solver.name if first == solver.name else f"{solver.name}, started by {first}"
        run_of = f"the {steps} given steps" if steps else "one step"
        raise InputError(
            f"evaluations must be >= {least} for {run_of} of {name}, got {evaluations}"
        )
    if steps:
        return run(steps)
    return run(bisect.bisect_right(range(1, evaluations + 1), evaluations, key=price))
