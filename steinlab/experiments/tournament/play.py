"""Play one cell: every entrant from the same states, measured against the same samples."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from steinlab.corrections.fitted import CALIBRATION_STATES
from steinlab.diffusion.grids import Grid, make_grid
from steinlab.estimates import Estimate
from steinlab.experiments.bench import BATCH, Bench, Target, flow_ends, played, rng_of
from steinlab.experiments.tournament.design import SOLVERS, Cell
from steinlab.experiments.tournament.entrants import ENTRANTS, REFERENCES, entrant
from steinlab.experiments.tournament.measures import MEASURES, RIVAL, QuickTruth
from steinlab.experiments.tournament.problems import FINE, SLOW, load_problem
from steinlab.experiments.tournament.summary import ratio
from steinlab.metrics import EnergyRows, Samples
from steinlab.solvers import Plan, get_solver
from steinlab.solvers.base import noises
from steinlab.solvers.fitted_steps import NEED_TABLE, Numbers, fit, grid_to_fit
from steinlab.solvers.loop import NonFiniteStateError, Run, Solution, solve
from steinlab.solvers.plans import run_within
from steinlab.solvers.reference_flow import fine_run, follow
from steinlab.solvers.step import Correction, NoCorrection

FLOORS = 4
"""Pairs of true samples whose distances give the noise floors."""

FLOW_RTOL = 1e-5
"""Tolerance of the exact flow: its ends err by far less than any run of 20 evaluations."""

AFFORDABLE = 3
"""Evaluations a state up to which an entrant is set against the best plain solver given them."""

OVERFLOW = 1e100
"""Size of a coordinate from which a run counts as stopped: its squares leave the numbers."""


@dataclass(frozen=True, eq=False)
class Arena(Bench):
    """What all cells of a problem and a process share, with states to calibrate on."""

    calibration: np.ndarray = field(kw_only=True)


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
    subject = load_problem(name, process_name)
    rng = rng_of(seed, name, process_name)
    first, last = make_grid(subject.process, "logsnr", 1)
    fine = SLOW[name].fine if name in SLOW else FINE

    def draw() -> np.ndarray:
        if subject.law is not None:
            return np.asarray(subject.law.sample(states, rng))
        x = subject.start(first, states, rng)
        return np.asarray(fine_run(subject.denoiser, x, first, last, fine))

    start = subject.start(first, states, rng)
    if subject.law is not None:
        end, error = flow_ends(subject.law, start, first, last, rtol=FLOW_RTOL)
    else:
        end, error = follow(subject.denoiser, start, first, last, fine)
    truth = QuickTruth(draw(), subject.law, subject.modes)
    if subject.law is not None:
        near = [Samples(draw(), truth).measured(MEASURES) for _ in range(FLOORS)]
    else:
        both = np.concatenate([truth.sample, draw()])
        mixed = [np.split(rng.permutation(both), 2) for _ in range(FLOORS)]
        truths = [(QuickTruth(one, named=subject.modes), other) for one, other in mixed]
        near = [Samples(other, one).measured(MEASURES) for one, other in truths]
    floor = {"flow_error": Estimate(math.sqrt(float(np.mean(error**2))), math.nan)}
    for key in MEASURES:
        values = [entry.value**2 for one in near if (entry := one[key]) is not None]
        if values:
            floor[key] = Estimate(math.sqrt(float(np.mean(values))), math.nan)
    calibration = subject.start(first, min(states, CALIBRATION_STATES), rng)
    own = Target(truth, floor)
    return Arena(subject, start, own, end, metrics=MEASURES, calibration=calibration)


def planned(cell: Cell, own: Arena, budget: int) -> tuple[Plan, Grid]:
    """Return a cell's solver on a budget; a fitted one's numbers are of the calibration states."""
    process, numbers = own.subject.process, numbers_of(cell, own, budget)
    solver = numbers.make(process) if numbers else get_solver(cell.solver, process)
    return run_within(solver, process, cell.grid, budget)


@functools.lru_cache(maxsize=8)
def numbers_of(cell: Cell, own: Arena, budget: int) -> Numbers | None:
    """Return the numbers of a solver that needs them, None where the id says all."""
    if cell.solver not in NEED_TABLE:
        return None
    subject, x = own.subject, own.calibration
    grid = grid_to_fit(cell.solver, subject.process, cell.grid, budget)
    return fit(cell.solver, subject.denoiser, x, grid, subject.process, model=subject.name)


def play(
    cell: Cell,
    *,
    states: int,
    entrants: Sequence[str] = tuple(ENTRANTS),
    rivals: Sequence[str] = SOLVERS,
) -> dict[str, Any]:
    """Return every entrant's distances and costs in a cell, and the noise floors.

    An entrant that spends evaluations is also set against the plain solver with as many more: the
    budget plus what it spends a state of a batch of :data:`BATCH`, rounded up, as ``equal``, and
    against the best plain solver of that budget, ``equal_best``, up to :data:`AFFORDABLE`. The best
    plain solver of the cell's path and budget is chosen with hindsight among ``plain``, which
    holds the distances there of all ``rivals`` and the cell's own. ``ratio_error`` is
    the standard error of an entrant's ratio of energy distances (:func:`.summary.ratio`). A solver
    of fitted numbers competes plainly; its ``price`` is evaluations per calibration state.
    """
    own = arena(cell.problem, cell.process, cell.seed, states)
    numbers = numbers_of(cell, own, cell.evaluations)
    plan, grid = planned(cell, own, cell.evaluations)
    own = _judged(own, plan)

    def run(correction: Correction) -> tuple[Solution, NonFiniteStateError | None]:
        rng = rng_of(cell.seed, cell.key, correction.name)
        return played(own.subject.denoiser, own.start, grid, plan, correction=correction, rng=rng)

    context = Run(own.subject.denoiser, own.calibration, grid, plan)
    results: dict[str, Any] = {}
    plainly, stop = run(NoCorrection())
    finite = stop is None and np.abs(plainly.state).max() <= OVERFLOW
    beside = own.samples(plainly.state).rows if finite else None
    for name in entrants:
        correction = entrant(name)(context)
        results[name] = _measured(own, cell, correction, run(correction), beside, rivals=rivals)
    if numbers is not None and "none" in results:
        results["none"] |= {"price": numbers.evaluations, "kept": True}
    plain = _rivals(cell, states, cell.evaluations, rivals)
    best = _best(plain)
    return {
        "cell": vars(cell),
        "half": cell.half,
        "floor": {name: one.value for name, one in own.floor.items() if one is not None},
        "best_plain": {"solver": best, **plain[best]},
        "plain": {name: {k: one[k] for k in RIVAL if k in one} for name, one in plain.items()},
        "results": results,
    }


def _measured(
    own: Arena,
    cell: Cell,
    correction: Correction,
    run: tuple[Solution, NonFiniteStateError | None],
    beside: EnergyRows | None,
    *,
    rivals: Sequence[str],
) -> dict[str, Any]:
    table = getattr(correction, "table", None)
    price = {} if table is None else {"price": table.evaluations, "kept": not table.note}
    done, stop = run
    if stop is not None:
        return {"stopped": str(stop), **price}
    extra = _spread(own, correction) * sum(d.evaluations + d.products for d in done.diagnostics)
    out = {"extra": extra, **distances(own, done.state, beside), **price}
    if extra > 0 and correction.name not in REFERENCES:
        budget = cell.evaluations + math.ceil(extra - 1e-9)
        out["equal"] = _plain(cell, len(own.start), budget)
        if extra <= AFFORDABLE:
            plain = _rivals(cell, len(own.start), budget, rivals)
            out["equal_best"] = plain[_best(plain)]
    return out


def _judged(own: Arena, plan: Plan) -> Arena:
    """Return the arena without the flow's ends where a solver draws noise: it is judged by law."""
    return replace(own, ends=None) if noises(plan) else own


