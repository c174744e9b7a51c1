"""The tables of docs/comparison.md: what they list, how they come about, their numbers again."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from steinlab.experiments.coefficient_noise import Noise
from steinlab.experiments.compare import compare, to_json
from steinlab.experiments.specs.compare import CompareSpec
from steinlab.report.pages import comparison
from steinlab.solvers import SOLVER_IDS

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "comparison.md").read_text()
SPECS = sorted((ROOT / "docs" / "specs").glob("*-*.json"))

LATER = re.compile(r"rk-|pndm|dpm-[23]m$|unipc-\d-noise|deis-\w+-4|unit-speed|pfdiff|rx-|epd-")
"""Solvers that came after the page was made."""

COMPARED = [name for name in SOLVER_IDS if not LATER.match(name)]


def tables() -> list[tuple[str, list[list[str]]]]:
    """Section and cells of every table of distances on the page."""
    out = []
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        for block in re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE):
            lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.split("\n")]
            if lines[0][0] == "solver":
                out.append((section.splitlines()[0], [lines[0], *lines[2:-1]]))
    return out


def test_every_solver_is_in_every_table() -> None:
    assert len(tables()) == 8
    for _, lines in tables():
        named = [re.findall(r"`(.+?)`", line[0]) for line in lines[1:]]
        assert set(COMPARED) == set(itertools.chain.from_iterable(named))
        assert lines[0][1:] == [f"{n}{kind}" for n in (3, 5, 8, 10) for kind in ("", " stein")]


def test_one_cell_a_column_is_the_best() -> None:
    for _, lines in tables():
        for cells in list(zip(*lines[1:], strict=True))[1:]:
            values = [float(cell.strip("*").split()[0]) for cell in cells if cell]
            bold = [float(cell.strip("*").split()[0]) for cell in cells if cell.startswith("**")]
            assert set(bold) == {min(values)}


def test_the_page_names_every_spec_and_the_specs_every_solver() -> None:
    assert {file.name for file in SPECS} == set(re.findall(r"specs/([\w-]+\.json)", PAGE))
    for law in ("modes", "digits"):
        for grid in ("karras", "logsnr"):
            seen = set()
            for file in SPECS:
                if file.name.startswith(f"{law}-{grid}"):
                    spec = CompareSpec.from_json(json.loads(file.read_text()))
                    assert (spec.schedule, spec.grid, spec.evaluations) == (
                        "edm",
                        grid,
                        (3, 5, 8, 10),
                    )
                    seen |= {entry.name for entry in spec.solvers}
            assert seen == set(COMPARED)


@pytest.mark.parametrize(("grid", "name"), [("karras", "ipndm-4"), ("logsnr", "unipc-2-bh1")])
def test_a_number_of_the_page_comes_again(
    grid: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers alone: what the coefficients' noise adds to their errors takes eight runs."""
    monkeypatch.setattr("steinlab.experiments.compare.coefficient_noise", lambda *_: Noise())
    obj = json.loads((ROOT / "docs" / "specs" / f"modes-{grid}.json").read_text())
    rows = list(compare(CompareSpec.from_json({**obj, "solvers": [name], "evaluations": [5]})))
    found = [lines for title, lines in tables() if "25 modes" in title and grid in title.lower()]
    assert len(found) == 2
    for lines, distance in zip(found, ("energy_distance", "flow_error"), strict=True):
        (line,) = [line for line in lines if f"`{name}`" in line[0]]
        for row, column in zip(rows, ("5", "5 stein"), strict=True):
            value, error = (float(v) for v in line[lines[0].index(column)].strip("*").split(" ± "))
            assert row.measured[distance].value == pytest.approx(value, abs=0.1 * error)


def test_rendering() -> None:
    data = {"weights": [1], "means": [[1, 0]], "stds": [1]}
    solvers = ["euler", "ipndm-1", "heun", {"name": "dpmpp-2m", "start": "matching", "final": [1]}]
    obj = {"data": data, "solvers": solvers, "evaluations": [4, 6], "samples": 50}
    rows = [
        to_json(row) for row in compare(CompareSpec.from_json({**obj, "corrections": ["none"]}))
    ]
    rows[-1]["energy_distance"] = None
    text = comparison.table_of(rows, "energy_distance")
    head, _, both, heun, started = text.splitlines()
    assert head == "| solver | 4 | 6 |"
    assert both.startswith("| `euler`, `ipndm-1` | ")
    assert heun.startswith("| `heun` | ")
    assert (heun.count("[3]"), heun.count("[5]")) == (1, 1)
    assert started.startswith("| `dpmpp-2m` (matching start, final [1]) | ")
    assert started.endswith("| stopped |")
    best = min(row["energy_distance"]["value"] for row in rows[:4])
    line = {0: both, 1: both, 2: heun, 3: started}
    index = [row["energy_distance"]["value"] for row in rows[:4]].index(best)
    assert line[index].split(" | ")[1].startswith("**")
    assert "two samples of the law itself" in comparison.render(rows)
