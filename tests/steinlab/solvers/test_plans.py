"""Plans: start-up, lower order at the end, and evaluations counted exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytic import NoiseLevel
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import EDM
from steinlab.solvers import (
    DPMPP_3M,
    EULER,
    HEUN,
    SOLVER_IDS,
    LinearMultistep,
    evaluations_on,
    get_solver,
    lowered,
    make_plan,
    matching_start,
)
from steinlab.solvers.loop import solve
from tests.steinlab.solvers.cases import PLANE, Counted, states, uneven_grid


@given(st.sampled_from(SOLVER_IDS), st.integers(1, 7), st.booleans(), st.booleans())
def test_evaluations_are_counted_exactly(name: str, steps: int, started: bool, zero: bool) -> None:
    solver = get_solver(name, EDM)
    grid = make_grid(EDM, "karras", steps, final_zero=zero)
    finish = () if solver.ends_at_zero else (EULER,)
    start = matching_start(solver) if started else ()
    plan = make_plan(solver, steps, start=start, finish=finish)
    denoiser = Counted(PLANE)
    solution = solve(denoiser, states(grid), grid, plan)
    assert denoiser.calls == solution.evaluations == evaluations_on(plan, grid)


@pytest.mark.parametrize("name", SOLVER_IDS)
def test_a_plan_of_nothing_special_is_the_solver(name: str) -> None:
    grid = uneven_grid(EDM)
    x, solver = states(grid), get_solver(name, EDM)
    plan = make_plan(solver, 6)
    assert plan.order == solver.order
    np.testing.assert_array_equal(
        solve(PLANE, x, grid, plan).state, solve(PLANE, x, grid, solver).state
    )
    assert evaluations_on(plan, grid) == evaluations_on(solver, grid)


def test_a_short_run_keeps_its_end_then_its_start() -> None:
    start, finish = matching_start(DPMPP_3M), lowered(DPMPP_3M, 2, 1)

    def widths(steps: int) -> list[str | int]:
        solvers = make_plan(DPMPP_3M, steps, start=start, finish=finish).solvers
        return [s.width if isinstance(s, LinearMultistep) else s.name for s in solvers]

    assert widths(1) == [1]
    assert widths(3) == ["dpmpp-2s", 2, 1]
    assert widths(5) == ["dpmpp-2s", "dpmpp-2s", 3, 2, 1]


def test_a_finish_lets_any_solver_end_at_zero() -> None:
    grid = uneven_grid(EDM, zero=True)
    solver = get_solver("deis-log-3")
    with pytest.raises(ValueError, match="sigma must be > 0"):
        evaluations_on(solver, grid)
    for finish in ((EULER,), lowered(solver, 1)):
        plan = make_plan(solver, 6, finish=finish)
        assert np.isfinite(solve(PLANE, states(grid), grid, plan).state).all()


def test_single_steps_need_no_start() -> None:
    assert matching_start(HEUN) == ()
    assert matching_start(EULER) == ()


@pytest.mark.parametrize("shape", [(), (2, 1, 1)], ids=["one", "stack"])
def test_a_grid_must_go_from_noise_to_data(shape: tuple[int, ...]) -> None:
    level = [NoiseLevel(np.ones(shape)[()], np.full(shape, s)[()]) for s in (2.0, 1.0, 1.5, 0.0)]
    for order, message in (
        ((0, 1, 2), "grid step 1: to must be less noisy"),
        ((0, 3, 1), "grid step 1: from: sigma must be > 0"),
        ((0,), "grid must hold at least 2 levels, got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            solve(PLANE, np.zeros((2, 3, 2)), [level[i] for i in order], EULER)


def test_bad_plans() -> None:
    grid = uneven_grid(EDM)
    with pytest.raises(ValueError, match="steps must be >= 1, got 0"):
        make_plan(EULER, 0)
    with pytest.raises(ValueError, match="one solver per step, 6 in all, got 5"):
        solve(PLANE, states(grid), grid, make_plan(EULER, 5))
    with pytest.raises(ValueError, match="nodes must be in 1 to 3 for dpmpp-3m, got 4"):
        lowered(DPMPP_3M, 4)
