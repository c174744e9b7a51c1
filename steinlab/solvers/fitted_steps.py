r"""Solvers whose numbers are fitted, step by step, to a model's own flow on one grid.

    amed          stage r and weight w                          AMED-Solver, per step in place of a
                                                                network that sees the sample
    epd           r_1, w_1, r_2, w_2                            EPD-Solver with two slopes
    dc            ratio rho                                     DC-Solver about 2M
    pas           coordinates c_1 ... c_4, or none              PAS about Euler
    dpm-v3-1, -2, -3   l, s, b per coordinate, by level         DPM-Solver-v3, on any grid

Each step's numbers minimise the mean square distance of the states, as the steps fitted before
leave them, to where the flow takes the run's start. All states share them. ``pas`` keeps a step's
coordinates only where they lower that distance below Euler's. A step begins with numbers that make
it a known solver (``dpm-2``, ``epd-2``, ``dpmpp-2m``, Euler), and keeps them where none are better.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.grids import Grid, make_grid
from steinlab.diffusion.processes import Process
from steinlab.errors import InputError, one_of
from steinlab.solvers.base import Candidate, Evaluation, History, Solver
from steinlab.solvers.compensated import Compensated
from steinlab.solvers.dpm_v3 import dpm_v3, interpolated, measured
from steinlab.solvers.parallel import EPD_2, Parallel
from steinlab.solvers.plans import run_within
from steinlab.solvers.principal import Principal
from steinlab.solvers.reference_flow import SUBSTEPS, trajectory
from steinlab.solvers.scalars import has_both
from steinlab.solvers.single import along
from steinlab.storage import in_file, sealed, write_json
from steinlab.storage.schemas import read_stored

Row = tuple[float, ...]
Look = Callable[[NoiseLevel], Row]
"""``level -> the numbers of the step that begins there``."""

VERSION = 1


@dataclass(frozen=True)
class ByStep:
    """Parallel slopes with numbers of their own at each step."""

    name: str
    look: Look
    process: Process
    start: Row
    order: int = 1
    depth: int = 0
    ends_at_zero: bool = True

    def evaluations(self, t: NoiseLevel) -> int:
        """One at the beginning and one per stage, or one at zero noise or zero signal."""
        return 1 + len(self.start) // 2 if has_both(t) else 1

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Return the step and its residual."""
        row = self.look(s)
        stages = tuple(zip(row[::2], row[1::2], strict=True))
        solver = Parallel(self.name, stages, along(self.process))
        return solver.step(denoiser, x, s, t, history)


@dataclass(frozen=True)
class Family:
    """Where the numbers of a step begin, between which bounds, and the solver that they make."""

    start: Row
    bounds: tuple[tuple[float, float], ...]
    make: Callable[[Look, Process], Solver]


