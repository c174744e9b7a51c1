r"""The whole family of linear steps with one evaluation each, as tables of numbers.

    x_(i+1) = kappa_i x_i + sum_(j <= i) b_ij D_j,    D_j = D(x_j, t_j).

Earlier states add nothing: each is a sum of ``x_0`` and earlier outputs, and so is ``x_i``. DDSS
and GGDM (Watson et al., 2022, without noise), BNS (Shaul et al., 2024) and S4S (2025) fit such
numbers to one model, budget and grid, ``n (n + 3) / 2`` of them in ``n`` steps.

:func:`as_table` writes any solver of one evaluation per step as a point of the family on a grid, by
running it on letters. :func:`fit_table` fits step by step, by least squares on the run's own
states, to where the flow leads from the same start. On isotropic Gaussian data two numbers per step
follow the flow; on centred data of ``q`` distinct variances ``n >= q - 1`` steps end on it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.grids import Grid
from steinlab.errors import InputError
from steinlab.solvers.base import (
    Candidate,
    History,
    LinearStep,
    OneEvaluation,
    Solver,
    combined,
    require_alone,
)
from steinlab.solvers.loop import solve
from steinlab.solvers.plans import Plan, evaluations_on
from steinlab.storage import in_file, sealed, write_json
from steinlab.storage.schemas import read_stored

NAME = "linear-table"
VERSION = 1
KEPT = ("model", "states", "spent", "levels", "rows")
SAME = 1e-9
"""Relative difference of noise levels up to which they count as the same."""

Pair = tuple[float, float]
"""``(alpha, sigma)``."""


@dataclass(frozen=True)
class LinearTable(OneEvaluation):
    """A solver that knows one grid.

    Parameters
    ----------
    model : str
        Name of the model or law that it was fitted to.
    levels : tuple of (alpha, sigma)
        The grid.
    rows : tuple of tuple of float
        A step's ``kappa_i, b_ii, ..., b_i0``.
    spent : int
        Denoiser evaluations per state that the fit took.
    states : int
        States that it was fitted to.
    name : str
    """

    model: str
    levels: tuple[Pair, ...]
    rows: tuple[tuple[float, ...], ...]
    spent: int = 0
    states: int = 0
    name: str = NAME
    order: int = 1
    ends_at_zero: bool = True

    def __post_init__(self) -> None:
        sizes = [len(row) for row in self.rows]
        if len(self.levels) < 2 or sizes != list(range(2, len(self.levels) + 1)):
            raise InputError(f"table must hold 2, 3, ... numbers in its steps, got {sizes}")
        if not all(math.isfinite(number) for row in self.rows for number in row):
            raise InputError("table must hold finite numbers, got others")

    @property
    def depth(self) -> int:
        """Past evaluations: all."""
        return len(self.rows) - 1

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Return the step and its residual.

        Raises
        ------
        ValueError
            If it is none of the grid's, or the run did not begin at the grid's first level.
        """
        past = [entry.level for entry in reversed(history)]
        self._require([*past, s, t])
        kappa, *betas = self.rows[len(past)]
        return combined(LinearStep(kappa, 1 - kappa, tuple(betas)), x, denoiser(x, s), history)

    def require(self, model: str, grid: Sequence[NoiseLevel]) -> None:
        """Raise ``InputError`` unless the table belongs to this model and grid."""
        if self.model != model:
            raise InputError(f"table must be of the model {model}, got {self.model}")
        try:
            self._require(grid)
            if len(grid) != len(self.levels):
                raise ValueError(f"table must be of {len(grid) - 1} steps, got {len(self.rows)}")
        except ValueError as error:
            raise InputError(str(error)) from None

    def _require(self, levels: Sequence[NoiseLevel]) -> None:
        for given, own in zip(levels, self.levels, strict=False):
            if not np.allclose((given.alpha, given.sigma), own, rtol=SAME, atol=1e-300):
                raise ValueError(
                    f"table must be of this grid: it has sigma {own[1]:.6g} where the run has "
                    f"{given.sigma:.6g}"
                )

    def save(self, file: Path) -> None:
        """Write the table as JSON."""
        kept = {key: getattr(self, key) for key in KEPT}
        write_json(file, sealed({"version": VERSION, "kind": NAME, **kept}), indent=1)

    @classmethod
    def load(cls, file: Path, field: str = "table") -> Self:
        """Read a table.

        Raises
        ------
        InputError
            If the file is none of this version.
        """
        found = read_stored(file, "linear-table", field)
        pairs, rows = (
            tuple(tuple(float(v) for v in row) for row in found[key]) for key in ("levels", "rows")
        )
        with in_file(file):
            return cls(found["model"], pairs, rows, found["spent"], found["states"])  # type: ignore[arg-type]


