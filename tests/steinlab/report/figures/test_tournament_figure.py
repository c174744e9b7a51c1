"""The tournament's figure: what it draws is the record, and what it lacks it says."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from steinlab.cli import main
from steinlab.experiments.tournament.record import FULL, SECOND, read_record
from steinlab.experiments.tournament.summary import line
from steinlab.report.figures import tournament
from steinlab.report.figures.base import FigureData
from steinlab.report.figures.render import SUFFIXES, draw, render
from steinlab.report.figures.style import styled
from tests.steinlab.report.figures.test_registered import check


@pytest.fixture(scope="module")
def data() -> FigureData:
    return tournament.compute(0)


def test_what_is_drawn_is_the_record(data: FigureData) -> None:
    about, played = read_record(SECOND)
    half = [one for one in played if one["half"] == "report"]
    assert data.skipped == ()
    assert set(data.config["entrants"]) == {*about["entrants"]} - {"none"}
    assert data.config["cells"] == len(half)
    assert list(data.arrays["mean"][:, 0]) == sorted(data.arrays["mean"][:, 0])
    best = dict(zip(data.arrays["best_rows"], data.arrays["best"], strict=True))
    for i, name in [*enumerate(data.config["entrants"])][::4]:  # an interval takes a while
        one = line(name, half)
        assert data.arrays["mean"][i].tolist() == [one.mean, one.low, one.high]
        assert (data.arrays["worst"][i], data.arrays["equal"][i]) == (one.worst, one.equal)
        assert best.get(i, np.nan) == pytest.approx(one.equal_best, nan_ok=True, rel=1e-12)
        assert data.config["worst_cells"][name] == one.worst_cell
    assert len(best) < len(data.config["entrants"])
    for j, budget in enumerate(data.arrays["budgets"]):
        best = [c["best_plain"]["solver"] for c in played if c["cell"]["evaluations"] == budget]
        assert data.arrays["shares"][0, j] == best.count("unit-speed-3") / len(best)
    assert data.arrays["shares"].sum(axis=0) == pytest.approx(1)


def test_every_row_is_written_and_drawn(data: FigureData) -> None:
    with styled(tournament.FIGURE):
        canvas = draw(tournament.FIGURE, data)
        canvas.canvas.draw()  # type: ignore[attr-defined]
        rows = canvas.get_axes()[0]
        labels = [label.get_window_extent() for label in rows.get_yticklabels()]
        low, high = rows.get_xlim()
    assert len(labels) == len(data.config["entrants"])
    assert not any(a.overlaps(b) for a, b in itertools.combinations(labels, 2))
    assert low < data.arrays["mean"].min()
    assert data.arrays["worst"].max() < high


@pytest.mark.parametrize("drawn", [tournament.AGAINST, tournament.PLAIN])
def test_no_two_methods_share_a_colour_or_a_marker(drawn: dict[str, dict[str, str]]) -> None:
    both = [*tournament.AGAINST.values(), *tournament.PLAIN.values()]
    assert len({look["color"] for look in both}) == len(both)
    assert len({look["marker"] for look in drawn.values()}) == len(drawn)


def test_the_same_bytes_again(tmp_path: Path, data: FigureData) -> None:
    figure = dataclasses.replace(tournament.FIGURE, compute=lambda _seed: data)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        render(figure, 0, tmp_path / folder)
    for suffix in SUFFIXES:
        one, two = (tmp_path / folder / f"tournament.{suffix}" for folder in ("a", "b"))
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("content", [None, b"", b"no record", SECOND.read_bytes()[:9000]])
def test_no_record_is_said_in_a_line(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "second.jsonl.gz"
    if content is not None:
        file.write_bytes(content)
    data = tournament.compute(0, file=file)
    assert data.arrays == {}
    (told,) = data.skipped
    assert told.startswith(
        "second tournament: no record of version 1 or 2 in second.jsonl.gz, which steinlab"
    )
    check(tournament.FIGURE, data)


def test_a_record_without_a_cell_of_few_evaluations_is_said(tmp_path: Path) -> None:
    head, *rows = gzip.decompress(SECOND.read_bytes()).decode().splitlines()
    kept = [row for row in rows if json.loads(row)["cell"][4] > tournament.FEW]
    (tmp_path / "b.gz").write_bytes(gzip.compress("\n".join([head, *kept]).encode()))
    data = tournament.compute(0, file=tmp_path / "b.gz")
    assert data.skipped[0].startswith("second tournament: no cell or no correction to show in b.gz")
    check(tournament.FIGURE, data)


def test_the_first_editions_record_is_drawn_too() -> None:
    data = tournament.compute(0, file=FULL)
    assert {"gmm", "calibrated, local"} < {*data.config["entrants"]}
    assert "flow-oracle" not in data.config["entrants"]
    check(tournament.FIGURE, data)


def test_the_command_draws_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["figures", "tournament", "--out", str(tmp_path), "--workers", "1"]) == 0
    assert "left out" not in capsys.readouterr().out
    stored = json.loads((tmp_path / "tournament.json").read_text())
    assert stored["claims"] == ["correction-tournament"]
    assert stored["config"]["aim"] == 0.1
