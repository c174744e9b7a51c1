"""Predictions converted at the edge: every one gives the exact denoiser and its derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from analytic import NoiseLevel
from steinlab.diffusion.denoisers import PREDICTIONS, HasDivergence, HasJvp, HasVjp, convert
from tests.steinlab.solvers.cases import PLANE

LEVELS = [
    NoiseLevel(1.0, 0.5),
    NoiseLevel(0.6, 0.8),
    NoiseLevel(0.3, 0.7),
    NoiseLevel(0.2, 3.0),
    NoiseLevel(1e-3, 1.0),
]


def predict(prediction: str, x: Any, x0: Any, level: NoiseLevel) -> Any:
    """What a network that knows ``x0`` would say, from the definitions."""
    a, s = level.alpha, level.sigma
    eps = (x - a * x0) / s
    return {
        "x0": x0,
        "eps": eps,
        "v": a * eps - s * x0,
        "score": -eps / s,
        "velocity": eps - x0,
        "velocity-to-data": x0 - eps,
        "flow": eps - x0,
    }[prediction]


@dataclass(frozen=True)
class Network:
    """The exact denoiser in another parametrisation; affine, so tangents convert alike."""

    prediction: str

    def __call__(self, x: Any, level: NoiseLevel) -> Any:
        return predict(self.prediction, x, PLANE(x, level), level)

    def jvp(self, x: Any, level: NoiseLevel, tangent: Any) -> Any:
        return predict(self.prediction, tangent, PLANE.jvp(x, level, tangent), level)


@dataclass(frozen=True)
class Reversible(Network):
    def vjp(self, x: Any, level: NoiseLevel, cotangent: Any) -> Any:
        return self.jvp(x, level, cotangent)


@pytest.mark.parametrize("level", LEVELS, ids=str)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_it_gives_the_exact_denoiser(prediction: str, level: NoiseLevel) -> None:
    rng = np.random.default_rng(0)
    clean = PLANE.sample(6, rng)
    x = level.noised(clean, rng)
    v = rng.standard_normal((3, 6, 2))
    atol = 1e-14 * (1 + level.ratio)  # eps / alpha amplifies rounding by sigma / alpha
    denoiser: Any = convert(Reversible(prediction), prediction)
    np.testing.assert_allclose(denoiser(x, level), PLANE(x, level), atol=atol)
    exact = PLANE.jvp(x, level, v)
    np.testing.assert_allclose(denoiser.jvp(x, level, v), exact, atol=10 * atol)
    np.testing.assert_allclose(denoiser.vjp(x, level, v), exact, atol=10 * atol)
    on_torch = denoiser(torch.as_tensor(x), level)
    np.testing.assert_allclose(on_torch, PLANE(x, level), atol=atol)


def test_the_score_is_the_mixtures_own() -> None:
    x = PLANE.sample(5, np.random.default_rng(0))
    level = LEVELS[2]
    got = convert(PLANE.score, "score")(x, level)
    np.testing.assert_allclose(got, PLANE(x, level), atol=1e-13)


def test_it_offers_what_the_network_offers() -> None:
    bare = convert(lambda x, _: x, "eps")
    assert not isinstance(bare, HasJvp | HasVjp | HasDivergence)
    forward = convert(Network("v"), "v")
    assert isinstance(forward, HasJvp)
    assert not isinstance(forward, HasVjp)
    both = convert(Reversible("v"), "v")
    assert isinstance(both, HasJvp)
    assert isinstance(both, HasVjp)


def test_an_unknown_prediction_is_named() -> None:
    with pytest.raises(ValueError, match="prediction must be one of x0, eps, v, score, velocity"):
        convert(lambda x, _: x, "noise")


def test_an_output_or_a_level_of_another_shape_is_refused() -> None:
    x = np.ones((2, 2))
    with pytest.raises(ValueError, match=r"^output must have .*, \(2, 2\), got \(2, 1\)"):
        convert(lambda x, _: x[:, :1], "eps")(x, NoiseLevel(1.0, 1.0))
    with pytest.raises(ValueError, match=r"^sigma must be a number or \(2, 1\), up to ones, for"):
        convert(lambda x, _: x, "eps")(x, NoiseLevel(1.0, np.ones(2)))
