r"""The data of the trained toys: 2-D laws of a known shape, and 8 x 8 digits.

``ring``, ``grid25`` and ``digits`` are mixtures, whose exact denoiser is known; ``moons``,
``checkerboard`` and ``spirals`` can only be sampled.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from analytic import EmpiricalMixture
from steinlab.diffusion.laws import load_digits, problem
from steinlab.diffusion.models import DIGITS_BANDWIDTH

MOONS_NOISE, SPIRALS_NOISE = 0.08, 0.1
"""Standard deviations across the curves."""

TURNS = 1.5
"""Turns of a spiral's arm about the origin."""


def moons(n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw from two interleaved half circles of radius 1 with Gaussian noise, shape ``(n, 2)``."""
    angle, lower = np.pi * rng.random(n), rng.random(n) < 0.5
    side = np.where(lower, -1.0, 1.0)
    centre = np.where(lower[:, None], (0.5, 0.25), (-0.5, -0.25))
    arc = np.stack((side * np.cos(angle), side * np.sin(angle)), axis=-1)
    return np.asarray(centre + arc + MOONS_NOISE * rng.standard_normal((n, 2)))


def checkerboard(n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw uniformly from the eight dark squares of a 4 x 4 board on ``[-2, 2]^2``."""
    row, pair = rng.integers(4, size=n), rng.integers(2, size=n)
    corner = np.stack((2 * pair + row % 2, row), axis=-1) - 2.0
    return np.asarray(corner + rng.random((n, 2)))


def spirals(n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw from two arms ``r = 3 angle / (2 pi TURNS)``, uniform in area, with Gaussian noise."""
    share = np.sqrt(rng.random(n))
    angle = 2 * np.pi * TURNS * share
    arm = np.where(rng.random(n) < 0.5, 3.0, -3.0) * share
    curve = np.stack((arm * np.cos(angle), arm * np.sin(angle)), axis=-1)
    return np.asarray(curve + SPIRALS_NOISE * rng.standard_normal((n, 2)))


@functools.cache
def ring() -> Any:
    """Return eight modes of deviation 0.2 on a circle of radius 2."""
    return problem("ring, 2-D")


@functools.cache
def grid25() -> Any:
    """Return 5 x 5 modes of deviation 0.15, one unit apart."""
    return problem("25-mode grid, 2-D")


@functools.cache
def digits() -> Any:
    """Return scikit-learn's digits, each row a Gaussian: the law of the model ``digits``."""
    return EmpiricalMixture(load_digits(), DIGITS_BANDWIDTH)


@dataclass(frozen=True)
class Data:
    """A law to train on.

    Parameters
    ----------
    sample : callable
        ``(n, rng) -> (n, d)`` independent states.
    source : str
        In words, for the provenance.
    law : callable, optional
        Returns the law where its exact denoiser is known.
    """

    sample: Callable[[int, np.random.Generator], np.ndarray]
    source: str
    law: Callable[[], Any] | None = None


def _mixture(law: Callable[[], Any], source: str) -> Data:
    return Data(lambda n, rng: np.asarray(law().sample(n, rng)), source, law)


DATA: Mapping[str, Data] = MappingProxyType(
    {
        "moons": Data(moons, f"two half circles of radius 1, noise {MOONS_NOISE}"),
        "checkerboard": Data(checkerboard, "uniform on 8 of 16 squares of [-2, 2]^2"),
        "spirals": Data(spirals, f"two arms of {TURNS} turns, noise {SPIRALS_NOISE}"),
        "ring": _mixture(ring, "8 modes of deviation 0.2 on a circle of radius 2"),
        "grid25": _mixture(grid25, "5 x 5 modes of deviation 0.15, one unit apart"),
        "digits": _mixture(
            digits, f"scikit-learn load_digits / 16 (UCI, 1998), bandwidth {DIGITS_BANDWIDTH}"
        ),
    }
)
"""What the toys are trained on, by name."""
