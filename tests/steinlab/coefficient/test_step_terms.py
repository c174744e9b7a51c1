"""The terms of a step: quadrature against a plain product rule over ``(x_star, eps)``, samples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from steinlab.claims.instruments.linear_forms import (
    Identity,
    compare_integrated,
    reference,
    stein,
)
from steinlab.claims.instruments.random_steps import StepCases, draw_steps
from steinlab.claims.instruments.step_checks import integrate_steps
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.coefficient.step_terms import (
    Integrated,
    Problem,
    Terms,
    quadrature_terms,
    sampled_divergence,
    sampled_terms,
    take_step,
    terms_at,
)
from steinlab.solvers import EULER, SOLVERS

WEIGHTS, MEANS, STDS = [0.3, 0.7], [-1.0, 1.5], [0.4, 0.7]
CLAIMED = pytest.mark.parametrize("name", ["euler", "heun", "dpmpp-2m"])


def level(alpha: float, sigma: float) -> NoiseLevel:
    return NoiseLevel(np.full((1, 1, 1), alpha), np.full((1, 1, 1), sigma))


def problem(name: str) -> Problem:
    law = GaussianMixture([WEIGHTS], [MEANS], np.square([STDS]))
    earlier = level(0.4, 0.9) if name == "dpmpp-2m" else None
    return Problem(law, level(0.5, 0.8), level(0.8, 0.5), SOLVERS[name], earlier)


def normal_rule(n: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """The trapezoid rule for the standard normal law: exact to rounding."""
    x = np.linspace(-9.5, 9.5, n)
    return x, np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi) * (x[1] - x[0])


PAST = np.full((1, 1, 1), 0.7)


@CLAIMED
def test_quadrature_against_a_product_rule(name: str) -> None:
    """Integrate over ``(x_star, eps)`` as it stands; derivatives by differences."""
    p = problem(name)
    past = None if p.earlier is None else PAST
    z, w = normal_rule()
    star = np.concatenate([m + s * z for m, s in zip(MEANS, STDS, strict=True)])
    mass = np.concatenate([c * w for c in WEIGHTS])
    x_star = np.repeat(star, len(z))[None, :, None]
    eps = np.tile(z, len(star))[None, :, None]
    chance = np.outer(mass, w).ravel()
    x = p.s.noised(x_star, eps)
    step, h = take_step(p, x, past), 1e-5
    up, down = (take_step(p, x + k * h, past).candidate.residual for k in (1, -1))
    u, state, d = step.candidate.residual, step.candidate.state, step.candidate.denoised
    exact = {
        "u_x": u * x, "div": (up - down) / (2 * h), "u_u": u * u, "u_ref": u * (x - x_star),
        "u_tweedie": u * (x - d), "err": (x - x_star) ** 2, "gap": (state - x_star) ** 2,
        "mirror": (2 * x - state - x_star) ** 2, "x_x": x * x,
    }  # fmt: skip
    got = quadrature_terms(p, past)
    assert set(exact) == set(Terms.names())
    for term, values in exact.items():
        total = float(values[0, :, 0] @ chance)
        tolerance = 1e-8 if term == "div" else 1e-12
        assert getattr(got.value, term)[0] == pytest.approx(total, rel=tolerance, abs=1e-14), term
        size, error = getattr(got.size, term)[0], getattr(got.error, term)[0]
        assert error <= 1e-13 * size
        assert size >= abs(total) * (1 - 1e-12)


@CLAIMED
def test_samples_scatter_about_the_integrals(name: str) -> None:
    p, n = problem(name), 100_000
    rng = np.random.default_rng(0)
    x_star = p.law.sample(n, rng)
    past = None if p.earlier is None else PAST
    sampled = sampled_terms(p, x_star, rng.standard_normal(x_star.shape), past, rng=rng)
    exact = quadrature_terms(p, past).value
    for term in Terms.names():
        values = getattr(sampled, term)[0]
        error = values.std() / math.sqrt(n)
        assert abs(values.mean() - getattr(exact, term)[0]) < 4.5 * error, term


@CLAIMED
def test_a_case_does_not_depend_on_its_neighbours(name: str) -> None:
    """Bitwise: a stored case replays to the last digit."""
    for batch in draw_steps(np.random.default_rng(5), 24, solvers=(name,)):
        past = None
        if batch.problem.earlier is not None:
            past = np.random.default_rng(1).standard_normal((len(batch), 1, 1))
        together = quadrature_terms(batch.problem, past)
        for c in (0, len(batch) - 1):
            alone = StepCases.restore(batch.describe(c)).problem
            got = quadrature_terms(alone, None if past is None else past[[c]])
            for mine, all_ in zip(got, together, strict=True):
                for term in Terms.names():
                    assert getattr(mine, term)[0] == getattr(all_, term)[c]


def test_a_fold_deep_in_the_tail_is_found() -> None:
    """Heun's second evaluation switches modes where the density is 1e-8 of its peak."""
    law = GaussianMixture(
        [[0.3860614372926122, 0.6139385627073878]],
        [[-2.940600796572221, 0.4476554924107876]],
        [[0.005980451073745996] * 2],
    )
    s, t = level(1.0, 0.27977043234342913), level(1.0, 0.0002514391114328351)
    value, size, error = quadrature_terms(Problem(law, s, t, SOLVERS["heun"], None))
    right = s.sigma[0, 0, 0] ** 2 * value.div
    slack = error.u_ref + s.sigma[0, 0, 0] ** 2 * error.div + 1.8e-15 * size.u_ref
    assert abs(value.u_ref - right) <= slack
    assert slack < 1e-9 * right


