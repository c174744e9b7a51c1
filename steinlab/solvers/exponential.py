r"""Multistep solvers in data form: the denoiser as a polynomial in ``lam``, integrated exactly.

The flow from ``s`` to ``t`` is ``x_t = kappa x_s + alpha_t int_0^1 h e^(-h (1-theta)) D dtheta``
with ``theta = (lam - lam_s) / h``. With ``D`` the polynomial through the last outputs the solvers
of this form differ in the moments ``J_k`` that they take for the measure's:

    exact       J_k = h k! phi_{k+1}(-h):  J_0 = 1 - e^-h,  J_1 = 1 - J_0 / h,  J_2 = 1 - 2 J_1 / h
    midpoint    J_1 replaced by J_0 / 2 when two outputs are combined
    published   ... and J_2 halved when three are

At ``sigma_t = 0``, where ``h`` is infinite, every one takes the first-order step ``T = D``.
"""

from __future__ import annotations

from collections.abc import Callable

from analytic import NoiseLevel
from analytic.levels import Scalar
from steinlab.solvers.base import LinearStep, Weights, first_order, log_snr_step
from steinlab.solvers.phi import decaying_moments, interpolatory
from steinlab.solvers.scalars import has_noise

Moments = Callable[[Scalar, int], list[Scalar]]
"""``(h, count) -> J_0, ..., J_{count-1}``; the first must be exact."""


def midpoint(h: Scalar, count: int) -> list[Scalar]:
    """Return the moments of the midpoint variant at order two, exact otherwise."""
    if count != 2:
        return decaying_moments(h, count)
    (j0,) = decaying_moments(h, 1)
    return [j0, 0.5 * j0]


def published(h: Scalar, count: int) -> list[Scalar]:
    """Return the moments of the published 3M: the midpoint's, and half of ``J_2`` at order three.

    The formula adds ``- phi_3 D_2`` where the Taylor expansion of ``D`` calls for twice that.
    """
    moments = midpoint(h, count)
    if count > 2:
        moments[2] = 0.5 * moments[2]
    return moments


def nodes_of(levels: tuple[NoiseLevel, ...], h: Scalar) -> list[Scalar]:
    """Return ``theta_j = (lam_j - lam_0) / h`` of the levels, newest first: 0, then negative."""
    return [0.0, *(-log_snr_step(level, levels[0]) / h for level in levels[1:])]


def integrate(
    step: LinearStep, t: NoiseLevel, nodes: list[Scalar], moments: list[Scalar]
) -> tuple[Scalar, ...]:
    """Return ``alpha_t w_j``; ``alpha_t J_0`` is ``beta`` of the first-order ``step``."""
    scaled = [step.betas[0], *(t.alpha * moment for moment in moments[1:])]
    return tuple(interpolatory(nodes, scaled))


def exponential_weights(moments: Moments) -> Weights:
    """Return the coefficients of the multistep solver with the given moments."""

    def weights(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> LinearStep:
        s = levels[0]
        step = first_order(s, t)
        if len(levels) == 1 or not has_noise(t):
            return step
        h = log_snr_step(s, t)
        betas = integrate(step, t, nodes_of(levels, h), moments(h, len(levels)))
        return LinearStep(step.kappa, step.one_minus_kappa, betas)

    return weights
