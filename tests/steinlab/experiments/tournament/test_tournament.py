"""The tournament: its design, its ratios, what it counts, that it resumes."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import itertools
import json
import math
import re
import shutil
import signal
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analytic import NoiseLevel, exact_flow
from steinlab.cli import _end, app
from steinlab.diffusion.laws import LAWS
from steinlab.errors import InputError, Terminated
from steinlab.experiments.bench import BATCH
from steinlab.experiments.tournament import run
from steinlab.experiments.tournament import session as command
from steinlab.experiments.tournament.design import BUDGETS, FEW, HALVES, SOLVERS, Cell, cells
from steinlab.experiments.tournament.entrants import ENTRANTS
from steinlab.experiments.tournament.measures import MEASURES
from steinlab.experiments.tournament.page import BEGIN, END, write
from steinlab.experiments.tournament.play import AFFORDABLE, arena, distances, planned, play
from steinlab.experiments.tournament.problems import FRESH, MODELS, SLOW, is_exact, load_problem
from steinlab.experiments.tournament.record import FULL, READABLE, SECOND, read_record, write_record
from steinlab.experiments.tournament.summary import STOPPED, line, ratio
from steinlab.metrics import rms_distance
from steinlab.solvers import evaluations_on
from steinlab.solvers.loop import solve
from steinlab.solvers.reference_flow import long_run
from steinlab.storage import Store
from steinlab.workers import SerialExecutor

CELL = Cell("ring-2", "edm", "karras", "dpmpp-2m", 5, 0)
DOCS = Path(__file__).parents[4] / "docs"
SOME = ("none", "stein", "law-matched", "calibrated")
TINY = run.Profile(0.015, 2, 20, ("two-1", "three-1"), entrants=("none", "stein", "calibrated"))
"""A few cells, and entrants without and with a price: how a run resumes does not ask for more."""
PLAY = functools.cache(run.play)
"""Plays a cell once for all tests of how a run resumes."""


def tournament(args: list[str]) -> None:
    """Run the command; what it raises comes through."""
    app(["tournament", *args], standalone_mode=False)


def test_the_design_is_a_fraction_split_in_two() -> None:
    laws = [name for name in LAWS if name not in SLOW]
    whole = cells(laws, fraction=1.0, seeds=1)
    part = cells(laws, fraction=0.3, seeds=1)
    assert set(part) < set(whole)
    assert len(whole) == len(set(whole)) == len(laws) * 5 * len(SOLVERS) * len(BUDGETS)
    share = len(part) / len(whole)
    assert abs(share - 0.3) < 4 * math.sqrt(0.3 * 0.7 / len(whole))
    for half in HALVES:
        assert 0.35 < np.mean([cell.half == half for cell in whole]) < 0.65
    halves = {dataclasses.replace(CELL, seed=s, evaluations=n).half for s in (0, 1) for n in (4, 8)}
    assert len(halves) == 1


def test_of_a_slow_problem_its_share_is_played() -> None:
    name, full = "few-512", 5 * len(SOLVERS) * len(BUDGETS)
    share = len(cells([name], fraction=1.0, seeds=1)) / full
    expected = SLOW[name].share
    assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / full)


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
        plan, grid = planned(cell, own, budget)
        assert grid[-1].sigma == 0
        assert budget - 1 <= evaluations_on(plan, grid) <= budget


def test_a_cell_is_played_from_states_of_its_own() -> None:
    found = play(CELL, states=60, entrants=SOME)
    own = arena("ring-2", "edm", 0, 60)
    plan, grid = planned(CELL, own, 5)
    assert not np.any(own.calibration[:, None] == own.start[None])
    none, table, law = (found["results"][name] for name in ("none", "calibrated", "law-matched"))
    end = solve(own.subject.denoiser, own.start, grid, plan).state
    assert none["flow_error"] == pytest.approx(np.sqrt(((end - own.ends) ** 2).sum(1).mean()))
    assert none["extra"] == table["extra"] == 0.0
    assert table["price"] > 100  # the fine run of the calibration states
    assert found["results"]["stein"]["extra"] == 5.0  # a product a step
    # two evaluations or more of its own sub-batch, or one, at each of four steps before the last
    assert 4 * 512 / BATCH <= law["extra"] <= 4 * 5 * 512 / BATCH
    assert none["mode_weights"] < 1
    assert set(found["floor"]) == {*MEASURES}
    assert "equal" in law
    assert "equal" not in table
    law_only = play(CELL, states=600, entrants=("law-matched",))["results"]["law-matched"]
    assert 4 * 600 / BATCH * 512 / 600 <= law_only["extra"] <= 4 * 5 * 512 / BATCH
    bound = min(none["energy_distance"], found["best_plain"]["energy_distance"])
    assert found["best_plain"]["energy_distance"] == bound


@pytest.mark.parametrize(("name", "least"), [("pas", 100), ("dc", 200), ("dpm-v3-2", 500)])
def test_a_fitted_solver_competes_and_has_its_price(name: str, least: int) -> None:
    cell = dataclasses.replace(CELL, solver=name)
    found = play(cell, states=60, entrants=("none",))
    none = found["results"]["none"]
    assert none["price"] > least
    assert found["plain"][name]["energy_distance"] == none["energy_distance"]
    if name == "dc":  # what it compensates, on the same levels, is further from the flow
        own = arena("ring-2", "edm", 0, 60)
        end = solve(own.subject.denoiser, own.start, planned(cell, own, 5)[1], "dpmpp-2m").state
        assert none["flow_error"] < distances(own, end)["flow_error"]


def test_the_flow_ends_where_the_exact_flow_does() -> None:
    """And what a run is off by is that: 0.27 where a wrong end made it 0.76."""
    own = arena("few-8", "flow", 0, 1000)
    plan, grid = planned(Cell("few-8", "flow", "logsnr", "dpmpp-2m", 10, 0), own, 10)
    exact = exact_flow(own.subject.law, own.start[:50], grid[0], grid[-1], rtol=1e-8)
    gap = np.linalg.norm(own.ends[:50] - exact.state, axis=1)
    assert np.sqrt(np.mean(gap**2)) <= own.floor["flow_error"].value < 1e-3
    end = solve(own.subject.denoiser, own.start, grid, plan).state
    found = rms_distance(end, own.ends)
    assert distances(own, end)["flow_error"] == found.value
    assert abs(found.value - 0.268) < 4 * found.error < 0.06


def test_a_networks_true_sample_has_the_variance_of_its_flow() -> None:
    """That of a long run by another solver; ended too early, it has 6 % too little."""
    own = arena("digits-mlp", "edm", 0, 200)
    long = long_run(own.subject.denoiser, own.start, own.subject.process)
    spread = [float(x.var(axis=0).sum()) for x in (own.ends, long.state)]
    assert spread[0] == pytest.approx(spread[1], rel=0.01)
    gaps = np.linalg.norm(own.ends - long.state, axis=1)
    assert np.median(gaps) <= own.floor["flow_error"].value + long.rms_error
    size = math.sqrt(own.own.truth.covariance.trace() / spread[0])
    assert size == pytest.approx(1.0, abs=0.05)


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
    assert math.isnan(line("x", [played(0.05), played(1.1, "b")]).seeds)
    with pytest.raises(ValueError, match="at least one cell"):
        line("x", [])
    with pytest.raises(ValueError, match="with mode_weights"):
        line("x", [played(0.05)], "mode_weights")


def test_seeds_of_a_cell_tell_how_much_its_ratio_is_worth() -> None:
    other = played(1.1)
    other["cell"]["seed"] = 1
    found = line("x", [played(0.2), other, played(0.3, "b")])
    logs = np.log([0.5, 2.0])
    assert found.seeds == pytest.approx(np.exp(logs.std(ddof=1)))


def test_a_cell_hurts_beyond_its_noise_by_two_standard_errors() -> None:
    cells = [played(0.6), played(0.6, "b")]
    for one, error in zip(cells, (0.05, 0.06), strict=True):
        one["results"]["x"]["ratio_error"] = error  # of a ratio of 1.167
    assert line("x", cells).beyond == 0.5
    assert line("x", cells).hurt == 1.0
    assert math.isnan(line("x", [played(0.6)]).beyond)


def test_the_best_plain_solver_gets_what_an_entrant_spends() -> None:
    """Or nothing is said, where too many cells lack it."""
    one = played(0.2)
    one["results"]["x"]["equal_best"] = {"energy_distance": 0.05}
    found = line("x", [one])
    assert (found.beats_best, found.equal_beats) == (1.0, 0.0)
    assert found.equal_best == pytest.approx(0.3 / 0.15)
    assert math.isnan(line("x", [one, played(0.2)]).equal_best)


def test_intervals_draw_seeds_of_a_problem_again() -> None:
    """Of one problem and one seed there is no interval; two seeds give their own range."""
    one, other = played(0.2), played(1.1)
    found = line("x", [one, one])
    assert found.low == found.high == pytest.approx(0.5)
    other["cell"]["seed"] = 1
    found = line("x", [one, other])
    assert (found.low, found.high) == (pytest.approx(0.5), pytest.approx(2.0))


def test_it_resumes_and_writes_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = run.Profile(0.02, 1, 20, ("two-1",))
    monkeypatch.setattr(command, "PROFILES", {"quick": tiny})
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    out = tmp_path / "cells"
    args = ["--out", str(out), "--page", str(page), "--workers", "1"]
    tournament(args)
    first = page.read_text()
    assert first.startswith("before")
    assert first.endswith("after\n")
    assert "old" not in first
    assert all(name in first for name in ENTRANTS if name != "none")
    monkeypatch.setattr(run, "play", None)  # nothing is played again
    tournament(args)
    assert page.read_text() == first
    file = next(out.iterdir())
    store = Store(out)
    store.put(file.stem, "another", store.read(file.stem)[1])
    with pytest.raises(TypeError):
        tournament(args)
    assert capsys.readouterr().out.count("Profile") == 2


def test_an_interrupted_run_goes_on_and_its_record_makes_the_same_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "PROFILES", {"quick": TINY})
    folder, record = tmp_path / "cells", tmp_path / "record.gz"
    args = ["--workers", "1", "--out", str(folder), "--record", str(record)]
    with pytest.raises(InputError, match="--minutes must leave time for a cell"):
        tournament([*args, "--minutes", "0"])
    whole = sum(map(len, run.groups(TINY)))
    real, left = PLAY, [1, 2, 3]

    def thrice(*given: Any, **options: Any) -> dict[str, Any]:
        left.pop()  # IndexError after three cells
        return real(*given, **options)

    monkeypatch.setattr(run, "play", thrice)
    with pytest.raises(IndexError):
        tournament(args)
    assert len(list(folder.glob("*.npz"))) == 3 < whole
    assert "failed: IndexError" in capsys.readouterr().err
    assert len(read_record(record)[1]) <= 3  # of groups that were finished
    tournament(["--from", str(folder)])
    assert f"3 of the {whole} cells" in capsys.readouterr().out
    monkeypatch.setattr(run, "play", real)
    tournament(args)
    live = capsys.readouterr().out
    first = record.read_bytes()
    monkeypatch.setattr(run, "play", None)
    for source in (record, folder):
        again = tmp_path / "again.gz"
        tournament(["--from", str(source), "--record", str(again)])
        assert capsys.readouterr().out == live
        assert again.read_bytes() == first


def test_what_was_played_is_kept_when_the_run_is_told_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal in the third cell leaves two; the record alone is enough to go on from."""
    monkeypatch.setattr(command, "PROFILES", {"quick": TINY})
    folder, record = tmp_path / "cells", tmp_path / "record.gz"
    args = ["--workers", "1", "--out", str(folder), "--record", str(record)]
    real, begun = PLAY, itertools.count(1)

    def told(*given: Any, **options: Any) -> dict[str, Any]:
        if next(begun) == 3:
            signal.raise_signal(signal.SIGTERM)
        return real(*given, **options)

    monkeypatch.setattr(run, "play", told)
    before = signal.signal(signal.SIGTERM, _end)
    try:
        with pytest.raises(Terminated):
            tournament(args)
    finally:
        signal.signal(signal.SIGTERM, before)
    first = read_record(record)[1]
    assert len(first) == len(list(folder.glob("*.npz"))) == 2
    shutil.rmtree(folder)
    tournament([*args, "--note", "On two cores"])
    head, whole = read_record(record)
    assert len(whole) == head["cells"] == 2 + len(list(folder.glob("*.npz")))
    assert [one for one in whole if one["cell"] in [c["cell"] for c in first]] == first
    assert command.told(whole, head).endswith(f"sources {head['key'][:12]}. On two cores.")


