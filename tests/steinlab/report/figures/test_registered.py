"""Every registered figure: its data are finite, its configuration is JSON, no panel is empty.

The small ones are computed here with less of everything; ``make test-full`` computes all as
published. Models that may be missing are replaced by ones that are not there, or left out.
"""

from __future__ import annotations

import functools
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas

from steinlab.cli import main
from steinlab.diffusion.laws import LAWS
from steinlab.report.figures import figure_names, load_figure
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.error_evaluations_networks import Case as NetworkCase
from steinlab.report.figures.render import SUFFIXES, draw, spanning
from steinlab.report.figures.sample_grids import Case as PictureCase
from steinlab.report.figures.style import WORDS, styled
from steinlab.solvers import SOLVER_IDS

NOT_THERE = "no-such-model"

REDUCED: dict[str, dict[str, Any]] = {
    "bound-scatter": {"runs": 36},
    "causes": {"laws": ("two modes",)},
    "coefficient-routes": {},
    "correction-ratios": {
        "problems": ("ring-2",),
        "solvers": ("euler",),
        "budgets": (4, 6),
        "states": 60,
    },
    "decay": {"runs": 3},
    "error-evaluations": {
        "laws": ("25-mode grid, 2-D",) * 2,
        "budgets": (3, 5),
        "states": 32,
        "batches": 2,
    },
    "error-evaluations-networks": {
        "cases": (
            NetworkCase("digits-mlp", 8, 0, 9, (3, 5), ("plain", "stein")),
            NetworkCase(NOT_THERE, 16, 0, 9, (3,), ("plain",)),
        )
    },
    "estimator-variance": {"batches": (64, 256), "probes": (1, 5)},
    "few-step-methods": {
        "solvers": ("seeds-2", "rk-4", "euler", "dc"),
        "laws": ("two-1",) * 3,
        "budgets": (3, 6),
        "states": 60,
    },
    "local-lipschitz": {"budgets": (6, 10, 12)},
    "observed-orders": {"steps": (8, 16), "solvers": ("euler", "heun", "dpmpp-3m-exact")},
    "one-step-models": {"levels": (3, 6)},
    "perturbation-ladder": {"sizes": (0.1, 1.0), "kinds": ("bias",)},
    "proof-map-bound": {
        "maps": (("bound-edm-euler", "separation=1:1.2,shift=4,threshold=9/10", 20),) * 2
    },
    "proof-map-coefficient": {"maps": (("coefficient-edm-heun", "separation=0:16", 60),) * 3},
    "proof-map-contraction": {"maps": (("contraction-edm-euler", None, 60),) * 3},
    "proof-map-flow-steps": {
        "maps": (("clip-neutral-flow", "separation=2.4:2.5,ratio=0.05:0.5", 20),) * 2
    },
    "proof-map-gain": {"maps": (("gain-euler-karras", "steps=3:6", 40),) * 3},
    "proof-map-spectra": {"solvers": ("euler", "heun"), "steps": (3, 9)},
    "rooms": {},
    "sample-grids": {
        "cases": (PictureCase("digits-mlp", 9, 3), PictureCase(NOT_THERE, 9, 3)),
    },
    "stability-triangle": {},
    "study-coefficients": {},
    "study-lipschitz": {"folder": Path(NOT_THERE)},
    "study-runs": {"solvers": ("euler", NOT_THERE)},
    "tournament": {},
    "trajectories": {},
    "vp-terms": {"repeats": 2},
}
"""What makes a figure cheap, by name."""


def check(figure: Figure, data: FigureData) -> None:
    json.dumps(dict(data.config), allow_nan=False)
    for name, array in data.arrays.items():
        assert array.size, name
        if array.dtype.kind == "f":
            assert np.isfinite(array).all(), name
    with styled(figure):
        canvas = draw(figure, data)
        canvas.canvas.draw()  # type: ignore[attr-defined]
        shown = canvas.get_axes()
        assert shown
        assert all(ax.lines or ax.collections or ax.images for ax in shown)
        page = canvas.bbox
        legends = [one.get_window_extent() for one in canvas.legends]
        for axis in (axis for ax in shown for axis in (ax.xaxis, ax.yaxis)):
            named = [one for one in axis.get_ticklabels() if one.get_text() and one.get_visible()]
            boxes = [one.get_window_extent().padded(-0.5) for one in named]
            low, high = sorted(axis.get_view_interval())
            kept = [b for b, t in zip(boxes, axis.get_ticklocs(), strict=False) if low <= t <= high]
            assert not any(a.overlaps(b) for a, b in itertools.pairwise(kept)), "ticks overlap"
        labels = [ax.xaxis.label.get_window_extent() for ax in shown if ax.get_xlabel()]
        for a, b in itertools.combinations(labels, 2):
            assert not a.overlaps(b), "names of axes overlap"
        titles = [ax.title.get_window_extent() for ax in shown if ax.get_title()]
        words = [text for ax in shown for text in ax.texts if text.get_text()]
        written = [box.padded(-0.5) for box in (*titles, *(w.get_window_extent() for w in words))]
        for a, b in itertools.combinations(written, 2):
            assert not a.overlaps(b)
        for box in (*legends, *titles, *(ax.get_tightbbox() for ax in shown)):
            assert box.x0 >= page.x0 - 1
            assert box.x1 <= page.x1 + 1
            assert box.y0 >= page.y0 - 1
            assert box.y1 <= page.y1 + 1


