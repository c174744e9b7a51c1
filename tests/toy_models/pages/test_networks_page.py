"""The pages on networks are those that the records make, and the records hold what they must."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from steinlab.errors import InputError
from toy_models.pages import networks as tables
from toy_models.pages import networks_record as record
from toy_models.pages.networks import pages

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"


FOUND = tables.records(DOCS)


def row(solver: str, fix: str, value: float, error: float, **changes: Any) -> dict[str, Any]:
    distances = {name: [value, error] for name in record.DISTANCES}
    base = {"solver": solver, "asked": 5, "spent": 5, "fix": fix, "gamma": [1.0], "kept": True}
    return {**base, "stopped": None, **distances, **changes}


@pytest.mark.parametrize("name", ["networks.md", "networks-tables.md"])
def test_the_page_is_what_the_records_make(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == pages(DOCS, None)[name]


@pytest.mark.parametrize("name", tables.NAMES)
def test_a_record_is_of_the_spec_beside_it_and_what_it_lacks_is_told(name: str) -> None:
    spec = json.loads((DOCS / "specs" / "networks" / f"{name}.json").read_text())
    found = FOUND[name]
    assert found.content["spec"] == spec
    assert len(spec["corrections"]) == 1 + len(record.FIXES)
    asked = {
        (s, n, fix)
        for s in spec["solvers"]
        for n in spec["evaluations"]
        for fix in (record.PLAIN, *record.FIXES)
    }
    lacking = asked - set(found.rows)
    assert set(found.rows) <= asked
    assert sum(a for a, _ in found.unrun().values()) == len(lacking)
    told = (DOCS / "networks.md").read_text(encoding="utf-8")
    for n, (missing, of) in found.unrun().items():
        assert f"{n} evaluations ({missing} of {of} rows)" in told
    for one in found.rows.values():
        for distance in record.DISTANCES:
            value, error = one[distance] or (0.0, 1.0)
            assert math.isfinite(value)
            assert error > 0


def test_gains_and_losses_are_told_by_the_joint_error() -> None:
    rows = [
        row("euler", record.PLAIN, 1.0, 0.3),
        row("euler", "stein", 0.0, 0.4),  # one off, joint error 0.5: exactly two of them
        row("euler", "auto-v1", -0.01, 0.4),
        row("euler", "stein in [0.1, 1]", 2.1, 0.4),
        row("heun", record.PLAIN, 1.0, 0.1),
        row("heun", "auto-v1", 0, 0, stopped="it left the numbers", flow_error=None),
    ]
    rows += [row("ipndm-3", record.PLAIN, 1.0, 0.1), row("ipndm-3", "stein", 900.0, 800.0)]
    rows += [row("ipndm-3", "auto-v1", 0.1, 0.9)]
    rows += [row("ddim", record.PLAIN, -0.1, 0.3), row("ddim", "stein", 900.0, 800.0)]
    rows += [row("ddim", "auto-v1", 0.01, 9.0)]
    one = record.Record("x", {"rows": rows})
    for solver in ("ipndm-3", "ddim"):  # a factor of 900, known to a factor of 2.4; a tenth, +- 9
        exploded = [one.outcome(solver, 5, fix, "flow_error") for fix in ("stein", "auto-v1")]
        assert exploded == ["loss", "even"]
    found = [one.outcome("euler", 5, fix, "flow_error") for fix in record.FIXES]
    assert found == ["even", "loss", "gain"]
    assert one.outcome("heun", 5, "auto-v1", "flow_error") == "loss"
    assert tables.tally(one, "auto-v1", "flow_error") == (1, 1, 2)
    assert tables.cell(one, "heun", 5, "auto-v1", "flow_error") == "stopped"
    assert tables.cell(one, "euler", 5, "auto-v1", "flow_error") == "**-0.01 ± 0.40**"


def test_ratios_are_geometric_means_over_the_solvers() -> None:
    rows = [row(s, record.PLAIN, 2.0, 0.1) for s in ("euler", "heun")]
    rows += [row("euler", "auto-v1", 1.0, 0.1), row("heun", "auto-v1", 8.0, 0.1)]
    one = record.Record("x", {"rows": rows})
    assert one.ratio("auto-v1", "flow_error", 5) == pytest.approx(math.sqrt(0.5 * 4))
    assert math.isnan(one.ratio("stein", "flow_error", 5))  # not run
    rows.append(row("heun", "stein", 0, 0, flow_error=None, stopped="it left the numbers"))
    assert record.Record("x", {"rows": rows}).ratio("stein", "flow_error", 5) == math.inf


def test_a_record_keeps_what_compare_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from steinlab.cli import main

    spec = {
        "data": {"weights": [1], "means": [[0, 1]], "stds": [1]},
        "solvers": ["heun"],
        "evaluations": [4],
        "corrections": ["none", "stein", {"name": "stein", "gamma_max": 1}],
        "samples": 40,
    }
    out = tmp_path / "rows.json"
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(spec))
    assert main(["compare", str(file), "--json", str(out)]) == 0
    rows = json.loads(out.read_text())
    capsys.readouterr()
    assert main(["networks-record", str(file), str(out)]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made == record.packed(spec, rows)
    assert [one["fix"] for one in made["rows"]] == [record.PLAIN, *record.FIXES[:2]]
    for one, given in zip(made["rows"], rows, strict=True):
        assert (one["asked"], one["spent"]) == (4, 3)
        for name in record.DISTANCES:
            assert one[name][0] == pytest.approx(given[name]["value"], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("digits-mlp", {"rows": [{}]}, "rows[0] must hold solver, got only nothing"),
        ("digits-mlp", {"floor": {"sliced_w2": [1]}}, "floor.sliced_w2 must hold at least 2"),
        ("digits-mlp", {"spec": {"solvers": []}}, "spec must hold evaluations, got only solvers"),
        ("galaxies-budget", {"exact": 2.0}, "[0].exact must be an object, got 2.0"),
        ("galaxies-budget", {"sigma": [80.0]}, "[0].sigma must hold at least 2 entries"),
    ],
)
def test_what_is_no_record_is_refused(
    name: str, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = tmp_path / tables.RESULTS / f"{name}.json"
    found = json.loads((DOCS / tables.RESULTS / file.name).read_text(encoding="utf-8"))
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps([found[0] | change] if isinstance(found, list) else found | change))
    read = tables.budget if isinstance(found, list) else record.Record.read
    with pytest.raises(InputError, match=re.escape(message)):
        read(tmp_path if isinstance(found, list) else file)


def test_the_budget_closes_at_every_level_on_record() -> None:
    rows = tables.budget(DOCS)
    assert [row["index"] for row in rows] == 2 * list(range(8))
    for one in rows:
        parts = one["parts"].values()
        assert sum(part["value"] for part in parts) == pytest.approx(one["explained"], abs=1e-5)
        error = math.hypot(one["total"]["error"], *(part["error"] for part in parts))
        z = (one["explained"] - one["total"]["value"]) / error
        assert z == pytest.approx(one["z"], abs=0.02)
        assert abs(z) < 4


def test_the_page_shows_pictures_that_are_there() -> None:
    shown = re.findall(r"\]\((pictures/\S+)\)", (DOCS / "networks.md").read_text())
    assert len(shown) == 2
    assert all((DOCS / picture).is_file() for picture in shown)
