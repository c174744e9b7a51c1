r"""Grids searched on a denoiser's own trajectories: GITS, OSS and levels by descent.

All take states at the noisiest of many *candidate* levels and a *teacher*, a solver that visits
every candidate. Distances are root mean squares over the states, in the coordinates
``z = x / alpha``, ``S = sigma / alpha``, where one step of Euler is ``z + (S' - S)(z - D)/S``.

**GITS** (Chen et al., 2024) sums the errors of single steps of Euler from the teacher's states,

    c_ij = |z_i + (S_j - S_i)(z_i - D_i)/S_i - z_j|,   V_k(i) = min_j c_ij + g V_(k-1)(j),

by dynamic programming; the factor ``g`` stands for what becomes of an error in later steps. With
``cost=deviation``, the authors' default, ``c_ij`` is the distance of the step's end from the chord
between the trajectory's ends, less the teacher's own: zero on every grid where trajectories are
straight, as those of isotropic Gaussian data are. The student's solver does not enter.

**OSS** (Pei et al., 2025) follows the student: of all ways to take ``k`` steps to candidate ``j``
it keeps the one whose state is nearest the teacher's there, and goes on from that one. One state
is kept per cell, so a better grid may be lost.

**Descent** minimises the distance of the run's end to the teacher's over the levels themselves, as
LD3 does (Tong et al., 2024), by quasi-Newton steps in the logarithms of the steps in ``log S``. The
denoiser is asked at the levels of the steps, and the start states stay where they are.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from analytic import NoiseLevel
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.grids import Grid, make_grid, searched
from steinlab.diffusion.processes import Process
from steinlab.errors import InputError, one_of, quote
from steinlab.solvers.base import Evaluation, History
from steinlab.solvers.loop import solve, steps
from steinlab.solvers.plans import Plan
from steinlab.solvers.registry import get_solver

STATES = 256
"""States on which a comparison searches: GITS's own number."""

COSTS = ("distance", "deviation")
"""What GITS measures of a step."""


@dataclass
class Counted:
    """A denoiser that counts its evaluations, each of the whole batch."""

    denoiser: Denoiser
    calls: int = 0

    def __call__(self, x: Any, level: NoiseLevel) -> Any:
        """Return the denoiser's output."""
        self.calls += 1
        return self.denoiser(x, level)


@dataclass(frozen=True)
class Task:
    """What a search is given.

    Parameters
    ----------
    denoiser : Denoiser
    x : array (N, d)
        States at the first candidate.
    process : Process
    levels : Grid
        The candidates.
    plan : Plan
        The student: one solver per step.
    """

    denoiser: Denoiser
    x: Any
    process: Process
    levels: Grid
    plan: Plan

    @property
    def steps(self) -> int:
        """Steps of the student."""
        return len(self.plan.solvers)


class Trajectory(NamedTuple):
    """A teacher's states ``z`` ``(levels, N, d)`` at every candidate, and its outputs but last."""

    states: np.ndarray
    denoised: tuple[Any, ...]


def followed(task: Task, teacher: str) -> Trajectory:
    """Run the teacher over the candidates."""
    solver = get_solver(teacher, task.process, field="teacher")
    taken = list(steps(task.denoiser, task.x, task.levels, solver))
    states = [task.x, *(one.state for one in taken)]
    scaled = [_scaled(x, level) for x, level in zip(states, task.levels, strict=True)]
    return Trajectory(np.stack(scaled), tuple(one.step.candidate.denoised for one in taken))


def _scaled(x: Any, level: NoiseLevel) -> np.ndarray:
    """``z = x / alpha``."""
    return np.asarray(np.asarray(x) / level.alpha)


def _rms(z: np.ndarray) -> float:
    return float(np.sqrt((z**2).sum(axis=-1).mean()))


