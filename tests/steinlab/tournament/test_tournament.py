"""The tournament: its design, its ratios, what it counts, that it resumes."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analytic import NoiseLevel
from steinlab.errors import InputError
from steinlab.sampling import solve
from steinlab.solvers import evaluations_on
from steinlab.tournament import __main__ as command
from steinlab.tournament import run
from steinlab.tournament.design import BUDGETS, HALVES, SOLVERS, Cell, cells
from steinlab.tournament.entrants import BATCH, ENTRANTS
from steinlab.tournament.page import BEGIN, END, write
from steinlab.tournament.play import arena, planned, play
from steinlab.tournament.problems import LAWS, MODELS, load_problem
from steinlab.tournament.summary import STOPPED, line, ratio

CELL = Cell("ring-2", "edm", "karras", "dpmpp-2m", 5, 0)
SOME = ("none", "stein", "law-matched", "calibrated")


def test_the_design_is_a_fraction_split_in_two() -> None:
    whole = cells(list(LAWS), fraction=1.0, seeds=1)
    part = cells(list(LAWS), fraction=0.3, seeds=1)
    assert set(part) < set(whole)
    assert len(whole) == len(set(whole)) == len(LAWS) * 5 * len(SOLVERS) * len(BUDGETS)
    share = len(part) / len(whole)
    assert abs(share - 0.3) < 4 * math.sqrt(0.3 * 0.7 / len(whole))
    for half in HALVES:
        assert 0.35 < np.mean([cell.half == half for cell in whole]) < 0.65
    halves = {dataclasses.replace(CELL, seed=s, evaluations=n).half for s in (0, 1) for n in (4, 8)}
    assert len(halves) == 1


def test_models_keep_to_the_process_they_are_made_for() -> None:
    assert {c.process for c in cells([MODELS[0]], fraction=1.0, seeds=1)} == {"edm"}


@pytest.mark.parametrize("name", LAWS)
def test_every_law_starts_under_its_forward_law(name: str) -> None:
    problem = load_problem(name)
    assert problem.dim == int(name.split("-")[1])
    level = NoiseLevel(0.6, 0.8)
    x = problem.start(level, 4000, np.random.default_rng(0))
    assert x.shape == (4000, problem.dim)
    spread = problem.law.second_moment() - (problem.law.mean() ** 2).sum()
    expected = 0.36 * spread + 0.64 * problem.dim
    assert x.var(axis=0).sum() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_ends_at_zero_noise_within_its_budget(solver: str) -> None:
    cell = dataclasses.replace(CELL, solver=solver)
    own = arena("ring-2", "edm", 0, 30)
    for budget in BUDGETS:
        plan, grid = planned(cell, own.process, budget)
        assert grid[-1].sigma == 0
        assert budget - 1 <= evaluations_on(plan, grid) <= budget


def test_a_cell_is_played_from_states_of_its_own() -> None:
    found = play(CELL, states=60, entrants=SOME)
    own = arena("ring-2", "edm", 0, 60)
    plan, grid = planned(CELL, own.process, 5)
    assert not np.any(own.calibration[:, None] == own.start[None])
    none, table, law = (found["results"][name] for name in ("none", "calibrated", "law-matched"))
    end = solve(own.problem.denoiser, own.start, grid, plan).state
    assert none["flow_error"] == pytest.approx(np.sqrt(((end - own.flow_end) ** 2).sum(1).mean()))
    assert none["extra"] == table["extra"] == 0.0
    assert table["price"] > 100  # the fine run of the calibration states
    assert found["results"]["stein"]["extra"] == 5.0  # a product a step
    assert 0 < law["extra"] < 5 * 5 * 60 / BATCH
    assert "equal" in law
    assert "equal" not in table
    bound = min(none["energy_distance"], found["best_plain"]["energy_distance"])
    assert found["best_plain"]["energy_distance"] == bound


def played(value: float, problem: str = "a", plain: float = 0.5) -> dict[str, Any]:
    results = {"none": {"energy_distance": plain}, "x": {"energy_distance": value, "extra": 2.0}}
    results["x"]["equal"] = {"energy_distance": plain / 2}
    return {
        "cell": {**vars(CELL), "problem": problem},
        "floor": {"energy_distance": 0.1},
        "results": results,
        "best_plain": {"energy_distance": 0.3},
    }


def test_ratios_have_the_floor_on_both_sides() -> None:
    assert ratio({"m": 0.3}, {"m": 0.7}, 0.1, "m") == pytest.approx(0.5)
    assert ratio({"m": -0.3}, {"m": -0.1}, 0.1, "m") == 1.0
    assert ratio({"stopped": ""}, {"m": 1.0}, 0.1, "m") == STOPPED


def test_a_line_sums_up() -> None:
    found = line("x", [played(0.05), played(1.1, "b"), played(0.2, "b")])
    ratios = np.array([0.25, 2.0, 0.5])
    assert found.mean == pytest.approx(np.exp(np.log(ratios).mean()))
    assert found.low <= found.mean <= found.high
    assert found.improved == pytest.approx(2 / 3)
    assert (found.hurt, found.beats_best) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert found.worst == pytest.approx(2.0)
    assert found.worst_cell.startswith("b")
    assert found.equal == pytest.approx(found.mean * 0.6 / 0.35)
    assert found.extra == 2.0
    with pytest.raises(ValueError, match="at least one cell"):
        line("x", [])


def test_it_resumes_and_writes_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = run.Profile(0.02, 1, 20, ("two-1",))
    monkeypatch.setattr(command, "PROFILES", {"quick": tiny})
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    out = tmp_path / "cells"
    args = ["--out", str(out), "--page", str(page), "--workers", "1"]
    assert command.main(args) == 0
    first = page.read_text()
    assert first.startswith("before")
    assert first.endswith("after\n")
    assert "old" not in first
    assert all(name in first for name in ENTRANTS if name != "none")
    monkeypatch.setattr(run, "play", None)  # nothing is played again
    assert command.main(args) == 0
    assert page.read_text() == first
    file = next(out.iterdir())
    stored = json.loads(file.read_text())
    file.write_text(json.dumps({**stored, "key": "another"}))
    with pytest.raises(TypeError):
        command.main(args)
    assert capsys.readouterr().out.count("Profile") == 2


def test_a_page_without_markers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--page must hold"):
        write(tmp_path / "none.md", "text")


def test_the_quick_profile_is_small_and_every_group_shares_its_states() -> None:
    groups = run.groups(run.PROFILES["quick"])
    assert 60 < sum(map(len, groups)) < 150
    assert all(len({(c.problem, c.process, c.seed) for c in group}) == 1 for group in groups)
