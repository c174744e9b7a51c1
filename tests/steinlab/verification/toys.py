"""A claim small enough to see through: ``y = 2 x`` on numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from steinlab.verification.claim import Check, Claim, Dropped, Effort, NegativeControl
from steinlab.verification.comparison import Comparison

Formula = Callable[[np.ndarray], np.ndarray]
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Numbers:
    dataset: ClassVar[str | None] = None

    x: tuple[float, ...]
    slope: float

    def __len__(self) -> int:
        return len(self.x)

    def describe(self, index: int) -> dict[str, Any]:
        return {"x": self.x[index], "slope": self.slope}

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Numbers:
        return cls((case["x"],), case["slope"])


def measure(cases: Numbers) -> tuple[np.ndarray, np.ndarray]:
    x = np.array(cases.x)
    return x, cases.slope * x


def compare(data: tuple[np.ndarray, np.ndarray], formula: Formula) -> Comparison:
    x, y = data
    return Comparison(y, formula(x), np.full_like(x, TOLERANCE))


def check(name: str = "numbers", slope: float = 2.0, **changes: Any) -> Check:
    def draw(effort: Effort) -> list[Numbers]:
        return [Numbers(tuple(effort.rng.uniform(1, 2, effort.count(n))), slope) for n in (3, 4)]

    parts = {"draw": draw, "measure": measure, "compare": compare, "restore": Numbers.restore}
    return Check(name, method="property", **{**parts, **changes})


def double(x: np.ndarray) -> np.ndarray:
    return 2 * x


def claim(**changes: Any) -> Claim:
    parts: dict[str, Any] = {
        "id": "toy",
        "title": "Doubling",
        "statement": "y = 2 x",
        "source": "nowhere",
        "kind": "identity",
        "conditions": (),
        "formula": double,
        "checks": (check(),),
        "controls": (NegativeControl("wrong sign", lambda x: -2 * x),),
        "dropped": (),
        "finding": lambda results: f"seen {', '.join(results)}",
    }
    return Claim(**{**parts, **changes})


def dropped(*, slope: float = 3.0, unstated: bool = False) -> Dropped:
    return Dropped("another slope", check("other", slope), unstated)
