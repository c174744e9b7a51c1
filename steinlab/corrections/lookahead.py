"""``stein-lookahead``: the paper's coefficient with the denoiser evaluated at the candidate."""

from __future__ import annotations

import math

import numpy as np

from analytic.arrays import Array
from steinlab.coefficient.formulas import tweedie_numerator
from steinlab.corrections.guidance import check_guidance, no_law
from steinlab.corrections.scalar import DEFAULT_GAMMA_MIN, ScalarCorrection
from steinlab.solvers.scalars import has_noise
from steinlab.solvers.step import Step


def stein_lookahead(
    *,
    gamma_min: float = DEFAULT_GAMMA_MIN,
    gamma_max: float = math.inf,
    states: int = 0,
    target_error: float = 0.0,
    under_guidance: str = "decline",
) -> ScalarCorrection:
    """Return the correction by ``gamma = E<u, x - D_t(T)> / E|u|^2``.

    Our reading of the paper's self-consistency variant, of which the paper says only that it looks
    ahead along the trajectory. The denoiser's output at the candidate, one level on, replaces
    ``x_star``, as Tweedie's form replaces it by the output at ``x``. A step to zero noise has
    ``gamma = 1``, since ``D_t(T) = T``. Elsewhere an exact step has ``gamma != 1``, and the
    solver's order is lost. Equivariant under rotation and scaling of the data, and under shifts
    where ``alpha = 1``. Costs one evaluation of the states that it estimates from. A guided output
    does not stand for ``x_star``: there ``under_guidance`` says whether to "decline" or to "act".
    """
    check_guidance(under_guidance)

    def numerator(step: Step, rng: np.random.Generator) -> Array:  # noqa: ARG001
        if why := no_law(step, under_guidance):
            raise ValueError(why)
        there = step.candidate.state
        ahead = step.denoiser(there, step.t) if has_noise(step.t) else there
        return tweedie_numerator(step.x, step.candidate.residual, ahead)

    return ScalarCorrection(
        "stein-lookahead", numerator, gamma_min, gamma_max, states, target_error, evaluations=1
    )
