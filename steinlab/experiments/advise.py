r"""Solver, grid, correction and expected error at a budget: for a spectrum, a loss curve or a law.

*A spectrum*, the standard deviations of Gaussian data along their axes, is decided in closed form:
the flow error of every solver and grid, without an error of its own. A step multiplies each axis by
a number, so one run of states on the axes tells all: ``+-sqrt(n_k) s_k e_k`` for ``n_k`` axes of
deviation ``s_k``. Their second moments are those of an infinite batch, so that solvers that take
their speed from the batch are told too, as on large ones; :data:`EXACT`, which errs on no Gaussian,
only where it is asked for. *A loss curve* ``V(S) = E|x_star - D|^2`` at ratios
``S = sigma / alpha`` is first turned into the spectrum of Gaussian data with that loss,

    V(S) = sum_k n_k l_k S^2 / (l_k + S^2),    n_k >= 0 by least squares of relative errors,

and the answer is as good as the data are Gaussian: modes make every solver worse.

*A law or model* is piloted. Some states follow the flow finely. Every solver runs from them on
every grid, plain and with a table, each half with the other half's
(:func:`steinlab.corrections.pilot.cross_fitted`). The least mean square error wins; a table must
pass the pilot's paired gate besides. The expected error of the winner comes from fresh states,
which took no part in choosing: the least of many is too small where it was chosen. Its interval
is that of these states' scatter, and leaves out errors of states too rare to be among them (on a
mixture of few modes in 8 dimensions 600 others erred 1.5 to 2.2 times as much).
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from analytic import GaussianMixture
from analytic.arrays import Array
from steinlab.corrections.calibrated import Calibrated
from steinlab.corrections.fitted import FITTED, Followed
from steinlab.corrections.pilot import cross_fitted, improves, plainly, squares
from steinlab.diffusion.grids import grid_name
from steinlab.diffusion.processes import PROCESSES
from steinlab.errors import InputError, one_of
from steinlab.experiments.bench import BATCH, rng_of
from steinlab.experiments.compare import runs_of, subject_of
from steinlab.experiments.specs.compare import CompareSpec
from steinlab.experiments.specs.fields import (
    MAX_EVALUATIONS,
    MAX_SAMPLES,
    each,
    integer,
    items,
    mapping,
    number,
    text,
)
from steinlab.metrics import student
from steinlab.solvers import SOLVERS, get_solver
from steinlab.solvers.base import require_path
from steinlab.solvers.gaussian_runs import flow_output, forward_law
from steinlab.solvers.loop import Run, solve
from steinlab.solvers.plans import evaluations_on, run_within
from steinlab.solvers.step import NoCorrection
from steinlab.solvers.unit_speed import begins
from steinlab.storage import MAX_SEED

GRIDS = ("karras", "karras:rho=3", "logsnr")
CANDIDATES = (
    *("euler", "heun", "dpmpp-2m", "dpmpp-3m-exact", "unipc-2", "ipndm-3"),
    *("unit-speed-2", "unit-speed-3"),
)
"""Solvers that a pilot chooses among; of a spectrum every solver is computed but :data:`EXACT`."""

EXACT = "unit-speed-1c"

STATES = 96
LEAST_STATES, SUBSTEPS = 16, 4
OTHERS = 4
"""Runners-up that are told."""

SUBJECTS = ("spectrum", "loss", "data", "model")
MOST_VARIANCES = 60
"""Variances that a loss curve may be made of."""


@dataclass(frozen=True)
class Choice:
    """A candidate with its flow error; ``low`` and ``high`` are equal to it where it is exact.

    ``correction`` is ``none``, or the pilot as a SPEC.json names it, with as many states as here: a
    smaller pilot may decline where this one gains. ``chosen_by`` is the error on the states that
    chose: on the small side for the winner, and all that is known of the others.
    """

    solver: str
    grid: str
    correction: str | dict[str, Any]
    evaluations: int
    error: float
    low: float
    high: float
    chosen_by: float


@dataclass(frozen=True)
class Advice:
    """What to use, what was next, what it rests on and what it cost.

    Attributes
    ----------
    best : Choice
    others : tuple of Choice
        Their errors were chosen by, and are on the small side.
    spread : float
        Root mean square distance of the data to their mean: what an error is to be held against.
    price : int
        Denoiser evaluations of single states.
    why : str
    """

    best: Choice
    others: tuple[Choice, ...]
    spread: float
    price: int
    why: str

    def to_json(self) -> dict[str, Any]:
        """Return the JSON of ``steinlab advise``."""
        price = {"evaluations": self.price, "per_state_of_10000": self.price / BATCH}
        told = {"others": [asdict(one) for one in self.others], "spread": self.spread}
        return {**asdict(self.best), "price": price, "why": self.why, **told}


def advise(obj: Any, folder: Path = Path()) -> Advice:
    """Return the advice on a SPEC: one of :data:`SUBJECTS`, ``evaluations``, and options.

    Options are ``process``, ``grids``, ``solvers``, and for a law or model ``states`` and ``seed``.

    Raises
    ------
    InputError
        Naming the field, the value and the requirement.
    """
    options = ["process", "grids", "solvers", "states", "seed", *SUBJECTS]
    fields = mapping(obj, "", ["evaluations"], options)
    found = [name for name in SUBJECTS if name in fields]
    if len(found) != 1:
        told = ", ".join(found) or "none"
        raise InputError(f"SPEC must hold one of {', '.join(SUBJECTS)}, got {told}")
    evaluations = integer(fields["evaluations"], "evaluations", 1, MAX_EVALUATIONS)
    grids = each(fields.get("grids", list(GRIDS)), "grids", grid_name)
    if found[0] in ("data", "model"):
        return _piloted(fields, evaluations, grids, folder)
    for name in ("states", "seed"):
        if name in fields:
            raise InputError(f"{name} needs data or a model, got {fields[name]} with {found[0]}")
    if found[0] == "spectrum":
        deviations = np.array([_positive(one, f"spectrum[{i}]") for i, one in _listed(fields, 0)])
        return _of_spectrum(fields, evaluations, grids, deviations, np.ones(len(deviations)))
    points = np.array([_point(one, f"loss[{i}]") for i, one in _listed(fields, 1)])
    deviations, counts, misfit = spectrum_of_loss(points[:, 0], points[:, 1])
    advice = _of_spectrum(fields, evaluations, grids, deviations, counts)
    why = f"{advice.why}, as if the data were Gaussian with this loss (misfit {misfit:.1%})"
    return replace(advice, why=why)


def _listed(fields: Mapping[str, Any], which: int) -> list[tuple[int, Any]]:
    return list(enumerate(items(fields[SUBJECTS[which]], SUBJECTS[which])))


def _positive(obj: Any, path: str) -> float:
    value = float(number(obj, path))
    if not value > 0:
        raise InputError(f"{path} must be > 0, got {value:g}")
    return value


def _point(obj: Any, path: str) -> tuple[float, float]:
    if not isinstance(obj, list) or len(obj) != 2:
        raise InputError(f"{path} must be a list [sigma / alpha, loss], got {obj}")
    return _positive(obj[0], f"{path}[0]"), _positive(obj[1], f"{path}[1]")


def spectrum_of_loss(ratios: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return standard deviations, how many axes have each, and the largest relative misfit.

    Parameters
    ----------
    ratios, loss : array (n,)
        ``sigma / alpha`` and ``E|x_star - D|^2`` there, summed over the coordinates.

    Examples
    --------
    >>> ratios = np.geomspace(0.01, 100, 30)
    >>> s, n, misfit = spectrum_of_loss(ratios, 3 * ratios**2 / (1 + ratios**2))
    >>> round(float(n @ s**2), 1), misfit < 0.02
    (3.0, True)
    """
    ends = math.log(ratios.min() / 3), math.log(3 * ratios.max())
    variances = np.exp(2 * np.linspace(*ends, MOST_VARIANCES))
    squared = ratios[:, None] ** 2
    rows = variances * squared / (variances + squared) / loss[:, None]
    counts, _ = nnls(rows, np.ones(len(loss)))
    kept = counts > 0
    return np.sqrt(variances[kept]), counts[kept], float(np.abs(rows @ counts - 1).max())