def step_costs(found: Trajectory, levels: Grid, cost: str = "distance") -> np.ndarray:
    """Return ``c_ij`` of single steps of Euler along a trajectory, infinite for ``j <= i``."""
    one_of("cost", cost, COSTS)
    states, ratios = found.states, [level.ratio for level in levels]
    chord = states[-1] - states[0]
    chord = chord / np.maximum(np.linalg.norm(chord, axis=-1, keepdims=True), 1e-300)

    def aside(z: np.ndarray) -> Any:
        rest = z - states[-1]
        return np.linalg.norm(rest - (rest * chord).sum(-1, keepdims=True) * chord, axis=-1)

    out = np.full((len(levels), len(levels)), np.inf)
    for i, denoised in enumerate(found.denoised):
        slope = (states[i] - np.asarray(denoised)) / ratios[i]
        for j in range(i + 1, len(levels)):
            moved = states[i] + (ratios[j] - ratios[i]) * slope
            if cost == "distance":
                out[i, j] = _rms(moved - states[j])
            else:
                out[i, j] = float(np.mean(aside(moved) - aside(states[j])))
    return out


def cheapest(costs: np.ndarray, count: int, g: float) -> list[int]:
    """Return the path of ``count`` steps from the first to the last level with the least cost.

    Examples
    --------
    >>> costs = np.full((4, 4), np.inf)
    >>> costs[0, 1:], costs[1, 2:], costs[2, 3:] = (1, 2, 9), (2, 4), (2,)
    >>> cheapest(costs, 2, 1.0), cheapest(costs, 2, 0.5)
    ([0, 2, 3], [0, 1, 3])
    """
    value, choices = costs[:, -1], []
    for _ in range(count - 1):
        through = costs + g * value
        choices.append(through.argmin(axis=1))
        value = through.min(axis=1)
    path = [0]
    for choice in reversed(choices):
        path.append(int(choice[path[-1]]))
    return [*path, len(costs) - 1]


def gits(task: Task, *, teacher: str = "ipndm-4", g: float = 1.15, cost: str = "distance") -> Grid:
    """Return the grid of least summed one-step costs."""
    costs = step_costs(followed(task, teacher), task.levels, cost)
    return tuple(task.levels[i] for i in cheapest(costs, task.steps, g))


class _Cell(NamedTuple):
    """A student's state at a candidate: its distance to the teacher's, its past, its levels."""

    distance: float
    state: Any
    history: History
    path: tuple[int, ...]


def oss(task: Task, *, teacher: str = "ipndm-4") -> Grid:
    """Return the grid that the search along the student's own states finds."""
    levels, goal = task.levels, followed(task, teacher).states
    last, cells = len(levels) - 1, {0: _Cell(0.0, task.x, (), (0,))}
    for ahead, solver in zip(reversed(range(task.steps)), task.plan.solvers, strict=True):
        best: dict[int, _Cell] = {}
        for i, cell in cells.items():
            asked = _remembered(task.denoiser)
            for j in range(i + 1, last - ahead + 1) if ahead else [last]:
                s, t = levels[i], levels[j]
                made = solver.step(asked, cell.state, s, t, cell.history[: solver.depth])
                distance = _rms(_scaled(made.state, t) - goal[j])
                if j not in best or distance < best[j].distance:
                    past = Evaluation(s, cell.state, made.denoised, made.linear)
                    history = (past, *cell.history)[: task.plan.depth]
                    best[j] = _Cell(distance, made.state, history, (*cell.path, j))
        cells = best
    return tuple(levels[i] for i in cells[last].path)


def _remembered(denoiser: Denoiser) -> Callable[[Any, NoiseLevel], Any]:
    """Return the denoiser with its first output kept: steps from one state share it."""
    kept: list[tuple[Any, Any]] = []

    def asked(x: Any, level: NoiseLevel) -> Any:
        if kept and kept[0][0] is x:
            return kept[0][1]
        found = denoiser(x, level)
        kept.append((x, found))
        return found

    return asked


