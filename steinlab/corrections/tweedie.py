"""The paper's coefficient without a divergence."""

from __future__ import annotations

import math

import numpy as np

from analytic.arrays import Array
from steinlab.coefficient.formulas import tweedie_numerator
from steinlab.corrections.coordinates import InVP
from steinlab.corrections.guidance import check_guidance, no_law
from steinlab.corrections.scalar import DEFAULT_GAMMA_MIN, ScalarCorrection
from steinlab.errors import one_of
from steinlab.solvers.step import Step

COORDINATES = ("own", "vp")
"""The process's own coordinates, or variance preserving ones."""


def tweedie(
    *,
    gamma_min: float = DEFAULT_GAMMA_MIN,
    gamma_max: float = math.inf,
    states: int = 0,
    target_error: float = 0.0,
    coordinates: str = "own",
    under_guidance: str = "decline",
) -> ScalarCorrection | InVP:
    """Return the paper's correction by ``gamma = E<u, x - D> / E|u|^2``; it costs nothing.

    With an exact denoiser that is the coefficient of :func:`~steinlab.corrections.stein.stein`;
    a network's score error along ``u`` changes it.

    Parameters
    ----------
    gamma_min, gamma_max, states, target_error
        Clipping range and sub-batch; see :class:`ScalarCorrection`.
    coordinates : {"own", "vp"}
        Where gamma is computed and applied; see :class:`steinlab.corrections.coordinates.InVP`.
    under_guidance : {"decline", "act"}
        What to do where the denoiser is guided (:mod:`steinlab.diffusion.guidance`): Tweedie's
        formula does not hold of it, while Stein's route stays exact.
    """
    one_of("coordinates", coordinates, COORDINATES)
    check_guidance(under_guidance)

    def numerator(step: Step, rng: np.random.Generator) -> Array:  # noqa: ARG001
        if why := no_law(step, under_guidance):
            raise ValueError(why)
        return tweedie_numerator(step.x, step.candidate.residual, step.candidate.denoised)

    own = ScalarCorrection("tweedie", numerator, gamma_min, gamma_max, states, target_error)
    return InVP(own) if coordinates == "vp" else own
