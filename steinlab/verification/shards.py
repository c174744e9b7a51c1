"""Finished work units on disk, so that an interrupted run resumes.

A shard's key is what its numbers depend on: the unit, the sources of the packages that it runs
and the versions of what they compute with. A file of another key is not read but replaced; so is
one whose content differs from its checksum.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import tempfile
import zlib
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

from steinlab.storage import sources_key
from steinlab.verification.outcome import Report, Unit
from steinlab.verification.registry import id_of, provenance

CHECKSUM = hashlib.sha256().digest_size
"""Bytes of the checksum that a shard begins with: what differs from it is damaged, not read."""


def package_of(claim_id: str) -> str:
    """Return the package that a claim comes from."""
    entries = {entry.name: entry.module for entry in entry_points(group="steinlab.claims")}
    return entries.get(claim_id, "steinlab").split(".")[0]


def sources_of(claim: str) -> str:
    """Return a hash of the sources that a claim's numbers come from, by its id or address."""
    written = provenance(claim)
    return sources_key(package_of(claim)) + (written["file"]["sha256"] if written else "")


def key_of(unit: Unit) -> str:
    """Return what identifies a unit's numbers."""
    text = "\n".join((*map(str, unit), sources_of(unit.claim)))
    return hashlib.sha256(text.encode()).hexdigest()


class _Stored(NamedTuple):
    key: str
    report: Report


_NUMPY = {"_reconstruct", "scalar", "ndarray", "dtype", "_frombuffer"}


class _Reader(pickle.Unpickler):
    """Reads arrays and the types of some packages only: a file cannot call anything else."""

    packages: frozenset[str] = frozenset({"steinlab"})

    def find_class(self, module: str, name: str) -> Any:
        """Return a type by name, if it is one that a shard may hold."""
        root = module.split(".", maxsplit=1)[0]
        if root == "numpy" and name in _NUMPY:
            return super().find_class(module, name)
        if root in self.packages:
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a shard")


UNREADABLE = (
    OSError,
    pickle.UnpicklingError,
    EOFError,
    ImportError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    KeyError,
)


def _load(content: bytes, packages: frozenset[str]) -> Any:
    reader = _Reader(io.BytesIO(content))
    reader.packages = packages
    return reader.load()


class Shards:
    """The finished units in a folder; ``reused`` counts those that were read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reused = 0

    def file(self, unit: Unit) -> Path:
        """Return where a unit's shard lies."""
        slug = re.sub(r"[^a-z0-9]+", "-", unit.check.lower()).strip("-")
        tail = f"{zlib.crc32(unit.check.encode()):08x}.{unit.profile}.{unit.seed}"
        return self.folder / id_of(unit.claim) / f"{slug}-{tail}.shard"

    def get(self, unit: Unit) -> Report | None:
        """Return a unit's report if it is stored and was computed by these sources."""
        stored = self._read(unit)
        if stored is None or stored.key != key_of(unit):
            return None
        self.reused += 1
        report = stored.report
        if report.outcome is None or report.outcome.data is None:
            return report
        packages = frozenset({"analytic", "steinlab", package_of(unit.claim)})
        try:
            _load(report.outcome.data, packages)
        except UNREADABLE:  # types of other packages: measured again where a finding asks
            return report._replace(outcome=replace(report.outcome, data=None))
        return report

    def seconds(self, unit: Unit) -> float | None:
        """Return how long a unit took when last stored, by whichever sources."""
        stored = self._read(unit)
        return stored.report.seconds if stored else None

    def _read(self, unit: Unit) -> _Stored | None:
        try:
            content = self.file(unit).read_bytes()
            checksum, rest = content[:CHECKSUM], content[CHECKSUM:]
            if hashlib.sha256(rest).digest() != checksum:
                return None
            found = _load(rest, frozenset({"steinlab"}))
        except UNREADABLE:
            return None
        return found if isinstance(found, _Stored) else None

    def put(self, unit: Unit, report: Report) -> None:
        """Store a report, whole or not at all; crashes are not stored."""
        if report.crash is not None:
            return
        file = self.file(unit)
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=".shard.")
        try:
            with os.fdopen(handle, "wb") as out:
                content = pickle.dumps(_Stored(key_of(unit), report), protocol=5)
                out.write(hashlib.sha256(content).digest() + content)
            Path(name).replace(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
