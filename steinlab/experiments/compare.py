"""Solvers x corrections x evaluations on one data law or model.

Rows of a comparison in several processes, of this machine or of others.

Every process reads the specification anew, since a model's denoiser does not travel; a network's
long runs come first, each in a process, and reach the others through the cache
(:mod:`steinlab.storage`). This process keeps the rows as they come. They are what they are in one
process: their random numbers depend on the seed and on what they are.
"""

import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from steinlab.corrections.calibrated import Calibrated, Table
from steinlab.corrections.fitted import FittedOnTheRun, calibrate, promise
from steinlab.diffusion.grids import Grid, Searched, given_grid, grid_name, make_grid, searched
from steinlab.diffusion.models import noised_rows
from steinlab.diffusion.processes import PROCESSES
from steinlab.diffusion.spread import seen_variance
from steinlab.errors import InputError
from steinlab.experiments.bench import (
    RUNS,
    Bench,
    Measured,
    Progress,
    Request,
    Subject,
    exact_bench,
    follow_run,
    network_bench,
    played,
    rng_of,
)
from steinlab.experiments.coefficient_noise import Noise, coefficient_noise, widened
from steinlab.experiments.results import Row, name_of, packed, restored, to_json
from steinlab.experiments.specs.compare import CompareSpec, CorrectionSpec, init_rows
from steinlab.experiments.specs.solvers import SolverSpec, require_beginning
from steinlab.solvers import Plan, evaluations_on
from steinlab.solvers.base import noises
from steinlab.solvers.fitted_steps import CURVE_STEPS, Numbers, fit, grid_to_fit
from steinlab.solvers.inversion import there_and_back
from steinlab.solvers.linear_family import LinearTable, fit_table
from steinlab.solvers.loop import NonFiniteStateError, Run, Solution, steps
from steinlab.solvers.plans import run_within
from steinlab.solvers.reference_flow import fingerprint, trajectory
from steinlab.solvers.searched_grids import STATES, Counted, Found, search_grid
from steinlab.solvers.unit_speed import Curve
from steinlab.storage import Store, cache, in_file, key_of, read_json, sources_key
from steinlab.workers import completed

__all__ = ["Row", "compare", "to_json"]


@dataclass(frozen=True)
class _Task:
    solver: SolverSpec
    plan: Plan
    asked: int
    grid: Grid
    correction: CorrectionSpec
    searched: int = 0  # evaluations per state that its grid cost

    @property
    def label(self) -> str:
        return f"{self.solver.label}, {self.asked} evaluations, {self.correction.label}"

    @property
    def content(self) -> tuple[object, ...]:
        """What a row's random numbers depend on besides the seed."""
        options = self.solver.options
        run = (self.plan.name, options.start, options.final, self.asked)
        return (*run, self.correction.name, self.correction.options, *self.solver.digests)


