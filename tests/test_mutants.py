"""docs/mutants.md is what its record and the reasons give, and the record adds up."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
RECORD = json.loads((ROOT / "docs" / "mutants.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("page", ROOT / ".ci" / "mutants" / "page.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_its_records(maker: ModuleType) -> None:
    assert maker.page() == (ROOT / "docs" / "mutants.md").read_text(encoding="utf-8")


def test_every_reason_is_of_a_survivor_and_of_a_kind(maker: ModuleType) -> None:
    lived = {(s["module"], s["operator"]) for room in RECORD["rooms"] for s in room["survivors"]}
    said = maker.reasons()
    assert set(said) == lived
    for kind, why in said.values():
        assert kind in {"equivalent", "tolerable", "open"}
        assert len(why) > 10


def test_the_counts_add_up() -> None:
    for room in RECORD["rooms"]:
        assert room["unexplained"] == 0
        assert room["run"] - room["killed"] == len(room["survivors"])
        assert room["killed at first"] <= room["killed"] <= room["run"] <= room["population"]


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [(97, 100, "91.4 to 99.4 %"), (0, 10, "0.0 to 30.9 %"), (10, 10, "69.1 to 100.0 %")],
)
def test_the_interval_is_clopper_and_pearsons(
    maker: ModuleType, part: int, whole: int, said: str
) -> None:
    assert maker.interval(part, whole) == said
