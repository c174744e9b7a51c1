"""What the kit says of planted faults and of right samplers, held to a record to the last word.

A verdict alone leaves open what was measured, what it was held to, and what is said to the user.
``TOLD=write pytest tests/steinlab/testing`` writes the record anew, to be committed beside the
change that moved it.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from steinlab.testing.rows import Row

FILE = Path(__file__).parent / "told.json"
RELATIVE, ROUNDING = 0.02, 1e-9
"""Of a number, and below this size of what is rounding alone and differs between libraries."""

ROUNDED = 4.0
"""Times that a number may differ by that counts roundings of float32."""

NUMBER = re.compile(r"-?\d+(?:\.(\d+))?(?:e([+-]\d+))?")


@functools.cache
def stored() -> dict[str, Any]:
    return dict(json.loads(FILE.read_text(encoding="utf-8"))) if FILE.exists() else {}


def held(name: str, rows: Sequence[Row]) -> None:
    """Compare rows with those on record under a name, which is that of the fault or the sampler."""
    keys = ("check", "verdict", "text", "measured", "bound", "cause")
    found = [{key: _short(row.as_json()[key]) for key in keys} for row in rows]
    if os.environ.get("TOLD") == "write":
        every = {**stored(), name: found}
        stored.cache_clear()
        lines = (f"{json.dumps(key)}: {json.dumps(every[key])}" for key in sorted(every))
        FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        return
    assert list(moved(stored()[name], found)) == []


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def moved(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what differs between two reports."""
    if [row["check"] for row in old] != [row["check"] for row in new]:
        yield f"checks: {[row['check'] for row in old]}, now {[row['check'] for row in new]}"
        return
    for one, other in zip(old, new, strict=True):
        times = ROUNDED if "float32" in one["check"] else 1 + RELATIVE
        for key, before in one.items():
            now = other[key]
            if isinstance(before, str) and isinstance(now, str):
                same = _alike(before, now, math.inf if _clear(one) and _clear(other) else times)
            elif isinstance(before, float) and isinstance(now, float):
                same = _near(before, now, times)
            else:
                same = before == now
            if not same and not (key == "measured" and _clear(one) and _clear(other)):
                yield f"{one['check']}.{key}: {before!r}, now {now!r}"


def _clear(row: dict[str, Any]) -> bool:
    """Whether what was measured is far below its bound: rounding, which differs."""
    numbers = row["measured"], row["bound"]
    return row["verdict"] == "ok" and all(isinstance(n, float) for n in numbers) and (
        numbers[0] <= 0.1 * numbers[1]
    )  # fmt: skip


def _near(a: float, b: float, times: float, unit: float = 0.0) -> bool:
    return math.isclose(a, b, rel_tol=1 - 1 / times, abs_tol=max(ROUNDING, 1.001 * unit))


def _alike(a: str, b: str, times: float) -> bool:
    """Whether texts have the same words, and numbers that differ by a unit of the last digit."""
    if NUMBER.sub("#", a) != NUMBER.sub("#", b):
        return False
    pairs = zip(NUMBER.finditer(a), NUMBER.finditer(b), strict=True)
    return all(_near(float(x[0]), float(y[0]), times, _unit(x)) for x, y in pairs)


def _unit(number: re.Match[str]) -> float:
    """One in a printed number's last digit; none of a whole number, which counts."""
    if number[1] is None and number[2] is None:
        return 0.0
    return float(10.0 ** (int(number[2] or 0) - len(number[1] or "")))
