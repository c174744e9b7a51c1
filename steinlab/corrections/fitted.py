r"""``calibrated`` and ``auto-v1``: a table fitted to the model's flow, kept only where it helps.

Calibration first follows the flow finely from some states. It then runs the solver on half of them
and fits a few numbers at each step (:class:`~steinlab.corrections.flow_oracle.FlowFit`). It drops a
number within :data:`SIGNIFICANCE` standard errors of zero, and the step's note names the direction.
The other half decides: the table is kept if it lowers the energy distance of the run's ends to the
flow's by more than :data:`SIGNIFICANCE` standard errors. Otherwise all moves become zero, and the
table's note says so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from analytic.arrays import Array, host
from steinlab.corrections.calibrated import Calibrated, Table, TableStep, table_of
from steinlab.corrections.flow_oracle import FlowFit, same_start
from steinlab.corrections.prepared import Prepared, first_states, refused
from steinlab.diffusion.denoisers import of_states
from steinlab.diffusion.grids import Grid
from steinlab.errors import InputError
from steinlab.metrics import energy_distance_of_pairs
from steinlab.solvers.base import Solver
from steinlab.solvers.loop import Run, steps
from steinlab.solvers.plans import Plan, evaluations_on, plan_of
from steinlab.solvers.reference_flow import SUBSTEPS, trajectory
from steinlab.solvers.scalars import has_noise
from steinlab.solvers.step import Correction, Diagnostics, NoCorrection, Step

FITTED = ("residual", "noise", "slope")
"""Directions of a fitted table."""

SIGNIFICANCE = 2.0
"""Standard errors by which the held-out half must improve, and below which a number is dropped."""

HELD_OUT = "kept only if the held-out half's energy distance falls by two standard errors"
"""What is known of a calibrated table."""

CALIBRATION_STATES = 1024

LEAST_STATES = 5
"""Two states fit, and three are the fewest whose energy distance has an error."""


def calibrate(
    run: Run, *, model: str, directions: tuple[str, ...] = FITTED, substeps: int = SUBSTEPS
) -> Table:
    """Fit a table to the flow of the run's denoiser from the run's states, and judge it.

    Parameters
    ----------
    run : Run
        Its states are the calibration states, :data:`LEAST_STATES` or more, in random order.
    model : str
        What the table is for.
    directions : tuple of str
    substeps : int
        Steps of the fine run per step of the grid.

    Returns
    -------
    Table
        Moves that helped on the held-out half, or zeros. ``evaluations`` counts the fine run of
        every state, the run that fits on one half, and both runs of the other.

    Raises
    ------
    InputError
        If there are fewer states.
    """
    count = run.x.shape[-2]
    if count < LEAST_STATES:
        raise InputError(f"calibration states must be >= {LEAST_STATES}, got {count}")
    flow = Followed.of(run, substeps)
    half = count // 2
    fitting, held = flow.part(slice(half)), flow.part(slice(half, None))
    table = fitting.table(directions, model)
    if table is None or not _helps(held, table):
        table = no_gain(run, directions, model)
    share = (half + 2 * (count - half)) / count
    price = float(calibration_price(run.solver, run.grid, substeps, share))
    return replace(table, states=count, evaluations=price)


def calibration_price(
    solver: Solver | Plan, grid: Grid, substeps: int = SUBSTEPS, runs: float = 1.6
) -> float:
    """Return the evaluations per calibration state; ``runs`` of the solver, 8 in 5 at most."""
    return fine_price(grid, substeps) + runs * evaluations_on(solver, grid)


def fine_price(grid: Grid, substeps: int) -> int:
    """Return the evaluations per state of the fine run over a grid."""
    return 3 * substeps * (len(grid) - 1) + (not has_noise(grid[-1]))


@dataclass(frozen=True)
class Followed:
    """A run with the states of its fine run at every level: what tables are fitted to, and judged.

    Parameters
    ----------
    run : Run
    states : tuple of array
        From the run's own start states.
    """

    run: Run
    states: tuple[Array, ...]

    @classmethod
    def of(cls, run: Run, substeps: int) -> Self:
        """Follow the flow of the run's denoiser from its start states."""
        return cls(run, trajectory(run.denoiser, run.x, run.grid, substeps))

    def part(self, which: slice) -> Self:
        """Return the same of some of the states."""
        run = replace(
            self.run, denoiser=of_states(self.run.denoiser, which), x=self.run.x[which, :]
        )
        return type(self)(run, tuple(y[which, :] for y in self.states))

    def table(self, directions: tuple[str, ...], model: str) -> Table | None:
        """Fit a table to the fine run, step by step on the fitted run's own states.

        None where that run leaves the finite numbers.
        """
        run = self.run
        fit = FlowFit(same_start(run.grid, self.states), directions, SIGNIFICANCE)
        how: Any = {"correction": fit, "rng": run.rng}
        try:
            taken = list(steps(run.denoiser, run.x, run.grid, run.solver, **how))
        except FloatingPointError:
            return None
        return table_of(taken, model=model, correction=fit.name)

    def ends(self, correction: Correction) -> np.ndarray | None:
        """Return where the run ends with a correction, None where it leaves the finite numbers."""
        try:
            return host(self.run.again(self.run.x, correction).state)
        except FloatingPointError:
            return None