def compare(
    spec: CompareSpec, progress: Progress | None = None, *, folder: Path | None = None
) -> Iterator[Row]:
    """Yield one row per solver, number of evaluations and correction.

    Every row starts from the same states and is measured by the specification's metrics against
    what :mod:`steinlab.experiments.bench` prepares. A row's random numbers depend on the seed and
    on what the row is, not on its place. The errors of corrected rows hold the noise of their
    coefficients (:mod:`steinlab.experiments.coefficient_noise`), at the cost of four more runs.

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

    ``against`` adds a solver with a correction, where it is not there, on every budget.

    Raises
    ------
    InputError
        If a budget does not pay for a step, grids have several ends, or the table of a correction
        is of another subject or run.
    """

    def __init__(
        self,
        spec: CompareSpec,
        folder: Path | None = None,
        against: tuple[SolverSpec, CorrectionSpec] | None = None,
    ) -> None:
        self.spec = spec
        self.subject = subject_of(spec)
        self.tasks = list(_tasks(spec))
        if against is not None:
            alone = replace(spec, solvers=against[:1])
            base = _tasks(alone, *against[1:])
            self.tasks += [task for task in base if task not in self.tasks]
        for task in self.tasks:
            made = task.correction.make()
            curve = getattr(task.solver.solver, "curve", None)
            if curve is not None:
                curve.require_model(subject_name(spec))
            for table in (task.solver.numbers, task.solver.solver):
                if isinstance(table, Numbers | LinearTable):
                    table.require(subject_name(spec), task.grid)
            if isinstance(made, Calibrated):
                solvers = [one.name for one in task.plan.solvers]
                made.table.require(subject_name(spec), solvers, task.grid)
        if len({(task.grid[0], task.grid[-1]) for task in self.tasks}) > 1:
            raise InputError(
                f"grid {spec.grid} has other ends for other numbers of steps, and rows share "
                "theirs: compare runs of one number of steps"
            )
        self._store = Store(folder) if folder else None
        self._bench: Bench | None = None

    @property
    def request(self) -> Request:
        """What the bench is prepared for; all grids share both ends."""
        spec, grid = self.spec, self.tasks[0].grid
        return Request(spec.seed, spec.samples, grid[0], grid[-1], spec.end, spec.metrics)

    def kept(self, index: int) -> Row | None:
        """Return a row where the folder holds it."""
        task = self.tasks[index]
        found = self._store.get(name_of(task.label), self._key(task)) if self._store else None
        return None if found is None else restored(found, task.solver, task.correction)

    def keep(self, index: int, found: dict[str, Any]) -> Row:
        """Return a row that was computed, and keep it where there is a folder."""
        task = self.tasks[index]
        if self._store:
            self._store.put(name_of(task.label), self._key(task), found)
        return restored(found, task.solver, task.correction)

    def _key(self, task: _Task) -> str:
        """Return what identifies a row's numbers."""
        spec, levels = self.spec, [(level.alpha, level.sigma) for level in task.grid]
        run = (spec.seed, spec.samples, spec.end, spec.metrics, levels)
        numbers = (task.content, task.correction.digests, sources_key(__name__))
        return key_of(self.subject.name, self._answers, run, *numbers)

    @functools.cached_property
    def _answers(self) -> str:
        """What the denoiser answers, by which another network of its name is told apart."""
        return fingerprint(self.subject.denoiser, self.subject.dim, self.subject.process)

    def row(self, index: int, tell: Progress) -> Row:
        """Return a row, from the folder where it is there."""
        return self.kept(index) or self.keep(index, self.computed(index, tell))

    def computed(self, index: int, tell: Progress) -> dict[str, Any]:
        """Compute a row; return it packed."""
        task, units = self.tasks[index], len(self.tasks) + 1
        if self._bench is None:
            prepare = network_bench if self.subject.law is None else exact_bench
            self._bench = prepare(self.request, self.subject, lambda f, w: tell(f / units, w))
        tell((index + 1) / units, task.label)
        return packed(_run(task, self._bench, self.spec))


def _tasks(spec: CompareSpec, *corrections: CorrectionSpec) -> Iterator[_Task]:
    """Yield every run with its corrections, or with these, and what its grid cost."""
    for entry, plan, asked, grid in runs_of(spec):
        wanted = searched(spec.grid)
        price = _search(spec, plan, wanted).evaluations if wanted else 0
        yield from (
            _Task(entry, plan, asked, grid, one, price)
            for one in corrections or spec.corrections_of(entry)
        )


def _search(spec: CompareSpec, plan: Plan, wanted: Searched) -> Found:
    """Search the grid of a plan; what was found is kept between runs."""
    subject, zero = subject_of(spec), spec.end == "zero"
    noisiest = make_grid(subject.process, wanted.base, 1, final_zero=zero)[0]
    x = subject.start(noisiest, STATES, rng_of(spec.seed, "grid"))
    answers = fingerprint(subject.denoiser, subject.dim, subject.process)
    solvers = [one.name for one in plan.solvers]
    key = key_of(subject.name, answers, spec.grid, solvers, zero, x, sources_key(__name__))
    store = cache("grids")
    kept = store.get(key, key)
    if kept is not None:
        return Found(given_grid(subject.process, kept[0]), kept[1])
    found = search_grid(spec.grid, subject.denoiser, x, subject.process, plan, final_zero=zero)
    store.put(key, key, ([level.ratio for level in found.grid], found.evaluations))
    return found


