r"""Tables of moves: estimated once for a model, a solver and a grid, stored as JSON, then free.

A table keeps, for every step of one calibration run, what the correction added to the candidate
(``Diagnostics.move``). Sampling with it estimates nothing, so all batches are moved alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.corrections.directions import DIRECTIONS, moved
from steinlab.errors import InputError, one_of
from steinlab.solvers.loop import Taken
from steinlab.solvers.step import Diagnostics, Step
from steinlab.storage import in_file, sealed, write_json
from steinlab.storage.schemas import read_stored

VERSION = 1
LEVEL_TOLERANCE = 1e-9
"""Relative difference of noise levels up to which they count as the same."""


@dataclass(frozen=True)
class TableStep:
    """One step: its solver and levels ``(alpha, sigma)``, the move, ``gamma`` with its error."""

    solver: str
    start: tuple[float, float]
    end: tuple[float, float]
    move: Mapping[str, float]
    gamma: float
    error: float | None
    note: str = ""


@dataclass(frozen=True)
class Table:
    """The moves of a run, with what they belong to.

    Parameters
    ----------
    model : str
        Name of the model or law.
    correction : str
        The correction that was calibrated.
    states : int
        States of the calibration run.
    evaluations : float
        Denoiser evaluations and Jacobian products per state that the calibration spent.
    steps : sequence of TableStep
    note : str
        Why the moves are zero, where calibration found no gain.
    """

    model: str
    correction: str
    states: int
    evaluations: float
    steps: tuple[TableStep, ...]
    note: str = ""

    def at(self, solver: str, s: NoiseLevel, t: NoiseLevel) -> TableStep:
        """Return the entry of a step.

        Raises
        ------
        InputError
            If the table holds no such step, or one of another solver.
        """
        found = next((e for e in self.steps if _same(e.start, s)), None)
        if found is None or not _same(found.end, t):
            raise InputError(
                "table must be of this grid: it has no step from "
                f"({s.alpha:.6g}, {s.sigma:.6g}) to ({t.alpha:.6g}, {t.sigma:.6g})"
            )
        if found.solver != solver:
            raise InputError(
                f"table must be of the solver {solver}, got {found.solver} for the step "
                f"from sigma {s.sigma:.6g}"
            )
        return found

    def require(self, model: str, solvers: Sequence[str], grid: Sequence[NoiseLevel]) -> None:
        """Raise ``InputError`` unless the table belongs to this model, these solvers and this grid.

        ``solvers`` holds one name per step.
        """
        self.require_model(model)
        for solver, (s, t) in zip(solvers, itertools.pairwise(grid), strict=True):
            self.at(solver, s, t)

    def require_model(self, model: str) -> None:
        """Raise ``InputError`` unless the table belongs to this model."""
        if self.model != model:
            raise InputError(f"table must be of the model {model}, got {self.model}")

    def save(self, file: Path) -> None:
        """Write the table as JSON."""
        write_json(file, sealed({"version": VERSION, **asdict(self)}), indent=1)

    @classmethod
    def load(cls, file: Path, *, model: str | None = None) -> Self:
        """Read a table; see :meth:`require_model` for ``model``.

        Raises
        ------
        InputError
            If the file is no table of this version, or belongs to another model.
        """
        found = read_stored(file, "table", "table")
        del found["version"]
        with in_file(file):
            steps = tuple(map(_step, found.pop("steps")))
        known = {one.name: found[one.name] for one in fields(cls) if one.name in found}
        table = cls(steps=steps, **known)
        if model is not None:
            table.require_model(model)
        return table


def _step(entry: Mapping[str, Any]) -> TableStep:
    move = {name: float(amount) for name, amount in entry["move"].items()}
    for name in move:
        one_of("move of a table", name, DIRECTIONS)
    start, end = (tuple(float(v) for v in entry[key]) for key in ("start", "end"))
    error = None if entry["error"] is None else float(entry["error"])
    gamma, note = float(entry["gamma"]), entry.get("note", "")
    return TableStep(entry["solver"], start, end, move, gamma, error, note)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Calibrated:
    """Apply a table's moves: no estimate, no evaluation, no random number.

    It keeps the solver's order if the correction that filled the table does.

    Parameters
    ----------
    table : Table
    name : str
    depth : int

    Raises
    ------
    InputError
        At a step whose levels or solver the table does not hold.
    """

    table: Table
    name: str = "calibrated"
    depth: int = 1

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:  # noqa: ARG002
        """Return the candidate moved as the table says."""
        found = self.table.at(step.solver.name, step.s, step.t)
        return moved(step, found.move), Diagnostics(found.gamma, note=found.note, move=found.move)


def _same(pair: tuple[float, float], level: NoiseLevel) -> bool:
    return np.allclose(pair, (level.alpha, level.sigma), rtol=LEVEL_TOLERANCE, atol=1e-300)


def table_of(taken: Sequence[Taken], *, model: str, correction: str) -> Table:
    """Return the table of a run's steps (:func:`steinlab.solvers.loop.steps`)."""
    if not taken:
        raise ValueError("taken must hold at least one step, got 0")
    spent = sum(one.diagnostics.evaluations + one.diagnostics.products for one in taken)
    return Table(
        model,
        correction,
        taken[0].step.states,
        spent,
        tuple(
            TableStep(
                step.solver.name,
                (step.s.alpha, step.s.sigma),
                (step.t.alpha, step.t.sigma),
                dict(done.move),
                done.gamma,
                None if done.estimate is None else float(done.estimate.error),
                done.note,
            )
            for step, done in ((one.step, one.diagnostics) for one in taken)
        ),
    )
