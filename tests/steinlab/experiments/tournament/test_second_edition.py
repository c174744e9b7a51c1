"""The advice on corrections and the aims say what the second edition's record says."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from steinlab.experiments.tournament import aims
from steinlab.experiments.tournament.design import SOLVERS
from steinlab.experiments.tournament.problems import FRESH
from steinlab.experiments.tournament.record import SECOND, read_record
from steinlab.experiments.tournament.summary import Line, Played, line
from tests.steinlab.experiments.tournament.test_advice import played as first

PAGE = (Path(__file__).parents[4] / "docs" / "corrections.md").read_text(encoding="utf-8")
ADVICE = " ".join(PAGE.split("## How to read the numbers")[0].split())

# read when a test first asks: every worker collects this module, one runs it
RECORD = functools.cache(functools.partial(read_record, SECOND))


def head() -> dict[str, Any]:
    return RECORD()[0]


def played() -> list[dict[str, Any]]:
    return RECORD()[1]


@functools.cache
def report() -> list[dict[str, Any]]:
    return [one for one in played() if one["half"] == "report"]


def where(
    test: Callable[[dict[str, Any]], bool], cells: Sequence[Played] | None = None
) -> list[Any]:
    return [one for one in (report() if cells is None else cells) if test(one["cell"])]


def on(solver: str, entrant: str = "pilot") -> Line:
    return line(entrant, where(lambda cell: cell["solver"] == solver))


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def interval(one: Line) -> str:
    return f"({one.low:.3f} to {one.high:.3f})"


def test_what_was_played() -> None:
    assert len(played()) == head()["cells"]
    problems = {one["cell"]["problem"] for one in played()}
    assert set(FRESH) < problems
    assert f"{len(problems)} problems (laws in 1 to 512 dimensions" in ADVICE
    assert {one["cell"]["solver"] for one in played()} == set(SOLVERS)
    assert f"half ({len(report()):,} cells)" in ADVICE
    assert {one["cell"]["seed"] for one in played()} == {2, 3, 4}
    assert "its seeds (2, 3, 4)" in PAGE
    assert all(f"`{name}`" in PAGE for name in FRESH)


def test_the_best_plain_solver_of_a_budget() -> None:
    def share(budget: int, name: str) -> str:
        own = where(lambda cell: cell["evaluations"] == budget, played())
        count = Counter(one["best_plain"]["solver"] for one in own)
        return percent(count[name] / len(own))

    few, more = (share(budget, "unit-speed-3") for budget in (3, 8))
    assert f"`unit-speed-3` in {few} of the cells at 3 evaluations and in {more} at 8" in ADVICE
    last = {share(10, name) for name in ("unit-speed-3", "ipndm-3")}
    assert len(last) == 1
    assert f"`ipndm-3` as often, {last.pop()} each" in ADVICE


def test_without_a_fine_run() -> None:
    euler, best, hurt = (one.found[aims.FREE] for one in aims.without_a_fine_run(report()))
    assert f"it has {euler:.3f} of Euler's energy distance and {best:.2f} of the best" in ADVICE
    assert f"and {percent(hurt, 1)} of its cells are above 1.05 times Euler's" in ADVICE


def test_the_pilot_by_solver_and_budget() -> None:
    one, more = (line(name, report()) for name in aims.PILOTS)
    assert f"{one.mean:.3f} of the same solver's distance {interval(one)}" in ADVICE
    assert f"better in {percent(one.improved)} of the cells" in ADVICE
    assert f"{percent(one.hurt, 1)} are above 1.05, {percent(one.beyond, 1)} beyond" in ADVICE
    assert f"the worst at {one.worst:.1f}." in ADVICE
    assert f"spends {one.extra:.2f} evaluations per state" in ADVICE
    assert f"counted as a whole one, it has {one.equal:.3f}" in ADVICE
    weak = [on(name).mean for name in ("heun", "euler", "dpmpp-2m")]
    assert f"{weak[0]:.3f} with Heun, {weak[1]:.3f} with Euler, {weak[2]:.2f} with 2M" in ADVICE
    multi, unit = on("ipndm-3"), on("unit-speed-3")
    assert f"{multi.mean:.2f} with `ipndm-3`, {multi.equal:.2f} at equal" in ADVICE
    assert f"{unit.mean:.2f} with `unit-speed-3`, {unit.equal:.2f} at equal" in ADVICE
    assert f"it has {more.mean:.3f} for twice the price, {more.equal:.3f} at equal" in ADVICE
    assert more.extra / one.extra == pytest.approx(2, abs=0.05)
    assert f"`gated` has {percent(line('gated, local', report()).hurt, 1)}" in ADVICE
    assert f"Corrected Heun has {on('heun').equal_best:.1f} times" in ADVICE
    assert {f"{one.equal_best:.1f}" for one in (multi, unit)} == {"1.1"}


def test_new_problems_change_nothing() -> None:
    new = line("pilot", where(lambda cell: cell["problem"] in FRESH))
    old = line("pilot", where(lambda cell: cell["problem"] not in FRESH))
    other = line("pilot", [one for one in played() if one["half"] == "develop"])
    assert f"on those three the pilot has {new.mean:.3f}, on the others {old.mean:.3f}" in ADVICE
    assert f"the other half's cells it has {other.mean:.3f}" in ADVICE
    assert max(old.low, new.low) < min(old.high, new.high)


def test_a_table() -> None:
    one, unit, old = (
        line("calibrated", report()),
        on("unit-speed-3", "calibrated"),
        line("auto-v1", report()),
    )
    assert f"It has {one.mean:.3f} {interval(one)}, with no cell above 1.05 beyond" in ADVICE
    assert one.beyond == 0
    assert f"`unit-speed-3` it has {unit.mean:.2f}, and {unit.equal_best:.2f} of the" in ADVICE
    assert f"run for {old.extra:.0f} evaluations per state" in ADVICE
    assert f"it loses ({old.equal:.1f})" in ADVICE
    late = [c for c in first() if c["cell"]["evaluations"] > 10]
    mean = line("calibrated", [c for c in late if c["half"] == "report"]).mean
    assert f"[{mean:.2f}](corrections-evidence.md#tables)" in ADVICE


def test_what_needs_no_fine_run() -> None:
    one, gated = (line(name, report()) for name in ("local", "gated, local"))
    assert f"`local` has {one.mean:.2f}, but {percent(one.hurt)} of its cells" in ADVICE
    assert f"has {one.equal:.2f} of the same solver's distance and {one.equal_best:.1f}" in ADVICE
    assert f"With `unit-speed-3` it loses ({on('unit-speed-3', 'local').mean:.1f})" in ADVICE
    words = f"takes {percent(one.hurt)} to {percent(gated.hurt)}, and {one.equal:.2f} to"
    assert f"{words} {gated.equal:.2f} at equal evaluations" in ADVICE


def test_what_is_not_to_be_used() -> None:
    stein = line("stein, gamma <= 1", report())
    assert f"({stein.mean:.1f}; {percent(stein.hurt)} of the cells above 1.05)" in ADVICE
    names = ("tweedie, gamma <= 1", "epsilon-scale", "law-matched")
    hurt = [percent(line(name, report()).hurt) for name in names]
    assert f"{hurt[0]}, {hurt[1]} and {hurt[2]} above 1.05" in ADVICE
    of = [on(name, "epsilon-scale").mean for name in ("euler", "ipndm-3", "dpmpp-2m")]
    assert f"`epsilon-scale` has {of[0]:.2f} with Euler" in ADVICE
    assert f"{of[1]:.2f} with `ipndm-3`, and {of[2]:.1f} with 2M" in ADVICE


def test_an_aim_is_met_by_the_best_of_those_who_try() -> None:
    """And the page's table has the record's numbers: one is met, seven are missed."""
    few, many = {"a": 0.2, "b": 0.1}, {"a": 0.7, "b": 0.8}
    assert aims.Aim("", 0.1, few).met
    assert not aims.Aim("", 0.05, few).met
    assert aims.Aim("", 0.8, many, least=True).met
    assert not aims.Aim("", 0.9, many, least=True).met
    rows = [*aims.of_the_pilot(report()), *aims.without_a_fine_run(report())]
    assert [one.met for one in rows] == [False] * 5 + [True, False, False]
    assert aims.aims(report()) in PAGE
    assert aims.aims(first()) == ""