def runs_of(spec: CompareSpec) -> Iterator[tuple[SolverSpec, Plan, int, Grid]]:
    """Yield every solver on every budget, on the grid that is searched for it if one is."""
    process = spec.model.process(spec.schedule) if spec.model else PROCESSES[spec.schedule]
    wanted = searched(spec.grid)
    outline = grid_name(wanted.base) if wanted else spec.grid
    for asked, entry in itertools.product(spec.evaluations, spec.solvers):
        how: Any = {"start": entry.start, "finish": entry.finish, "final_zero": spec.end == "zero"}
        try:
            plan, grid = run_within(entry.solver, process, outline, asked, **how)
            grid = _search(spec, plan, wanted).grid if wanted else grid
        except InputError:
            raise
        except ValueError as error:  # levels that the process does not have
            raise InputError(f"grid {spec.grid}: {error}") from None
        require_beginning(plan.solvers[0], grid, f"solver {entry.label}")
        if spec.model:
            spec.model.require_grid(grid, process, init=spec.init is not None)
        yield entry, plan, asked or evaluations_on(plan, grid), grid


def promises(spec: CompareSpec) -> Iterator[str]:
    """Yield what the corrections that look at some states first will spend, and guarantee.

    The most that any run of theirs spends, before it starts.
    """
    for entry in spec.corrections:
        made = entry.make()
        if isinstance(made, FittedOnTheRun):
            runs = runs_of(spec)
            most = max(made.spends(plan, grid, spec.samples) for _, plan, _, grid in runs)
            yield promise(made, entry.label, most)


def subject_name(spec: CompareSpec) -> str:
    """Return the model's name, or that of a law: what a calibration table belongs to."""
    if spec.model is not None:
        return spec.model.name
    return "law " + hashlib.sha256(repr(spec.data).encode()).hexdigest()[:16]


def subject_of(spec: CompareSpec) -> Subject:
    """Return what is compared."""
    if spec.model is not None:
        subject = Subject.of_model(spec.model, spec.schedule)
        if spec.init is None:
            return subject
        rows = init_rows(spec.init, spec.model, "init")
        name = f"{subject.name} from {key_of(rows)[:16]}"
        return replace(subject, name=name, start=noised_rows(rows))
    assert spec.data is not None
    return Subject.of_law(spec.data.law(), PROCESSES[spec.schedule], repr(spec.data))


def calibrate_table(spec: CompareSpec) -> Table:
    """Return the table of moves for the first solver and budget of a specification.

    Its states are ``samples`` fresh ones at the grid's noisiest level, drawn from a generator that
    no row of a comparison uses.
    """
    _, plan, _, grid = next(runs_of(spec))
    subject, rng = subject_of(spec), rng_of(spec.seed, "calibration")
    x = subject.start(grid[0], spec.samples, rng)
    return calibrate(Run(subject.denoiser, x, grid, plan, rng), model=subject_name(spec))


def fit_linear(spec: CompareSpec) -> LinearTable:
    """Return the linear steps that follow the flow of the first budget's grid, fitted.

    Its states are ``samples`` fresh ones; a fine run stands for the flow. The solver says how many
    steps the budget pays for, and the least of its error is that of the family.
    """
    _, _, _, grid = next(runs_of(spec))
    subject, rng = subject_of(spec), rng_of(spec.seed, "linear")
    x, counted = subject.start(grid[0], spec.samples, rng), Counted(subject.denoiser)
    _, *targets = trajectory(counted, x, grid)
    table = fit_table(counted, x, grid, targets, subject_name(spec))
    return replace(table, spent=counted.calls)


