"""The paper's coefficient without a divergence."""

from __future__ import annotations

import math

import numpy as np

from analytic.arrays import Array
from steinlab.coefficient import tweedie_numerator
from steinlab.corrections.base import DEFAULT_GAMMA_MIN
from steinlab.corrections.scalar import ScalarCorrection
from steinlab.divergence import Step


def tweedie(
    *,
    gamma_min: float = DEFAULT_GAMMA_MIN,
    gamma_max: float = math.inf,
    states: int = 0,
    target_error: float = 0.0,
) -> ScalarCorrection:
    """Return the same correction with ``E<u, x - D> / E|u|^2``: no divergence, no extra pass."""

    def numerator(step: Step, rng: np.random.Generator) -> Array:  # noqa: ARG001
        return tweedie_numerator(step.x, step.candidate.residual, step.candidate.denoised)

    return ScalarCorrection("tweedie", numerator, gamma_min, gamma_max, states, target_error)
