"""Solvers that draw noise: formulas as peers write them, weak orders, reproduction, limits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from analytic import GaussianMixture, NoiseLevel
from steinlab.claims.solvers.broken_solvers import SPLIT_NOISE
from steinlab.diffusion.grids import given_grid
from steinlab.diffusion.processes import EDM, FLOW, VE, VP_LINEAR, Process
from steinlab.errors import InputError
from steinlab.solvers import ALIASES, STOCHASTIC, get_solver, make_plan
from steinlab.solvers.base import couples_batch, noises
from steinlab.solvers.gaussian_runs import flow_distance, forward_law, gaussian_run
from steinlab.solvers.inversion import invert
from steinlab.solvers.loop import normals, solve
from steinlab.solvers.stochastic import Churn, PosteriorNoise
from steinlab.solvers.unit_speed import Curve
from steinlab.testing import from_solver, rows_of
from tests.steinlab.solvers.cases import EVERY_PROCESS, PLANE, states, uneven_grid

EACH = pytest.mark.parametrize("name", STOCHASTIC)
ON = pytest.mark.parametrize("process", EVERY_PROCESS)
SPREAD = GaussianMixture([1.0], [[1.0, 0.0, -2.0]], [[0.01, 0.5, 4.0]])
RATIOS = [20.0, 5.0, 1.5, 0.4, 0.1, 0.05]
ORDERS = {"seeds-2": 2, "seeds-3": 2, "sde-dpmpp-2m": 2}


def curve_of(law: GaussianMixture) -> Curve:
    """The loss curve of a Gaussian, finely."""
    ratios = np.geomspace(1e-3, 1e3, 4000)
    loss = [float(np.mean(r**2 * law.spectra[0] / (law.spectra[0] + r**2))) for r in ratios]
    return Curve("law", 1, tuple(ratios), tuple(1 - np.array(loss) / ratios**2))


def alone(name: str, process: Process, law: GaussianMixture = SPREAD) -> Any:
    solver = get_solver(name, process)
    return replace(solver, curve=curve_of(law)) if couples_batch(solver) else solver


def variance_gap(solver: Any, process: Process, steps: int) -> float:
    u = np.linspace(0, 1, steps + 1)
    grid = given_grid(process, list(5 * 0.04 ** (u + 0.3 * u * (1 - u))))
    found = gaussian_run(SPREAD, solver, grid).output
    return float(np.abs(found.deviations / forward_law(SPREAD, grid[-1]).deviations - 1).max())


@EACH
@pytest.mark.parametrize("process", [VP_LINEAR, FLOW], ids=lambda p: p.name)
def test_weak_order(name: str, process: Process) -> None:
    solver = alone(name, process)
    assert solver.order == ORDERS.get(name, 1)
    coarse, fine = (variance_gap(solver, process, n) for n in (256, 512))
    assert math.log2(coarse / fine) == pytest.approx(solver.order, abs=0.1)


def test_a_stage_with_other_noise_than_the_end_is_of_order_one() -> None:
    coarse, fine = (variance_gap(SPLIT_NOISE, EDM, n) for n in (128, 256))
    assert math.log2(coarse / fine) == pytest.approx(1, abs=0.1)


def k_ancestral(model: Any, x: Any, sigmas: Any, noise: Any) -> Any:
    """k-diffusion's Euler ancestral step, ``eta = 1``."""
    for i, (s, t) in enumerate(itertools.pairwise(sigmas)):
        up = min(t, math.sqrt(t**2 * (s**2 - t**2) / s**2))
        down = math.sqrt(t**2 - up**2)
        x = x + (x - model(x, NoiseLevel(1.0, s))) / s * (down - s) + up * noise[i][0]
    return x


def k_2m_sde(model: Any, x: Any, sigmas: Any, noise: Any) -> Any:
    """k-diffusion's ``dpmpp_2m_sde``, midpoint, ``eta = 1``."""
    old = last = None
    for i, (s, t) in enumerate(itertools.pairwise(sigmas)):
        h, d = math.log(s / t), model(x, NoiseLevel(1.0, s))
        x = t / s * math.exp(-h) * x + (1 - math.exp(-2 * h)) * d
        if old is not None:
            x = x + 0.5 * (1 - math.exp(-2 * h)) * (d - old) * h / last
        x = x + t * math.sqrt(1 - math.exp(-2 * h)) * noise[i][0]
        old, last = d, h
    return x


def comfy_seeds_3(model: Any, x: Any, sigmas: Any, noise: Any) -> Any:
    """ComfyUI's ``seeds_3`` on VE, ``eta = 1``; two thirds of it are its ``seeds_2``'s stages."""
    for i, (s, t) in enumerate(itertools.pairwise(sigmas)):
        h, z = math.log(s / t), noise[i]
        e = lambda c, h=h: math.exp(-c * h)  # noqa: E731
        phi = lambda c, h=h: 1 - (1 - math.exp(-2 * c * h)) / (2 * c * h)  # noqa: E731
        first, second = s * e(1 / 3), s * e(2 / 3)
        spread = math.sqrt(1 - e(2 / 3))
        d = model(x, NoiseLevel(1.0, s))
        path = spread * z[0]
        x2 = e(2 / 3) * x + (1 - e(2 / 3)) * d + first * path
        d2 = model(x2, NoiseLevel(1.0, first))
        path = e(1 / 3) * path + spread * z[1]
        x3 = e(4 / 3) * x + (1 - e(4 / 3)) * d + 2 * phi(2 / 3) * (d2 - d) + second * path
        d3 = model(x3, NoiseLevel(1.0, second))
        path = e(1 / 3) * path + spread * z[2]
        x = e(2) * x + (1 - e(2)) * d + 1.5 * phi(1) * (d3 - d) + t * path
    return x