def calibrate_solver(spec: CompareSpec, name: str) -> Numbers:
    """Return the numbers of a fitted solver, on ``samples`` fresh states.

    Its grid is that of the first budget (:func:`~steinlab.solvers.fitted_steps.grid_to_fit`).
    """
    subject, rng = subject_of(spec), rng_of(spec.seed, "calibration")
    process = PROCESSES[spec.schedule]
    zero = spec.end == "zero"
    grid = grid_to_fit(name, process, spec.grid, spec.evaluations[0], final_zero=zero)
    x = subject.start(grid[0], spec.samples, rng)
    return fit(name, subject.denoiser, x, grid, process, model=subject_name(spec))


def calibrate_curve(spec: CompareSpec) -> Curve:
    """Return the speed of a law's or model's own flow by level, for the unit-speed solvers.

    States follow the flow from ``samples`` fresh ones over the process's levels, in
    :data:`CURVE_STEPS` fine steps; each level's ``w`` is that of the states there. No data are
    needed; a law's flow has its forward law at every level.
    """
    subject, rng = subject_of(spec), rng_of(spec.seed, "curve")
    grid = make_grid(subject.process, "logsnr", CURVE_STEPS, final_zero=False)
    x = subject.start(grid[0], spec.samples, rng)
    found = {}
    for taken in steps(subject.denoiser, x, grid, "dpmpp-3m-exact"):
        here = taken.step
        found[float(here.s.ratio)] = here.x, here.candidate.denoised, here.s
        x = taken.state
    found[float(grid[-1].ratio)] = x, subject.denoiser(x, grid[-1]), grid[-1]
    shares = []
    for ratio, states in sorted(found.items()):
        shares.append(ratio**2 / (ratio**2 + float(seen_variance(*states))))
    return Curve(subject_name(spec), spec.samples, tuple(sorted(found)), tuple(shares))


def _solve(
    task: _Task, bench: Bench, seed: int, start: np.ndarray, *part: str
) -> tuple[Solution, NonFiniteStateError | None]:
    correction, rng = task.correction.make(), rng_of(seed, *task.content, *part)
    denoiser = bench.subject.denoiser
    return played(denoiser, start, task.grid, task.plan, correction=correction, rng=rng)


def _run(task: _Task, bench: Bench, spec: CompareSpec) -> Row:
    found: Measured | None = None
    noise: Noise | None = None
    if noises(task.plan):
        bench = replace(bench, ends=None)

    def again(index: np.ndarray, part: str) -> np.ndarray:
        half, stop = _solve(task, bench, spec.seed, bench.start[index], part)
        if stop is not None:
            raise stop
        return np.asarray(half.state)

    with np.errstate(over="ignore", invalid="ignore"):  # squares of finite states may overflow
        run, stop = _solve(task, bench, spec.seed, bench.start)
        if stop is None:
            found = replace(bench, back=_back(task, bench)).measured(run.state)
            if any(done.estimate is not None for done in run.diagnostics):
                noise = coefficient_noise(bench, run.state, again)
                found = widened(found, noise)
    return Row(
        solver=task.solver,
        asked=task.asked,
        spent=run.evaluations,
        steps=len(task.grid) - 1,
        correction=task.correction,
        measured=found or dict.fromkeys([*bench.metrics, *bench.floor]),
        floor=bench.floor,
        coefficients=run.diagnostics,
        reference=bench.reference,
        note=_note(task, bench, noise),
        stopped=str(stop) if stop else "",
        end=spec.end,
        noise=noise,
        searched=_searched(task) if task.searched else None,
        price=_price(task),
    )


