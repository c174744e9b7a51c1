"""The chooser: the best of the candidates takes the run, priced as it calls, rarely for nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from steinlab.corrections import chooser
from steinlab.corrections.chooser import CANDIDATES, candidates, choose, price_of
from steinlab.corrections.fitted import Followed
from steinlab.corrections.pilot import STATES, improves, squares
from steinlab.diffusion.grids import make_grid
from steinlab.errors import InputError
from steinlab.solvers import EULER, HEUN, get_solver
from steinlab.solvers.loop import Run, solve
from steinlab.solvers.plans import evaluations_on, make_plan
from steinlab.solvers.step import NoCorrection, Step
from tests.steinlab.corrections.test_fitted import GRID, RNG, Perfect, start
from tests.steinlab.corrections.test_pilot import Bursting, Weighing
from tests.steinlab.solvers.cases import PLANE

FINE = make_grid("edm", "karras", 6)


@pytest.mark.parametrize("solver", [EULER, Perfect()], ids=["chosen", "kept"])
def test_the_price_is_what_is_called_and_reported_once(solver: object) -> None:
    weighing, x = Weighing(PLANE), start(4 * STATES)
    run = solve(weighing, x, GRID, solver, correction=chooser(substeps=16))  # type: ignore[arg-type]
    first, *rest = run.diagnostics
    assert not any(entry.evaluations for entry in rest)
    assert 0 < first.evaluations <= price_of(solver, GRID, 16) / 4  # type: ignore[arg-type]
    if solver is EULER:  # the perfect solver counts one evaluation where it calls many
        assert first.note.startswith("chose ")
        assert weighing.calls == 4 * first.evaluations * STATES + run.evaluations * len(x)


def test_the_run_is_that_of_the_chosen_solver_from_its_own_first_step() -> None:
    whole = start(500)
    made = choose(Run(PLANE, whole[:STATES], FINE, EULER), model="plane")
    assert made.solver is not None
    assert made.solver.name in CANDIDATES[1:]
    found = solve(PLANE, whole, FINE, EULER, correction=chooser())
    other = solve(PLANE, whole, FINE, made.solver, correction=made.correction)
    assert np.array_equal(found.state, other.state)
    assert found.evaluations == other.evaluations


def test_it_helps_fresh_states_more_than_any_candidate_by_itself() -> None:
    run = Run(PLANE, start(STATES), FINE, EULER)
    made = choose(run, model="plane")
    fresh = Followed.of(replace(run, x=start(800, seed=5)), 16)
    errors = {
        one.name: squares(replace(fresh, run=replace(fresh.run, solver=one)), NoCorrection()).mean()
        for one in candidates(EULER, FINE)
    }
    chosen = replace(fresh, run=replace(fresh.run, solver=made.solver or EULER))
    assert squares(chosen, made.correction).mean() < min(errors.values())


def test_a_solver_that_follows_the_flow_is_kept_plain() -> None:
    run = Run(PLANE, start(STATES), GRID, Perfect())
    made = choose(run, model="plane", substeps=16)
    assert made.solver is None
    assert isinstance(made.correction, NoCorrection)
    assert made.note == "no candidate gains on 48 states: perfect, plain"


def test_candidates_spend_the_least_and_a_plan_stays_the_asked_solver() -> None:
    names = [one.name for one in candidates(HEUN, FINE)]
    assert names == ["heun", *CANDIDATES]
    assert {evaluations_on(get_solver(name), FINE) for name in CANDIDATES} == {6}
    plan = make_plan(get_solver("dpmpp-2m"), 6, finish=(EULER,))
    assert next(candidates(plan, FINE)) is plan
    assert [one.name for one in candidates(plan, FINE)].count("dpmpp-2m") == 1


def test_candidates_that_leave_the_numbers_are_no_choice() -> None:
    with np.errstate(all="ignore"):
        made = choose(Run(PLANE, start(16), GRID, Bursting()), model="plane")
    assert made.solver is None  # nothing to compare with: the asked solver has no finite error


def test_from_pure_noise_it_chooses_among_those_that_can_begin_there() -> None:
    grid = make_grid("flow", "time-uniform:start=1", 5)
    x = np.random.default_rng(0).standard_normal((60, 2))
    assert "unit-speed-3" not in [one.name for one in candidates(EULER, grid)]
    done = solve(PLANE, x, grid, EULER, correction=chooser()).diagnostics
    assert "48 states" in done[0].note


def test_many_tries_share_the_level() -> None:
    """Eleven candidates without a gain: one of them passes in at most 2.3 % of draws."""
    rng = np.random.default_rng(0)
    zero, draws = np.zeros(48), 1500
    taken = np.mean(
        [
            any(improves(one, zero, 11) for one in rng.standard_normal((11, 48)))
            for _ in range(draws)
        ]
    )
    assert abs(taken - 0.02275) < 4 * np.sqrt(0.02275 / draws)


def test_options_and_batches_are_checked() -> None:
    with pytest.raises(ValueError, match="states must be >= 8, got 7"):
        chooser(states=7)
    with pytest.raises(ValueError, match="substeps must be >= 1, got 0"):
        chooser(substeps=0)
    with pytest.raises(InputError, match="chooser states must be >= 5, got 4"):
        solve(PLANE, start(4), GRID, EULER, correction=chooser())
    with pytest.raises(TypeError, match="chooser must be prepared"):
        chooser()(Step.take(PLANE, EULER, start(9), GRID[0], GRID[1]), RNG)
