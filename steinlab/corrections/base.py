"""What several corrections share: a default, and checks of their sub-batch."""

from __future__ import annotations

from steinlab.solvers.scalars import has_noise
from steinlab.solvers.step import Step

DEFAULT_GAMMA_MIN = 0.1
"""Our default of the paper's ``gamma_min``; the paper does not state its value."""


def check_sub_batch(states: int, significance: float) -> None:
    """Raise ``ValueError`` unless ``states >= 3`` and ``significance >= 0``."""
    if states < 3:
        raise ValueError(f"states must be >= 3, got {states}")
    if not significance >= 0:
        raise ValueError(f"significance must be >= 0, got {significance}")


def no_moments(step: Step, head: Step) -> str:
    """Return why identities cannot be matched on a sub-batch; the empty string if they can."""
    if not has_noise(step.t):
        return "zero noise"
    enough = head.states >= 3 and step.candidate.state.ndim == 2
    return "" if enough else "3 states or more, vectors, are needed"
