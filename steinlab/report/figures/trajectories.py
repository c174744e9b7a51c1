"""Trajectories in the plane over the density: plain, corrected and exact."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analytic import NoiseLevel, exact_flow
from steinlab.corrections import stein
from steinlab.diffusion.grids import given_grid
from steinlab.diffusion.laws import problem
from steinlab.diffusion.processes import EDM
from steinlab.metrics import rms_distance
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.budgets import LIMITS
from steinlab.report.figures.style import BLUE, GREEN, PURPLE, RED, SEQUENTIAL
from steinlab.solvers import EULER
from steinlab.solvers.loop import solve
from steinlab.solvers.step import Correction, NoCorrection

LAW = "ring, 2-D"
RATIOS = np.geomspace(4.0, 0.1, 7)
STATES, SHOWN = 512, 14
"""States that the coefficient is estimated from, and those drawn."""

RTOL = 1e-6
"""Of the exact flow: far below a line's width."""

SIDE, PIXELS = 4.2, 141
PANELS: Mapping[str, tuple[str, str]] = {
    "plain": ("plain Euler", BLUE),
    "corrected": (r"with $\hat\gamma$ of Theorem 4.7", RED),
    "clipped": (r"with $\hat\gamma$ clipped to $[0.1, 1]$", PURPLE),
    "exact": ("exact flow", GREEN),
}


def compute(seed: int) -> FigureData:
    """Return trajectories ``(level, state, 2)`` from the same starts, and the end's density."""
    law: Any = problem(LAW)
    grid = given_grid(EDM, list(RATIOS))
    rng = np.random.default_rng(seed)
    x = law.sample(STATES, rng)
    x = x + grid[0].sigma * rng.standard_normal(x.shape)
    runs: dict[str, Correction] = {
        "plain": NoCorrection(),
        "corrected": stein(),
        "clipped": stein(gamma_min=LIMITS["gamma_min"], gamma_max=LIMITS["gamma_max"]),
    }
    found = {
        name: np.array(solve(law, x, grid, EULER, correction=one, rng=rng, keep_trajectory=True)
                       .trajectory)
        for name, one in runs.items()
    }  # fmt: skip
    ends = [exact_flow(law, x, grid[0], t, rtol=RTOL).state for t in grid[1:]]
    found["exact"] = np.array([x, *ends])
    axis = np.linspace(-SIDE, SIDE, PIXELS)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    level = NoiseLevel(1.0, float(RATIOS[-1]))
    density = np.exp(law.log_prob(points, level)).reshape(PIXELS, PIXELS)
    arrays = {name: states[:, :SHOWN] for name, states in found.items()}
    errors = {name: rms_distance(found[name][-1], found["exact"][-1]) for name in runs}
    config = {
        "law": LAW,
        "ratios": RATIOS.tolist(),
        "states": STATES,
        "side": SIDE,
        "flow_error": {name: [e.value, e.error] for name, e in errors.items()},
    }
    return FigureData({**arrays, "density": density}, config)


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw one panel a method; circles are the ends."""
    side = data.config["side"]
    for ax, (name, (title, color)) in zip(axes, PANELS.items(), strict=True):
        ax.imshow(
            data.arrays["density"],
            extent=(-side, side, -side, side),
            origin="lower",
            cmap=SEQUENTIAL,
            alpha=0.45,
            interpolation="bilinear",
        )
        states = data.arrays[name]
        for i in range(states.shape[1]):
            ax.plot(*states[:, i].T, color=color, linewidth=0.7, marker=".", markersize=1.5)
        ax.plot(*states[-1].T, linestyle="none", marker="o", color=color, markeredgecolor="white",
                markeredgewidth=0.4)  # fmt: skip
        error = data.config["flow_error"].get(name)
        note = f"error {error[0]:.3g} $\\pm$ {error[1]:.1g}" if error else "the reference"
        ax.set(xlim=(-side, side), ylim=(-side, side), xlabel="$x_1$")
        ax.set(xticks=(-4, 0, 4), yticks=(-4, 0, 4))
        ax.set_title(f"{title}\n{note}", fontsize="medium")
    axes[0].set_ylabel("$x_2$")


FIGURE = Figure(
    "trajectories",
    "Trajectories in the plane over the density: plain, corrected and exact",
    compute,
    plot,
    columns=4,
    aspect=1.3,
    column={"rows": 2, "columns": 2},
    claims=("trajectory-decay", "integration-error"),
)
