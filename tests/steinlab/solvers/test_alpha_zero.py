"""Runs that begin at ``alpha = 0``, where nothing of the data is left, and repeated levels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel, exact_flow
from steinlab.diffusion.denoisers import convert
from steinlab.diffusion.grids import given_grid, make_grid
from steinlab.diffusion.processes import EDM, FLOW, VP_COSINE, VP_LINEAR
from steinlab.solvers import EULER, SOLVER_IDS, get_solver, make_plan
from steinlab.solvers.loop import solve
from steinlab.solvers.phi import decaying_moments, interpolatory
from tests.steinlab.solvers.cases import PLANE, Counted

NOTHING = NoiseLevel(0.0, 1.0)
NOISE = np.random.default_rng(0).standard_normal((7, 2))
TIMES = [0.8, 0.6, 0.45, 0.25, 0.1]
REFUSED = (
    *("heun", "dpm-2", "pndm"),
    *(f"unipc-{p}-{form}" for form in ("bh1", "noise") for p in (1, 2, 3)),
    *("unit-speed-1", "unit-speed-1c", "unit-speed-2", "unit-speed-3"),
    *("pfdiff", "rx-2", "rx-3", "epd-2"),
)
"""Solvers whose first step has no limit."""


def grid(first: NoiseLevel) -> tuple[NoiseLevel, ...]:
    return (first, *(FLOW.level(t) for t in TIMES))


@pytest.mark.parametrize("law", [PLANE, EmpiricalMixture(NOISE, 0.1)], ids=["mixture", "empirical"])
def test_denoisers_know_the_mean_alone(law: Any) -> None:
    np.testing.assert_allclose(law(NOISE, NOTHING), np.tile(law.mean(), (7, 1)), atol=1e-15)
    assert not np.any(law.divergence(NOISE, NOTHING))
    np.testing.assert_allclose(law.score(NOISE, NOTHING), -NOISE, rtol=1e-14)


def test_levels_without_signal() -> None:
    for process in (FLOW, VP_LINEAR, VP_COSINE):
        assert process.level_at(math.inf) == NOTHING
    assert FLOW.level(1.0) == NOTHING
    assert NOTHING.ratio == math.inf
    assert NOTHING.lam == -math.inf
    stack = FLOW.level(np.array([[[1.0]], [[0.5]]]))
    assert stack.alpha.ravel().tolist() == [0.0, 0.5]
    assert stack.ratio.ravel().tolist() == [math.inf, 1.0]
    with pytest.raises(ValueError, match="ratio must be finite for edm, whose alpha is 1, got inf"):
        EDM.level_at(math.inf)
    with pytest.raises(ValueError, match="sigma must be > 0 where alpha is 0, got 0"):
        NoiseLevel(0.0, 0.0)


@pytest.mark.parametrize("law", [PLANE, GaussianMixture([0.4, 0.6], [-1.0, 1.5], [0.3, 0.5])])
def test_the_exact_flow_starts_there(law: GaussianMixture) -> None:
    """Against a start at ``alpha = delta``: both ends of the flow differ by ``O(delta)``."""
    x, t = NOISE[:, : law.dim], FLOW.level(0.1)
    found = exact_flow(law, x, NOTHING, t)
    for delta in (1e-5, 1e-7):
        near = exact_flow(law, x + delta * law.mean(), NoiseLevel(delta, 1.0), t)
        assert np.abs(found.state - near.state).max() < 10 * delta**2 + 2 * found.error.max()


def test_both_routes_of_the_flow_agree() -> None:
    law = GaussianMixture([0.4, 0.6], [-1.0, 1.5], [0.3, 0.5])
    line, ode = (
        exact_flow(law, NOISE[:, :1], NOTHING, FLOW.level(0.1), method=method)
        for method in ("cdf", "integrator")
    )
    assert np.all(np.abs(line.state - ode.state)[:, 0] <= line.error + ode.error)


@pytest.mark.parametrize("name", [name for name in SOLVER_IDS if name not in REFUSED])
def test_a_run_is_the_limit_of_runs_from_little_signal(name: str) -> None:
    """Adams methods in ``sigma`` or ``t`` tend to it like ``alpha``, others like ``1 / lam``."""
    solver = get_solver(name, FLOW)
    there = solve(PLANE, NOISE, grid(NOTHING), solver).state
    gaps = [
        np.abs(solve(PLANE, NOISE, grid(NoiseLevel(alpha, 1.0)), solver).state - there).max()
        for alpha in (1e-8, 1e-80)
    ]
    assert gaps[0] < 0.02
    assert gaps[1] < max(0.2 * gaps[0], 1e-9)


@pytest.mark.parametrize("name", REFUSED)
def test_a_step_without_a_limit_is_refused(name: str) -> None:
    solver = get_solver(name, FLOW)
    with pytest.raises(ValueError, match=r"from: alpha must be > 0 for \S+.*, got 0\.0; start"):
        solve(PLANE, NOISE, grid(NOTHING), solver)
    plan = make_plan(solver, len(TIMES), start=(EULER,))
    assert np.isfinite(solve(PLANE, NOISE, grid(NOTHING), plan).state).all()


def test_limits_of_moments_and_weights() -> None:
    assert decaying_moments(math.inf, 3) == [1.0, 1.0, 1.0]
    mixed = decaying_moments(np.array([math.inf, 2.0]), 2)
    np.testing.assert_allclose(
        mixed, np.array([[1.0, -math.expm1(-2)], [1, 1 + math.expm1(-2) / 2]])
    )
    far = interpolatory([0.0, -1e300, -1.0], [1.0, 0.7, 0.5])
    assert interpolatory([0.0, -math.inf, -1.0], [1.0, 0.7, 0.5]) == pytest.approx(far)
    with pytest.raises(ValueError, match="alpha must be 0 in every case of a stack or in none"):
        interpolatory([0.0, np.array([-1.0, -math.inf])], [1.0, 0.5])


def _output(x: Any, level: NoiseLevel) -> Any:
    return x


def test_predictions_that_do_not_say_what_d_is_are_refused() -> None:
    for prediction in ("eps", "score"):
        with pytest.raises(ValueError, match=f"alpha must be > 0 for the prediction {prediction}"):
            convert(_output, prediction)(NOISE, NOTHING)
    np.testing.assert_array_equal(convert(_output, "flow")(NOISE, NOTHING), 0 * NOISE)


def test_a_grid_begins_there_where_it_is_asked_to() -> None:
    levels = make_grid("flow", {"name": "time-uniform", "start": 1}, 4)
    assert levels[0] == NOTHING
    np.testing.assert_allclose([p.sigma for p in levels[:-1]], np.linspace(1, 1e-3, 4), rtol=1e-12)
    with pytest.raises(ValueError, match="grid karras spaces values of sigma/alpha, which is inf"):
        make_grid("flow", "karras:start=1", 4)
    with pytest.raises(
        ValueError, match=r"start must be a time of flow in \(0\.001, 1\], got 0\.0001"
    ):
        make_grid("flow", "karras:start=0.0001", 4)


REPEATED = given_grid(EDM, [10.0, 3.0, 1.0, 1.0, 0.5, 0.5], repeated=True)


@pytest.mark.parametrize("name", SOLVER_IDS)
def test_repeated_levels_are_refused_or_replayed(name: str) -> None:
    """A step of no length moves nothing, is paid for, and no history sees it."""
    solver = get_solver(name, EDM)
    with pytest.raises(ValueError, match=r"grid step 2: .*repeated=True replays it"):
        solve(PLANE, NOISE, REPEATED, solver)
    counted = Counted(PLANE)
    run = solve(counted, NOISE, REPEATED, solver, repeated=True)
    plain = solve(PLANE, NOISE, tuple(dict.fromkeys(REPEATED)), solver)
    np.testing.assert_array_equal(run.state, plain.state)
    assert run.evaluations == counted.calls == plain.evaluations + 2
