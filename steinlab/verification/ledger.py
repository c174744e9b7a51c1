"""The ledger: every claim judged, with its evidence, controls and worst case."""

import os
import platform
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from steinlab.errors import CRASHES, InputError
from steinlab.storage.schemas import read_stored
from steinlab.storage.sources import commit
from steinlab.verification import registry
from steinlab.verification.claim import VERDICTS
from steinlab.verification.judge import rerun
from steinlab.verification.registry import claim_ids, load_claim
from steinlab.verification.row import Row
from steinlab.verification.schedule import judge_by_id, rows
from steinlab.verification.shards import Shards

__all__ = [
    "VERDICTS",
    "claim_ids",
    "differences",
    "environment",
    "faults",
    "judge_by_id",
    "load_claim",
    "read_case",
    "replay",
    "run",
    "stored_case",
]

VERSION = 1
"""Version of the ledger's and the stored cases' format."""

FALLEN = ("refuted", "not-reproduced")
SAME = ", which falls only because the claim's own formula, equal to it in every case, does"

Progress = Callable[[str, Row], None]
"""Called with a claim's id and row as each claim is finished."""


def run(
    claims: Sequence[str],
    *,
    profile: str = "quick",
    seed: int = 0,
    workers: int = 1,
    scheduler: str | None = None,
    shards: Shards | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Judge claims and return the ledger; the numbers do not depend on where it runs.

    Parameters
    ----------
    claims : sequence of str
        Ids, files (all of their claims) and addresses in them: ``my.py::jensen``.
    profile : {"quick", "full"}
    seed : int
        Every check draws from a generator seeded by this, the claim's and the check's name.
    workers : int
        Processes; 1 stays in this one, and so do short claims with 0, one a core.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers are used instead.
    shards : Shards, optional
        Where finished checks are kept, and found again.
    progress : callable, optional
    """
    start = time.perf_counter()
    claims = registry.expanded(claims)
    done: dict[str, Row] = {}
    try:
        for claim_id, row in rows(claims, (profile, seed), workers, scheduler, shards):
            done[claim_id] = row
            if progress:
                progress(claim_id, row)
    except KeyboardInterrupt:
        pass  # what is finished is kept; the ledger says which claims are missing
    return {
        "version": VERSION,
        "profile": profile,
        "seed": seed,
        "wall_seconds": round(time.perf_counter() - start, 2),
        "environment": environment(),
        "interrupted": len(done) < len(claims),
        "claims": [done[claim_id] for claim_id in claims if claim_id in done],
    }


def environment() -> dict[str, Any]:
    """Return what the numbers were computed with."""
    names = ("steinlab", "numpy", "scipy", "scikit-learn")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        **({"commit": commit()} if commit() else {}),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
    }


def faults(ledger: Mapping[str, Any]) -> list[str]:
    """Return why the laboratory is not trustworthy: checks crashed, controls missing or passed."""
    out = []
    for row in ledger["claims"]:
        if "crash" in row:
            out.append(f"{row['id']}: {row['finding']}")
        elif row["verdict"] != "not-run" and all(c.get("graded") for c in row["controls"]):
            out.append(f"{row['id']}: no control was tried: none applies to the checks that ran")
        out += [
            f"{row['id']}: control not rejected: {control['name']}"
            + (SAME if control.get("same") and row["verdict"] in FALLEN else "")
            for control in row["controls"]
            if not control["rejected"]
        ]
    return out


def differences(ledger: Mapping[str, Any], expected: Mapping[str, str]) -> list[str]:
    """Return where verdicts differ from the expected ones, for the claims that were run."""
    rows = {row["id"]: row["verdict"] for row in ledger["claims"]}
    return [
        f"{claim_id}: verdict {rows[claim_id]}, expected {verdict}"
        for claim_id, verdict in expected.items()
        if claim_id in rows and rows[claim_id] != verdict
    ]


def stored_case(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a row's worst case as a replayable file's content."""
    worst = row.get("worst")
    if not worst:
        return None
    file = {"file": row["file"]} if "file" in row else {}
    return {"version": VERSION, "claim": row["id"], **file, "verdict": row["verdict"], **worst}


def replay(case: Mapping[str, Any]) -> dict[str, Any]:
    """Run one stored case again; return measured, bound and tolerance as they come out now.

    Raises
    ------
    InputError
        If the claim has no such check, or the case cannot be restored or measured.
    """
    claim, check = registry.load_claim(registry.name_in(case)), case["check"]
    try:
        with warnings.catch_warnings(action="ignore"):  # of a stranger's numbers
            c = rerun(claim, check, case["case"])
        return {
            "kind": claim.kind,
            "measured": float(c.measured[0]),
            "bound": float(c.predicted[0]),
            "tolerance": float(c.tolerance[0]),
            "violated": bool(c.violated[0]),
        }
    except InputError:
        raise
    except CRASHES as error:
        raise InputError(
            f"case must be one that {check} of {claim.id} can measure, "
            f"got {type(error).__name__}: {error}"
        ) from error


def read_case(path: Path) -> dict[str, Any]:
    """Read a stored case; raise ``InputError`` for another version or missing fields."""
    case: dict[str, Any] = read_stored(path, "case", "CASE")
    return case
