"""The perturbation bound against the dialled score error: every point below one line."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.style import BLACK, look
from toy_models.dialled.ladder import KINDS, LAWS, SIZES, SOLVERS_DRAWN, STEPS, climb

RUNGS = SIZES[::2]

FLOOR = 1e-12
"""Deviations drawn; what lies below is 0 by symmetry, and only its rounding is left."""


def compute(
    seed: int,  # noqa: ARG001
    *,
    sizes: tuple[float, ...] = RUNGS,
    kinds: tuple[str, ...] = tuple(KINDS),
) -> FigureData:
    """Return the ladder's points as arrays ``(P,)``; nothing is drawn at random.

    ``error`` is ``sigma sqrt F``, ``deviation`` is ``|gamma_tilde - gamma_q| sigma / C`` with
    ``deviation_error``; ``violated`` and ``undecided`` mark points by both forms of the bound.
    """
    points = climb(sizes, kinds)
    compared = points.compared()
    arrays = {
        **{name: getattr(points, name) for name in ("kind", "solver", "law", "process", "size")},
        "error": points.error,
        "deviation": points.deviation,
        "deviation_error": points.deviation_error,
        "tightness": points.tightness,
        "violated": compared.violated.reshape(-1, 2).any(axis=1),
        "undecided": ~compared.decided.reshape(-1, 2).all(axis=1),
    }
    config = {
        "sizes": list(sizes),
        "kinds": list(kinds),
        "laws": list(LAWS),
        "steps": [list(step) for step in STEPS],
        "solvers": list(SOLVERS_DRAWN),
        "points": len(points.size),
        "violated": int(arrays["violated"].sum()),
        "undecided": int(arrays["undecided"].sum()),
        "median_tightness": {
            kind: float(np.median(points.tightness[points.kind == kind])) for kind in kinds
        },
    }
    return FigureData(arrays, config)


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw measured deviations with their errors, and the bound as a line, on logarithmic axes."""
    (ax,), arrays = axes, data.arrays
    ends = np.array([arrays["error"].min(), arrays["error"].max()])
    ax.plot(ends, ends, color=BLACK, label="bound", zorder=3)
    for i, kind in enumerate(data.config["kinds"]):
        style: dict[str, Any] = {
            "linestyle": "none",
            "elinewidth": 0.3,
            "markersize": 1.8,
            **look(i),
        }
        own = (arrays["kind"] == kind) & (arrays["deviation"] > FLOOR)
        value, error = arrays["deviation"][own], arrays["deviation_error"][own]
        ax.errorbar(
            arrays["error"][own],
            value,
            yerr=np.minimum(error, 0.9 * value),
            markeredgewidth=0,
            label=f"{kind}, median {data.config['median_tightness'][kind]:.0%}",
            **style,
        )
    ax.set(xscale="log", yscale="log")
    ax.set_xlabel(r"score error $\sigma\sqrt{F}$, in units of $1/\sigma$")
    ax.set_ylabel(r"$|\tilde\gamma - \gamma_q|\,\sigma / C$, same units")
    ax.legend(loc="best")


FIGURE = Figure(
    "perturbation-ladder",
    "The perturbation bound against a dialled score error, with its tightness by kind of error",
    compute,
    plot,
    wide=False,
    aspect=0.9,
    claims=("perturbation-bound",),
)
