"""Flow error against evaluations on exact denoisers: plain, corrected, calibrated."""

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from steinlab.claims.instruments.paired_runs import bench_of
from steinlab.diffusion.processes import EDM
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.budgets import GRID, LIMITS, METHODS, draw, errors
from steinlab.report.figures.style import worded

LAWS = ("25-mode grid, 2-D", "digits, 64-D")
SOLVERS = ("euler", "dpmpp-2m")
BUDGETS = (3, 5, 8, 12, 20)
STATES, BATCHES = 160, 4


def compute(
    seed: int,
    *,
    laws: tuple[str, ...] = LAWS,
    budgets: tuple[int, ...] = BUDGETS,
    states: int = STATES,
    batches: int = BATCHES,
) -> FigureData:
    """Return flow errors ``(solver, law, method, budget, 3)``: value, low, high."""
    seeds = np.random.default_rng(seed).integers(2**32, size=batches)
    benches = {law: [bench_of(law, EDM.name, states, int(s)) for s in seeds] for law in laws}
    cells = itertools.product(SOLVERS, laws, METHODS)
    flat = [errors(benches[law], solver, budgets, how, states // 2) for solver, law, how in cells]
    found = np.reshape(flat, (len(SOLVERS), len(laws), len(METHODS), len(budgets), 3))
    config = {
        "laws": list(laws),
        "solvers": list(SOLVERS),
        "methods": list(METHODS),
        "budgets": list(budgets),
        "states": states,
        "batches": batches,
        "grid": GRID,
        "limits": LIMITS,
        "measured_on": "the half of each batch that calibrates no table",
    }
    return FigureData({"flow_error": found}, config)


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw a row per solver and a column per law."""
    config, panels = data.config, iter(axes)
    for solver, row in zip(config["solvers"], data.arrays["flow_error"], strict=True):
        for law, values in zip(config["laws"], row, strict=True):
            ax = next(panels)
            draw(ax, config["budgets"], values, config["methods"], 0.0)
            ax.set_title(f"{worded(solver)}, {law}")
            ax.set_ylabel("flow error")
    axes[0].legend(loc="best")


FIGURE = Figure(
    "error-evaluations",
    "Flow error against evaluations of exact denoisers: plain, corrected and calibrated",
    compute,
    plot,
    rows=2,
    columns=2,
    aspect=0.6,
    claims=("integration-error", "gain-grows-with-step"),
)
