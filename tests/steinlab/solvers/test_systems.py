"""The few-step systems against their algorithms as published, typed anew."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from analytic import GaussianMixture, NoiseLevel, exact_flow
from analytic.flow.exact import gaussian_gain
from steinlab.coefficient.divergence import Exact
from steinlab.diffusion.processes import EDM, FLOW, VP_LINEAR
from steinlab.errors import InputError
from steinlab.solvers import get_solver
from steinlab.solvers.compensated import Compensated
from steinlab.solvers.dpm_v3 import dpm_v3, interpolated, measured, of_gaussian
from steinlab.solvers.loop import solve
from steinlab.solvers.parallel import Parallel
from steinlab.solvers.principal import Principal
from steinlab.solvers.step import Step
from tests.steinlab.solvers.cases import PLANE, end, same, states, uneven_grid


def slope(x: np.ndarray, sigma: float) -> np.ndarray:
    """The noise prediction in EDM coordinates."""
    return (x - PLANE(x, NoiseLevel(1.0, sigma))) / sigma


def edm(count: int = 6) -> tuple[tuple[NoiseLevel, ...], list[float], np.ndarray]:
    grid = uneven_grid(EDM, count)
    return grid, [level.sigma for level in grid], states(grid)


def test_pfdiff_rests_between_the_levels_at_which_it_asks() -> None:
    asked = np.geomspace(20, 0.05, 7)
    rests = [asked[0], *np.sqrt(asked[:-1] * asked[1:])[:-1], asked[-1]]
    x = states(tuple(NoiseLevel(1.0, s) for s in asked))
    e = slope(x, asked[0])
    y = x + (rests[1] - asked[0]) * e  # the first slope leads to the first rest
    for rest, spring, after in zip(rests[1:], asked[1:], rests[2:], strict=False):
        e = slope(y + (spring - rest) * e, spring)
        y = y + (after - rest) * e
    found = solve(PLANE, x, [NoiseLevel(1.0, s) for s in asked], "pfdiff").state
    same(found, y)


@pytest.mark.parametrize("parts", [2, 3])
def test_rx_extrapolates_fine_and_coarse_steps(parts: int) -> None:
    grid, sigmas, x = edm()
    y = x
    for s, t in itertools.pairwise(sigmas):
        fine, inner = y, np.geomspace(s, t, parts + 1)
        coarse = y + (t - s) * slope(y, s)
        for a, b in itertools.pairwise(inner):
            fine = fine + (b - a) * slope(fine, a)
        r = np.sum((np.diff(inner) / (t - s)) ** 2)
        y = (fine - r * coarse) / (1 - r)
    same(solve(PLANE, x, grid, f"rx-{parts}").state, y)


@pytest.mark.parametrize("stages", [((0.4, 1.02),), ((0.3, 0.41), (0.8, 0.58))])
def test_parallel_slopes_with_scaled_directions(stages: tuple[tuple[float, float], ...]) -> None:
    grid, sigmas, x = edm()
    y = x
    for s, t in itertools.pairwise(sigmas):
        first, total = slope(y, s), 0.0
        for r, w in stages:
            middle = t**r * s ** (1 - r)
            total = total + w * slope(y + (middle - s) * first, middle)
        y = y + (t - s) * total
    solver = Parallel("parallel", stages)
    same(solve(PLANE, x, grid, solver).state, y)
    assert solver.order == (0 if not math.isclose(sum(w for _, w in stages), 1) else 1)


@pytest.mark.parametrize("process", [EDM, VP_LINEAR, FLOW], ids=lambda p: p.name)
def test_amed_in_the_middle_is_dpm_solver_2(process) -> None:
    same(end("amed@1/2", process, zero=True), end("dpm-2", process, zero=True))


# --- DPM-Solver-v3 --------------------------------------------------------------------------------


def data_form(lam):
    return 1 + 0 * np.asarray(lam), 0 * np.asarray(lam), 0 * np.asarray(lam)


@pytest.mark.parametrize("process", [EDM, VP_LINEAR, FLOW], ids=lambda p: p.name)
@pytest.mark.parametrize(
    ("order", "name"), [(1, "euler"), (2, "dpmpp-2m-heun"), (3, "dpmpp-3m-exact")]
)
def test_v3_of_the_data_form_is_dpm_solver_pp(order, name, process) -> None:
    same(end(dpm_v3(order, data_form), process, zero=True), end(name, process, zero=True))


MEAN, VARIANCE = np.array([1.0, -2.0]), np.array([0.3, 4.0])
DIAGONAL = GaussianMixture([1.0], MEAN[None], np.diag(VARIANCE)[None])


@pytest.mark.parametrize("corrector", ["", "full", "pseudo"])
def test_v3_corrects_from_where_the_prediction_began(corrector: str) -> None:
    """In data form; a step integrates ``e^lam D``, the polynomial by divided differences."""
    grid, sigmas, x = edm()
    lam = -np.log(sigmas)

    def stepped(y: np.ndarray, i: int, nodes: list[int], *, taylor: bool = False) -> np.ndarray:
        table = [outputs[k] for k in nodes]
        nodal, (theta, weights) = lam[nodes], np.polynomial.legendre.leggauss(20)
        at = lam[i] + (lam[i + 1] - lam[i]) * (theta + 1) / 2
        basis, total = np.ones_like(at), 0.0
        for k in range(len(nodes)):
            total = total + np.einsum("a,nd->and", basis, table[0])
            basis = basis * (at - (nodal[0] if taylor else nodal[k]))
            gaps = nodal[k + 1 :] - nodal[: len(nodes) - k - 1]
            table = [(b - a) / h for a, b, h in zip(table, table[1:], gaps, strict=False)]
        share = np.exp(at - lam[i + 1]) * weights * (lam[i + 1] - lam[i]) / 2
        return sigmas[i + 1] / sigmas[i] * y + np.einsum("a,and->nd", share, total)

    y, outputs, predicted = x, [], x
    for i in range(len(grid) - 1):
        outputs.append(PLANE(predicted, grid[i]))
        if i and corrector:
            past = range(i - 2, max(i - 3 - (corrector == "pseudo"), -1), -1)
            past = [*past][: min(i, 3) - (2 if corrector == "full" else 1)]
            y = stepped(y, i - 1, [i - 1, i, *past], taylor=corrector == "pseudo")
        else:
            y = predicted
        predicted = stepped(y, i, [*range(i, max(i - 3, -1), -1)])
    same(solve(PLANE, x, grid, dpm_v3(3, data_form, corrector=corrector)).state, predicted)


@pytest.mark.parametrize("corrector", ["", "full", "pseudo"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_v3_is_exact_on_a_diagonal_gaussian_in_torch_too(order, corrector) -> None:
    grid = uneven_grid(VP_LINEAR)
    x = states(grid, DIAGONAL)
    exact = exact_flow(DIAGONAL, x, grid[0], grid[-1]).state
    solver = dpm_v3(order, of_gaussian(MEAN, VARIANCE), corrector=corrector)
    for start in (x, torch.from_numpy(x)):
        found = solve(DIAGONAL, start, grid, solver).state
        np.testing.assert_allclose(np.asarray(found), exact, rtol=1e-11, atol=1e-11)
    candidate = solver.step(DIAGONAL, x, grid[0], grid[1], ())
    np.testing.assert_allclose(candidate.residual, x - candidate.state, atol=1e-12)
    # along each axis the step is a number times the state, whose divergence is exact
    step = Step.take(DIAGONAL, solver, x, grid[0], grid[1])
    gains = gaussian_gain(VARIANCE, grid[0], grid[1])
    np.testing.assert_allclose(Exact()(step, np.random.default_rng(0)), 2 - gains.sum(), atol=1e-12)


def test_v3_statistics_measured_on_trajectories_are_those_of_the_law() -> None:
    lam = np.linspace(-2.0, 2.0, 41)
    levels = [NoiseLevel(1.0, math.exp(-v)) for v in lam]
    x = levels[0].noised(DIAGONAL.sample(50, np.random.default_rng(0)), np.random.default_rng(1))
    z = np.stack([exact_flow(DIAGONAL, x, levels[0], level).state for level in levels])
    outputs = np.stack([DIAGONAL(y, level) for y, level in zip(z, levels, strict=True)])
    found = interpolated(lam, measured(lam, z, outputs))
    exact = of_gaussian(MEAN, VARIANCE)
    at = np.array([-1.5, 0.0, 1.5])
    for ours, theirs in zip(found(at), exact(at), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_v3_statistics_of_a_mixture_are_its_mean_slopes() -> None:
    """``l = 1 - E dD_i/dz_i``, from states without a derivative, to four standard errors."""
    rng, levels = np.random.default_rng(0), [NoiseLevel(1.0, s) for s in (2.0, 1.0, 0.5, 0.25)]
    law = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [1.0, -0.5]], [0.2, 0.4])
    z = np.stack([level.noised(law.sample(20_000, rng), rng) for level in levels])
    outputs = np.stack([law(y, level) for y, level in zip(z, levels, strict=True)])
    found = measured([-math.log(level.sigma) for level in levels], z, outputs)[0]
    for share, y, level in zip(found, z, levels, strict=True):
        for i, axis in enumerate(np.eye(2)):
            slopes = law.jvp(y, level, np.broadcast_to(axis, y.shape))[:, i]
            error = 4 * slopes.std() / len(y) ** 0.5
            # Stein's estimate scatters by the data's spread over sigma, a few times the slopes'
            assert abs(1 - share[i] - slopes.mean()) < 5 * error + 0.01


def test_v3_weighs_the_outputs_that_it_has() -> None:
    """What the divergence takes: on a constant denoiser the linear step is the step."""
    grid, solver = uneven_grid(VP_LINEAR), dpm_v3(2, of_gaussian(MEAN, VARIANCE))
    linear = solver.weights((grid[1], grid[0]), grid[2])
    assert len(linear.betas) == 2
    x, one = states(grid, DIAGONAL), dpm_v3(1, of_gaussian(MEAN, VARIANCE))
    (beta,) = one.weights((grid[0],), grid[1]).betas
    zero = one.step(lambda y, _: 0 * y, x, grid[0], grid[1], ()).state
    found = one.step(lambda y, _: 0 * y + 1, x, grid[0], grid[1], ()).state
    np.testing.assert_allclose(found - zero, np.broadcast_to(beta, x.shape), rtol=1e-12)


def test_v3_has_three_orders() -> None:
    with pytest.raises(ValueError, match="order must be 1, 2 or 3 for dpm-v3, got 4"):
        dpm_v3(4, data_form)


# --- DC-Solver and PAS ----------------------------------------------------------------------------


def test_dc_moves_outputs_along_the_last_three_of_which_the_older_are_moved() -> None:
    grid, sigmas, x = edm()
    rhos = dict(zip(sigmas, (1.0, 1.0, 1.3, 0.8, 1.2, 0.9), strict=False))
    y, outputs = x, []
    for i, (s, t) in enumerate(itertools.pairwise(sigmas)):
        outputs.append(PLANE(y, NoiseLevel(1.0, s)))
        if i > 1:
            a, b, c = sigmas[i], sigmas[i - 1], sigmas[i - 2]
            at = b + rhos[s] * (a - b)
            outputs[-1] = (
                (at - b) * (at - c) / ((a - b) * (a - c)) * outputs[-1]
                + (at - a) * (at - c) / ((b - a) * (b - c)) * outputs[-2]
                + (at - a) * (at - b) / ((c - a) * (c - b)) * outputs[-3]
            )
        drive = outputs[-1]
        if i:
            drive = drive + (outputs[-1] - outputs[-2]) * math.log(s / t) / (
                2 * math.log(sigmas[i - 1] / s)
            )
        y = t / s * y + (1 - t / s) * drive
    solver = Compensated("dc", lambda level: rhos[level.sigma])
    same(solve(PLANE, x, grid, solver).state, y)


@pytest.mark.parametrize("process", [EDM, VP_LINEAR, FLOW], ids=lambda p: p.name)
def test_dc_of_ratio_one_is_its_base_and_takes_the_processes_time(process) -> None:
    same(end("dc@1", process, zero=True), end("dpmpp-2m", process, zero=True))
    grid = uneven_grid(process)
    x = states(grid)
    in_time, in_ratio = (
        solve(PLANE, x, grid, get_solver("dc@1.2", where)).state for where in (process, None)
    )
    assert np.allclose(in_time, in_ratio, rtol=1e-12) == (process is EDM)


def test_dc_has_ratios_up_to_two() -> None:
    with pytest.raises(InputError, match=r"R must be in \(0, 2\] for dc@R, got 3"):
        get_solver("dc@3")


def basis_by_hand(x: np.ndarray, path: list[np.ndarray]) -> np.ndarray:
    """One state's directions: ``path`` is the first state and the directions, the own one last."""
    own, rows = path[-1], np.stack(path)
    principal = np.linalg.svd(rows - rows.mean(axis=0))[2][:3]
    found = [own / np.linalg.norm(own)]
    for v in principal:
        rest = v - sum((u @ v) * u for u in found)
        rest = rest / np.linalg.norm(rest)
        found.append(rest if (x - path[0]) @ rest > 0 else -rest)
    return np.stack(found)


