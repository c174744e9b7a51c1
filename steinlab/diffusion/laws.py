"""Data sets by name: each a callable that returns ``(n, d)`` rows in float64.

The data laws of the declared design: what the corrections are tried on.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

import numpy as np

from analytic import EmpiricalMixture, GaussianMixture


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
"""Every data set by name."""


def _two() -> GaussianMixture:
    return GaussianMixture(np.array([0.3, 0.7]), np.array([-2.0, 2.0]), np.array([0.05, 0.2]))


def _three() -> GaussianMixture:
    means, widths = np.array([-3.0, 0.0, 1.5]), np.array([0.01, 0.3, 0.05])
    return GaussianMixture(np.array([0.1, 0.6, 0.3]), means, widths)


def _ring() -> GaussianMixture:
    turn = 2 * math.pi * np.arange(8) / 8
    return GaussianMixture(np.full(8, 1 / 8), 3 * np.c_[np.cos(turn), np.sin(turn)], 0.04)


def _grid25() -> GaussianMixture:
    means = np.array(list(itertools.product([-4.0, -2.0, 0.0, 2.0, 4.0], repeat=2)))
    return GaussianMixture(np.full(25, 1 / 25), means, 0.01)


def _random(dim: int, modes: int, seed: int) -> GaussianMixture:
    """Unequal weights, widths that differ by mode and coordinate; entries of order one."""
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((modes, dim))
    widths = rng.uniform(0.02, 0.2, (modes, 1)) * rng.uniform(0.3, 1.0, (1, dim))
    return GaussianMixture(rng.dirichlet(np.full(modes, 2.0)), means, widths)


_LAWS: dict[str, Callable[[], GaussianMixture]] = {
    "two-1": _two,
    "three-1": _three,
    "ring-2": _ring,
    "grid25-2": _grid25,
    "few-8": functools.partial(_random, 8, 3, 1),
    "many-8": functools.partial(_random, 8, 20, 2),
    "few-64": functools.partial(_random, 64, 3, 3),
    "many-64": functools.partial(_random, 64, 16, 4),
    "few-512": functools.partial(_random, 512, 4, 5),
}


LAWS: Mapping[str, Callable[[], GaussianMixture]] = MappingProxyType(_LAWS)
"""Exact laws; the number at the end is the dimension."""


Law = GaussianMixture | EmpiricalMixture


DIGITS_ROWS = 100


DIGITS_BANDWIDTH = 0.2


def _equal(means: np.ndarray, std: float) -> GaussianMixture:
    count = len(means)
    return GaussianMixture(np.full(count, 1 / count), means, std**2)


def _two_modes() -> Law:
    return _equal(np.array([-1.0, 1.0]), 0.2)


def _three_modes() -> Law:
    means, stds = np.array([-2.0, 0.0, 1.5]), np.array([0.2, 0.4, 0.1])
    return GaussianMixture(np.array([0.2, 0.3, 0.5]), means, stds**2)


def _grid_25() -> Law:
    axis = np.linspace(-2.0, 2.0, 5)
    return _equal(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2), 0.15)


def _ring_8() -> Law:
    angle = 2 * np.pi * np.arange(8) / 8
    return _equal(2 * np.stack((np.cos(angle), np.sin(angle)), axis=-1), 0.2)


def _random_64() -> Law:
    rng = np.random.default_rng(64)
    means, stds = rng.standard_normal((5, 64)), rng.uniform(0.2, 0.6, 5)
    return GaussianMixture(np.array([0.1, 0.15, 0.2, 0.25, 0.3]), means, stds**2)


def _gaussian() -> Law:
    return GaussianMixture(np.ones(1), np.array([[0.5, -0.5]]), np.array([[1.0, 0.04]]))


def _digits() -> Law:
    return EmpiricalMixture(load_digits()[:DIGITS_ROWS], DIGITS_BANDWIDTH)


PROBLEMS: Mapping[str, Callable[[], Law]] = MappingProxyType(
    {
        "two modes, 1-D": _two_modes,
        "three modes, 1-D": _three_modes,
        "25-mode grid, 2-D": _grid_25,
        "ring, 2-D": _ring_8,
        "five modes, 64-D": _random_64,
        "digits, 64-D": _digits,
        "Gaussian, 2-D": _gaussian,
    }
)
"""Data laws by name. All but the Gaussian separate modes, where the exact flow is expansive."""


MULTIMODAL = tuple(name for name in PROBLEMS if name != "Gaussian, 2-D")


@cache
def problem(name: str) -> Law:
    """Return a data law by name."""
    return PROBLEMS[name]()
