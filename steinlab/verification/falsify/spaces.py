"""Where the falsifier looks: parameters with limits, and the cases that they stand for.

Spaces of runs picked from lists: a solver, a process, a grid, a number of steps, a seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from steinlab.verification.cases import Cases
from steinlab.verification.claim import Check, Effort


@dataclass(frozen=True)
class Parameter:
    """A number between two limits, searched on a logarithmic scale if ``log``.

    Of one that is ``whole`` only the whole part is handed to what :func:`picked` makes.
    """

    name: str
    low: float
    high: float
    log: bool = False
    whole: bool = False

    def at(self, unit: np.ndarray) -> np.ndarray:
        """Return the values at positions in [0, 1]."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return np.asarray(np.clip(np.exp(low + unit * (high - low)), self.low, self.high))
        return np.asarray(self.low + unit * (self.high - self.low))


class Rows(tuple[Cases, ...]):
    """One batch per row, where rows cannot be stacked."""

    __slots__ = ()


class Space(Protocol):
    """A family of cases of one check, by a few numbers."""

    @property
    def drawn(self) -> int:
        """Cases that the check draws in the full profile: the attack there spends no more."""

    @property
    def check(self) -> str:
        """Name of the check that is attacked."""

    @property
    def name(self) -> str:
        """What distinguishes the space."""

    @property
    def parameters(self) -> Sequence[Parameter]:
        """The numbers searched."""

    def build(self, values: np.ndarray, seeds: np.ndarray) -> Cases | Rows:
        """Return the cases of values ``(P, n)`` and seeds ``(P,)``, one or several per row.

        They are one batch with as many cases per row, or one batch per row.
        """

    def simpler(self, values: np.ndarray) -> Sequence[tuple[Space, np.ndarray]]:
        """Return smaller spaces with values ``(n',)`` in them to try instead of ``(n,)``."""


@runtime_checkable
class Searchable(Protocol):
    """Cases that say where more of their kind are found."""

    @property
    def searchable(self) -> bool:
        """Whether the falsifier has parameters for such cases."""

    def spaces(self, check: Check, effort: Effort) -> Sequence[Space]:
        """Return the spaces of a check that draws such cases, read off its draws."""


@dataclass(frozen=True)
class RowSpace:
    """Cases made one by one of named numbers.

    ``make`` maps parameters by name to a batch of one row; ``simpler`` finds nothing smaller.
    """

    check: str
    name: str
    drawn: int
    parameters: tuple[Parameter, ...]
    make: Callable[[Mapping[str, float]], Cases]

    def build(self, values: np.ndarray, seeds: np.ndarray) -> Rows:  # noqa: ARG002
        """Return one batch per row."""
        names = [p.name for p in self.parameters]
        return Rows(self.make(dict(zip(names, map(float, row), strict=True))) for row in values)

    def simpler(self, values: np.ndarray) -> Sequence[tuple[Space, np.ndarray]]:  # noqa: ARG002
        """Return nothing."""
        return []


def index(name: str, count: int) -> Parameter:
    """Return a parameter whose whole part is an index below ``count``."""
    return Parameter(name, 0.0, math.nextafter(count, 0))


SEEDS = Parameter("seed", 0, 2**31, whole=True)


Lists = Mapping[str, Sequence[Any]]


def picked(
    check: str, drawn: int, lists: Lists, make: Callable[..., Cases], *numbers: Parameter
) -> Space:
    """Return a space of choices from lists and further numbers, all handed to ``make`` by name.

    ``make`` may be the class of the cases itself.
    """

    def row(of: Mapping[str, float]) -> Cases:
        chosen = {name: options[int(of[name])] for name, options in lists.items()}
        found = {p.name: int(of[p.name]) if p.whole else of[p.name] for p in numbers}
        return make(**chosen, **found)

    parameters = (*(index(name, len(options)) for name, options in lists.items()), *numbers)
    name = ", ".join(f"{name} (of {len(options)})" for name, options in lists.items())
    return RowSpace(check, name, drawn, parameters, row)