WIDE = GaussianMixture(
    [0.3, 0.7],
    np.random.default_rng(1).standard_normal((2, 8)),
    np.random.default_rng(2).uniform(0.05, 2, (2, 8)),
)


def test_pas_takes_shared_coordinates_in_the_principal_directions() -> None:
    sigmas = np.geomspace(20, 0.05, 6)
    grid = [NoiseLevel(1.0, s) for s in sigmas]
    x = states(tuple(grid), WIDE, n=3)
    chosen = dict.fromkeys(sigmas[2:], (2.0, 0.3, -0.2, 0.1))
    ends = []
    for first in x:
        y, path = first, [first]
        for s, t in itertools.pairwise(sigmas):
            own = (y - WIDE(y[None], NoiseLevel(1.0, s))[0]) / s
            if s in chosen:
                own = np.array(chosen[s]) @ basis_by_hand(y, [*path, own])
            path.append(own)
            y = y + (t - s) * own
        ends.append(y)
    solver = Principal("pas", lambda level: chosen.get(level.sigma))
    for start in (x, torch.from_numpy(x)):
        found = np.asarray(solve(WIDE, start, grid, solver).state)
        np.testing.assert_allclose(found, np.stack(ends), rtol=1e-9, atol=1e-9)
    plain = Principal("pas", lambda _: None)
    same(solve(WIDE, x, grid, plain).state, solve(WIDE, x, grid, "euler").state)


def test_pas_has_no_divergence() -> None:
    x = states((EDM.level_at(2.0),))
    solver = Principal("pas", lambda _: (1.0, 0.0))
    step = Step.take(PLANE, solver, x, EDM.level_at(2.0), EDM.level_at(1.0))
    np.testing.assert_allclose(step.candidate.residual, x - step.candidate.state, atol=1e-13)
    with pytest.raises(ValueError, match="must need no divergence for pas"):
        Exact()(step, np.random.default_rng(0))
