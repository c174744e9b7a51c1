"""From a claim to a row of the ledger: run its checks, then its controls.

Run one check of a claim, and the negative controls that it may reject.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np

from steinlab.errors import CRASHES, InputError, one_of, quote
from steinlab.estimates import finite_or_none
from steinlab.verification.claim import (
    EXACT_GRADE,
    PROFILES,
    SAMPLED_GRADE,
    Check,
    Claim,
    Dropped,
    Effort,
    NegativeControl,
    Result,
    Results,
)
from steinlab.verification.comparison import Comparison, join
from steinlab.verification.outcome import (
    FALSIFIER,
    CheckError,
    ControlOutcome,
    Crash,
    Later,
    Outcome,
    handed_back,
)
from steinlab.verification.quantities import Number
from steinlab.verification.registry import home_of, part_of
from steinlab.verification.row import Heading, Judged, Row


def judge(claim: Claim, *, profile: str = "quick", seed: int = 0) -> Row:
    """Run a claim's checks and controls and return its row of the ledger; see :func:`judged`."""
    home = home_of(claim.id)
    outcomes = {c.name: examine(claim, c, profile, seed, home) for c in runnable(claim)}
    return judged(claim, outcomes, profile, seed)


class Finished(NamedTuple):
    """A check as the findings see it, and its outcome."""

    result: Result
    outcome: Outcome


def _finished(claim: Claim, check: Check, outcome: Outcome, profile: str, seed: int) -> Finished:
    """Rebuild a check's result from its outcome.

    Cases are drawn again, and data that were not handed back measured again, once a finding looks.
    """
    batches = Later(lambda: check.draw(effort_for(claim.id, check.name, profile, seed)))

    def measured() -> Sequence[Any]:
        if outcome.data is not None:
            return outcome.data
        return [check.measure(batch) for batch in batches]

    result = Result(check, batches, Later(measured), outcome.comparison, outcome.pooled)
    return Finished(result, outcome)


def judged(claim: Claim, outcomes: Mapping[str, Outcome], profile: str, seed: int) -> Row:
    """Return a claim's row of the ledger from the outcomes of its checks, by name.

    ``refuted`` if any decided case violates the claim; else ``conditional`` if a condition that
    the statement leaves out was dropped and the claim fell; else ``proved`` or ``certified`` where
    such a check covers the whole statement; else ``holds``.
    """
    ready = [check for check in claim.checks if check.name in outcomes]
    if not ready:
        reasons = dict.fromkeys(check.missing() for check in claim.checks)
        return not_run(claim, "; ".join(reasons), profile)
    droppable = [d for d in claim.dropped if d.check.name in outcomes]
    results, fallen = (
        {c.name: _finished(claim, c, outcomes[c.name], profile, seed) for c in checks}
        for checks in (ready, [d.check for d in droppable])
    )
    controls = [
        *(_rejected(c, results) for c in claim.controls if _applies(c, claim, results)),
        *(_graded(done.result) for done in _numeric(results)),
        *(_dropped(dropped, fallen[dropped.check.name]) for dropped in droppable),
    ]
    refuted = [done for done in results.values() if _violations(done.result)]
    leading = _worst(refuted[0] if refuted else _leading(results), profile, seed)
    attack = outcomes.get(FALSIFIER)
    hit = attack is not None and bool(attack.comparison.violated[0])
    if attack and attack.attack and hit and not refuted:
        leading = _written(attack, 0, attack.attack.check, shrunk=True)
    verdict = claim.failure if refuted or hit else _supported(claim, results)
    attacks = [_attack_row(attack)] if attack else []
    everything = {name: done.result for name, done in {**results, **fallen}.items()}
    comparisons = [done.outcome.comparison for done in results.values()]
    tight = [t for c in comparisons if (t := c.tightness()) is not None]
    numbers = list(claim.numbers(everything)) if claim.numbers else []
    found: Judged = {
        "verdict": verdict,
        "headline": headline(claim, numbers) if verdict == claim.expected else "",
        "finding": _details(claim, verdict, everything),
        "numbers": [asdict(number) for number in numbers],
        "cases": sum(len(c.measured) for c in comparisons) + sum(a["cases"] for a in attacks),
        "undecided": sum(int((~c.decided).sum()) for c in comparisons),
        "worst": leading,
        "tightness": max(tight) if tight else None,
        "detects": finite_or_none(min(_detects(done.result) for done in results.values())),
        "evidence": [*(_evidence(done) for done in results.values()), *attacks],
        "controls": controls,
        "not_looked_at": _not_looked_at(claim, profile),
        "table": asdict(claim.table(everything)) if claim.table else None,
    }
    return {**_heading(claim, claim.id), **found}


