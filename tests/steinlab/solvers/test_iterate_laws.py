from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest

from analytic import GaussianMixture, NoiseLevel
from analytic.iterates.distances import energy, fisher_divergence, kl_divergence, wasserstein
from analytic.iterates.jets import Jet, denoiser_derivatives, identity
from steinlab.diffusion.grids import given_grid
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import SOLVERS
from steinlab.solvers.iterate_laws import line_iterate, run_jets
from steinlab.solvers.loop import solve
from steinlab.verification.claim import FAMILY_LEVEL
from tests.analytic.laws import FORMS, LEVEL, mixture

LAW = GaussianMixture([0.3, 0.7], [-2.0, 1.5], [0.04, 0.1])
RUNS = [
    (process, solver, steps)
    for process in ("edm", "vp-linear", "flow")
    for solver in ("euler", "heun", "dpmpp-2m", "unipc-2")
    for steps in (2, 3)
]


def grid_of(process: str, steps: int) -> Any:
    return given_grid(PROCESSES[process], list(np.geomspace(20, 0.2, steps + 1)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_denoiser_derivatives_against_jvp_and_differences(form: str, dim: int) -> None:
    law = mixture(form, d=dim)
    x = np.random.default_rng(1).standard_normal((5, dim))
    got, h = denoiser_derivatives(law, x, LEVEL), 1e-5
    np.testing.assert_allclose(got.value, law(x, LEVEL), atol=1e-13)
    np.testing.assert_allclose(got.first, law.jacobian(x, LEVEL), atol=1e-12)
    for a in range(dim):
        ahead, behind = (law.jacobian(x + s * h * np.eye(dim)[a], LEVEL) for s in (1, -1))
        np.testing.assert_allclose(got.second[..., a], (ahead - behind) / (2 * h), atol=1e-7)


def test_jets_of_a_stack_match_those_of_its_laws() -> None:
    stack = mixture("isotropic", d=1, stack=(3,))
    x = np.random.default_rng(0).standard_normal((3, 4, 1))
    ratios = np.array([[4.0, 5.0, 6.0], [1.0, 1.5, 0.5], [0.3, 0.2, 0.4]])
    levels = [PROCESSES["vp-linear"].level_at(r[:, None, None]) for r in ratios]
    for name in ("heun", "dpmpp-2m"):
        whole = run_jets(stack, x, levels, SOLVERS[name])
        for i in range(3):
            one = given_grid(PROCESSES["vp-linear"], list(ratios[:, i]))
            part = run_jets(stack.take(i), x[i], one, SOLVERS[name])
            for field in ("value", "first", "second"):
                np.testing.assert_allclose(
                    getattr(whole, field)[i], getattr(part, field), rtol=1e-9, atol=1e-12
                )


@pytest.mark.parametrize(("process", "solver", "steps"), RUNS)
def test_jets_are_the_run_and_its_derivatives(process: str, solver: str, steps: int) -> None:
    grid = grid_of(process, steps)
    x = np.linspace(-3, 3, 13)[:, None] * grid[0].sigma
    got = run_jets(LAW, x, grid, SOLVERS[solver])
    np.testing.assert_array_equal(got.value, solve(LAW, x, grid, SOLVERS[solver]).state)
    h = 1e-6 * grid[0].sigma
    ahead, behind = (run_jets(LAW, x + s * h, grid, SOLVERS[solver]) for s in (1, -1))
    first = (ahead.value - behind.value)[..., None] / (2 * h)
    second = (ahead.first - behind.first)[..., None] / (2 * h)
    np.testing.assert_allclose(got.first, first, atol=1e-6 * np.abs(got.first).max())
    np.testing.assert_allclose(got.second, second, atol=1e-6 * np.abs(got.second).max())


def test_laws_of_runs_match_samples() -> None:
    rng = np.random.default_rng(0)
    for process, solver, steps in RUNS:
        grid = grid_of(process, steps)
        clean = LAW.sample(4000, rng)
        x = grid[0].noised(clean, rng)
        state = solve(LAW, x, grid, SOLVERS[solver]).state[:, 0]
        law = line_iterate(LAW, grid, SOLVERS[solver])
        found = kstest(state, lambda y, law=law: law.distribution(y)[0])
        assert found.pvalue > FAMILY_LEVEL / len(RUNS), (process, solver, steps)


def test_a_folding_run_has_the_density_of_its_distribution() -> None:
    grid = grid_of("edm", 3)
    law = line_iterate(LAW, grid, SOLVERS["heun"])
    assert len(law.folds) == 2
    images = np.array([fold.y for fold in law.folds])
    y = np.linspace(-3.5, 3.0, 60)
    y = y[np.abs(y[:, None] - images).min(axis=1) > 0.02]
    h = 1e-5
    slope = (law.distribution(y + h)[0] - law.distribution(y - h)[0]) / (2 * h)
    density = law.log_density(y)
    np.testing.assert_allclose(np.exp(density.log), slope, atol=1e-7 + 1e-7 * slope.max())
    bend = (law.log_density(y + h).log - law.log_density(y - h).log) / (2 * h)
    np.testing.assert_allclose(density.score, bend, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(sum(law.distribution(y)), 1, atol=1e-14)
    assert fisher_divergence(law, LAW, grid[-1]).value == np.inf
    assert np.isfinite(kl_divergence(law, LAW, grid[-1]).value)


def test_small_steps_reach_the_exact_flow() -> None:
    distances = []
    for steps in (10, 20, 40):
        grid = grid_of("vp-linear", steps)
        law = line_iterate(LAW, grid, SOLVERS["heun"])
        assert not law.folds
        distances.append(np.sqrt(energy(law, LAW, grid[-1]).value))
    # between modes W2 is like the root of the mass misplaced: half the order
    assert 0 < wasserstein(law, LAW, grid[-1]).value < 0.01
    orders = np.log2(np.array(distances[:-1]) / distances[1:])
    assert abs(orders[-1] - 2) < 0.2
    assert distances[-1] < 0.001


def test_the_start_and_fixed_coefficients() -> None:
    grid = grid_of("edm", 2)
    x = np.array([[0.3], [4.0]])
    start = run_jets(LAW, x, grid[:1], SOLVERS["euler"])
    np.testing.assert_array_equal(start.first, identity(x).first)
    plain, half = (run_jets(LAW, x, grid[:2], SOLVERS["euler"], gammas=g) for g in (None, [0.5]))
    np.testing.assert_allclose(half.value, 0.5 * (x + plain.value), rtol=1e-14)
    np.testing.assert_allclose(half.first, 0.5 * (1 + plain.first), rtol=1e-14)
    with pytest.raises(ValueError, match="gammas must hold 2 numbers, got 1"):
        run_jets(LAW, x, grid, SOLVERS["euler"], gammas=[1.0])
    with pytest.raises(ValueError, match="sigma must be > 0"):
        denoiser_derivatives(LAW, x, NoiseLevel(1.0, 0.0))


def test_jet_arithmetic() -> None:
    x = identity(np.array([[2.0]]))
    y = 3.0 - 2.0 * x / 4.0 + np.array([[1.0]])
    assert isinstance(y, Jet)
    assert y.value[0, 0] == 3.0
    assert y.first[0, 0, 0] == -0.5
