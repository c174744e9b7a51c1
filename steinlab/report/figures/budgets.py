"""Runs of plain and corrected solvers on a budget, and how far they end from the flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from steinlab.claims.instruments.paired_runs import start_of
from steinlab.corrections import Auto, stein
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.laws import problem
from steinlab.diffusion.models import load_model
from steinlab.diffusion.processes import EDM, Process
from steinlab.metrics import rms_distance
from steinlab.report.figures.style import GREY, look
from steinlab.solvers import SOLVERS, get_solver
from steinlab.solvers.loop import solve
from steinlab.solvers.plans import run_within
from steinlab.solvers.reference_flow import ORDER
from steinlab.solvers.step import NoCorrection

GRID = "karras"
LIMITS = {"gamma_min": 0.1, "gamma_max": 1.0}
REFERENCE = "ipndm-4"

METHODS: Mapping[str, Callable[[int], Any]] = {
    "plain": lambda _states: NoCorrection(),
    "stein": lambda _states: stein(gamma_min=LIMITS["gamma_min"], gamma_max=LIMITS["gamma_max"]),
    "auto": lambda states: Auto(states=states),
}
"""Corrections by name, given the number of calibration states."""

LABELS = {
    "plain": "plain",
    "stein": r"$\hat\gamma$ clipped to $[0.1, 1]$",
    "auto": "calibrated table",
}


@dataclass(frozen=True)
class Subject:
    """What is sampled from: start states and the flow's ends.

    The first ``calibration`` states fit a table where one is fitted; errors are taken on the rest.
    """

    denoiser: Denoiser
    process: Process
    x: np.ndarray
    ends: np.ndarray
    calibration: int


def exact_subject(name: str, states: int, seed: int) -> Subject:
    """Return a data law's exact denoiser with the ends of its exact flow."""
    x, ends = start_of(name, EDM.name, states, seed)
    return Subject(problem(name), EDM, x, ends, states // 2)


def network_subject(name: str, states: int, seed: int, steps: int, calibration: int) -> Subject:
    """Return a model with the ends of its own long run."""
    model = load_model(name)
    process = model.process()
    grid = make_grid(process, GRID, steps)
    x = model.start(grid[0], states, np.random.default_rng(seed))
    ends = np.asarray(solve(model.denoiser, x, grid, SOLVERS[REFERENCE]).state)
    return Subject(model.denoiser, process, x, ends, calibration)


def reference_error(subject: Subject, steps: int) -> float:
    """Return Richardson's error of a long run of ``steps``, root mean square, from one of half.

    The last step to zero noise is left alone, as in :mod:`steinlab.solvers.reference_flow`.
    """
    grid = make_grid(subject.process, GRID, 1 + (steps - 1) // 2)
    near = solve(subject.denoiser, subject.x, grid, SOLVERS[REFERENCE]).state
    return float(rms_distance(subject.ends, np.asarray(near)).value / (2**ORDER - 1))


def end_of(subject: Subject, solver: str, evaluations: int, method: str) -> np.ndarray:
    """Return the states where a corrected run on a budget ends."""
    one = get_solver(solver, subject.process)
    plan, grid = run_within(one, subject.process, GRID, evaluations)
    correction = METHODS[method](subject.calibration)
    rng = np.random.default_rng(evaluations)
    run = solve(subject.denoiser, subject.x, grid, plan, correction=correction, rng=rng)
    return np.asarray(run.state)


def errors(
    subjects: Sequence[Subject], solver: str, budgets: Sequence[int], method: str
) -> np.ndarray:
    """Return distances to the flow's ends, ``(budget, 3)``: value, and two errors below and above.

    With several subjects, independent batches, the value is their geometric mean and the error
    that of the mean logarithm, which holds the noise of estimated coefficients; with one it is
    the sampling error of its states alone.
    """
    ends = [partial(end_of, solver=solver, evaluations=n, method=method) for n in budgets]
    return np.array([_error(subjects, end) for end in ends])


def _error(
    subjects: Sequence[Subject], end: Callable[[Subject], np.ndarray]
) -> tuple[float, float, float]:
    found = [
        rms_distance(end(one)[one.calibration :], one.ends[one.calibration :]) for one in subjects
    ]
    if len(found) == 1:
        value, error = found[0].value, found[0].error
        return value, value - 2 * error, value + 2 * error
    logs = np.log([one.value for one in found])
    middle, width = float(logs.mean()), 2 * float(logs.std(ddof=1)) / np.sqrt(len(logs))
    low, value, high = (float(np.exp(middle + k * width)) for k in (-1, 0, 1))
    return value, low, high


def draw(
    ax: Axes, budgets: Sequence[int], values: np.ndarray, methods: Sequence[str], floor: float
) -> None:
    """Draw one panel: ``values`` of shape ``(method, budget, 3)``, the reference's error dotted."""
    for i, (method, found) in enumerate(zip(methods, values, strict=True)):
        value, low, high = found.T
        style = look(i)
        ax.plot(budgets, value, label=LABELS[method], linewidth=0.6, **style)
        ax.fill_between(budgets, low, high, color=style["color"], alpha=0.25, linewidth=0)
    if floor > 0:
        ax.axhline(floor, color=GREY, linestyle=":", label="error of the reference")
    ax.set(xscale="log", yscale="log", xlabel="evaluations")
    ax.set_xticks(budgets, [str(n) for n in budgets])
    ax.xaxis.set_minor_locator(NullLocator())
