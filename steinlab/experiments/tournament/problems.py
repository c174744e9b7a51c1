"""The tournament's problems: laws with exact denoisers, and models by name where installed."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from steinlab.diffusion.laws import FRESH_LAWS, LAWS, load_law
from steinlab.diffusion.models import load_model, registered
from steinlab.diffusion.processes import PROCESSES
from steinlab.errors import InputError
from steinlab.experiments.bench import Subject

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

FRESH = (*FRESH_LAWS, "box-2")
"""Problems on which no constant of a correction was chosen; the last is bounded."""

EXACT = (*LAWS, *FRESH)
"""Problems that are laws with exact denoisers, on every process."""


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

SHARES: Mapping[str, float] = MappingProxyType({name: slow.share for name, slow in SLOW.items()})
"""The part of its drawn cells that is played of a slow problem."""

FINE = 128
"""Steps of the fine run of a network from a grid's first level to zero noise."""


def available() -> tuple[str, ...]:
    """Return the names of every problem at hand."""
    found = list(EXACT)
    for name in (name for name in MODELS if name in registered()):
        with contextlib.suppress(InputError):
            load_model(name)
            found.append(name)
    return tuple(found)


def is_exact(name: str) -> bool:
    """Whether a problem's denoiser has an exact law."""
    return name in EXACT or load_model(name).law is not None


_model = functools.lru_cache(maxsize=4)(load_model)


@functools.lru_cache(maxsize=4)
def load_problem(name: str, process: str = "edm") -> Subject:
    """Return a problem by name, on a process."""
    if name in EXACT:
        return Subject.of_law(load_law(name), PROCESSES[process], name)
    return Subject.of_model(_model(name), process)
