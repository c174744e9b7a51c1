"""Errors of every solver against the number of steps: observed orders, the third-order case."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from steinlab.claims.instruments.observed_order import (
    Convergence,
    declared,
    errors_by_grid,
    global_errors,
)
from steinlab.claims.solvers.third_order_as_published import CORRECTED, FORMS, PUBLISHED
from steinlab.diffusion.processes import PROCESSES
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.style import GREY, look, worded
from steinlab.solvers import EULER, SOLVER_IDS, get_solver, make_plan, matching_start

PROCESS, GRID = "vp-linear", "logsnr"
STEPS = (8, 16, 32, 64, 128)
FAMILIES = {
    "Euler, Heun, Runge-Kutta": ("euler", "heun", "rk"),
    "DPM-Solver, single step": ("dpm-2", "dpmpp-2s", "dpmpp-3s", "dpmpp-3s-taylor"),
    "DPM-Solver, multistep": ("dpm-2m", "dpm-3m", "dpmpp-2m", "dpmpp-3m"),
    "UniPC": ("unipc",),
    r"DEIS, $\rho$ and $\log$": ("deis-rho", "deis-log"),
    "DEIS, time": ("deis-tab",),
    "iPNDM, PNDM": ("ipndm", "pndm"),
    "iPNDM, variable step": ("ipndm-v",),
    "unit speed": ("unit-speed",),
    "few-step systems": ("pfdiff", "rx", "epd", "dpm-v3"),
}
"""A look each; a solver belongs to the longest prefix or name that fits."""

PANELS = ((1,), (2,), (3, 4))
FEW = 8
"""Solvers that have a curve each."""

CAPPED = "c = 2, one Euler step first"


def family(name: str) -> int:
    """Return the place of a solver's family among :data:`FAMILIES`."""
    each = ((len(part), i, part) for i, parts in enumerate(FAMILIES.values()) for part in parts)
    return max(one for one in each if f"{name}-".startswith(f"{one[2]}-"))[1]


def compute(
    seed: int,  # noqa: ARG001
    *,
    steps: tuple[int, ...] = STEPS,
    solvers: tuple[str, ...] = SOLVER_IDS,
) -> FigureData:
    """Return the errors ``(solver, steps)`` with a matching start, and the third-order case.

    Errors are root mean square distances to the exact flow's end; nothing is drawn at random.
    """
    errors, orders = [], []
    for name in solvers:
        solver = get_solver(name, PROCESSES[PROCESS])
        kind = "matching" if matching_start(solver) else "own"
        errors.append(global_errors(Convergence(name, PROCESS, GRID, kind), steps))
        orders.append(declared(solver, kind))
    third = {
        form.label: global_errors(
            Convergence(form.solver, PROCESS, GRID, "matching" if form.matching else "own"), steps
        )
        for form in FORMS
    }
    third[CAPPED] = _capped(steps)
    found = np.array(errors)
    observed = np.log(found[:, -2] / found[:, -1]) / np.log(steps[-1] / steps[-2])
    arrays = {
        "steps": np.array(steps),
        "error": found,
        "declared": np.array(orders),
        "observed": observed,
        "third": np.array(list(third.values())),
    }
    config = {
        "solvers": list(solvers),
        "families": [family(name) for name in solvers],
        "third": list(third),
        "process": PROCESS,
        "grid": GRID,
        "largest_departure": float(np.max(np.abs(observed - orders), initial=0.0)),
    }
    return FigureData(arrays, config)


def _capped(steps: Sequence[int]) -> list[float]:
    solver = get_solver(CORRECTED)
    start = (EULER, *matching_start(solver)[1:])
    return errors_by_grid(PROCESS, lambda n: make_plan(solver, n, start=start), steps)[GRID]


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw a panel an order with reference slopes, and one of the third-order case.

    A family is a band from its best to its worst solver with the median; up to :data:`FEW` solvers
    have a curve each.
    """
    steps, error, orders = (data.arrays[k] for k in ("steps", "error", "declared"))
    names, groups = list(FAMILIES), data.config["families"]
    if len(data.config["solvers"]) <= FEW:
        names = [worded(name) for name in data.config["solvers"]]
        groups = list(range(len(names)))
    drawn: dict[int, Any] = {}
    for ax, wanted in zip(axes[:3], PANELS, strict=True):
        own = np.isin(orders, wanted)
        for group in sorted({groups[i] for i in np.flatnonzero(own)}):
            same = error[own & (np.array(groups) == group)]
            middle, style = np.median(same, axis=0), look(group)
            (line,) = ax.plot(steps, middle, linewidth=0.8, **style)
            ends = (same.min(axis=0), same.max(axis=0))
            ax.fill_between(steps, *ends, color=style["color"], alpha=0.15, linewidth=0)
            drawn.setdefault(group, line)
        _slopes(ax, steps, error[own], wanted)
        ax.set_title("order " + " and ".join(map(str, wanted)))
    for i, (label, values) in enumerate(
        zip(data.config["third"], data.arrays["third"], strict=True)
    ):
        axes[3].plot(steps, values, label=label, **look(i))
    _slopes(axes[3], steps, data.arrays["third"], (2, 3))
    axes[3].set_title(f"{worded(PUBLISHED)} as published")
    for ax in axes:
        ax.set(xscale="log", yscale="log", xlabel="steps")
        ax.set_xticks(steps, [str(n) for n in steps])
        ax.minorticks_off()
    axes[0].set_ylabel("error")
    axes[2].set_ylabel("error")
    shown = sorted(drawn)
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(low, high * (high / low) ** 0.8)  # room for the legend
    axes[0].legend(
        [drawn[k] for k in shown], [names[k] for k in shown], loc="upper right", ncols=2, fontsize=5
    )
    axes[3].legend(loc="lower left")


def _slopes(ax: Axes, steps: np.ndarray, errors: np.ndarray, orders: Sequence[int]) -> None:
    """Draw dashed references with their orders: the first above the curves, another below."""
    if not len(errors):
        return
    anchors = (2.0 * errors[:, -1].max(), 0.4 * errors[:, -1].min())
    for order, end in zip(orders, anchors, strict=False):
        line = end * (steps[-1] / steps) ** float(order)
        ax.plot(steps, line, color=GREY, linestyle="--", linewidth=0.8, zorder=0)
        ax.annotate(f" {order}", (steps[-1], line[-1]), color=GREY, va="center")


FIGURE = Figure(
    "observed-orders",
    "Errors of every solver against the number of steps, and third order as published",
    compute,
    plot,
    rows=2,
    columns=2,
    aspect=0.7,
    claims=("solver-order", "third-order-as-published"),
)
