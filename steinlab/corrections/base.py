"""What a correction is: from a step's context to the corrected state, and what was done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from analytic.arrays import Array
from steinlab.denoisers import Denoiser
from steinlab.divergence import Step
from steinlab.estimates import Estimate
from steinlab.grids import Grid
from steinlab.solvers import Solver
from steinlab.solvers.scalars import has_noise

DEFAULT_GAMMA_MIN = 0.1
"""Our default of the paper's ``gamma_min``, whose value we do not know."""


@dataclass(frozen=True)
class Diagnostics:
    """What a correction did at one step.

    ``gamma`` is the coefficient applied to the residual, ``estimate`` the raw one with its standard
    error, and ``note`` says why they differ or why none was estimated (empty when neither).
    ``move`` holds what was added to the candidate, by direction
    (:data:`steinlab.corrections.directions.DIRECTIONS`): what a calibrated table stores.
    ``evaluations`` are the denoiser evaluations spent, ``products`` the Jacobian products or exact
    divergences, both per state: those of a sub-batch count in proportion.
    """

    gamma: float
    estimate: Estimate | None = None
    note: str = ""
    move: Mapping[str, float] = field(default_factory=dict)
    evaluations: float = 0.0
    products: float = 0.0


class Correction(Protocol):
    """``(step, rng) -> corrected state, diagnostics``; the step's own state is left alone."""

    @property
    def name(self) -> str:
        """Id."""
        ...

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:
        """Return the corrected state at the step's end."""
        ...


@dataclass(frozen=True)
class NoCorrection:
    """The plain solver: ``gamma = 1``."""

    name: str = "none"

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:  # noqa: ARG002
        """Return the candidate."""
        return step.candidate.state, Diagnostics(1.0)


@dataclass(frozen=True)
class Run:
    """A whole run before its first step, for corrections that look ahead.

    ``again`` runs the same plan over the same grid from given states with a given correction and
    returns the :class:`steinlab.sampling.Solution`.
    """

    denoiser: Denoiser
    x: Array
    grid: Grid
    solvers: tuple[Solver, ...]
    again: Callable[[Array, Correction], Any]


@runtime_checkable
class Prepares(Protocol):
    """A correction that wants to see the run before its first step."""

    def prepare(self, run: Run) -> Correction:
        """Return the correction of this run."""
        ...


def check_sub_batch(states: int, significance: float) -> None:
    """Refuse a sub-batch of fewer than three states, and a significance that is negative or nan."""
    if states < 3:
        raise ValueError(f"states must be >= 3, got {states}")
    if not significance >= 0:
        raise ValueError(f"significance must be >= 0, got {significance}")


def no_moments(step: Step, head: Step) -> str:
    """Return why identities cannot be matched on a sub-batch, empty if they can."""
    if not has_noise(step.t):
        return "zero noise"
    enough = head.states >= 3 and step.candidate.state.ndim == 2
    return "" if enough else "3 states or more, vectors, are needed"
