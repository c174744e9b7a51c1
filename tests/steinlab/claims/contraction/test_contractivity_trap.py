"""Where steps stop contracting, and the growth of step and flow, on Gaussians."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.exact import exact_flow
from steinlab.claims.contraction import contractivity_trap as trap
from steinlab.claims.contraction.two_mode_ridges import (
    NUDGE,
    REFINED,
    Ridge,
    flow_log_slope,
    measure_refined,
    ridge_slope,
)
from steinlab.claims.instruments.random_steps import StepCases
from steinlab.coefficient.step_terms import Problem
from steinlab.solvers import SOLVERS, first_order
from tests.steinlab.claims.gaussians import UNIT, S, T, gaussian, levels


def test_threshold_and_where_it_is_found() -> None:
    s, t = levels((0.8, 0.7), (1.0, 2.0), (0.3, 0.7)), levels((0.95, 0.3), (1.0, 0.5), (0.6, 0.4))
    law = GaussianMixture(np.full((3, 2), 0.5), np.array([[-1.0, 1.0]] * 3), 0.1)
    cases = StepCases(
        Problem(law, s, t, SOLVERS["euler"], None), np.arange(3), np.ones(3, dtype=int)
    )
    edge = trap.find_edge(cases)
    for i in range(3):
        (a, u), (b, v) = ((float(w[i, 0, 0]) for w in (p.alpha, p.sigma)) for p in (s, t))
        beta = b - v / u * a
        assert trap.threshold(edge)[i] == pytest.approx((1 - v / u) / beta, rel=1e-13, abs=0)
        assert edge.found[i] == pytest.approx((1 - v / u) / beta, rel=2e-9, abs=0)
        got = trap.compare_edge(edge, trap.FORMULA)
        assert got.predicted[i] == trap.threshold(edge)[i]
        assert got.measured[i] == edge.found[i]
        slip = NUDGE**2 + UNIT / NUDGE + UNIT / (beta * edge.found[i])
        assert got.tolerance[i] == pytest.approx(slip * edge.found[i], rel=1e-12, abs=0)
    assert not got.violated.any()


def test_an_edge_of_little_gain_has_its_own_tolerance() -> None:
    edge = trap.Edge(S, T, np.array([1e-9, 2.0]))
    gain = 1 / (np.asarray(first_order(S, T).betas[0])[:, 0, 0] * edge.found)
    slip = (NUDGE**2 + UNIT / NUDGE + UNIT * gain) * edge.found
    assert UNIT * gain[0] > 1e3 * (NUDGE**2 + UNIT / NUDGE)
    np.testing.assert_allclose(trap.compare_edge(edge, trap.FORMULA).tolerance, slip, rtol=1e-12)


def test_growth_of_a_step_and_the_flow_on_a_gaussian() -> None:
    s, t = levels((1.0, 0.7), (1.0, 2.0)), levels((1.0, 0.3), (1.0, 0.5))
    cases = StepCases(
        Problem(gaussian(0.5, 0.8), s, t, SOLVERS["euler"], None), np.array([1, 2]), np.ones(2, int)
    )
    got = trap.measure_growth(cases)
    for i, sigma in enumerate((0.7, 2.0)):
        slope = 0.8 / (0.8 + sigma**2)
        assert got.slope[i] == pytest.approx(slope, rel=1e-13, abs=0)
        assert got.step[i] == pytest.approx(slope - 1, rel=1e-12, abs=0)

        def growth(share: float, sigma: float = sigma) -> float:
            return (math.sqrt((0.8 + (sigma * (1 - share)) ** 2) / (0.8 + sigma**2)) - 1) / share

        coarse, fine = (2 * growth(h / 2) - growth(h) for h in (4e-3, 2e-3))
        assert got.flow[i] == pytest.approx(fine, rel=1e-8, abs=0)
        assert got.error[i] == pytest.approx(abs(fine - coarse), rel=1e-3, abs=0)
        assert abs(got.flow[i] - (slope - 1)) < got.error[i]
    compared = trap.compare_growth(got, trap.FORMULA)
    np.testing.assert_array_equal(compared.measured, got.step)
    np.testing.assert_allclose(compared.predicted, got.slope - 1, rtol=1e-15)
    np.testing.assert_allclose(compared.tolerance, UNIT * (1 + got.slope), rtol=1e-14)
    flow = trap.compare_flow(got, trap.FORMULA)
    assert flow.sampled
    assert flow.grade == 0.05
    np.testing.assert_array_equal(flow.tolerance, got.error)


def test_growth_of_a_step_outside_edm() -> None:
    """``(T' - 1)/(1 - kappa)`` with ``T' = kappa + beta D'``."""
    law = gaussian(0.5, 0.8)
    cases = StepCases(Problem(law, S, T, SOLVERS["euler"], None), np.array([1, 2]), np.ones(2, int))
    got = trap.measure_growth(cases)
    linear = first_order(S, T)
    kappa, beta = (np.asarray(v)[:, 0, 0] for v in (linear.kappa, linear.betas[0]))
    expected = (kappa + beta * got.slope - 1) / (1 - kappa)
    np.testing.assert_allclose(got.step, expected, rtol=1e-12)


def test_rounding_of_the_flows_growth() -> None:
    """Of a point mass the flow is linear, so the extrapolation's change is rounding alone."""
    law, x, sigma = GaussianMixture([1.0], [0.0], 1e-24), np.array([[3e4]]), 1.0
    growth, error = trap._flow_growth(law, x, sigma)
    t = NoiseLevel(1.0, sigma * (1 - 1e-3))
    end = exact_flow(law, x, NoiseLevel(1.0, sigma), t)
    logs = float(law.log_prob(x, NoiseLevel(1.0, sigma))[0]), float(law.log_prob(end.state, t)[0])
    score = abs(float(law.score(end.state, t)[0, 0]))
    own = (UNIT * (1 + abs(logs[0]) + abs(logs[1])) + score * float(end.error[0])) / 1e-3
    assert abs(growth + 1) < error
    assert 3 * own <= error < 3.5 * own


def test_growth_where_densities_exceed_one() -> None:
    law = GaussianMixture([1.0], [0.0], 1e-24)
    growth, error = trap._flow_growth(law, np.array([[0.01]]), 0.05)
    assert float(law.log_prob(np.array([[0.01]]), NoiseLevel(1.0, 0.05))[0]) > 1
    assert abs(growth + 1) < error < 1e-9


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_ridges_slope_is_read_off_at_every_scale(scale: float) -> None:
    s, t = levels((1.0, scale)), levels((1.0, 0.5 * scale))
    slope = ridge_slope(np.array([1.2 * scale]), s, t)[0]
    assert slope == pytest.approx(0.5 + 0.5 * 1.2**2, rel=1e-9)


def test_rounding_of_refined_grids() -> None:
    """Modes too close to matter: every step shrinks by ``kappa``, and no grid has an error."""
    got = measure_refined(Ridge("edm", 1e-9, 1e-9, 30.0, 0.2))
    assert got.limit == pytest.approx(math.log(0.2 / 30.0), abs=got.error)
    assert UNIT * REFINED[-1] <= got.error < 3 * UNIT * REFINED[-1]


def test_refined_grids_are_compared_with_the_flow() -> None:
    ridge = Ridge("flow", 1.5, 0.4, 30.0, 0.2)
    logs = []
    for n in REFINED:
        ratio = np.geomspace(30.0, 0.2, n + 1)
        alpha, sigma = 1 / (1 + ratio), ratio / (1 + ratio)
        v = alpha**2 * 0.16 + sigma**2
        slope = alpha * 0.16 / v + alpha / sigma**2 * (1.5 * sigma**2 / v) ** 2
        kappa = sigma[1:] / sigma[:-1]
        logs.append(np.log(kappa + (alpha[1:] - kappa * alpha[:-1]) * slope[:-1]).sum())
    first, second = 2 * logs[1] - logs[0], 2 * logs[2] - logs[1]
    got = measure_refined(ridge)
    np.testing.assert_allclose(got.coarse, logs, rtol=1e-9)
    assert got.limit == pytest.approx(second, rel=1e-8, abs=0)
    assert got.error == pytest.approx(abs(second - first) + UNIT * 8000, rel=1e-3, abs=0)
    variances = alpha**2 * 0.16 + sigma**2
    dense = [
        -0.5 * (a * 1.5) ** 2 / v - 0.5 * np.log(v)
        for a, v in ((alpha[0], variances[0]), (alpha[-1], variances[-1]))
    ]
    assert flow_log_slope(ridge) == pytest.approx(dense[0] - dense[1], rel=1e-10, abs=0)
    compared = trap.compare_refined(got, trap.FORMULA)
    assert compared.sampled
    assert (compared.measured[0], compared.tolerance[0]) == (got.limit, got.error)
    assert compared.predicted[0] == flow_log_slope(ridge)
    assert not compared.violated.any()