def _of_spectrum(
    fields: Mapping[str, Any],
    evaluations: int,
    grids: Sequence[str],
    deviations: np.ndarray,
    counts: np.ndarray,
) -> Advice:
    """Compute every solver on every grid for Gaussian data, ``counts`` axes of each deviation."""
    name = text(fields.get("process", "edm"), "process")
    process = PROCESSES[one_of("process", name, PROCESSES)]
    law = GaussianMixture(np.ones(1), np.zeros((1, len(deviations))), deviations[None] ** 2)
    found = []
    every = [name for name in SOLVERS if name != EXACT]
    solvers = each(fields.get("solvers", every), "solvers", text)
    for solver, grid in itertools.product(solvers, grids):
        one = get_solver(solver, process, field="solvers")
        if getattr(one, "noises", 0) or not one.ends_at_zero:
            continue  # a run without a flow, or one that needs another's last step
        try:
            plan, levels = run_within(one, process, grid, evaluations)
        except InputError:
            continue
        if not begins(one, levels[0]):
            continue
        start, end = forward_law(law, levels[0]), flow_output(law, levels[0], levels[-1])
        axes = np.diag(np.sqrt(counts) * start.deviations)
        ends = solve(law, np.concatenate([axes, -axes]), levels, plan).state[: len(axes)]
        error = float(np.linalg.norm(np.diag(ends) - np.sqrt(counts) * end.deviations))
        spent = evaluations_on(plan, levels)
        found.append(Choice(one.name, grid, "none", spent, error, error, error, error))
    ranked = _ranked(found, evaluations)
    spread, why = math.sqrt(float(counts @ deviations**2)), f"closed form, {len(found)} runs"
    return Advice(ranked[0], tuple(ranked[1 : 1 + OTHERS]), spread, 0, why)


