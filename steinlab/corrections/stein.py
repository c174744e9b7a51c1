"""The paper's Algorithm 1, and the same Stein step towards the next level."""

from __future__ import annotations

import math

import numpy as np

from analytic.arrays import Array
from steinlab.coefficient.divergence import (
    Divergence,
    Hutchinson,
    default_divergence,
    named_divergence,
)
from steinlab.coefficient.formulas import next_level_numerator, stein_numerator
from steinlab.corrections.base import DEFAULT_GAMMA_MIN
from steinlab.corrections.scalar import ScalarCorrection
from steinlab.solvers.step import Step


def stein(
    *,
    divergence: Divergence | str | None = None,
    gamma_min: float = DEFAULT_GAMMA_MIN,
    gamma_max: float = math.inf,
    states: int = 0,
    target_error: float = 0.0,
) -> ScalarCorrection:
    """Return the paper's Algorithm 1: Theorem 4.7's coefficient from batch means, clipped.

    Its target is the clean sample: ``gamma`` minimises ``E|x - gamma u - x_star|^2``, so it is not
    neutral: an exact step gets ``gamma != 1``, and the solver's order is lost.

    Parameters
    ----------
    divergence : Divergence or {"exact", "hutchinson"}, optional
        By default exact where the denoiser is exact, else one Rademacher probe a state; the
        paper's choice is ``Hutchinson(probes=5, law="gaussian", mode="vjp")``.
    gamma_min, gamma_max : float
    states, target_error
        Sub-batch to estimate from (:class:`ScalarCorrection`).
    """
    chosen = named_divergence(divergence)

    def numerator(step: Step, rng: np.random.Generator) -> Array:
        div = (chosen or _default(step))(step, rng)
        return stein_numerator(step.x, step.candidate.residual, div, step.s)

    cost = _products(chosen)
    return ScalarCorrection("stein", numerator, gamma_min, gamma_max, states, target_error, cost)


def next_level(
    *,
    divergence: Divergence | str | None = None,
    gamma_min: float = DEFAULT_GAMMA_MIN,
    gamma_max: float = math.inf,
    states: int = 0,
    target_error: float = 0.0,
) -> ScalarCorrection:
    r"""Return the same Stein step towards ``kappa x + beta x_star``, the first-order step's target.

    ``gamma`` minimises ``E|x - gamma u - (kappa x + beta x_star)|^2``
    (:func:`steinlab.coefficient.formulas.next_level_numerator`). Neutral for an exact first-order
    step: there ``u = (1 - kappa) x - beta D`` and ``gamma* = 1``. It pulls a step of higher order
    back towards the first-order one (``gamma - 1`` of the order of ``h``), so that order is lost.
    Equivariant under rotation, shift and scaling of the data. Costs one divergence a state.
    """
    chosen = named_divergence(divergence)

    def numerator(step: Step, rng: np.random.Generator) -> Array:
        div = (chosen or _default(step))(step, rng)
        return next_level_numerator(step.x, step.candidate.residual, div, step.s, step.t)

    cost = _products(chosen)
    return ScalarCorrection(
        "next-level", numerator, gamma_min, gamma_max, states, target_error, cost
    )


def _products(divergence: Divergence | None) -> int:
    return divergence.probes if isinstance(divergence, Hutchinson) else 1


def _default(step: Step) -> Divergence:
    return default_divergence(step.denoiser, linear=step.candidate.linear is not None)
