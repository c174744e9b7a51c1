"""From a claim to a row of the ledger: run its checks, then its controls."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from steinlab.verdicts import (
    EXACT_GRADE,
    SAMPLED_GRADE,
    Check,
    Claim,
    Comparison,
    Dropped,
    Effort,
    Result,
    Twin,
    join,
)


def effort_for(claim: str, check: str, profile: str, seed: int) -> Effort:
    """Return an effort whose generator depends on the names and the seed alone."""
    key = zlib.crc32(f"{claim}/{check}".encode())
    return Effort(profile, np.random.default_rng([seed, key]))


def run_check(claim: Claim, check: Check, profile: str, seed: int) -> Result:
    """Draw, measure and compare one check with the claim's own formula."""
    batches = check.draw(effort_for(claim.id, check.name, profile, seed))
    data = [check.measure(batch) for batch in batches]
    comparison, pooled = _compare(check, data, claim.formula)
    return Result(check, batches, data, comparison, pooled)


def _compare(
    check: Check, data: Sequence[Any], formula: Any
) -> tuple[Comparison, Comparison | None]:
    comparison = join([check.compare(part, formula) for part in data])
    return comparison, check.pool(data, formula) if check.pool else None


def judge(claim: Claim, *, profile: str = "quick", seed: int = 0) -> dict[str, Any]:
    """Run a claim's checks and controls and return its row of the ledger.

    ``refuted`` if any decided case violates the claim; else ``conditional`` if a condition that
    the statement leaves out was dropped and the claim fell; else ``proved`` or ``certified`` where
    such a check covers the whole statement; else ``holds``.
    """
    ready = [check for check in claim.checks if not check.missing()]
    if not ready:
        return not_run(claim, "; ".join(check.missing() for check in claim.checks))
    results = {check.name: run_check(claim, check, profile, seed) for check in ready}
    droppable = [d for d in claim.dropped if not d.check.missing()]
    fallen = {d.check.name: run_check(claim, d.check, profile, seed) for d in droppable}
    controls = [
        *(_twin(twin, results) for twin in claim.twins if _applies(twin, results)),
        *(_graded(result) for result in results.values() if result.check.method != "symbolic"),
        *(_dropped(dropped, fallen[dropped.check.name]) for dropped in droppable),
    ]
    refuted = [r for r in results.values() if _violations(r)]
    verdict = "refuted" if refuted else _supported(claim, results)
    leading = refuted[0] if refuted else _leading(results)
    everything = {**results, **fallen}
    tight = [t for r in results.values() if (t := r.comparison.tightness()) is not None]
    return {
        **_heading(claim),
        "verdict": verdict,
        "finding": claim.finding(everything),
        "cases": sum(len(r.comparison.measured) for r in results.values()),
        "undecided": sum(int((~r.comparison.decided).sum()) for r in results.values()),
        "worst": _worst(leading),
        "tightness": max(tight) if tight else None,
        "detects": _finite(min(_detects(r) for r in results.values())),
        "evidence": [_evidence(r) for r in results.values()],
        "controls": controls,
        "table": asdict(claim.table(everything)) if claim.table else None,
    }


def not_run(claim: Claim, reason: str) -> dict[str, Any]:
    """Return the row of a claim that cannot run here."""
    return {
        **_heading(claim),
        "verdict": "not-run",
        "finding": reason,
        "cases": 0,
        "undecided": 0,
        "worst": None,
        "tightness": None,
        "detects": None,
        "evidence": [],
        "controls": [],
        "table": None,
    }


def _heading(claim: Claim) -> dict[str, Any]:
    return {
        "id": claim.id,
        "title": claim.title,
        "statement": claim.statement,
        "source": claim.source,
        "kind": claim.kind,
        "conditions": list(claim.conditions),
    }


def _supported(claim: Claim, results: Mapping[str, Result]) -> str:
    if any(d.unstated for d in claim.dropped):
        return "conditional"
    methods = {r.check.method for r in results.values() if r.check.covers}
    if "symbolic" in methods:
        return "proved"
    return "certified" if "certified" in methods else "holds"