def _rivals(
    cell: Cell, states: int, budget: int, rivals: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return the plain solvers' distances on the cell's path and a budget."""
    solvers = dict.fromkeys((*rivals, cell.solver))
    return {name: _plain(replace(cell, solver=name), states, budget) for name in solvers}


def _best(plain: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the solver of the least energy distance."""
    return min(plain, key=lambda name: plain[name].get("energy_distance", math.inf))


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
    cell = Cell(problem, process, grid, solver, budget, seed)
    plan, levels = planned(cell, own, budget)
    end = solve(own.subject.denoiser, own.start, levels, plan, seed=seed).state
    return distances(_judged(own, plan), end)


def distances(own: Arena, state: np.ndarray, beside: EnergyRows | None = None) -> dict[str, Any]:
    """Return the distances of end points: to the truth, and to where the flow leads."""
    if np.abs(state).max() > OVERFLOW:
        return {"stopped": f"a coordinate of {np.abs(state).max():.1g}"}
    found = own.samples(state)
    out = {key: entry.value for key, entry in found.measured(MEASURES).items() if entry is not None}
    out["energy_error"] = found.rows.error
    if beside is not None:
        key = "energy_distance"
        floor = known.value if (known := own.floor[key]) is not None else 0.0
        size = ratio(out, {key: beside.distance}, floor, key)
        error = found.rows.ratio_error(beside, size)
        out["ratio_error"] = error / (max(beside.distance, 0.0) + floor)
    return out
