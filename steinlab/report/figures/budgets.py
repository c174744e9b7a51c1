"""Runs of plain and corrected solvers on a budget, and how far they end from the flow."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from steinlab.corrections import auto_v1, stein
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.models import load_model
from steinlab.estimates import geometric_mean, richardson
from steinlab.experiments.bench import Bench, Reference, Subject, Target
from steinlab.metrics import Truth, rms_distance
from steinlab.report.figures.style import GREY, look
from steinlab.solvers import get_solver
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
    "auto-v1": lambda states: auto_v1(states=states),
}
"""Corrections by name, given the number of calibration states."""

LABELS = {
    "plain": "plain",
    "stein": r"$\hat\gamma$ clipped to $[0.1, 1]$",
    "auto-v1": "calibrated table",
}


def network_bench(name: str, states: int, seed: int, steps: int) -> Bench:
    """Return a model's start states with the ends of its own long run.

    The reference's error is Richardson's, from a run of half the steps; the last step to zero noise
    is left alone, as in :mod:`steinlab.solvers.reference_flow`.
    """
    subject = Subject.of_model(load_model(name))
    grids = [make_grid(subject.process, GRID, n) for n in (steps, 1 + (steps - 1) // 2)]
    x = subject.start(grids[0][0], states, np.random.default_rng(seed))
    ends, near = (np.asarray(solve(subject.denoiser, x, g, REFERENCE).state) for g in grids)
    reference = Reference(REFERENCE, richardson(float(rms_distance(ends, near).value), ORDER))
    return Bench(subject, x, Target(Truth(ends), {}), ends, reference)


def end_of(bench: Bench, solver: str, evaluations: int, method: str, states: int = 0) -> np.ndarray:
    """Return where a corrected run on a budget ends; the first ``states`` fit any table."""
    process = bench.subject.process
    plan, grid = run_within(get_solver(solver, process), process, GRID, evaluations)
    correction, rng = METHODS[method](states), np.random.default_rng(evaluations)
    run = solve(bench.subject.denoiser, bench.start, grid, plan, correction=correction, rng=rng)
    return np.asarray(run.state)


def errors(
    benches: Sequence[Bench], solver: str, budgets: Sequence[int], method: str, states: int
) -> np.ndarray:
    """Return distances to the flow's ends, ``(budget, 3)``: value, and two errors below and above.

    The first ``states`` may fit a table; errors are taken on the rest. With several benches,
    independent batches, the value is their geometric mean and the error that of the mean logarithm,
    which holds the noise of estimated coefficients; with one it is the sampling error of its states
    alone.
    """
    return np.array([_error(benches, states, solver, n, method) for n in budgets])


def _error(
    benches: Sequence[Bench], states: int, solver: str, evaluations: int, method: str
) -> tuple[float, float, float]:
    found = []
    for bench in benches:
        assert bench.ends is not None
        end = end_of(bench, solver, evaluations, method, states)
        found.append(rms_distance(end[states:], bench.ends[states:]))
    if len(found) == 1:
        value, error = found[0].value, found[0].error
        return value, value - 2 * error, value + 2 * error
    value, low, high = geometric_mean(np.log([one.value for one in found]), errors=2.0)
    return float(value), float(low), float(high)


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
