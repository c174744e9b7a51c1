"""What corrections that rest on a law's identities do where the denoiser is guided.

The states of a guided flow violate the identities of every law where nothing is wrong; matching
them would take the guidance back (the claim ``guided-coefficient``).
"""

from __future__ import annotations

from steinlab.diffusion.guidance import is_guided
from steinlab.errors import one_of
from steinlab.solvers.step import Step

UNDER_GUIDANCE = ("decline", "act")
"""What such a correction may do there."""


def check_guidance(under_guidance: str) -> None:
    """Refuse a word that is none of :data:`UNDER_GUIDANCE`."""
    one_of("under_guidance", under_guidance, UNDER_GUIDANCE)


def no_law(step: Step, under_guidance: str) -> str:
    """Return why the denoiser's law says nothing of a step's states, empty if it does."""
    if under_guidance == "act" or not is_guided(step.denoiser):
        return ""
    return (
        "a guided denoiser, or one that scales states, is no law's posterior mean "
        "(under_guidance: act)"
    )
