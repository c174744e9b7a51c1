"""The advice on corrections says what the tournament's record says, and the aim is met there."""

from __future__ import annotations

from pathlib import Path

import pytest

from steinlab.tournament.design import FEW
from steinlab.tournament.record import FULL, read_record
from steinlab.tournament.summary import HURTS, Line, line

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "corrections.md").read_text(encoding="utf-8")
ADVICE = " ".join(PAGE.split("## Advice")[1].split("## What the numbers are")[0].split())
_, PLAYED = read_record(FULL)
HALF = {
    half: [c for c in PLAYED if c["half"] == half and c["cell"]["evaluations"] <= FEW]
    for half in ("report", "develop")
}


def interval(one: Line, digits: int = 2) -> str:
    return f"{one.low:.{digits}f} to {one.high:.{digits}f}"


@pytest.mark.parametrize("name", ["local", "gmm", "law-matched", "tweedie, gamma <= 1"])
def test_ratios_are_the_recorded_ones(name: str) -> None:
    one = line(name, HALF["report"])
    mean = f"{one.mean:.2f}"
    assert f"{mean} ({interval(one)})" in ADVICE or f"({mean}, {interval(one)})" in ADVICE


def test_the_aim_is_met_by_a_table() -> None:
    """0.25 or less, no cell above 1.05, better than the best plain solver in most cells."""
    one, other = (line("calibrated", HALF[half]) for half in ("report", "develop"))
    assert one.high <= 0.25
    assert one.worst <= HURTS
    assert one.beats_best > 0.5
    assert f"reporting half: {one.cells} cells" in " ".join(PAGE.split())
    assert f"falls to {one.mean:.3f} of the plain solver's" in ADVICE
    assert f"(95 % interval {interval(one, 3)})" in ADVICE
    assert f"{100 * one.improved:.0f} % are better" in ADVICE
    shares = [f"{100 * each.beats_best:.0f} %" for each in (one, other)]
    assert f"it in {shares[0]} of the cells of the reporting half and {shares[1]}" in ADVICE


def test_auto_loses_at_equal_evaluations() -> None:
    one = line("auto", HALF["report"])
    assert f"gains the same ({one.mean:.3f})" in ADVICE
    assert f"spends {one.extra:.0f} evaluations a state" in ADVICE
    assert f"those is better ({one.equal:.1f})" in ADVICE


def test_mode_weights_gain_least() -> None:
    few = [*HALF["report"], *HALF["develop"]]
    table, local = (line(name, few, "mode_weights").mean for name in ("calibrated", "local"))
    assert f"{table:.2f} of the plain solver's, `local` to {local:.2f}" in ADVICE
    spread = [line(name, few, "covariance").mean for name in ("calibrated", "local")]
    assert f"falls to {spread[0]:.2f} and {spread[1]:.2f}" in ADVICE


def test_which_solvers_matching_hurts() -> None:
    """Every third cell of iPNDM; every fourth of UniPC, 3M and Euler at 5 evaluations or fewer."""

    def hurt(solver: str, most: int) -> float:
        cells = [one["cell"] for one in HALF["report"]]
        chosen = zip(HALF["report"], cells, strict=True)
        return line(
            "local",
            [o for o, c in chosen if c["solver"] == solver and c["evaluations"] <= most],
        ).hurt

    assert hurt("ipndm-3", FEW) == pytest.approx(1 / 3, abs=0.05)
    for solver in ("unipc-2", "dpmpp-3m", "euler"):
        assert hurt(solver, 5) == pytest.approx(1 / 4, abs=0.06)
