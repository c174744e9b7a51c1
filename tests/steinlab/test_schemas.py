"""The schemas that ship: what is stored conforms, what is hostile does not."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from steinlab.errors import InputError
from steinlab.experiments.specs.coefficient import CoefficientSpec
from steinlab.experiments.specs.compare import CompareSpec
from steinlab.storage import read_json, schemas
from steinlab.storage.schemas import conforming, schema
from tests.fuzz.mutations import hostile
from tests.fuzz.test_fuzz import COEFFICIENT, COMPARE, FAILED, HISTORY, SPECTRUM, TRACE

ROOT = Path(__file__).parents[2]
LINES = 150
"""Of a record: all of its head, and cells of the first."""


def _lines(file: Path) -> list[Any]:
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
        return [json.loads(line) for line, _ in zip(opened, range(LINES), strict=False)]


def _tree(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


STORED: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "case": (_tree, ("tests/fuzz/cases/*.json",)),
    "compare": (_tree, ("docs/specs/[!c]*.json", "docs/specs/networks/*.json")),
    "coefficient": (_tree, ("docs/specs/coefficient.json",)),
    "record": (_lines, ("steinlab/experiments/tournament/results/*.gz",)),
    "conformance": (_lines, ("docs/results/conformance.jsonl",)),
    "study": (_lines, ("gpu_models/results/*.jsonl", "gpu_models/results/*/*.jsonl")),
    "network": (_tree, ("docs/results/networks/[!g]*.json", "docs/results/networks/*-hsc-*.json")),
    "budget": (_tree, ("docs/results/networks/*-budget.json",)),
    "timings": (_tree, ("docs/gpu-exact*.json",)),
}


def _files() -> Iterable[tuple[str, Path]]:
    for name, (_, patterns) in STORED.items():
        found = sorted(file for one in patterns for file in ROOT.glob(one))
        assert found, name
        yield from ((name, file) for file in found)


@pytest.mark.parametrize(("name", "file"), [pytest.param(*one, id=one[1].name) for one in _files()])
def test_what_is_stored_here_conforms(name: str, file: Path) -> None:
    conforming(STORED[name][0](file), name)


def test_every_schema_is_one_and_says_what_it_is_of() -> None:
    from jsonschema import Draft202012Validator

    names = {file.stem for file in Path(schemas.__file__).parent.glob("*.json")}
    assert names > set(STORED)
    for name in names:
        Draft202012Validator.check_schema(schema(name))
        assert schema(name)["title"]


TEXTS = (b'"{{{', b'"[[[', b'"[999')
"""Beginnings of formulas and grids that are text to a schema."""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param(name.strip("-"), content, id=f"{name} {i}")
        for i, (name, content) in enumerate(FAILED)
        if name in ("trace", "--ledger") and not any(text in content for text in TEXTS)
    ],
)
def test_what_once_failed_is_refused_by_the_reader_or_the_schema(
    name: str, content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "file.json"
    file.write_bytes(content)
    with pytest.raises(InputError):
        conforming(read_json(file, name, float), name)


READERS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "compare": (COMPARE, CompareSpec.from_json),
    "compare, own grid": (SPECTRUM, CompareSpec.from_json),
    "coefficient": (COEFFICIENT, CoefficientSpec.from_json),
    "coefficient, history": (HISTORY, CoefficientSpec.from_json),
}


def refuses(read: Callable[..., Any], *given: Any) -> bool:
    try:
        read(*given)
    except InputError:
        return True
    return False


@pytest.mark.parametrize("door", READERS)
def test_a_schema_takes_what_the_reader_takes_and_refuses_most_of_the_rest(
    door: str, tmp_path: Path
) -> None:
    good, read = READERS[door]
    conforming(good, door.partition(",")[0])
    both = refused = 0
    for seed in range(300):
        file = tmp_path / "spec.json"
        file.write_bytes(hostile(good, Random(seed)))
        if refuses(read_json, file):
            continue
        plain = json.loads(file.read_text(encoding="utf-8-sig"))
        by_schema = refuses(conforming, plain, door.partition(",")[0])
        by_reader = refuses(read, read_json(file))
        assert by_reader >= by_schema, plain
        refused, both = refused + by_reader, both + by_schema
    assert both > 0.5 * refused > 50


def test_the_spec_of_a_trace_conforms() -> None:
    for data in (TRACE["data"], {"law": "digits"}, {"npy": "x.npy", "bandwidth": "1/2"}):
        conforming({**TRACE, "data": data}, "trace")
    assert refuses(conforming, {**TRACE, "target": "x.py:f"}, "trace")
