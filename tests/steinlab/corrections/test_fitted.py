"""Fits to the flow: least squares, neutral where exact, kept only where they help, priced."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from analytic import GaussianMixture, NoiseLevel
from steinlab.corrections import auto_v1, calibrated, fitted, flow_oracle, stein
from steinlab.corrections.directions import DIRECTIONS
from steinlab.corrections.fitted import LEAST_STATES, calibrate, calibration_price
from steinlab.corrections.flow_oracle import LIMIT, FlowFit, least_squares, same_start
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.guidance import guided, thresholded
from steinlab.diffusion.networks import edm_denoiser
from steinlab.diffusion.processes import EDM
from steinlab.errors import InputError
from steinlab.estimates import Estimate
from steinlab.metrics import energy_distance
from steinlab.solvers import EULER, Candidate, get_solver
from steinlab.solvers.loop import Run, solve
from steinlab.solvers.reference_flow import fine_run, trajectory
from steinlab.solvers.step import Step
from tests.steinlab.solvers.cases import PLANE, Counted

S, T = NoiseLevel(1.0, 1.5), NoiseLevel(1.0, 0.5)
GRID = make_grid(EDM, "karras", 5)
RNG = np.random.default_rng(0)
NAMES = ("residual", "noise", "slope")


def start(n: int, seed: int = 0, level: NoiseLevel = GRID[0]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(PLANE.sample(n, rng) + level.sigma * rng.standard_normal((n, PLANE.dim)))


class Perfect:
    """A solver that follows the flow itself."""

    name, order, depth, ends_at_zero = "perfect", 9, 0, True

    def evaluations(self, t: NoiseLevel) -> int:  # noqa: ARG002
        return 49

    def step(self, denoiser: Any, x: Any, s: NoiseLevel, t: NoiseLevel, history: Any) -> Candidate:  # noqa: ARG002
        end = fine_run(denoiser, x, s, t)
        return Candidate(end, x - end, denoiser(x, s), None, 49)


def run_of(x: Any, solver: Any, denoiser: Any = PLANE, grid: Any = GRID) -> Run:
    return Run(denoiser, x, grid, solver)


def step_of(x: Any, solver: Any) -> Step:
    return Step.take(PLANE, solver, x, S, T)


def test_the_oracle_is_the_best_scalar_and_neutral_for_an_exact_step() -> None:
    step = step_of(start(400, level=S), EULER)
    state, done = flow_oracle()(step, RNG)
    end, u = fine_run(PLANE, step.x, S, T), step.candidate.residual
    best = np.mean((state - end) ** 2)
    for off in (-1e-3, 1e-3):
        assert np.mean((step.x - (done.gamma + off) * u - end) ** 2) > best
    assert abs(done.gamma - 1.0) > 1e-2
    assert flow_oracle()(step_of(step.x, Perfect()), RNG)[1].gamma == pytest.approx(1.0, abs=1e-12)


def test_the_oracle_is_charged_what_it_evaluates() -> None:
    """To zero noise, too: one evaluation more in the last step."""
    counted = Counted(PLANE)
    done = solve(counted, start(8), GRID, EULER, correction=flow_oracle(substeps=4))
    spent = sum(one.evaluations for one in done.diagnostics)
    assert spent == 12 * (len(GRID) - 1) + 1
    assert counted.calls == spent + done.evaluations


def test_the_fit_is_least_squares() -> None:
    """Normal equations: what is left over is orthogonal to every direction, up to the ridge."""
    step = step_of(start(400, level=S), EULER)
    names = ("residual", "noise")
    gap = fine_run(PLANE, step.x, S, T) - step.candidate.state
    found, _ = least_squares(step, names, gap)
    left = gap - sum(found[name] * DIRECTIONS[name](step) for name in names)
    for name in names:
        field = DIRECTIONS[name](step)
        size = np.sqrt((field**2).sum() * (gap**2).sum())
        assert abs((left * field).sum()) < 1e-3 * size
        assert abs((gap * field).sum()) > 1e-2 * size
    fit = FlowFit(lambda step: fine_run(step.denoiser, step.x, step.s, step.t), names)
    state, done = fit(step, RNG)
    assert done.gamma == 1.0 - found["residual"]
    assert np.mean((state - step.candidate.state - gap) ** 2) < 0.5 * np.mean(gap**2)


def test_a_direction_that_hardly_exists_is_dropped() -> None:
    step = step_of(start(400, level=S), EULER)
    gap = 2 * LIMIT * DIRECTIONS["noise"](step)
    assert least_squares(step, ("noise",), gap) == ({"noise": 0.0}, [])
    kept, _ = least_squares(step, ("noise",), gap / 4)
    assert kept["noise"] == pytest.approx(LIMIT / 2, rel=1e-4)


def test_a_coefficient_within_its_error_is_dropped_and_named() -> None:
    """Of gaps that are noise, the share of coefficients beyond one error is that of a normal."""
    step, names, rng = step_of(start(300, level=S), EULER), ("noise",), np.random.default_rng(1)
    noise = rng.standard_normal((400, *step.x.shape)) * (1 + np.abs(step.x))  # uneven states
    kept = [least_squares(step, names, gap, 1.0)[0]["noise"] != 0 for gap in noise]
    assert abs(np.mean(kept) - 0.317) < 4 * np.sqrt(0.317 * 0.683 / len(noise))
    clear = 0.5 * DIRECTIONS["noise"](step)
    move, doubtful = least_squares(step, ("noise", "state"), clear + 0.01 * noise[0], 2.0)
    assert move["noise"] == pytest.approx(0.5, abs=0.01)
    assert doubtful == ["state"]
    assert move["state"] == 0.0
    fit = FlowFit(lambda step: step.candidate.state + noise[0], names, 50.0)
    state, done = fit(step, rng)
    assert done.note == "within its error: noise"
    assert np.array_equal(state, step.candidate.state)


def test_the_table_and_auto_name_what_they_dropped() -> None:
    x = start(24)
    table = calibrate(run_of(x, EULER), model="plane")
    assert not table.note
    assert any(step.note.startswith("within its error: ") for step in table.steps)
    for step in table.steps:
        for name in step.note.removeprefix("within its error: ").split(", ") if step.note else ():
            assert step.move[name] == 0.0
    done = solve(PLANE, x, GRID, EULER, correction=auto_v1(states=24)).diagnostics
    assert [one.note for one in done] == [step.note for step in table.steps]


def test_an_exact_solver_on_the_exact_trajectory_is_left_alone() -> None:
    x = start(60)
    fit = FlowFit(same_start(GRID, trajectory(PLANE, x, GRID)), NAMES)
    run = solve(PLANE, x, GRID, Perfect(), correction=fit)
    assert max(abs(c) for done in run.diagnostics for c in done.move.values()) < 1e-10
    table = calibrate(run_of(x, Perfect()), model="plane")
    assert table.note.startswith("no gain")
    assert all(set(step.move.values()) == {0.0} for step in table.steps)


def test_a_table_is_kept_where_it_helps_and_helps_fresh_states() -> None:
    solver = get_solver("euler")
    table = calibrate(run_of(start(600), solver), model="plane")
    assert table.note == ""
    x, truth = start(1500, seed=7), PLANE.sample(1500, np.random.default_rng(8))
    plain = solve(PLANE, x, GRID, solver).state
    fixed = solve(PLANE, x, GRID, solver, correction=auto_v1(states=600)).state
    before, after = energy_distance(plain, truth), energy_distance(fixed, truth)
    assert after.value + 4 * after.error < before.value


class LeftEuler(Perfect):
    """Exact on the right half plane, first order on the left."""

    def step(self, denoiser: Any, x: Any, s: NoiseLevel, t: NoiseLevel, history: Any) -> Candidate:
        one, other = (
            super().step(denoiser, x, s, t, history),
            EULER.step(denoiser, x, s, t, history),
        )
        end = np.where(x[:, :1] > 0, one.state, other.state)
        return Candidate(end, x - end, one.denoised, None, 49)


def test_a_table_that_helps_only_where_it_was_fitted_is_not_kept() -> None:
    """Fitted on the left, judged on the right, where there is nothing to mend."""
    law = GaussianMixture([0.5, 0.5], [[-6.0, 0.0], [6.0, 0.0]], 0.5)
    grid = (NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.3), NoiseLevel(1.0, 0.1))
    rng = np.random.default_rng(0)
    x = law.sample(60, rng) + rng.standard_normal((60, 2))
    x = x[np.argsort(x[:, 0])]
    left = x[:, 0] < 0
    x = np.concatenate([x[left][:25], x[~left][:25]])
    table = calibrate(run_of(x, LeftEuler(), law, grid), model="two", substeps=4)
    assert table.note.startswith("no gain")
    assert {step.gamma for step in table.steps} == {1.0}
    assert {amount for step in table.steps for amount in step.move.values()} == {0.0}
    kept = calibrate(run_of(np.repeat(x[:25], 2, axis=0), LeftEuler(), law, grid), model="two")
    assert kept.note == ""  # the same table, judged where it was fitted


@pytest.mark.parametrize(("value", "helps"), [(0.2, False), (0.085, False), (0.075, True)])
def test_a_table_must_help_by_two_errors(
    value: float, helps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors of 0.006 and 0.008 are 0.01 together; the plain run is at 0.1."""
    found = iter([Estimate(0.1, 0.006), Estimate(value, 0.008)])
    monkeypatch.setattr(fitted, "energy_distance_of_pairs", lambda *_: next(found))
    held = SimpleNamespace(ends=lambda _: np.zeros((3, 2)), states=[np.zeros((3, 2))])
    assert fitted._helps(held, None) is helps  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [8, 9])