class Deceived(GaussianMixture):
    """A law whose denoiser is wrong: only what never asks it stays right."""

    def denoise(self, x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        return 0.9 * super().denoise(x, level) + 0.2


def test_the_reference_never_goes_through_the_denoiser() -> None:
    p = problem("euler")
    p = p._replace(law=Deceived(p.law.weights, p.law.means[..., 0], p.law.spectra[..., 0]))
    rng, n = np.random.default_rng(0), 200_000
    x_star = p.law.sample(n, rng)
    sampled = sampled_terms(p, x_star, rng.standard_normal(x_star.shape), None, rng=rng)
    exact = quadrature_terms(p).value
    for term in ("u_ref", "u_tweedie", "err", "gap"):
        values = getattr(sampled, term)[0]
        error = values.std() / math.sqrt(n)
        assert abs(values.mean() - getattr(exact, term)[0]) < 4.5 * error, term
    assert abs(exact.u_ref - exact.u_tweedie) > 8 * error


def test_parts_of_a_factorised_law_add_up() -> None:
    p = problem("euler")
    one = quadrature_terms(p)
    three = one.plus(one, np.array([2.0]))
    for part, single in zip(three, one, strict=True):
        for term in Terms.names():
            assert getattr(part, term)[0] == pytest.approx(3 * getattr(single, term)[0], rel=1e-15)


def test_the_objective_is_a_parabola_through_its_three_values() -> None:
    rng = np.random.default_rng(0)
    p = problem("heun")
    x_star = p.law.sample(50, rng)
    terms = sampled_terms(p, x_star, rng.standard_normal(x_star.shape), None, rng=rng)
    for gamma, value in ((0.0, terms.err), (1.0, terms.gap), (-1.0, terms.mirror)):
        parabola = terms.err - 2 * gamma * terms.u_ref + gamma**2 * terms.u_u
        np.testing.assert_allclose(value, parabola, rtol=1e-9, atol=1e-12)


def test_means_and_absolute_values() -> None:
    rng = np.random.default_rng(0)
    terms = Terms(*rng.standard_normal((9, 2, 5)))
    np.testing.assert_array_equal(terms.mean().u_ref, terms.u_ref.mean(axis=1))
    assert np.all(terms.absolute().gap >= 0)
    np.testing.assert_array_equal((terms + terms).err, terms.scaled(2.0).err)


def test_probes_only_where_a_trace_would_cost_too_much() -> None:
    def divergence_of(name: str, dim: int) -> str:
        law = GaussianMixture([1.0], np.zeros((1, dim)), 1.0)
        s, t = NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.5)
        step = take_step(Problem(law, s, t, SOLVERS[name], None), np.ones((3, dim)), None)
        return type(sampled_divergence(step)).__name__

    assert divergence_of("euler", 64) == "Exact"
    assert divergence_of("heun", 8) == "Exact"
    assert divergence_of("heun", 9) == "Hutchinson"


def test_a_given_divergence_is_used() -> None:
    p = problem("euler")
    rng = np.random.default_rng(0)
    x_star = p.law.sample(3, rng)
    step = take_step(p, p.s.noised(x_star, 0 * x_star), None)
    got = terms_at(step, x_star, lambda *_: np.full((1, 3), 7.0), rng)
    np.testing.assert_array_equal(got.div, 7.0)
    assert step.solver is EULER


NARROW = {
    "data": {
        "weights": [0.9707930236267525, 0.029206976373247425],
        "means": [[1.778523873117975], [-2.5241157648563823]],
        "covariances": [0.008333532158147803] * 2,
    },
    "from": [0.0016308263269793261, 0.0006469168888444052],
    "to": [9.751309311527228e-08, 5.7359120102931866e-11],
    "solver": "heun",
    "seed": 4198065944,
    "dim": 2,
}
"""Heun's second evaluation changes modes within 3e-4 deviations of ``x``, five deviations out: in
``u`` a jump below the tolerance, in ``div u`` a part of 1e-12 that lay between all nodes."""

NARROW_DIV = 1.9999372011072464112
"""``E div u`` at 40 digits, by mpmath: Gauss-Legendre panels that halve towards the change."""


def test_a_change_of_modes_between_the_nodes_counts() -> None:
    case = StepCases.restore(NARROW)
    data = integrate_steps(case)
    assert isinstance(data.terms, Integrated)
    value, size, error = data.terms
    assert abs(value.div[0] - NARROW_DIV) <= ROUNDING * EPS * size.div[0] + error.div[0]
    found = compare_integrated(data, Identity(reference, stein))
    assert found.decided.all()
    assert abs(found.excess[0]) < 0.5 * found.tolerance[0]
    assert found.tolerance[0] < 1e-13 * abs(found.predicted[0]), "and the bound stays tight"
