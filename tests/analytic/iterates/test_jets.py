"""Jets against differences of the maps that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from analytic.iterates.jets import Derivatives, Jet, denoiser_derivatives, identity, on_jets

LEVEL = NoiseLevel(0.8, 0.6)
LAWS = {
    "line": GaussianMixture([0.3, 0.7], [-1.0, 1.5], [0.2, 0.6]),
    "diagonal": GaussianMixture([0.3, 0.7], [[-1.0, 0.3], [0.8, -0.5]], [[0.5, 0.4], [0.3, 0.6]]),
    "turned": GaussianMixture(
        [0.3, 0.7],
        [[-1.0, 0.3], [0.8, -0.5]],
        [[[0.5, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.6]]],
    ),
}
SCALE = np.array([[2.0], [-0.3], [0.7]])


def states(dim: int) -> np.ndarray:
    return np.array([[-1.2, 0.4], [0.3, -0.8], [1.7, 1.1]])[:, :dim]


def run(law: GaussianMixture, x: Any) -> Any:
    """A step's arithmetic: sums, differences, one scalar and one per state, the denoiser twice."""
    denoise = on_jets(law)
    first = denoise(x, LEVEL)
    y = 0.5 * x - first / 4.0 + 0.1
    return (-(denoise(y, NoiseLevel(0.9, 0.5)) - y)) * SCALE + first * 0.25


@pytest.mark.parametrize("name", LAWS)
def test_a_runs_derivatives_are_differences(name: str) -> None:
    law = LAWS[name]
    x = states(law.dim)
    found = run(law, identity(x))
    np.testing.assert_allclose(found.value, run(law, x), rtol=1e-12)
    step = 1e-4
    for a in range(law.dim):
        e = step * np.eye(law.dim)[a]
        ahead, behind = run(law, identity(x + e)), run(law, identity(x - e))
        slope = (ahead.value - behind.value) / (2 * step)
        np.testing.assert_allclose(found.first[..., a], slope, atol=2e-7)
        bend = (ahead.first - behind.first) / (2 * step)
        np.testing.assert_allclose(found.second[..., a], bend, atol=2e-6)


@pytest.mark.parametrize("name", LAWS)
def test_a_denoisers_derivatives_are_differences(name: str) -> None:
    law = LAWS[name]
    x, step = states(law.dim), 1e-4
    found = denoiser_derivatives(law, x, LEVEL)
    np.testing.assert_allclose(found.value, law(x, LEVEL), rtol=1e-12)
    for a in range(law.dim):
        e = step * np.eye(law.dim)[a]
        ahead, behind = (denoiser_derivatives(law, x + s * e, LEVEL) for s in (1, -1))
        slope = (ahead.value - behind.value) / (2 * step)
        np.testing.assert_allclose(found.first[..., a], slope, atol=1e-7)
        bend = (ahead.first - behind.first) / (2 * step)
        np.testing.assert_allclose(found.second[..., a], bend, atol=1e-6)


@pytest.mark.parametrize("dim", [1, 2])
def test_the_chain_rule(dim: int) -> None:
    """``(f o g)'' = f''(g) g' g' + f'(g) g''`` entry by entry."""
    rng = np.random.default_rng(dim)
    first, inner = rng.standard_normal((2, 3, dim, dim))
    second, bend = rng.standard_normal((2, 3, dim, dim, dim))
    value = rng.standard_normal((3, dim))
    found = Derivatives(value, first, second).after(Jet(0 * value, inner, bend))
    np.testing.assert_allclose(found.first, first @ inner)
    for n, i, a, b in np.ndindex(3, dim, dim, dim):
        expected = sum(
            second[n, i, j, k] * inner[n, j, a] * inner[n, k, b] for j, k in np.ndindex(dim, dim)
        ) + sum(first[n, i, j] * bend[n, j, a, b] for j in range(dim))
        assert found.second[n, i, a, b] == pytest.approx(expected, rel=1e-12, abs=0)


def test_the_identity() -> None:
    found = identity(states(2))
    np.testing.assert_array_equal(found.first, np.broadcast_to(np.eye(2), (3, 2, 2)))
    assert not found.second.any()
    assert found.second.shape == (3, 2, 2, 2)


@pytest.mark.parametrize("sigma", [0.0, np.array([[1.0], [0.0]])])
def test_no_derivative_without_noise(sigma: Any) -> None:
    with pytest.raises(ValueError, match="sigma must be > 0 where the denoiser is"):
        denoiser_derivatives(LAWS["line"], np.zeros((2, 1)), NoiseLevel(1.0, sigma))