def comfy_seeds_2(model: Any, x: Any, sigmas: Any, noise: Any) -> Any:
    """ComfyUI's ``seeds_2`` on VE, ``eta = 1``, ``r = 1/2``."""
    for i, (s, t) in enumerate(itertools.pairwise(sigmas)):
        q, z = t / s, noise[i]
        mid = math.sqrt(s * t)
        inner = q * x + (1 - q) * model(x, NoiseLevel(1.0, s)) + mid * math.sqrt(1 - q) * z[0]
        d = model(inner, NoiseLevel(1.0, mid))
        fresh = math.sqrt(q * (1 - q)) * z[0] + math.sqrt(1 - q) * z[1]
        x = q**2 * x + (1 - q**2) * d + t * fresh
    return x


def k_churn(model: Any, x: Any, sigmas: Any, noise: Any) -> Any:
    """k-diffusion's Euler, ``s_churn`` for a climb of half an even step."""
    g = min(math.sqrt(sigmas[0] / sigmas[1]) - 1, math.sqrt(2) - 1)
    for i, (s, t) in enumerate(itertools.pairwise(sigmas)):
        hat = s * (g + 1)
        x = x + noise[i][0] * math.sqrt(hat**2 - s**2)
        x = x + (x - model(x, NoiseLevel(1.0, hat))) / hat * (t - hat)
    return x


@pytest.mark.parametrize(
    ("solver", "theirs"),
    [
        ("seeds-1", k_ancestral),
        ("seeds-2", comfy_seeds_2),
        ("seeds-3", comfy_seeds_3),
        ("sde-dpmpp-2m", k_2m_sde),
        (Churn(climb=0.5), k_churn),
    ],
    ids=lambda one: getattr(one, "__name__", getattr(one, "name", one)),
)
def test_it_is_its_peers_formula_on_the_same_noise(solver: Any, theirs: Callable[..., Any]) -> None:
    sigmas = list(np.geomspace(20.0, 0.05, 9))
    grid = given_grid(VE, sigmas)
    x, draw = states(grid, PLANE, n=5), normals(3)
    count = noises(get_solver(solver))
    noise = [draw(i, count, x) for i in range(len(sigmas) - 1)]
    ours = solve(PLANE, x, grid, solver, noise=draw).state
    np.testing.assert_allclose(ours, theirs(PLANE, x, sigmas, noise), rtol=1e-11, atol=1e-12)


def test_three_names_of_one_formula() -> None:
    assert get_solver("sde-dpmpp-1") is get_solver("euler-ancestral") is STOCHASTIC["seeds-1"]
    assert ALIASES["euler-ancestral"] == "seeds-1"


@EACH
@ON
def test_a_run_depends_on_ratios_alone(name: str, process: Process) -> None:
    """In ``x / alpha`` every process has the same run from the same normals."""
    ends = []
    for one in (VE, process):
        grid = given_grid(one, RATIOS)
        x = grid[0].alpha * np.linspace(-20, 20, 8).reshape(4, 2)
        solver = replace(get_solver(name), process=None) if name == "euler-churn" else name
        ends.append(solve(PLANE, x, grid, solver, seed=4).state / grid[-1].alpha)
    np.testing.assert_allclose(*ends, rtol=1e-9, atol=1e-11)


@EACH
@ON
def test_stages_lie_on_the_process(name: str, process: Process) -> None:
    seen: list[NoiseLevel] = []

    def denoiser(x: Any, level: NoiseLevel) -> Any:
        seen.append(level)
        return PLANE(x, level)

    grid = uneven_grid(process, 4, zero=True)
    solve(denoiser, states(grid, PLANE), grid, get_solver(name, process))
    for level in seen:
        own = process.level_at(level.ratio)
        assert (level.alpha, level.sigma) == pytest.approx((own.alpha, own.sigma), rel=1e-12)
        assert level.ratio <= max(process.ratio_max, grid[0].ratio) * (1 + 1e-12)


@EACH
def test_numpy_and_torch_take_the_same_run(name: str) -> None:
    grid = uneven_grid(FLOW, zero=True)
    x = states(grid, PLANE)
    theirs = solve(PLANE, torch.as_tensor(x), grid, name, seed=5).state
    np.testing.assert_allclose(theirs.numpy(), solve(PLANE, x, grid, name, seed=5).state, 1e-11)
    single = solve(PLANE, torch.as_tensor(x, dtype=torch.float32), grid, name, seed=5).state
    assert single.dtype == torch.float32