def test_the_price_is_what_is_called(count: int) -> None:
    """Calls of whole batches, weighted by their states: counted by the denoiser itself."""
    x, solver = start(count), get_solver("dpmpp-2m")

    class Weighing(Counted):
        def __call__(self, x: Any, level: Any) -> Any:
            self.calls += len(x) - 1
            return super().__call__(x, level)

    weighing = Weighing(PLANE)
    table = calibrate(run_of(x, solver, weighing), model="plane", substeps=3)
    assert table.evaluations == pytest.approx(weighing.calls / count, rel=1e-12)
    runs = 2 - (count // 2) / count  # of the solver: one half is fitted on, the other judges twice
    assert table.evaluations == pytest.approx(calibration_price(solver, GRID, 3, runs), rel=1e-12)
    fix = auto_v1(states=count)
    done = solve(PLANE, start(4 * count), GRID, solver, correction=fix).diagnostics
    full = calibrate(run_of(start(4 * count)[:count], solver), model="plane").evaluations
    assert done[0].evaluations == pytest.approx(full / 4)
    assert not any(entry.evaluations for entry in done[1:])


def test_too_few_states_are_named() -> None:
    for count in (1, LEAST_STATES - 1):
        with pytest.raises(InputError, match=f"calibration states must be >= 5, got {count}"):
            solve(PLANE, start(count), GRID, EULER, correction=auto_v1())
    calibrate(run_of(start(LEAST_STATES), EULER), model="plane", substeps=2)
    with pytest.raises(ValueError, match="states must be >= 8, got 7"):
        auto_v1(states=7)
    with pytest.raises(TypeError, match="must be prepared"):
        calibrated()(step_of(start(9, level=S), EULER), RNG)


def test_torch_and_numpy_agree() -> None:
    x = start(200)
    ours, theirs = (
        solve(PLANE, states, GRID, get_solver("ipndm-3"), correction=auto_v1(states=100))
        for states in (x, torch.as_tensor(x))
    )
    np.testing.assert_allclose(theirs.state.numpy(), ours.state, rtol=1e-7, atol=1e-7)
    assert [d.move for d in theirs.diagnostics] == [
        pytest.approx(d.move, rel=1e-6, abs=1e-8) for d in ours.diagnostics
    ]
    assert replace(ours.diagnostics[0], note="").note == ""


def test_a_run_from_pure_noise_is_calibrated() -> None:
    grid = make_grid("flow", "time-uniform:start=1", 4)
    x = np.random.default_rng(0).standard_normal((40, PLANE.dim))
    run = solve(PLANE, x, grid, EULER, correction=auto_v1(states=20))
    assert np.isfinite(run.state).all()
    assert run.diagnostics[0].evaluations > 0


def test_states_keep_their_own_labels_where_a_correction_looks_at_some() -> None:
    def net(x: torch.Tensor, sigma: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x + y[:, None] * sigma[:, None] ** 2).tanh() / (1 + sigma[:, None] ** 2)

    labels = np.linspace(-1.0, 1.0, 16)
    network = edm_denoiser(net, [2], dtype=torch.float64).given(labels)
    x = GRID[0].sigma * np.random.default_rng(0).standard_normal((16, 2))
    for model in (network, guided(network, network.given(0.0), 2.0), thresholded(network)):
        step = Step.take(model, EULER, x, GRID[0], GRID[1])
        head = step.head(5)
        again = Step.take(head.denoiser, EULER, x[:5], GRID[0], GRID[1])
        np.testing.assert_allclose(again.candidate.state, head.candidate.state, rtol=1e-13)
    run = solve(network, x, GRID, EULER, correction=stein(states=4))
    assert not [done.note for done in run.diagnostics if "labels" in done.note]
    assert np.isfinite(solve(network, x, GRID, EULER, correction=auto_v1(states=8)).state).all()
