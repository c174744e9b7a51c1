"""The same ledger whatever runs it, and runs that resume."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from steinlab.verification import registry, schedule
from steinlab.verification.ledger import run
from steinlab.verification.outcome import (
    LARGEST_DATA,
    Crash,
    Later,
    Report,
    Unit,
    handed_back,
)
from steinlab.verification.schedule import longest_first, run_unit, run_units
from steinlab.verification.shards import Shards
from steinlab.workers import AUTO, SerialExecutor, completed

IDS = ["cost-table", "mean-value-direction"]
"""Cheap claims, one of many checks and one of a single one."""


def numbers(ledger: dict[str, Any]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in ledger["claims"]]


@pytest.fixture(scope="module")
def serial() -> list[dict[str, Any]]:
    return numbers(run(IDS))


def test_two_workers_give_the_serial_ledger(serial) -> None:
    assert numbers(run(IDS, workers=2)) == serial


def test_a_few_short_claims_start_no_processes_of_their_own(serial, monkeypatch) -> None:
    def started(*_: Any) -> None:
        raise AssertionError("started")

    monkeypatch.setattr("steinlab.workers.Workers", started)
    monkeypatch.setattr("steinlab.workers.number_of", lambda workers: workers or 2)
    assert numbers(run(IDS[:1], workers=AUTO)) == serial[:1]
    for claims, workers in ((["solver-order"], AUTO), (IDS[:1], 2)):
        with pytest.raises(AssertionError, match="started"):
            run(claims, workers=workers)


class _Dies(schedule.SerialExecutor):
    """Interrupted at the fourth unit."""

    calls = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        type(self).calls += fn is run_units
        if self.calls > 3:
            raise KeyboardInterrupt
        return super().submit(fn, *args, **kwargs)


def test_an_interrupted_run_resumes(serial, tmp_path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("steinlab.workers.SerialExecutor", _Dies)
        stopped = run(IDS, shards=Shards(tmp_path))
    assert stopped["interrupted"]
    shards = Shards(tmp_path)
    assert numbers(run(IDS, shards=shards)) == serial
    assert shards.reused == 3


def test_other_sources_seeds_and_profiles_are_not_reused(tmp_path, monkeypatch) -> None:
    shards = Shards(tmp_path)
    unit = Unit(IDS[0], "operations", "quick", 0)
    report = run_unit(unit)
    shards.put(unit, report)
    assert np.array_equal(
        Shards(tmp_path).get(unit).outcome.comparison.measured, report.outcome.comparison.measured
    )
    assert shards.get(unit._replace(seed=1)) is None
    assert shards.get(unit._replace(profile="full")) is None
    monkeypatch.setattr("steinlab.verification.shards.sources_key", lambda *_: "other")
    assert shards.get(unit) is None
    assert shards.seconds(unit) == report.seconds
    assert shards.reused == 0


def test_a_crash_is_reported_and_not_stored(tmp_path) -> None:
    unit = Unit(IDS[0], "no such check", "quick", 0)
    report = run_unit(unit)
    assert report.outcome is None
    assert isinstance(report.crash, Crash)
    shards = Shards(tmp_path)
    shards.put(unit, report)
    assert not list(tmp_path.iterdir())


def test_a_claim_that_cannot_be_loaded_is_a_crashed_row(monkeypatch) -> None:
    def broken(claim_id: str) -> Any:
        raise RuntimeError("no")

    monkeypatch.setattr(registry, "load_claim", broken)
    row = run(IDS[:1])["claims"][0]
    assert row["finding"].startswith("the claim cannot be loaded: RuntimeError: no (")


def test_long_units_start_first(tmp_path) -> None:
    names = ("solver-order/own", "stein-identity/fields", "a-claim/unheard of")
    units = [Unit(*name.split("/"), "quick", 0) for name in names]
    expected = dict(zip(units, (5.0, 1.0, 20.0), strict=True))
    assert longest_first(units[::-1], expected, None) == [(units[i],) for i in (2, 0, 1)]
    other = Unit("stein-identity", "samples", "quick", 0)
    own = {unit.claim: unit.claim for unit in units}
    jobs = longest_first([*units, other], {**expected, other: 4.5}, None, own)
    assert jobs == [(units[2],), (units[1], other), (units[0],)]
    beside = {**own, "a-claim": "solver-order"}
    assert longest_first(units, expected, None, beside) == [(units[0], units[2]), (units[1],)]
    shards = Shards(tmp_path)
    outcome = run_unit(Unit(IDS[0], "operations", "quick", 0)).outcome
    shards.put(units[1], Report(outcome, None, 100.0))
    assert longest_first(units, expected, shards) == [(units[i],) for i in (1, 2, 0)]


def test_data_travel_only_where_they_are_small() -> None:
    data = [np.ones(3)]
    assert handed_back(data) is data
    assert handed_back([np.ones(LARGEST_DATA)]) is None
    assert handed_back([lambda: 0]) is None
    seen = []
    later = Later(lambda: seen.append(0) or [1, 2])
    assert not seen
    assert (len(later), later[1], list(later)) == (2, 2, [1, 2])
    assert len(seen) == 1


def test_errors_of_jobs_are_answers() -> None:
    answers = dict(completed(SerialExecutor(), lambda x: 1 / x, [1, 0]))
    assert answers[1] == 1
    assert isinstance(answers[0], ZeroDivisionError)
