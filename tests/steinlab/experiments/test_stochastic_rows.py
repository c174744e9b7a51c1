"""Solvers that draw noise: rows, paired answers, cells of the tournament, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steinlab.cli import main
from steinlab.errors import InputError
from steinlab.experiments.compare import calibrate_curve, compare, to_json
from steinlab.experiments.paired import BY_LAW, JUDGED, against_of, paired
from steinlab.experiments.specs.compare import CompareSpec
from steinlab.experiments.tournament.design import Cell
from steinlab.experiments.tournament.play import arena, play
from steinlab.solvers import STOCHASTIC

SMALL: dict[str, Any] = {
    "data": {"weights": [0.4, 0.6], "means": [[-1, 0], [1.5, 1]], "stds": [0.3, 0.5]},
    "solvers": ["euler", *STOCHASTIC, "euler-ancestral"],
    "corrections": ["none", "law-matched"],
    "evaluations": [6],
    "samples": 64,
}


def rows_of(**fields: Any) -> list[dict[str, Any]]:
    return [to_json(row) for row in compare(CompareSpec.from_json({**SMALL, **fields}))]


def test_rows_are_measured_by_law_and_carry_no_correction() -> None:
    rows = rows_of()
    runs = [(row["solver"], row["correction"]) for row in rows]
    drawn = [(name, "none") for name in SMALL["solvers"][1:]]
    assert runs == [("euler", "none"), ("euler", "law-matched"), *drawn]
    for row in rows:
        by_law = row["solver"] != "euler"
        assert (row["flow_error"] is None) == by_law
        assert ("flow_error does not apply" in row["note"]) == by_law
        assert row["energy_distance"]["value"] < 2
    named = {row["solver"]: row["energy_distance"] for row in rows}
    assert named["euler-ancestral"] == named["seeds-1"]


def test_rows_depend_on_the_seed_alone() -> None:
    fields = {"solvers": ["seeds-2", "posterior-noise"], "corrections": ["none"]}
    first = rows_of(**fields)
    assert rows_of(**{**fields, "solvers": ["posterior-noise", "seeds-2"]}) == first[::-1]
    assert rows_of(**fields, seed=1)[0]["energy_distance"] != first[0]["energy_distance"]


def test_posterior_noise_takes_a_curve(tmp_path: Path) -> None:
    spec = CompareSpec.from_json({**SMALL, "solvers": ["euler"]})
    calibrate_curve(spec).save(tmp_path / "curve.json")
    entry = {"name": "posterior-noise", "curve": "curve.json"}
    given = {**SMALL, "solvers": [entry], "corrections": ["none"]}
    (row,) = compare(CompareSpec.from_json(given, tmp_path))
    assert row.solver.solver.curve is not None
    assert np.isfinite(row.measured["energy_distance"].value)


def test_a_paired_answer_compares_laws() -> None:
    spec = CompareSpec.from_json(
        {**SMALL, "solvers": ["seeds-1", "euler"], "corrections": ["none"]}
    )
    found = paired(spec, against_of("euler", spec), 2)
    assert found.metrics == BY_LAW
    assert [one.row.solver.name for one in found.answers] == ["seeds-1"]
    assert all(ratio is not None for ratio in found.answers[0].ratios.values())
    plain = CompareSpec.from_json({**SMALL, "solvers": ["heun", "euler"], "corrections": ["none"]})
    assert paired(plain, against_of("euler", plain), 2).metrics == JUDGED


def test_a_cell_of_the_tournament_is_judged_by_law() -> None:
    cell = Cell("two-1", "edm", "karras", "seeds-2", 8, 0)
    found = play(cell, states=60, entrants=("none",))
    arena.cache_clear()
    assert "flow_error" not in found["results"]["none"]
    assert found["results"]["none"]["energy_distance"] < 5


COMPARE = "corrections must hold none for seeds-1, whose step draws noise, got stein"
REFUSED = [
    (["compare"], {**SMALL, "solvers": ["seeds-1"], "corrections": ["stein"]}, COMPARE),
    (
        ["compare", "--against", "seeds-1+law-matched"],
        SMALL,
        "--against must have no correction for seeds-1, got seeds-1+law-matched",
    ),
    (
        ["coefficient"],
        {
            "data": {"weights": [1], "means": [0], "stds": [1]},
            "from": [1, 1],
            "to": [1, "1/2"],
            "solver": "euler-ancestral",
        },
        "solver must draw no noise for a coefficient per step, got seeds-1",
    ),
    (
        ["trace"],
        {
            "data": SMALL["data"],
            "process": "edm",
            "grid": "karras",
            "steps": 4,
            "solver": "seeds-3",
        },
        "solver must draw no noise for a trace to the flow's end, got seeds-3",
    ),
    (
        ["advise"],
        {"data": SMALL["data"], "evaluations": 6, "solvers": ["seeds-1"]},
        "solver must draw no noise for advice by distances to the flow, got seeds-1",
    ),
]


@pytest.mark.parametrize(("command", "spec", "line"), REFUSED, ids=lambda v: str(v)[:30])
def test_what_needs_a_path_is_refused_in_one_line(
    command: list[str], spec: Any, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(spec))
    assert main([command[0], str(file), *command[1:]]) == 2
    err = capsys.readouterr().err.strip()
    assert line in err
    assert "Traceback" not in err


def test_the_tournament_takes_them_without_corrections_only() -> None:
    from steinlab.experiments.tournament.run import PROFILES
    from steinlab.experiments.tournament.session import Wish, _chosen

    wish = {"profile": "quick", "out": None, "page": None, "minutes": 1.0}
    wish |= {"record": None, "note": "", "source": None, "solvers": "seeds-1"}
    assert _chosen(PROFILES["quick"], Wish(**wish, corrections="none")).entrants == ("none",)
    with pytest.raises(InputError, match="--corrections must be none for seeds-1, whose step"):
        _chosen(PROFILES["quick"], Wish(**wish, corrections=None))
    fitted = Wish(**{**wish, "solvers": "dc"}, corrections="none")
    assert _chosen(PROFILES["quick"], fitted).solvers == ("dc",)
    with pytest.raises(InputError, match="none for dc, whose numbers are fitted, got stein"):
        _chosen(PROFILES["quick"], dataclasses.replace(fitted, corrections="stein"))