def test_cells_played_on_another_disk_are_kept_here(tmp_path: Path) -> None:
    class Far(SerialExecutor):
        def submit(self, *call: Any, **options: Any) -> Future[Any]:
            there = super().submit(*call, **options)
            shutil.rmtree(tmp_path / "cells")
            return there

    first = run.groups(TINY)[0]
    done = {cell for group in run.groups(TINY)[1:] for cell in group}
    told: list[float] = []
    found = run.tournament(
        TINY, tmp_path / "cells", Far(), done=done, tell=lambda share, _: told.append(share)
    )
    assert [one["cell"] for one in found] == [vars(cell) for cell in first]
    assert len(run.kept(tmp_path / "cells", run.key_of(TINY))) == len(first)
    assert told == [1.0]


def test_another_runs_record_is_never_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of another profile nor of other sources; of the same, cells and note are kept."""
    monkeypatch.setattr(command, "PROFILES", {"quick": TINY})
    record, other = tmp_path / "record.gz", tmp_path / "other.gz"
    monkeypatch.setattr(run, "play", PLAY)
    tournament(["--workers", "1", "--record", str(record), "--note", "Here"])
    whole, (head, found) = record.read_bytes(), read_record(record)
    monkeypatch.setattr(run, "play", None)
    for name in ("profile", "key"):
        write_record(other, found[:1], head | {name: "another"})
        before = other.read_bytes()
        for args in ([], ["--from", str(record)]):
            with pytest.raises(InputError, match=f"of {name} .* with 1 cells of {name} another$"):
                tournament(["--workers", "1", "--record", str(other), *args])
        assert other.read_bytes() == before
    write_record(other, found[:1], head)
    for args in ([], ["--from", str(other)]):
        tournament(["--workers", "1", "--record", str(record), *args])
        assert record.read_bytes() == whole


@pytest.mark.parametrize("option", ["--record", "--page"])
def test_where_nothing_can_be_written_nothing_is_played(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_play", None)
    with pytest.raises(InputError, match=f"{option} must name a file in an existing folder, got"):
        tournament([option, str(tmp_path / "gone" / "file")])
    with pytest.raises(InputError, match=f"{option} must name a file, got the folder"):
        tournament([option, str(tmp_path)])


def test_a_page_without_markers_is_refused_before_playing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_play", None)
    page = tmp_path / "page.md"
    page.write_text("no markers")
    with pytest.raises(InputError, match="--page must hold"):
        tournament(["--page", str(page)])


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "record.gz"
    whole = FULL.read_bytes()
    cut, damaged = whole[: len(whole) // 2], whole[:1000] + bytes(1000) + whole[2000:]
    other = gzip.compress(b'{"version": 0}\n')
    head, first = gzip.decompress(whole).splitlines()[:2]
    tables = gzip.compress(head + b"\n" + json.dumps(json.loads(first) | {"tables": []}).encode())
    for content in (b"", b"{}", other, gzip.compress(b"[]"), cut, damaged, tables):
        file.write_bytes(content)
        with pytest.raises(InputError, match=f"--from must be a record of version {READABLE}"):
            read_record(file)
    with pytest.raises(InputError, match="cells of one key, got 0 keys"):
        run.stored(tmp_path)
    with pytest.raises(InputError, match=r"got .*nowhere: not found"):
        run.stored(tmp_path / "nowhere")


def test_auto_of_a_first_record_is_auto_v1(tmp_path: Path) -> None:
    """Its numbers are that method's; a record of today may hold the ``auto`` of today."""
    head, found = read_record(FULL)
    assert head["version"] == 1
    assert "auto-v1" in head["entrants"]
    assert "auto" not in head["entrants"]
    assert {"price", "kept"} <= found[0]["results"]["calibrated"].keys()
    assert all("auto" not in one["results"] for one in found)
    results = found[0]["results"]
    one = {**found[0], "results": {"none": results["none"], "auto": results["auto-v1"]}}
    write_record(tmp_path / "today.gz", [one], {})
    assert read_record(tmp_path / "today.gz")[0]["entrants"] == ["none", "auto"]


