"""What the second edition's record says: one line per correction, and the best plain solvers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from steinlab.errors import InputError
from steinlab.experiments.tournament.aims import GAIN, MEASURE
from steinlab.experiments.tournament.design import FEW
from steinlab.experiments.tournament.entrants import REFERENCES
from steinlab.experiments.tournament.record import READABLE, SECOND, read_record
from steinlab.experiments.tournament.summary import Played, line
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.panels import say, take_away
from steinlab.report.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    worded,
)

HALF = "report"

AGAINST: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "mean": {"color": BLUE, "marker": "o", "label": "same solver, same budget (95 %)"},
        "equal": {"color": ORANGE, "marker": "s", "label": "same solver, equal evaluations"},
        "best": {"color": PURPLE, "marker": "D", "label": "best plain, equal evaluations"},
        "worst": {"color": GREY, "marker": "|", "label": "worst cell, same budget"},
    }
)
"""What a correction is set against: a colour says that, and the row says which correction."""

PLAIN: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "unit-speed-3": {"color": GREEN, "marker": "^", "linestyle": "-"},
        "ipndm-3": {"color": RED, "marker": "v", "linestyle": "--"},
        "the six others": {"color": SKY, "marker": "P", "linestyle": ":"},
    }
)
"""Plain solvers whose share is shown; the last stands for all that are not named."""


def compute(seed: int, *, file: Path = SECOND) -> FigureData:  # noqa: ARG001
    """Return every correction's ratios ``(E,)``, and shares of the best plain solvers ``(3, B)``.

    ``mean`` ``(E, 3)`` holds the geometric mean and the ends of its 95 % interval, ``worst`` the
    largest ratio, ``equal`` the mean at equal evaluations, the largest gain first. ``best`` has the
    mean ratio to the best plain solver for the rows ``best_rows``, where a record knows it.
    """
    try:
        about, played = read_record(file)
    except InputError:
        return FigureData({}, {}, (_absent(f"no record of version {READABLE} in {file.name}"),))
    few = [one for one in played if one["cell"]["evaluations"] <= FEW and MEASURE in one["floor"]]
    half = [one for one in few if one["half"] == HALF]
    names = [name for name in about["entrants"] if name not in {"none", *REFERENCES}]
    if not half or not names:
        return FigureData({}, {}, (_absent(f"no cell or no correction to show in {file.name}"),))
    lines = sorted((line(name, half, MEASURE) for name in names), key=lambda one: one.mean)
    known = [i for i, one in enumerate(lines) if np.isfinite(one.equal_best)]
    config = {
        "entrants": [one.entrant for one in lines],
        "half": HALF,
        "few": FEW,
        "cells": len(half),
        "aim": GAIN,
        "measure": MEASURE,
        "plain": list(PLAIN),
        "record": {key: about.get(key) for key in ("profile", "states", "seeds", "key")},
        "worst_cells": {one.entrant: one.worst_cell for one in lines},
    }
    arrays = {
        "mean": np.array([[one.mean, one.low, one.high] for one in lines]),
        "equal": np.array([one.equal for one in lines]),
        "worst": np.array([one.worst for one in lines]),
        "best_rows": np.array(known, dtype=int),
        "best": np.array([lines[i].equal_best for i in known]),
        **_shares(few),
    }
    return FigureData(arrays, config)


def _absent(what: str) -> str:
    return f"second tournament: {what}, which steinlab tournament --record writes"


def _shares(played: Sequence[Played]) -> dict[str, np.ndarray]:
    budgets = sorted({one["cell"]["evaluations"] for one in played})
    *named, _ = PLAIN
    shares = np.empty((len(PLAIN), len(budgets)))
    for j, budget in enumerate(budgets):
        best = [o["best_plain"]["solver"] for o in played if o["cell"]["evaluations"] == budget]
        shares[:-1, j] = [best.count(name) / len(best) for name in named]
    shares[-1] = 1 - shares[:-1].sum(axis=0)
    return {"budgets": np.array(budgets), "shares": shares}


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw a row per correction, and beside them which plain solver is the best."""
    if not data.arrays:
        say(axes[0], data.skipped[0])
        axes[0].axhline(0, color=GREY, linewidth=0.5)
        take_away(axes[1:])
        return
    _plot_rows(axes[0], data)
    _plot_plain(axes[1], data)


def _plot_rows(ax: Axes, data: FigureData) -> None:
    """Draw what each correction has against each rival, and write the first with its interval."""
    arrays, rows = data.arrays, np.arange(len(data.config["entrants"]))
    mean, low, high = arrays["mean"].T
    style: dict[str, Any] = {"linestyle": "none", "markersize": 3.0}
    ax.plot(arrays["worst"], rows, **style, **AGAINST["worst"])
    ax.plot(arrays["best"], arrays["best_rows"], **style, **AGAINST["best"])
    ax.plot(arrays["equal"], rows, **style, **AGAINST["equal"])
    span = [mean - low, high - mean]
    ax.errorbar(mean, rows, xerr=span, elinewidth=1.2, **style, **AGAINST["mean"])
    ax.axvline(1.0, color=BLACK, linewidth=0.5)
    ax.axvline(data.config["aim"], color=BLACK, linewidth=0.5, linestyle="--")
    ax.set(xscale="log", ylim=(len(rows) - 0.5, -0.5))
    ax.xaxis.set_minor_locator(NullLocator())
    told = zip(data.config["entrants"], arrays["mean"], strict=True)
    ax.set_yticks(rows, [f"{worded(name)}   {_told(*found)}" for name, found in told])
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("energy distance ratio")
    ax.set_title(rf"{data.config['cells']} cells of $\leq {data.config['few']}$ evaluations")
    ax.legend(loc="upper center", bbox_to_anchor=(0.2, -0.17), ncols=2, fontsize=6)


def _told(mean: float, low: float, high: float) -> str:
    return f"{mean:.2g} ({low:.2g} to {high:.2g})"


def _plot_plain(ax: Axes, data: FigureData) -> None:
    """Draw the share of the cells in which each plain solver is the best."""
    budgets = data.arrays["budgets"]
    for name, shares in zip(data.config["plain"], data.arrays["shares"], strict=True):
        ax.plot(budgets, 100 * shares, label=worded(name), clip_on=False, **PLAIN[name])
    ax.set_xticks(budgets)
    ax.set(ylim=(0, 100), xlabel="evaluations", ylabel="share of the cells (%)")
    ax.set_title("best plain solver, in hindsight")
    ax.legend(loc="best", fontsize=6)


FIGURE = Figure(
    "tournament",
    "The tournament's second edition, reporting half: energy distance with a correction over the "
    "plain solver's, geometric means, the first with its 95 % interval; dashed: the aim; and the "
    "share of the cells in which a plain solver is the best of its budget, both halves",
    compute,
    plot,
    columns=2,
    aspect=0.8,
    claims=("correction-tournament",),
)
