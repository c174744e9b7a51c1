"""Numbers that change only on purpose: small comparisons, a coefficient, cells of the tournament.

They are held to 1e-9 of themselves against ``pins.json``. ``python -m tests.test_pins`` writes that
file anew, to be committed beside the change that moved a number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from steinlab.coefficient.routes import coefficients
from steinlab.estimates import as_json
from steinlab.experiments.compare import compare, to_json
from steinlab.experiments.specs.coefficient import CoefficientSpec
from steinlab.experiments.specs.compare import CompareSpec
from steinlab.experiments.tournament.design import Cell
from steinlab.experiments.tournament.play import play

FILE = Path(__file__).parent / "pins.json"
RELATIVE, ABSOLUTE = 1e-9, 1e-12
ROOT = 1e-7
"""Of a noise, the root of a difference of squares of size one: the root of what these round."""

MODES = {"weights": ["3/10", "7/10"], "means": [[-1, 0], ["3/2", "1/2"]], "stds": ["2/5", "7/10"]}
CLIPPED = {"name": "stein", "gamma_min": 0.1, "gamma_max": 1}
SPECS: Mapping[str, Mapping[str, Any]] = {
    "modes": {
        "data": MODES,
        "process": "vp-linear",
        "grid": "logsnr",
        "solvers": ["heun", "dpmpp-2m", {"name": "deis-log-2", "final": [1]}, "unipc-3"],
        "evaluations": [6],
        "corrections": ["none", CLIPPED],
        "samples": 60,
    },
    "digits": {
        "data": {"dataset": "digits", "bandwidth": 0.1},
        "solvers": ["euler", "dpmpp-3m", "ipndm-3"],
        "evaluations": [5],
        "corrections": ["none", "tweedie"],
        "samples": 32,
    },
}
STEP = {"data": MODES, "from": ["12/13", "5/13"], "to": ["40/41", "9/41"], "solver": "dpmpp-2s"}
CELLS = (
    Cell("two-1", "edm", "karras", "dpmpp-3m", 6, 0),
    Cell("ring-2", "vp-linear", "logsnr", "unipc-2", 5, 1),
    Cell("two-1", "flow", "time-uniform", "heun", 8, 0),
)
ENTRANTS = ("none", "stein, gamma <= 1", "tweedie, gamma <= 1", "law-matched", "calibrated")


def compared(name: str) -> Any:
    return [to_json(row) for row in compare(CompareSpec.from_json(SPECS[name]))]


def coefficient() -> Any:
    spec = CoefficientSpec.from_json(STEP)
    found = coefficients(spec.law, spec.s, spec.t, spec.solver, samples=1000)
    return {route: as_json(entry) for route, entry in found.items()}


PINNED: Mapping[str, Callable[[], Any]] = {
    **{f"compare {name}": lambda name=name: compared(name) for name in SPECS},  # type: ignore[misc]
    "coefficient": coefficient,
    **{
        f"cell {cell.key}": lambda cell=cell: play(cell, states=48, entrants=ENTRANTS)  # type: ignore[misc]
        for cell in CELLS
    },
}


def moved(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Yield where a result differs from what is stored; keys may be added."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in old.items():
            yield from moved(value, new.get(key, "gone"), f"{where}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from moved(one, other, f"{where}[{i}]")
    elif isinstance(old, float) and isinstance(new, float | int):
        absolute = ROOT if ".coefficient_noise." in where else ABSOLUTE
        if not math.isclose(old, new, rel_tol=RELATIVE, abs_tol=absolute):
            yield f"{where}: {old!r}, now {new!r}"
    elif old != new:
        yield f"{where}: {old}, now {new}"


@pytest.mark.parametrize("name", PINNED)
def test_the_numbers_stay(name: str) -> None:
    stored = json.loads(FILE.read_text(encoding="utf-8"))[name]
    found = json.loads(json.dumps(PINNED[name]()))
    assert list(moved(stored, found)) == []


def test_the_store_is_whole_and_small() -> None:
    assert set(json.loads(FILE.read_text(encoding="utf-8"))) == set(PINNED)
    assert FILE.stat().st_size <= 60_000


def test_a_moved_digit_and_a_lost_key_are_seen() -> None:
    old = {"a": [1.0, 2.0], "b": None}
    assert list(moved(old, {"a": [1.0, 2.0 + 1e-10], "b": None, "c": 3})) == []
    assert list(moved(old, {"a": [1.0, 2.0 + 1e-8], "b": None})) == [".a[1]: 2.0, now 2.00000001"]
    for value, at in ((1e-6, [".coefficient_noise.x: 0.0, now 1e-06"]), (1e-8, [])):
        noise = ({"coefficient_noise": {"x": v}} for v in (0.0, value))
        assert list(moved(*noise)) == at
    assert list(moved(old, {"a": [1.0], "b": 0})) == [
        ".a: [1.0, 2.0], now [1.0]",
        ".b: None, now 0",
    ]


if __name__ == "__main__":
    made = {name: make() for name, make in PINNED.items()}
    FILE.write_text(json.dumps(made, separators=(",", ":")) + "\n", encoding="utf-8")
