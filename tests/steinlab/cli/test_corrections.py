"""Every correction from the command line: compare takes it, tables are stored and checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from steinlab.cli import main
from steinlab.corrections import CORRECTIONS
from steinlab.diffusion.spread import seen_variance
from steinlab.solvers.loop import solve
from tests.steinlab.corrections.test_fitted import GRID, start
from tests.steinlab.solvers.cases import PLANE

SPEC: dict[str, Any] = {
    "data": {"weights": [0.3, 0.7], "means": [[-2, 0], [2, 1]], "stds": [0.2, 0.4]},
    "solvers": ["dpmpp-2m"],
    "evaluations": [5],
    "samples": 200,
}


def spec(folder: Path, **change: Any) -> str:
    file = folder / "spec.json"
    file.write_text(json.dumps({**SPEC, **change}))
    return str(file)


def rows(folder: Path, **change: Any) -> list[dict[str, Any]]:
    out = folder / "rows.json"
    assert main(["compare", spec(folder, **change), "--json", str(out)]) == 0
    found: list[dict[str, Any]] = json.loads(out.read_text())
    return found


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "table.json"
    assert main(["calibrate", spec(tmp_path, samples=800), "--out", str(file)]) == 0
    return file


def test_compare_takes_every_correction(tmp_path: Path) -> None:
    found = rows(tmp_path, corrections=list(CORRECTIONS))
    assert [row["correction"] for row in found] == list(CORRECTIONS)
    assert not any(row["stopped"] for row in found)


def test_what_looks_at_states_first_says_its_price_before_it_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An upper bound of what it then reports; nothing where it is to be silent."""
    fixes = ["none", "auto", {"name": "pilot", "states": 20}, {"name": "auto-v1", "states": 30}]
    file = spec(tmp_path, corrections=fixes)
    assert main(["compare", file, "--json", str(tmp_path / "rows.json")]) == 0
    told = capsys.readouterr().err.splitlines()
    assert [line.split(" looks")[0].removeprefix("steinlab: ") for line in told] == [
        *("auto", "pilot states=20", "auto-v1 states=30")
    ]
    assert "spends 12 evaluations per state at most beside the solver's" in told[0]
    assert "probability of 2.3 % at most" in told[0]
    for fix, line in zip(fixes[1:], told, strict=True):
        made = CORRECTIONS[fix if isinstance(fix, str) else str(fix["name"])]
        run = solve(PLANE, start(200), GRID, "dpmpp-2m", correction=made(**_options(fix)))
        most = float(line.split("spends ")[1].split()[0])
        assert run.diagnostics[0].evaluations <= 1.05 * most
    assert main(["compare", file, "--no-progress"]) == 0
    assert capsys.readouterr().err == ""


def _options(fix: Any) -> dict[str, Any]:
    return {} if isinstance(fix, str) else {k: v for k, v in fix.items() if k != "name"}


def test_options_may_be_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(tmp_path, corrections=[{"name": "law-matched", "part": "noise", "states": 100}])
    assert found[0]["options"] == {"part": "noise", "states": 100}
    assert "law-matched part=noise states=100" in capsys.readouterr().out
    bad = spec(tmp_path, corrections=[{"name": "law-matched", "part": "sate"}])
    assert main(["compare", bad]) == 2
    assert "part must be one of auto, state, noise" in capsys.readouterr().err


