"""The data laws of the declared design: what the corrections are tried on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

import numpy as np

from analytic import EmpiricalMixture, GaussianMixture
from steinlab.datasets import load_digits

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


def _ring() -> Law:
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
        "ring, 2-D": _ring,
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
