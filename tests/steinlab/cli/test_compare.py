"""``steinlab compare``: its numbers against closed forms, its rows, its failures."""

import itertools
import json
import math
import signal

import numpy as np
import pytest

import steinlab.experiments.bench
import steinlab.experiments.compare
from steinlab.cli import main
from steinlab.diffusion.processes import EDM, PROCESSES
from steinlab.experiments.coefficient_noise import SPLITS
from steinlab.experiments.compare import _run, compare, to_json
from steinlab.experiments.specs.compare import CompareSpec
from steinlab.solvers import EULER, SOLVER_IDS
from steinlab.solvers.loop import solve
from steinlab.solvers.plans import run_within

GAUSSIAN = {"weights": [1], "means": [0], "stds": ["1/2"]}
MODES = {"weights": ["1/2", "1/2"], "means": [[-1, 0], [1, 0]], "stds": [0.1, 0.1]}
SMALL = {
    "data": MODES,
    "solvers": ["euler", "heun"],
    "evaluations": [2, 4],
    "samples": 60,
}
IN_PROCESS = "import sys; from steinlab.cli import main; sys.exit(main(sys.argv[1:]))"


def rows_of(obj, progress=None):
    return [to_json(row) for row in compare(CompareSpec.from_json(obj), progress)]


def key(row):
    return row["solver"], row["evaluations"]["asked"], row["correction"], str(row["options"])


def test_distances_of_a_gaussian_law_match_their_closed_forms():
    obj = {"data": GAUSSIAN, "solvers": ["ddim"], "evaluations": [4], "corrections": ["none"]}
    (row,) = rows_of({**obj, "samples": 6000})
    (_, levels), variance = run_within(EULER, EDM, "karras", 4), 0.25
    gain = 1.0  # of the linear scheme, step by step: D = variance / (variance + sigma^2) x
    for s, t in itertools.pairwise(levels):
        gain *= 1 - (1 - t.sigma / s.sigma) * (s.sigma**2 / (variance + s.sigma**2))
    start = math.hypot(0.5, levels[0].sigma)
    end, flow = gain * start, 0.5
    energy = math.sqrt(2 / math.pi) * (2 * math.hypot(end, flow) - math.sqrt(2) * (end + flow))
    for name, exact in (("energy_distance", energy), ("flow_error", abs(end - flow))):
        assert abs(row[name]["value"] - exact) < 4 * row[name]["error"]
        assert 0 < row[name]["error"] < 0.1 * exact
    assert row["sliced_w2"]["value"] == pytest.approx(abs(end - flow), rel=0.1)
    floor = row["noise_floor"]["energy_distance"]
    assert abs(floor["value"]) < 5 * floor["error"]


def test_rows_say_what_was_asked_and_spent():
    rows = rows_of({**SMALL, "solvers": ["heun"], "evaluations": [8], "corrections": ["stein"]})
    assert rows[0]["evaluations"] == {"asked": 8, "spent": 7}
    assert rows[0]["steps"] == len(rows[0]["coefficients"]) == 4
    assert rows[0]["note"] == "spends 7 of 8 evaluations"
    assert rows[0]["stopped"] is None
    first = rows[0]["coefficients"][0]
    assert set(first) == {"step", "applied", "estimate", "note"}
    assert first["estimate"]["error"] > 0


def test_rows_say_how_a_run_starts_and_ends(spec_file, capsys):
    solvers = ["heun", "dpmpp-3m-exact", {"name": "deis-log-2", "start": "own", "final": [1]}]
    obj = {**SMALL, "solvers": solvers, "start": "matching", "evaluations": [9]}
    obj["corrections"] = ["none"]
    rows = rows_of(obj)
    seen = [(row["solver"], row["start"], row["final"], row["end"]) for row in rows]
    assert seen == [
        ("heun", "own", [], "zero"),
        ("dpmpp-3m-exact", "matching", [], "zero"),
        ("deis-log-2", "own", [1], "zero"),
    ]
    assert [(row["evaluations"]["spent"], row["steps"]) for row in rows] == [(9, 5), (9, 5), (9, 9)]
    assert main(["compare", spec_file({**obj, "end": "least"})]) == 0
    table = capsys.readouterr().out
    assert "dpmpp-3m-exact start=matching" in table
    assert "deis-log-2 final=1" in table
    assert "ends at the least noisy level" in table
    assert "heun start" not in table


@pytest.mark.parametrize("schedule", ["edm", "ve", "flow"])
def test_a_run_above_zero_is_measured_where_it_ends(schedule):
    """A law as narrow as the least noise: measured against the data it would be far off."""
    data = {"weights": [1], "means": [1], "stds": [0.001]}
    obj = {"data": data, "solvers": ["deis-log-2"], "evaluations": [60], "schedule": schedule}
    obj |= {"end": "least", "grid": "logsnr", "corrections": ["none"], "samples": 400}
    (row,) = rows_of(obj)
    assert row["end"] == "least"
    process = PROCESSES[schedule]
    noise = process.level(process.t_min).sigma
    assert noise > 0.9e-3
    assert row["flow_error"]["value"] < 0.1 * noise
    floor = row["noise_floor"]["energy_distance"]
    assert row["noise_floor"]["sliced_w2"]["value"] < 0.35 * noise
    distance = row["energy_distance"]
    assert abs(distance["value"]) < 5 * (distance["error"] + floor["error"])