def test_a_table_is_found_beside_the_spec_and_costs_nothing(table: Path) -> None:
    stored = {"name": "calibrated", "table": table.name}
    plain, fixed = rows(table.parent, corrections=["none", stored])
    assert fixed["energy_distance"]["value"] < plain["energy_distance"]["value"]
    assert fixed["evaluations"] == plain["evaluations"]
    assert len(json.loads(table.read_text())["steps"]) == 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"solvers": ["euler"]}, "table must be of the solver euler, got dpmpp-2m"),
        ({"evaluations": [6]}, "table must be of this grid"),
        ({"grid": "logsnr"}, "table must be of this grid"),
        ({"model": "digits", "data": None}, "table must be of the model digits, got law"),
    ],
)
def test_a_table_of_something_else_is_one_line(
    table: Path, change: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = {**SPEC, **change, "corrections": [{"name": "calibrated", "table": table.name}]}
    file = table.parent / "other.json"
    file.write_text(json.dumps({key: v for key, v in whole.items() if v is not None}))
    capsys.readouterr()
    assert main(["compare", str(file)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_another_law_is_another_model(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = {"weights": [0.3, 0.7], "means": [[-2, 0], [2, 1]], "stds": [0.2, 0.5]}
    bad = spec(table.parent, data=other, corrections=[{"name": "calibrated", "table": table.name}])
    assert main(["compare", bad]) == 2
    assert "table must be of the model law" in capsys.readouterr().err


def test_bad_input_to_calibrate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "table.json")
    for change, words in (
        ({"solvers": ["euler", "heun"]}, "solvers must hold one entry, got 2"),
        ({"evaluations": [4, 5]}, "evaluations must hold one entry, got 2"),
        ({"samples": 4}, "calibration states must be >= 5, got 4"),
    ):
        assert main(["calibrate", spec(tmp_path, **change), "--out", out]) == 2
        assert words in capsys.readouterr().err
    missing = spec(tmp_path, corrections=[{"name": "calibrated", "table": "none.json"}])
    assert main(["compare", missing]) == 2
    assert "table must be a readable JSON file" in capsys.readouterr().err


def test_an_exact_divergence_of_a_network_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exact = {"name": "stein", "divergence": "exact"}
    whole = {key: value for key, value in SPEC.items() if key != "data"}
    file = tmp_path / "network.json"
    file.write_text(json.dumps({**whole, "model": "grid25-mlp", "corrections": ["none", exact]}))
    for command in (["compare", str(file)], ["calibrate", str(file), "--out", str(tmp_path / "t")]):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert "corrections[1].divergence must be hutchinson for the model grid25-mlp" in error
        assert error.count("\n") == 1


def test_a_word_names_the_divergence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [{"name": name, "divergence": how} for name in ("stein", "next-level") for how in DIVS]
    found = rows(tmp_path, samples=20, corrections=["stein", *words])
    first = [row["coefficients"][0]["estimate"]["value"] for row in found]
    assert first[0] == first[1]  # by default exact where the denoiser is
    assert len(set(first)) == 4
    bad = spec(tmp_path, corrections=[{"name": "stein", "divergence": "exat"}])
    assert main(["compare", bad]) == 2
    assert "divergence must be one of exact, hutchinson" in capsys.readouterr().err


DIVS = ("exact", "hutchinson")


def test_a_curve_is_measured_and_read_beside_the_spec(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its ``w`` is that of the forward law, and a row with it differs from the batch's own."""
    file = tmp_path / "curve.json"
    assert main(["calibrate", spec(tmp_path, samples=2000), "--curve", "--out", str(file)]) == 0
    assert "49 levels, 2000 states" in capsys.readouterr().out
    found = json.loads(file.read_text())
    law = GaussianMixture([0.3, 0.7], [[-2, 0], [2, 1]], [0.04, 0.16])
    for k in (0, 20, 30, 48):
        level, rng = NoiseLevel(1.0, found["ratios"][k]), np.random.default_rng(k)
        x = level.noised(law.sample(100_000, rng), rng)
        seen = float(seen_variance(x, law(x, level), level))
        assert found["w"][k] == pytest.approx(level.sigma**2 / (seen + level.sigma**2), abs=0.02)
    stored = {"name": "unit-speed-2", "curve": file.name}
    read, own, euler = rows(
        tmp_path, solvers=[stored, "unit-speed-2", "euler"], corrections=["none"]
    )
    assert (read["curve"], own.get("curve")) == (str(file), None)
    assert read["flow_error"]["value"] < 0.8 * euler["flow_error"]["value"]
    assert read["flow_error"]["value"] != own["flow_error"]["value"]
    for solver, message in (
        ({"name": "euler", "curve": file.name}, "solvers[0].curve must be left out for euler"),
        ({"name": "unit-speed-1c", "curve": file.name}, "curve must be left out for unit-speed-1c"),
        ({"name": "unit-speed-1", "curve": "none.json"}, "curve must be a readable JSON file, got"),
    ):
        assert main(["compare", spec(tmp_path, solvers=[solver])]) == 2
        assert message in capsys.readouterr().err
    other = {"weights": [1], "means": [[0, 0]], "stds": [1]}
    assert main(["compare", spec(tmp_path, solvers=[stored], data=other)]) == 2
    assert "curve must be of the model law " in capsys.readouterr().err
