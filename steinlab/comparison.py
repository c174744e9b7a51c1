"""Solvers x corrections x evaluations on one data law, measured against the law and its flow."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel
from analytic.flow import exact_flow
from steinlab.budget import run_within
from steinlab.corrections import Diagnostics
from steinlab.denoisers import Denoiser
from steinlab.errors import InputError
from steinlab.estimates import Estimate
from steinlab.grids import Grid
from steinlab.metrics import energy_distance, rms_distance, sliced_w2
from steinlab.processes import PROCESSES
from steinlab.sampling import NonFiniteStateError, Solution, solve
from steinlab.solvers import Plan, evaluations_on
from steinlab.specs.compare import CompareSpec, CorrectionSpec
from steinlab.specs.solvers import SolverSpec

FLOW_STATES = 1000
"""Start states followed by the exact flow: the first so many of the samples."""

FLOW_RTOL = 1e-4
"""Tolerance of the exact flow, far below the sampling error of the distance to it."""

NUM_PROJECTIONS = 200
"""Directions of the sliced distance, the same ones in every row."""

Law = GaussianMixture | EmpiricalMixture

Progress = Callable[[float, str], None]
"""Called with the fraction done and what begins now."""


@dataclass(frozen=True)
class Floor:
    """The distances between two samples of the law itself, as large as those compared."""

    energy_distance: Estimate
    sliced_w2: Estimate


@dataclass(frozen=True)
class Row:
    """One run: a solver with a correction on a budget; distances are None where it stopped."""

    solver: SolverSpec
    asked: int
    spent: int
    steps: int
    correction: CorrectionSpec
    energy_distance: Estimate | None
    sliced_w2: Estimate | None
    flow_error: Estimate | None
    floor: Floor
    coefficients: tuple[Diagnostics, ...]
    note: str = ""
    stopped: str = ""
    end: str = "zero"


@dataclass(frozen=True)
class _Task:
    solver: SolverSpec
    plan: Plan
    asked: int
    grid: Grid
    correction: CorrectionSpec

    @property
    def label(self) -> str:
        return f"{self.solver.label}, {self.asked} evaluations, {self.correction.label}"


@dataclass(frozen=True)
class _Bench:
    """What all rows share; ``ends`` are the flow's end points of the first start states."""

    seed: int
    denoiser: Denoiser
    start: np.ndarray
    truth: np.ndarray
    floor: Floor
    ends: np.ndarray | None
    ends_error: float
    note: str
    end: str


def compare(spec: CompareSpec, progress: Progress | None = None) -> Iterator[Row]:
    r"""Yield one row a solver, number of evaluations and correction.

    Every row starts from the same states under the forward law at the grid's noisiest level and
    ends at zero noise, or at the least noisy level where the specification says so. It is measured
    by the energy distance and the sliced 2-Wasserstein distance to an independent sample of the
    forward law at its end (the data law at zero noise), and by the root mean square distance to the
    end points of the exact probability flow from the same states. A row's random numbers depend on
    the seed and on what the row is, not on its place.

    Parameters
    ----------
    spec : CompareSpec
    progress : callable, optional

    Raises
    ------
    InputError
        Before any computation, if a budget does not pay for a step or the model has no exact law.
    """
    tell = progress or (lambda _done, _what: None)
    tasks = _plan(spec)
    law, denoiser = _law(spec)
    units = len(tasks) + 1
    bench = _prepare(spec, law, denoiser, tasks[0].grid, lambda f, what: tell(f / units, what))
    for i, task in enumerate(tasks):
        tell((i + 1) / units, task.label)
        yield _run(task, bench)
    tell(1.0, "done")


def _plan(spec: CompareSpec) -> list[_Task]:
    process = PROCESSES[spec.schedule]
    tasks = []
    for asked, entry in itertools.product(spec.evaluations, spec.solvers):
        plan, grid = run_within(
            entry.solver,
            process,
            spec.grid,
            asked,
            start=entry.start,
            finish=entry.finish,
            final_zero=spec.end == "zero",
        )
        tasks += [_Task(entry, plan, asked, grid, correction) for correction in spec.corrections]
    return tasks


def _law(spec: CompareSpec) -> tuple[Law, Denoiser]:
    if spec.model is None:
        assert spec.data is not None
        law = spec.data.law()
        return law, law
    if spec.model.exact_law is None:
        raise InputError(
            f"model must have an exact data law to compare with, got {spec.model.name}"
        )
    return spec.model.exact_law, spec.model.denoiser


def _rng(seed: int, *content: object) -> np.random.Generator:
    """A generator that depends on the seed and on the content it serves."""
    digest = hashlib.blake2b(repr(content).encode(), digest_size=16).digest()
    return np.random.default_rng([seed, int.from_bytes(digest, "big")])


