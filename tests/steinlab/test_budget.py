"""How far a budget of evaluations goes."""

from dataclasses import dataclass

import pytest

from steinlab.budget import ends_at_zero, grid_within, spent_on
from steinlab.errors import InputError
from steinlab.grids import GRIDS, make_grid
from steinlab.processes import EDM, PROCESSES
from steinlab.solvers import EULER, HEUN, SOLVERS


@dataclass(frozen=True)
class Dear:
    """Three evaluations a step, five in the last."""

    name: str = "dear"
    order: int = 1
    depth: int = 0
    ends_at_zero: bool = False

    def evaluations(self, t):
        return 3 if t.sigma > 0 else 5


@pytest.mark.parametrize("solver", [*SOLVERS.values(), Dear()], ids=lambda s: s.name)
@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("budget", [5, 6, 7, 8, 9, 23, 100])
def test_no_longer_grid_fits(solver, name, budget):
    grid = grid_within(solver, EDM, name, budget)
    assert grid[-1].sigma == 0
    assert spent_on(solver, grid) <= budget
    assert spent_on(solver, make_grid(EDM, name, len(grid))) > budget


def test_heun_at_8_spends_7_and_euler_spends_all():
    assert spent_on(HEUN, grid_within(HEUN, EDM, "karras", 8)) == 7
    assert spent_on(EULER, grid_within(EULER, EDM, "karras", 8)) == 8


@pytest.mark.parametrize("process", PROCESSES.values(), ids=lambda p: p.name)
def test_all_budgets_start_at_the_same_level(process):
    starts = {grid_within(EULER, process, "karras", budget)[0] for budget in (1, 2, 5, 9)}
    assert len(starts) == 1


def test_a_budget_below_one_step_names_the_solver():
    with pytest.raises(InputError, match=r"evaluations must be >= 5 for one step of dear, got 4"):
        grid_within(Dear(), EDM, "karras", 4)


def test_solvers_may_refuse_zero_noise():
    assert ends_at_zero(EULER)
    assert not ends_at_zero(Dear())
