"""A step as a correction receives it, and the correction's place in the sampling loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from array_api_compat import array_namespace

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.diffusion.denoisers import Denoiser, of_states
from steinlab.estimates import Estimate
from steinlab.solvers.base import Candidate, History, Noise, Solver


@dataclass(frozen=True)
class Step:
    """One step of a solver with its candidate."""

    denoiser: Denoiser
    solver: Solver
    x: Array
    s: NoiseLevel
    t: NoiseLevel
    history: History
    candidate: Candidate
    noise: Noise = ()

    @classmethod
    def take(
        cls,
        denoiser: Denoiser,
        solver: Solver,
        x: Array,
        s: NoiseLevel,
        t: NoiseLevel,
        *,
        history: History = (),
        noise: Noise = (),
    ) -> Step:
        """Take the solver's step from ``x`` at ``s`` to ``t``, with the normals that it wants."""
        candidate = solver.step(denoiser, x, s, t, history, **_given(noise))
        for name, made in (("denoiser", candidate.denoised), ("solver", candidate.state)):
            if tuple(made.shape) != tuple(x.shape):  # it would be broadcast
                raise ValueError(
                    f"{name} must return the shape {tuple(x.shape)}, got {tuple(made.shape)}"
                )
        return cls(denoiser, solver, x, s, t, history, candidate, noise)

    @property
    def states(self) -> int:
        """Number of states per case."""
        return int(self.x.shape[batch_axes(self.x) - 1])

    @property
    def dim(self) -> int:
        """Number of coordinates of a state."""
        return int(np.prod(self.x.shape[batch_axes(self.x) :]))

    def head(self, n: int) -> Step:
        """Return the same step for the first ``n`` states of each case."""
        axis = batch_axes(self.x) - 1
        if n >= self.x.shape[axis]:
            return self

        def first(array: Array) -> Array:
            return array[(slice(None),) * axis + (slice(n),)]

        candidate = replace(
            self.candidate,
            state=first(self.candidate.state),
            residual=first(self.candidate.residual),
            denoised=first(self.candidate.denoised),
        )
        history = tuple(
            replace(entry, state=first(entry.state), denoised=first(entry.denoised))
            for entry in self.history
        )
        denoiser = of_states(self.denoiser, slice(n))
        noise = tuple(first(one) for one in self.noise)
        return replace(
            self,
            denoiser=denoiser,
            x=first(self.x),
            history=history,
            candidate=candidate,
            noise=noise,
        )

    def residual(self, x: Any, denoiser: Any) -> Any:
        """Return ``u`` at other states, or on duals, with the same history and noise."""
        given = _given(self.noise)
        return self.solver.step(denoiser, x, self.s, self.t, self.history, **given).residual


def _given(noise: Noise) -> dict[str, Any]:
    """The argument that a deterministic solver's step does not have."""
    return {"noise": noise} if noise else {}


def batch_axes(x: Array) -> int:
    """Leading axes that count states: all but the last for vectors, the first for images."""
    return x.ndim - 1 if x.ndim <= 3 else 1


def inner(a: Array, b: Array) -> Array:
    """``<a, b>`` per state: the sum over every axis that is not a batch axis of ``b``."""
    xp = array_namespace(a, b)
    count = b.ndim - batch_axes(b)
    return xp.sum(a * b, axis=tuple(range(-count, 0)))


@dataclass(frozen=True)
class Diagnostics:
    """What a correction did at one step.

    ``gamma`` is the coefficient applied to the residual, ``estimate`` the raw one with its standard
    error. ``note`` says why they differ or why there is no estimate. ``move`` holds the
    coefficients of what was added to the candidate, by direction
    (:data:`steinlab.corrections.directions.DIRECTIONS`): a calibrated table stores it.
    ``evaluations`` of the denoiser and ``products`` (Jacobian products or exact divergences) are
    counted per state of the batch, those of a sub-batch in proportion.
    """

    gamma: float
    estimate: Estimate | None = None
    note: str = ""
    move: Mapping[str, float] = field(default_factory=dict)
    evaluations: float = 0.0
    products: float = 0.0


class Correction(Protocol):
    """``(step, rng) -> corrected state, diagnostics``; it does not change the step's arrays."""

    @property
    def name(self) -> str:
        """Id."""

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:
        """Return the corrected state at the step's end."""


@dataclass(frozen=True)
class NoCorrection:
    """The plain solver: ``gamma = 1``."""

    name: str = "none"

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:  # noqa: ARG002
        """Return the candidate."""
        return step.candidate.state, Diagnostics(1.0)
