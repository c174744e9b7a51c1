"""What the full tournament's record says of corrections: cell by cell, and by evaluations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from steinlab.claims.performance.correction_tournament import AIM, MEASURE
from steinlab.errors import InputError
from steinlab.experiments.tournament.design import FEW
from steinlab.experiments.tournament.record import FULL, READABLE, read_record
from steinlab.experiments.tournament.summary import Line, Played, line, ratio
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.panels import plain_ticks, say, take_away
from steinlab.report.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY

HALF = "report"
QUANTILES = (0.05, 0.25, 0.75, 0.95)


class Drawn(NamedTuple):
    """How a curve looks: told apart without colour by marker and line."""

    color: str
    marker: str
    linestyle: Any


GROUPS: Mapping[str, Mapping[str, Drawn]] = MappingProxyType(
    {
        "one number per step": {
            "stein": Drawn(RED, "v", ":"),
            "stein, gamma <= 1": Drawn(ORANGE, "s", "--"),
            "tweedie, gamma <= 1": Drawn(SKY, "D", "-."),
            "law-matched": Drawn(GREEN, "^", "-"),
            "flow-oracle": Drawn(GREY, "*", (0, (4, 1, 1, 1, 1, 1))),
        },
        "several numbers per step": {
            "gmm": Drawn(PURPLE, "P", "-."),
            "local": Drawn(BLACK, "X", ":"),
            "calibrated": Drawn(BLUE, "o", "-"),
            "auto-v1": Drawn(ORANGE, "p", "--"),
        },
    }
)
"""Entrants shown, a panel by evaluations each; ``flow-oracle`` is a reference nobody can use."""

LOOKS = {name: drawn for group in GROUPS.values() for name, drawn in group.items()}

CELLS_SCALE = (3e-5, 3e4)
MEANS_SCALE = (5e-3, 30.0)
"""What lies beyond is an arrow at the edge; the stored data have its value."""

ASIDE = 0.025
"""Logarithm of the factor of the evaluations by which neighbouring intervals stand apart."""


def compute(seed: int, *, file: Path = FULL) -> FigureData:  # noqa: ARG001
    """Return ratios ``(E, C)`` to the plain solver, their quantiles, and means with intervals.

    ``mean`` ``(E, 3)`` and ``by_budget`` ``(E, B, 3)`` hold the geometric mean and the ends of its
    95 % interval, problems drawn again; ``worst`` ``(E,)`` the largest ratio. ``by_budget`` goes
    over all budgets, the rest over those of :data:`FEW` evaluations or fewer.
    """
    try:
        about, played = read_record(file)
    except InputError:
        return FigureData({}, {}, (_absent(f"no record of version {READABLE} in {file.name}"),))
    half = [one for one in played if one["half"] == HALF and MEASURE in one["floor"]]
    few = [one for one in half if one["cell"]["evaluations"] <= FEW]
    names = [name for name in LOOKS if name in about["entrants"]]
    if not few or not names:
        return FigureData({}, {}, (_absent(f"no cell or no correction to show in {file.name}"),))
    config = {
        "entrants": names,
        "half": HALF,
        "few": FEW,
        "aim": AIM,
        "measure": MEASURE,
        "quantiles": list(QUANTILES),
        "stopped": {name: sum("stopped" in one["results"][name] for one in few) for name in names},
        "record": {key: about.get(key) for key in ("profile", "states", "seeds", "key")},
        "worst_cells": {name: line(name, few, MEASURE).worst_cell for name in names},
    }
    lacking = tuple(_absent(f"no {name} in {file.name}") for name in LOOKS if name not in names)
    return FigureData(_cells(names, few) | _budgets(names, half), config, lacking)


def _absent(what: str) -> str:
    return f"full tournament: {what}, which steinlab tournament --record writes"


def _cells(names: Sequence[str], played: Sequence[Played]) -> dict[str, np.ndarray]:
    def own(one: Played, name: str) -> float:
        results = one["results"]
        return ratio(results[name], results["none"], one["floor"][MEASURE], MEASURE)

    ratios = np.array([[own(one, name) for one in played] for name in names])
    return {
        "ratios": ratios,
        "quantiles": np.quantile(ratios, QUANTILES, axis=1).T,
        "worst": ratios.max(axis=1),
        "mean": np.array([_interval(line(name, played, MEASURE)) for name in names]),
    }


def _budgets(names: Sequence[str], played: Sequence[Played]) -> dict[str, np.ndarray]:
    budgets = sorted({one["cell"]["evaluations"] for one in played})
    chosen = [[one for one in played if one["cell"]["evaluations"] == n] for n in budgets]
    by_budget = [[_interval(line(name, some, MEASURE)) for some in chosen] for name in names]
    return {
        "budgets": np.array(budgets),
        "cells": np.array([len(some) for some in chosen]),
        "by_budget": np.array(by_budget),
    }


def _interval(one: Line) -> tuple[float, float, float]:
    return one.mean, one.low, one.high


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw a row per correction, then means by evaluations, a panel per kind of correction."""
    if not data.arrays:
        say(axes[0], data.skipped[0])
        axes[0].axhline(0, color=GREY, linewidth=0.5)
        take_away(axes[1:])
        return
    _plot_cells(axes[0], data)
    for ax, (title, group) in zip(axes[1:], GROUPS.items(), strict=True):
        names = [name for name in data.config["entrants"] if name in group]
        if names:
            _plot_means(ax, data, names, title)
        else:
            take_away([ax])
    axes[1].set_ylabel("geometric mean ratio")


