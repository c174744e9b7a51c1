"""What a correction is: from a step's context to the corrected state, and what was done."""

from __future__ import annotations

from steinlab.diffusion.guidance import is_guided
from steinlab.errors import one_of
from steinlab.solvers.scalars import has_noise
from steinlab.solvers.step import Step

DEFAULT_GAMMA_MIN = 0.1
"""Our default of the paper's ``gamma_min``, whose value we do not know."""


def check_sub_batch(states: int, significance: float) -> None:
    """Refuse a sub-batch of fewer than three states, and a significance that is negative or nan."""
    if states < 3:
        raise ValueError(f"states must be >= 3, got {states}")
    if not significance >= 0:
        raise ValueError(f"significance must be >= 0, got {significance}")


UNDER_GUIDANCE = ("decline", "act")
"""What a correction that takes the denoiser for a law's posterior mean does under guidance.

The states of a guided flow violate the identities of every law where nothing is wrong, and matching
them would take the guidance back."""


def check_guidance(under_guidance: str) -> None:
    """Refuse a word that is none of :data:`UNDER_GUIDANCE`."""
    one_of("under_guidance", under_guidance, UNDER_GUIDANCE)


def no_law(step: Step, under_guidance: str) -> str:
    """Return why the denoiser's law says nothing of a step's states, empty if it does."""
    if under_guidance == "act" or not is_guided(step.denoiser):
        return ""
    return "a guided denoiser is no law's posterior mean (under_guidance: act)"


def no_moments(step: Step, head: Step, under_guidance: str) -> str:
    """Return why identities cannot be matched on a sub-batch, empty if they can."""
    if why := no_law(step, under_guidance):
        return why
    if not has_noise(step.t):
        return "zero noise"
    enough = head.states >= 3 and step.candidate.state.ndim == 2
    return "" if enough else "3 states or more, vectors, are needed"
