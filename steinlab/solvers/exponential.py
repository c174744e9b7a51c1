r"""Multistep solvers in data form: the denoiser as a polynomial in ``lam``, integrated exactly.

The flow from ``s`` to ``t`` is ``x_t = kappa x_s + alpha_t int_0^1 h e^(-h (1-theta)) D dtheta``
with ``theta = (lam - lam_s) / h``. A solver of this form takes for ``D`` the polynomial through the
last outputs, and for the measure's moments ``J_k`` one of

    exact       J_k = h k! phi_{k+1}(-h):  J_0 = 1 - e^-h,  J_1 = 1 - J_0 / h,  J_2 = 1 - 2 J_1 / h
    midpoint    J_1 replaced by J_0 / 2 when two outputs are combined
    published   ... and J_2 halved when three are

At ``sigma_t = 0``, where ``h`` is infinite, all take the first-order step ``T = D``. From
``alpha_s = 0``, where ``h`` is infinite too, the step is of first order, and the output there has
no weight in later steps: its node lies at minus infinity.

The DPM-Solver++ multistep solvers (Lu et al., 2022) are of this form. With ``h = lam_t - lam_0``,
``r_0 = (lam_0 - lam_1)/h``, ``r_1 = (lam_1 - lam_2)/h``, ``D10 = (D_0 - D_1)/r_0`` and
``D11 = (D_1 - D_2)/r_1``

    2M midpoint  T = kappa x + alpha_t (J_0 D_0 + J_0/2 D10)
    2M heun      T = kappa x + alpha_t (J_0 D_0 + J_1 D10)
    3M           T = kappa x + alpha_t (J_0 D_0 + J_1 D1 + (c/2) J_2 D2),
                 D2 = (D10 - D11)/(r_0 + r_1),  D1 = D10 + r_0 D2

The published 3M has ``c = 1`` and is of order two; the expansion of ``D`` gives ``c = 2``.
"""

from collections.abc import Callable

from analytic import NoiseLevel
from analytic.levels import Scalar
from steinlab.solvers.base import LinearMultistep, LinearStep, Weights, first_order, log_snr_step
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
    """Return the moments of the published 3M: the midpoint's, ``J_2`` halved for three outputs."""
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


DPMPP_2M = LinearMultistep("dpmpp-2m", order=2, depth=1, weights=exponential_weights(midpoint))
"""DPM-Solver++(2M), midpoint form; the first step and a last step to zero are first order."""

DPMPP_2M_HEUN = LinearMultistep(
    "dpmpp-2m-heun", order=2, depth=1, weights=exponential_weights(decaying_moments)
)
"""DPM-Solver++(2M), heun form: the two-step exponential Adams-Bashforth method."""

DPMPP_3M = LinearMultistep("dpmpp-3m", order=2, depth=2, weights=exponential_weights(published))
"""DPM-Solver++(3M) as published and as every peer has it (``c = 1``)."""

DPMPP_3M_EXACT = LinearMultistep(
    "dpmpp-3m-exact", order=2, depth=2, weights=exponential_weights(decaying_moments), full_order=3
)
"""DPM-Solver++(3M) with ``c = 2``: of order three if its first two steps are accurate enough."""