BARE = {"cell": vars(CELL), "floor": {}, "best_plain": {"solver": "heun"}, "results": {"none": {}}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": vars(CELL) | {"seed": "0"}}, "played.cell.seed must be a whole number, got 0"),
        ({"results": {"none": {"extra": "x"}}}, "played.results.none.extra must be a number"),
        ({"results": {}}, "played.results must hold none, got only nothing"),
        ({"best_plain": {}}, "played.best_plain must hold solver, got only nothing"),
        ({"floor": []}, "played.floor must be an object, got []"),
    ],
)
def test_a_cell_of_another_shape_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    Store(tmp_path).put("one", "key", {"versions": {}, "played": {**BARE, **change}})
    for read in (run.stored, functools.partial(run.kept, key="key")):
        with pytest.raises(InputError, match=re.escape(message)) as refused:
            read(tmp_path)
        assert str(tmp_path) in str(refused.value)


def test_auto_of_an_old_folder_is_auto_v1(tmp_path: Path) -> None:
    """Unless today's was asked for by name, which the key tells."""
    one = {**BARE, "results": {"none": {}, "auto": {}}}
    for key, name in (("sources 20", "auto-v1"), ("sources 20 auto", "auto")):
        Store(tmp_path).put("one", key, {"versions": {}, "played": one})
        assert list(run.stored(tmp_path)[1][0]["results"]) == ["none", name]


