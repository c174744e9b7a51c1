r"""Corrections: from a step's context to the corrected state, with what was done and why.

The paper's scalar correction ``x_next = (1 - gamma) x + gamma T(x) = x - gamma u`` is one member.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from analytic.arrays import Array
from steinlab.coefficient import estimate, stein_numerator, tweedie_numerator
from steinlab.divergence import Divergence, Step, default_divergence
from steinlab.estimates import Estimate

DEFAULT_GAMMA_MIN = 0.1
"""Our default of the paper's ``gamma_min``, whose value we do not know."""


@dataclass(frozen=True)
class Diagnostics:
    """What a correction did at one step.

    ``gamma`` is the coefficient applied, ``estimate`` the raw one with its standard error, and
    ``note`` says why they differ or why none was estimated (empty when neither).
    """

    gamma: float
    estimate: Estimate | None = None
    note: str = ""


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
class ScalarCorrection:
    r"""``x - clip(gamma_hat, gamma_min, gamma_max) u`` with ``gamma_hat`` from the batch.

    The paper's pseudocode clips from below only, so ``gamma_max`` defaults to none. Its
    assumption, states under the forward coupling of the denoiser's law, is exact for the first
    step alone; later steps follow the sampler's own law.

    Parameters
    ----------
    name : str
    numerator : callable
        ``(step, rng) -> array (N,)``, the coefficient's numerator per state.
    gamma_min, gamma_max : float
        Clipping range; ``-inf`` and ``inf`` switch a side off.
    """

    name: str
    numerator: Callable[[Step, np.random.Generator], Array]
    gamma_min: float = DEFAULT_GAMMA_MIN
    gamma_max: float = math.inf

    def __post_init__(self) -> None:
        if not self.gamma_min <= self.gamma_max:
            raise ValueError(
                f"gamma_min must be <= gamma_max = {self.gamma_max}, got {self.gamma_min}"
            )

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:
        """Return ``x - gamma u``; where the residual vanishes there is nothing to scale."""
        u = step.candidate.residual
        try:
            raw = estimate(self.numerator(step, rng), u)
        except ValueError as error:
            return step.candidate.state, Diagnostics(1.0, None, f"declined: {error}")
        gamma = min(max(raw.value, self.gamma_min), self.gamma_max)
        note = "" if gamma == raw.value else f"clipped to [{self.gamma_min}, {self.gamma_max}]"
        return step.x - gamma * u, Diagnostics(gamma, raw, note)


def stein(
    *,
    divergence: Divergence | None = None,
    gamma_min: float = DEFAULT_GAMMA_MIN,
    gamma_max: float = math.inf,
) -> ScalarCorrection:
    """Return the paper's Algorithm 1: Theorem 4.7's coefficient from batch means, clipped.

    Parameters
    ----------
    divergence : Divergence, optional
        By default exact where the denoiser is exact, else one Rademacher probe a state; the
        paper's choice is ``Hutchinson(probes=5, law="gaussian", mode="vjp")``.
    gamma_min, gamma_max : float
    """

    def numerator(step: Step, rng: np.random.Generator) -> Array:
        div = (divergence or default_divergence(step.denoiser))(step, rng)
        return stein_numerator(step.x, step.candidate.residual, div, step.s)

    return ScalarCorrection("stein", numerator, gamma_min, gamma_max)


def tweedie(
    *, gamma_min: float = DEFAULT_GAMMA_MIN, gamma_max: float = math.inf
) -> ScalarCorrection:
    """Return the same correction with ``E<u, x - D> / E|u|^2``: no divergence, no extra pass."""

    def numerator(step: Step, rng: np.random.Generator) -> Array:  # noqa: ARG001
        return tweedie_numerator(step.x, step.candidate.residual, step.candidate.denoised)

    return ScalarCorrection("tweedie", numerator, gamma_min, gamma_max)


CORRECTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"none": NoCorrection, "stein": stein, "tweedie": tweedie}
)
"""Every correction by id: a factory of its options."""
