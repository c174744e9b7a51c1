"""What the solver tests share: a law, smooth grids, observed orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from analytic import GaussianMixture, exact_flow
from steinlab.diffusion.grids import Grid, given_grid
from steinlab.diffusion.processes import FLOW, PROCESSES, VP_LINEAR, Process
from steinlab.solvers import SOLVER_IDS, Plan, Solver, get_solver
from steinlab.solvers.base import couples_batch
from steinlab.solvers.loop import solve

ALONE = tuple(name for name in SOLVER_IDS if not couples_batch(get_solver(name, VP_LINEAR)))
"""Solvers that step each state alone: the others' coefficients depend on the batch."""

TOP, BOTTOM = 1.0, 0.3
"""Noise-to-signal ratios between which orders are measured: all solvers are asymptotic there."""

ORDER_TOLERANCE = 0.2
STEPS = 256
"""Orders are read between ``STEPS / 2`` and ``STEPS`` steps."""

LAW = GaussianMixture([0.4, 0.6], [-1.0, 1.5], [0.3, 0.5])
START = np.linspace(-2.0, 2.0, 9)[:, None]
PLANE = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [1.0, -0.2]], [[0.2, 0.4], [0.3, 0.1]])

PROCESSES_MEASURED = (VP_LINEAR, FLOW)

ROUNDING = 1e-12
"""A few hundred roundings of states of size 20, over the smallest states of size 0.1."""

EVERY_PROCESS = [pytest.param(process, id=process.name) for process in PROCESSES.values()]


def quadratic(n: int) -> np.ndarray:
    """Ratios uniform in their square root."""
    return np.linspace(TOP**0.5, BOTTOM**0.5, n + 1) ** 2


def logsnr(n: int) -> np.ndarray:
    """Ratios uniform in their logarithm."""
    return np.geomspace(TOP, BOTTOM, n + 1)


GRIDS_MEASURED: tuple[Callable[[int], np.ndarray], ...] = (quadratic, logsnr)


def uneven_grid(process: Process, steps: int = 6, *, zero: bool = False, seed: int = 3) -> Grid:
    """A short grid of random log steps, from a ratio of 20 to 0.05 (or on to zero)."""
    cuts = np.cumsum(np.random.default_rng(seed).uniform(0.5, 1.5, steps + 1))
    cuts = (cuts - cuts[0]) / (cuts[-1] - cuts[0])
    ratios = list(20.0 * (0.05 / 20.0) ** cuts)
    return given_grid(process, [*ratios[:-1], 0.0] if zero else ratios)


def states(grid: Grid, law: GaussianMixture = PLANE, n: int = 5, seed: int = 0) -> np.ndarray:
    """States under the forward law of the grid's first level."""
    rng = np.random.default_rng(seed)
    return grid[0].noised(law.sample(n, rng), rng)


def observed_order(
    run: Callable[[int], Solver | Plan], process: Process, ratios: Callable[[int], np.ndarray]
) -> float:
    """Global order between ``STEPS / 2`` and ``STEPS`` steps, against the exact flow."""
    errors = []
    solver = run(STEPS)
    few = solver.depth == 0 and solver.order >= 4  # errs no more than the reference in many steps
    for n in (16, 32) if few else (STEPS // 2, STEPS):
        grid = given_grid(process, list(ratios(n)))
        x = grid[0].alpha * START
        exact = exact_flow(LAW, x, grid[0], grid[-1])
        gap = solve(LAW, x, grid, run(n)).state - exact.state
        error = float(np.sqrt(np.mean(gap**2)))
        assert error > 100 * exact.error.max(), "the reference must be far better than the solver"
        errors.append(error)
    return float(np.log2(errors[0] / errors[1]))


class Counted:
    """A denoiser that counts its calls."""

    def __init__(self, law: Any) -> None:
        self.law, self.calls = law, 0

    def __call__(self, x: Any, level: Any) -> Any:
        self.calls += 1
        return self.law(x, level)


def end(name: Any, process: Process, *, zero: bool = False, steps: int = 6) -> np.ndarray:
    """Where a solver, a plan or an id ends on a short uneven grid."""
    grid = uneven_grid(process, steps, zero=zero)
    solver = get_solver(name, process) if isinstance(name, str) else name
    return np.asarray(solve(PLANE, states(grid), grid, solver).state)


def same(a: np.ndarray, b: np.ndarray) -> None:
    """Assert agreement to rounding."""
    np.testing.assert_allclose(a, b, rtol=ROUNDING, atol=ROUNDING)
