"""The advice on the pilot and the gate says what their records say."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from steinlab.experiments.tournament.design import Cell
from steinlab.experiments.tournament.play import play
from steinlab.experiments.tournament.record import FULL, read_record
from steinlab.experiments.tournament.run import rounded
from steinlab.experiments.tournament.summary import HURTS, Line, line, ratio
from tests.steinlab.experiments.tournament.test_advice import ADVICE, percent


@functools.cache
def record(name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return read_record(FULL.parent / f"{name}.jsonl.gz")


def above(name: str, played: list[Any], measure: str = "energy_distance") -> int:
    return sum(line(name, [one], measure).worst > HURTS for one in played)


def test_the_pilot_gains_and_harms_as_it_is_said() -> None:
    _, played = record("pilot")
    one, more, old = (line(name, played) for name in ("pilot", "pilot, 96 states", "auto-v1"))
    assert len(played) == 384
    assert f"it spends {one.extra:.2f} evaluations per state" in ADVICE
    assert f"to {one.mean:.3f} of the plain solver's ({one.low:.3f} to {one.high:.3f})" in ADVICE
    assert f"and to {one.equal:.2f} at equal evaluations" in ADVICE
    assert f"{percent(one.improved)} of those cells are better; no cell is above 1.05" in ADVICE
    assert (above("pilot", played), f"{one.worst:.2f}") == (0, "1.01")
    flow = line("pilot", played, "flow_error")
    assert f"falls to {flow.mean:.2f}, with {above('pilot', played, 'flow_error')} cell" in ADVICE
    assert f"above 1.05, at {flow.worst:.2f}" in ADVICE
    assert f"With 96 states it has {more.mean:.3f} for twice the price" in ADVICE
    assert f"but {above('pilot, 96 states', played)} cells above 1.05" in ADVICE
    assert f"has {old.mean:.3f} there for {old.extra:.0f} evaluations, {old.equal:.1f} at" in ADVICE


def test_the_gate_buys_safety() -> None:
    _, played = record("gated")

    def told(one: Line, digits: int = 1) -> list[str]:
        return [f"{one.mean:.2f}", percent(one.hurt), f"{one.worst:.{digits}f}"]

    assert len(played) == 192
    bare, safe = line("local", played), line("gated, local", played)
    mean, hurt, worst = told(bare)
    assert f"`local` has {mean} with {hurt} of them above 1.05 and the worst at {worst}" in ADVICE
    mean, hurt, worst = told(safe)
    assert f"gated it has {mean}, {hurt} and {worst}" in ADVICE
    law = [" ".join(told(line(name, played))) for name in ("law-matched", "gated, law-matched")]
    words = [f"{a}, {b} % and {c}" for a, b, _, c in (one.split() for one in law)]
    assert f"`law-matched` goes from {words[0]} to {words[1]}" in ADVICE
    assert f"The gate spends {safe.extra - bare.extra:.1f} evaluations per state more" in ADVICE
    assert f"has {safe.equal:.2f} with it and {bare.equal:.2f} without" in ADVICE


@pytest.mark.parametrize(("edition", "name"), [("pilot", "pilot"), ("gated", "local")])
def test_a_recorded_cell_is_played_again(edition: str, name: str) -> None:
    head, played = record(edition)
    cell = Cell("two-1", "edm", "karras", "euler", 4, 0)
    (known,) = (one for one in played if one["cell"] == vars(cell))
    again = rounded(play(cell, states=head["states"], entrants=("none", name)))
    floor = known["floor"]["energy_distance"]
    one, other = (
        ratio(one["results"][name], one["results"]["none"], floor, "energy_distance")
        for one in (known, again)
    )
    assert one == pytest.approx(other, rel=1e-3)