def _slopes(name: str, start: Row) -> Family:
    bounds = ((0.01, 0.99), (0.0, 3.0)) * (len(start) // 2)
    return Family(start, bounds, lambda look, process: ByStep(name, look, process, start))


_GAUSS = tuple(number for stage in EPD_2.stages for number in stage)

FAMILIES: Mapping[str, Family] = {
    "amed": _slopes("amed", (0.5, 1.0)),
    "epd": _slopes("epd", _GAUSS),
    "epd-2": _slopes("epd-2", _GAUSS),
    "dc": Family(
        (1.0,),
        ((0.0, 3.0),),
        lambda look, process: Compensated("dc", lambda level: look(level)[0]).on(process),
    ),
    "pas": Family((), (), lambda look, _: Principal("pas", lambda level: look(level) or None)),
}
"""Fitted on one grid. A table of ``epd-2`` is one of ``epd`` under the id of where it begins."""

V3 = ("dpm-v3-1", "dpm-v3-2", "dpm-v3-3")

FITTED = (*FAMILIES, *V3)
"""Ids that may have a table."""

NEED_TABLE = tuple(name for name in FITTED if name != EPD_2.name)
"""Ids that say nothing without one."""


@dataclass(frozen=True)
class Numbers:
    """The numbers of a fitted solver.

    Parameters
    ----------
    solver : str
        One of :data:`FITTED`.
    model : str
    states : int
        Number of states fitted to.
    evaluations : float
        What the fit cost per state.
    ratios : tuple of float
        ``sigma / alpha`` of the levels, the last where the run ends.
    rows : tuple
        A row per step; for DPM-Solver-v3 a row per level: ``l``, then ``s``, then ``b``.
    """

    solver: str
    model: str
    states: int
    evaluations: float
    ratios: Row
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        one_of("solver of the table", self.solver, FITTED)
        steps = len(self.ratios) - (self.solver in FAMILIES)
        if len(self.rows) != steps or len(self.ratios) < 2:
            raise InputError(f"table must hold {steps} rows, got {len(self.rows)}")
        if any(s >= t for t, s in itertools.pairwise(self.ratios)):
            raise InputError("ratios must fall from level to level")
        if self.solver in V3 and self.ratios[-1] == 0:
            raise InputError(f"ratios must be > 0 for {self.solver}, got 0")
        if self.solver == "pas":  # whose steps need as many as there are directions by then
            return
        v3, first = self.solver in V3, len(self.rows[0])
        size = first - first % 3 if v3 else len(FAMILIES[self.solver].start)
        for i, row in enumerate(self.rows):
            if len(row) != size or not size:
                raise InputError(f"rows[{i}] must hold {size or 3} numbers, got {len(row)}")

    def make(self, process: Process) -> Solver:
        """Return the solver on a process."""
        if self.solver in V3:
            values = np.array(self.rows).reshape(len(self.rows), 3, -1).swapaxes(0, 1)
            lam = [-math.log(ratio) for ratio in self.ratios]
            return replace(
                dpm_v3(int(self.solver[-1]), interpolated(lam, values)), name=self.solver
            )
        return FAMILIES[self.solver].make(self.look, process)

    def look(self, level: NoiseLevel) -> Row:
        """Return the numbers of the step that begins at a level."""
        for ratio, row in zip(self.ratios, self.rows, strict=False):
            if math.isclose(level.ratio, ratio, rel_tol=1e-9):
                return row
        raise InputError(
            f"table must hold a step from sigma/alpha {level.ratio:g}, got steps from "
            f"{', '.join(f'{r:g}' for r in self.ratios[:-1])}"
        )

    def require(self, model: str, grid: Grid) -> None:
        """Raise ``InputError`` unless the table is of this model or law and, by step, this grid."""
        if self.model != model:
            raise InputError(f"table must be of the model {model}, got {self.model}")
        if self.solver in FAMILIES:
            for level in grid[:-1]:
                self.look(level)

    def save(self, file: Path) -> None:
        """Write the table as JSON."""
        write_json(file, sealed({"version": VERSION, "kind": "solver", **asdict(self)}), indent=1)

    @classmethod
    def load(cls, file: Path, field: str = "table") -> Self:
        """Read a table; ``InputError`` if the file is none of this version."""
        found = read_stored(file, "solver-table", field)
        rows = tuple(tuple(float(v) for v in row) for row in found["rows"])
        ratios = tuple(float(v) for v in found["ratios"])
        told = (found["solver"], found["model"], found["states"], float(found["evaluations"]))
        with in_file(file):
            return cls(*told, ratios, rows)


class _Counted:
    """A denoiser that counts its calls and keeps the last answer to the same states."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.calls, self.last = denoiser, 0, (None, None, None)

    def __call__(self, x: Array, level: NoiseLevel) -> Array:
        asked, at, answer = self.last
        if asked is not x or at != level:
            self.calls += 1
            answer = self.denoiser(x, level)
            self.last = (x, level, answer)  # type: ignore[assignment]
        return answer


CURVE_STEPS = 48
"""Steps of the run that measures statistics by level, uniform in the logarithm of the ratio."""


def grid_to_fit(
    name: str, process: Process, grid: str, evaluations: int | None, *, final_zero: bool = True
) -> Grid:
    """Return the grid that a solver's numbers are fitted on, for a grid and budget of use.

    For DPM-Solver-v3 that is the process's levels in :data:`CURVE_STEPS` steps, above zero noise.
    """
    if name in V3:
        return make_grid(process, "logsnr", CURVE_STEPS, final_zero=False)
    family = FAMILIES[name]
    solver = family.make(lambda _: family.start, process)
    return run_within(solver, process, grid, evaluations, final_zero=final_zero)[1]


def fit(
    name: str,
    denoiser: Denoiser,
    x: np.ndarray,
    grid: Grid,
    process: Process,
    *,
    model: str,
    substeps: int = SUBSTEPS,
) -> Numbers:
    """Fit the numbers of a solver to the flow of a denoiser.

    Parameters
    ----------
    name : str
        One of :data:`FITTED`.
    denoiser : Denoiser
    x : array (N, d)
        States at ``grid[0]``.
    grid : sequence of NoiseLevel
        For DPM-Solver-v3 the levels of its statistics, all above zero noise.
    process : Process
    model : str
        What the numbers are for.
    substeps : int
        Steps of the flow's fine run per step of the grid.
    """
    counted = _Counted(denoiser)
    flow = trajectory(counted, x, grid, substeps)
    ratios = tuple(float(level.ratio) for level in grid)
    if name in V3:
        z = np.stack([y / level.alpha for y, level in zip(flow, grid, strict=True)])
        outputs = np.stack([counted(y, level) for y, level in zip(flow, grid, strict=True)])
        values = measured([float(level.lam) for level in grid], z, outputs)
        rows = [tuple(row.ravel().tolist()) for row in values.swapaxes(0, 1)]
        return Numbers(name, model, len(x), counted.calls, ratios, tuple(rows))
    found: dict[NoiseLevel, Row] = {}
    solver = FAMILIES[name].make(found.__getitem__, process)
    history: History = ()
    for (s, t), target in zip(itertools.pairwise(grid), flow[1:], strict=True):
        step = _Step(counted, solver, found, x, s, t, history, target)
        found[s] = FAMILIES[name].start
        if name == "pas":
            step.solve()
        elif name == "dc" or has_both(t):
            step.search(FAMILIES[name])
        done = step.taken(found[s])
        history, x = (Evaluation(s, x, done.denoised), *history)[: solver.depth], done.state
    return Numbers(name, model, len(x), counted.calls, ratios, tuple(found.values()))


@dataclass(frozen=True)
class _Step:
    """A step whose numbers, in ``found``, are looked for."""

    denoiser: Denoiser
    solver: Any
    found: dict[NoiseLevel, Row]
    x: Array
    s: NoiseLevel
    t: NoiseLevel
    history: History
    target: Array

    def taken(self, row: Sequence[float]) -> Candidate:
        """Take the step with given numbers."""
        self.found[self.s] = tuple(float(v) for v in row)
        done: Candidate = self.solver.step(self.denoiser, self.x, self.s, self.t, self.history)
        return done

    def loss(self, row: Sequence[float]) -> float:
        """Return the mean square distance to where the flow leads."""
        return float(np.mean((self.taken(row).state - self.target) ** 2))

    def keep(self, row: Sequence[float], start: Row) -> None:
        """Keep numbers where they are better than those that the step began with."""
        better = self.loss(row) < self.loss(start)
        self.found[self.s] = tuple(float(v) for v in row) if better else start

    def search(self, family: Family) -> None:
        """Search between the bounds."""
        options = {"maxfev": 50 * len(family.start), "xatol": 1e-6, "fatol": 0}
        how: Any = {"method": "Nelder-Mead", "bounds": family.bounds, "options": options}
        self.keep(minimize(self.loss, family.start, **how).x, family.start)

    def solve(self) -> None:
        """Fit PAS's coordinates by least squares."""
        if not has_both(self.t):
            return
        denoised = self.taken(()).denoised
        basis = self.solver.basis(self.x, self.s, denoised, self.history)
        columns = np.swapaxes(basis, -1, -2).reshape(-1, basis.shape[-2])
        needed = self.target / self.t.alpha - self.x / self.s.alpha
        slope = needed.ravel() / (self.t.ratio - self.s.ratio)
        self.keep(np.linalg.lstsq(columns, slope, rcond=None)[0], ())
