"""Cases by ranges of their fields: the check that draws them, and the space that is attacked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Check, Effort
from steinlab.verification.falsify.spaces import SEEDS, Parameter, Space, picked


def between(*, log: bool = False, **limits: tuple[float, float]) -> tuple[Parameter, ...]:
    """Return numbers between limits, by name."""
    return tuple(Parameter(name, low, high, log) for name, (low, high) in limits.items())


@dataclass(frozen=True)
class Ranges:
    """The values of a case's fields.

    Parameters
    ----------
    make : type
        A case; its fields are those named here, besides ``seed``, which is drawn if ``seeded``.
    lists : mapping
        Values to choose from, in turn.
    numbers : sequence of Parameter
        Numbers between limits.
    seeded : bool
    method : str
        How the checks come by their evidence.
    together : bool
        Whether the lists advance together, and each number is drawn for all cases at once.
    """

    make: type[SingleCase]
    lists: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    numbers: tuple[Parameter, ...] = ()
    seeded: bool = True
    method: str = "quadrature"
    together: bool = False

    def check(
        self,
        name: str,
        count: int,
        measure: Callable[[Any], Any],
        compare: Callable[[Any, Any], Any],
        **fixed: Any,
    ) -> Check:
        """Return a check of ``count`` cases in the quick profile; ``fixed`` are fields given."""

        def draw(effort: Effort) -> list[SingleCase]:
            n, rng = effort.count(count), effort.rng
            columns = [one.at(rng.random(n)) for one in self.numbers] if self.together else []
            return [self._drawn(i, rng, fixed, [float(v[i]) for v in columns]) for i in range(n)]

        how: Any = {"draw": draw, "measure": measure, "compare": compare}
        return Check(name, method=self.method, restore=self.make.restore, **how)

    def _drawn(
        self, i: int, rng: np.random.Generator, fixed: Mapping[str, Any], drawn: Sequence[float]
    ) -> SingleCase:
        lists: dict[str, Any] = {}
        for name, values in self.lists.items():  # every combination in turn, unless together
            left, at = divmod(i, len(values))
            i = i if self.together else left
            lists[name] = values[at]
        drawn = drawn or [float(one.at(rng.random(1))[0]) for one in self.numbers]
        numbers = {one.name: value for one, value in zip(self.numbers, drawn, strict=True)}
        seed = {"seed": int(rng.integers(2**31))} if self.seeded else {}
        return self.make(**{**lists, **numbers, **seed, **fixed})

    def space(self, check: str, drawn: int = 512, **fixed: Any) -> Space:
        """Return the space of a check's cases, of which the full profile draws so many."""

        def make(**values: Any) -> SingleCase:
            seed = {"seed": int(values.pop("seed"))} if self.seeded else {}
            return self.make(**values, **seed, **fixed)

        numbers = (*self.numbers, *((SEEDS,) if self.seeded else ()))
        return picked(check, drawn, self.lists, make, *numbers)
