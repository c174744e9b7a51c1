"""The data laws of the laboratory's own experiments by name, and data sets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from types import MappingProxyType
from typing import Any

import numpy as np

from analytic import EmpiricalMixture, GaussianMixture

Law = GaussianMixture | EmpiricalMixture


def load_digits() -> np.ndarray:
    """Return scikit-learn's 1797 handwritten digits of 8 x 8 pixels, in [0, 1].

    Reference: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.

    Examples
    --------
    >>> digits = load_digits()
    >>> digits.shape, float(digits.max())
    ((1797, 64), 1.0)
    """
    from sklearn.datasets import load_digits as load

    return np.asarray(load().data, dtype=np.float64) / 16


DATASETS: Mapping[str, Callable[[], np.ndarray]] = MappingProxyType({"digits": load_digits})
"""Data sets by name: functions that return rows ``(n, d)`` in float64."""


def _mixture(weights: list[float], means: Any, variances: Any) -> GaussianMixture:
    return GaussianMixture(np.array(weights), np.array(means), np.array(variances))


def _equal(means: np.ndarray, variance: float) -> GaussianMixture:
    return GaussianMixture(np.full(len(means), 1 / len(means)), means, variance)


def _ring(radius: float, variance: float) -> GaussianMixture:
    """Eight modes on a circle."""
    turn = 2 * math.pi * np.arange(8) / 8
    return _equal(radius * np.stack((np.cos(turn), np.sin(turn)), axis=-1), variance)


def _random(dim: int, modes: int, seed: int) -> GaussianMixture:
    """Unequal weights, widths that differ by mode and coordinate; entries of order one."""
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((modes, dim))
    widths = rng.uniform(0.02, 0.2, (modes, 1)) * rng.uniform(0.3, 1.0, (1, dim))
    return GaussianMixture(rng.dirichlet(np.full(modes, 2.0)), means, widths)


def _five_modes() -> GaussianMixture:
    rng = np.random.default_rng(64)
    means, stds = rng.standard_normal((5, 64)), rng.uniform(0.2, 0.6, 5)
    return _mixture([0.1, 0.15, 0.2, 0.25, 0.3], means, stds**2)


LAWS: Mapping[str, Callable[[], GaussianMixture]] = MappingProxyType(
    {
        "two-1": lambda: _mixture([0.3, 0.7], [-2.0, 2.0], [0.05, 0.2]),
        "three-1": lambda: _mixture([0.1, 0.6, 0.3], [-3.0, 0.0, 1.5], [0.01, 0.3, 0.05]),
        "ring-2": partial(_ring, 3.0, 0.04),
        "grid25-2": lambda: _equal(
            np.array(list(itertools.product([-4.0, -2.0, 0.0, 2.0, 4.0], repeat=2))), 0.01
        ),
        "few-8": partial(_random, 8, 3, 1),
        "many-8": partial(_random, 8, 20, 2),
        "few-64": partial(_random, 64, 3, 3),
        "many-64": partial(_random, 64, 16, 4),
        "few-512": partial(_random, 512, 4, 5),
    }
)
"""Laws of the tournament; the number at the end of a name is the dimension."""

DIGITS_ROWS, DIGITS_BANDWIDTH = 100, 0.2

PROBLEMS: Mapping[str, Callable[[], Law]] = MappingProxyType(
    {
        "two modes, 1-D": lambda: _equal(np.array([-1.0, 1.0]), 0.2**2),
        "three modes, 1-D": lambda: _mixture(
            [0.2, 0.3, 0.5], [-2.0, 0.0, 1.5], [0.2**2, 0.4**2, 0.1**2]
        ),
        "25-mode grid, 2-D": lambda: _equal(
            np.stack(np.meshgrid(*[np.linspace(-2.0, 2.0, 5)] * 2), axis=-1).reshape(-1, 2), 0.15**2
        ),
        "ring, 2-D": partial(_ring, 2.0, 0.2**2),
        "five modes, 64-D": _five_modes,
        "digits, 64-D": lambda: EmpiricalMixture(load_digits()[:DIGITS_ROWS], DIGITS_BANDWIDTH),
        "Gaussian, 2-D": lambda: _mixture([1.0], [[0.5, -0.5]], [[1.0, 0.04]]),
    }
)
"""Laws of the claims. All but the Gaussian separate modes, where the exact flow is expansive."""


@cache
def problem(name: str) -> Law:
    """Return a law of :data:`PROBLEMS`."""
    return PROBLEMS[name]()
