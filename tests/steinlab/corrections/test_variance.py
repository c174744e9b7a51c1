"""epsilon-scale, time-shift and the span floor: closed forms, reasons to decline, bounds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.exact import gaussian_gain
from steinlab.corrections import CORRECTIONS, EpsilonScale, SpanFloor, TimeShift
from steinlab.corrections.epsilon_scale import exact_scale
from steinlab.diffusion.grids import given_grid
from steinlab.diffusion.processes import EDM
from steinlab.solvers import SOLVER_IDS, get_solver
from steinlab.solvers.base import couples_batch
from steinlab.solvers.loop import solve, steps
from steinlab.solvers.reference_flow import fine_run
from steinlab.solvers.step import Step
from tests.steinlab.solvers.cases import EVERY_PROCESS, PLANE, states

RNG = np.random.default_rng(0)
RATIOS = [20.0, 5.0, 1.5, 0.4, 0.1]
C = 0.7
LAW = GaussianMixture([1.0], [[2.0, -1.0]], C**2)
ALONE = [name for name in SOLVER_IDS if not couples_batch(get_solver(name, EDM))]
NAMES = ("epsilon-scale", "time-shift", "span-floor")


def exact_end(grid: Any, x: np.ndarray) -> np.ndarray:
    gain = gaussian_gain(np.array([C**2]), grid[0], grid[-1])
    return np.asarray(grid[-1].alpha * LAW.means + gain * (x - grid[0].alpha * LAW.means))


@pytest.mark.parametrize("name", ALONE)
def test_epsilon_scale_makes_every_solver_exact_on_isotropic_gaussians(name: str) -> None:
    """``lambda = (1 - E) / (1 - X)`` with the solver's own ``E``, its past taken along."""
    for process in (EDM, get_solver_process(name)):
        grid = given_grid(process, list(np.geomspace(20.0, 0.1, 13)))
        x = states(grid, LAW, n=4)
        solver = get_solver(name, process)
        plain = np.abs(solve(LAW, x, grid, solver).state - exact_end(grid, x)).max()
        found = solve(LAW, x, grid, solver, correction="epsilon-scale")
        gap = np.abs(found.state - exact_end(grid, x)).max()
        assert gap < 1e-9 * np.abs(x).max()
        assert gap < 1e-5 * plain


def get_solver_process(name: str) -> Any:
    from steinlab.diffusion.processes import FLOW, VP_LINEAR

    return FLOW if name.startswith("rk-") else VP_LINEAR


def test_lambda_of_euler_is_that_of_the_angles() -> None:
    """``E = X cos(a - a')``, ``X = cos a / cos a'``; ``1 / lambda`` lies in (1/2, 1)."""
    for s, t in ((5.0, 1.0), (0.5, 0.1), (2.0, 0.0)):
        step = Step.take(LAW, get_solver("euler"), np.ones((2, 2)), *given_grid(EDM, [s, t]))
        a, b = math.atan(s / C), math.atan(t / C)
        exact = math.cos(a) / math.cos(b)
        scale = exact_scale(step, C**2)
        assert scale == pytest.approx((1 - exact * math.cos(a - b)) / (1 - exact), rel=1e-12)
        assert 0.5 < 1 / scale < 1


@pytest.mark.parametrize("share", [0.4, 0.6, 1.7, 2.9])
def test_time_shift_moves_by_the_noise_left_over(share: float) -> None:
    """On ``N(0, 1)``, ``alpha = 1``: states of variance ``1 + share^2`` at ``sigma = 1``.

    There ``D(x) = x / (1 + share^2)``, so the move is ``(1/share - 1) (x - D(x))``.
    """
    s, t = given_grid(EDM, [1.0 + 1e-9, 1.0])
    law = GaussianMixture([1.0], [[0.0]], 1.0)
    x = math.hypot(1.0, share) * np.array([[1.0], [-1.0]])
    step = Step.take(law, get_solver("euler"), x, s, t)
    state, done = TimeShift(deviation=1.0, window=4.0)(step, RNG)
    assert not done.note.startswith("declined")
    np.testing.assert_allclose(
        state, x * (1 + (1 / share - 1) * share**2 / (1 + share**2)), rtol=1e-7
    )


