"""The one loop: counting, history, progress, trajectories, determinism, and stopping."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

import steinlab as sl
from analytic import NoiseLevel, exact_flow
from steinlab.coefficient.divergence import Hutchinson
from steinlab.corrections import stein
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.networks import from_torch
from steinlab.diffusion.processes import EDM, FLOW, VP_LINEAR
from steinlab.errors import InputError
from steinlab.solvers import DPMPP_2M, EULER, HEUN, SOLVER_IDS, SOLVERS, evaluations_on, get_solver
from steinlab.solvers.loop import NonFiniteStateError, solve, steps
from tests.steinlab.solvers.cases import PLANE, Counted, states

GRID = make_grid(EDM, "karras", 5)
X = states(GRID, n=6)
ENDING = [name for name, solver in SOLVERS.items() if solver.ends_at_zero]


@pytest.mark.parametrize("name", ENDING)
def test_evaluations_are_those_spent(name: str) -> None:
    counted = Counted(PLANE)
    done = solve(counted, X, GRID, SOLVERS[name])
    assert done.evaluations == counted.calls == evaluations_on(SOLVERS[name], GRID)
    assert len(done.diagnostics) == 5
    assert done.trajectory == ()


def test_the_loop_is_the_formula_written_out() -> None:
    """2M as published, in ``lambda``, by hand: history reaches the right step."""
    x, past = X, None
    for s, t in itertools.pairwise(GRID):
        d = PLANE(x, s)
        kappa, beta = t.sigma / s.sigma, t.alpha - t.sigma / s.sigma * s.alpha
        use = d
        if past is not None and t.sigma > 0:
            h, before = np.log(s.sigma / t.sigma), np.log(past[0] / s.sigma)
            use = d + h / (2 * before) * (d - past[1])
        x, past = kappa * x + beta * use, (s.sigma, d)
    np.testing.assert_allclose(solve(PLANE, X, GRID, DPMPP_2M).state, x, rtol=1e-12)


def test_finer_grids_reach_the_exact_flow() -> None:
    grid = make_grid(VP_LINEAR, "logsnr", 400, final_zero=False)
    x = states(grid, n=4)
    end = exact_flow(PLANE, x, grid[0], grid[-1]).state
    np.testing.assert_allclose(solve(PLANE, x, grid, HEUN).state, end, atol=1e-3)


def test_the_generator_yields_each_step_of_the_run_and_can_be_left_early() -> None:
    whole = solve(PLANE, X, GRID, DPMPP_2M, correction=stein(), keep_trajectory=True)
    counted = Counted(PLANE)
    run = steps(counted, X, GRID, "dpmpp-2m", correction=stein(divergence=Hutchinson()))
    assert counted.calls == 0
    first, second = next(run), next(run)
    assert counted.calls == 2
    assert (len(first.step.history), len(second.step.history)) == (0, 1)
    assert second.step.x is first.state
    every = list(steps(PLANE, X, GRID, DPMPP_2M, correction=stein()))
    assert tuple(one.diagnostics for one in every) == whole.diagnostics
    np.testing.assert_array_equal([one.state for one in every], whole.trajectory[1:])


def test_progress_and_trajectory() -> None:
    seen: list[tuple[int, Any, NoiseLevel]] = []
    done = solve(
        PLANE, X, GRID, HEUN, progress=lambda *call: seen.append(call), keep_trajectory=True
    )
    assert [i for i, _, _ in seen] == [1, 2, 3, 4, 5]
    assert [level for _, _, level in seen] == list(GRID[1:])
    assert len(done.trajectory) == 6
    assert done.trajectory[0] is X
    for (_, state, _), kept in zip(seen, done.trajectory[1:], strict=True):
        assert state is kept
    assert done.state is done.trajectory[-1]
    for (s, t), (a, b) in zip(
        itertools.pairwise(GRID), itertools.pairwise(done.trajectory), strict=True
    ):
        np.testing.assert_array_equal(HEUN.step(PLANE, a, s, t, ()).state, b)


def test_the_start_is_left_alone() -> None:
    before = X.copy()
    solve(PLANE, X, GRID, DPMPP_2M, correction=stein())
    np.testing.assert_array_equal(X, before)


def test_a_seed_decides() -> None:
    probed = stein(divergence=Hutchinson(), gamma_max=1.0)

    def run(rng: Any) -> Any:
        return solve(PLANE, X, GRID, DPMPP_2M, correction=probed, rng=rng).state

    first = run(np.random.default_rng(1))
    np.testing.assert_array_equal(first, run(np.random.default_rng(1)))
    assert not np.array_equal(first, run(np.random.default_rng(2)))
    np.testing.assert_array_equal(run(None), run(None))


def test_corrections_are_applied_at_every_step() -> None:
    done = solve(PLANE, X, GRID, EULER, correction=stein(gamma_min=0.7, gamma_max=0.7))
    assert [d.gamma for d in done.diagnostics] == [0.7] * 5
    x = X
    for s, t in itertools.pairwise(GRID):
        x = 0.3 * x + 0.7 * EULER.step(PLANE, x, s, t, ()).state
    np.testing.assert_allclose(done.state, x, rtol=1e-12)


@pytest.mark.parametrize("name", ENDING)
def test_numpy_and_torch_agree(name: str) -> None:
    grid = make_grid(FLOW, "karras", 4)
    x = states(grid)
    options: Any = {"correction": stein(gamma_max=1.0)}
    ours = solve(PLANE, x, grid, SOLVERS[name], **options)
    theirs = solve(PLANE, torch.as_tensor(x), grid, SOLVERS[name], **options)
    assert isinstance(theirs.state, torch.Tensor)
    np.testing.assert_allclose(theirs.state, ours.state, rtol=1e-8, atol=1e-10)
    assert theirs.evaluations == ours.evaluations


def test_images_are_states() -> None:
    def images(x: Any, level: NoiseLevel) -> Any:
        return PLANE(x.reshape(-1, 2), level).reshape(x.shape)

    flat = solve(PLANE, X, GRID, HEUN).state
    image = solve(images, X.reshape(-1, 1, 1, 2), GRID, HEUN).state
    assert image.shape == (6, 1, 1, 2)
    np.testing.assert_array_equal(image.reshape(-1, 2), flat)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_state_that_turns_non_finite_stops_with_its_step(bad: float) -> None:
    def breaks(x: Any, level: NoiseLevel) -> Any:
        out = PLANE(x, level)
        if level == GRID[2]:
            out[1, 0] = bad
        return out

    good = solve(PLANE, X, GRID, EULER, keep_trajectory=True)
    seen: list[int] = []
    with pytest.raises(
        NonFiniteStateError,
        match=r"state is not finite after step 3 of 5 \(solver euler, correction none\)",
    ) as caught:
        solve(
            breaks, X, GRID, EULER, keep_trajectory=True,
            progress=lambda i, *_: seen.append(i),
        )  # fmt: skip
    partial = caught.value.partial
    assert caught.value.step == 2
    assert seen == [1, 2]
    np.testing.assert_array_equal(partial.state, good.trajectory[2])
    assert len(partial.trajectory) == 3
    assert (partial.evaluations, len(partial.diagnostics)) == (3, 3)


@pytest.mark.filterwarnings("error")
def test_a_correction_that_breaks_a_state_is_named() -> None:
    class Wild:
        name = "wild"

        def __call__(self, step: Any, rng: Any) -> Any:
            return np.full_like(step.x, [np.inf, -np.inf]), stein()(step, rng)[1]

    with pytest.raises(NonFiniteStateError, match=r"step 1 of 5 \(solver euler, correction wild"):
        solve(PLANE, X, GRID, EULER, correction=Wild())


@pytest.mark.filterwarnings("error")
def test_large_finite_states_are_not_mistaken() -> None:
    """Their sum overflows, they do not; and no warning is left behind."""
    x = np.full((4, 1), 1e308)
    grid = (NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.9))
    done = solve(lambda x, _: 0.5 * x, x, grid, EULER)
    assert np.all(np.isfinite(done.state))


def test_a_grid_must_descend() -> None:
    with pytest.raises(ValueError, match="grid step 0: to must be less noisy than from"):
        solve(PLANE, X, GRID[::-1][1:], EULER)
    with pytest.raises(ValueError, match="grid must hold at least 2 levels"):
        solve(PLANE, X, GRID[:1], EULER)


def test_integer_states_are_refused() -> None:
    grid = (NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.5))
    with pytest.raises(ValueError, match=r"^x must have a real floating dtype, got int64"):
        solve(lambda x, _: 0.5 * x, np.ones((3, 2), dtype=int), grid, EULER)


def test_an_answer_of_another_shape_is_no_denoised_state() -> None:
    grid = sl.make_grid("edm", "karras", steps=4)
    with pytest.raises(ValueError, match=r"denoiser must return the shape \(5, 2\), got \(1, 2\)"):
        sl.solve(lambda x, _level: x[:1], np.ones((5, 2)), grid, "heun")


@pytest.mark.parametrize("name", SOLVER_IDS)
def test_a_run_has_its_derivative(name: str, recwarn: pytest.WarningsRecorder) -> None:
    """Autograd through every solver, by a wrapped network, against central differences.

    A difference over ``h = 1e-5`` is right to ``h^2`` times a third derivative of order one, and to
    rounding over ``h``, ``1e-11``.
    """
    network = from_torch(
        lambda x, sigma: (1 + x / 10).tanh() * x / (1 + sigma[:, None] ** 2),
        [2],
        prediction="x0",
        coordinates="edm",
        dtype=torch.float64,
    )
    grid = make_grid(VP_LINEAR, "logsnr", 6, final_zero=False)
    solver = get_solver(name, VP_LINEAR)
    x = torch.tensor([[0.3, -0.8], [1.1, 0.4]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(solve(network, x, grid, solver).state[:, 0].sum(), x)
    for index in np.ndindex(2, 2):
        ends = []
        for h in (-1e-5, 1e-5):
            moved = x.detach().clone()
            moved[index] += h
            ends.append(solve(network, moved, grid, solver).state[:, 0].sum())
        assert slope[index].item() == pytest.approx(
            ((ends[1] - ends[0]) / 2e-5).item(), rel=1e-7, abs=1e-8
        )
    assert not recwarn.list


def test_pictures_come_back_as_pictures() -> None:
    """With a correction too, which sums over a state's coordinates."""

    def net(x: Any, sigma: Any) -> Any:
        return x / (1 + sigma[:, None, None, None] ** 2)

    network = from_torch(net, (1, 2, 2), prediction="x0", coordinates="edm", dtype=torch.float64)
    grid = make_grid(EDM, "karras", 4)
    flat = np.random.default_rng(0).standard_normal((6, 4)) * 80
    for correction in (None, stein()):
        expected = solve(network, flat, grid, "dpmpp-2m", correction=correction).state
        found = solve(
            network,
            flat.reshape(6, 1, 2, 2),
            grid,
            "dpmpp-2m",
            correction=correction,
            keep_trajectory=True,
        )
        np.testing.assert_array_equal(found.state, expected.reshape(6, 1, 2, 2))
        assert {part.shape for part in found.trajectory} == {(6, 1, 2, 2)}