def test_every_solver_runs_by_name_at_least_noise_on_every_process():
    names = [*SOLVER_IDS, "ddim"]
    for schedule in PROCESSES:
        # too few to split: a row is one run, its coefficients' noise left unknown
        obj = {**SMALL, "schedule": schedule, "end": "least", "solvers": names, "samples": 15}
        rows = rows_of({**obj, "evaluations": [12], "corrections": ["stein"]})
        assert [row["solver"] for row in rows] == names
        for row in rows:
            assert row["stopped"] is None
            assert row["evaluations"]["spent"] == 12


def test_a_row_depends_on_the_seed_and_not_on_its_place():
    rows = {key(row): row for row in rows_of(SMALL)}
    turned = {**SMALL, "solvers": ["heun", "ddim"], "evaluations": [4, 3, 2]}
    for row in rows_of({**turned, "corrections": ["tweedie", "stein", "none"]}):
        twin = rows.get(key({**row, "solver": row["solver"].replace("ddim", "euler")}))
        if twin is not None:
            assert {**row, "solver": twin["solver"]} == twin
            rows.pop(key(twin))
    assert not rows
    assert rows_of(SMALL) != rows_of({**SMALL, "seed": 1})


def test_a_rows_random_numbers_depend_on_what_it_is(monkeypatch):
    def draws(obj):
        seen = {}

        def spy(denoiser, x, grid, solver, *, correction, rng):
            seen[solver.name, len(grid), correction.name, correction.gamma_min] = rng.random()
            return solve(denoiser, x, grid, solver, correction=correction, rng=rng)

        monkeypatch.setattr(steinlab.experiments.bench, "solve", spy)
        rows_of(obj)
        return seen

    options = ["stein", {"name": "stein", "gamma_min": 0.5}]
    first = draws({**SMALL, "corrections": options})
    assert len(set(first.values())) == len(first) == 8
    turned = {**SMALL, "solvers": ["heun", "euler"], "evaluations": [4, 2]}
    assert draws({**turned, "corrections": options[::-1]}) == first
    reseeded = draws({**SMALL, "corrections": options, "seed": 1})
    assert not set(reseeded.values()) & set(first.values())


def test_random_numbers_depend_on_how_a_run_starts_and_ends(monkeypatch):
    draws = []

    def spy(*args, rng, **kwargs):
        draws.append(rng.random())
        return solve(*args, rng=rng, **kwargs)

    monkeypatch.setattr(steinlab.experiments.bench, "solve", spy)
    options = [{}, {"start": "matching"}, {"final": [1]}, {"start": "matching", "final": [1]}]
    solvers = [{"name": "dpmpp-2m", **entry} for entry in options]
    rows_of({**SMALL, "solvers": solvers, "evaluations": [4], "corrections": ["stein"]})
    assert len(set(draws)) == len(draws) == 4 * (1 + 2 * SPLITS)  # halves have their own


def test_a_state_that_overflows_stops_its_row_alone():
    wild = {"name": "stein", "gamma_min": 1e60}
    obj = {**SMALL, "solvers": ["euler"], "evaluations": [6], "corrections": [wild, "none"]}
    stopped, plain = rows_of(obj)
    assert stopped["stopped"].startswith("state is not finite after step 4 of 6 (solver euler, ")
    assert "correction stein" in stopped["stopped"]
    assert stopped["energy_distance"] is stopped["flow_error"] is None
    assert stopped["evaluations"]["spent"] == len(stopped["coefficients"]) == 4
    assert plain["energy_distance"]["value"] < 10
    assert plain["stopped"] is None


def test_the_start_is_the_forward_law_and_shared(monkeypatch):
    starts = []

    def spy(denoiser, x, *args, **kwargs):
        starts.append(x)
        return solve(denoiser, x, *args, **kwargs)

    monkeypatch.setattr(steinlab.experiments.bench, "solve", spy)
    few = {"samples": 1500, "evaluations": [2], "metrics": ["flow_error"]}
    rows_of({**SMALL, **few, "schedule": "flow"})
    whole = [x for x in starts if len(x) == 1500]
    assert len(whole) == 4
    assert all((x == starts[0]).all() for x in whole)
    t, variance = 1 - 1e-3, starts[0].var(axis=0)
    expected = (1 - t) ** 2 * np.array([1.01, 0.01]) + t**2
    np.testing.assert_allclose(variance, expected, rtol=5 * math.sqrt(2 / 1500))


def test_progress_grows_to_one():
    seen = []
    rows_of(SMALL, lambda done, what: seen.append((done, what)))
    done = [value for value, _ in seen]
    assert done == sorted(done)
    assert done[0] == 0.0
    assert done[-1] == 1.0
    assert "heun, 4 evaluations, stein" in {what for _, what in seen}


