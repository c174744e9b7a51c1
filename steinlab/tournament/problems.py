"""The tournament's problems: laws with exact denoisers, and models by name where installed."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from steinlab.denoisers import Denoiser
from steinlab.models import load_model, registered


@dataclass(frozen=True)
class Problem:
    """A denoiser with the states to start from; ``law`` is exact, or None for a network."""

    denoiser: Denoiser
    law: Any | None
    dim: int
    start: Callable[[NoiseLevel, int, np.random.Generator], np.ndarray]


def mixture(law: GaussianMixture) -> Problem:
    """Return the problem of an exact law."""

    def start(level: NoiseLevel, n: int, rng: np.random.Generator) -> np.ndarray:
        clean = law.sample(n, rng)
        return np.asarray(level.alpha * clean + level.sigma * rng.standard_normal(clean.shape))

    return Problem(law, law, law.dim, start)


def named(name: str) -> Problem:
    """Return the problem of a registered model."""
    model = load_model(name)
    return Problem(model.denoiser, model.exact_law, model.dim, model.start)


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

MODELS = ("digits", "digits-mlp", "digits-ripple", "grid25-mlp", "grid25-fourier")
"""Registered models, those that are installed: exact, trained, and with a dialled error."""


def available() -> tuple[str, ...]:
    """Return the names of every problem at hand."""
    known = registered()
    return (*LAWS, *(name for name in MODELS if name in known))


@functools.lru_cache(maxsize=4)
def load_problem(name: str) -> Problem:
    """Return a problem by name."""
    return mixture(LAWS[name]()) if name in LAWS else named(name)