def _price(task: _Task) -> float:
    """Return the evaluations that a search, a fitted solver, a curve and a correction cost."""
    total = float(task.searched * STATES)
    made = (task.correction.make(), task.solver.numbers, task.solver.solver)
    for one in (*made, getattr(task.solver.solver, "curve", None)):
        if isinstance(one, Calibrated):
            total += one.table.evaluations * one.table.states
        elif isinstance(one, Numbers):
            total += one.evaluations * one.states
        elif isinstance(one, LinearTable):
            total += one.spent * one.states
        elif isinstance(one, Curve):
            total += len(one.ratios) * one.states
    return total


def _back(task: _Task, bench: Bench) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return the way up the noise and down again, where there is a level to begin it at."""
    if len(task.grid) < 3 and not task.grid[-1].sigma:
        return None
    return lambda x: there_and_back(bench.subject.denoiser, x, task.grid, task.plan)


def _searched(task: _Task) -> dict[str, Any]:
    """Return what a search found, as JSON."""
    ratios = [level.ratio for level in task.grid]
    return {"sigmas": ratios, "evaluations": task.searched, "states": STATES}


def _note(task: _Task, bench: Bench, noise: Noise | None) -> str:
    price = evaluations_on(task.plan, task.grid)
    spends = f"spends {price} of {task.asked} evaluations" if price < task.asked else ""
    by_law = "flow_error does not apply: its steps draw noise" if noises(task.plan) else ""
    notes = (spends, bench.reference.note, noise.note if noise else "", by_law)
    return "; ".join(note for note in notes if note)


class Source(NamedTuple):
    """What a worker process is told of a comparison, in plain values.

    ``file`` holds the specification; ``seed`` and ``device`` replace its own where given.
    """

    file: str
    seed: int | None = None
    device: str | None = None

    def spec(self) -> CompareSpec:
        """Read the specification."""
        obj, file = read_json(Path(self.file)), Path(self.file)
        if self.device is not None and isinstance(obj, dict):
            obj = {**obj, "device": self.device}
        with in_file(file):
            spec = CompareSpec.from_json(obj, file.parent)
        return spec if self.seed is None else replace(spec, seed=self.seed)

    def comparison(self) -> Comparison:
        """Return the comparison."""
        return Comparison(self.spec())


@functools.lru_cache(maxsize=1)
def _comparison(source: Any) -> Comparison:
    found: Comparison = source.comparison()
    return found


def _row(job: tuple[Any, int]) -> dict[str, Any]:
    source, index = job
    return _comparison(source).computed(index, lambda _f, _w: None)


def _follow(job: tuple[Any, str]) -> None:
    work = _comparison(job[0])
    follow_run(work.request, work.subject, job[1])


def rows_elsewhere(
    works: Mapping[Any, Comparison], executor: Executor, progress: Progress
) -> Iterator[tuple[Any, int, Row]]:
    """Yield the rows of comparisons with their places, kept ones first, others as they come.

    Parameters
    ----------
    works : mapping
        Comparisons by what every process reads anew: plain values, a :class:`Source` or another,
        whose ``comparison()`` gives the same.
    executor : Executor
    progress : callable

    Raises
    ------
    Exception
        What a row raised, once all others are yielded.
    """
    jobs: list[tuple[Any, int]] = []
    units = sum(len(work.tasks) for work in works.values())
    for source, work in works.items():
        for index in range(len(work.tasks)):
            row = work.kept(index)
            if row is None:
                jobs.append((source, index))
            else:
                yield source, index, row
    progress(1 - len(jobs) / units, "")
    runs = [(s, name) for s in dict(jobs) if works[s].subject.law is None for name in RUNS]
    for done, (_, failure) in enumerate(completed(executor, _follow, runs)):
        if failure is not None:
            raise failure
        progress(0.0, f"{done + 1} of the network's {len(runs)} long runs")
    failures: list[Exception] = []
    for left, ((source, index), found) in enumerate(completed(executor, _row, jobs), 1 - len(jobs)):
        progress(1 + left / units, works[source].tasks[index].label)
        if isinstance(found, Exception):
            failures.append(found)  # the other rows go on
        else:
            yield source, index, works[source].keep(index, found)
    if failures:
        raise failures[0]
