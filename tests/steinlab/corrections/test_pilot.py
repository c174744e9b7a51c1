"""The pilot: judged on states that did not fit, priced as it calls, rarely wrong without a gain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from steinlab.corrections import pilot
from steinlab.corrections.fitted import Followed
from steinlab.corrections.pilot import (
    STATES,
    cross_fitted,
    fit_pilot,
    improves,
    plainly,
    price_of,
    squares,
)
from steinlab.errors import InputError
from steinlab.solvers import EULER, Candidate
from steinlab.solvers.loop import Run, solve
from steinlab.solvers.step import NoCorrection, Step
from tests.steinlab.corrections.test_fitted import GRID, RNG, LeftEuler, Perfect, start
from tests.steinlab.solvers.cases import PLANE, Counted


class Weighing(Counted):
    """Counts the states that it is asked about."""

    def __call__(self, x: Any, level: Any) -> Any:
        self.calls += len(x) - 1
        return super().__call__(x, level)


@pytest.mark.parametrize("solver", [EULER, Perfect()], ids=["kept", "not"])
def test_the_price_is_what_is_called_and_reported_once(solver: Any) -> None:
    weighing, x, kept = Weighing(PLANE), start(4 * STATES), solver.name != "perfect"
    done = solve(weighing, x, GRID, solver, correction=pilot(substeps=16)).diagnostics
    price = price_of(solver, GRID, 16, kept=kept)
    assert done[0].evaluations == pytest.approx(price / 4)
    assert not any(entry.evaluations for entry in done[1:])
    assert done[0].note.startswith("no gain") != kept
    if kept:  # the perfect solver counts one evaluation where it calls many
        assert weighing.calls == price * STATES + 5 * len(x)
    assert price <= price_of(solver, GRID, 16)


def test_it_helps_fresh_states_and_says_where_it_does_not() -> None:
    run = Run(PLANE, start(STATES), GRID, EULER)
    table = fit_pilot(run, model="plane")
    assert not table.note
    fresh = Followed.of(Run(PLANE, start(1000, seed=5), GRID, EULER), 16)
    moved = fresh.ends(pilot())
    plain = squares(fresh, NoCorrection())
    assert moved is not None
    assert np.mean(np.sum((moved - fresh.states[-1]) ** 2, axis=1)) < 0.5 * plain.mean()
    left = fit_pilot(Run(PLANE, start(STATES), GRID, Perfect()), model="plane", substeps=16)
    assert left.note.startswith("no gain")
    assert {amount for step in left.steps for amount in step.move.values()} == {0.0}


def test_states_that_fitted_do_not_judge() -> None:
    """Fitted on the left, where the solver errs, a table harms on the right, where it does not."""
    law = GaussianMixture(np.array([0.5, 0.5]), np.array([[-6.0, 0.0], [6.0, 0.0]]), 0.5)
    grid = (NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.3), NoiseLevel(1.0, 0.1))
    rng = np.random.default_rng(0)
    x = law.sample(80, rng) + rng.standard_normal((80, 2))
    left = x[:, 0] < 0
    x = np.concatenate([x[left][:24], x[~left][:24]])
    run = Run(law, x, grid, LeftEuler())
    assert fit_pilot(run, model="two", substeps=16).note
    flow = Followed.of(run, 16)
    one = flow.part(slice(24))
    assert improves(cross_fitted(one), plainly(one))  # the left alone has something to mend
    right = cross_fitted(flow)[24:] - plainly(flow)[24:]
    assert right.mean() > 0


def test_no_gain_is_taken_for_one_at_the_stated_rate() -> None:
    """Differences without a mean: 2.3 %, whatever their number."""
    rng = np.random.default_rng(0)
    for n in (8, 48):
        zero = np.zeros(n)
        taken = np.mean([improves(rng.standard_normal(n), zero) for _ in range(20_000)])
        assert abs(taken - 0.02275) < 4 * np.sqrt(0.02275 * 0.97725 / 20_000)
        assert not improves(np.full(n, np.inf), zero)


class Bursting(Perfect):
    """Leaves the finite numbers where it is not corrected back in time."""

    def step(self, denoiser: Any, x: Any, s: NoiseLevel, t: NoiseLevel, history: Any) -> Candidate:  # noqa: ARG002
        end = np.full_like(x, 1e200) if t.sigma > 0 else np.full_like(x, np.inf)
        return Candidate(end, x - end, denoiser(x, s), None, 1)


def test_a_run_that_leaves_the_numbers_is_left_to_the_plain_solver() -> None:
    run = Run(PLANE, start(16), GRID, Bursting())
    with np.errstate(all="ignore"):
        assert np.isinf(squares(Followed.of(run, 2), NoCorrection())).all()
        table = fit_pilot(run, model="plane")
    assert table.note.startswith("no gain")


def test_options_and_batches_are_checked() -> None:
    with pytest.raises(ValueError, match="states must be >= 8, got 7"):
        pilot(states=7)
    with pytest.raises(ValueError, match="substeps must be >= 1, got 0"):
        pilot(substeps=0)
    with pytest.raises(InputError, match="pilot states must be >= 5, got 4"):
        solve(PLANE, start(4), GRID, EULER, correction=pilot())
    with pytest.raises(TypeError, match="pilot must be prepared"):
        pilot()(Step.take(PLANE, EULER, start(9), GRID[0], GRID[1]), RNG)