def exhaustive(task: Task, *, teacher: str = "ipndm-4") -> Grid:
    """Return the choice of the candidates whose run ends nearest the teacher's, of all choices."""
    first, *inner, last = task.levels
    goal = followed(task, teacher).states[-1]
    grids = ((first, *some, last) for some in itertools.combinations(inner, task.steps - 1))
    return min(grids, key=lambda grid: missed(task, grid, goal))


def missed(task: Task, grid: Grid, goal: np.ndarray) -> float:
    """Return the distance of the end of the student's run to a ``z``."""
    return _rms(_scaled(solve(task.denoiser, task.x, grid, task.plan).state, grid[-1]) - goal)


def descent(task: Task, *, teacher: str = "ipndm-4") -> Grid:
    """Return the levels whose run ends nearest the teacher's, from even candidates on."""
    from scipy.optimize import minimize

    levels, goal = task.levels, followed(task, teacher).states[-1]
    zero = levels[-1].sigma == 0
    logs = np.log([level.ratio for level in levels[: len(levels) - zero]])
    places = np.linspace(0, len(logs) - 1, task.steps + 1 - zero)

    def grid(free: np.ndarray) -> Grid:
        sizes = np.exp(np.clip(free, *WIDTHS))
        sizes = sizes if zero else sizes * (logs[0] - logs[-1]) / sizes.sum()
        inner = np.exp(logs[0] - np.cumsum(sizes)[: task.steps - 1])
        return (levels[0], *(task.process.level_at(float(r)) for r in inner), levels[-1])

    free = np.log(-np.diff(np.interp(places, np.arange(len(logs)), logs)))
    if task.steps > 1:
        free = minimize(lambda free: missed(task, grid(free), goal), free, method="BFGS").x
    return grid(free)


WIDTHS = (-12.0, 3.0)
"""Logarithms of the smallest and of the largest step in ``log S`` that descent tries."""

SEARCHES: Mapping[str, Callable[..., Grid]] = MappingProxyType(
    {"gits": gits, "oss": oss, "descent": descent}
)


class Found(NamedTuple):
    """A searched grid, and its price in evaluations of the denoiser per state looked at."""

    grid: Grid
    evaluations: int


def search_grid(
    grid: Any, denoiser: Denoiser, x: Any, process: Process, plan: Plan, *, final_zero: bool = True
) -> Found:
    """Search a grid of :data:`~steinlab.diffusion.grids.SEARCHED`.

    Parameters
    ----------
    grid : str or dict
        ``"gits"``, ``"oss:levels=31"``, ``{"name": "gits", "g": 1}``, ... The candidates are
        ``levels`` of a Karras grid, with its ``start``, ``sigma_min`` or ``sigma_max`` if given.
    denoiser : Denoiser
    x : array (N, d)
        States at the noisiest of them.
    process : Process
    plan : Plan
        The student: one solver per step.
    final_zero : bool
        Whether the candidates end at zero noise or at the process's least noisy level.

    Raises
    ------
    InputError
        If the grid is no such, or there are fewer candidates than steps.

    Examples
    --------
    >>> from analytic import GaussianMixture
    >>> from steinlab.diffusion.processes import EDM
    >>> from steinlab.solvers import EULER, make_plan
    >>> law, x = GaussianMixture([1.0], [[0.0]], 0.25), np.array([[80.0]])
    >>> found = search_grid("gits:g=1", law, x, EDM, make_plan(EULER, 3))
    >>> [round(level.sigma, 2) for level in found.grid], found.evaluations
    ([80.0, 0.73, 0.28, 0.0], 60)
    """
    asked = searched(grid)
    if asked is None:
        raise InputError(f"grid must be one of {', '.join(SEARCHES)}, got {quote(grid)}")
    if not asked.levels > len(plan.solvers):
        raise InputError(
            f"grid {asked.name}: levels must be > {len(plan.solvers)}, the steps, "
            f"got {asked.levels}"
        )
    counted = Counted(denoiser)
    levels = make_grid(process, asked.base, asked.levels - 1, final_zero=final_zero)
    task = Task(counted, x, process, levels, plan)
    return Found(SEARCHES[asked.name](task, **asked.options), counted.calls)
