"""Levels and laws on which the bounds' two sides are known in closed form."""

from __future__ import annotations

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from steinlab.coefficient.rounding import EPS, ROUNDING


def levels(*pairs: tuple[float, float]) -> NoiseLevel:
    alpha, sigma = (np.array(v)[:, None, None] for v in zip(*pairs, strict=True))
    return NoiseLevel(alpha, sigma)


S, T = levels((0.8, 0.7), (1.0, 2.0)), levels((0.95, 0.3), (1.0, 0.5))
UNIT = ROUNDING * EPS


def gaussian(mean: float, variance: float, count: int = 2) -> GaussianMixture:
    ones = np.ones((count, 1))
    return GaussianMixture(ones, mean * ones, variance * ones)


def two_modes(count: int = 2) -> GaussianMixture:
    rows = np.array([[0.3, 0.7], [0.5, 0.5]])[:count]
    return GaussianMixture(
        rows, np.array([[-1.0, 1.5], [-2.0, 2.0]])[:count], np.full((count, 2), 0.3)
    )
