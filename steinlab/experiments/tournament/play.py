"""Play one cell: every entrant from the same states, measured against the same samples."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analytic import GaussianMixture, exact_flow
from steinlab.corrections.fitted import CALIBRATION_STATES
from steinlab.diffusion.grids import Grid, make_grid
from steinlab.diffusion.processes import Process
from steinlab.errors import InputError
from steinlab.experiments.bench import rng_of
from steinlab.experiments.specs.solvers import Options, SolverSpec, solver_from_json
from steinlab.experiments.tournament.design import SOLVERS, Cell
from steinlab.experiments.tournament.entrants import BATCH, ENTRANTS, REFERENCES, entrant
from steinlab.experiments.tournament.measures import MEASURES, Rows, Truth
from steinlab.experiments.tournament.problems import FINE, SLOW, Problem, load_problem
from steinlab.experiments.tournament.summary import ratio
from steinlab.metrics import rms_distance
from steinlab.solvers import Plan
from steinlab.solvers.loop import NonFiniteStateError, Solution, solve
from steinlab.solvers.plans import run_within
from steinlab.solvers.reference_flow import fine_run, follow
from steinlab.solvers.step import Correction, NoCorrection, Run

FLOORS = 4
"""Pairs of true samples whose distances give the noise floors."""

FLOW_RTOL = 1e-5
"""Tolerance of the exact flow: its ends err by far less than any run of 20 evaluations."""

OVERFLOW = 1e100
"""Size of a coordinate from which a run counts as stopped: its squares leave the numbers."""


@dataclass(frozen=True)
class Arena:
    """What all cells of a problem and a process share."""

    problem: Problem
    process: Process
    start: np.ndarray
    flow_end: np.ndarray
    truth: Truth
    floor: dict[str, float]
    calibration: np.ndarray


@functools.lru_cache(maxsize=2)
def arena(name: str, process_name: str, seed: int, states: int) -> Arena:
    """Return the states, the flow's end points, the true sample and the noise floors.

    The flow of an exact law is :func:`analytic.flow.exact.exact_flow`, a network's is followed
    finely (:mod:`steinlab.solvers.reference_flow`). The true samples are the exact law's; a
    network's are end points of its own flow from other states, since a solver is judged by how well
    it follows the network that it is given. A floor is the root mean square of a measure over
    independent true samples, or, for a network, over ways to part the pooled rows of two; that of
    the flow error is the root mean square of the stated errors of the flow's end points.
    """
    problem = load_problem(name)
    process = problem.process(process_name)
    rng = rng_of(seed, name, process_name)
    grid = make_grid(process, "logsnr", 1)
    first, last = grid[0], grid[-1]
    fine = SLOW[name].fine if name in SLOW else FINE

    def draw() -> np.ndarray:
        if problem.law is not None:
            return np.asarray(problem.law.sample(states, rng))
        x = problem.start(first, states, rng)
        return np.asarray(fine_run(problem.denoiser, x, first, last, fine))

    start = problem.start(first, states, rng)
    if problem.law is not None:
        end, error, _ = exact_flow(problem.law, start, first, last, rtol=FLOW_RTOL)
    else:
        end, error = follow(problem.denoiser, start, first, last, fine)
    sample = draw()
    if problem.law is not None:
        truth = Truth.of_law(problem.law, sample)
        near = [truth.measures(draw()) for _ in range(FLOORS)]
    else:
        truth = Truth.of_sample(sample, problem.modes)
        both = np.concatenate([sample, draw()])
        near = [_exchanged(both, problem.modes, rng) for _ in range(FLOORS)]
    floor = {"flow_error": math.sqrt(float(np.mean(error**2)))}
    for key in set(MEASURES) & set(near[0]):
        floor[key] = math.sqrt(float(np.mean([one[key] ** 2 for one in near])))
    calibration = problem.start(first, min(states, CALIBRATION_STATES), rng)
    return Arena(problem, process, start, end, truth, floor, calibration)


def _exchanged(
    both: np.ndarray, modes: GaussianMixture | None, rng: np.random.Generator
) -> dict[str, float]:
    mixed, half = rng.permutation(both), len(both) // 2
    return Truth.of_sample(mixed[:half], modes).measures(mixed[half:])


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
    best plain solver of the cell's path and budget is chosen with hindsight. ``ratio_error`` is
    the standard error of an entrant's ratio of energy distances (:func:`.summary.ratio`).
    """
    own = arena(cell.problem, cell.process, cell.seed, states)
    plan, grid = planned(cell, own.process, cell.evaluations)

    def run(x: np.ndarray, correction: Correction) -> Solution:
        rng = rng_of(cell.seed, cell.key, correction.name)
        return solve(own.problem.denoiser, x, grid, plan, correction=correction, rng=rng)

    context = Run(own.problem.denoiser, own.calibration, grid, plan.solvers, run)
    results: dict[str, Any] = {}
    beside = _rows(own, run)
    for name in entrants:
        correction = entrant(name)(context)
        results[name] = _measured(own, cell, correction, run, beside)
    solvers = dict.fromkeys((*SOLVERS, cell.solver))
    plain = {name: _plain(replace(cell, solver=name), states, cell.evaluations) for name in solvers}
    best = min(plain, key=lambda name: _of_best(plain[name]))
    return {
        "cell": vars(cell),
        "half": cell.half,
        "floor": own.floor,
        "best_plain": {"solver": best, **plain[best]},
        "results": results,
    }


