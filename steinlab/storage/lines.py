"""Records that grow: one JSON object per line with its checksum, appended and never rewritten."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from steinlab.errors import warn
from steinlab.storage.files import refusing, sync_folder, whole_of

_SUM = re.compile(r', "sum": "([0-9a-f]{16})"}$')


def append_line(file: Path, value: dict[str, Any]) -> None:
    """Append an object, durably and whole; wait while another process reads or writes the file.

    A line that was cut off, by a loss of power say, is closed first and stays where it is.

    Raises
    ------
    InputError
        If the file cannot be written or the disk is full: what it held stays.
    """
    text = json.dumps(value, allow_nan=False)
    line = f'{text[:-1]}, "sum": "{_digest(text)}"}}\n'.encode()
    with refusing(f"file must be one that can be written, got {file}"):
        new = not file.exists()
        with file.open("a+b", buffering=0) as out, _locked(out, shared=False):
            end = out.seek(0, os.SEEK_END)
            if end:
                out.seek(end - 1)
                line = line if out.read() == b"\n" else b"\n" + line
            try:
                while line:
                    line = line[out.write(line) :]
                os.fsync(out.fileno())
            except OSError:
                os.ftruncate(out.fileno(), end)
                raise
        if new:
            sync_folder(file.parent)


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the objects of a file, without their checksums; older lines, at its head, have none.

    A line that is damaged or was cut off is left out, with a warning that names it: what it held is
    computed again.
    """
    with file.open("rb") as opened, _locked(opened, shared=True):
        lines = whole_of(opened).split(b"\n")
    found, checked = [], False
    for number, line in enumerate(lines, 1):
        if line:
            try:
                value, checked = _object(line, checked)
                found.append(value)
            except ValueError as error:
                warn(f"{file}, line {number} is left out: {error}")
    return found


def _object(line: bytes, checked: bool) -> tuple[dict[str, Any], bool]:
    """Return a line's object, and whether lines from here on must have a checksum."""
    text = line.decode("utf-8", "replace")
    checksum = _SUM.search(text)
    if checksum:
        text = text[: checksum.start()] + "}"
    if (checked or checksum) and not (checksum and _digest(text) == checksum[1]):
        raise ValueError("its checksum differs")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is no whole line of JSON") from None
    if not isinstance(found, dict):
        raise ValueError("it is no object")
    return found, checksum is not None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def _locked(opened: IO[bytes], *, shared: bool) -> Iterator[None]:
    """Hold the file's lock, where the system has locks; it ends with the file or the process."""
    try:
        import fcntl
    except ImportError:
        pass
    else:
        fcntl.flock(opened, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    yield