def test_the_second_edition_draws_every_seed_of_a_cell_or_none() -> None:
    """And plays them seed by seed, so that a stopped run has whole rounds first."""
    second = run.PROFILES["second"]
    groups = run.groups(second)
    by: dict[Cell, list[int]] = {}
    for cell in itertools.chain(*groups):
        by.setdefault(dataclasses.replace(cell, seed=0), []).append(cell.seed)
    assert set(map(tuple, by.values())) == {(2, 3, 4)}
    assert {cell.problem for cell in by} >= set(FRESH)
    assert {cell.evaluations for cell in by} == {n for n in BUDGETS if n <= FEW}
    assert [group[0].seed for group in groups] == sorted(group[0].seed for group in groups)


def test_every_plain_solver_and_the_best_at_equal_evaluations_are_kept() -> None:
    found = play(CELL, states=60, entrants=("none", "law-matched", "stein"))
    none, law, stein = (found["results"][name] for name in ("none", "law-matched", "stein"))
    assert found["plain"][CELL.solver]["energy_distance"] == none["energy_distance"]
    least = min(one["energy_distance"] for one in found["plain"].values())
    assert found["best_plain"]["energy_distance"] == least
    budget = CELL.evaluations + math.ceil(law["extra"])
    more = play(dataclasses.replace(CELL, evaluations=budget), states=60, entrants=("none",))
    assert law["equal_best"]["energy_distance"] == more["best_plain"]["energy_distance"]
    assert stein["extra"] > AFFORDABLE
    assert "equal_best" not in stein
    alone = play(CELL, states=60, entrants=("none", "stein"), rivals=())
    assert list(alone["plain"]) == [CELL.solver]
    assert alone["best_plain"]["energy_distance"] == none["energy_distance"]
    assert alone["results"] == {"none": none, "stein": stein}


