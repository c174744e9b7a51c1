"""The perturbation bound by hand, and both of its sides on Gaussians.

The claim's verdict says that the bound holds; one that is merely larger would hold too.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from steinlab.claims.error_bounds import perturbation
from steinlab.claims.error_bounds.perturbation import (
    BOUNDS,
    PairCases,
    Perturbed,
    States,
    coefficient_bound,
    compare_bounds,
    compare_optimum,
    integrate_perturbed,
    measure_pairs,
    measure_uniform,
    ratios,
    state_bound,
)
from steinlab.coefficient.rounding import step_sizes
from steinlab.coefficient.step_terms import Problem, quadrature_terms, take_step
from steinlab.solvers import SOLVERS, first_order
from tests.steinlab.claims.gaussians import UNIT, S, T, gaussian, two_modes


def perturbed(**changes: Any) -> Perturbed:
    rng = np.random.default_rng(0)
    numbers = {name: rng.uniform(0.5, 3.0, 4) for name in Perturbed._fields}
    numbers["alpha"] = np.array([0.3, 0.6, 0.9, 1.0])
    return Perturbed(**{**numbers, **changes})


def test_both_forms_of_the_bound_by_hand() -> None:
    data = perturbed()
    for i in range(4):
        a, s, f, p = (float(getattr(data, k)[i]) for k in ("alpha", "sigma", "fisher", "power"))
        assert state_bound(data)[i] == pytest.approx(s * s * math.sqrt(f) / a, rel=1e-14, abs=0)
        by_norm = s * s * math.sqrt(f) / (a * math.sqrt(p))
        assert coefficient_bound(data)[i] == pytest.approx(by_norm, rel=1e-14, abs=0)
        gap = abs(data.tilde[i] / p - data.tweedie[i] / p)
        assert data.gap[i] == pytest.approx(gap, rel=1e-13, abs=0)
        assert ratios(data)[i] == pytest.approx(gap / by_norm, rel=1e-13, abs=0)


@pytest.mark.parametrize("optimum", [False, True])
def test_comparison_with_the_bound_by_hand(optimum: bool) -> None:
    fisher, slip = np.array([0.0, 0.5, 1.0, 2.0]), np.array([0.0, 1e-3, 2.0, 1e-3])
    data = perturbed(fisher=fisher, fisher_error=slip)
    data = data._replace(error=0.01 * data.error, power_error=0.01 * data.power_error)
    data = data._replace(optimum_error=0.01 * data.optimum_error)
    got = (compare_optimum if optimum else compare_bounds)(data, BOUNDS)
    assert got.upper
    for i in range(4):
        p = data.power[i]
        target, own = (
            (data.optimum[i], data.optimum_error[i]) if optimum else (data.tweedie[i] / p, 0.0)
        )
        gap, error = abs(data.tilde[i] / p - target), data.error[i] / p + own
        relative = data.power_error[i] / p
        bend = 1.0 if fisher[i] == 0 else min(1.0, slip[i] / fisher[i] + relative)
        for form, unit, bound in ((0, 1.0, coefficient_bound), (1, math.sqrt(p), state_bound)):
            at = 2 * i + form
            assert got.measured[at] == pytest.approx(gap * unit, rel=1e-13, abs=0)
            assert got.predicted[at] == pytest.approx(bound(data)[i], rel=1e-14, abs=0)
            tolerance = (error + gap * relative) * unit + bound(data)[i] * bend
            assert got.tolerance[at] == pytest.approx(tolerance, rel=1e-12, abs=0)


def test_integrals_and_their_errors_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    value, size, error = rng.uniform(0.5, 2, (3, 2, 5))
    size, error = size / UNIT * 1e-3, error * 1e-2
    fake = SimpleNamespace(value=value, size=size, error=error)
    monkeypatch.setattr(perturbation, "integrate", lambda *_: fake)
    problem = Problem(gaussian(0.0, 1.0), S, T, SOLVERS["euler"], None)
    got = integrate_perturbed(problem, lambda *_: pytest.fail("not called"), np.zeros((2, 2)))
    slip = 1e-3 * (size * UNIT / 1e-3) + error
    for i, (alpha, sigma) in enumerate(((0.8, 0.7), (1.0, 2.0))):
        drift, geometric = 1 - 1 / alpha, sigma * sigma / alpha
        y, div, power, own, fisher = value[i]
        assert (got.alpha[i], got.sigma[i]) == (alpha, sigma)
        assert got.tilde[i] == pytest.approx(drift * y + geometric * div, rel=1e-14, abs=0)
        assert (got.tweedie[i], got.power[i], got.fisher[i]) == (own, power, fisher)
        both = abs(drift) * slip[i, 0] + geometric * slip[i, 1] + slip[i, 3]
        assert got.error[i] == pytest.approx(both, rel=1e-12, abs=0)
        assert got.power_error[i] == pytest.approx(slip[i, 2], rel=1e-12, abs=0)
        assert got.fisher_error[i] == pytest.approx(slip[i, 4], rel=1e-12, abs=0)


def test_integrands_and_sizes_state_by_state() -> None:
    problem = Problem(two_modes(), S, T, SOLVERS["heun"], None)
    rng = np.random.default_rng(2)
    y = rng.uniform(-3, 3, (2, 5))
    states = States(y, *rng.uniform(0.2, 2.0, (4, 2, 5)))
    values, sized = perturbation._integrands(problem, states)
    sizes = sized()
    step = take_step(problem, y[..., None], None)
    size_u, size_div = step_sizes(step)
    h = 1e-5
    for i in np.ndindex(2, 5):
        alpha, sigma = S.alpha[i[0], 0, 0], S.sigma[i[0], 0, 0]
        x, mass, score, size, score_size = (float(part[i]) for part in states)
        d = float(problem.law(y[..., None], S)[(*i, 0)])
        u = float(step.candidate.residual[(*i, 0)])
        ends = [
            take_step(problem, (y + e)[..., None], None).candidate.residual[(*i, 0)]
            for e in (-h, h)
        ]
        div, model = float(ends[1] - ends[0]) / (2 * h), (alpha * d - x) / sigma**2
        gap, off = model - score, x - d
        expected = (u * x, div, u * u, u * off, gap * gap)
        np.testing.assert_allclose(values[i], mass * np.array(expected), rtol=1e-8, atol=1e-9)
        slip = float(size_u[(*i, 0)]) + abs(div) * size
        expected = (
            slip * abs(x) + abs(u) * size,
            float(size_div[(*i, 0)]),
            2 * abs(u) * slip,
            slip * abs(off) + abs(u) * (size + abs(d)),
            2 * abs(gap) * (score_size + abs(model)),
        )
        np.testing.assert_allclose(sizes[i], mass * np.array(expected), rtol=1e-8, atol=1e-9)


def closed_form(mean: float, second: float, v: float, score: Any) -> tuple[np.ndarray, ...]:
    """``E u x, E u', E u^2, E u (x - D), F`` of Euler on unit Gaussian data, ``p = N(0, v)``.

    ``mean`` and ``second`` are moments of the states; ``score`` gives ``F`` from ``1 / v``.
    """
    linear = first_order(S, T)
    gain = (S.alpha / v)[:, 0, 0]
    rate = np.asarray(linear.one_minus_kappa)[:, 0, 0] - np.asarray(linear.betas[0])[:, 0, 0] * gain
    return rate * second, rate, rate**2 * second, rate * (1 - gain) * second, score(1 / v[:, 0, 0])


@pytest.mark.parametrize("uniform", [False, True])
def test_gaussian_data_under_another_law(uniform: bool) -> None:
    """The model's law is ``N(0, 1)``; the states follow a moved Gaussian or a uniform law."""
    cases = PairCases(Problem(gaussian(0.0, 1.0), S, T, SOLVERS["euler"], None), gaussian(0.7, 2.5))
    alpha, sigma = S.alpha[:, 0, 0], S.sigma[:, 0, 0]
    v, mean = S.alpha**2 + S.sigma**2, 0.7 * alpha
    w = 2.5 * alpha**2 + sigma**2
    # the uniform law has the reach sqrt(3 E y^2) about q's mean, so the variance E y^2
    second = mean**2 + (w + mean**2 if uniform else w)

    def score(rate: np.ndarray) -> np.ndarray:
        own = np.zeros_like(rate) if uniform else 1 / w
        return (
            rate**2 * second
            - 2 * rate * own * (0 if uniform else w)
            + own**2 * (w if not uniform else 0)
        )

    got = (measure_uniform if uniform else measure_pairs)(cases)
    y, div, power, own, fisher = closed_form(0.7, second, v, score)
    np.testing.assert_allclose(got.tilde, (1 - 1 / alpha) * y + sigma**2 / alpha * div, rtol=1e-12)
    np.testing.assert_allclose(got.tweedie, own, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(got.power, power, rtol=1e-12)
    np.testing.assert_allclose(got.fisher, fisher, rtol=1e-11)
    assert np.all(got.error < 1e-11)
    assert np.all(got.power_error < 1e-11)


def test_optimum_under_the_model_is_the_reference_route() -> None:
    problem = Problem(two_modes(), S, T, SOLVERS["euler"], None)
    got = measure_pairs(PairCases(problem, gaussian(0.7, 2.5)))
    value, size, error = quadrature_terms(problem)
    for i in range(2):
        best = value.u_ref[i] / value.u_u[i]
        assert got.optimum[i] == best
        slip = (
            UNIT * size.u_ref[i] + error.u_ref[i] + abs(best) * (UNIT * size.u_u[i] + error.u_u[i])
        )
        assert got.optimum_error[i] == pytest.approx(slip / value.u_u[i], rel=1e-12, abs=0)
