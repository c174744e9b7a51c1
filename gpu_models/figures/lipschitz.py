"""Local Lipschitz constants of a network's Euler steps along trajectories, as in Figure 4."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from gpu_models.study.stored import absent, study_of
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.panels import plain_ticks, say, take_away
from steinlab.report.figures.style import GREY, look

ENDS = ("least", "median", "largest")


def compute(
    seed: int,  # noqa: ARG001
    *,
    folder: Path | None = None,
) -> FigureData:
    """Return ``noise_N`` ``(N,)`` and ``step_N``, ``denoiser_N`` ``(3, N)`` by evaluations ``N``.

    Largest singular values of the Jacobian, from below by power iteration: least, median and
    largest over the trajectories; ``threshold_N`` is the denoiser's for strict contraction.
    """
    study, arrays, skipped = study_of(folder), {}, []
    budgets = sorted({row["evaluations"] for row in study.rows("lipschitz")})
    for n in budgets:
        rows = [row for row in study.rows("lipschitz") if row["evaluations"] == n]
        arrays[f"noise_{n}"] = np.array([row["from"] for row in rows])
        arrays[f"threshold_{n}"] = np.array([row["threshold"] for row in rows])
        for name, key in (("step", "step_bound"), ("denoiser", "denoiser")):
            arrays[f"{name}_{n}"] = np.array([[row[key][end] for row in rows] for end in ENDS])
    if not budgets:
        skipped.append(absent("Lipschitz constants along trajectories"))
    config = {
        "budgets": budgets,
        "trajectories": study.size.lipschitz,
        "devices": study.devices,
        "weights": study.head["config"].get("weights", ""),
        "above": {
            str(n): int((arrays[f"denoiser_{n}"][-1] > arrays[f"threshold_{n}"]).sum())
            for n in budgets
        },
    }
    return FigureData(arrays, config, tuple(skipped))


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw a panel per number of evaluations, noise decreasing to the right."""
    budgets = data.config["budgets"]
    steps = [data.arrays[f"step_{n}"] for n in budgets]
    for ax, n in zip(axes, budgets, strict=False):
        noise, (least, middle, most) = data.arrays[f"noise_{n}"], data.arrays[f"step_{n}"]
        size = 1.5 if n > 50 else 3.0
        ax.fill_between(noise, least, most, color=look(0)["color"], alpha=0.25, linewidth=0)
        drawn = {"linestyle": "none", "markersize": size}
        ax.plot(noise, middle, label="median", **look(0) | drawn)
        ax.plot(noise, most, label="largest", **look(2) | drawn)
        above = data.config["above"][str(n)]
        ax.set(xscale="log", yscale="log", title=f"{n} evaluations, {above} steps above 1")
        ax.set_ylim(0.9 * min(s.min() for s in steps), 1.1 * max(s.max() for s in steps))
        plain_ticks(ax)
        ax.invert_xaxis()
        ax.set_xlabel(r"noise $\sigma$ at the step's start")
    shown = axes[: max(len(budgets), 1)]
    take_away(axes[len(shown) :])
    if not budgets:
        shown[0].set_ylim(0.9, 4.0)
        say(shown[0], data.skipped[0])
    for ax in shown:
        ax.axhline(1.0, color=GREY, linestyle="--", label=r"$L_T = 1$, strict")
    axes[0].set_ylabel(r"local Lipschitz constant $L_T$")
    axes[0].legend(loc="best")


FIGURE = Figure(
    "study-lipschitz",
    "Local Lipschitz constants of a network's steps along trajectories against strict contraction",
    compute,
    plot,
    columns=3,
    wide=True,
    aspect=0.85,
    claims=("neural-coefficient", "contractivity-trap"),
)
