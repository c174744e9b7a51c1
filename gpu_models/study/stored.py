"""The stored study: finished pieces, line by line, from which it resumes and is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from gpu_models.study.design import Cell, Size, cells
from steinlab.errors import InputError
from steinlab.storage import in_file
from steinlab.storage.lines import append_line, read_lines
from steinlab.storage.schemas import conforming

VERSION = 1

Record = dict[str, Any]

RESULTS = Path(__file__).resolve().parents[1] / "results"
"""Where the study's files lie in the package."""

PIECES = ("denoiser", "coefficients", "lipschitz", "cost")
"""Everything that is no run and may be missing."""


@dataclass(frozen=True, eq=False)
class Stored:
    """A study as it is stored; one is equal to itself alone.

    Parameters
    ----------
    head : mapping
        ``version`` and ``config``: sizes, digest of the weights, extractors.
    found : mapping
        Every finished piece by key.
    where : mapping
        The device that a piece ran on by its key, as the file says it.
    """

    head: Mapping[str, Any]
    found: Mapping[str, Record]
    where: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def size(self) -> Size:
        """How much of everything was asked for."""
        given: Mapping[str, Any] = self.head["config"]["size"]
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in given.items()
        }
        return Size(**fields)

    @cached_property
    def design(self) -> list[Cell]:
        """Every run asked for, in the order of the design."""
        return cells(self.size)

    @cached_property
    def runs(self) -> dict[Cell, Record]:
        """The runs that are there, in the order of the design."""
        return {cell: self.found[cell.key] for cell in self.design if cell.key in self.found}

    @property
    def devices(self) -> list[str]:
        """The devices that the shares ran on."""
        shares = (v for k, v in self.found.items() if k.startswith("environment"))
        return sorted({str(share["device"]) for share in shares})

    def devices_of(self, keys: Iterable[str]) -> list[str]:
        """Return the devices that some pieces ran on."""
        return sorted({self.where[key] for key in keys if key in self.where})

    @property
    def missing(self) -> list[str]:
        """The pieces that are not there."""
        return [name for name in PIECES if name not in self.found]

    def rows(self, piece: str) -> list[Record]:
        """Return a piece's rows; none where it is missing."""
        return list(self.found.get(piece, {}).get("rows", ()))

    def notes(self) -> Record:
        """Return configuration and device, for the ledger."""
        return {
            "config": dict(self.head["config"]),
            "devices": self.devices,
            "runs": len(self.runs),
            "runs_asked": len(self.design),
            "missing": self.missing,
        }


def read(folder: Path) -> Stored | None:
    """Return the study of a folder; None where there is none.

    Raises
    ------
    InputError
        If the files are of another version or of several configurations.
    """
    head: Mapping[str, Any] | None = None
    found: dict[str, Record] = {}
    where: dict[str, str] = {}
    for file in _files(folder):
        first, *lines = _lines(file) or [{"version": None}]
        if first["version"] != VERSION:
            raise InputError(f"version must be {VERSION} in {file}, got {first['version']}")
        if head is not None and first != head:
            raise InputError(f"configuration must be that of its siblings in {file}, got another")
        head = first
        found |= {line["key"]: line["value"] for line in lines}
        where |= _devices(lines)
    return None if head is None else Stored(head, found, where)


def _devices(lines: Sequence[Record]) -> dict[str, str]:
    """Return the device of each piece: that of the environment which its file names above it."""
    device, out = "", {}
    for line in lines:
        if line["key"].startswith("environment"):
            device = str(line["value"]["device"])
        elif device:
            out[line["key"]] = device
    return out


@lru_cache(maxsize=4)
def _cached(folder: Path, state: tuple[tuple[str, int, int], ...]) -> Stored | None:  # noqa: ARG001
    return read(folder)


def stored() -> Stored | None:
    """Return the study of the package, read once for every state of its files."""
    files = _files(RESULTS)
    state = tuple((f.name, f.stat().st_mtime_ns, f.stat().st_size) for f in files)
    return _cached(RESULTS, state)


class Records:
    """Finished pieces by key: read from every share's file, appended to that of one's own.

    Parameters
    ----------
    folder : Path
        Holds ``study-*.jsonl``, one per share: lines of JSON, the first names version and
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
        head = json.loads(json.dumps({"version": VERSION, "config": config}))
        for file in _files(folder):
            lines = _lines(file) or [head]
            if lines[0] != head:
                raise InputError(
                    f"--out must hold no study or one of this configuration, got another in {file}"
                )
            self.found |= {line["key"]: line["value"] for line in lines[1:]}
        if not (self.path.exists() and self.path.stat().st_size):
            append_line(self.path, head)

    def get(self, key: str, make: Callable[[], Record]) -> Record:
        """Return a finished piece, or make it and keep it."""
        if key not in self.found:
            value = make()
            append_line(self.path, {"key": key, "value": value})
            self.found[key] = json.loads(json.dumps(value))
        return self.found[key]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("study-*.jsonl"))


def _lines(file: Path) -> list[Record]:
    with in_file(file):
        lines: list[Record] = conforming(read_lines(file), "study")
    return lines


def study_of(folder: Path | None) -> Stored:
    """Return the study of a folder, or the package's own; an empty one where there is none."""
    found = stored() if folder is None else read(folder)
    return found or Stored({"version": 0, "config": {"size": {}}}, {})


def absent(name: str) -> str:
    """Say that a piece is not in the record."""
    return f"{name}: not in the stored study, which steinlab study resumes"
