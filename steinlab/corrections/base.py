"""What a correction is: from a step's context to the corrected state, and what was done."""

from __future__ import annotations

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


def no_moments(step: Step, head: Step) -> str:
    """Return why identities cannot be matched on a sub-batch, empty if they can."""
    if not has_noise(step.t):
        return "zero noise"
    enough = head.states >= 3 and step.candidate.state.ndim == 2
    return "" if enough else "3 states or more, vectors, are needed"
