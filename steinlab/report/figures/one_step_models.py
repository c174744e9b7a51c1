"""One-step models without error on two modes: their distance to the flow's ends, their spread."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from steinlab.claims.instruments.consistency import errors
from steinlab.claims.instruments.two_modes import EXAMPLE
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.style import BLACK, GREY, look

LEVELS = (4, 8, 16, 32, 64)
LABELS = ("consistency training", "distillation: DDIM's run")


def compute(seed: int, *, levels: Sequence[int] = LEVELS) -> FigureData:  # noqa: ARG001
    """Return errors ``(level, model)`` and the shares of the law's deviation that models keep."""
    found = np.array([errors(n) for n in levels])
    arrays = {"errors": found[:, :2], "kept": found[:, 2:]}
    return FigureData(arrays, {"law": EXAMPLE.describe(0), "levels": list(levels)})


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw the errors with a reference slope, and the shares of the spread."""
    levels = np.array(data.config["levels"])
    for k, label in enumerate(LABELS):
        style = look(k)
        axes[0].plot(levels, data.arrays["errors"][:, k], label=label, **style)
        axes[1].plot(levels, data.arrays["kept"][:, k], label=label, **style)
    first = data.arrays["errors"][0, 1]
    axes[0].plot(levels, first * levels[0] / levels, "--", color=GREY, label="order 1")
    axes[1].axhline(1.0, color=BLACK, linewidth=0.7)
    for ax, label in zip(
        axes, ("error to the flow's end", "deviation over the law's"), strict=True
    ):
        ax.set(xscale="log", xlabel="levels", ylabel=label)
        ax.set_xticks(levels, [str(n) for n in levels])
        ax.minorticks_off()
    axes[0].set_yscale("log")
    axes[0].legend(loc="lower left")


FIGURE = Figure(
    "one-step-models",
    "Consistency training against distillation on two modes: its ends lie farther off, and closer",
    compute,
    plot,
    columns=2,
    aspect=0.8,
    claims=("consistency-training", "progressive-distillation"),
)
