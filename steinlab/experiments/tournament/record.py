"""A played tournament in one small file: JSON lines, compressed, from which tables are made again.

The first line says what was played, by which sources and versions, and names the columns; each
other line is a cell. Of plain solvers at equal evaluations only the energy distance is kept.
What records of version 1 call ``auto`` is ``auto-v1`` by now, and is read as that.
"""

from __future__ import annotations

import gzip
import json
import math
import platform
import zlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from steinlab.errors import InputError, quote
from steinlab.experiments.tournament.design import Cell
from steinlab.experiments.tournament.measures import MEASURES, RIVAL
from steinlab.storage import whole_of, write_bytes
from steinlab.storage.schemas import conforming

VERSION, READABLE = 2, "1 or 2"

OLD_NAMES: Mapping[int, Mapping[str, str]] = {1: {"auto": "auto-v1"}}
"""Entrants that records of a version hold under another name."""
LIBRARIES = ("numpy", "scipy", "torch")
COLUMNS = (*MEASURES, "energy_error", "extra", "ratio_error")
OF_TABLE = ("price", "kept")
EQUAL = ("equal", "equal_best")

FULL = Path(__file__).parent / "results" / "full.jsonl.gz"
"""The record of the full profile, the first edition, in the package."""

SECOND = FULL.with_name("second.jsonl.gz")
"""The record of the second edition."""

UNREADABLE = (
    *(OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, AttributeError),
    *(RecursionError, OverflowError),
)
"""What reading another file raises, or one that was cut or damaged."""

Kind = frozenset[type]
TEXT, WHOLE, FLAG = (Kind({kind}) for kind in (str, int, bool))
NUMBER = Kind({float, int})
KNOWN = NUMBER | {type(None)}
CELL = (*[TEXT] * 4, *[WHOLE] * 2)
"""Types of what a cell is; those of other rows are :data:`KNOWN` or stand where they are read."""

Played = Mapping[str, Any]


def versions() -> dict[str, str]:
    """Return the versions that the numbers were computed with."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def write_record(file: Path, played: Sequence[Played], about: Mapping[str, Any]) -> None:
    """Write a record, whole or not at all; ``about`` says what was played.

    Cells stand in the order of their names, and nothing in the file tells when it was made.
    """
    names = list(played[0]["results"])
    head = {"version": VERSION, **about, "entrants": names, "columns": list(COLUMNS)}
    rows = sorted(played, key=lambda one: str(one["cell"]))
    lines = [head, *(_packed(one, names) for one in rows)]
    text = "\n".join(json.dumps(line, separators=(",", ":")) for line in lines) + "\n"
    write_bytes(file, gzip.compress(text.encode(), mtime=0))


def read_record(file: Path, field: str = "--from") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what a record says of itself, and its cells.

    Raises
    ------
    InputError
        If the file is no record of this version.
    """
    try:
        with gzip.open(file) as packed:
            lines = whole_of(packed).decode().splitlines()
        head = json.loads(lines[0])
        if head["version"] not in (1, VERSION):
            raise ValueError(f"version {head['version']}")
        conforming([head], "record")
        named = OLD_NAMES.get(head["version"], {})
        head["entrants"] = [named.get(name, name) for name in head["entrants"]]
        return head, [_unpacked(json.loads(line), head, named) for line in lines[1:]]
    except UNREADABLE as error:
        raise InputError(
            f"{field} must be a record of version {READABLE}, got {file}: {error}"
        ) from None


def renamed(one: Played, names: Mapping[str, str]) -> dict[str, Any]:
    """Return a cell whose entrants of old names have those of today."""
    found = {names.get(name, name): result for name, result in one["results"].items()}
    return {**one, "results": found}


def _packed(one: Played, names: Sequence[str]) -> dict[str, Any]:
    best = one["best_plain"]
    plain = one.get("plain", {}).items()
    made = {name: one for name, one in one["results"].items() if {*OF_TABLE} <= one.keys()}
    return {
        "cell": list(one["cell"].values()),
        "floor": [one["floor"].get(key) for key in MEASURES],
        "best": [best["solver"], *_values(best)],
        "results": [_values(one["results"][name]) for name in names],
        "plain": {name: [found.get(key) for key in RIVAL] for name, found in plain},
        "tables": {name: [found[key] for key in OF_TABLE] for name, found in made.items()},
    }


def _values(found: Mapping[str, Any]) -> list[Any]:
    """Return a row of columns and the plain energy distance at equal evaluations, or a string."""
    if "stopped" in found:
        return [found["stopped"]]
    row = [found.get(key) for key in COLUMNS]
    equal = (found[key].get("energy_distance", "stopped") for key in EQUAL if key in found)
    return [*row, *equal]


def _unpacked(
    line: Mapping[str, Any], head: Mapping[str, Any], named: Mapping[str, str]
) -> dict[str, Any]:
    cell = Cell(*_typed(line["cell"], CELL))
    columns = head["columns"]
    rows = zip(head["entrants"], line["results"], strict=True)
    results = {name: _found(row, columns) for name, row in rows}
    for name, values in line["tables"].items():
        table = _typed(values, (NUMBER, FLAG))
        results[named.get(name, name)] |= dict(zip(OF_TABLE, table, strict=True))
    floor = _known(dict(zip(columns, _typed(line["floor"]), strict=False)))
    (solver,) = _typed(line["best"][:1], (TEXT,))
    best = {"solver": solver, **_found(line["best"][1:], columns)}
    for found in (results["none"], *results.values(), best):
        missing = {"energy_distance", *floor} - found.keys()
        if missing and "stopped" not in found:
            raise ValueError(f"{cell.key} lacks {min(missing)}")
    plain = {
        name: _known(dict(zip(RIVAL, _typed(row, (KNOWN, KNOWN, TEXT | KNOWN)), strict=True)))
        for name, row in line.get("plain", {}).items()
    }
    return {
        "cell": vars(cell),
        "half": cell.half,
        "floor": floor,
        "best_plain": best,
        "plain": plain,
        "results": results,
    }


def _typed(row: Sequence[Any], kinds: Sequence[Kind] | None = None) -> Sequence[Any]:
    """Return a row whose values are of these types, by default known or unknown numbers."""
    pairs = zip(row, kinds or [KNOWN] * len(row), strict=True)
    if not all(type(one) in kind for one, kind in pairs):
        raise TypeError(f"{quote(row)} must hold other values")
    if not all(math.isfinite(one) for one in row if type(one) in NUMBER):
        raise ValueError(f"{quote(row)} must hold finite numbers")
    return row


def _known(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if value is not None}


def _found(row: Sequence[Any], columns: Sequence[str]) -> dict[str, Any]:
    if len(row) == 1:
        return dict(zip(("stopped",), _typed(row, (TEXT,)), strict=True))
    out = _known(dict(zip(columns, _typed(row[: len(columns)]), strict=False)))
    for key, value in zip(EQUAL, row[len(columns) :], strict=False):
        if value == "stopped":
            out[key] = {"stopped": value}
        else:
            out[key] = dict(zip(("energy_distance",), _typed([value], [NUMBER]), strict=True))
    return out
