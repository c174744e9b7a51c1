"""The figure command: names, files, the same bytes on a rerun, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steinlab.cli import main
from steinlab.errors import InputError
from steinlab.report.figures import figure_names, load_figure, observed_orders, style
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.render import SUFFIXES, chosen, draw, render, spanning
from steinlab.report.figures.style import look, styled
from steinlab.solvers import SOLVER_IDS
from tests.steinlab.report.figures.test_registered import reduced


def _compute(seed: int) -> FigureData:
    x = np.random.default_rng(seed).standard_normal(5)
    return FigureData({"x": x}, {"points": 5}, ("the second curve: no model",))


def _plot(axes: Any, data: FigureData) -> None:
    axes[0].plot(data.arrays["x"])


TINY = Figure("tiny", "Five points", _compute, _plot)


def test_a_rerun_writes_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / folder).mkdir()
        render(TINY, seed, tmp_path / folder)
        written.append({s: (tmp_path / folder / f"tiny.{s}").read_bytes() for s in SUFFIXES})
    assert written[0] == written[1]
    assert all(written[0][suffix] != written[2][suffix] for suffix in SUFFIXES)


def test_other_formats_are_the_same_bytes_on_a_rerun_too(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        render(TINY, 0, tmp_path / folder, ("svg",))
    files = [{f.name: f.read_bytes() for f in (tmp_path / one).iterdir()} for one in "ab"]
    assert files[0] == files[1]
    assert set(files[0]) == {"tiny.svg", "tiny.npz", "tiny.json"}


def test_a_width_sets_columns_below_each_other() -> None:
    wide = Figure("wide", "", _compute, _plot, rows=2, columns=3)
    column = spanning(wide, "column")
    assert (column.rows, column.columns, column.wide) == (6, 1, False)
    page = spanning(Figure("narrow", "", _compute, _plot, wide=False), "page")
    assert (page.rows, page.columns, page.wide) == (1, 1, True)
    with styled(wide):
        full = draw(wide, _compute(0)).get_size_inches()
    with styled(column):
        half = draw(column, _compute(0)).get_size_inches()
    assert half[0] < 0.55 * full[0]


def test_solvers_are_chosen_where_a_figure_shows_a_choice() -> None:
    asked: list[Any] = []

    def compute(seed: int, *, solvers: tuple[str, ...] = ("euler",)) -> FigureData:
        asked.append((seed, solvers))
        return FigureData({}, {})

    chosen(Figure("choice", "", compute, _plot), ["heun", "rk-4"]).compute(3)
    assert asked == [(3, ("heun", "rk-4"))]
    with pytest.raises(InputError, match="left out for tiny, whose solvers are fixed"):
        chosen(TINY, ["heun"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "gif"], "--format must be one of pdf, png, svg, got gif"),
        (["--width", "wide"], "--width must be one of column, page, got wide"),
        (["--solvers", "euler"], "--solvers must be left out for rooms"),
        (["--solvers", "eule"], "--solvers must be one of"),
    ],
)
def test_options_are_refused_before_anything_is_written(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new"
    assert main(["figures", "rooms", *words, "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_the_data_lie_beside_the_picture(tmp_path: Path) -> None:
    data = render(TINY, 0, tmp_path)
    assert np.array_equal(np.load(tmp_path / "tiny.npz")["x"], data.arrays["x"])
    record = json.loads((tmp_path / "tiny.json").read_text())
    assert record["seed"] == 0
    assert record["config"] == {"points": 5}
    assert record["skipped"] == ["the second curve: no model"]
    assert sorted(f.name for f in tmp_path.iterdir()) == sorted(f"tiny.{s}" for s in SUFFIXES)


def test_a_failing_figure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(axes: Any, data: FigureData) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        render(Figure("tiny", "", _compute, fail), 0, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", figure_names())
def test_every_figure_loads_and_says_what_it_shows(name: str) -> None:
    figure = load_figure(name)
    assert figure.name == name
    assert figure.title


def test_the_command_lists_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["figures", "--list"]) == 0
    assert "coefficient-routes" in capsys.readouterr().out
    assert main(["figures", "coefficient-route"]) == 2
    assert "did you mean coefficient-routes?" in capsys.readouterr().err
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert main(["figures", "coefficient-routes", "--out", str(blocked / "x")]) == 2
    assert "--out must be a folder" in capsys.readouterr().err


def test_every_solver_has_a_family_to_be_drawn_in() -> None:
    families = {observed_orders.family(name) for name in SOLVER_IDS}
    assert families == set(range(len(observed_orders.FAMILIES)))


def test_no_two_families_look_alike() -> None:
    looks = [tuple(look(i).values()) for i in range(64)]
    assert len(set(looks)) == 64


@pytest.mark.parametrize("name", ["decay", "proof-map-gain", "error-evaluations", "sample-grids"])
def test_titles_are_words(name: str) -> None:
    figure = load_figure(name)
    with styled(figure):
        canvas = draw(figure, reduced(name))
    words = {word for ax in canvas.axes for word in ax.get_title().split()}
    assert words.isdisjoint(style.WORDS)
    assert words.isdisjoint(f"{one}," for one in style.WORDS)
