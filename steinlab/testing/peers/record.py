"""Judge the entries and keep what was seen: one JSON line per entry, after a line of versions."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from steinlab.errors import InputError
from steinlab.storage import in_file
from steinlab.storage.files import refusing
from steinlab.storage.lines import append_line, read_lines
from steinlab.storage.schemas import conforming
from steinlab.testing.check import rows_of
from steinlab.testing.peers.entries import Entry, entries
from steinlab.testing.peers.libraries import MissingLibrary, versions
from steinlab.testing.rows import Row
from steinlab.testing.subject import SubjectError


def judged(entry: Entry) -> dict[str, Any]:
    """Return what the kit sees of an entry: its rows, or why it could not be judged."""
    told: dict[str, Any] = {"library": entry.library, "sampler": entry.sampler}
    told |= {"options": entry.options, "declared": entry.order}
    try:
        rows = rows_of(
            entry.make(),
            order=entry.order,
            law=entry.law,
            ends_at_zero=entry.ends_at_zero,
            only=entry.only,
        )
    except MissingLibrary as error:
        return {**told, "not_run": str(error), "rows": []}
    except (SubjectError, InputError) as error:
        return {**told, "not_run": f"cannot be judged: {error}", "rows": []}
    return {**told, "rows": [_row(row) for row in rows]}


def _row(row: Row) -> dict[str, Any]:
    out: dict[str, Any] = {"check": row.check, "verdict": row.verdict, "text": row.text}
    for key in ("measured", "bound", "error"):
        value = getattr(row, key)
        if value is not None:
            out[key] = float(f"{value:.4g}") if math.isfinite(value) else str(value)
    if row.verdict == "fails":
        out |= {"cause": row.cause, "case": dict(row.case)}
    return out


def judge(
    chosen: Sequence[Entry], path: Path | None = None, *, progress: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield the record of every entry; those that ``path`` holds already are not judged again."""
    held = {name_of(one): one for one in read(path)[1]} if path and path.exists() else {}
    if path and not path.exists():
        append_line(path, {"versions": versions()})
    for i, entry in enumerate(chosen, 1):
        start = time.perf_counter()
        one = held.get(entry.name) or judged(entry)
        if path and entry.name not in held:
            append_line(path, one)
        if progress:
            print(f"{i}/{len(chosen)} {entry.name} {time.perf_counter() - start:.0f} s", flush=True)
        yield one


def name_of(record: Mapping[str, Any]) -> str:
    """Return the name of a record's entry."""
    return " ".join(str(record[k]) for k in ("library", "sampler", "options") if record[k])


def read(path: Path) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Return a record's versions and what was seen of the entries, in their order.

    Raises
    ------
    InputError
        If the file is no record.
    """
    with refusing(f"--record must be a readable file, got {path}"), in_file(path):
        first, *rest = conforming(read_lines(path), "conformance")
    own = {entry.name: (i, entry) for i, entry in enumerate(entries())}
    for one in rest:
        if name_of(one) in own:
            _excuse(one["rows"], own[name_of(one)][1].design)
    ordered = sorted(rest, key=lambda one: own.get(name_of(one), (len(own), None))[0])
    return dict(first["versions"]), ordered


def _excuse(rows: list[dict[str, Any]], design: Mapping[str, str]) -> None:
    """Mark the failures that are by design."""
    for row in rows:
        if row["verdict"] in ("fails", "by-design") and row["check"] in design:
            row |= {"verdict": "by-design", "reason": design[row["check"]]}
