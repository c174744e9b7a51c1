"""The paper's Algorithm 1, and the same Stein step towards the next level."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from analytic.arrays import Array
from steinlab.coefficient.divergence import (
    Divergence,
    Hutchinson,
    default_divergence,
    named_divergence,
)
from steinlab.coefficient.formulas import next_level_numerator, stein_numerator
from steinlab.corrections.scalar import DEFAULT_GAMMA_MIN, ScalarCorrection
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

    ``gamma`` minimises ``E|x - gamma u - x_star|^2``, the distance to the clean sample. An exact
    step therefore has ``gamma != 1``, and the solver's order is lost.

    Parameters
    ----------
    divergence : Divergence or {"exact", "hutchinson"}, optional
        By default exact where the denoiser is exact, else one Rademacher probe per state. The
        paper takes ``Hutchinson(probes=5, law="gaussian", mode="vjp")``.
    gamma_min, gamma_max : float
    states, target_error
        Sub-batch to estimate from (:class:`ScalarCorrection`).
    """

    def numerator(step: Step, div: Array) -> Array:
        return stein_numerator(step.x, step.candidate.residual, div, step.s)

    limits = (gamma_min, gamma_max, states, target_error)
    return _by_divergence("stein", numerator, divergence, limits)


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
    (:func:`steinlab.coefficient.formulas.next_level_numerator`). An exact first-order step,
    ``u = (1 - kappa) x - beta D``, has ``gamma* = 1``. A step of higher order has
    ``gamma - 1 = O(h)``: it is pulled back towards the first-order step, and its order is lost.
    Equivariant under rotation, shift and scaling of the data. Costs one divergence per state.
    Parameters are those of :func:`stein`.
    """

    def numerator(step: Step, div: Array) -> Array:
        return next_level_numerator(step.x, step.candidate.residual, div, step.s, step.t)

    limits = (gamma_min, gamma_max, states, target_error)
    return _by_divergence("next-level", numerator, divergence, limits)


def _by_divergence(
    name: str,
    numerator: Callable[[Step, Array], Array],
    divergence: Divergence | str | None,
    limits: tuple[float, float, int, float],
) -> ScalarCorrection:
    chosen = named_divergence(divergence)

    def drawn(step: Step, rng: np.random.Generator) -> Array:
        linear = step.candidate.linear is not None
        own = chosen or default_divergence(step.denoiser, linear=linear)
        return numerator(step, own(step, rng))

    products = chosen.probes if isinstance(chosen, Hutchinson) else 1
    return ScalarCorrection(name, drawn, *limits, products)