@EACH
def test_it_is_reproduced_by_seed_and_by_place_in_the_batch(name: str) -> None:
    grid = uneven_grid(VP_LINEAR)
    x, solver = states(grid, PLANE, n=7), alone(name, VP_LINEAR)
    whole = solve(PLANE, x, grid, solver, seed=1).state
    np.testing.assert_array_equal(whole, solve(PLANE, x, grid, solver, seed=1).state)
    np.testing.assert_allclose(whole[:3], solve(PLANE, x[:3], grid, solver, seed=1).state, 1e-12)
    assert np.abs(whole - solve(PLANE, x, grid, solver, seed=2).state).max() > 0.01
    rng = np.random.default_rng(1)
    np.testing.assert_array_equal(whole, solve(PLANE, x, grid, solver, rng=rng).state)


@EACH
@ON
def test_it_ends_at_zero_noise_finitely_and_counts(name: str, process: Process) -> None:
    grid = uneven_grid(process, 5, zero=True)
    solver = get_solver(name, process)
    done = solve(PLANE, states(grid, PLANE), grid, solver)
    assert np.isfinite(done.state).all()
    assert done.evaluations == sum(solver.evaluations(t) for t in grid[1:])


@pytest.mark.parametrize("name", ["seeds-1", "euler-churn"])
def test_without_signal_it_starts_at_the_mean(name: str) -> None:
    """``alpha = 0``: the limit of runs from little signal."""
    x, noise = np.linspace(-1, 1, 6).reshape(3, 2), normals(0)
    solver = get_solver(name, FLOW)
    ratios = [1.0, 0.3, 0.0]
    from_noise = (NoiseLevel(0.0, 1.0), *given_grid(FLOW, ratios))
    nearly = given_grid(FLOW, [1e9, *ratios])
    a, b = (solve(PLANE, x, grid, solver, noise=noise).state for grid in (from_noise, nearly))
    np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("name", ["seeds-2", "seeds-3", "posterior-noise"])
def test_without_signal_others_are_refused(name: str) -> None:
    grid = (NoiseLevel(0.0, 1.0), NoiseLevel(0.5, 0.5))
    with pytest.raises(ValueError, match=f"alpha must be > 0 for {name}"):
        solve(PLANE, np.ones((3, 2)), grid, name)


def test_posterior_noise_is_exact_on_an_isotropic_gaussian_over_any_grid() -> None:
    law = GaussianMixture([1.0], [[1.0, -2.0]], 0.7)
    ratios = np.array(RATIOS)
    l = Curve("law", 1, (1e-3, 1e3), (1e-6 / 0.700001, 1e6 / 1000000.7))  # noqa: E741
    assert l.variance(3.0) == pytest.approx(0.7)
    grid = given_grid(FLOW, [*ratios, 0.0])
    run = gaussian_run(law, PosteriorNoise(curve=l), grid)
    for level, mean, deviations in zip(grid, run.means, run.deviations, strict=True):
        exact = forward_law(law, level)
        np.testing.assert_allclose(mean, exact.mean, atol=1e-12)
        np.testing.assert_allclose(deviations, exact.deviations, rtol=1e-10)


@EACH
def test_what_does_not_apply_is_refused_in_a_line(name: str) -> None:
    grid = given_grid(EDM, RATIOS)
    x = states(grid, PLANE)
    with pytest.raises(InputError, match=f"correction must be none for {name}, whose step draws"):
        solve(PLANE, x, grid, name, correction="stein")
    with pytest.raises(InputError, match=f"must draw no noise towards noise, got {name}"):
        invert(PLANE, x, grid, name)
    with pytest.raises(InputError, match="must draw no noise for the distance to the flow"):
        flow_distance(SPREAD, get_solver(name), grid)
    with pytest.raises(ValueError, match=rf"noise must hold \d arrays? for {name}, got 0"):
        get_solver(name).step(PLANE, x, grid[0], grid[1], ())


def test_deterministic_solvers_draw_nothing() -> None:
    grid = given_grid(EDM, RATIOS)
    rng = np.random.default_rng(0)
    solve(PLANE, states(grid, PLANE), grid, "dpmpp-2m", rng=rng)
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state
    plan = make_plan(get_solver("seeds-1"), 5, finish=(get_solver("euler"),))
    assert noises(plan) == 1
    assert np.isfinite(solve(PLANE, states(grid, PLANE), grid, plan).state).all()


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "name", ["seeds-2", *(pytest.param(one, marks=SLOW) for one in STOCHASTIC if one != "seeds-2")]
)
def test_it_conforms(name: str) -> None:
    """Posterior noise is a draw at zero noise too, of the curve's law and not of the kit's."""
    solver = alone(name, FLOW)
    rows = rows_of(from_solver(solver, "flow"), order=solver.order, law=True)
    left = ["end-at-zero"] if name == "posterior-noise" else []
    assert [row.check for row in rows if row.verdict == "fails"] == left
    assert {"law", "law-distance"} <= {row.check for row in rows if row.verdict == "ok"}
