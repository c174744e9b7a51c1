"""How far a budget of evaluations goes."""

from dataclasses import dataclass

import numpy as np
import pytest

from steinlab.diffusion.grids import GRIDS, make_grid
from steinlab.diffusion.processes import EDM, PROCESSES
from steinlab.errors import InputError
from steinlab.solvers import (
    DPMPP_3M_EXACT,
    EULER,
    HEUN,
    SOLVER_IDS,
    evaluations_on,
    get_solver,
    make_plan,
    matching_start,
)
from steinlab.solvers.loop import solve
from steinlab.solvers.plans import run_within
from tests.steinlab.solvers.cases import PLANE, Counted, states


@dataclass(frozen=True)
class Dear:
    """Three evaluations a step, five in the last."""

    name: str = "dear"
    order: int = 1
    depth: int = 0
    ends_at_zero: bool = True

    def evaluations(self, t):
        return 3 if t.sigma > 0 else 5


@pytest.mark.parametrize("solver", [get_solver(name, EDM) for name in SOLVER_IDS] + [Dear()])
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("zero", [False, True])
def test_no_longer_run_fits(solver, started, zero):
    finish = () if solver.ends_at_zero else (EULER,)
    options = {"start": matching_start(solver) if started else (), "finish": finish}
    for name in GRIDS:
        for budget in (5, 6, 7, 8, 9, 23, 100):
            plan, grid = run_within(solver, EDM, name, budget, **options, final_zero=zero)
            assert (grid[-1].sigma == 0) == zero
            assert plan == make_plan(solver, len(grid) - 1, **options)
            assert evaluations_on(plan, grid) <= budget
            longer = make_grid(EDM, name, len(grid), final_zero=zero)
            assert evaluations_on(make_plan(solver, len(grid), **options), longer) > budget


@pytest.mark.parametrize("budget", [3, 7, 8, 12])
def test_the_price_is_what_the_run_spends(budget):
    start = matching_start(DPMPP_3M_EXACT)
    plan, grid = run_within(DPMPP_3M_EXACT, EDM, "karras", budget, start=start)
    denoiser = Counted(PLANE)
    spent = solve(denoiser, states(grid), grid, plan).evaluations
    assert denoiser.calls == spent == evaluations_on(plan, grid) <= budget
    assert (len(grid) - 1, spent) == {3: (1, 1), 7: (3, 7), 8: (4, 8), 12: (8, 12)}[budget]


def test_heun_at_8_spends_7_and_euler_spends_all():
    assert evaluations_on(*run_within(HEUN, EDM, "karras", 8)) == 7
    assert evaluations_on(*run_within(EULER, EDM, "karras", 8)) == 8
    assert evaluations_on(*run_within(HEUN, EDM, "karras", 8, final_zero=False)) == 8


@pytest.mark.parametrize("process", PROCESSES.values(), ids=lambda p: p.name)
def test_all_budgets_start_at_the_same_level(process):
    starts = {run_within(EULER, process, "karras", budget)[1][0] for budget in (1, 2, 5, 9)}
    assert len(starts) == 1


def test_a_run_above_zero_ends_at_the_least_noisy_level():
    for budget in (1, 4):
        _, grid = run_within(EULER, EDM, "karras", budget, final_zero=False)
        assert len(grid) == budget + 1
        np.testing.assert_allclose([grid[0].sigma, grid[-1].sigma], [80, 0.002], rtol=1e-12)


def test_a_budget_below_one_step_names_the_solver():
    with pytest.raises(InputError, match=r"evaluations must be >= 5 for one step of dear, got 4"):
        run_within(Dear(), EDM, "karras", 4)
    started = r"must be >= 3 for one step of dpmpp-3m-exact, started by dpmpp-3s, got 2"
    options = {"start": matching_start(DPMPP_3M_EXACT), "final_zero": False}
    with pytest.raises(InputError, match=started):
        run_within(DPMPP_3M_EXACT, EDM, "karras", 2, **options)
