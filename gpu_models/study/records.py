"""What a study has found so far: a file of lines, one a finished piece, from which it resumes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from steinlab.errors import InputError
from steinlab.storage import write_text

VERSION = 1

Record = dict[str, Any]


class Records:
    """Finished pieces by key: read from every share's file, appended to that of one's own.

    Parameters
    ----------
    folder : Path
        Holds ``study-*.jsonl``, one a share: lines of JSON, the first names version and
        configuration.
    part : int
        The share whose file is written.
    config : dict
        What the pieces depend on: a file of another configuration is refused.

    Raises
    ------
    InputError
        If a file holds another study.
    """

    def __init__(self, folder: Path, part: int, config: Record) -> None:
        self.path = folder / f"study-{part}.jsonl"
        self.found: dict[str, Record] = {}
        head = {"version": VERSION, "config": config}
        for file in sorted(folder.glob("study-*.jsonl")):
            self.found |= _pieces(file, head)
        if not self.path.exists():
            self._append(head)

    def get(self, key: str, make: Callable[[], Record]) -> Record:
        """Return a finished piece, or make it and keep it."""
        if key not in self.found:
            value = make()
            self._append({"key": key, "value": value})
            self.found[key] = json.loads(json.dumps(value))
        return self.found[key]

    def _append(self, line: Record) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _pieces(path: Path, head: Record) -> dict[str, Record]:
    """Return a file's pieces by key; refuse one whose head differs."""
    lines = _lines(path)
    if not lines or lines[0] != json.loads(json.dumps(head)):
        raise InputError(
            f"--out must hold no study or one of this configuration, got another in {path}"
        )
    return {line["key"]: line["value"] for line in lines[1:]}


def _lines(path: Path) -> list[Record]:
    """Return the whole lines of a file; the last may have been cut off as it was written."""
    try:
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        lines = [json.loads(line) for line in whole.splitlines()]
    except ValueError as error:
        raise InputError(f"--out must hold whole lines of JSON, got {path}: {error}") from None
    if whole != text:
        write_text(path, whole)
    return lines
