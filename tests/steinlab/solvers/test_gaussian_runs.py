"""Closed forms on Gaussian data, against formulas written out, sampled runs and the exact flow."""

import itertools

import numpy as np
import pytest
from scipy.linalg import sqrtm

from analytic import GaussianMixture, NoiseLevel, exact_flow
from analytic.flow.exact import gaussian_gain
from steinlab.diffusion.grids import given_grid, make_grid
from steinlab.diffusion.processes import EDM, FLOW, PROCESSES, VP_LINEAR
from steinlab.experiments.compare import compare
from steinlab.experiments.specs.compare import CompareSpec
from steinlab.solvers import (
    DPMPP_2M,
    EULER,
    HEUN,
    LinearMultistep,
    LinearStep,
    get_solver,
    make_plan,
    matching_start,
)
from steinlab.solvers.gaussian_runs import (
    Normal,
    flow_distance,
    flow_output,
    forward_law,
    gaussian_run,
    pure_noise,
    w2,
    wasserstein_errors,
)
from steinlab.solvers.loop import solve
from tests.steinlab.solvers.cases import ALONE, ORDER_TOLERANCE, logsnr, quadratic

RTOL = 1e-12
"""Rounding of a dozen steps whose terms are of the states' size."""

RTOL_ADAMS = 1e-10
"""The same where the terms, slopes extrapolated over a long last step, are a hundred times it."""

EPS = np.finfo(np.float64).eps

FACTOR = np.array([[1.0, 0.0, 0.0], [0.7, 0.5, 0.0], [-0.3, 0.2, 0.1]])
LAW = GaussianMixture([1.0], [[1.0, -2.0, 0.5]], (FACTOR @ FACTOR.T)[None])
SPREAD = GaussianMixture([1.0], np.zeros((1, 3)), [[0.1, 0.5, 2.5]])
EIGENVALUES, EIGENVECTORS = LAW.spectra[0], LAW.basis[0]
SHORT = (FLOW, VP_LINEAR, EDM)


def deviation(level):
    return np.sqrt(level.alpha**2 * EIGENVALUES + level.sigma**2)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=lambda p: p.name)
def test_eulers_gain_is_the_product_of_its_steps(process):
    grid = make_grid(process, "logsnr", 12)
    run = gaussian_run(LAW, EULER, grid)
    gain = np.ones(3)
    for i, (s, t) in enumerate(itertools.pairwise(grid), start=1):
        kappa = t.sigma / s.sigma
        beta = t.alpha - kappa * s.alpha
        gain = gain * (kappa + beta * s.alpha * EIGENVALUES / deviation(s) ** 2)
        np.testing.assert_allclose(run.gains[i], gain, rtol=RTOL)
        np.testing.assert_allclose(run.deviations[i], gain * deviation(grid[0]), rtol=RTOL)


def test_heuns_gain_is_the_product_of_its_steps():
    grid = make_grid(VP_LINEAR, "karras", 9)
    ratios = [level.ratio for level in grid]
    gain = np.ones(3)  # of x / alpha, whose slope in sigma / alpha is rate(ratio) times it
    for a, b in itertools.pairwise(ratios):
        rate = [e / (EIGENVALUES + e**2) for e in (a, b)]
        slope = rate[0] if b == 0 else 0.5 * (rate[0] + rate[1] * (1 + (b - a) * rate[0]))
        gain = gain * (1 + (b - a) * slope)
    run = gaussian_run(LAW, HEUN, grid)
    np.testing.assert_allclose(run.gains[-1], gain * grid[-1].alpha / grid[0].alpha, rtol=RTOL)