def test_a_run_in_half_precision_says_why_it_stops() -> None:
    def net(x: Any, sigma: Any) -> Any:
        return x**2 - x**2 + x / (1 + sigma[:, None] ** 2)

    network = from_torch(net, [2], prediction="x0", coordinates="edm", dtype=torch.float16)
    with pytest.raises(NonFiniteStateError, match="the network computes in float16, which overfl"):
        solve(network, np.full((3, 2), 300.0), make_grid(EDM, "karras", 3), "euler")


@pytest.mark.parametrize("bad", [3, ["euler"], {"name": "euler"}])
def test_what_is_no_solver_or_correction_is_named_in_one_line(bad: Any) -> None:
    with pytest.raises(InputError, match=r"^solver must be an id or a solver, got .+$"):
        solve(PLANE, X, GRID, bad)
    with pytest.raises(InputError, match=r"^correction must be an id or a correction, got .+$"):
        solve(PLANE, X, GRID, EULER, correction=bad)


def test_a_start_that_is_not_finite_is_named_as_the_start() -> None:
    start = np.where(np.arange(X.size).reshape(X.shape) == 1, np.nan, X)
    with pytest.raises(NonFiniteStateError, match=r"^state is not finite in the start ") as caught:
        solve(PLANE, start, GRID, EULER)
    assert (caught.value.step, caught.value.partial.evaluations) == (-1, 0)


def test_a_correction_of_states_in_the_graph_is_refused() -> None:
    """Its coefficient is computed outside: derivatives would be wrong without a word."""
    network = from_torch(
        lambda x, sigma: x.tanh() / (1 + sigma[:, None] ** 2),
        [2],
        prediction="x0",
        coordinates="edm",
        dtype=torch.float64,
    )
    x = torch.ones((4, 2), dtype=torch.float64, requires_grad=True)
    with pytest.raises(ValueError, match=r"x must not require gradients with a .* got stein"):
        solve(network, x, make_grid(EDM, "karras", 3), "euler", correction=stein())
