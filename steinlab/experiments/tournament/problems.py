"""The tournament's problems: laws with exact denoisers, and models by name where installed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.laws import LAWS
from steinlab.diffusion.models import load_model, registered
from steinlab.diffusion.processes import PROCESSES, Process
from steinlab.errors import InputError


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
        return np.asarray(level.noised(clean, rng))

    return Problem(law, law, law.dim, start, law, PROCESSES.__getitem__)


def named(name: str) -> Problem:
    """Return the problem of a registered model."""
    model = load_model(name)
    data = model.data_law() if model.data_law is not None else None
    modes = data if isinstance(data, GaussianMixture) else None
    start, process = model.start, model.process
    return Problem(model.denoiser, model.exact_law, model.dim, start, modes, process)


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
