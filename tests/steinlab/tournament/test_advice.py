"""The advice on corrections says what the tournament's record says, and the aim is met there."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from steinlab.tournament.design import FEW
from steinlab.tournament.problems import is_exact
from steinlab.tournament.record import FULL, read_record
from steinlab.tournament.summary import HURTS, Line, line

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "corrections.md").read_text(encoding="utf-8")
ADVICE = " ".join(PAGE.split("## Advice")[1].split("## What the numbers are")[0].split())
ABOUT, PLAYED = read_record(FULL)
HALF = {
    half: [c for c in PLAYED if c["half"] == half and c["cell"]["evaluations"] <= FEW]
    for half in ("report", "develop")
}


def interval(one: Line, digits: int = 2) -> str:
    return f"{one.low:.{digits}f} to {one.high:.{digits}f}"


@pytest.mark.parametrize("name", ["local", "gmm", "law-matched", "tweedie, gamma <= 1"])
def test_ratios_are_the_recorded_ones(name: str) -> None:
    one = line(name, HALF["report"])
    assert f"{one.mean:.2f} ({interval(one)})" in ADVICE


def test_the_aim_is_met_by_a_table() -> None:
    """0.25 or less, better than the best plain solver in most cells, above 1.05 by noise alone."""
    one, other = (line("calibrated", HALF[half]) for half in ("report", "develop"))
    assert one.high <= 0.25
    assert one.beats_best > 0.5
    assert f"reporting half: {one.cells} cells" in " ".join(PAGE.split())
    assert f"falls to {one.mean:.3f} of the plain solver's" in ADVICE
    assert f"(95 % interval {interval(one, 3)})" in ADVICE
    assert f"{100 * one.improved:.0f} % of the cells are better" in ADVICE
    shares = [f"{100 * each.beats_best:.0f} %" for each in (one, other)]
    assert f"it in {shares[0]} of the cells of the reporting half and {shares[1]}" in ADVICE
    above = [c for c in HALF["report"] if line("calibrated", [c]).worst > HURTS]
    assert f"{len(above)} of {one.cells} are above 1.05" in ADVICE
    for cell in above:
        found, plain = (cell["results"][name] for name in ("calibrated", "none"))
        error = math.hypot(found["energy_error"], plain["energy_error"])
        assert found["energy_distance"] - plain["energy_distance"] < error / 5
    assert not [c for c in HALF["develop"] if line("calibrated", [c]).worst > HURTS]


def test_what_a_table_gains_by_solver() -> None:
    """In both halves, as in the page's table."""

    def mean(solver: str, budgets: tuple[int, ...]) -> float:
        cells = [c for c in PLAYED if c["cell"]["solver"] == solver]
        return line("calibrated", [c for c in cells if c["cell"]["evaluations"] in budgets]).mean

    assert f"Heun at 4 or 5 evaluations, {mean('heun', (4, 5)):.4f}" in ADVICE
    assert f"there, {mean('dpmpp-3m-exact', (4, 5)):.3f})" in ADVICE
    assert f"`ipndm-3` ({mean('ipndm-3', (6, 8, 10)):.2f} at 6 to 10)" in ADVICE
    late = [mean(solver, (15, 20)) for solver in ("dpmpp-2m", "dpmpp-3m", "dpmpp-3m-exact")]
    assert f"still has {min(late):.2f} to {max(late):.2f} of the distance" in ADVICE
    assert mean("ipndm-3", (15, 20)) == pytest.approx(1.0, abs=0.05)


def test_where_the_papers_idea_works() -> None:
    def over(solver: str, process: str) -> Line:
        cells = [*HALF["report"], *HALF["develop"]]
        path = ("solver", "process")
        return line(
            "tweedie, gamma <= 1",
            [c for c in cells if tuple(c["cell"][k] for k in path) == (solver, process)],
        )

    vp, flow, edm = (over("heun", process) for process in ("vp-linear", "flow", "edm"))
    assert f"{vp.mean:.2f} in VP, better in {vp.cells} of {vp.cells} cells" in ADVICE
    assert f"{flow.mean:.3f} in flow, better in {flow.cells} of {flow.cells}" in ADVICE
    assert f"but {edm.mean:.2f} in EDM" in ADVICE
    assert vp.improved == flow.improved == 1.0
    for process, words, digits in (
        ("edm", "in EDM", 2),
        ("flow", "in flow", 2),
        ("vp-linear", "in VP", 1),
    ):
        means = (over(solver, process).mean for solver in ("dpmpp-2m", "dpmpp-3m", "unipc-2"))
        assert f"{words} ({', '.join(f'{mean:.{digits}f}' for mean in means)})" in ADVICE
        assert over("ipndm-3", process).mean > 1
    assert over("euler", "edm").mean == pytest.approx(1.0, abs=0.01)
    assert over("euler", "flow").mean == pytest.approx(1.0, abs=0.01)
    hurt = line("tweedie, gamma <= 1", HALF["report"]).hurt
    assert f"hurts {100 * hurt:.0f} % of the cells in all" in ADVICE


def test_the_record_says_where_it_was_played_and_the_page_what_it_holds() -> None:
    page = " ".join(PAGE.split())
    flow = [c for c in PLAYED if c["cell"]["process"] == "flow"]
    nets = [c for c in PLAYED if not is_exact(c["cell"]["problem"])]
    rest = len(PLAYED) - len(flow) - len(nets)
    assert "28 cores of a lent H200 host" in ABOUT["note"]
    assert f"holds {len(PLAYED):,} of its {ABOUT['cells']:,} cells" in page
    assert f"flow ({len(flow)} of its 472 cells)" in page
    assert f"(all {len(nets)})" in page
    assert f"by hash ({rest} of 1,899)" in page
    parts = [
        [c for c in HALF["report"] if c in nets],
        [c for c in HALF["report"] if c in flow],
        [c for c in HALF["report"] if c not in nets and c not in flow],
    ]
    of, local = ([line(name, part).mean for part in parts] for name in ("calibrated", "local"))
    assert f"{of[0]:.3f} of the plain solver's distance on networks, {of[1]:.3f} in flow" in page
    assert f"{of[2]:.3f} on laws in EDM and VP" in page
    assert f"`local` {local[0]:.2f}, {local[1]:.3f} and {local[2]:.2f}" in page


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
    """iPNDM most, and Euler at 5 evaluations or fewer."""

    def hurt(solver: str, most: int) -> float:
        cells = [one["cell"] for one in HALF["report"]]
        chosen = zip(HALF["report"], cells, strict=True)
        return line(
            "local",
            [o for o, c in chosen if c["solver"] == solver and c["evaluations"] <= most],
        ).hurt

    assert f"with iPNDM in {100 * hurt('ipndm-3', FEW):.0f} % of the cells" in ADVICE
    assert f"Euler in {100 * hurt('euler', 5):.0f} % at 5 evaluations or fewer" in ADVICE
