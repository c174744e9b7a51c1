"""Runs up the noise: every solver keeps its order there, and what bad input is told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from analytic import NoiseLevel, exact_flow
from steinlab.diffusion.grids import given_grid, make_grid, require_grid, require_step
from steinlab.diffusion.networks import edm_denoiser
from steinlab.diffusion.processes import EDM, FLOW, PROCESSES, Process
from steinlab.solvers import SOLVER_IDS, Solver, get_solver, make_plan, matching_start
from steinlab.solvers.inversion import invert, round_trip, upwards
from steinlab.solvers.loop import solve
from tests.steinlab.solvers.cases import BOTTOM, EVERY_PROCESS, LAW, PLANE, START, TOP
from tests.steinlab.solvers.cases import ORDER_TOLERANCE as TOLERANCE

STEPS = 64
SINGLE = [name for name in SOLVER_IDS if get_solver(name, FLOW).depth == 0]
LEVELS = tuple(NoiseLevel(1.0, sigma) for sigma in (2.0, 1.0, 0.5))


def levels(process: Process, steps: int) -> tuple[NoiseLevel, ...]:
    return given_grid(process, list(np.linspace(TOP**0.5, BOTTOM**0.5, steps + 1) ** 2))


def order(errors: list[float]) -> float:
    return math.log2(errors[0] / errors[1])


def steps_of(solver: Solver) -> int:
    """Few for a method of order four, whose errors would be those of the reference."""
    return STEPS // 8 if solver.order >= 4 else STEPS


@pytest.mark.parametrize("name", SOLVER_IDS)
def test_every_solver_keeps_its_order_upwards(name: str) -> None:
    solver = get_solver(name, FLOW)
    low, high = (FLOW.level_at(ratio) for ratio in (BOTTOM, TOP))
    x = low.alpha * START
    exact = exact_flow(LAW, x, low, high).state
    for started in (False, bool(matching_start(solver))):
        full = getattr(solver, "full_order", None) or solver.order
        errors = []
        for n in (steps_of(solver), 2 * steps_of(solver)):
            plan = make_plan(solver, n, start=matching_start(solver) if started else ())
            end = invert(LAW, x, levels(FLOW, n), plan).state
            errors.append(float(np.sqrt(np.mean((end - exact) ** 2))))
        assert abs(order(errors) - (full if started else solver.order)) < TOLERANCE, errors


@pytest.mark.parametrize("name", SINGLE)
def test_even_orders_gain_one_in_a_round_trip(name: str) -> None:
    solver = get_solver(name, FLOW)
    n = steps_of(solver)
    x = FLOW.level_at(BOTTOM).alpha * START
    errors = [round_trip(LAW, x, levels(FLOW, k), solver).value for k in (n, 2 * n)]
    expected = solver.order + (solver.order % 2 == 0)
    assert abs(order(errors) - expected) < TOLERANCE, errors


@pytest.mark.parametrize("process", EVERY_PROCESS)
@pytest.mark.parametrize("name", ["euler", "dpmpp-3s", "dpmpp-3m-exact", "unipc-3", "rk-4"])
def test_it_follows_the_exact_flow_on_every_process(name: str, process: Process) -> None:
    grid = make_grid(process, "karras", 128, final_zero=False)
    x = grid[-1].noised(LAW.sample(9, rng := np.random.default_rng(0)), rng)
    run = invert(LAW, x, grid, get_solver(name, process), keep_trajectory=True)
    exact = exact_flow(LAW, x, grid[-1], grid[0]).state
    assert np.abs(run.state / exact - 1).max() < (0.3 if name == "euler" else 0.02)
    assert len(run.trajectory) == 129
    assert run.trajectory[0] is x


@pytest.mark.parametrize("name", SOLVER_IDS)
def test_the_last_step_may_end_without_signal(name: str) -> None:
    """Close to the exact flow there, and closer with more steps, ``D = E[x*]`` being known."""
    solver = get_solver(name, FLOW)
    errors = []
    for n in (16, 64):
        grid = make_grid(FLOW, "time-uniform:start=1", n, final_zero=False)
        x = grid[-1].noised(LAW.sample(20, rng := np.random.default_rng(0)), rng)
        exact = exact_flow(LAW, x, grid[-1], grid[0]).state
        errors.append(float(np.abs(invert(LAW, x, grid, solver).state - exact).max()))
    assert errors[1] < min(0.5 * errors[0], 0.1)


def test_a_step_to_no_signal_is_the_noise_alone() -> None:
    s, t, x = FLOW.level(0.4), NoiseLevel(0.0, 1.0), np.array([[0.3, -0.2]])
    noise = (x - s.alpha * PLANE(x, s)) / s.sigma
    for name in SOLVER_IDS:
        solver = get_solver(name, FLOW)
        if name.startswith("rk-") or name == "pndm":
            continue
        step = solver.step(PLANE, x, s, t, ())
        np.testing.assert_allclose(step.state, noise, rtol=1e-12, err_msg=name)
        np.testing.assert_allclose(step.residual, x - noise, atol=1e-12, err_msg=name)
        assert step.evaluations == solver.evaluations(t) == 1


@pytest.mark.parametrize("name", ["euler", "heun", "unipc-2", "deis-log-3"])
def test_torch_and_networks_agree_with_numpy(name: str) -> None:
    grid = make_grid(EDM, "karras", 8, final_zero=False)
    x = PLANE.sample(5, np.random.default_rng(0))

    def net(pictures: Any, sigma: Any) -> Any:
        return PLANE(pictures, NoiseLevel(1.0, float(sigma[0])))

    plain = invert(PLANE, x, grid, name).state
    tensors = torch.from_numpy(x)
    same = invert(PLANE, tensors, grid, name).state
    network = edm_denoiser(net, [2], dtype=torch.float64)
    for found in (same, invert(network, tensors, grid, name).state):
        assert found.dtype == torch.float64
        np.testing.assert_allclose(found.numpy(), plain, rtol=1e-11)
    trip = round_trip(network, tensors, grid, name).value
    assert trip == pytest.approx(round_trip(PLANE, x, grid, name).value, rel=1e-6)


def test_a_first_level_stands_for_zero_noise() -> None:
    """Holding ``y`` fixed up to ``e`` is off by ``e^2 |score| / 2``."""
    process = PROCESSES["vp-linear"]
    grid = make_grid(process, "logsnr", 64)
    assert upwards(grid, grid[-2]) == tuple(reversed(grid[:-1]))
    x = LAW.sample(200, np.random.default_rng(0))
    score = np.abs(LAW.score(x, NoiseLevel(1.0, 0.0)))
    for ratio in (0.02, 0.01):
        first = process.level_at(ratio)
        assert upwards(grid, first)[0] == first
        exact = exact_flow(LAW, x, NoiseLevel(1.0, 0.0), first).state
        off = np.abs(first.alpha * x - exact)
        np.testing.assert_allclose(off, 0.5 * ratio**2 * score, rtol=0.05, atol=1e-6)
        run = invert(LAW, x, grid, "heun", first=first, keep_trajectory=True)
        np.testing.assert_array_equal(run.trajectory[0], first.alpha * x)


@pytest.mark.parametrize(
    ("grid", "options", "line"),
    [
        ((*LEVELS, NoiseLevel(1.0, 0.0)), {}, r"grid must end above zero noise, .*got sigma 0\.0"),
        (LEVELS, {"first": LEVELS[-1]}, "first must be left out where the grid ends above zero"),
        (
            (*LEVELS, NoiseLevel(1.0, 0.0)),
            {"first": NoiseLevel(1.0, 0.0)},
            "first must have noise, and less than the grid's first level",
        ),
        (
            (*LEVELS, NoiseLevel(1.0, 0.0)),
            {"first": LEVELS[0]},
            "first must have noise, and less than the grid's first level",
        ),
        (
            LEVELS[::-1],
            {},
            r"grid step 0: to must be less noisy than from: .* must be < 0\.5, got 1",
        ),
        ((), {}, "grid must hold at least 2 levels, got 0"),
    ],
)
def test_bad_grids_get_a_line(grid: Any, options: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line) as raised:
        invert(PLANE, np.zeros((2, 2)), grid, "euler", **options)
    assert "\n" not in str(raised.value)


def test_a_walk_has_one_direction() -> None:
    up = LEVELS[::-1]
    assert require_grid(up, towards="noise") == up
    with pytest.raises(ValueError, match=r"to must be less noisy than from: .* must be < 0\.5"):
        require_grid(up)
    with pytest.raises(ValueError, match=r"to must be noisier than from: .* must be > 2\.0, got 1"):
        require_grid(LEVELS, towards="noise")
    with pytest.raises(ValueError, match="towards must be one of data, noise, got up"):
        require_step(*LEVELS[:2], towards="up")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="from: sigma must be > 0"):
        require_step(NoiseLevel(1.0, 0.0), LEVELS[0], towards="noise")
    with pytest.raises(ValueError, match=r"correction must be none towards noise, .* got stein"):
        solve(PLANE, np.zeros((4, 2)), up, "euler", correction="stein", towards="noise")


def test_pictures_make_a_round_trip() -> None:
    network = edm_denoiser(lambda x, sigma: x / (1 + sigma[:, None, None] ** 2), (2, 2))
    x = np.random.default_rng(0).standard_normal((3, 2, 2))
    trips = [round_trip(network, y, LEVELS, "heun") for y in (x, x.reshape(3, 4))]
    assert trips[0] == trips[1]