def test_a_model_in_a_process_of_its_own(steinlab, spec_file, tmp_path):
    out = tmp_path / "rows.json"
    obj = {"model": "digits", "solvers": ["euler", "dpmpp-2m"], "evaluations": [3], "samples": 40}
    done = steinlab("compare", spec_file(obj), "--json", out, "--no-progress")
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(out.read_text())
    assert len(rows) == 4
    assert rows[0]["flow_error"]["value"] > rows[2]["flow_error"]["value"]
    for text in ("energy distance", "+-", "dpmpp-2m", "two samples of the law itself", "gamma"):
        assert text in done.stdout


def test_json_is_complete_on_stdout_and_the_same_again(steinlab, spec_file):
    spec = spec_file(SMALL)
    first, again = (steinlab("compare", spec, "--json", "-", "--seed", 3, here=True) for _ in "ab")
    assert first.stdout == again.stdout
    assert json.loads(first.stdout) == rows_of({**SMALL, "seed": 3})
    assert "energy distance" in first.stderr


def test_it_does_not_load_torch(steinlab, spec_file):
    code = "import sys; from steinlab.cli import main; main(sys.argv[1:]);"
    code += "sys.exit('torch' in sys.modules)"
    assert steinlab("compare", spec_file(SMALL), code=code).returncode == 0


def test_an_interrupt_keeps_what_is_done(steinlab, spec_file, tmp_path, monkeypatch):
    out = tmp_path / "rows.json"
    calls = []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return _run(*args)

    def stopped(*_):
        raise KeyboardInterrupt

    words = ["compare", spec_file(SMALL), "--json", out, "--no-progress"]
    monkeypatch.setattr("steinlab.experiments.compare._run", interrupted)
    done = steinlab(*words, here=True)
    assert done.returncode == 130
    assert done.stderr == f"steinlab: interrupted after 2 rows, written to {out}\n"
    assert len(json.loads(out.read_text())) == 2
    monkeypatch.setattr("steinlab.experiments.compare.exact_bench", stopped)
    done = steinlab(*words, here=True)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "steinlab: interrupted after 0 rows\n"
    assert len(json.loads(out.read_text())) == 2  # the earlier result is left alone


def test_a_defect_of_the_laboratory_is_a_traceback_and_1(steinlab, spec_file):
    code = (
        "import steinlab.experiments.compare as c\n"
        "def bug(*a): raise ValueError('a defect')\nc._run = bug\n"
    )
    done = steinlab("compare", spec_file(SMALL), code=code + IN_PROCESS)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ValueError: a defect" in done.stderr


def test_writing_is_atomic(spec_file, tmp_path, monkeypatch):
    out = tmp_path / "rows.json"
    out.write_text("before")

    def full(*args):
        raise OSError("full")

    monkeypatch.setattr("pathlib.Path.replace", full)
    assert main(["compare", spec_file(SMALL), "--json", str(out)]) == 2
    assert out.read_text() == "before"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["rows.json", "spec.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"evaluations": [0]}, "evaluations[0] must be a whole number from 1 to 10000, got 0"),
        ({"samples": -5}, "samples must be a whole number from 2 to 1000000, got -5"),
        ({"solvers": ["unipc-4"]}, "solvers[0]: order must be 1, 2 or 3 for unipc, got 4"),
        ({"solvers": ["deis-log-2"]}, "solvers[0]: deis-log-2 cannot step to sigma = 0; give a"),
        (
            {"solvers": ["heun"], "evaluations": [2, 1], "end": "least"},
            "evaluations must be >= 2 for one step of heun, got 1",
        ),
        ({"solvers": ["hueun"]}, "did you mean heun? solvers[0] must be one of euler, heun, "),
        ({"data": {"npy": "nope.npy", "bandwidth": 1}}, "data.npy must name a readable .npy file"),
        ({"data": {**MODES, "stds": [0.1]}}, "data.stds must hold one entry per weight, 2 in all"),
    ],
)
def test_bad_specs_are_one_line(spec_file, refused, change, message):
    assert refused("compare", spec_file({**SMALL, **change})).startswith(message)


def test_a_bad_spec_in_a_process_of_its_own(steinlab, spec_file):
    done = steinlab("compare", spec_file({**SMALL, "colour": "red"}), here=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("steinlab: SPEC must hold only solvers, evaluations,")


@pytest.mark.parametrize("args", [["--seed", "a"], ["--seed", "-1"], ["--json", "no/such/file"]])
def test_bad_options_are_named_before_the_spec_is_read(refused, args):
    assert refused("compare", "nope.json", *args).startswith(f"{args[0]} must ")


def test_the_table_says_what_was_spent(spec_file, capsys):
    obj = {**SMALL, "solvers": ["heun"], "evaluations": [8], "corrections": ["none"]}
    assert main(["compare", spec_file(obj)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["8", "7", "heun", "none"] in [words[:4] for words in lines]
