"""What every solver's step must be: residual, divergence, any array library, any shape."""

from __future__ import annotations

import itertools
from typing import Any

import array_api_strict
import numpy as np
import pytest
import torch

from analytic import NoiseLevel
from steinlab.coefficient.divergence import Exact
from steinlab.diffusion.grids import Grid, make_grid
from steinlab.diffusion.processes import EDM, FLOW, PROCESSES, VP_LINEAR, Process
from steinlab.solvers import EULER, SOLVER_IDS, Evaluation, get_solver, make_plan
from steinlab.solvers.base import couples_batch
from steinlab.solvers.loop import solve
from steinlab.solvers.step import Step
from tests.steinlab.solvers.cases import ALONE, PLANE, states, uneven_grid

SOLVERS_MEASURED = pytest.mark.parametrize("name", SOLVER_IDS)


def step_in_swing(name: str, process: Process) -> Step:
    """The fifth step of a run: every solver has its whole past."""
    grid = uneven_grid(process, 6)
    solver = get_solver(name, process)
    x, history = states(grid), ()
    for s, t in itertools.pairwise(grid[:5]):
        candidate = solver.step(PLANE, x, s, t, history)
        latest = Evaluation(s, x, candidate.denoised, candidate.linear)
        history = (latest, *history)[: solver.depth]
        x = candidate.state
    candidate = solver.step(PLANE, x, grid[4], grid[5], history)
    return Step(PLANE, solver, x, grid[4], grid[5], history, candidate)


@pytest.mark.parametrize("process", [EDM, VP_LINEAR, FLOW], ids=lambda p: p.name)
@SOLVERS_MEASURED
def test_residual_and_coefficients_describe_the_step(name: str, process: Process) -> None:
    step = step_in_swing(name, process)
    candidate, linear = step.candidate, step.candidate.linear
    np.testing.assert_allclose(candidate.residual, step.x - candidate.state, atol=1e-13)
    np.testing.assert_array_equal(candidate.denoised, PLANE(step.x, step.s))
    assert candidate.evaluations == step.solver.evaluations(step.t)
    if linear is None:
        assert candidate.evaluations > 1 or couples_batch(step.solver)
        return
    assert linear.kappa + linear.one_minus_kappa == pytest.approx(1, abs=1e-15)
    rebuilt = linear.kappa * step.x + linear.betas[0] * candidate.denoised
    for beta, entry in zip(linear.betas[1:], step.history, strict=False):
        rebuilt = rebuilt + beta * entry.denoised
    for zeta, entry in zip(linear.zetas, step.history, strict=False):
        rebuilt = rebuilt + zeta * entry.state
    np.testing.assert_allclose(rebuilt, candidate.state, atol=1e-13)


@pytest.mark.parametrize("process", [EDM, VP_LINEAR, FLOW], ids=lambda p: p.name)
@pytest.mark.parametrize("name", ALONE)
def test_divergence_against_finite_differences(name: str, process: Process) -> None:
    step = step_in_swing(name, process)
    exact = Exact()(step, np.random.default_rng(0))
    by_differences = np.zeros(len(step.x))
    gap = 1e-5
    for i in range(step.dim):
        shift = gap * np.eye(step.dim)[i]
        ahead, behind = (step.residual(step.x + sign * shift, PLANE) for sign in (1, -1))
        by_differences += (ahead - behind)[:, i] / (2 * gap)
    np.testing.assert_allclose(exact, by_differences, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("zero", [False, True], ids=["above", "zero"])
@pytest.mark.parametrize("process", [EDM, VP_LINEAR, FLOW], ids=lambda p: p.name)
@SOLVERS_MEASURED
def test_torch_agrees_with_numpy(name: str, process: Process, zero: bool) -> None:
    solver = get_solver(name, process)
    grid = uneven_grid(process, zero=zero)
    x = states(grid)
    solver = make_plan(solver, len(grid) - 1, finish=() if solver.ends_at_zero else (EULER,))
    ours = solve(PLANE, x, grid, solver).state
    theirs = solve(PLANE, torch.from_numpy(x), grid, solver).state
    assert theirs.dtype == torch.float64
    np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-13, atol=1e-13)


