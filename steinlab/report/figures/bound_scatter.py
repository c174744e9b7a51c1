"""The perturbation bound against the measured deviation, inside and outside the trap."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from steinlab.claims.error_bounds.iterate_cases import draw_runs_of_all
from steinlab.claims.error_bounds.perturbation import BOUNDS, coefficient_bound, compare_bounds
from steinlab.claims.error_bounds.perturbation_bound_in_trap import measure
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.style import BLACK, GREY, look
from steinlab.verification.claim import Effort

RUNS = 216
SIDES = (r"outside, $L_T \leq 1$", r"inside, $L_T > 1$")


def compute(seed: int, *, runs: int = RUNS) -> FigureData:
    """Return both sides of the bound at exact iterates of runs that do not fold, ``(C,)`` each.

    ``error`` bounds what rounding and quadrature do to ``gap``, in units of ``gap``.
    """
    effort = Effort("quick", np.random.default_rng(seed))
    columns: dict[str, list[np.ndarray]] = {}
    for drawn in draw_runs_of_all(effort, runs):
        cases = drawn.take(drawn.folds == 0)
        if not len(cases):
            continue
        data = measure(cases)
        compared = compare_bounds(data.terms, BOUNDS)
        modes = np.full(len(data.lipschitz), cases.law.weights.shape[1])
        found = {
            "gap": data.terms.gap,
            "bound": coefficient_bound(data.terms),
            "error": data.terms.error / data.terms.power,
            "lipschitz": data.lipschitz,
            "modes": modes,
            "violated": compared.violated.reshape(-1, 2).any(axis=1),
        }
        for key, value in found.items():
            columns.setdefault(key, []).append(value)
    arrays = {key: np.concatenate(parts) for key, parts in columns.items()}
    several, inside = arrays["modes"] > 1, arrays["lipschitz"] > 1
    tight = arrays["gap"] / arrays["bound"]
    medians = [float(np.median(tight[several & side])) for side in (~inside, inside)]
    config = {
        "points": len(tight),
        "violated": int(arrays["violated"].sum()),
        "median_tightness_of_several_modes": medians,
    }
    return FigureData(arrays, config)


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw deviation against bound, and tightness against the step's Lipschitz constant."""
    arrays = data.arrays
    gap, bound, lipschitz = (arrays[key] for key in ("gap", "bound", "lipschitz"))
    ends = np.array([bound.min(), bound.max()])
    axes[0].plot(ends, ends, color=BLACK, label="bound", zorder=3)
    axes[1].axhline(1.0, color=BLACK)
    axes[1].axvline(1.0, color=GREY, linestyle="--")
    inside = lipschitz > 1
    for i, own in enumerate((~inside, inside)):
        style: dict[str, Any] = {
            "linestyle": "none",
            "markersize": 2.0,
            "elinewidth": 0.4,
            **look(i),
        }
        error = np.minimum(arrays["error"][own], 0.9 * gap[own])
        median = data.config["median_tightness_of_several_modes"][i]
        label = f"{SIDES[i]}, median {median:.0%}"
        axes[0].errorbar(bound[own], gap[own], yerr=error, label=label, **style)
        share = gap[own] / bound[own]
        axes[1].errorbar(lipschitz[own], share, yerr=error / bound[own], **style)
    axes[0].set(xscale="log", yscale="log")
    axes[0].set_xlabel(r"bound $\sigma^2 \sqrt{F} / (\alpha \|u\|)$")
    axes[0].set_ylabel(r"measured $|\tilde\gamma - \gamma_q|$")
    axes[0].legend(loc="best")
    axes[1].set(xscale="log", ylim=(0, 1.08))
    axes[1].set_xlabel(r"Lipschitz constant $L_T$ of the step")
    axes[1].set_ylabel("tightness, measured over bound")


FIGURE = Figure(
    "bound-scatter",
    "The perturbation bound against the measured deviation, inside and outside the trap",
    compute,
    plot,
    columns=2,
    claims=("perturbation-bound", "perturbation-bound-in-trap"),
)
