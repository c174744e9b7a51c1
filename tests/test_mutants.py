"""docs/mutants.md is what its record and the reasons give, and the record adds up."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
RECORD = json.loads((ROOT / "docs" / "mutants.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    return loaded("page")


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / "mutants" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_its_records(maker: ModuleType) -> None:
    assert maker.page() == (ROOT / "docs" / "mutants.md").read_text(encoding="utf-8")


def test_every_reason_is_of_a_survivor_and_of_a_kind(maker: ModuleType) -> None:
    lived = {(s["module"], s["operator"]) for sample in RECORD for s in sample["survivors"]}
    said = maker.reasons()
    assert set(said) == lived
    for kind, why in said.values():
        assert kind in {"equivalent", "tolerable", "open"}
        assert len(why) > 10


def test_the_counts_add_up() -> None:
    for sample in RECORD:
        lived = Counter(survivor["room"] for survivor in sample["survivors"])
        for name, room in sample["rooms"].items():
            assert room["run"] - room["killed"] == lived[name]
            assert room["killed at first"] <= room["killed"] <= room["run"] <= room["population"]


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [(97, 100, "91.4 to 99.4 %"), (0, 10, "0.0 to 30.9 %"), (10, 10, "69.1 to 100.0 %")],
)
def test_the_interval_is_clopper_and_pearsons(
    maker: ModuleType, part: int, whole: int, said: str
) -> None:
    assert maker.interval(part, whole) == said


SOURCE = """\
import math

LIMIT = 3


def area(
    r: float, pi: float = math.pi
) -> float:
    if r < 0:
        raise ValueError(
            "r must be >= 0"
        )
    return pi * r**2


def twice(r):
    return 2 * area(r)
"""


def test_a_mutant_meets_the_tests_of_its_statement_then_those_of_its_file(tmp_path: Path) -> None:
    """Of a line that runs at import: those of the function that it heads, then of all functions."""
    lines = loaded("lines")
    (tmp_path / "m.py").write_text(SOURCE)
    ran = {"area": (9, 13), "refused": (9, 10, 11), "twice": (9, 13, 17)}
    tests = {f"t.py::{name}": [seconds, True] for name, seconds in zip(ran, (3, 2, 1), strict=True)}
    tests |= {"t.py::idle": [0.5, True], "t.py::failing": [0.1, False]}
    bits = {k: f"{sum(1 << n for n in own):x}" for k, own in enumerate(ran.values())}
    record = {"file": "t.py", "tests": tests, "ran": {"m.py": bits}}
    (tmp_path / "lines.jsonl").write_text(json.dumps(record) + "\n")
    known = lines.Lines(tmp_path / "lines.jsonl")

    def met(line: int) -> list[str]:
        return [name.split("::")[1] for name in known.tests_for(tmp_path, "m.py", line)]

    assert met(13) == ["twice", "area", "idle", "refused"]
    assert met(11) == ["refused", "idle", "twice", "area"]
    assert met(9) == ["twice", "refused", "area", "idle"]
    assert met(17) == ["twice", "idle", "refused", "area"]
    assert met(3) == ["twice", "refused", "area", "idle"]
    assert met(7) == ["twice", "refused", "area", "idle"]
    known.drop("t.py::twice")
    assert met(13) == ["area", "idle", "refused"]


def test_a_mutant_is_put_where_its_lines_are_now() -> None:
    draw = loaded("draw")
    mutant = {"module": "m.py", "first": 12, "before": "    return pi * r**2\n"}
    mutant["after"] = "    return pi * r**3\n"
    moved = f"# a line\n{SOURCE}"
    assert draw.place(SOURCE, mutant) == 12
    assert draw.place(moved, mutant) == 13
    assert draw.with_mutant(moved, mutant) == moved.replace("r**2", "r**3")
    with pytest.raises(ValueError, match=r"m.py is not what the mutant was drawn from"):
        draw.place(SOURCE.replace("r**2", "r**4"), mutant)
