"""Causes in closed form: the pieces against other routes, and against the figures they are for."""

import json
import math

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from steinlab.claims.causes import clip_neutrality, cosine_law, law_scalar, moment_exact_step
from steinlab.claims.causes.posterior_variance_estimators import batch_estimates
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.spread import seen_variance
from steinlab.solvers import get_solver
from steinlab.verification.ledger import replay

LEVEL, FINER = NoiseLevel(1.0, 2.0), NoiseLevel(1.0, 0.5)


def test_kl_optimal_is_comfyuis_formula():
    n, top, low = 6, 80.0, 0.002
    share = np.arange(n - 1) / (n - 2)
    written = np.tan(share * math.atan(low) + (1 - share) * math.atan(top))
    np.testing.assert_allclose(cosine_law.kl_optimal(n - 1), np.append(written, 0.0), rtol=1e-12)


def test_tangent_levels_are_those_of_the_grid():
    grid = make_grid("edm", "tangent:scale=0.3", 5, final_zero=False)
    levels = [level.sigma for level in grid]
    np.testing.assert_allclose(cosine_law.tangent(0.3, 5), levels, rtol=1e-12)


@pytest.mark.parametrize(("n", "karras", "best"), [(4, 1.3067, 0.5567), (8, 0.35149, 0.15799)])
def test_divergences_of_the_three_scales(n, karras, best):
    levels = [level.sigma for level in make_grid("edm", "karras", n, final_zero=False)]
    assert cosine_law.divergence(levels, cosine_law.SCALES) == pytest.approx(karras, rel=1e-4)
    found = cosine_law.best_grid(cosine_law.SCALES, n, 0.002)
    assert found == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize(("c", "lam"), [(0.25, 1.0323), (0.5, 1.0341), (1.0, 1.0366)])
def test_constants_of_epsilon_scaling(c, lam):
    assert law_scalar.constant(c) == pytest.approx(lam, abs=5e-5)


def test_the_scalar_of_the_moments_is_that_of_the_law_on_a_gaussian():
    k, v = 0.25, 0.36
    assert moment_exact_step.gamma(k, v) == pytest.approx(law_scalar.law_scalar(k, v), rel=1e-14)
    assert moment_exact_step.gamma(0.0, 0.0) == 1.0  # a point: all noise is taken
    assert moment_exact_step.gamma(k, 1.0) == pytest.approx((1 + k) / 2)


def test_the_solver_of_unit_speed_is_the_scalar_step():
    law = GaussianMixture(np.array([0.3, 0.7]), np.array([[-1.0, 2.0], [1.0, 0.0]]), 0.04)
    x = LEVEL.noised(law.sample(64, np.random.default_rng(0)), np.random.default_rng(1))
    denoised = law(x, LEVEL)
    seen = float(seen_variance(x, denoised, LEVEL).item())
    k, v = FINER.sigma / LEVEL.sigma, seen / (seen + LEVEL.sigma**2)
    by_hand = x - moment_exact_step.gamma(k, v) * (1 - k) * (x - denoised)
    taken = get_solver("unit-speed-1").step(law, x, LEVEL, FINER, ()).state
    np.testing.assert_allclose(taken, by_hand, rtol=1e-12)


def test_estimates_agree_on_many_states():
    law = GaussianMixture(np.ones(1), np.zeros((1, 3)), np.diag([1.0, 0.2, 0.05])[None])
    rng = np.random.default_rng(0)
    x = LEVEL.noised(law.sample(200_000, rng), rng)
    found = batch_estimates(x, law(x, LEVEL), LEVEL.sigma)
    exact = sum(4 * v / (4 + v) for v in (1.0, 0.2, 0.05))
    for value in found.values():
        assert value == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize(
    ("case", "value"),
    [
        ({"law": "25-mode grid", "grid": "logsnr", "steps": 3, "step": 1}, 0.7948),
        ({"law": "25-mode grid, narrow", "grid": "karras", "steps": 6, "step": 3}, 0.5832),
    ],
)
def test_steps_that_separate_many_modes_fall_below_one_and_replay(case, value):
    found = clip_neutrality.MixtureStep(**case).measure()
    assert found.value == pytest.approx(value, abs=1e-4)
    stored = json.loads(json.dumps(case))
    again = replay({"claim": "clip-neutrality", "check": "mixtures", "case": stored})
    assert again["bound"] == found.value
    assert again["measured"] > again["bound"] + again["tolerance"]
