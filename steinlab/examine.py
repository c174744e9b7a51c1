"""Run one check of a claim, and the twins that it may reject."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from steinlab.errors import CRASHES, InputError, one_of, quote
from steinlab.units import Crash, Outcome, TwinOutcome, pack
from steinlab.verdicts import PROFILES, Check, Claim, Comparison, Effort, Result, Twin, join


def effort_for(claim: str, check: str, profile: str, seed: int) -> Effort:
    """Return an effort whose generator depends on the names and the seed alone."""
    key = zlib.crc32(f"{claim}/{check}".encode())
    return Effort(profile, np.random.default_rng([seed, key]))


def run_check(claim: Claim, check: Check, profile: str, seed: int) -> Result:
    """Draw, measure and compare one check with the claim's own formula."""
    batches = check.draw(effort_for(claim.id, check.name, profile, seed))
    if not any(len(batch) for batch in batches):
        raise ValueError(f"check {check.name} must draw at least one case, got none")
    data = [check.measure(batch) for batch in batches]
    comparison, pooled = _compare(check, data, claim.formula)
    result = Result(check, batches, data, comparison, pooled)
    _refuse_nonsense(result)
    return result


def _refuse_nonsense(result: Result) -> None:
    """Raise ``ValueError`` for a comparison that is not one number a case, or holds nonsense.

    NaN and infinity violate nothing: they would pass where they should be looked into. A case that
    cannot be decided has an infinite tolerance, whatever its sides; an upper bound may be infinite.
    """
    name, cases = result.check.name, sum(len(batch) for batch in result.batches)
    for what, c in (("", result.comparison), ("pooled ", result.pooled)):
        if c is None:
            continue
        wanted = (np.size(c.measured) if what else cases,)
        for field in ("tolerance", "measured", "predicted"):
            values = np.asarray(getattr(c, field))
            if values.shape != wanted:
                raise ValueError(
                    f"{what}{field} of check {name} must have shape {wanted}, got {values.shape}"
                )
            wrong, requirement = _wrong(field, values, c)
            bad = np.flatnonzero(wrong)
            if len(bad):
                where = "" if what else f", first in case {quote(result.describe(int(bad[0])))}"
                got = "NaN" if np.isnan(values[bad[0]]) else values[bad[0]]
                raise ValueError(
                    f"{what}{field} of check {name} must be {requirement}, "
                    f"got {got} in {len(bad)} of {len(values)}{where}"
                )


def _wrong(field: str, values: np.ndarray, c: Comparison) -> tuple[np.ndarray, str]:
    """Return which numbers of a comparison cannot stand in it, and what they must be."""
    if field == "tolerance":
        return ~(values >= 0), "numbers >= 0, infinite where undecided"
    undecided = np.isinf(c.tolerance) & ~np.isnan(values)
    unbounded = (field == "predicted") & c.upper & (values == np.inf)
    return ~(np.isfinite(values) | undecided | unbounded), "finite numbers"


def _compare(
    check: Check, data: Sequence[Any], formula: Any
) -> tuple[Comparison, Comparison | None]:
    pooled = _joint(check, data, formula, True) if check.pool else None
    return _joint(check, data, formula, False), pooled


def _joint(check: Check, data: Sequence[Any], formula: Any, pooled: bool) -> Comparison:
    if pooled and check.pool:
        return check.pool(data, formula)
    return join([check.compare(part, formula) for part in data])


JOINT = "joint"
"""The key of a case that is a check's joint test: which of its entries."""


def joint_case(profile: str, seed: int, entry: int) -> dict[str, Any]:
    """Describe one entry of a check's joint test: no case alone violates it, all cases do."""
    return {JOINT: entry, "profile": profile, "seed": seed}


def _rejoin(claim: Claim, check: Check, case: Mapping[str, Any]) -> Comparison:
    """Run a whole check again and return one entry of its joint test."""
    for field in (JOINT, "seed"):
        if type(case[field]) is not int or case[field] < 0:
            raise InputError(f"{field} must be a whole number >= 0, got {quote(case[field])}")
    entry, seed = case[JOINT], case["seed"]
    pooled = run_check(claim, check, one_of("profile", case["profile"], PROFILES), seed).pooled
    if pooled is None or entry not in range(len(pooled.measured)):
        raise ValueError(f"{JOINT} must be an entry of a joint test of {check.name}, got {entry}")
    return pooled.take(entry)


