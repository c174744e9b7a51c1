"""The ledger: every claim judged, with its evidence, controls and worst case."""

from __future__ import annotations

import json
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from importlib.metadata import entry_points, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from steinlab.errors import InputError, one_of, quote
from steinlab.judge import judge
from steinlab.specs.reading import read_json
from steinlab.verdicts import Claim

VERSION = 1
"""Version of the ledger's and the stored cases' format."""

VERDICTS = ("proved", "certified", "holds", "conditional", "refuted", "not-run")

Row = dict[str, Any]
Progress = Callable[[str, Row], None]
"""Called with a claim's id and row as each claim is finished."""


def claim_ids() -> list[str]:
    """Return the ids of all registered claims, in alphabetical order."""
    return sorted(entry.name for entry in entry_points(group="steinlab.claims"))


def load_claim(claim_id: str) -> Claim:
    """Return a registered claim; raise ``InputError`` naming the nearest for an unknown id."""
    entries = {entry.name: entry for entry in entry_points(group="steinlab.claims")}
    one_of("claim", claim_id, sorted(entries))
    claim: Claim = entries[claim_id].load()
    return claim


def judge_by_id(claim_id: str, profile: str, seed: int) -> Row:
    """Judge one claim; a check that crashes becomes a row that says so."""
    start = time.perf_counter()
    try:
        row = judge(load_claim(claim_id), profile=profile, seed=seed)
    except Exception as error:
        last = traceback.format_exc()
        row = {
            "id": claim_id,
            "verdict": "not-run",
            "finding": f"a check crashed: {type(error).__name__}: {error}",
            "cases": 0,
            "evidence": [],
            "controls": [],
            "crash": last,
        }
    row["seconds"] = round(time.perf_counter() - start, 3)
    return row


def run(
    claims: Sequence[str],
    *,
    profile: str = "quick",
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Judge claims and return the ledger; the numbers do not depend on ``workers``.

    Parameters
    ----------
    claims : sequence of str
        Ids.
    profile : {"quick", "full"}
    seed : int
        Every check draws from a generator seeded by this, the claim's and the check's name.
    workers : int
        Processes; 1 stays in this one.
    progress : callable, optional
    """
    start = time.perf_counter()
    rows: dict[str, Row] = {}
    try:
        for claim_id, row in _rows(claims, profile, seed, workers):
            rows[claim_id] = row
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
        "interrupted": len(rows) < len(claims),
        "claims": [rows[claim_id] for claim_id in claims if claim_id in rows],
    }


def _rows(
    claims: Sequence[str], profile: str, seed: int, workers: int
) -> Iterable[tuple[str, Row]]:
    if workers == 1:
        _one_thread()
        for claim_id in claims:
            yield claim_id, judge_by_id(claim_id, profile, seed)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_thread)
    try:
        jobs: dict[Future[Row], str] = {
            pool.submit(judge_by_id, claim_id, profile, seed): claim_id for claim_id in claims
        }
        for job in as_completed(jobs):
            yield jobs[job], job.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _one_thread() -> None:
    """Keep BLAS to one thread: workers do not compete, and sums do not depend on their number."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def environment() -> dict[str, Any]:
    """Return what the numbers were computed with."""
    names = ("steinlab", "numpy", "scipy", "scikit-learn")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in names},
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
    }


def faults(ledger: Mapping[str, Any]) -> list[str]:
    """Return why the laboratory is not trustworthy: checks crashed, controls not rejected."""
    out = []
    for row in ledger["claims"]:
        if "crash" in row:
            out.append(f"{row['id']}: {row['finding']}")
        out += [
            f"{row['id']}: control not rejected: {control['name']}"
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
    return {"version": VERSION, "claim": row["id"], "verdict": row["verdict"], **worst}


def replay(case: Mapping[str, Any]) -> dict[str, Any]:
    """Run one stored case again; return measured, bound and tolerance as they come out now."""
    claim = load_claim(case["claim"])
    checks = {c.name: c for c in (*claim.checks, *(d.check for d in claim.dropped))}
    check = checks[one_of("check", case["check"], checks)]
    try:
        batch = check.restore(case["case"])
        described = [batch.describe(i) for i in range(len(batch))]
        index = described.index(json.loads(json.dumps(case["case"])))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"case must be one that {check.name} of {claim.id} stored: {error}"
        ) from error
    comparison = check.compare(check.measure(batch), claim.formula)
    return {
        "measured": float(comparison.measured[index]),
        "bound": float(comparison.predicted[index]),
        "tolerance": float(comparison.tolerance[index]),
        "violated": bool(comparison.violated[index]),
    }


REQUIRED = ("version", "claim", "check", "case", "measured", "bound", "tolerance")


def read_case(path: Path) -> dict[str, Any]:
    """Read a stored case; raise ``InputError`` for another version or missing fields."""
    case = read_json(path, "CASE", float)
    if not isinstance(case, dict):
        raise InputError(f"{path} must hold a stored case, an object, got {type(case).__name__}")
    missing = [key for key in REQUIRED if key not in case]
    if missing:
        raise InputError(f"{path} must hold a stored case with {missing[0]}, which is missing")
    if case["version"] != VERSION:
        raise InputError(f"version must be {VERSION} in {path}, got {quote(case['version'])}")
    for keys, kind, words in (
        (("claim", "check"), str, "text"),
        (("measured", "bound", "tolerance"), int | float, "a number"),
    ):
        for key in keys:
            if not isinstance(case[key], kind):
                raise InputError(f"{key} must be {words} in {path}, got {quote(case[key])}")
    return case
