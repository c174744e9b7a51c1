"""Samples from a named model, by a solver with a correction, on a budget."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from steinlab.corrections import correction_factory
from steinlab.corrections.fitted import FittedOnTheRun, promise
from steinlab.diffusion.grids import Grid, given_steps, grid_name, make_grid
from steinlab.diffusion.models import Model, load_model, noised_rows
from steinlab.diffusion.processes import PROCESSES
from steinlab.errors import InputError, one_of
from steinlab.experiments.bench import played
from steinlab.experiments.specs.compare import CorrectionSpec, init_rows
from steinlab.experiments.specs.grids import grid_for
from steinlab.experiments.specs.solvers import require_beginning
from steinlab.solvers import Plan, evaluations_on, get_solver
from steinlab.solvers.loop import Prepares
from steinlab.solvers.plans import run_within
from steinlab.solvers.step import Diagnostics

ENDS = ("zero", "least")
"""Where a run ends: at zero noise, or at the least noisy level of the model's process."""

GAMMA_MAX = 1.0
"""Our limit of the coefficients from above. The paper has none, and there the corrected states
collapse on the posterior mean and the next coefficients explode."""

FEWEST_TO_CALIBRATE = 5
"""Fewest samples for a calibrated table: two fit it, and the energy distance that judges it needs
three."""


@dataclass(frozen=True)
class SampleRun:
    """What is drawn and how; made by :meth:`of`, which checks it all before any work."""

    model: Model
    solver: str
    correction: CorrectionSpec
    plan: Plan
    grid: Grid
    schedule: str
    grid_name: str
    asked: int
    samples: int
    seed: int
    rows: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        model: str,
        solver: str,
        evaluations: int | None = None,
        *,
        correction: str = "none",
        gamma_min: float | None = None,
        gamma_max: float | None = None,
        schedule: str = "",
        grid: str = "karras",
        end: str = "",
        samples: int = 16,
        seed: int = 0,
        init: str | None = None,
    ) -> SampleRun:
        """Return the run that names and numbers as on the command line describe.

        The process is the model's own where ``schedule`` is empty.
        :func:`steinlab.solvers.plans.run_within` says how ``evaluations`` are spent. The limits of
        the coefficient are the correction's own from below and :data:`GAMMA_MAX` from above.
        A grid of given levels is run whole, to where it ends; ``init`` is an array file of rows to
        start from, noised to its first level.

        Raises
        ------
        InputError
            For an unknown id (naming the nearest), a model that is not available, a budget that
            pays for no step, a solver that cannot end at zero noise.

        Examples
        --------
        >>> run = SampleRun.of("digits", "heun", 8, samples=4)
        >>> len(run.grid), draw(run).states.shape
        (5, (4, 64))
        """
        loaded = load_model(model, "--model")
        process = loaded.process(one_of("--process", schedule or loaded.schedule, PROCESSES))
        found = get_solver(solver, process, field="--solver")
        grid = grid_name(grid, "--grid")
        whole = given_steps(grid) is not None
        try:
            grid = grid_for(grid, lambda: loaded, process)
            last = "least" if whole and make_grid(process, grid)[-1].sigma else "zero"
        except InputError as error:
            raise InputError(f"--{error}") from None
        end = one_of("--end", end or last, ENDS)
        if whole and end != last:
            raise InputError(f"--end must be {last}, where the given grid ends, got {end}")
        if end == "zero" and not found.ends_at_zero:
            raise InputError(f"--solver {solver} cannot step to zero noise: give --end least")
        if evaluations is None and not whole:
            raise InputError(f"--evaluations must be given for the grid {grid}, got none")
        rows = None if init is None else init_rows(Path(init), loaded, "--init")
        try:
            plan, levels = run_within(found, process, grid, evaluations, final_zero=end == "zero")
        except InputError as error:
            raise InputError(f"--{error}") from None
        except ValueError as error:  # levels that the process does not have
            raise InputError(f"--grid {grid}: {error}") from None
        require_beginning(found, levels, f"--solver {solver}")
        try:
            loaded.require_grid(levels, process, init=rows is not None)
        except InputError as error:
            raise InputError(f"--{error}") from None
        asked = evaluations_on(plan, levels) if evaluations is None else evaluations
        limited = _limited(correction, gamma_min, gamma_max)
        if isinstance(limited.make(), Prepares) and samples < FEWEST_TO_CALIBRATE:
            raise InputError(
                f"--samples must be at least {FEWEST_TO_CALIBRATE} for --correction {correction}, "
                f"which is fitted to half of them, got {samples}"
            )
        where = (plan, levels, process.name, grid)
        return cls(loaded, solver, limited, *where, asked, samples, seed, rows)

    def promise(self) -> str:
        """Return what a correction that looks at some states first spends and guarantees."""
        made = self.correction.make()
        if not isinstance(made, FittedOnTheRun):
            return ""
        spent = made.spends(self.plan, self.grid, self.samples)
        return promise(made, self.correction.label, spent)


def _limited(name: str, gamma_min: float | None, gamma_max: float | None) -> CorrectionSpec:
    """Return the correction with the limits given, those of them that it has."""
    known = inspect.signature(correction_factory(name, "--correction")).parameters
    given = {"gamma_min": gamma_min, "gamma_max": gamma_max}
    for key, value in given.items():
        if value is not None and key not in known:
            option = key.replace("_", "-")
            raise InputError(f"--{option} must be left out with --correction {name}, got {value}")
    if gamma_max is None and "gamma_max" in known:
        given["gamma_max"] = GAMMA_MAX
    options = tuple((key, value) for key, value in given.items() if value is not None)
    spec = CorrectionSpec(name, options)
    try:
        spec.make()
    except ValueError as error:
        raise InputError(f"--correction {name}: {error}") from None
    return spec


@dataclass(frozen=True)
class Samples:
    """States ``(n, dim)`` in float64 with what was spent on them.

    ``evaluations`` are the solver's, a correction's own passes not among them; ``seconds`` are the
    whole run's, those passes among them.
    """

    states: np.ndarray
    evaluations: int
    diagnostics: tuple[Diagnostics, ...]
    seconds: float


def draw(run: SampleRun, progress: Callable[[float, str], None] | None = None) -> Samples:
    """Draw the samples; the same run draws the same ones.

    They start at the grid's noisiest level, from the law there where the model's data are known and
    from ``N(0, sigma^2 I)`` otherwise (:meth:`steinlab.diffusion.models.Model.start`).

    Raises
    ------
    InputError
        If a state turns non-finite, naming the step: the choice of solver and budget is at fault.
    """
    tell = progress or (lambda _done, _what: None)
    steps = len(run.grid) - 1
    tell(0.0, f"loading {run.model.name}")
    start_rng, probe_rng = np.random.default_rng(run.seed).spawn(2)
    denoiser = run.model.denoiser
    start = run.model.start if run.rows is None else noised_rows(run.rows)
    x = start(run.grid[0], run.samples, start_rng)
    tell(0.0, f"step 1 of {steps}")

    def after_step(done: int, _x: Any, _level: Any) -> None:
        tell(done / steps, f"step {min(done + 1, steps)} of {steps}")

    begin, how = time.perf_counter(), {"correction": run.correction.make(), "rng": probe_rng}
    done, stop = played(denoiser, x, run.grid, run.plan, **how, progress=after_step)
    if stop is not None:
        raise InputError(f"--solver {run.solver} on {run.asked} evaluations: {stop}")
    seconds = time.perf_counter() - begin
    return Samples(np.asarray(done.state), done.evaluations, done.diagnostics, seconds)