@pytest.mark.parametrize("process", EVERY_PROCESS)
def test_on_euler_it_is_the_step_of_unit_speed(process: Any) -> None:
    """Two formulas written independently, on a law that is no Gaussian."""
    grid = given_grid(process, [*RATIOS, 0.0])
    x = states(grid, PLANE, n=50)
    found = solve(PLANE, x, grid, "euler", correction="epsilon-scale").state
    np.testing.assert_allclose(found, solve(PLANE, x, grid, "unit-speed-1").state, rtol=1e-9)


def test_given_numbers_are_divided_by() -> None:
    s, t = given_grid(EDM, [2.0, 1.0])
    x = states((s, t), PLANE, n=5)
    step = Step.take(PLANE, get_solver("euler"), x, s, t)
    state, done = EpsilonScale(k=0.1, b=1.3)(step, RNG)
    eps = (x - PLANE(x, s)) / 2.0
    np.testing.assert_allclose(state, x - 1.0 * eps / 1.5, rtol=1e-12)
    assert done.gamma == pytest.approx(1 / 1.5)
    assert done.move["residual"] == pytest.approx(1 - 1 / 1.5)
    for options, message in (
        ({"k": 1.0}, "b must be given with k, got k = 1 alone"),
        ({"b": 0.0}, "b must be > 0 and k >= 0, got 0 and 0"),
        ({"b": 1.0, "k": -1.0}, "b must be > 0 and k >= 0, got 1 and -1"),
    ):
        with pytest.raises(ValueError, match=message):
            EpsilonScale(**options)


def test_it_leaves_what_takes_its_numbers_from_the_batch() -> None:
    grid = given_grid(EDM, RATIOS)
    x = states(grid, PLANE, n=20)
    done = solve(PLANE, x, grid, "unit-speed-2", correction="epsilon-scale")
    np.testing.assert_array_equal(done.state, solve(PLANE, x, grid, "unit-speed-2").state)
    note = "declined: unit-speed-2 takes its own numbers from the batch"
    assert {one.note for one in done.diagnostics} == {note}


def test_time_shift_finds_the_level_of_the_variance() -> None:
    """On ``N(m, c^2 I)`` with a batch of its exact variance; what is left is ``cos`` of a step."""
    s, t = given_grid(EDM, [5.0, 1.0])
    x = LAW.means + math.hypot(C, 5.0) * np.array([[1.0, 1.0], [1.0, -1], [-1, 1], [-1, -1]])
    step = Step.take(LAW, get_solver("euler"), x, s, t)
    state, done = TimeShift(deviation=C)(step, RNG)
    a, b = math.atan(5.0 / C), math.atan(1.0 / C)
    angle = math.acos(math.cos(b) / math.cos(a - b))  # cos a(t_s) = cos a(t') / cos(a - a')
    assert done.note == f"level {math.tan(angle) * C:.4g} times the grid's"
    spread = float(np.sqrt(np.mean((state - LAW.means) ** 2)))
    assert spread == pytest.approx(math.hypot(C, 1.0) * math.cos(b - angle), rel=1e-10)
    plain = float(np.sqrt(np.mean((step.candidate.state - LAW.means) ** 2)))
    assert abs(spread - math.hypot(C, 1.0)) < 0.3 * abs(plain - math.hypot(C, 1.0))


@pytest.mark.parametrize("process", EVERY_PROCESS)
def test_time_shift_takes_the_deviation_from_the_first_level(process: Any) -> None:
    grid = given_grid(process, RATIOS)
    x = states(grid, LAW, n=200)
    done = solve(LAW, x, grid, "euler", correction="time-shift")
    given = solve(LAW, x, grid, "euler", correction=TimeShift(deviation=C))
    np.testing.assert_allclose(done.state, given.state, rtol=1e-9)
    spent = [one.evaluations for one in given.diagnostics]
    assert spent[0] == 1.0
    assert [one.evaluations for one in done.diagnostics] == [2.0, *spent[1:]]


