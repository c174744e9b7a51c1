"""Solvers x corrections x evaluations on one data law or model.

Rows of a comparison in several processes of this machine.

Every process reads the specification anew, since a model's denoiser does not travel; a network's
long runs come first, each in a process, and reach the others through the cache
(:mod:`steinlab.storage`). Rows are what they are in one process: their random numbers depend on the
seed and on what they are.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from steinlab import storage
from steinlab.corrections.calibrated import Calibrated
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.grids import Grid
from steinlab.diffusion.models import Model
from steinlab.diffusion.processes import PROCESSES, Process
from steinlab.errors import InputError
from steinlab.experiments.bench import (
    RUNS,
    Bench,
    Distances,
    Progress,
    Request,
    distances,
    exact_bench,
    follow_run,
    network_bench,
    rng_of,
)
from steinlab.experiments.coefficient_noise import Noise, coefficient_noise, widened
from steinlab.experiments.results import Row, RowStore, packed, restored, to_json
from steinlab.experiments.specs.compare import CompareSpec, CorrectionSpec
from steinlab.experiments.specs.solvers import SolverSpec, require_beginning
from steinlab.solvers import Plan, evaluations_on
from steinlab.solvers.loop import NonFiniteStateError, Solution, solve
from steinlab.solvers.plans import run_within
from steinlab.solvers.reference_flow import fingerprint
from steinlab.storage import read_json, sources_key
from steinlab.workers import completed, executor_for

__all__ = ["Row", "compare", "to_json"]


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

    @property
    def content(self) -> tuple[object, ...]:
        """What a row's random numbers depend on besides the seed."""
        options = self.solver.options
        run = (self.plan.name, options.start, options.final, self.asked)
        return (*run, self.correction.name, self.correction.options)


@dataclass(frozen=True)
class Subject:
    """What is compared: a denoiser, its exact law if any, and what identifies it."""

    denoiser: Denoiser
    law: Any | None
    model: Model | None
    dim: int
    process: Process
    key: str


def compare(
    spec: CompareSpec, progress: Progress | None = None, *, folder: Path | None = None
) -> Iterator[Row]:
    r"""Yield one row a solver, number of evaluations and correction.

    Every row starts from the same states at the grid's noisiest level and ends at zero noise, or at
    the least noisy level where the specification says so. It is measured by the energy distance and
    the sliced 2-Wasserstein distance to an independent sample of the law at its end, and by the
    root mean square distance to the end points of the exact probability flow from the same states.
    Where there is an exact law, states start under its forward law; a network starts as
    :meth:`steinlab.diffusion.models.Model.start` says and is compared with its own long runs
    (:mod:`steinlab.solvers.reference_flow`), and with the law of its data where that is known. A
    row's random numbers depend on the seed and on what the row is, not on its place. The errors of
    corrected rows hold the noise of their coefficients
    (:mod:`steinlab.experiments.coefficient_noise`), at the cost of four more runs.

    Parameters
    ----------
    spec : CompareSpec
    progress : callable, optional
    folder : Path, optional
        Where finished rows are kept and found again, to the last digit.

    Raises
    ------
    InputError
        Before any computation, if a budget does not pay for a step.
    """
    tell = progress or (lambda _done, _what: None)
    work = Comparison(spec, folder)
    units = len(work.tasks) + 1
    for i in range(len(work.tasks)):
        yield work.row(i, tell)
        tell((i + 1) / units, "")
    tell(1.0, "done")


