"""Local Lipschitz constants along trajectories, beside the expansion of the exact flow."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analytic.flow.exact import exact_flow
from steinlab.claims.contraction.two_mode_ridges import FIGURE_LAW, ridge_slopes
from steinlab.claims.instruments.step_jacobians import step_jacobian
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import EDM
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.panels import legend_below
from steinlab.report.figures.style import BLACK, GREY, ORANGE, RED, look
from steinlab.solvers import EULER
from steinlab.solvers.loop import steps
from steinlab.solvers.step import Step

BUDGETS = (6, 20, 100)
STATES = 200
QUANTILES = (0.05, 0.5, 0.95, 1.0)


def compute(seed: int, *, budgets: tuple[int, ...] = BUDGETS) -> FigureData:
    """Return, for each number of steps, slopes of step and flow by quantile over the states.

    At the states of an Euler run the step's own ``|T'|`` and the exact flow's
    ``Phi' = f_s(x) / f_t(Phi(x))`` over the same interval; ``ridge`` is ``T'`` between the modes,
    the largest there is.
    """
    law, arrays = FIGURE_LAW.law(), {}
    rng = np.random.default_rng(seed)
    data, noise = law.sample(STATES, rng), rng.standard_normal((STATES, 1))
    for n in budgets:
        grid = make_grid(EDM, "karras", n, final_zero=False)
        x, slopes, flows = grid[0].noised(data, noise), [], []
        for step in (taken.step for taken in steps(law, x, grid, EULER)):
            x, s, t = step.x, step.s, step.t
            own = Step.take(law, EULER, x[None], s, t)
            slopes.append(np.abs(step_jacobian(own)[0, :, 0, 0]))
            end = exact_flow(law, x, s, t).state
            flows.append(np.exp(law.log_prob(x, s) - law.log_prob(end, t)))
        arrays[f"noise_{n}"] = np.array([level.sigma for level in grid[:-1]])
        arrays[f"step_{n}"] = np.quantile(slopes, QUANTILES, axis=1)
        arrays[f"flow_{n}"] = np.quantile(flows, QUANTILES, axis=1)
        arrays[f"ridge_{n}"] = ridge_slopes(law, grid)
    config = {
        "budgets": list(budgets),
        "states": STATES,
        "quantiles": list(QUANTILES),
        "law": FIGURE_LAW.describe(0),
        "grid": "karras",
        "solver": "euler",
    }
    return FigureData(arrays, config)


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw one panel per number of evaluations, noise decreasing to the right."""
    for ax, n in zip(axes, data.config["budgets"], strict=True):
        noise = data.arrays[f"noise_{n}"]
        size: dict[str, Any] = {"markersize": 2.0 if n > 50 else 3.0}
        for i, (name, label) in enumerate((("step", "step"), ("flow", "exact flow"))):
            low, middle, high, top = data.arrays[f"{name}_{n}"]
            style = look(i)
            drawn = style | size | {"linestyle": "none"} if name == "step" else {"color": ORANGE}
            ax.plot(noise, middle, label=f"{label}, median", **drawn)
            shade: dict[str, Any] = {"color": style["color"], "alpha": 0.25, "linewidth": 0}
            ax.fill_between(noise, low, high, label=f"{label}, 5 to 95 %", **shade)
            drawn = look(2) | size | {"linestyle": "none"} if name == "step" else {"color": RED}
            ax.plot(noise, top, label=f"{label}, largest", **drawn)
        ax.plot(noise, data.arrays[f"ridge_{n}"], color=BLACK, label=r"$L_T$ between the modes")
        ax.axhline(1.0, color=GREY, linestyle="--", label=r"$L_T = 1$, strict")
        ax.set(xscale="log", yscale="log", title=f"{n} evaluations")
        ax.invert_xaxis()
        ax.set_xlabel(r"noise $\sigma$ at the step's start")
    axes[0].set_ylabel("local Lipschitz constant")
    legend_below(axes, *axes[0].get_legend_handles_labels())


FIGURE = Figure(
    "local-lipschitz",
    "Local Lipschitz constants along trajectories, and how much the exact flow itself expands",
    compute,
    plot,
    columns=3,
    aspect=1.0,
    column={"rows": 3, "columns": 1, "aspect": 0.85},
    claims=("contractivity-trap", "lipschitz-bound"),
)