def test_a_stopped_run_is_recorded_as_such(tmp_path: Path) -> None:
    found = run.rounded(play(CELL, states=30, entrants=("none", "law-matched")))
    found["results"]["none"] = {"stopped": "at step 2"}
    found["results"]["law-matched"]["equal"] = {"stopped": "a coordinate of 1e+101"}
    write_record(tmp_path / "r.gz", [found], {"profile": "quick"})
    (again,) = read_record(tmp_path / "r.gz")[1]
    assert again["results"]["none"] == {"stopped": "at step 2"}
    ours, theirs = (one["results"]["law-matched"] for one in (found, again))
    assert theirs.pop("equal") == {"stopped": "stopped"}
    assert ours.pop("equal")
    best, kept = ours.pop("equal_best"), theirs.pop("equal_best")
    assert kept == {"energy_distance": best["energy_distance"]}
    assert ours == theirs
    assert found["plain"] == again["plain"]
    assert list(again["plain"]) == list(SOLVERS)
    assert found["floor"] == again["floor"]


def test_a_page_without_markers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--page must hold"):
        write(tmp_path / "none.md", "text")


def test_the_quick_profile_is_small_and_every_group_shares_its_states() -> None:
    groups = run.groups(run.PROFILES["quick"])
    assert 60 < sum(map(len, groups)) < 150
    assert all(len({(c.problem, c.process, c.seed) for c in group}) == 1 for group in groups)


def test_flow_and_networks_come_first_and_any_part_of_the_rest_is_a_balanced_sample() -> None:
    groups = run.groups(run.PROFILES["full"])
    played = [cell for group in groups for cell in group]
    assert len(played) == len(set(played)) > 2000
    assert max(map(len, groups)) == run.LARGEST_GROUP
    first = [g[0].process == "flow" or not is_exact(g[0].problem) for g in groups]
    assert first == sorted(first, reverse=True)
    rest = groups[sum(first) :]
    third = rest[: len(rest) // 3]
    cells_of = {part: [c for g in some for c in g] for part, some in (("all", rest), ("a", third))}
    for name in (*LAWS, "digits"):
        shares = [np.mean([c.problem == name for c in some]) for some in cells_of.values()]
        assert shares[1] == pytest.approx(shares[0], abs=0.08)
        # a third of the groups, within four deviations of a draw without replacement
        own, at_first = (sum(g[0].problem == name for g in some) for some in (rest, third))
        assert abs(at_first - own / 3) < 4 * math.sqrt(own * 2 / 9)


@pytest.mark.parametrize(
    ("record", "name"), [(FULL, "corrections-evidence.md"), (SECOND, "corrections.md")]
)
def test_the_page_shows_the_record(record: Path, name: str, tmp_path: Path) -> None:
    page = tmp_path / name
    page.write_text((DOCS / name).read_text())
    tournament(["--from", str(record), "--page", str(page)])
    assert page.read_text() == (DOCS / name).read_text()
    assert record.stat().st_size < 3e6
