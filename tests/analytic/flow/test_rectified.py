"""Rectified flow and consistency training on exact laws, against differences and closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.consistency import fixed_point
from analytic.flow.exact import exact_flow
from analytic.flow.rectified import DATA, NOISE, Reflow, jacobian, velocity

LAW = GaussianMixture([0.4, 0.6], [-1.0, 1.5], [0.09, 0.25])
PLANE = GaussianMixture([0.3, 0.7], [[-1.0, 0.0], [0.5, 1.0]], 0.2)


def ends(z: np.ndarray) -> np.ndarray:
    return exact_flow(LAW, z[:, None], NOISE, DATA).state[:, 0]


def test_the_flow_follows_the_velocity() -> None:
    x, t, h = np.array([[-0.7], [0.1], [2.0]]), 0.6, 1e-5
    level = NoiseLevel(1 - t, t)
    after, before = (exact_flow(LAW, x, level, NoiseLevel(1 - t - d, t + d)).state for d in (h, -h))
    np.testing.assert_allclose((after - before) / (2 * h), velocity(LAW, x, t), rtol=1e-8)


def test_the_reflow_follows_its_lines_to_where_the_first_flow_ends() -> None:
    z = np.linspace(-4, 4, 33)
    for t in (0.01, 0.3, 0.9, 1.0):
        line = ((1 - t) * ends(z) + t * z)[:, None]
        found = Reflow(LAW)(line, NoiseLevel(1 - t, t))
        np.testing.assert_allclose(found[:, 0], ends(z), rtol=1e-11, atol=1e-11)
    scaled = Reflow(LAW)(line, NoiseLevel(0.0, 1.0))
    np.testing.assert_allclose(Reflow(LAW)(3 * line, NoiseLevel(0.0, 3.0)), scaled, rtol=1e-12)
    with pytest.raises(ValueError, match="law must have one dimension, got 2"):
        Reflow(PLANE)


def test_the_jacobian_is_that_of_the_exact_flow_from_noise() -> None:
    z, h, end = np.array([[0.3, -0.8], [1.0, 0.2]]), 1e-4, NoiseLevel(1.0, 0.05)
    found = jacobian(PLANE, z, steps=200, least=end.sigma, most=12.0)
    for k in range(2):
        starts = (z + sign * h * np.eye(2)[k] for sign in (1, -1))
        after, before = (exact_flow(PLANE, x, NOISE, end, rtol=1e-12).state for x in starts)
        np.testing.assert_allclose(found[..., k], (after - before) / (2 * h), rtol=1e-4, atol=1e-4)


def test_consistency_training_averages_over_the_posterior() -> None:
    """Two levels by the trapezoid rule over the posterior of the data, far from the origin."""
    law = GaussianMixture([0.4, 0.6], [39.0, 41.5], [0.09, 0.25])
    levels = [NoiseLevel(1.0, s) for s in (2.0, 0.7, 0.2)]
    x = np.linspace(36, 44, 1601)
    prior = np.exp(np.asarray(law.log_prob(x[:, None], DATA)))

    def ends_of(n: int, y: np.ndarray) -> np.ndarray:
        if n == 2:
            return y
        s, t = (levels[n + i].sigma for i in (0, 1))
        joint = prior * np.exp(-0.5 * ((y[..., None] - x) / s) ** 2)
        after = ends_of(n + 1, t / s * y[..., None] + (1 - t / s) * x)
        return np.sum(joint * after, axis=-1) / np.sum(joint, axis=-1)

    y = np.array([40.8])
    np.testing.assert_allclose(fixed_point(law, levels).ends(y), ends_of(0, y), rtol=1e-6)


def test_consistency_training_is_euler_on_gaussian_data_off_the_origin() -> None:
    law, levels = GaussianMixture([1.0], [3.0], 0.25), [NoiseLevel(1.0, s) for s in (9, 3, 1, 0.1)]
    x = np.array([-20.0, 3.0, 15.0])
    y = x[:, None]
    for s, t in itertools.pairwise(levels):
        y = t.sigma / s.sigma * y + (1 - t.sigma / s.sigma) * law(y, s)
    np.testing.assert_allclose(fixed_point(law, levels).ends(x), y[:, 0], rtol=1e-12)


@pytest.mark.parametrize("std", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("mean", [-7.0, 0.0, 1e3])
def test_the_reflow_of_a_gaussian_is_a_line_at_ten_deviations(std: float, mean: float) -> None:
    """``T(z) = m + s z``, on either side and whatever the width."""
    law, z = GaussianMixture([1.0], [mean], std**2), np.array([-10.0, -3.0, 0.5, 6.0, 10.0])
    for t in (0.05, 0.5, 0.95):
        line = ((1 - t) * (mean + std * z) + t * z)[:, None]
        found = Reflow(law)(line, NoiseLevel(1 - t, t))[:, 0]
        np.testing.assert_allclose(found, mean + std * z, rtol=1e-11, atol=1e-9 * std)