def _of_best(found: Mapping[str, float]) -> float:
    return found.get("energy_distance", math.inf)


def _rows(own: Arena, run: Any) -> Rows | None:
    """Return the plain run's parts of the energy distance, where it stays in the numbers."""
    try:
        state = run(own.start, NoCorrection()).state
    except NonFiniteStateError:
        return None
    return own.truth.rows(state) if np.abs(state).max() <= OVERFLOW else None


def _measured(
    own: Arena, cell: Cell, correction: Correction, run: Any, beside: Rows | None
) -> dict[str, Any]:
    table = getattr(correction, "table", None)
    price = {} if table is None else {"price": table.evaluations, "kept": not table.note}
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            done = run(own.start, correction)
    except NonFiniteStateError as error:
        return {"stopped": str(error), **price}
    extra = _spread(own, correction) * sum(d.evaluations + d.products for d in done.diagnostics)
    out = {"extra": extra, **distances(own, done.state, beside), **price}
    if extra > 0 and correction.name not in REFERENCES:
        budget = cell.evaluations + math.ceil(extra - 1e-9)
        out["equal"] = _plain(cell, len(own.start), budget)
    return out


def _spread(own: Arena, correction: Correction) -> float:
    """Return what a state of a batch in use pays of what a state here was charged.

    A correction with a number of ``states`` looks at a sub-batch that does not grow with the batch;
    where a cell has fewer states than that, it looked at all of them.
    """
    part = int(getattr(correction, "states", 0))
    return max(len(own.start), part) / BATCH if part else 1.0


def _plain(cell: Cell, states: int, budget: int) -> dict[str, Any]:
    """Return the plain solver's distances on another budget, where it is the cell's own."""
    return _plainly(cell.problem, cell.process, cell.grid, cell.solver, cell.seed, states, budget)


@functools.lru_cache(maxsize=512)
def _plainly(*given: Any) -> dict[str, Any]:
    problem, process, grid, solver, seed, states, budget = given
    own = arena(problem, process, seed, states)
    plan, levels = planned(Cell(problem, process, grid, solver, budget, seed), own.process, budget)
    return distances(own, solve(own.problem.denoiser, own.start, levels, plan).state)


def distances(own: Arena, state: np.ndarray, beside: Rows | None = None) -> dict[str, Any]:
    """Return the distances of end points: to the truth, and to where the flow leads."""
    if np.abs(state).max() > OVERFLOW:
        return {"stopped": f"a coordinate of {np.abs(state).max():.1g}"}
    rows = own.truth.rows(state)
    flow_error = float(rms_distance(state, own.flow_end).value)
    out = {**own.truth.measures(state, rows), "flow_error": flow_error}
    if beside is not None:
        key = "energy_distance"
        plain, floor = {key: beside.distance}, own.floor[key]
        found = ratio(out, plain, floor, key)
        error = rows.ratio_error(beside, found)
        out["ratio_error"] = error / (max(beside.distance, 0.0) + floor)
    return out
