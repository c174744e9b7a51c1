r"""``pilot`` and ``auto``: a table fitted to a fine run of the first states, judged by pairs.

The first ``n`` states follow the flow by a fine run of a few substeps per step. On each half of
them a table of three directions (:data:`~steinlab.corrections.fitted.FITTED`) is fitted, and on the
other the run is taken plain and with that table. State by state the difference

    delta_i = |y_i (table) - fine_i|^2 - |y_i (plain) - fine_i|^2

is free of what both runs share. The table, fitted again on all ``n``, is kept if

    mean(delta) + 2 c se(delta) < 0,

``c`` Student's factor of :func:`steinlab.metrics.student`; otherwise the run is plain.

Guarantee: a table that does not bring the run nearer to the fine run in mean square is kept with
probability 2.3 % at most, as far as the mean of ``n`` differences is normal and the halves' tables
stand for the one of all. It says nothing of the law's other distances, nor of harm to states so
rare that the pilot holds none.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.special import ndtr, stdtrit

from analytic.arrays import host
from steinlab.corrections.calibrated import Calibrated, Table
from steinlab.corrections.fitted import (
    FITTED,
    LEAST_STATES,
    SIGNIFICANCE,
    FittedOnTheRun,
    Followed,
    fine_price,
    no_gain,
)
from steinlab.diffusion.grids import Grid
from steinlab.errors import InputError
from steinlab.solvers.base import Solver
from steinlab.solvers.loop import Run
from steinlab.solvers.plans import Plan, evaluations_on
from steinlab.solvers.step import Correction, NoCorrection

STATES = 48
SUBSTEPS = 2
"""Steps of the fine run per step of the solver."""


GUARANTEE = (
    "a table that brings the run no nearer to its fine run in mean square is kept with a "
    "probability of 2.3 % at most"
)


def squares(flow: Followed, correction: Correction | None) -> np.ndarray:
    """Return ``|y_i - fine_i|^2`` of the run's ends, infinite where it leaves the numbers."""
    ends = None if correction is None else flow.ends(correction)
    if ends is None:
        return np.full(flow.run.x.shape[-2], math.inf)
    with np.errstate(over="ignore"):
        found: np.ndarray = np.sum((ends - host(flow.states[-1])) ** 2, axis=-1)
    return found


def halves(flow: Followed) -> tuple[Followed, Followed]:
    """Return both halves of the states."""
    half = flow.run.x.shape[-2] // 2
    return flow.part(slice(half)), flow.part(slice(half, None))


def cross_fitted(flow: Followed, directions: tuple[str, ...] = FITTED) -> np.ndarray:
    """Return :func:`squares` of each half with the table that the other one fitted."""
    one, other = halves(flow)
    found = []
    for held, own in ((one, other), (other, one)):
        table = own.table(directions, "pilot")
        found.append(squares(held, None if table is None else Calibrated(table)))
    return np.concatenate(found)


def plainly(flow: Followed) -> np.ndarray:
    """Return :func:`squares` of the plain run, half by half as the tables are judged."""
    return np.concatenate([squares(half, NoCorrection()) for half in halves(flow)])


def fit_pilot(
    run: Run,
    *,
    model: str,
    directions: tuple[str, ...] = FITTED,
    substeps: int = SUBSTEPS,
) -> Table:
    """Fit a table to the fine run of the run's states, and judge it on halves swapped.

    ``evaluations`` counts the fine run, the fits and both runs of the halves, and the last fit
    where the table is kept.

    Raises
    ------
    InputError
        If there are fewer than :data:`~steinlab.corrections.fitted.LEAST_STATES` states.
    """
    count = run.x.shape[-2]
    if count < LEAST_STATES:
        raise InputError(f"pilot states must be >= {LEAST_STATES}, got {count}")
    flow = Followed.of(run, substeps)
    kept = improves(cross_fitted(flow, directions), plainly(flow))
    table = flow.table(directions, model) if kept else None
    price = float(price_of(run.solver, run.grid, substeps, kept=kept))
    return replace(table or no_gain(run, directions, model), evaluations=price)


def improves(moved: np.ndarray, plain: np.ndarray, tries: int = 1) -> bool:
    """Whether the paired differences lie below 0 by :data:`SIGNIFICANCE` standard errors.

    ``tries`` share the level: of as many without a gain, one passes as rarely as a single one.

    Examples
    --------
    >>> plain = np.array([1.0, 2.0, 3.0, 4.0])
    >>> improves(0.5 * plain, plain), improves(0.5 * plain[::-1], plain)
    (True, False)
    """
    if not np.isfinite(moved).all() or not np.isfinite(plain).all():
        return False
    difference, n = moved - plain, len(plain)
    factor = float(stdtrit(n - 1, 1 - ndtr(-SIGNIFICANCE) / tries))
    return bool(difference.mean() + factor * float(difference.std(ddof=1)) / math.sqrt(n) < 0)


def price_of(
    solver: Solver | Plan, grid: Grid, substeps: int = SUBSTEPS, *, kept: bool = True
) -> int:
    """Return the evaluations per pilot state: the most that it may be, or where no table is kept.

    Examples
    --------
    Eight steps to zero noise, 48 of 10,000 states: 0.39 evaluations per state of the batch.

    >>> from steinlab.diffusion.grids import make_grid
    >>> from steinlab.solvers import DPMPP_2M
    >>> price_of(DPMPP_2M, make_grid("edm", "karras", 8)) * 48 / 10_000
    0.3888
    """
    return fine_price(grid, substeps) + (3 + kept) * evaluations_on(solver, grid)


def pilot(*, states: int = STATES, substeps: int = SUBSTEPS, name: str = "pilot") -> FittedOnTheRun:
    """Return the correction that pilots the run on its first states.

    Parameters
    ----------
    states : int
        The first so many states of the batch, at least 8.
    substeps : int
        Steps of the fine run per step, at least 1.
    """
    if substeps < 1:
        raise ValueError(f"substeps must be >= 1, got {substeps}")
    fit, price = partial(fit_pilot, substeps=substeps), partial(price_of, substeps=substeps)
    return FittedOnTheRun(fit, price, GUARANTEE, states, name)


def auto(*, states: int = STATES) -> FittedOnTheRun:
    """Return what the evidence names for a run of which nothing is known: the pilot.

    docs/corrections.md shows the evidence.
    """
    return pilot(states=states, name="auto")
