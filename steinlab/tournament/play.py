"""Play one cell: every entrant from the same states, measured against the same samples."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from steinlab.bench import rng_of
from steinlab.budget import run_within
from steinlab.corrections import Correction
from steinlab.corrections.base import Run
from steinlab.corrections.law_matched import LawMatched
from steinlab.corrections.subspaces import LawMatchedSubspaces
from steinlab.errors import InputError
from steinlab.flows import follow
from steinlab.grids import Grid, make_grid
from steinlab.metrics import energy_distance, rms_distance, sliced_w2
from steinlab.processes import PROCESSES, Process
from steinlab.sampling import NonFiniteStateError, Solution, solve
from steinlab.solvers import Plan
from steinlab.specs.solvers import Options, SolverSpec, solver_from_json
from steinlab.tournament.design import SOLVERS, Cell
from steinlab.tournament.entrants import BATCH, ENTRANTS, REFERENCES
from steinlab.tournament.problems import Problem, load_problem

FINE = 128
"""Steps of the fine run from a grid's first level to zero noise: the flow's end points."""

FLOORS = 4
"""Pairs of true samples whose energy distances give the noise floor."""

PROJECTIONS = 50

SUB_BATCHED = (LawMatched, LawMatchedSubspaces)
"""Corrections that look at a sub-batch whose size does not grow with the batch."""


@dataclass(frozen=True)
class Arena:
    """What all cells of a problem and a process share."""

    problem: Problem
    process: Process
    start: np.ndarray
    flow_end: np.ndarray
    truth: np.ndarray
    floor: dict[str, float]
    calibration: np.ndarray


@functools.lru_cache(maxsize=2)
def arena(name: str, process_name: str, seed: int, states: int) -> Arena:
    """Return the states, the flow's end points, the true sample and the noise floors.

    The true samples are the exact law's; a network's are end points of its own flow from other
    states, since a solver is judged by how well it follows the network that it is given.
    """
    problem, process = load_problem(name), PROCESSES[process_name]
    rng = rng_of(seed, name, process_name)
    grid = make_grid(process, "logsnr", 1)
    first, last = grid[0], grid[-1]

    def draw() -> np.ndarray:
        if problem.law is not None:
            return np.asarray(problem.law.sample(states, rng))
        x = problem.start(first, states, rng)
        return np.asarray(follow(problem.denoiser, x, first, last, FINE))

    start = problem.start(first, states, rng)
    end = np.asarray(follow(problem.denoiser, start, first, last, FINE))
    truth = draw()
    others = [draw() for _ in range(FLOORS)] if problem.law is not None else [draw()]
    near = [energy_distance(other, truth).value for other in others]
    if problem.law is None:  # one pair, drawn again by exchanging rows
        near += [_exchanged(truth, others[0], rng) for _ in range(FLOORS - 1)]
    floor = {
        "energy_distance": math.sqrt(float(np.mean(np.square(near)))),
        "sliced_w2": _sliced(others[0], truth),
        "flow_error": 0.0,
    }
    calibration = problem.start(first, states, rng)
    return Arena(problem, process, start, end, truth, floor, calibration)


def _exchanged(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> float:
    mixed = rng.permutation(np.concatenate([a, b]))
    return float(energy_distance(mixed[: len(a)], mixed[len(a) :]).value)


def _sliced(x: np.ndarray, y: np.ndarray) -> float:
    return float(sliced_w2(x, y, num_projections=PROJECTIONS, seed=0).value)


def planned(cell: Cell, process: Process, budget: int) -> tuple[Plan, Grid]:
    """Return a cell's solver on a budget, which ends with a first-order step where it must."""

    def spec(options: Options) -> SolverSpec:
        return solver_from_json(cell.solver, "solver", process=process, default=options, end="zero")

    try:
        entry = spec(Options())
    except InputError:
        entry = spec(Options(final=(1,)))
    return run_within(entry.solver, process, cell.grid, budget, finish=entry.finish)


def play(cell: Cell, *, states: int, entrants: Sequence[str] = tuple(ENTRANTS)) -> dict[str, Any]:
    """Return every entrant's distances and costs in a cell, and the noise floors.

    An entrant that spends evaluations is also set against the plain solver with as many more: the
    budget plus what it spends a state of a batch of :data:`BATCH`, rounded up, as ``equal``. The
    best plain solver of the cell's path and budget is chosen with hindsight.
    """
    own = arena(cell.problem, cell.process, cell.seed, states)
    plan, grid = planned(cell, own.process, cell.evaluations)

    def run(x: np.ndarray, correction: Correction) -> Solution:
        rng = rng_of(cell.seed, cell.key, correction.name)
        return solve(own.problem.denoiser, x, grid, plan, correction=correction, rng=rng)

    context = Run(own.problem.denoiser, own.calibration, grid, plan.solvers, run)
    results: dict[str, Any] = {}
    for name in entrants:
        correction = ENTRANTS[name](context)
        results[name] = _measured(own, cell, correction, run)
    plain = {name: _plain(replace(cell, solver=name), states, cell.evaluations) for name in SOLVERS}
    best = min(plain, key=lambda name: plain[name]["energy_distance"])
    return {
        "cell": vars(cell),
        "half": cell.half,
        "floor": own.floor,
        "best_plain": {"solver": best, **plain[best]},
        "results": results,
    }


def _measured(own: Arena, cell: Cell, correction: Correction, run: Any) -> dict[str, Any]:
    table = getattr(correction, "table", None)
    price = {} if table is None else {"price": table.evaluations, "kept": not table.note}
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            done = run(own.start, correction)
    except NonFiniteStateError as error:
        return {"stopped": str(error), **price}
    share = len(own.start) / BATCH if isinstance(correction, SUB_BATCHED) else 1.0
    extra = share * sum(d.evaluations + d.products for d in done.diagnostics)
    out = {"extra": extra, **distances(own, done.state), **price}
    if extra > 0 and correction.name not in REFERENCES:
        out["equal"] = _plain(cell, len(own.start), cell.evaluations + math.ceil(extra - 1e-9))
    return out


@functools.lru_cache(maxsize=64)
def _plain(cell: Cell, states: int, budget: int) -> dict[str, float]:
    """Return the plain solver's distances on another budget."""
    own = arena(cell.problem, cell.process, cell.seed, states)
    plan, grid = planned(cell, own.process, budget)
    return distances(own, solve(own.problem.denoiser, own.start, grid, plan).state)


def distances(own: Arena, state: np.ndarray) -> dict[str, float]:
    """Return the distances of end points: to the truth, and to where the flow leads."""
    near = energy_distance(state, own.truth)
    return {
        "energy_distance": float(near.value),
        "energy_error": float(near.error),
        "sliced_w2": _sliced(state, own.truth),
        "flow_error": float(rms_distance(state, own.flow_end).value),
    }