def _applies(twin: Twin, results: Mapping[str, Result]) -> bool:
    """Whether a check that the twin is for has run."""
    return not twin.checks or any(name in results for name in twin.checks)


def _violations(result: Result) -> int:
    count = int(result.comparison.violated.sum())
    return count + (int(result.pooled.violated.sum()) if result.pooled else 0)


def _leading(results: Mapping[str, Result]) -> Result:
    """The check whose worst case comes nearest to its limit."""

    def nearness(result: Result) -> float:
        c, i = result.comparison, result.comparison.worst()
        return float(c.excess[i] / max(c.tolerance[i], 1e-300))

    return max(results.values(), key=nearness)


def _worst(result: Result) -> dict[str, Any]:
    c, i = result.comparison, result.comparison.worst()
    return {
        "measured": float(c.measured[i]),
        "bound": float(c.predicted[i]),
        "tolerance": float(c.tolerance[i]),
        "check": result.check.name,
        "case": result.describe(i),
    }


def _detects(result: Result) -> float:
    """Smallest relative error exposed; a sampled check answers with its joint test."""
    return (result.pooled or result.comparison).detects()


def _evidence(result: Result) -> dict[str, Any]:
    c = result.comparison
    i = c.worst()
    row: dict[str, Any] = {
        "method": result.check.method,
        "check": result.check.name,
        "cases": len(c.measured),
        "undecided": int((~c.decided).sum()),
        "violations": _violations(result),
        "worst_over_tolerance": float(c.excess[i] / max(c.tolerance[i], 1e-300)),
        "detects": _finite(_detects(result)),
        "tightness": c.tightness(),
        "datasets": sorted({b.dataset for b in result.batches if b.dataset}),
        "dataset_cases": sum(len(b) for b in result.batches if b.dataset),
    }
    if result.pooled is not None:
        row["pooled"] = {
            "measured": result.pooled.measured.tolist(),
            "predicted": result.pooled.predicted.tolist(),
            "tolerance": result.pooled.tolerance.tolist(),
        }
    if result.check.notes is not None:
        row["notes"] = dict(result.check.notes())
    return row


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _twin(twin: Twin, results: Mapping[str, Result]) -> dict[str, Any]:
    """A control: the claim's checks on a falsified formula, as far as needed to reject it."""
    worst = 0.0
    for name, result in results.items():
        if twin.checks and name not in twin.checks:
            continue
        for comparison in _compare(result.check, result.data, twin.formula):
            if comparison is not None and comparison.violated.any():
                return {"name": twin.name, "rejected": True, "measured": _excess(comparison)}
            worst = max(worst, _excess(comparison) if comparison is not None else 0.0)
    return {"name": twin.name, "rejected": False, "measured": worst}


def _excess(comparison: Comparison) -> float:
    """Largest relative excess over decided cases."""
    c = comparison
    scale = np.maximum(np.abs(c.measured), np.abs(c.predicted))
    usable = c.decided & (scale > 0)
    return float((c.excess[usable] / scale[usable]).max()) if usable.any() else 0.0


def _graded(result: Result) -> dict[str, Any]:
    """The graded control: an identity off by 1e-6 (1 % if sampled), a bound lowered by 1 %."""
    comparison = result.pooled or result.comparison
    exact = not (comparison.sampled or comparison.upper)
    grade = comparison.grade or (EXACT_GRADE if exact else SAMPLED_GRADE)
    return {
        "name": f"graded {grade:.3g}, {result.check.name}",
        "rejected": bool(comparison.graded(grade).violated.any()),
        "measured": grade,
    }


def _dropped(dropped: Dropped, result: Result) -> dict[str, Any]:
    comparison = result.comparison
    i = comparison.worst()
    return {
        "name": dropped.name,
        "rejected": _violations(result) > 0,
        "measured": _excess(comparison),
        "drops": True,
        "unstated": dropped.unstated,
        "case": {
            "measured": float(comparison.measured[i]),
            "predicted": float(comparison.predicted[i]),
            "case": result.describe(i),
        },
    }
