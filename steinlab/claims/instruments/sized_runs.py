"""Runs on uneven grids that carry every state's rounding error, and the solvers made for it."""

import itertools
from functools import cache
from typing import Any

import numpy as np

from analytic import NoiseLevel
from analytic.memory import remembering
from steinlab.claims.instruments.observed_order import LAW, STATES
from steinlab.coefficient.rounding import Sized, on_sizes
from steinlab.diffusion.grids import Grid, given_grid
from steinlab.diffusion.processes import EDM, PROCESSES
from steinlab.solvers import SOLVER_IDS, Evaluation, get_solver
from steinlab.solvers.base import couples_batch

RANGE = (20.0, 0.05)
"""First and last noise-to-signal ratio."""


def uneven_grid(process: str, seed: int, steps: int) -> Grid:
    """Return a grid of random log steps."""
    cuts = np.cumsum(np.random.default_rng(seed).uniform(0.5, 1.5, steps + 1))
    cuts = (cuts - cuts[0]) / (cuts[-1] - cuts[0])
    return given_grid(PROCESSES[process], list(RANGE[0] * (RANGE[1] / RANGE[0]) ** cuts))


def run_sized(solver: Any, grid: Grid) -> Sized:
    """Run a solver with the running error of every state."""
    denoise = on_sizes(remembering(LAW))
    x = Sized(grid[0].alpha * STATES * grid[0].ratio, np.zeros_like(STATES))
    history: tuple[Evaluation, ...] = ()
    for s, t in itertools.pairwise(grid):
        candidate = solver.step(denoise, x, s, t, history)
        entry = Evaluation(s, x, candidate.denoised, candidate.linear)
        history = (entry, *history)[: solver.depth]
        x = candidate.state
    return x


@cache
def linear_solvers() -> tuple[str, ...]:
    """Return the solvers with one evaluation per step that take each state alone, linearly."""
    s, t, found = NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.5), []
    for name in SOLVER_IDS:
        solver = get_solver(name, EDM)
        own = (solver, *getattr(solver, "starters", ()))
        if couples_batch(solver) or any(one.evaluations(t) > 1 for one in own):
            continue
        if getattr(solver, "noises", 0) == 0 and solver.step(LAW, STATES, s, t, ()).linear:
            found.append(name)
    return tuple(found)