def test_every_figure_has_a_reduced_form() -> None:
    assert set(figure_names()) <= set(REDUCED)


@functools.cache
def reduced(name: str) -> FigureData:
    return load_figure(name).compute(0, **REDUCED[name])  # type: ignore[call-arg]


@pytest.mark.parametrize("name", figure_names())
def test_reduced(name: str) -> None:
    data = reduced(name)
    check(load_figure(name), data)
    assert bool(data.skipped) == (NOT_THERE in repr(REDUCED[name]))


HIGHEST = 9.5
"""Inches that a page of text is high, with the margin that a float takes of it."""


@pytest.mark.parametrize("name", figure_names())
def test_it_is_read_at_the_width_of_a_column(name: str) -> None:
    figure = spanning(load_figure(name), "column")
    check(figure, reduced(name))
    with styled(figure):
        canvas = draw(figure, reduced(name))
    assert canvas.get_figheight() <= HIGHEST
    ids = {*SOLVER_IDS, *LAWS, *WORDS} - {"gamma", "<="}
    assert said(canvas).isdisjoint(ids), "an id where words should be"


def said(canvas: Canvas) -> set[str]:
    """Return the words of titles, ticks and legends."""
    texts = [ax.get_title() for ax in canvas.axes]
    texts += [one.get_text() for ax in canvas.axes for one in ax.get_yticklabels()]
    drawn = [*canvas.legends, *(ax.get_legend() for ax in canvas.axes)]
    texts += [one.get_text() for legend in drawn if legend for one in legend.get_texts()]
    return {word.strip(",:") for text in texts for word in text.split()}


def test_what_cannot_be_read_is_noticed() -> None:
    """Ticks upon each other, a legend beyond the page, ids for words."""

    def plot(axes: Any, _data: FigureData) -> None:
        axes[0].plot([0, 1])
        axes[0].set_xticks([0, 1e-2], ["some words", "other words"])

    def wide(axes: Any, _data: FigureData) -> None:
        (line,) = axes[0].plot([0, 1], label="dpmpp-2m")
        axes[0].figure.legend([line], ["far too long " * 20], loc="upper left")
        axes[0].legend()

    for drawn in (plot, wide):
        with pytest.raises(AssertionError):
            check(Figure("bad", "", lambda _: FigureData({}, {}), drawn), FigureData({}, {}))
    with styled(load_figure("rooms")):
        canvas = draw(Figure("bad", "", lambda _: FigureData({}, {}), wide), FigureData({}, {}))
    assert "dpmpp-2m" in said(canvas)


def test_what_is_drawn_as_theory_is_what_is_measured() -> None:
    decay = reduced("decay")
    reference = decay.config["choices"].index("reference")
    measured, predicted = decay.arrays["measured"][:, reference], decay.arrays["predicted"]
    assert np.allclose(measured, predicted, rtol=1e-9, atol=0)
    triangle = reduced("stability-triangle").arrays
    for process in ("edm", "vp-linear"):
        lengths = np.isin(triangle["length"], triangle["edge_length"])
        edge = triangle[f"{process}_threshold"][lengths]
        assert np.allclose(triangle[f"{process}_edge"], edge, rtol=1e-5, atol=0)
    slopes = reduced("local-lipschitz")
    for budget in slopes.config["budgets"]:
        top = slopes.arrays[f"step_{budget}"][-1]
        assert np.all(top <= slopes.arrays[f"ridge_{budget}"] * (1 + 1e-9))


def test_the_bound_holds_and_the_expansion_meets_the_estimates() -> None:
    scatter = reduced("bound-scatter").arrays
    assert not scatter["violated"].any()
    assert np.all(scatter["gap"] - scatter["error"] <= scatter["bound"] * (1 + 1e-9))
    found = reduced("estimator-variance").arrays
    for part in ("batch", "probes"):
        off = np.abs(found[part] - found[f"{part}_theory"])
        assert np.all(off <= 5 * found[f"{part}_error"])


@pytest.mark.slow
@pytest.mark.parametrize("name", figure_names())
def test_as_published(name: str) -> None:
    figure = load_figure(name)
    check(figure, figure.compute(0))


def test_an_empty_panel_or_a_gap_in_the_data_is_noticed() -> None:
    def nothing(axes: Any, data: FigureData) -> None:
        axes[0].plot(data.arrays["x"])

    x = np.arange(3.0)
    with pytest.raises(AssertionError):
        check(Figure("two", "", FigureData, nothing, columns=2), FigureData({"x": x}, {}))  # type: ignore[arg-type]
    bad = FigureData({"x": np.array([np.nan])}, {})
    with pytest.raises(AssertionError):
        check(Figure("one", "", FigureData, nothing), bad)  # type: ignore[arg-type]


def test_the_number_of_processes_does_not_change_the_bytes(tmp_path: Path) -> None:
    names = ["stability-triangle", "coefficient-routes"]
    for workers in ("1", "2"):
        folder = str(tmp_path / workers)
        assert main(["figures", *names, "--out", folder, "--workers", workers]) == 0
    for name in names:
        for suffix in SUFFIXES:
            one, two = (tmp_path / w / f"{name}.{suffix}" for w in ("1", "2"))
            assert one.read_bytes() == two.read_bytes()


def test_a_bad_number_of_processes_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["figures", "--workers", "0"]) == 2
    assert "--workers" in capsys.readouterr().err