class Comparison:
    """The rows of a specification one by one; what they share is prepared once, if need be.

    Parameters
    ----------
    spec : CompareSpec
    folder : Path, optional
        Where finished rows are kept and found again.

    Raises
    ------
    InputError
        If a budget does not pay for a step.
    """

    def __init__(self, spec: CompareSpec, folder: Path | None = None) -> None:
        self.spec = spec
        self.tasks, self.subject = _plan(spec), subject_of(spec)
        self._store = RowStore(folder) if folder else None
        self._bench: Bench | None = None

    @property
    def request(self) -> Request:
        """What the bench is prepared for; all grids share both ends."""
        spec = self.spec
        return Request.on(self.tasks[0].grid, seed=spec.seed, samples=spec.samples, end=spec.end)

    def row(self, index: int, tell: Progress) -> Row:
        """Return a row, from the folder where it is there."""
        task, store = self.tasks[index], self._store
        key = _key(self.spec, self.subject, task) if store else ""
        row = store.get(task.label, key, task.solver, task.correction) if store else None
        if row is not None:
            return row
        units = len(self.tasks) + 1
        if self._bench is None:
            self._bench = _prepare(self.request, self.subject, lambda f, w: tell(f / units, w))
        tell((index + 1) / units, task.label)
        row = _run(task, self._bench)
        if store:
            store.put(task.label, key, row)
        return row


def process_of(spec: CompareSpec) -> Process:
    """Return the process, kept within the noise levels that the model was made for."""
    return spec.model.process(spec.schedule) if spec.model else PROCESSES[spec.schedule]


def _plan(spec: CompareSpec) -> list[_Task]:
    process = process_of(spec)
    tasks = []
    for asked, entry in itertools.product(spec.evaluations, spec.solvers):
        try:
            plan, grid = run_within(
                entry.solver,
                process,
                spec.grid,
                asked,
                start=entry.start,
                finish=entry.finish,
                final_zero=spec.end == "zero",
            )
        except InputError:
            raise
        except ValueError as error:  # levels that the process does not have
            raise InputError(f"grid {spec.grid}: {error}") from None
        require_beginning(plan.solvers[0], grid, f"solver {entry.label}")
        for correction in spec.corrections:
            made = correction.make()
            if isinstance(made, Calibrated):
                made.table.require(subject_name(spec), [one.name for one in plan.solvers], grid)
        tasks += [_Task(entry, plan, asked, grid, correction) for correction in spec.corrections]
    if len({(task.grid[0], task.grid[-1]) for task in tasks}) > 1:
        raise InputError(
            f"grid {spec.grid} has other ends for other numbers of steps, and rows share theirs: "
            "compare runs of one number of steps"
        )
    return tasks


def subject_name(spec: CompareSpec) -> str:
    """Return the model's name, or that of a law: what a calibration table belongs to."""
    if spec.model is not None:
        return spec.model.name
    return "law " + hashlib.sha256(repr(spec.data).encode()).hexdigest()[:16]


def subject_of(spec: CompareSpec) -> Subject:
    """Return what is compared."""
    process = process_of(spec)
    if spec.model is None:
        assert spec.data is not None
        law: Any = spec.data.law()
        return Subject(law, law, None, law.dim, process, repr(spec.data))
    model = spec.model
    return Subject(model.denoiser, model.exact_law, model, model.dim, process, model.name)


def _key(spec: CompareSpec, subject: Subject, task: _Task) -> str:
    """Return what identifies a row's numbers."""
    levels = [(level.alpha, level.sigma) for level in task.grid]
    answers = fingerprint(subject.denoiser, subject.dim, subject.process)
    run = (spec.seed, spec.samples, spec.end, levels)
    return storage.key_of(
        subject.key, answers, run, task.content, task.correction.digests, sources_key("steinlab")
    )


def _prepare(request: Request, subject: Subject, progress: Progress) -> Bench:
    if subject.law is not None:
        return exact_bench(request, subject.law, subject.denoiser, progress)
    assert subject.model is not None
    return network_bench(request, subject.model, subject.process, progress)


def _solve(
    task: _Task, bench: Bench, start: np.ndarray, *extra: object
) -> tuple[Solution, NonFiniteStateError | None]:
    try:
        run = solve(
            bench.denoiser,
            start,
            task.grid,
            task.plan,
            correction=task.correction.make(),
            rng=rng_of(bench.seed, *task.content, *extra),
        )
    except NonFiniteStateError as error:
        return error.partial, error
    return run, None


