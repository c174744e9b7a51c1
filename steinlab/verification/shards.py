"""Finished work units in a folder, so that an interrupted run resumes.

A shard's key is what its numbers depend on: the unit, the sources that it runs and the versions of
what they compute with.
"""

import re
import zlib
from pathlib import Path

from steinlab.storage import Store, sources_key
from steinlab.storage import key_of as key_of_content
from steinlab.verification import files
from steinlab.verification.outcome import Report, Unit
from steinlab.verification.registry import entries, id_of, provenance

JUDGES = ("steinlab.verification.judge", "steinlab.verification.falsify")
"""What runs a unit, beside its claim's own module."""


def package_of(claim_id: str) -> str:
    """Return the package that a claim comes from."""
    entry = entries().get(claim_id)
    return entry.module.partition(".")[0] if entry else "steinlab"


def sources_of(claim: str) -> str:
    """Return a hash of the sources that a claim's numbers come from, by its id or address."""
    written = provenance(claim)
    entry = entries().get(claim)
    root = files.split(claim)[0] or (entry.module if entry else "steinlab.claims")
    return sources_key(root, *JUDGES) + (written["file"]["sha256"] if written else "")


def key_of(unit: Unit) -> str:
    """Return what identifies a unit's numbers."""
    return key_of_content(*unit, sources_of(unit.claim))


class Shards:
    """The finished units in a folder; ``reused`` counts those that were read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._store = Store(folder)

    @property
    def reused(self) -> int:
        """How many units were read."""
        return self._store.reused

    def file(self, unit: Unit) -> Path:
        """Return where a unit's shard lies."""
        return self._store.file(_name(unit))

    def get(self, unit: Unit) -> Report | None:
        """Return a unit's report if it is stored and was computed by these sources."""
        report: Report | None = self._store.get(_name(unit), key_of(unit))
        return report

    def seconds(self, unit: Unit) -> float | None:
        """Return how long a unit took when last stored, by whichever sources."""
        stored = self._store.read(_name(unit))
        return stored[1].seconds if stored else None

    def put(self, unit: Unit, report: Report) -> None:
        """Store a report; crashes are not stored."""
        if report.crash is None:
            self._store.put(_name(unit), key_of(unit), report)


def _name(unit: Unit) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", unit.check.lower()).strip("-")
    tail = f"{zlib.crc32(unit.check.encode()):08x}.{unit.profile}.{unit.seed}"
    return f"{id_of(unit.claim)}/{slug}-{tail}"
