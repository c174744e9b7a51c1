"""The network against the exact denoiser of its training set: error, divergence, coefficient."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from gpu_models.study.stored import Record, Stored, absent, study_of
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.panels import say, take_away
from steinlab.report.figures.style import BLACK, GREY, look, worded

PICTURES = ("train", "test")
ROUTES = {"reference": "reference", "stein1": "stein, 1 rademacher", "stein5": "stein, 5 gaussian"}
"""Routes by the name of their array."""


def compute(seed: int, *, folder: Path | None = None) -> FigureData:  # noqa: ARG001
    """Return curves with standard errors, ``(3, L)``: noise level, value, error."""
    study = study_of(folder)
    arrays: dict[str, np.ndarray] = {}
    skipped = []
    if study.rows("denoiser"):
        arrays |= _errors(study)
    else:
        skipped.append(absent("panels of the denoiser's error"))
    if study.rows("coefficients"):
        arrays |= _coefficients(study)
    else:
        skipped.append(absent("panels of the coefficient"))
    config = {"devices": study.devices, "weights": study.head["config"].get("weights", "")}
    return FigureData(arrays, config, tuple(skipped))


def _errors(study: Stored) -> dict[str, np.ndarray]:
    out = {}
    for name in PICTURES:
        rows = [row for row in study.rows("denoiser") if row["pictures"] == name]
        exact = [row["exact_0"] for row in rows]
        noise = [row["sigma"] for row in rows]
        out[f"network_{name}"] = _curve(noise, [row["network_to_picture"] for row in rows])
        out[f"exact_{name}"] = _curve(noise, [row["to_picture"] for row in exact])
        out[f"divergence_{name}"] = _curve(noise, [row["divergence"] for row in exact])
    return out


def _coefficients(study: Stored) -> dict[str, np.ndarray]:
    out = {}
    for solver in ("euler", "heun"):
        rows = [row for row in study.rows("coefficients") if row["solver"] == solver]
        noise = [row["from"] for row in rows]
        for name, route in ROUTES.items():
            out[f"{solver}_{name}"] = _curve(noise, [row["gamma"][route] for row in rows])
        if solver == "euler":
            deviations = [row["deviation"] for row in rows]
            out["deviation"] = np.abs(_curve(noise, deviations))
            out["bound"] = np.array([row["bound"] for row in rows])
            out["exact"] = np.array([row["exact_gamma"] for row in rows])
    return out


def _curve(noise: Sequence[float], rows: Sequence[Record]) -> np.ndarray:
    return np.array([noise, [r["value"] for r in rows], [r["error"] for r in rows]], dtype=float)


FLOOR = 1e-9
"""Mean squares and divergences drawn; below it the nearest neighbour is the picture itself."""


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw error, divergence, coefficient, and the deviation under its bound."""
    error, divergence, gamma, bound = axes
    if "network_train" in data.arrays:
        _plot_errors(error, divergence, data.arrays)
    if "exact" in data.arrays:
        _plot_coefficients(gamma, bound, data.arrays)
    for ax in axes:
        ax.set_xscale("log")
        ax.invert_xaxis()
        ax.set_xlabel(r"noise $\sigma$")
    if not data.arrays:
        say(error, data.skipped[0])
        error.axhline(0, color=GREY, linewidth=0.5)
    empty = [ax for ax in axes if not (ax.lines or ax.collections)]
    take_away(empty)


def _plot_errors(error: Axes, divergence: Axes, arrays: Any) -> None:
    for i, name in enumerate(PICTURES):
        label = "network, either" if i else None  # the two differ by less than their markers
        _draw(error, arrays[f"network_{name}"], label=label, **look(2))
        _draw(error, arrays[f"exact_{name}"], label=f"exact, {name}", **look(i))
        _draw(divergence, arrays[f"divergence_{name}"], label=name, **look(i))
    error.set(yscale="log", title="mean square per pixel", ylim=(1e-12, 3))
    divergence.set(yscale="log", title=r"divergence of the exact $D$")
    error.legend(loc="lower left")
    divergence.legend(loc="lower left")


def _draw(ax: Axes, curve: np.ndarray, **style: Any) -> None:
    noise, value, error = curve[:, curve[1] > FLOOR]
    error = np.minimum(2 * error, 0.9 * value)
    ax.errorbar(noise, value, yerr=error, elinewidth=0.5, linewidth=0.7, **style)


def _plot_coefficients(gamma: Axes, bound: Axes, arrays: Any) -> None:
    noise = arrays["deviation"][0]
    gamma.plot(noise, arrays["exact"], color=BLACK, label=r"$1/(1-\kappa)$", zorder=1)
    for i, solver in enumerate(("euler", "heun")):
        found, probed = arrays[f"{solver}_reference"], arrays[f"{solver}_stein5"]
        style: dict[str, Any] = look(i) | {"linestyle": "none"}
        gamma.errorbar(
            found[0], found[1], yerr=2 * found[2], label=f"{worded(solver)}, reference", **style
        )
        hollow = style | {"marker": "_", "markersize": 7}
        gamma.errorbar(
            probed[0],
            probed[1],
            yerr=2 * probed[2],
            label=f"{worded(solver)}, Stein, $m = 5$",
            **hollow,
        )
    gamma.set_title(r"coefficient $\gamma^\star$")
    gamma.set_ylim(top=2.3)
    gamma.legend(loc="upper right")
    _, value, error = arrays["deviation"]
    bound.plot(noise, arrays["bound"], color=BLACK, label=r"$C\sqrt{F}$")
    low = np.minimum(2 * error, 0.9 * value)
    bound.errorbar(
        noise, value, yerr=[low, 2 * error], label="deviation", **look(0) | {"linestyle": "none"}
    )
    bound.plot(noise, arrays["euler_stein1"][2], label="error of Stein's", **look(2))
    bound.set(yscale="log", title="deviation and bound, Euler")
    bound.set_ylim(top=1e4)
    bound.legend(loc="upper left")


FIGURE = Figure(
    "study-coefficients",
    "A network against its training set's exact denoiser: error, divergence, coefficient, bound",
    compute,
    plot,
    columns=4,
    wide=True,
    aspect=1.0,
    column={"rows": 4, "columns": 1, "aspect": 0.62},
    claims=("neural-coefficient",),
)