def test_the_multistep_gain_is_its_recurrence():
    grid = make_grid(FLOW, "karras", 9, final_zero=False)
    gains, outputs = [np.ones(3)], []
    for i, (s, t) in enumerate(itertools.pairwise(grid)):
        outputs.append(s.alpha * EIGENVALUES / deviation(s) ** 2 * gains[-1])
        h = np.log(t.alpha / t.sigma) - np.log(s.alpha / s.sigma)
        combined = outputs[-1]
        if i:
            past = np.log(s.alpha / s.sigma) - np.log(grid[i - 1].alpha / grid[i - 1].sigma)
            combined = combined + h / (2 * past) * (outputs[-1] - outputs[-2])
        gains.append(t.sigma / s.sigma * gains[-1] + t.alpha * (1 - np.exp(-h)) * combined)
    np.testing.assert_allclose(gaussian_run(LAW, DPMPP_2M, grid).gains, gains, rtol=RTOL)


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("started", [False, True])
def test_a_run_of_states_is_the_affine_map(name, started):
    for process in SHORT:
        solver = get_solver(name, process)
        grid = make_grid(process, "karras", 8, final_zero=solver.ends_at_zero)
        start = matching_start(solver) if started else ()
        plan = make_plan(solver, 8, start=start)
        x = grid[0].sigma * np.random.default_rng(0).standard_normal((5, 3))
        run = gaussian_run(LAW, plan, grid, Normal(x[0], np.ones(3)))
        states = np.stack(solve(LAW, x, grid, plan, keep_trajectory=True).trajectory)
        expected = ((x - x[0]) @ EIGENVECTORS * run.gains[:, None]) @ EIGENVECTORS.T
        expected = expected + run.means[:, None]
        atol = (4 if name == "deis-tab-4" else 1) * RTOL_ADAMS * np.abs(states).max()
        np.testing.assert_allclose(states, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("name", ALONE)
def test_the_forward_laws_mean_is_kept_along_the_grid(name):
    solver = get_solver(name, FLOW)
    grid = make_grid(FLOW, "logsnr", 7, final_zero=solver.ends_at_zero)
    means = gaussian_run(LAW, solver, grid).means
    expected = np.array([level.alpha for level in grid])[:, None] * LAW.means
    np.testing.assert_allclose(means, expected, rtol=0, atol=RTOL * 10)


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("ratios", [quadratic, logsnr])
def test_the_gain_nears_the_exact_flows_at_the_declared_order(name, ratios):
    for process in (VP_LINEAR, FLOW):
        solver = get_solver(name, process)
        steps = 32 if solver.depth == 0 and solver.order >= 4 else 256
        for start in {(), matching_start(solver)}:
            errors = []  # of several eigenvalues together, lest one's leading term vanish
            for n in (steps // 2, steps):
                grid = given_grid(process, list(ratios(n)))
                plan = make_plan(solver, n, start=start)
                run = gaussian_run(SPREAD, plan, grid)
                exact = gaussian_gain(SPREAD.spectra[0], grid[0], grid[-1])
                errors.append(np.linalg.norm(run.gains[-1] - exact))
            assert errors[1] > 100 * steps * EPS
            seen = np.log2(errors[0] / errors[1])
            # these midpoints are of order three on Gaussians, of two elsewhere
            gained = name in ("rx-2", "rx-3") or (name == "rk-midpoint" and process is FLOW)
            assert seen == pytest.approx(plan.order + gained, abs=ORDER_TOLERANCE)


def test_the_exact_flow_carries_laws_as_it_carries_states():
    s, t = VP_LINEAR.level(0.9), VP_LINEAR.level(0.1)
    np.testing.assert_allclose(flow_output(LAW, s, t).deviations, deviation(t), rtol=RTOL)
    np.testing.assert_allclose(flow_output(LAW, s, t).mean, t.alpha * LAW.means[0], rtol=RTOL)
    start = Normal(np.array([3.0, 1.0, -1.0]), np.array([1.0, 2.0, 3.0]))
    carried = flow_output(LAW, s, t, start)
    moved = exact_flow(LAW, start.mean[None], s, t).state[0]
    np.testing.assert_allclose(carried.mean, moved, rtol=RTOL)
    np.testing.assert_allclose(carried.deviations, deviation(t) / deviation(s) * [1, 2, 3])


def test_w2_is_the_formula_of_any_two_gaussians():
    p = Normal(np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.5, 2.0]))
    q = Normal(np.array([1.5, 2.0, 1.0]), np.array([0.1, 3.0, 2.5]))
    cov = [(EIGENVECTORS * n.deviations**2) @ EIGENVECTORS.T for n in (p, q)]
    root = sqrtm(cov[0])
    square = ((p.mean - q.mean) ** 2).sum()
    square += np.trace(cov[0] + cov[1] - 2 * sqrtm(root @ cov[1] @ root).real)
    assert w2(p, q) == pytest.approx(np.sqrt(square), rel=1e-10)


@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp-3m-exact", "ipndm-4"])
@pytest.mark.parametrize("start", ["own", "matching"])
def test_flow_distance_is_what_compare_estimates(name, start):
    data = {"weights": [1], "means": [[1, -1]], "stds": ["1/2"]}
    entry = {"name": name, "start": start}
    obj = {"data": data, "solvers": [entry], "evaluations": [6], "corrections": ["none"]}
    (row,) = compare(CompareSpec.from_json({**obj, "schedule": "flow", "samples": 1000}))
    solver = get_solver(name, FLOW)
    starters = matching_start(solver) if start == "matching" else ()
    grid = make_grid(FLOW, "karras", row.steps)
    law = GaussianMixture([1.0], [[1.0, -1.0]], 0.25)
    expected = flow_distance(law, make_plan(solver, row.steps, start=starters), grid)
    assert abs(row.measured["flow_error"].value - expected) < 4.5 * row.measured["flow_error"].error
    assert row.measured["flow_error"].error < 0.03 * expected