@SOLVERS_MEASURED
def test_only_the_array_standard_is_used(name: str) -> None:
    grid = uneven_grid(VP_LINEAR)
    x = states(grid)
    solver = get_solver(name, VP_LINEAR)
    strict = solve(PLANE, array_api_strict.asarray(x), grid, solver).state
    np.testing.assert_allclose(
        np.asarray(strict), solve(PLANE, x, grid, solver).state, rtol=1e-13, atol=1e-13
    )


def flattened(x: Any, level: NoiseLevel) -> Any:
    """A denoiser of images by the law of their vectors."""
    return PLANE(x.reshape(x.shape[0], -1), level).reshape(x.shape)


@SOLVERS_MEASURED
def test_images_are_states_too(name: str) -> None:
    grid = uneven_grid(EDM)
    x = states(grid)
    solver = get_solver(name, EDM)
    images = solve(flattened, x.reshape(-1, 1, 2, 1), grid, solver).state
    np.testing.assert_array_equal(images.reshape(-1, 2), solve(PLANE, x, grid, solver).state)


@pytest.mark.parametrize("zero", [False, True], ids=["above", "zero"])
@SOLVERS_MEASURED
def test_a_stack_of_cases_is_each_case(name: str, zero: bool) -> None:
    """Levels of shape (C, 1, 1): every case takes its own steps."""
    seeds = (3, 4, 5)
    grids = [uneven_grid(VP_LINEAR, seed=seed, zero=zero) for seed in seeds]
    stacked: Grid = tuple(
        NoiseLevel(
            np.array([one.alpha for one in levels])[:, None, None],
            np.array([one.sigma for one in levels])[:, None, None],
        )
        for levels in zip(*grids, strict=True)
    )
    solver = get_solver(name, VP_LINEAR)
    solver = make_plan(solver, 6, finish=() if solver.ends_at_zero else (EULER,))
    x = np.stack([states(grid, seed=seed) for grid, seed in zip(grids, seeds, strict=True)])
    together = solve(PLANE, x, stacked, solver).state
    for i, grid in enumerate(grids):
        alone = solve(PLANE, x[i], grid, solver).state
        np.testing.assert_allclose(together[i], alone, rtol=1e-12, atol=1e-12)


@SOLVERS_MEASURED
def test_state_stays_double_around_a_single_precision_denoiser(name: str) -> None:
    grid = uneven_grid(EDM)
    x = torch.from_numpy(states(grid))
    solver = get_solver(name, EDM)

    def single(state: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
        return PLANE(state.float(), level)

    state = solve(single, x, grid, solver).state
    assert state.dtype == torch.float64
    exact = solve(PLANE, x, grid, solver).state
    np.testing.assert_allclose(state.numpy(), exact.numpy(), atol=2e-5)


@pytest.mark.parametrize("process", list(PROCESSES.values()), ids=lambda p: p.name)
@SOLVERS_MEASURED
def test_end_at_zero_noise(name: str, process: Process) -> None:
    """A step to zero either works, or is refused in one line before anything is evaluated."""
    solver = get_solver(name, process)
    grid = uneven_grid(process, zero=True)
    x = states(grid)
    if solver.ends_at_zero:
        state = solve(PLANE, x, grid, solver).state
        assert np.isfinite(state).all()
        return
    with pytest.raises(ValueError, match=f"sigma must be > 0 for {name}, got 0.0"):
        solve(lambda *_: pytest.fail("evaluated"), x, grid, solver)


def test_which_solvers_cannot_end_at_zero() -> None:
    refused = {name for name in SOLVER_IDS if not get_solver(name, EDM).ends_at_zero}
    logs, noise = {f"deis-log-{n}" for n in (2, 3, 4)}, {"unipc-2-noise", "unipc-3-noise"}
    assert refused == logs | noise | {"dpm-2m", "dpm-3m"}
    on_ve = {name for name in SOLVER_IDS if not get_solver(name, PROCESSES["ve"]).ends_at_zero}
    assert on_ve == refused | {f"deis-tab-{n}" for n in (2, 3, 4)}


@pytest.mark.parametrize("name", ["rk-4", "rk-heun", "pndm"])
def test_levels_beyond_a_processs_times_are_stepped_from(name: str) -> None:
    """VE's clock goes on past [0, 1]: below sigma 0.01 its time is negative."""
    grid = make_grid("ve", [80.0, 10.0, 0.02, 0.001])
    x = np.random.default_rng(0).standard_normal((3, 2))
    done = solve(PLANE, 80 * x, grid, get_solver(name, "ve"))
    assert np.isfinite(done.state).all()