def _run(task: _Task, bench: Bench) -> Row:
    found: Distances | None = None
    noise: Noise | None = None
    with np.errstate(over="ignore", invalid="ignore"):  # the loop stops where a state overflows
        run, stop = _solve(task, bench, bench.start)
        if stop is None:
            found = distances(bench, run.state)
            if any(done.estimate is not None for done in run.diagnostics):
                noise = coefficient_noise(bench, run.state, _parted(task, bench))
                found = widened(found, noise)
    return Row(
        solver=task.solver,
        asked=task.asked,
        spent=run.evaluations,
        steps=len(task.grid) - 1,
        correction=task.correction,
        energy_distance=found.energy_distance if found else None,
        sliced_w2=found.sliced_w2 if found else None,
        flow_error=found.flow_error if found else None,
        floor=bench.own.floor,
        coefficients=run.diagnostics,
        reference=bench.reference,
        note=_note(task, bench, noise),
        stopped=str(stop) if stop else "",
        end=bench.end,
        noise=noise,
        data=found.data if found else None,
        data_floor=bench.data.floor if bench.data else None,
    )


def _parted(task: _Task, bench: Bench) -> Any:
    def run(index: np.ndarray, part: str) -> np.ndarray:
        again, stop = _solve(task, bench, bench.start[index], part)
        if stop is not None:
            raise stop
        return np.asarray(again.state)

    return run


def _note(task: _Task, bench: Bench, noise: Noise | None) -> str:
    price = evaluations_on(task.plan, task.grid)
    spends = f"spends {price} of {task.asked} evaluations" if price < task.asked else ""
    notes = (spends, bench.reference.note, noise.note if noise else "")
    return "; ".join(note for note in notes if note)


class Source(NamedTuple):
    """A specification as a process can be told it: its file, what goes instead, where rows go."""

    file: str
    seed: int | None = None
    device: str | None = None
    folder: str | None = None

    def spec(self) -> CompareSpec:
        """Read the specification."""
        obj, file = read_json(Path(self.file)), Path(self.file)
        if self.device is not None and isinstance(obj, dict):
            obj = {**obj, "device": self.device}
        spec = CompareSpec.from_json(obj, file.parent)
        return spec if self.seed is None else replace(spec, seed=self.seed)


@functools.lru_cache(maxsize=1)
def _comparison(source: Source) -> Comparison:
    return Comparison(source.spec(), Path(source.folder) if source.folder else None)


def _row(job: tuple[Source, int]) -> dict[str, Any]:
    source, index = job
    return packed(_comparison(source).row(index, lambda _f, _w: None))


def _follow(job: tuple[Source, str]) -> None:
    source, name = job
    work = _comparison(source)
    assert work.subject.model is not None
    follow_run(work.request, work.subject.model, work.subject.process, name)


def rows_in_processes(
    source: Source, workers: int, progress: Progress
) -> Iterator[tuple[int, Row]]:
    """Yield rows with their places, as they are finished.

    Parameters
    ----------
    source : Source
    workers : int
        Processes.
    progress : callable

    Raises
    ------
    Exception
        What a row raised, once all others are yielded.
    """
    work = Comparison(source.spec())
    units = len(work.tasks) + 1
    with executor_for(workers) as pool:
        if work.subject.law is None:
            progress(0.0, "the network's long runs")
            for _, failure in completed(pool, _follow, [(source, name) for name in RUNS]):
                if failure is not None:
                    raise failure
        jobs = [(source, index) for index in range(len(work.tasks))]
        failures: list[Exception] = []
        for done, ((_, index), found) in enumerate(completed(pool, _row, jobs)):
            task = work.tasks[index]
            progress((done + 2) / units, task.label)
            if isinstance(found, Exception):
                failures.append(found)  # the other rows go on
            else:
                yield index, restored(found, task.solver, task.correction)
        if failures:
            raise failures[0]