def test_flow_distance_is_w2_unless_a_gain_is_negative():
    grid = make_grid(EDM, "karras", 5)
    flow = flow_output(LAW, grid[0], grid[-1])
    for name in ("euler", "heun", "deis-rho-3", "unipc-3"):
        run = gaussian_run(LAW, get_solver(name), grid)
        assert run.gains.min() >= 0
        distance = w2(run.output, flow)
        assert flow_distance(LAW, get_solver(name), grid) == pytest.approx(distance, rel=1e-9)

    def reflect(levels, t):
        return LinearStep(-1.0, 2.0, (0.0,))

    mirror = LinearMultistep("mirror", order=0, depth=0, weights=reflect)
    level = NoiseLevel(1.0, 2.0)
    centred = GaussianMixture([1.0], [[0.0, 0.0]], 1.0)
    run = gaussian_run(centred, mirror, [level, NoiseLevel(1.0, 1.9)])
    assert run.gains[-1].tolist() == [-1.0, -1.0]
    np.testing.assert_allclose(run.output.deviations, 5**0.5, rtol=RTOL)
    coupled = flow_distance(centred, mirror, [level, NoiseLevel(1.0, 1.9)])
    assert coupled == pytest.approx(2**0.5 * (5**0.5 + (1 + 1.9**2) ** 0.5), rel=RTOL)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=lambda p: p.name)
@pytest.mark.parametrize("zero", [False, True])
def test_errors_of_a_run_from_pure_noise(process, zero):
    grid = make_grid(process, "logsnr", 10, final_zero=zero)
    errors = wasserstein_errors(LAW, EULER, grid)
    s, t = grid[0], grid[-1]
    assert pure_noise(LAW, s).deviations.tolist() == [s.sigma] * 3
    gain = deviation(t) / deviation(s)
    lost = EIGENVECTORS @ (gain * (EIGENVECTORS.T @ (s.alpha * LAW.means[0])))
    initial = np.hypot(np.linalg.norm(lost), np.linalg.norm(gain * s.sigma - deviation(t)))
    assert errors.initialisation == pytest.approx(initial, rel=1e-9)
    shrunk = np.linalg.norm((1 - t.alpha) * LAW.means[0])
    cut = np.hypot(shrunk, np.linalg.norm(deviation(t) - np.sqrt(EIGENVALUES)))
    assert errors.truncation == pytest.approx(cut, rel=1e-9)
    assert (errors.truncation == 0) == zero
    output = gaussian_run(LAW, EULER, grid, pure_noise(LAW, s)).output
    assert errors.total == w2(output, forward_law(LAW, NoiseLevel(1.0, 0.0)))
    parts = errors.initialisation + errors.truncation + errors.discretisation
    assert abs(errors.total) <= parts * (1 + RTOL)


def test_discretisation_vanishes_with_the_step_and_the_rest_does_not():
    runs = [wasserstein_errors(LAW, HEUN, make_grid(FLOW, "logsnr", n)) for n in (40, 80, 640)]
    assert runs[1].discretisation < 0.3 * runs[0].discretisation
    assert runs[2].total == pytest.approx(runs[2].initialisation, rel=0.05)
    assert len({round(run.initialisation, 12) for run in runs}) == 1


def test_more_than_one_component_is_refused():
    mixture, grid = GaussianMixture([0.5, 0.5], [-1.0, 1.0], 0.1), make_grid(EDM, "karras", 3)
    for call in (
        lambda: forward_law(mixture, grid[0]),
        lambda: flow_output(mixture, grid[0], grid[1]),
        lambda: gaussian_run(mixture, EULER, grid),
        lambda: wasserstein_errors(mixture, EULER, grid),
    ):
        with pytest.raises(ValueError, match=r"law must have one component, got .* \(2,\)"):
            call()


def test_a_solver_that_couples_the_batch_is_refused():
    with pytest.raises(ValueError, match=r"^solver must take each state alone for the closed form"):
        gaussian_run(LAW, get_solver("unit-speed-2"), make_grid(EDM, "karras", 3))