def _plot_cells(ax: Axes, data: FigureData) -> None:
    """Draw quantiles as bars, the mean with its interval upon them, and the worst cell."""
    names, arrays = data.config["entrants"], data.arrays
    for i, name in enumerate(names):
        color, (a, b, c, d) = LOOKS[name].color, arrays["quantiles"][i]
        mean, low, high = arrays["mean"][i]
        ax.plot([a, min(d, CELLS_SCALE[1])], [i, i], color=color, linewidth=0.7)
        ax.plot([b, c], [i, i], color=color, linewidth=4.5, alpha=0.35, solid_capstyle="butt")
        span = [[mean - low], [high - mean]]
        marker: dict[str, Any] = {"marker": LOOKS[name].marker, "markersize": 2.5}
        ax.errorbar(mean, i, xerr=span, color=color, linewidth=1.2, **marker)
        _mark(ax, i, arrays["worst"][i], color)
    ax.axvline(1.0, color=BLACK, linewidth=0.5)
    ax.axvline(data.config["aim"], color=BLACK, linewidth=0.5, linestyle="--")
    ax.set(xscale="log", xlim=CELLS_SCALE, ylim=(len(names) - 0.4, -0.6))
    ax.xaxis.set_major_locator(LogLocator(numticks=6))
    ax.xaxis.set_minor_locator(NullLocator())
    rows = zip(names, arrays["mean"], strict=True)
    ax.set_yticks(range(len(names)), [f"{_label(n)}\n{_told(*found)}" for n, found in rows])
    ax.tick_params(axis="y", length=0)
    for label in ax.get_yticklabels():
        label.set(linespacing=1.1, fontsize=5.5)
    ax.set_title(rf"$\leq {data.config['few']}$ evaluations, {arrays['ratios'].shape[1]} cells")
    ax.set_xlabel("energy distance ratio")


def _mark(ax: Axes, row: int, worst: float, color: str) -> None:
    """Mark the worst cell and write its ratio; beyond the scale it is an arrow at the edge."""
    edge = CELLS_SCALE[1]
    shape = (">", 3.0, (-1, 2), "right") if worst > edge else ("|", 5.0, (3, -2), "left")
    marker, size, aside, side = shape
    at = (min(worst, edge), row)
    ax.plot(*at, color=color, clip_on=False, linestyle="none", marker=marker, markersize=size)
    place: dict[str, Any] = {"xytext": aside, "textcoords": "offset points", "ha": side}
    ax.annotate(_short(worst), at, fontsize=5, **place)


def _label(name: str) -> str:
    return name.replace("gamma <= 1", r"$\gamma \leq 1$")


def _told(mean: float, low: float, high: float) -> str:
    return f"{_short(mean)} ({_short(low)} to {_short(high)})"


def _short(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"


def _plot_means(ax: Axes, data: FigureData, names: Sequence[str], title: str) -> None:
    """Draw geometric means with their intervals; where they leave the scale, an arrow."""
    budgets = data.arrays["budgets"]
    for k, name in enumerate(names):
        mean, low, high = data.arrays["by_budget"][data.config["entrants"].index(name)].T
        at = budgets * np.exp(ASIDE * (k - (len(names) - 1) / 2))
        inside = mean <= MEANS_SCALE[1]
        span = np.array([mean - low, high - mean])[:, inside]
        style: dict[str, Any] = {**LOOKS[name]._asdict(), "linewidth": 0.7, "elinewidth": 0.5}
        ax.errorbar(at[inside], mean[inside], yerr=span, label=_label(name), **style)
        if not inside.all():
            edge: dict[str, Any] = {"marker": "^", "linestyle": "none", "clip_on": False}
            top = np.full((~inside).sum(), MEANS_SCALE[1])
            ax.plot(at[~inside], top, color=LOOKS[name].color, **edge)
    ax.axhline(1.0, color=BLACK, linewidth=0.5)
    ax.axhline(data.config["aim"], color=BLACK, linewidth=0.5, linestyle="--")
    ax.set(xscale="log", yscale="log", ylim=MEANS_SCALE)
    ax.set_xticks(budgets, [str(n) for n in budgets])
    ax.xaxis.set_minor_locator(NullLocator())
    plain_ticks(ax)
    ax.set_title(title)
    ax.set_xlabel("evaluations")
    ax.legend(loc="best")


FIGURE = Figure(
    "tournament",
    "The full tournament's reporting half: energy distance with a correction over the plain "
    "solver's, geometric means with 95 % intervals; bars: half and nine tenths of the cells, then "
    "the worst cell; dashed: the aim; arrows: off the scale",
    compute,
    plot,
    columns=3,
    aspect=1.2,
    claims=("correction-tournament",),
)
