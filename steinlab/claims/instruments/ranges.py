"""Cases by ranges of their fields: the check that draws them, and the space that is attacked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Check, Effort
from steinlab.verification.falsify.spaces import SEEDS, Parameter, Space, picked


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
    """

    make: type[SingleCase]
    lists: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    numbers: tuple[Parameter, ...] = ()
    seeded: bool = True
    method: str = "quadrature"

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
            return [self._drawn(i, effort.rng, fixed) for i in range(effort.count(count))]

        how: Any = {"draw": draw, "measure": measure, "compare": compare}
        return Check(name, method=self.method, restore=self.make.restore, **how)

    def _drawn(self, i: int, rng: np.random.Generator, fixed: Mapping[str, Any]) -> SingleCase:
        lists: dict[str, Any] = {}
        for name, values in self.lists.items():  # every combination in turn
            i, at = divmod(i, len(values))
            lists[name] = values[at]
        numbers = {one.name: float(one.at(rng.random(1))[0]) for one in self.numbers}
        seed = {"seed": int(rng.integers(2**31))} if self.seeded else {}
        return self.make(**{**lists, **numbers, **seed, **fixed})

    def space(self, check: str) -> Space:
        """Return the space of a check's cases."""

        def make(**values: Any) -> SingleCase:
            seed = {"seed": int(values.pop("seed"))} if self.seeded else {}
            return self.make(**values, **seed)

        numbers = (*self.numbers, *((SEEDS,) if self.seeded else ()))
        return picked(check, 512, self.lists, make, *numbers)
