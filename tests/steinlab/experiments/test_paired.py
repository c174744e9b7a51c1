"""``compare --against``: decided where rows differ, silent where they do not, one line else."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analytic.arrays import Array
from steinlab.cli import main
from steinlab.corrections import CORRECTIONS
from steinlab.experiments.paired import LEVEL, Ratio, against_of, paired
from steinlab.experiments.specs.compare import CompareSpec
from steinlab.solvers.step import Diagnostics, Step

SPEC: dict[str, Any] = {
    "data": {"weights": [0.3, 0.7], "means": [-1, 1], "stds": [0.3, 0.5]},
    "solvers": ["euler", "heun"],
    "evaluations": [5],
    "corrections": ["none"],
    "samples": 60,
}


def spec(folder: Path, **change: Any) -> str:
    file = folder / "spec.json"
    file.write_text(json.dumps({**SPEC, **change}))
    return str(file)


def answered(folder: Path, *words: str, **change: Any) -> dict[str, Any]:
    out = folder / "out.json"
    assert main(["compare", spec(folder, **change), *words, "--json", str(out)]) == 0
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@pytest.mark.parametrize("seeds", [2, 5])
def test_equal_rows_are_called_undecided_at_the_stated_rate(seeds: int) -> None:
    """Of families of six comparisons, 5 % raise an alarm, and not far fewer."""
    rng, families, count = np.random.default_rng(0), 1500, 6
    alarms = 0
    for _ in range(families):
        logs = rng.standard_normal((count, seeds))
        alarms += any(Ratio.of(one, count).verdict != "undecided" for one in logs)
    error = np.sqrt(LEVEL * (1 - LEVEL) / families)
    assert abs(alarms / families - (1 - (1 - LEVEL / count) ** count)) < 4 * error


@dataclass(frozen=True)
class Jitter:
    """Noise of its own on every state: two of another ``states`` differ by their draws alone."""

    states: int = 1
    name: str = "jitter"

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:
        noise = rng.standard_normal(step.x.shape)
        return step.candidate.state + 0.2 * noise, Diagnostics(1.0)


def test_a_solver_against_its_statistical_twin_is_undecided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whole runs: at the stated rate of 5 %, 60 families raise 9 alarms or more once in 500."""
    monkeypatch.setattr("steinlab.corrections.CORRECTIONS", {**CORRECTIONS, "jitter": Jitter})
    twins = [{"name": "jitter", "states": k} for k in (1, 2, 3)]
    change = {"solvers": ["euler"], "evaluations": [3], "corrections": twins, "samples": 30}
    whole = CompareSpec.from_json({**SPEC, **change})
    against = against_of("euler+jitter states=1", whole)
    alarms, logs = 0, []
    for family in range(60):
        found = paired(replace(whole, seed=1000 * family), against, 3)
        alarms += any(one.verdict != "undecided" for one in found.answers)
        logs += [np.log(r.value) for one in found.answers for r in one.ratios.values() if r]
    assert found.comparisons == 4
    assert np.std(logs) > 0.05  # they do differ
    assert alarms < 9


def test_what_differs_is_decided(tmp_path: Path) -> None:
    change: dict[str, Any] = {"solvers": ["euler", "ipndm-3"], "samples": 300}
    found = answered(tmp_path, "--against", "euler", "--seeds", "3", **change)
    (row,) = found["rows"]
    assert (row["solver"], row["verdict"]) == ("ipndm-3", "better")
    assert row["ratios"]["flow_error"]["high"] < 1
    assert found["seeds"] == [0, 1, 2]
    (back,) = answered(tmp_path, "--against", "ipndm-3", "--seeds", "3", **change)["rows"]
    assert (back["solver"], back["verdict"]) == ("euler", "worse")
    one, other = (each["ratios"]["flow_error"]["value"] for each in (row, back))
    assert one * other == pytest.approx(1.0)


def test_budgets_and_corrections_have_their_own_answers(tmp_path: Path) -> None:
    change: dict[str, Any] = {"evaluations": [3, 5], "corrections": ["none", "auto"]}
    found = answered(tmp_path, "--against", "ipndm-3+tweedie", "--seeds", "2", **change)
    assert len(found["rows"]) == 8
    assert found["comparisons"] == 16
    spent = {row["correction"]: row["extra_evaluations"] for row in found["rows"]}
    assert spent["none"] == 0 < spent["auto"]
    assert found["against"] == {"solver": "ipndm-3", "correction": "tweedie"}
    named = answered(tmp_path, "--against", "heun", "--seeds", "2", metrics=["mean"])
    assert list(named["rows"][0]["ratios"]) == ["mean"]


def test_rows_are_kept_by_seed_and_found_again(tmp_path: Path) -> None:
    words = ["--against", "euler", "--seeds", "2", "--out", str(tmp_path / "rows")]
    first = answered(tmp_path, *words)
    assert sorted(one.name for one in (tmp_path / "rows").iterdir()) == ["seed-0", "seed-1"]
    assert answered(tmp_path, *words) == first
    assert answered(tmp_path, *words[:4], "--workers", "2") == first
    (tmp_path / "rows" / "seed-1" / "heun-5-evaluations-none.row.npz").unlink()
    assert answered(tmp_path, *words, "--workers", "2") == first


@dataclass(frozen=True)
class Bursts(Jitter):
    """Leaves the finite numbers."""

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:  # noqa: ARG002
        return step.x * np.inf, Diagnostics(1.0)


def test_a_run_that_stops_is_worse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steinlab.corrections.CORRECTIONS", {**CORRECTIONS, "jitter": Bursts})
    words = ["--against", "euler", "--seeds", "2"]
    found = answered(tmp_path, *words, solvers=["euler"], corrections=["none", "jitter"])
    assert [(row["verdict"], row["stopped"]) for row in found["rows"]] == [("worse", 2)]
    assert found["rows"][0]["ratios"]["flow_error"] is None


@pytest.mark.parametrize(
    ("words", "change", "message"),
    [
        (["--against", "eulr"], {}, "did you mean euler"),
        (["--against", "euler+stien"], {}, "did you mean stein"),
        (["--against", "euler"], {"solvers": ["euler"]}, "--against must be another than the"),
        (["--against", "euler", "--seeds", "1"], {}, "--seeds must be a whole number from 2 to"),
        (["--seeds", "3"], {}, "--seeds must be left out without --against, got 3"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str],
    change: dict[str, Any],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["compare", spec(tmp_path, **change), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