def _prepare(
    spec: CompareSpec, law: Law, denoiser: Denoiser, grid: Grid, progress: Progress
) -> _Bench:
    progress(0.0, "samples of the law")
    noisy, clean = grid[0], grid[-1]
    truth = _forward(law, clean, spec.samples, _rng(spec.seed, "truth"))
    again = _forward(law, clean, spec.samples, _rng(spec.seed, "truth again"))
    floor = Floor(energy_distance(again, truth), _sliced(again, truth, spec.seed))
    start = _forward(law, noisy, spec.samples, _rng(spec.seed, "start"))
    progress(0.1, "the exact flow")
    ends, error, note = None, 0.0, ""
    try:
        flow = exact_flow(
            law,
            start[:FLOW_STATES],
            noisy,
            clean,
            rtol=FLOW_RTOL,
            progress=lambda f: progress(0.1 + 0.9 * f, "the exact flow"),
        )
        ends, error = flow.state, float(np.sqrt(np.mean(flow.error**2)))
    except ArithmeticError as failure:
        note = f"no flow_error: {failure}"
    return _Bench(spec.seed, denoiser, start, truth, floor, ends, error, note, spec.end)


def _forward(law: Law, level: NoiseLevel, n: int, rng: np.random.Generator) -> np.ndarray:
    """Sample the forward law at a level."""
    data = law.sample(n, rng)
    return np.asarray(level.alpha * data + level.sigma * rng.standard_normal(data.shape))


def _sliced(x: np.ndarray, truth: np.ndarray, seed: int) -> Estimate:
    directions = int(_rng(seed, "directions").integers(2**31))
    return sliced_w2(x, truth, num_projections=NUM_PROJECTIONS, seed=directions)


def _run(task: _Task, bench: _Bench) -> Row:
    options = task.solver.options
    content = (task.plan.name, options.start, options.final, task.asked)
    rng = _rng(bench.seed, *content, task.correction.name, task.correction.options)
    stopped = ""
    with np.errstate(over="ignore", invalid="ignore"):  # the loop stops where a state overflows
        try:
            run = solve(
                bench.denoiser,
                bench.start,
                task.grid,
                task.plan,
                correction=task.correction.make(),
                rng=rng,
            )
        except NonFiniteStateError as error:
            run, stopped = error.partial, str(error)
        near, sliced, flow_error = (None, None, None) if stopped else _distances(run, bench)
    price = evaluations_on(task.plan, task.grid)
    notes = [f"spends {price} of {task.asked} evaluations"] if price < task.asked else []
    return Row(
        task.solver,
        task.asked,
        run.evaluations,
        len(task.grid) - 1,
        task.correction,
        near,
        sliced,
        flow_error,
        bench.floor,
        run.diagnostics,
        "; ".join([*notes, *([bench.note] if bench.note else [])]),
        stopped,
        bench.end,
    )


def _distances(run: Solution, bench: _Bench) -> tuple[Estimate, Estimate, Estimate | None]:
    flow_error = None
    if bench.ends is not None:
        found = rms_distance(run.state[: len(bench.ends)], bench.ends)
        flow_error = Estimate(found.value, float(np.hypot(found.error, bench.ends_error)))
    near = energy_distance(run.state, bench.truth)
    return near, _sliced(run.state, bench.truth, bench.seed), flow_error


def to_json(row: Row) -> dict[str, Any]:
    """Return a row as the JSON of ``steinlab compare``; what is not a finite number is null."""
    return {
        "solver": row.solver.name,
        "start": row.solver.options.start,
        "final": list(row.solver.options.final),
        "end": row.end,
        "evaluations": {"asked": row.asked, "spent": row.spent},
        "steps": row.steps,
        "correction": row.correction.name,
        "options": {key: _finite(value) for key, value in row.correction.options},
        "energy_distance": _pair(row.energy_distance),
        "sliced_w2": _pair(row.sliced_w2),
        "flow_error": _pair(row.flow_error),
        "noise_floor": {
            "energy_distance": _pair(row.floor.energy_distance),
            "sliced_w2": _pair(row.floor.sliced_w2),
        },
        "coefficients": [_coefficient(i, done) for i, done in enumerate(row.coefficients)],
        "note": row.note,
        "stopped": row.stopped or None,
    }


def _coefficient(index: int, done: Diagnostics) -> dict[str, Any]:
    found = _pair(done.estimate) if done.estimate is not None else None
    return {
        "step": index + 1,
        "applied": _finite(done.gamma),
        "estimate": found,
        "note": done.note,
    }


def _pair(measured: Any) -> dict[str, float | None] | None:
    if measured is None:
        return None
    return {"value": _finite(measured.value), "error": _finite(measured.error)}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