def headline(claim: Claim, numbers: Sequence[Number]) -> str:
    """Return a claim's headline with the numbers in it; raise ``ValueError`` for one not there."""
    values = {number.key: number for number in numbers}
    try:
        return claim.headline.format_map(values)
    except (KeyError, ValueError) as error:
        known = ", ".join(values) or "none"
        raise ValueError(
            f"headline of claim {claim.id} must be a template over the keys of its numbers, "
            f"{known}, got {quote(claim.headline)}"
        ) from error


def _details(claim: Claim, verdict: str, results: Results) -> str:
    """Return a claim's finding; one that is a text is true of the expected verdict alone."""
    if isinstance(claim.finding, str):
        return claim.finding if verdict == claim.expected else f"expected {claim.expected}"
    said: object = claim.finding(results)
    if not isinstance(said, str):
        raise ValueError(f"finding of claim {claim.id} must return text, got {quote(said)}")
    return said


def not_run(claim: Claim, reason: str, profile: str) -> Row:
    """Return the row of a claim that cannot run here."""
    left = _not_looked_at(claim, profile)
    return {**_heading(claim, claim.id), **_nothing(reason), "not_looked_at": left}


def crashed(claim_id: str, claim: Claim | None, crash: Crash) -> Row:
    """Return the row of a claim one of whose checks crashed, or that could not be loaded."""
    what = "a check crashed" if claim else "the claim cannot be loaded"
    found = _nothing(f"{what}: {crash.message}")
    return {**_heading(claim, claim_id), **found, "crash": crash.trace}


def _nothing(finding: str) -> Judged:
    """What a row holds beside its heading where nothing was judged."""
    return {
        "verdict": "not-run",
        "headline": "",
        "finding": finding,
        "numbers": [],
        "cases": 0,
        "undecided": 0,
        "worst": None,
        "tightness": None,
        "detects": None,
        "evidence": [],
        "controls": [],
        "not_looked_at": [],
        "table": None,
    }


def _not_looked_at(claim: Claim, profile: str) -> list[dict[str, str]]:
    """What could not run here, and why: whole checks, and the cases that a check left out."""
    out = []
    for check in (*claim.checks, *(dropped.check for dropped in claim.dropped)):
        parts = {"": check.missing()} if check.missing() else {}
        if not parts and check.partly:
            parts = dict(check.partly(profile))
        out += [{"check": check.name, "what": w, "reason": why} for w, why in parts.items()]
    return out


def _heading(claim: Claim | None, claim_id: str) -> Heading:
    """What a row repeats of its claim; of one that could not be loaded, the id."""
    return {
        "id": claim_id,
        "title": claim.title if claim else claim_id,
        "statement": claim.statement if claim else "",
        "source": claim.source if claim else "",
        "kind": claim.kind if claim else "",
        "owner": claim.owner if claim else "",
        "tried": claim.tried if claim else "",
        "conditions": list(claim.conditions if claim else ()),
        "latex": list(claim.latex if claim else ()),
        "expected": claim.expected if claim else "",
        "part": part_of(claim_id),
    }


def _supported(claim: Claim, results: Mapping[str, Finished]) -> str:
    if any(d.unstated for d in claim.dropped):
        return "conditional"
    checks = [done.result.check for done in results.values()]
    methods = {check.method for check in checks if check.covers}
    if "symbolic" in methods:
        return "proved"
    return "certified" if "certified" in methods else "holds"


