"""The figure of the full tournament: what it draws is the record, and what it lacks it says."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steinlab.cli import main
from steinlab.experiments.tournament.record import FULL, read_record
from steinlab.experiments.tournament.summary import line
from steinlab.report.figures import tournament
from steinlab.report.figures.base import FigureData
from steinlab.report.figures.render import SUFFIXES, draw, render
from steinlab.report.figures.style import styled
from tests.steinlab.report.figures.test_registered import check


@pytest.fixture(scope="module")
def data() -> FigureData:
    return tournament.compute(0)


def record(file: Path, *, without: str = "", few: bool = True) -> Path:
    """Write the record again with an entrant renamed, or without the cells of few evaluations."""
    head, *rows = gzip.decompress(FULL.read_bytes()).decode().splitlines()
    kept = [row for row in rows if few or json.loads(row)["cell"][4] > tournament.FEW]
    about = json.loads(head)
    about["entrants"] = [name + "*" * (name == without) for name in about["entrants"]]
    text = "\n".join([json.dumps(about), *kept]).replace(f'"{without}":', f'"{without}*":')
    file.write_bytes(gzip.compress(text.encode()))
    return file


def test_what_is_drawn_is_the_record(data: FigureData) -> None:
    _, played = read_record(FULL)
    half = [one for one in played if one["half"] == "report"]
    few = [one for one in half if one["cell"]["evaluations"] <= 10]
    assert data.skipped == ()
    assert data.config["entrants"] == list(tournament.LOOKS)
    assert data.arrays["cells"].sum() == len(half)
    assert data.arrays["ratios"].shape == (len(tournament.LOOKS), len(few))
    for i, name in enumerate(tournament.LOOKS):
        one = line(name, few)
        assert data.arrays["mean"][i].tolist() == [one.mean, one.low, one.high]
        assert np.exp(np.log(data.arrays["ratios"][i]).mean()) == pytest.approx(one.mean, rel=1e-9)
        assert data.arrays["worst"][i] == data.arrays["ratios"][i].max() == one.worst
        assert data.config["worst_cells"][name] == one.worst_cell
        for j, budget in enumerate(data.arrays["budgets"]):
            at = line(name, [c for c in half if c["cell"]["evaluations"] == budget])
            assert data.arrays["by_budget"][i, j].tolist() == [at.mean, at.low, at.high]


def test_every_mean_is_on_the_scale_or_an_arrow(data: FigureData) -> None:
    with styled(tournament.FIGURE):
        canvas = draw(tournament.FIGURE, data)
        canvas.canvas.draw()  # type: ignore[attr-defined]
        cells, *panels = canvas.get_axes()
        marks = sum(len(np.atleast_1d(ln.get_xdata())) for ax in panels for ln in points(ax))
        labels = [label.get_window_extent() for label in cells.get_yticklabels()]
    assert marks == data.arrays["by_budget"].shape[0] * len(data.arrays["budgets"])
    low, high = tournament.MEANS_SCALE
    assert (data.arrays["by_budget"][..., 0] > low).all()
    assert (data.arrays["by_budget"][..., 0] > high).any()
    assert (data.arrays["quantiles"] > tournament.CELLS_SCALE[0]).all()
    assert not any(a.overlaps(b) for a, b in itertools.combinations(labels, 2))


def points(ax: Any) -> list[Any]:
    """Return the lines that carry markers."""
    return [ln for ln in ax.lines if ln.get_marker() not in ("None", None, "")]


def test_curves_are_told_apart_without_colour() -> None:
    for group in tournament.GROUPS.values():
        for part in ("color", "marker", "linestyle"):
            assert len({str(getattr(drawn, part)) for drawn in group.values()}) == len(group)
    assert len({drawn.marker for drawn in tournament.LOOKS.values()}) == len(tournament.LOOKS)


def test_the_same_bytes_again(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        render(tournament.FIGURE, 0, tmp_path / folder)
    for suffix in SUFFIXES:
        one, two = (tmp_path / folder / f"tournament.{suffix}" for folder in ("a", "b"))
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("content", [None, b"", b"no record", FULL.read_bytes()[:9000]])
def test_no_record_is_said_in_a_line(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "full.jsonl.gz"
    if content is not None:
        file.write_bytes(content)
    data = tournament.compute(0, file=file)
    assert data.arrays == {}
    (told,) = data.skipped
    assert told.startswith(
        "full tournament: no record of version 1 or 2 in full.jsonl.gz, which steinlab"
    )
    check(tournament.FIGURE, data)


def test_what_the_record_lacks_is_left_out_and_named(tmp_path: Path) -> None:
    data = tournament.compute(0, file=record(tmp_path / "a.gz", without="auto"))
    assert "auto-v1" not in data.config["entrants"]
    assert [told.split(",")[0] for told in data.skipped] == ["full tournament: no auto-v1 in a.gz"]
    check(tournament.FIGURE, data)
    data = tournament.compute(0, file=record(tmp_path / "b.gz", few=False))
    assert data.skipped[0].startswith("full tournament: no cell or no correction to show in b.gz")
    check(tournament.FIGURE, data)


def test_the_command_draws_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["figures", "tournament", "--out", str(tmp_path), "--workers", "1"]) == 0
    assert "left out" not in capsys.readouterr().out
    stored = json.loads((tmp_path / "tournament.json").read_text())
    assert stored["claims"] == ["correction-tournament"]
    assert stored["config"]["aim"] == 0.25
