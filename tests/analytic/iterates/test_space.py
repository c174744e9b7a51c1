from __future__ import annotations

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from analytic.iterates.distances import fisher_divergence, kl_divergence
from analytic.iterates.jets import Jet, identity
from analytic.iterates.space import SpaceIterate
from steinlab.diffusion.grids import given_grid
from steinlab.diffusion.processes import EDM
from steinlab.solvers import SOLVERS
from steinlab.solvers.iterate_laws import line_iterate, space_iterate
from tests.analytic.iterates.test_plane import product
from tests.analytic.laws import mixture

LEVEL = NoiseLevel(0.6, 0.8)
UNIT = GaussianMixture([1.0], [[0.0, 0.0]], 1.0)  # N(0, I) at LEVEL


def linear(matrix: np.ndarray, shift: np.ndarray) -> SpaceIterate:
    def jet(x: np.ndarray) -> Jet:
        first = np.broadcast_to(matrix, (len(x), 2, 2)).copy()
        return Jet(x @ matrix.T + shift, first, np.zeros((len(x), 2, 2, 2)))

    return SpaceIterate(UNIT, LEVEL, jet)


def test_gaussian_closed_forms() -> None:
    matrix, shift = np.array([[1.3, 0.4], [-0.2, 0.7]]), np.array([0.5, -1.0])
    law = linear(matrix, shift)
    spread, slack = matrix @ matrix.T, np.eye(2) - np.linalg.inv(matrix @ matrix.T)
    fisher = law.fisher_divergence(UNIT, LEVEL)
    assert fisher.value == pytest.approx(np.trace(slack @ slack @ spread) + shift @ shift, rel=1e-9)
    kl = law.kl_divergence(UNIT, LEVEL)
    expected = 0.5 * (np.trace(spread) + shift @ shift - 2 - np.log(np.linalg.det(spread)))
    assert kl.value == pytest.approx(expected, rel=1e-9)
    assert max(fisher.error, kl.error) < 1e-6


def test_a_product_law_adds_the_divergences_of_its_lines() -> None:
    lines = [
        GaussianMixture([0.4, 0.6], [-1.0, 1.0], [0.2, 0.3]),
        GaussianMixture([1.0], [0.5], [0.3]),
    ]
    weights = np.outer(lines[0].weights, lines[1].weights).ravel()
    pairs = [(i, j) for i in range(2) for j in range(1)]
    means = np.array([[lines[0].means[i, 0], lines[1].means[j, 0]] for i, j in pairs])
    stds = np.array([[lines[0].spectra[i, 0], lines[1].spectra[j, 0]] for i, j in pairs])
    plane = GaussianMixture(weights, means, stds)
    grid = given_grid(EDM, [3.0, 1.2, 0.5])
    law = product(space_iterate(plane, grid, SOLVERS["heun"]), *lines)
    whole = law.fisher_divergence(plane, grid[-1]), law.kl_divergence(plane, grid[-1])
    parts = []
    for line in lines:
        one = line_iterate(line, grid, SOLVERS["heun"])
        found = (f(one, line, grid[-1]) for f in (fisher_divergence, kl_divergence))
        parts.append([distance.value for distance in found])
    for distance, expected in zip(whole, np.sum(parts, axis=0), strict=True):
        assert distance.value == pytest.approx(expected, abs=distance.error + 1e-10)
        assert distance.error < 1e-3 * expected


def test_scores_are_the_gradients_of_the_log_density() -> None:
    plane, grid = mixture("full"), given_grid(EDM, [3.0, 1.2, 0.6])
    law = space_iterate(plane, grid, SOLVERS["heun"])
    x, h = np.random.default_rng(0).standard_normal((6, 2)) * 2, 1e-5
    at = law.along(x)
    slopes = [(law.along(x + h * e).log - law.along(x - h * e).log) / (2 * h) for e in np.eye(2)]
    # by the chain rule: grad_x log q(X(x)) = J' s_q
    expected = np.einsum("nia,ni->na", law.jet(x).first, at.score)
    np.testing.assert_allclose(expected, np.stack(slopes, axis=-1), atol=1e-6)


def test_folds_make_it_infinite() -> None:
    def fold(x: np.ndarray) -> Jet:
        at = identity(x)
        second = at.second.copy()
        second[:, 0, 0, 0] = 2.0
        first = at.first.copy()
        first[:, 0, 0] = 2 * x[:, 0]
        return Jet(np.stack((x[:, 0] ** 2, x[:, 1]), axis=-1), first, second)

    law = SpaceIterate(UNIT, LEVEL, fold)
    found = law.fisher_divergence(UNIT, LEVEL)
    assert found.value == np.inf
    assert "det J <= 0 on 0.5 of the mass" in found.reason
    with pytest.raises(ArithmeticError, match="the map folds"):
        law.kl_divergence(UNIT, LEVEL)
    with pytest.raises(ValueError, match="at most 3 dimensions"):
        SpaceIterate(GaussianMixture([1.0], np.zeros((1, 4)), 1.0), LEVEL, fold)
