"""Directions of steps in the time of rectified flow, from noise at 1 to data at 0, on the line."""

from __future__ import annotations

import numpy as np

from analytic import GaussianMixture
from analytic.flow.rectified import velocity
from steinlab.claims.instruments.two_modes import moved, on_flow
from steinlab.solvers import get_solver
from steinlab.solvers.loop import solve
from steinlab.solvers.one_step import Direction

CLIP = 4.0
"""Where the authors of shortcut models clip states."""


def displacement(law: GaussianMixture, below: float = 0.0) -> Direction:
    """Return ``(x, t, d) -> (x - Phi)/d``, ``Phi`` where the flow leads from ``t`` to ``t - d``.

    States at times less than ``below`` are clipped.
    """

    def direction(x: np.ndarray, t: float, d: float) -> np.ndarray:
        x = np.clip(x, -CLIP, CLIP) if t < below else x
        return np.asarray(x - moved(law, x, on_flow(t), on_flow(max(t - d, 0.0)))) / d

    return direction


def slope(law: GaussianMixture) -> Direction:
    """Return the velocity, whatever the length: the direction of Euler's step."""
    return lambda x, t, _: velocity(law, x[:, None], t)[:, 0]


def euler_run(law: GaussianMixture, x: np.ndarray, top: float, parts: int) -> np.ndarray:
    """Return the direction from ``x`` at time ``top`` to where the solver Euler ends."""
    grid = [on_flow(t) for t in np.linspace(top, 0, parts + 1)]
    return np.asarray((x - solve(law, x[:, None], grid, "euler").state[:, 0]) / top)


def shortcut_error(law: GaussianMixture, parts: int) -> float:
    """Return how far one step of a shortcut of so many parts ends from the flow, in the mean."""
    x, s = np.linspace(-2.0, 2.0, 81), on_flow(0.99)
    found = get_solver(f"shortcut@{parts}", "flow").step(law, x[:, None], s, on_flow(0.0), ())
    return float(np.sqrt(np.mean((found.state[:, 0] - moved(law, x, s, on_flow(0.0))) ** 2)))
