"""A correction that was made for its run before the first step, with what that cost."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analytic.arrays import Array
from steinlab.diffusion.denoisers import of_states
from steinlab.solvers.base import Solver
from steinlab.solvers.loop import Prepares, Run
from steinlab.solvers.plans import Plan
from steinlab.solvers.step import Correction, Diagnostics, Step


@dataclass(frozen=True)
class Prepared:
    """Apply a correction; the first step's diagnostics report what its making cost.

    Parameters
    ----------
    correction : Correction
    name : str
    price : float
        Evaluations per state of the batch that were spent before the first step.
    note : str
        What the first step says beside the correction's own note.
    solver : Solver or Plan, optional
        Takes the run's steps in place of the solver that was asked for.
    """

    correction: Correction
    name: str
    price: float
    note: str = ""
    solver: Solver | Plan | None = None

    @property
    def depth(self) -> int:
        """Past evaluations asked for: one at least, since the first step is the one without."""
        return max(1, int(getattr(self.correction, "depth", 0)))

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:
        """Return what the correction returns."""
        state, done = self.correction(step, rng)
        if not step.history:
            note = "; ".join(part for part in (self.note, done.note) if part)
            done = replace(done, evaluations=done.evaluations + self.price, note=note)
        return state, done


def prepared(correction: Correction, run: Run) -> Correction:
    """Return the correction of a run: itself, or what it prepares."""
    return correction.prepare(run) if isinstance(correction, Prepares) else correction


def first_states(run: Run, count: int) -> Run:
    """Return the run of the first states of the batch."""
    few = slice(count)
    return replace(run, denoiser=of_states(run.denoiser, few), x=run.x[few, :])


def refused(name: str) -> TypeError:
    """Return the error of a correction that is called without having been prepared."""
    return TypeError(f"{name} must be prepared with the run: use steinlab.solvers.loop.solve")