def test_time_shift_declines_with_the_reason() -> None:
    s, t, zero = given_grid(EDM, [5.0, 1.0, 0.0])
    x = states((s, t), LAW, n=20)
    step = Step.take(LAW, get_solver("euler"), x, s, t)
    last = Step.take(LAW, get_solver("euler"), x, s, zero)
    one = Step.take(LAW, get_solver("euler"), x[:1], s, t)
    for taken, correction, why in (
        (last, TimeShift(deviation=C), "zero noise"),
        (step, TimeShift(), "no deviation of the data is known"),
        (one, TimeShift(deviation=C), "states must number at least 2"),
        (step, TimeShift(deviation=9.0), "the batch's variance is below the data's"),
        (step, TimeShift(deviation=C, window=1.001), "the level is "),
    ):
        state, done = correction(taken, RNG)
        assert done.note.startswith(f"declined: {why}")
        np.testing.assert_array_equal(state, taken.candidate.state)
    grid = given_grid(EDM, RATIOS)
    alone = solve(LAW, x[:1], grid, "euler", correction="time-shift")
    assert {d.note for d in alone.diagnostics} == {"declined: no deviation of the data is known"}
    with pytest.raises(ValueError, match="window must be > 1, got 1"):
        TimeShift(window=1)
    with pytest.raises(ValueError, match="deviation must be >= 0, got -1"):
        TimeShift(deviation=-1)


@pytest.mark.parametrize("name", ["euler", "deis-rho-3", "ipndm-3", "ipndm-v-4"])
def test_no_scalar_of_a_step_in_noise_form_goes_below_the_span_floor(name: str) -> None:
    grid = given_grid(EDM, [20.0, 8.0, 3.0, 1.2, 0.5])
    x = states(grid, PLANE, n=60)
    for taken in steps(PLANE, x, grid, name):
        step = taken.step
        target = fine_run(PLANE, step.x, step.s, step.t, 16)
        state, done = SpanFloor()(step, RNG)
        floor = float(np.sqrt(np.mean((state - target) ** 2)))
        assert done.note == f"{floor:.3g} from the flow per coordinate"
        u = step.candidate.residual
        best = np.sum(u * (step.x - target)) / np.sum(u * u)
        for gamma in (0.8, 1.0, best, 1.3):
            error = float(np.sqrt(np.mean((step.x - gamma * u - target) ** 2)))
            assert floor <= error * (1 + 1e-9)
        assert done.evaluations == 48


def test_the_span_holds_the_flow_of_few_variances() -> None:
    """Two variances are in the span of ``z_c, eps``; three take the evaluation before."""
    grid = given_grid(EDM, [20.0, 5.0, 1.5])

    def left(variances: list[float]) -> list[float]:
        law = GaussianMixture([1.0], [[0.0] * len(variances)], [variances])
        x = states(grid, law, n=30)
        done = solve(law, np.concatenate([x, -x]), grid, "euler", correction=SpanFloor())
        return [float(one.note.split()[0]) for one in done.diagnostics]

    assert max(left([4.0, 0.04])) < 1e-9
    first, second = left([4.0, 1.0, 0.04])
    assert first > 1e-5
    assert second < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_torch_agrees_with_numpy_and_runs_to_zero(name: str) -> None:
    grid = given_grid(EDM, [*RATIOS, 0.0])
    x = states(grid, PLANE, n=40)
    made = CORRECTIONS[name]()
    ours = solve(PLANE, x, grid, "dpmpp-2m", correction=made)
    theirs = solve(PLANE, torch.from_numpy(x), grid, "dpmpp-2m", correction=made)
    np.testing.assert_allclose(theirs.state.numpy(), ours.state, rtol=1e-8, atol=1e-10)
    assert [a.note for a in ours.diagnostics] == [b.note for b in theirs.diagnostics]


@pytest.mark.parametrize("name", NAMES)
def test_a_start_without_signal_is_left_to_the_solver(name: str) -> None:
    grid = (NoiseLevel(0.0, 1.0), NoiseLevel(0.3, 0.7), NoiseLevel(0.8, 0.2))
    x = np.random.default_rng(0).standard_normal((30, 2))
    done = solve(PLANE, x, grid, "dpmpp-2m", correction=name)
    assert done.diagnostics[0].note.startswith("declined: ")
    assert np.all(np.isfinite(np.asarray(done.state)))


def test_euler_gains_by_the_scale_on_a_mixture() -> None:
    """The total variance of a large batch after each step is nearer to the law's."""
    grid = given_grid(EDM, [3.0, 1.0, 0.4])
    x = states(grid, PLANE, n=50_000)
    total = float(PLANE.variance()) + 2 * np.array([1.0, 0.4]) ** 2
    found = {}
    for name in ("none", "epsilon-scale"):
        path = solve(PLANE, x, grid, "euler", correction=name, keep_trajectory=True).trajectory
        found[name] = np.abs([np.var(y, axis=0).sum() for y in path[1:]] - total)
    assert np.all(found["epsilon-scale"] < 0.3 * found["none"])
