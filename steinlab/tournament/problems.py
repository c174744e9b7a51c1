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
from steinlab.errors import InputError
from steinlab.models import load_model, registered
from steinlab.processes import PROCESSES, Process


@dataclass(frozen=True)
class Problem:
    """A denoiser with the states to start from; ``law`` is exact, or None for a network.

    ``modes`` are those to which end points are assigned, where they are known; ``process`` gives a
    process by name, cut to the levels that the denoiser is made for.
    """

    denoiser: Denoiser
    law: Any | None
    dim: int
    start: Callable[[NoiseLevel, int, np.random.Generator], np.ndarray]
    modes: GaussianMixture | None
    process: Callable[[str], Process]


def mixture(law: GaussianMixture) -> Problem:
    """Return the problem of an exact law."""

    def start(level: NoiseLevel, n: int, rng: np.random.Generator) -> np.ndarray:
        clean = law.sample(n, rng)
        return np.asarray(level.alpha * clean + level.sigma * rng.standard_normal(clean.shape))

    return Problem(law, law, law.dim, start, law, PROCESSES.__getitem__)


def named(name: str) -> Problem:
    """Return the problem of a registered model."""
    model = load_model(name)
    data = model.data_law() if model.data_law is not None else None
    modes = data if isinstance(data, GaussianMixture) else None
    start, process = model.start, model.process
    return Problem(model.denoiser, model.exact_law, model.dim, start, modes, process)


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

MODELS = (
    "digits",
    "digits-mlp",
    "digits-ripple",
    "grid25-mlp",
    "grid25-fourier",
    "galaxies-hsc-32",
)
"""Registered models, those that are available: exact, trained, with a dialled error, a stranger's.
"""


@dataclass(frozen=True)
class Slow:
    """What is spared on a problem whose denoiser is slow."""

    states: int
    fine: int
    share: float
    together: int


SLOW: Mapping[str, Slow] = MappingProxyType(
    {
        "few-512": Slow(1000, 64, 0.3, 6),
        "digits": Slow(600, 64, 0.3, 3),
        "digits-ripple": Slow(600, 64, 0.3, 3),
        "digits-mlp": Slow(600, 64, 1.0, 6),
        "galaxies-hsc-32": Slow(48, 24, 0.15, 1),
    }
)
"""At most so many states, steps of a network's fine run, the share of the drawn cells that is
played, and how many cells one process plays in a row.

The fine run's order is three, so that even 24 steps err by far less than 48 states can tell.
"""

FINE = 128
"""Steps of the fine run of a network from a grid's first level to zero noise."""


def available() -> tuple[str, ...]:
    """Return the names of every problem at hand."""
    known = registered()
    return (*LAWS, *(name for name in MODELS if name in known and _loads(name)))


def is_exact(name: str) -> bool:
    """Whether a problem's denoiser has an exact law."""
    return name in LAWS or load_model(name).law is not None


def _loads(name: str) -> bool:
    try:
        load_model(name)
    except InputError:
        return False
    return True


@functools.lru_cache(maxsize=4)
def load_problem(name: str) -> Problem:
    """Return a problem by name."""
    return mixture(LAWS[name]()) if name in LAWS else named(name)