def rerun(claim: Claim, check_name: str, case: Any) -> Comparison:
    """Restore a described case, measure it, and compare it alone; a joint test runs as a whole.

    Raises
    ------
    InputError
        If the claim has no such check or the check did not describe such a case.
    """
    checks = {c.name: c for c in (*claim.checks, *(d.check for d in claim.dropped))}
    check = checks[one_of("check", check_name, checks)]
    try:
        if isinstance(case, Mapping) and JOINT in case:
            return _rejoin(claim, check, case)
        batch: Any = check.restore(case)
        described = [batch.describe(i) for i in range(len(batch))]
        index = described.index(json.loads(json.dumps(case)))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"case must be one that {check.name} of {claim.id} stored: {error}"
        ) from error
    return check.compare(check.measure(batch), claim.formula).take(index)


def runnable(claim: Claim) -> list[Check]:
    """Return the checks that can run here, with those of dropped conditions; none if not run."""
    ready = [check for check in claim.checks if not check.missing()]
    return [*ready, *(d.check for d in claim.dropped if not d.check.missing())] if ready else []


def examine(claim: Claim, check: Check, profile: str, seed: int, home: str = "") -> Outcome:
    """Run one check and the twins that it may reject: a unit of work.

    ``home`` is the package or module in which a twin that crashes is placed.
    """
    result = run_check(claim, check, profile, seed)
    own = any(check is c for c in claim.checks)
    twins = [t for t in claim.twins if own and (not t.checks or check.name in t.checks)]
    with_data = [b for b in result.batches if b.dataset]
    return Outcome(
        result.comparison,
        result.pooled,
        {twin.name: _twin_on(twin, result, home) for twin in twins},
        result.describe(result.comparison.worst()),
        tuple(sorted({str(b.dataset) for b in with_data})),
        sum(len(b) for b in with_data),
        pack(result.data),
        smallest=_smallest(claim, result),
    )


def _smallest(claim: Claim, result: Result) -> tuple[Comparison, dict[str, Any]] | None:
    """Shrink the worst violation drawn and compare it alone; None where there is nothing to."""
    from steinlab.falsify import Found, shrink  # they rerun cases by this module
    from steinlab.falsify.attack import describe
    from steinlab.falsify.search import score_of

    check, c = result.check, result.comparison
    worst = c.worst()
    if check.locate is None or not c.violated[worst]:
        return None
    space, values = check.locate(result.describe(worst))
    found, _ = shrink(claim, Found(space, values, 0, True, float(score_of(c)[worst])))
    case = describe(claim, found)
    alone = rerun(claim, check.name, case)
    return (alone, case) if alone.violated[0] else None


def _twin_on(twin: Twin, result: Result, home: str) -> TwinOutcome | Crash:
    """Compare a check's data with a falsified formula; the joint test only if it is needed."""
    check, worst, differs = result.check, 0.0, False
    try:
        for own in (result.comparison, result.pooled):
            if own is None:
                continue
            comparison = _joint(check, result.data, twin.formula, own is result.pooled)
            worst = max(worst, excess(comparison))
            differs = differs or not _same(comparison, own)
            if differs and comparison.violated.any():
                return TwinOutcome(True, excess(comparison), True)
    except CRASHES as error:
        return Crash.from_error(error, home)
    return TwinOutcome(False, worst, differs)


def _same(one: Comparison, other: Comparison) -> bool:
    """Whether two comparisons are equal to the last digit."""
    fields = ("measured", "predicted", "tolerance")
    return all(np.array_equal(getattr(one, f), getattr(other, f), equal_nan=True) for f in fields)


def excess(comparison: Comparison) -> float:
    """Largest relative excess over decided cases."""
    c = comparison
    scale = np.maximum(np.abs(c.measured), np.abs(c.predicted))
    usable = c.decided & (scale > 0)
    return float((c.excess[usable] / scale[usable]).max()) if usable.any() else 0.0
