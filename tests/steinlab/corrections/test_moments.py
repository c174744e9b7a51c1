"""Moments of Stein's identities: zero under the law, and a batch's own turn, shift and stretch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytic import GaussianMixture, NoiseLevel
from steinlab.corrections import moments as subject
from steinlab.corrections.moments import moments, weights

LEVELS = [NoiseLevel(1.0, 0.5), NoiseLevel(0.6, 0.8), NoiseLevel(1.0, 3.0)]
MEANS = np.array([[-1.0, 0.5, 0.0], [1.0, -0.2, 0.4]])
LAW = GaussianMixture([0.3, 0.7], MEANS, [[0.2, 0.4, 0.1], [0.3, 0.1, 0.1]])
BASIS = np.array([[0.8, 0.6, 0.0], [-0.6, 0.8, 0.0]])
MOST_Z = 4.5
"""Of 33 moments, family-wise at 2e-4."""


def forward(law: GaussianMixture, level: NoiseLevel, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    clean = law.sample(n, rng)
    return np.asarray(level.noised(clean, rng))


def z_values(level: NoiseLevel, n: int = 100_000) -> np.ndarray:
    found = moments(LAW, forward(LAW, level, n), level, BASIS)
    return np.asarray(np.sqrt(n) * found.mean(axis=0) / found.std(axis=0))


@pytest.mark.parametrize("level", LEVELS)
def test_every_moment_vanishes_under_the_law(level: NoiseLevel) -> None:
    z = z_values(level)
    assert z.shape == (3 + 2 * 4,)
    assert np.abs(z).max() < MOST_Z


def test_a_wrong_divergence_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The divergence of the radial function without the derivative of its factor."""
    monkeypatch.setattr(
        subject, "_radial", lambda whole, ratio, dim: (whole - dim) * np.tanh(ratio - 1)
    )
    assert np.abs(z_values(LEVELS[0])).max() > 3 * MOST_Z


def test_the_linear_ones_are_unbiased_in_small_batches() -> None:
    """Batches of four: without ``(n - 1) / n`` their means would be off by ``d / n``."""
    level, n = LEVELS[0], 4
    y = forward(LAW, level, 3000 * n).reshape(-1, n, 3)
    found = np.array([moments(LAW, batch, level, BASIS)[:, :2].mean(axis=0) for batch in y])
    z = np.sqrt(len(found)) * found.mean(axis=0) / found.std(axis=0)
    assert np.abs(z).max() < 4
    assert 3 / n > 10 * found.std(axis=0)[0] / np.sqrt(len(found))


def test_a_batch_off_the_law_is_seen_by_more_than_its_scale() -> None:
    """Right in the scale, wrong in the spread of each subspace."""
    level = LEVELS[0]
    y = forward(LAW, level, 20_000)
    mean = y.mean(axis=0)
    along = (y - mean) @ BASIS.T @ BASIS
    off = mean + 1.1 * along + 0.8 * (y - mean - along)
    z = [
        np.sqrt(len(y)) * found.mean(axis=0) / found.std(axis=0)
        for found in (moments(LAW, state, level, BASIS) for state in (y, off))
    ]
    assert np.abs(z[0]).max() < MOST_Z
    assert abs(z[1][1]) > 3 * MOST_Z


@given(
    angle=st.floats(-3.0, 3.0),
    scale=st.floats(0.1, 10.0),
    shift=st.floats(-10.0, 10.0),
    level=st.sampled_from(LEVELS),
)
def test_they_turn_shift_and_stretch_with_the_data(
    angle: float, scale: float, shift: float, level: NoiseLevel
) -> None:
    """A turned and stretched law at a stretched level has the same moments."""
    turn = np.eye(3)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    y = forward(LAW, level, 60)
    other = _Moved(turn, scale, shift)
    wide = NoiseLevel(level.alpha, scale * level.sigma)
    theirs = moments(other, scale * y @ turn.T + level.alpha * shift, wide, BASIS @ turn.T)
    ours = moments(LAW, y, level, BASIS)
    np.testing.assert_allclose(theirs, ours, rtol=1e-8, atol=1e-8 * np.abs(ours).max())


class _Moved:
    """The denoiser of the data ``scale R x + shift``."""

    def __init__(self, turn: np.ndarray, scale: float, shift: float) -> None:
        self.turn, self.scale, self.shift = turn, scale, shift

    def __call__(self, y: Any, level: NoiseLevel) -> Any:
        back = (y - level.alpha * self.shift) @ self.turn / self.scale
        inner = NoiseLevel(level.alpha, level.sigma / self.scale)
        return self.scale * LAW(back, inner) @ self.turn.T + self.shift


def test_weights_are_the_inverse_of_the_shrunk_covariance() -> None:
    rng = np.random.default_rng(0)
    sample = rng.standard_normal((500, 3)) @ np.array([[1, 0.5, 0], [0, 2, 1], [0, 0, 30]]) + 1.0
    covariance = np.cov(sample.T, ddof=0)
    shrunk = covariance * (0.5 + 0.5 * np.eye(3))
    np.testing.assert_allclose(weights(sample) @ shrunk, np.eye(3), atol=1e-12)
    rough = len(sample) * np.einsum("ij,jk,ik->i", sample - 1, weights(sample), sample - 1)
    assert rough.mean() / len(sample) <= 3.3  # at most K in the mean, up to sampling