def fit_table(
    denoiser: Denoiser, x: Array, grid: Grid, targets: Sequence[Array], model: str = ""
) -> LinearTable:
    """Fit the numbers of each step to where the flow is at its end, by least squares.

    Parameters
    ----------
    denoiser : Denoiser
    x : array (N, d)
        States at ``grid[0]``.
    grid : Grid
    targets : sequence of array (N, d)
        Where the flow leads them, at ``grid[1:]``.
    model : str
        What the table is for.

    Examples
    --------
    Two numbers per step follow the flow of ``N(m, c^2)``.

    >>> from analytic import GaussianMixture
    >>> law = GaussianMixture([1.0], [[2.0]], 0.25)
    >>> grid = (NoiseLevel(1.0, 3.0), NoiseLevel(1.0, 0.0))
    >>> x = np.array([[5.0], [-1.0]])
    >>> table = fit_table(law, x, grid, [2.0 + (x - 2.0) * 0.5 / 9.25**0.5])
    >>> table.step(law, np.array([[2.0]]), *grid, ()).state.round(12)
    array([[2.]])
    """
    outputs: list[Array] = []
    rows: list[tuple[float, ...]] = []
    for s, target in zip(grid, targets, strict=False):
        outputs.insert(0, denoiser(x, s))
        columns = np.stack([np.ravel(one) for one in (x, *outputs)], axis=1)
        size = np.maximum(np.linalg.norm(columns, axis=0), 1e-300)
        row = np.linalg.lstsq(columns / size, np.ravel(target), rcond=RANK)[0] / size
        rows.append(tuple(map(float, row)))
        x = np.reshape(columns @ row, np.shape(x))
    return LinearTable(model, _pairs(grid), tuple(rows), states=len(x))


RANK = 1e-12
"""Share of the largest singular value below which directions are taken for dependent."""


def as_table(solver: Solver | Plan, grid: Grid) -> LinearTable:
    """Return a solver of one evaluation per step on a grid as a point of the family.

    Raises
    ------
    InputError
        If it evaluates the denoiser otherwise, or its numbers come from the batch.

    Examples
    --------
    >>> from steinlab.solvers import EULER
    >>> as_table(EULER, (NoiseLevel(1.0, 4.0), NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.0))).rows
    ((0.25, 0.75), (0.0, 1.0, 0.0))
    """
    require_alone(solver, "a table of its numbers")
    count = len(grid) - 1
    if (price := evaluations_on(solver, grid)) != count:
        raise InputError(
            f"solver must evaluate the denoiser once per step, got {solver.name} with {price} "
            f"evaluations in {count} steps"
        )
    letters = iter(np.eye(count + 1)[1:, None])
    start = np.eye(count + 1)[:1]
    run = solve(lambda _x, _level: next(letters), start, grid, solver, keep_trajectory=True)
    rows = []
    for i, (before, after) in enumerate(itertools.pairwise(run.trajectory)):
        kappa = after[0, 0] / before[0, 0]
        betas = (after - kappa * before)[0, i + 1 : 0 : -1]
        rows.append((float(kappa), *map(float, betas)))
    return LinearTable(solver.name, _pairs(grid), tuple(rows))


def _pairs(grid: Grid) -> tuple[Pair, ...]:
    return tuple((float(level.alpha), float(level.sigma)) for level in grid)