def _helps(held: Followed, table: Table) -> bool:
    """Whether the table lowers the energy distance of the run's ends to the flow's."""
    ends = [held.ends(correction) for correction in (NoCorrection(), Calibrated(table))]
    found = [energy_distance_of_pairs(x, host(held.states[-1])) for x in ends if x is not None]
    if len(found) < 2:
        return False
    plain, moved = found
    return bool(moved.value + SIGNIFICANCE * math.hypot(moved.error, plain.error) < plain.value)


def no_gain(run: Run, directions: tuple[str, ...], model: str) -> Table:
    """Return the table of no moves, which says that there was no gain."""
    still = dict.fromkeys(directions, 0.0)
    solvers = plan_of(run.solver, run.grid)
    entries = tuple(
        TableStep(one.name, (s.alpha, s.sigma), (t.alpha, t.sigma), still, 1.0, None)
        for one, (s, t) in zip(solvers, itertools.pairwise(run.grid), strict=True)
    )
    note = "no gain on the held-out half: the plain solver"
    return Table(model, "flow-fit", run.x.shape[-2], 0.0, entries, note)


@dataclass(frozen=True)
class FittedOnTheRun:
    """Fit a table to the first states of the run, then apply it.

    Where the table does not help, the run is the plain solver's, and the first step's note says so.
    The first step's diagnostics count what the table cost per state of the batch.

    Parameters
    ----------
    fit : callable
        ``(run of the first states, model=name) -> table``, such as :func:`calibrate`; or what is
        prepared for the run, its price per state looked at.
    price : callable
        ``(solver, grid) -> evaluations`` per state looked at, at most.
    guarantee : str
        What is known of the table, in one sentence.
    states : int
        How many are looked at.
    name : str
    """

    fit: Callable[..., Table | Prepared]
    price: Callable[[Solver | Plan, Grid], float]
    guarantee: str
    states: int
    name: str

    def __post_init__(self) -> None:
        if self.states < 8:
            raise ValueError(f"states must be >= 8, got {self.states}")

    def spends(self, solver: Solver | Plan, grid: Grid, batch: int) -> float:
        """Return the evaluations per state of a batch that it spends at most, before it starts."""
        return self.price(solver, grid) * min(self.states, batch) / batch

    def prepare(self, run: Run) -> Correction:
        """Return the correction of this run: the table's, or what was prepared instead."""
        part = first_states(run, self.states)
        made = self.fit(part, model="this run")
        if isinstance(made, Table):
            made = Prepared(Calibrated(made), self.name, made.evaluations, made.note)
        share = part.x.shape[-2] / run.x.shape[-2]
        return replace(made, name=self.name, price=made.price * share)

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:  # noqa: ARG002
        """Refuse: the run is not known."""
        raise refused(self.name)


def promise(correction: FittedOnTheRun, label: str, spent: float) -> str:
    """Return in one sentence what a correction spends at most, and what is known of its table."""
    return (
        f"{label} looks at the first {correction.states} states and spends {spent:.2g} evaluations "
        f"per state at most beside the solver's; {correction.guarantee}"
    )


def auto_v1(*, states: int = CALIBRATION_STATES, name: str = "auto-v1") -> FittedOnTheRun:
    """Return ``auto`` as it was before the pilot: :func:`calibrate` on the run's first states."""
    return FittedOnTheRun(calibrate, calibration_price, HELD_OUT, states, name)


def calibrated(*, table: Path | None = None, states: int = CALIBRATION_STATES) -> Correction:
    """Return a stored table's correction, or one that is calibrated as the run begins.

    Parameters
    ----------
    table : Path, optional
        What ``steinlab calibrate`` wrote for the run's solver and grid.
    states : int
        Calibration states if no table is given.
    """
    if table is not None:
        return Calibrated(Table.load(Path(table)))
    return auto_v1(states=states, name="calibrated")
