"""The registered claims, found by name through the entry points of installed packages."""

from __future__ import annotations

from importlib.metadata import entry_points

from steinlab.errors import one_of
from steinlab.verdicts import Claim


def claim_ids() -> list[str]:
    """Return the ids of all registered claims, in alphabetical order."""
    return sorted(entry.name for entry in entry_points(group="steinlab.claims"))


def home_of(claim_id: str) -> str:
    """Return the package that a claim's module lies in, empty for a claim of none."""
    entries = {entry.name: entry.module for entry in entry_points(group="steinlab.claims")}
    module = entries.get(claim_id, "")
    return module.rpartition(".")[0] or module


def load_claim(claim_id: str) -> Claim:
    """Return a registered claim; raise ``InputError`` naming the nearest for an unknown id."""
    entries = {entry.name: entry for entry in entry_points(group="steinlab.claims")}
    one_of("claim", claim_id, sorted(entries))
    claim: Claim = entries[claim_id].load()
    return claim
