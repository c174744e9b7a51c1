"""Flow error and Frechet distance of the stored study against evaluations, solver by solver."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from gpu_models.study.design import HEADLINE_SOLVERS
from gpu_models.study.pairs import CALIBRATED, CLIPPED, LARGEST, RULE
from gpu_models.study.stored import Stored, absent, study_of
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.panels import legend_below, plain_ticks, say, take_away
from steinlab.report.figures.style import GREY, look, worded

QUANTITIES = {"flow_error": "flow error", "FD-EffLite0": "FD-EffLite0"}
FAMILIES = {
    "none": "plain",
    CLIPPED: r"$\hat\gamma$ clipped to $[0.1, 1]$",
    CALIBRATED: "calibrated table",
}
"""Curves, in the order of their looks."""

INSIDE = r"$\hat\gamma$ from 0.1"
OFF_SCALE = r"$\hat\gamma$ from 0.1: off scale"
GRID = "karras"


def compute(
    seed: int,  # noqa: ARG001
    *,
    folder: Path | None = None,
    solvers: tuple[str, ...] = HEADLINE_SOLVERS,
) -> FigureData:
    """Return curves ``(3, B)``: evaluations spent, the mean over seeds, its standard error.

    Runs of the paper's rule that left the finite numbers count as ``LARGEST``.
    """
    study = study_of(folder)
    arrays, skipped, shown = {}, [], []
    for solver in solvers:
        for quantity in QUANTITIES:
            for family in (*FAMILIES, RULE):
                curve = _curve(study, solver, family, quantity)
                if curve.size:
                    arrays[f"{solver}.{family}.{quantity}"] = curve
        if any(key.startswith(f"{solver}.") for key in arrays):
            shown.append(solver)
        else:
            skipped.append(absent(f"panels of {solver}"))
    skipped.extend(
        absent(f"curves of {family}")
        for family in (*FAMILIES, RULE)
        if shown and not any(f".{family}." in key for key in arrays)
    )
    config = {
        "solvers": shown,
        "grid": GRID,
        "devices": study.devices,
        "weights": study.head["config"].get("weights", ""),
        "samples": study.size.samples,
        "families": [*FAMILIES, RULE],
        "quantities": list(QUANTITIES),
    }
    return FigureData(arrays, config, tuple(skipped))


def _curve(study: Stored, solver: str, family: str, quantity: str) -> np.ndarray:
    """Return spent, value and error by budget; empty where no budget has the quantity."""
    found: dict[int, list[tuple[float, float]]] = {}
    for cell, row in study.runs.items():
        if (cell.solver, cell.correction, cell.grid) != (solver, family, GRID):
            continue
        if quantity in row:
            found.setdefault(row["spent"], []).append(
                (row[quantity]["value"], row[quantity]["error"])
            )
        elif "stopped" in row and (quantity != "FD-EffLite0" or cell.headline):
            found.setdefault(row["spent"], []).append((LARGEST, 0.0))
    points = [
        (
            spent,
            fmean(value for value, _ in runs),
            math.sqrt(sum(error**2 for _, error in runs)) / len(runs),
        )
        for spent, runs in sorted(found.items())
    ]
    return np.array(points, dtype=float).T


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw flow errors above and Frechet distances below; in a column beside, a row per solver."""
    solvers, columns = data.config["solvers"], len(axes) // 2
    grid = axes[0].get_gridspec()
    beside = grid is not None and grid.ncols == len(QUANTITIES) < columns
    if beside:
        axes = [*axes[0::2], *axes[1::2]]
    if not solvers:
        say(axes[0], data.skipped[0])
        axes[0].axhline(0, color=GREY, linewidth=0.5)
        take_away(axes[1:])
        return
    for row, (quantity, label) in enumerate(QUANTITIES.items()):
        own = axes[row * columns : (row + 1) * columns]
        limits = _limits(data, quantity)
        take_away(own[len(solvers) if limits else 0 :])
        for ax, solver in zip(own, solvers if limits else (), strict=False):
            assert limits is not None
            _panel(ax, data, f"{solver}.{{}}.{quantity}", limits)
            if beside or row == 0:
                ax.set_title(worded(solver), fontsize="small" if beside else None)
            if beside:
                ax.set_ylabel(label)
            elif row == 1:
                ax.set_xlabel("evaluations")
        own[0].set_ylabel(label)
        if beside:
            own[len(solvers) - 1].set_xlabel("evaluations")
    found = dict(zip(*reversed(axes[0].get_legend_handles_labels()), strict=True))
    labels = [name for name in (*FAMILIES.values(), INSIDE, OFF_SCALE) if name in found]
    legend_below(axes, [found[name] for name in labels], labels)


def _limits(data: FigureData, quantity: str) -> tuple[float, float] | None:
    """Return limits that hold every curve of a quantity but the paper's rule; None without any."""
    values = [curve[1] for key, curve in data.arrays.items() if quantity in key and RULE not in key]
    if not values:
        return None
    return 0.8 * min(v.min() for v in values), 1.4 * max(v.max() for v in values)


def _panel(ax: Axes, data: FigureData, key: str, limits: tuple[float, float]) -> None:
    budgets: set[int] = set()
    for i, (family, label) in enumerate(FAMILIES.items()):
        curve = data.arrays.get(key.format(family))
        if curve is not None:
            spent, value, error = curve
            budgets |= {int(n) for n in spent}
            style: dict[str, Any] = look(i) | {"capsize": 1.0, "elinewidth": 0.6}
            if family == CLIPPED:  # often on the plain run
                style |= {"markerfacecolor": "none", "markersize": 4.5}
            ax.errorbar(spent, value, yerr=2 * error, label=label, linewidth=0.7, **style)
    ax.set(xscale="log", yscale="log", ylim=limits)
    rule = data.arrays.get(key.format(RULE))
    if rule is not None:
        budgets |= {int(n) for n in rule[0]}
        _rule(ax, rule, limits[1])
    ax.set_xticks(sorted(budgets), [str(n) for n in sorted(budgets)])
    ax.xaxis.set_minor_locator(NullLocator())
    plain_ticks(ax)


def _rule(ax: Axes, rule: np.ndarray, top: float) -> None:
    """Mark the paper's rule at the top edge where it lies beyond the other curves."""
    beyond = rule[1] > top
    inside = rule[:, ~beyond]
    style: dict[str, Any] = look(3) | {"linestyle": "none"}
    if inside.size:
        ax.errorbar(inside[0], inside[1], yerr=2 * inside[2], label=INSIDE, **style)
    edge = style | {"marker": "^", "clip_on": False}
    ax.plot(rule[0][beyond], np.full(beyond.sum(), top), label=OFF_SCALE, **edge)


FIGURE = Figure(
    "study-runs",
    "Flow error and Frechet distance of a network's samples: plain, corrected and calibrated",
    compute,
    plot,
    rows=2,
    columns=4,
    wide=True,
    aspect=0.85,
    column={"rows": 4, "columns": 2},
    claims=("neural-integration-error", "artifact-reduction"),
)