def _applies(control: NegativeControl, claim: Claim, results: Mapping[str, Finished]) -> bool:
    """Whether a check that the control is for has run, or the claim has no such check at all."""
    known = {check.name for check in claim.checks}
    wanted = control.checks
    return not known.intersection(wanted) or any(name in results for name in wanted)


def _violations(result: Result) -> int:
    count = int(result.comparison.violated.sum())
    return count + (int(result.pooled.violated.sum()) if result.pooled else 0)


def _leading(results: Mapping[str, Finished]) -> Finished:
    """The check whose worst case comes nearest to its limit; a proof's steps have none."""
    numeric = _numeric(results) or results.values()
    return max(numeric, key=lambda done: _nearness(done.outcome.comparison))


def _numeric(results: Mapping[str, Finished]) -> list[Finished]:
    return [done for done in results.values() if done.result.check.method != "symbolic"]


def _nearness(c: Comparison) -> float:
    """Excess over tolerance of the worst case."""
    i = c.worst()
    return float(c.excess[i] / max(c.tolerance[i], 1e-300))


def _worst(done: Finished, profile: str, seed: int) -> dict[str, Any]:
    """The worst case, shrunk where it can be, or the joint test where it alone is violated."""
    outcome, name = done.outcome, done.result.check.name
    if outcome.smallest is not None:
        alone, case = outcome.smallest
        return _written(replace(outcome, comparison=alone, worst=case), 0, name, shrunk=True)
    joint = outcome.pooled
    if joint is None or outcome.comparison.violated.any() or not joint.violated.any():
        return _written(outcome, outcome.comparison.worst(), name)
    entry = joint.worst()
    case = {JOINT: entry, "profile": profile, "seed": seed}  # no case alone, all cases
    whole = replace(outcome, comparison=joint, worst=case)
    return _written(whole, entry, name)


def _written(outcome: Outcome, index: int, check: str, *, shrunk: bool = False) -> dict[str, Any]:
    """Return the worst case, or the smallest one that it shrank to, as the ledger holds it."""
    c = outcome.comparison
    return {
        "measured": float(c.measured[index]),
        "bound": float(c.predicted[index]),
        "tolerance": float(c.tolerance[index]),
        "check": check,
        "case": outcome.worst,
        "shrunk": shrunk,
    }


def _attack_row(outcome: Outcome) -> dict[str, Any]:
    """The falsifier's evidence: cases spent, its best score, and whether it succeeded."""
    c, attack = outcome.comparison, outcome.attack
    assert attack is not None
    return {
        "method": "adversarial",
        "check": FALSIFIER,
        "searched": attack.check,
        "cases": attack.cases,
        "undecided": 0,
        "violations": int(c.violated.sum()),
        "worst_over_tolerance": _nearness(c),
        "detects": None,
        "tightness": c.tightness(),
        "datasets": [],
        "dataset_cases": 0,
        "attacks": attack.cases,
        "best": attack.score,
    }


def _detects(result: Result) -> float:
    """Smallest relative error exposed; a sampled check answers with its joint test."""
    return (result.pooled or result.comparison).detects()


