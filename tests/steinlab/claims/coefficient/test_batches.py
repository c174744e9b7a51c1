"""What the claims on batches and losses are made of, against closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from steinlab.claims.coefficient import batch_coupling
from steinlab.claims.coefficient.batch_coupling import Coupled, limit, moments
from steinlab.claims.coefficient.coefficient_concentration import MARGINAL, Coordinates
from steinlab.claims.error_bounds.bound_as_excess_loss import measure
from steinlab.claims.error_bounds.perturbation import PairCases, vp_step
from steinlab.coefficient.step_terms import Problem
from steinlab.solvers import SOLVERS


def test_independent_coordinates_are_the_mixture_of_all_their_modes() -> None:
    pairs = list(itertools.product(range(2), repeat=2))
    means = np.array([[MARGINAL.means[i, 0] for i in pair] for pair in pairs])
    weights = np.array([np.prod(MARGINAL.weights[list(pair)]) for pair in pairs])
    law, own = GaussianMixture(weights, means, 1.0), Coordinates(MARGINAL, 2)
    x, level = np.random.default_rng(0).normal(size=(50, 2)), NoiseLevel(0.6, 0.8)
    np.testing.assert_allclose(own(x, level), law(x, level), atol=1e-13)
    np.testing.assert_allclose(own.divergence(x, level), law.divergence(x, level), atol=1e-13)


@pytest.mark.parametrize(("process", "route"), [("vp-linear", "stein"), ("flow", "stein")])
def test_the_coupling_of_a_centred_gaussian(
    process: str, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There ``u = c x`` and all of ``q``, ``a`` and ``b`` are parabolas in ``x``."""
    law = GaussianMixture(np.ones((1, 1)), np.zeros((1, 1)), np.full((1, 1), 0.3))
    monkeypatch.setattr(batch_coupling, "LAW", law)
    moments.cache_clear()
    case = Coupled(process, "euler", 2.0, route, 0)
    found = moments(case)
    s, t = case.levels()
    kappa, v = t.sigma / s.sigma, s.alpha**2 * 0.3 + s.sigma**2
    c = 1 - kappa - (t.alpha - kappa * s.alpha) * s.alpha * 0.3 / v
    k = c * (1 - 1 / s.alpha - found.gamma * c)
    assert limit(found) == pytest.approx((1 - 2 * k / (c * (1 - found.gamma * c))) ** 2 - 1)
    moments.cache_clear()


def test_the_excess_loss_of_gaussians() -> None:
    """Both denoisers are multiples of ``x``."""
    laws = [
        GaussianMixture(np.ones((1, 1)), np.zeros((1, 1)), np.full((1, 1), v)) for v in (2.0, 0.5)
    ]
    s, t = vp_step(0.6, 0.8, 1)
    found = measure(PairCases(Problem(laws[0], s, t, SOLVERS["euler"], None), laws[1]))
    slopes = [0.6 * v / (0.36 * v + 0.64) for v in (2.0, 0.5)]
    width = 0.36 * 0.5 + 0.64
    assert found.excess[0] == pytest.approx((slopes[0] - slopes[1]) ** 2 * width, rel=1e-12)
    assert found.squared[0] == pytest.approx(found.excess[0], rel=1e-12)
    assert found.least[0] == pytest.approx(0.5 * 0.64 / width, rel=1e-12)
