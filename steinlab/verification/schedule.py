"""Claims as units of work: which are left, in which order, and rows from what they report."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from typing import Any

from steinlab.errors import CRASHES
from steinlab.verification import registry
from steinlab.verification.falsify import attack, searchable
from steinlab.verification.judge import crashed, examine, judged, runnable
from steinlab.verification.outcome import FALSIFIER, CheckError, Crash, Report, Unit
from steinlab.verification.row import Row
from steinlab.verification.shards import Shards
from steinlab.workers import AUTO, SerialExecutor, completed, executor_for, one_thread

FEW, SHORT = 4, 6.0
"""Claims, and seconds of all their checks, up to which processes take longer to start than to help.
"""


def run_unit(unit: Unit) -> Report:
    """Run one unit wherever it is sent; a check that crashes becomes a report that says so."""
    start = time.perf_counter()
    outcome, crash = None, None
    try:
        claim = registry.load_claim(unit.claim)
        one_thread()  # after the imports, which load the libraries
        if unit.check == FALSIFIER:
            outcome = attack(claim, unit.seed, profile=unit.profile)
        else:
            every = (*claim.checks, *(dropped.check for dropped in claim.dropped))
            check = next(c for c in every if c.name == unit.check)
            home = registry.home_of(unit.claim)
            outcome = examine(claim, check, unit.profile, unit.seed, home)
    except CRASHES as error:
        crash = Crash.from_error(error, registry.home_of(unit.claim))
    return Report(outcome, crash, time.perf_counter() - start)


def run_units(units: Sequence[Unit]) -> list[Report]:
    """Run units one after the other: of one claim, they find what the others kept."""
    return [run_unit(unit) for unit in units]


@dataclass(frozen=True)
class Plan:
    """The units of the claims asked for; ``crashes`` are claims that could not be loaded.

    ``seconds`` says about how long a unit takes, ``beside`` by which claim's a claim's are run.
    """

    units: Mapping[str, Sequence[Unit]]
    crashes: Mapping[str, Crash]
    seconds: Mapping[Unit, float]
    beside: Mapping[str, str]

    @classmethod
    def of(cls, claims: Sequence[str], profile: str, seed: int) -> Plan:
        """Load the claims and name their checks."""
        units: dict[str, Sequence[Unit]] = {}
        crashes: dict[str, Crash] = {}
        seconds: dict[Unit, float] = {}
        beside: dict[str, str] = {}
        for claim_id in claims:
            units[claim_id] = []
            try:
                claim = registry.load_claim(claim_id)
                beside[claim_id] = claim.beside or claim_id
                known = {check.name: check.seconds for check in runnable(claim)}
                if known and searchable(claim):
                    known[FALSIFIER] = 1.0
            except CRASHES as error:
                crashes[claim_id] = Crash.from_error(error, registry.home_of(claim_id))
                continue
            own = {Unit(claim_id, name, profile, seed): time for name, time in known.items()}
            units[claim_id] = list(own)
            seconds |= own
        return cls(units, crashes, seconds, beside)


def _row(
    claim_id: str, reports: Mapping[Unit, Report], crash: Crash | None, effort: tuple[str, int]
) -> Row:
    """Judge a claim whose units are finished."""
    start = time.perf_counter()
    claim = None
    try:
        claim = registry.load_claim(claim_id)
        crash = crash or next((r.crash for r in reports.values() if r.crash), None)
        if crash is None:
            outcomes = {u.check: r.outcome for u, r in reports.items() if r.outcome}
            row = judged(claim, outcomes, *effort)
    except CheckError as error:
        crash = error.crash
    except CRASHES as error:
        crash = crash or Crash.from_error(error, registry.home_of(claim_id))
    if crash is not None:
        row = crashed(registry.id_of(claim_id), claim, crash)
    seconds = time.perf_counter() - start + sum(r.seconds for r in reports.values())
    if file := registry.provenance(claim_id):
        row["file"] = file["file"]
    row["seconds"] = round(seconds, 3)
    return row


def judge_by_id(claim_id: str, profile: str, seed: int) -> Row:
    """Judge one claim in this process; a check that crashes becomes a row that says so."""
    return next(iter(rows([claim_id], (profile, seed), 1, None, None)))[1]


def rows(
    claims: Sequence[str],
    effort: tuple[str, int],
    workers: int,
    scheduler: str | None,
    shards: Shards | None,
) -> Iterable[tuple[str, Row]]:
    """Run what is not stored; yield each claim's row when its last unit is finished."""
    waiting = list(claims)
    few = workers == AUTO and effort[0] == "quick" and len(claims) <= FEW
    plan = Plan.of(claims, *effort) if few else None
    if plan and sum(plan.seconds.values()) <= SHORT:
        workers = 1
    with executor_for(workers, scheduler) as executor:
        executor.submit(one_thread)  # workers start while this process loads the claims
        plan = plan or Plan.of(claims, *effort)
        reports = _stored(plan, shards)
        left = [u for units in plan.units.values() for u in units if u not in reports]
        jobs: list[tuple[Unit, ...]] = [(unit,) for unit in left]
        if not isinstance(executor, SerialExecutor):
            beside = plan.beside if len(plan.units) > FEW else None
            jobs = longest_first(left, plan.seconds, shards, beside)
        yield from _finished(plan, waiting, reports, effort)
        try:
            for job, answer in completed(executor, run_units, jobs):
                if isinstance(answer, Exception):
                    answer = [Report(None, Crash.from_error(answer), 0.0)] * len(job)  # noqa: PLW2901
                for unit, report in zip(job, answer, strict=True):
                    reports[unit] = report
                    if shards:
                        shards.put(unit, report)
                yield from _finished(plan, waiting, reports, effort)
        except BrokenExecutor as error:
            broken = Report(None, Crash.from_error(error), 0.0)
            reports = {**dict.fromkeys(left, broken), **reports}
            yield from _finished(plan, waiting, reports, effort)


def _stored(plan: Plan, shards: Shards | None) -> dict[Unit, Report]:
    if shards is None:
        return {}
    units = (unit for units in plan.units.values() for unit in units)
    return {unit: report for unit in units if (report := shards.get(unit))}


def _finished(
    plan: Plan, waiting: list[str], reports: Mapping[Unit, Report], effort: tuple[str, int]
) -> Iterable[tuple[str, Row]]:
    """Yield, once each, the rows of the claims whose units all have reports."""
    for claim_id in list(waiting):
        units = plan.units[claim_id]
        if all(unit in reports for unit in units):
            waiting.remove(claim_id)
            own = {unit: reports[unit] for unit in units}
            yield claim_id, _row(claim_id, own, plan.crashes.get(claim_id), effort)


def longest_first(
    units: Sequence[Unit],
    expected: Mapping[Unit, float],
    shards: Shards | None,
    beside: Mapping[str, str] | None = None,
) -> list[tuple[Unit, ...]]:
    """Order jobs by the seconds that their units last took, or are expected to take.

    Long ones that start last leave the other workers idle at the end. A job is one unit, or, where
    ``beside`` names it by claim, all of a name: they share what they compute.
    """

    def seconds(job: Sequence[Unit]) -> float:
        stored = (shards.seconds(unit) if shards else None for unit in job)
        return sum(expected[u] if t is None else t for u, t in zip(job, stored, strict=True))

    jobs: dict[Any, list[Unit]] = {}
    for unit in units:
        jobs.setdefault(beside[unit.claim] if beside else unit, []).append(unit)
    return sorted(map(tuple, jobs.values()), key=seconds, reverse=True)