def _ranked(found: list[Choice], evaluations: int) -> list[Choice]:
    if not found:
        raise InputError(f"evaluations must pay for a step of some solver, got {evaluations}")
    return sorted(found, key=lambda one: one.error)


class Counting:
    """A denoiser that counts the states at which it is evaluated."""

    def __init__(self, denoiser: Any) -> None:
        self.denoiser, self.states = denoiser, 0

    def __call__(self, x: Array, level: Any) -> Array:
        """Denoise."""
        self.states += int(x.shape[-2])
        return self.denoiser(x, level)


def _piloted(
    fields: Mapping[str, Any], evaluations: int, grids: Sequence[str], folder: Path
) -> Advice:
    """Pilot every solver on every grid, and judge the winner on fresh states."""
    states = integer(fields.get("states", STATES), "states", LEAST_STATES, MAX_SAMPLES)
    seed = integer(fields.get("seed", 0), "seed", 0, MAX_SEED)
    kept = {key: fields[key] for key in ("data", "model", "process") if key in fields}
    solvers = fields.get("solvers", list(CANDIDATES))
    whole = {**kept, "solvers": solvers, "evaluations": [evaluations], "corrections": ["none"]}
    specs = [CompareSpec.from_json({**whole, "grid": grid}, folder) for grid in grids]
    subject = subject_of(specs[0])
    denoiser, rng = Counting(subject.denoiser), rng_of(seed, "advise")
    runs = []
    for spec, entry in ((one, entry) for one in specs for entry in one.solvers):
        require_path(entry.solver, "advice by distances to the flow")
        try:
            _, plan, _, levels = next(runs_of(replace(spec, solvers=(entry,))))
        except InputError:
            continue  # the budget pays for no step of it
        if begins(entry.solver, levels[0]):
            runs.append((entry.label, spec.grid, Run(denoiser, np.empty(0), levels, plan)))
    if not runs:
        raise InputError(f"evaluations must pay for a step of some solver, got {evaluations}")
    tops, ends = zip(*((run.grid[0].ratio, run.grid[-1].ratio) for *_, run in runs), strict=True)
    if not (np.allclose(tops, tops[0], rtol=1e-9) and np.allclose(ends, ends[0], rtol=1e-9)):
        raise InputError("grids must begin and end at the same levels, since errors are compared")
    batches = [subject.start(runs[0][2].grid[0], states, rng) for _ in range(2)]
    reference = [_ends(runs[0][2], x) for x in batches]
    trajectories: dict[Any, Followed] = {}
    found = []
    for label, grid, run in runs:
        if run.grid not in trajectories:
            trajectories[run.grid] = Followed.of(replace(run, x=batches[0]), SUBSTEPS)
        flow = _to(trajectories[run.grid], replace(run, x=batches[0]), reference[0])
        plain, moved = plainly(flow), cross_fitted(flow)
        spent = evaluations_on(run.solver, run.grid)
        pilot = {"name": "pilot", "states": states}
        for fix, errors in (("none", plain), (pilot, moved)):
            if fix == "none" or improves(moved, plain):
                interval = _interval(errors)
                found.append((Choice(label, grid, fix, spent, *interval, interval[0]), flow))
    found.sort(key=lambda one: one[0].error)
    best, flow = found[0]
    table = flow.table(FITTED, "advice") if best.correction != "none" else None
    fresh = _to(flow, replace(flow.run, x=batches[1]), reference[1])
    judged = squares(fresh, NoCorrection() if table is None else Calibrated(table))
    error, low, high = _interval(judged)
    spread = float(np.sqrt(np.sum(np.var(reference[1], axis=0))))
    why = (
        f"least of {len(found)} cross-fitted errors on {states} states; expected error from "
        f"{states} fresh ones, rarer states not in it"
    )
    best = replace(best, error=error, low=low, high=high)
    others = tuple(one for one, _ in found[1 : 1 + OTHERS])
    return Advice(best, others, spread, denoiser.states, why)


def _ends(run: Run, x: Array) -> Array:
    """Return the ends of the finest run: what every candidate is judged by."""
    return Followed.of(replace(run, x=x), 2 * SUBSTEPS).states[-1]


def _to(flow: Followed, run: Run, ends: Array) -> Followed:
    """Return the same with another solver and end points."""
    return Followed(run, (*flow.states[:-1], ends))


def _interval(errors: np.ndarray) -> tuple[float, float, float]:
    """Return the root of the mean of squares, and its 95 % interval."""
    n, mean = len(errors), float(errors.mean())
    half = 2 * student(n) * float(errors.std(ddof=1)) / math.sqrt(n) if math.isfinite(mean) else 0
    low, high = (math.sqrt(max(mean + side * half, 0.0)) for side in (-1, 1))
    return math.sqrt(mean), low, high
