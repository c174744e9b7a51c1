r"""``calibrated`` and ``auto``: a table fitted to the model's own flow, kept only where it helps.

Calibration first follows the flow finely from some states. It then runs the solver on half of them
and fits a few numbers at each step (:class:`~steinlab.corrections.flow_oracle.FlowFit`). It drops a
number within :data:`SIGNIFICANCE` standard errors of zero, and the step's note names the direction.
The other half decides: the table is kept if it lowers the energy distance of the run's ends to the
flow's by more than :data:`SIGNIFICANCE` standard errors. Otherwise all moves become zero, and the
table's note says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from analytic.arrays import Array, host
from steinlab.corrections.calibrated import Calibrated, Table, table_of
from steinlab.corrections.flow_oracle import FlowFit, same_start
from steinlab.diffusion.denoisers import of_states
from steinlab.errors import InputError
from steinlab.metrics import energy_distance_of_pairs
from steinlab.solvers.loop import Run, steps
from steinlab.solvers.reference_flow import SUBSTEPS, trajectory
from steinlab.solvers.scalars import has_noise
from steinlab.solvers.step import Correction, Diagnostics, NoCorrection, Step

FITTED = ("residual", "noise", "slope")
"""Directions of a fitted table."""

SIGNIFICANCE = 2.0
"""Standard errors by which the held-out half must improve, and below which a number is dropped."""

CALIBRATION_STATES = 1024

LEAST_STATES = 5
"""Two states fit, and three are the fewest whose energy distance has an error."""


def calibrate(
    run: Run,
    *,
    model: str,
    directions: tuple[str, ...] = FITTED,
    substeps: int = SUBSTEPS,
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
    states = trajectory(run.denoiser, run.x, run.grid, substeps)
    half = count // 2
    held = replace(run, denoiser=of_states(run.denoiser, slice(half, None)))
    target = same_start(run.grid, [y[:half, :] for y in states])
    fit = FlowFit(target, directions, SIGNIFICANCE)
    start, fitting = run.x[:half, :], of_states(run.denoiser, slice(half))
    taken = list(steps(fitting, start, run.grid, run.solver, correction=fit, rng=run.rng))
    spent = sum(one.step.candidate.evaluations for one in taken)
    fine = 3 * substeps * (len(run.grid) - 1) + (not has_noise(run.grid[-1]))
    price = fine + spent * (half + 2 * (count - half)) / count
    fitted = table_of(taken, model=model, correction="flow-fit")
    table = replace(fitted, states=count, evaluations=float(price))
    return table if _helps(held, table, run.x[half:, :], states[-1][half:, :]) else _zeros(table)


def _helps(run: Run, table: Table, x: Array, ends: Array) -> bool:
    """Whether the table lowers the energy distance of the run's ends to the flow's ``ends``."""
    distances = []
    for correction in (NoCorrection(), Calibrated(table)):
        try:
            state = run.again(x, correction).state
        except FloatingPointError:
            return False
        distances.append(energy_distance_of_pairs(host(state), host(ends)))
    plain, moved = distances
    return bool(moved.value + SIGNIFICANCE * math.hypot(moved.error, plain.error) < plain.value)


def _zeros(table: Table) -> Table:
    steps = tuple(
        replace(step, move=dict.fromkeys(step.move, 0.0), gamma=1.0, note="")
        for step in table.steps
    )
    return replace(table, steps=steps, note="no gain on the held-out half: the plain solver")


@dataclass(frozen=True)
class Auto:
    """Calibrate on the first states of the run, then apply the table: ``--correction auto``.

    Where the table did not help on the held-out half, the run is the plain solver's. The first
    step's diagnostics say so, and count the evaluations of the calibration per state of the batch.

    Parameters
    ----------
    states : int
        Calibration states, the first of the batch.
    """

    states: int = CALIBRATION_STATES
    name: str = "auto"

    def __post_init__(self) -> None:
        if self.states < 8:
            raise ValueError(f"states must be >= 8, got {self.states}")

    def prepare(self, run: Run) -> Correction:
        """Return the calibrated correction of this run."""
        few = slice(self.states)
        part = replace(run, denoiser=of_states(run.denoiser, few), x=run.x[few, :])
        table = calibrate(part, model="this run")
        share = part.x.shape[-2] / run.x.shape[-2]
        return Calibrated(table, self.name, price=table.evaluations * share)

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:  # noqa: ARG002
        """Refuse: the run is not known."""
        raise TypeError("auto must be prepared with the run: use steinlab.solvers.loop.solve")


def calibrated(*, table: Path | None = None, states: int = CALIBRATION_STATES) -> Correction:
    """Return a stored table's correction, or one that is calibrated as the run begins.

    Parameters
    ----------
    table : Path, optional
        What ``steinlab calibrate`` wrote for the run's solver and grid.
    states : int
        Calibration states if no table is given.
    """
    return Calibrated(Table.load(Path(table))) if table is not None else Auto(states, "calibrated")