def _evidence(done: Finished) -> dict[str, Any]:
    result, outcome = done
    c = result.comparison
    row: dict[str, Any] = {
        "method": result.check.method,
        "check": result.check.name,
        "cases": len(c.measured),
        "undecided": int((~c.decided).sum()),
        "violations": _violations(result),
        "worst_over_tolerance": _nearness(c),
        "detects": finite_or_none(_detects(result)),
        "tightness": c.tightness(),
        "datasets": list(outcome.datasets),
        "dataset_cases": outcome.dataset_cases,
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


def _rejected(control: NegativeControl, results: Mapping[str, Finished]) -> dict[str, Any]:
    """Run the claim's checks on a falsified formula, as far as needed to reject it.

    On a refuted claim's cases the claim's own formula fails too: one that agrees with it on all
    of them is not rejected, and ``same`` says why.
    """
    worst, seen = 0.0, []
    for done in results.values():
        found = done.outcome.controls.get(control.name)
        if isinstance(found, Crash):
            raise CheckError(found)
        if found is None:
            continue
        if found.rejected:
            return {"name": control.name, "rejected": True, "measured": found.measured}
        worst = max(worst, found.measured)
        seen.append(found.differs)
    same = bool(seen) and not any(seen)
    return {"name": control.name, "rejected": False, "measured": worst, "same": same}


def _graded(result: Result) -> dict[str, Any]:
    """The graded control: an identity off by 1e-6 (1 % if sampled), a bound lowered by 1 %."""
    comparison = result.pooled or result.comparison
    exact = not (comparison.sampled or comparison.upper)
    grade = comparison.grade or (EXACT_GRADE if exact else SAMPLED_GRADE)
    return {
        "name": f"graded {grade:.3g}, {result.check.name}",
        "rejected": bool(comparison.graded(grade).violated.any()),
        "measured": grade,
        "graded": True,
    }


def _dropped(dropped: Dropped, done: Finished) -> dict[str, Any]:
    comparison = done.outcome.comparison
    i = comparison.worst()
    return {
        "name": dropped.name,
        "rejected": _violations(done.result) > 0,
        "measured": excess(comparison),
        "drops": True,
        "unstated": dropped.unstated,
        "case": {
            "measured": float(comparison.measured[i]),
            "predicted": float(comparison.predicted[i]),
            "case": done.outcome.worst,
        },
    }


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
    pooled = _joint(check, data, claim.formula, True) if check.pool else None
    comparison = _joint(check, data, claim.formula, False)
    result = Result(check, batches, data, comparison, pooled)
    _refuse_nonsense(result)
    return result


def _refuse_nonsense(result: Result) -> None:
    """Raise ``ValueError`` for a comparison that is not one number per case, or holds nonsense.

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


def _joint(check: Check, data: Sequence[Any], formula: Any, pooled: bool) -> Comparison:
    if pooled and check.pool:
        return check.pool(data, formula)
    return join([check.compare(part, formula) for part in data])


JOINT = "joint"
"""The key of a case that is a check's joint test: which of its entries."""


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
        described = [json.loads(json.dumps(batch.describe(i))) for i in range(len(batch))]
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
    """Run one check and the negative controls that it may reject: a unit of work.

    ``home`` is the package or module in which a control that crashes is placed.
    """
    result = run_check(claim, check, profile, seed)
    own = any(check is c for c in claim.checks)
    controls = [c for c in claim.controls if own and (not c.checks or check.name in c.checks)]
    with_data = [b for b in result.batches if b.dataset]
    return Outcome(
        result.comparison,
        result.pooled,
        {c.name: _control_on(c, result, home) for c in controls},
        result.describe(result.comparison.worst()),
        tuple(sorted({str(b.dataset) for b in with_data})),
        sum(len(b) for b in with_data),
        handed_back(list(result.data)),
        smallest=_smallest(claim, result),
    )


def _smallest(claim: Claim, result: Result) -> tuple[Comparison, dict[str, Any]] | None:
    """Shrink the worst violation drawn and compare it alone; None where there is nothing to."""
    from steinlab.verification.falsify import Found, shrink  # they rerun cases by this module
    from steinlab.verification.falsify.attack import describe
    from steinlab.verification.falsify.search import score_of

    check, c = result.check, result.comparison
    worst = c.worst()
    if check.locate is None or not c.violated[worst]:
        return None
    space, values = check.locate(result.describe(worst))
    found, _ = shrink(claim, Found(space, values, 0, True, float(score_of(c)[worst])))
    case = describe(claim, found)
    alone = rerun(claim, check.name, case)
    return (alone, case) if alone.violated[0] else None


def _control_on(control: NegativeControl, result: Result, home: str) -> ControlOutcome | Crash:
    """Compare a check's data with a falsified formula; the joint test only if it is needed."""
    check, worst, differs = result.check, 0.0, False
    try:
        for own in (result.comparison, result.pooled):
            if own is None:
                continue
            comparison = _joint(check, result.data, control.formula, own is result.pooled)
            worst = max(worst, excess(comparison))
            differs = differs or not _same(comparison, own)
            if differs and comparison.violated.any():
                return ControlOutcome(True, excess(comparison), True)
    except CRASHES as error:
        return Crash.from_error(error, home)
    return ControlOutcome(False, worst, differs)


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
