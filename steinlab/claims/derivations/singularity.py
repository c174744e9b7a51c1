r"""Derivation of what is singular in VP as ``alpha -> 0``, and at what rate.

The identity ``E<u,x> - sigma^2 E div u = alpha E<u, x_star>`` holds for any step. Rates are those
of a step that evaluates an exact denoiser once, on the paths of the claim: to a fixed level
(``beta -> alpha'``, ``kappa -> sigma'``), and at fixed ``c = alpha'/alpha`` with the data's mean
away from zero or at zero. Each is stated as ``quantity / alpha^p -> constant``, for the numerator
of ``gamma*``, for ``E<u,x>``, which the drift term divides by ``alpha``, and for ``E|u|^2``; the
exponents of their quotients follow.
"""

from typing import Any

import sympy as sp

from steinlab.claims.derivations.algebra import Algebra, E, Normal, positives, reals
from steinlab.claims.derivations.coefficient import PARTS, alpha, div_u, eps, sigma, u, x, x_star
from steinlab.claims.derivations.first_order import U_STAR, U_U, U_X, M, V, beta, d, kappa
from steinlab.claims.derivations.proofs import Proof, Step

K, R, m, C, e, star, r, slope, g, c, w = reals("K R m C e x_star_i r r' g c w")
m2, k = positives("|m|^2 k")

NUMERATOR = U_X - U_STAR

ZERO, ONE = sp.Integer(0), sp.Integer(1)
RATIO = {kappa: 1 - w * alpha**2, beta: (c - 1 + w * alpha**2) * alpha}
"""A step at fixed ratio: ``w = (1 - kappa) / alpha^2`` has the limit ``(c^2 - 1) / 2``."""

VP = {sigma: sp.sqrt(1 - alpha**2)}
LIMIT = {alpha: ZERO, k: ONE, w: (c**2 - 1) / 2}


def vp_singularity() -> Proof:
    """The cancellation and the rates."""
    expansion = M - m2 - K * alpha**2 - R * alpha**4
    return Proof(
        Algebra(
            vectors=(u, x_star, eps),
            scalars=(div_u,),
            definitions=((x, alpha * x_star + sigma * eps), (V, expansion)),
        ),
        premises=(PARTS,),
        steps=(*_cancellation(), *_coefficient(), *_sampling()),
        positive=(1 - alpha, c - 1),
    )


def _cancellation() -> tuple[Step, ...]:
    numerator = (1 - 1 / alpha) * E(u * x) + sigma**2 / alpha * E(div_u)
    return (
        Step(
            "removable singularity",
            E(u * x) - sigma**2 * E(div_u),
            alpha * E(u * x_star),
            ((sigma, "parts"),),
            by=("linearity", "coupling"),
        ),
        Step(
            "finite sum",
            numerator,
            E(u * x) - E(u * x_star),
            ((-1 / alpha, "removable singularity"),),
        ),
    )


def _coefficient() -> tuple[Step, ...]:
    """The coefficient and its drift term, by the three scalars, with ``m2 = |E x_star|^2``."""
    fixed = (1 - kappa) ** 2 * d + beta**2 * m2
    lead = (c - 1) * ((c + 1) * d / 2 - M)
    power = (c - 1) ** 2 * ((c + 1) ** 2 * d / 4 - (c + 1) * M + K)
    squared = (1 - (c * alpha) ** 2) / (1 - alpha**2)  # kappa^2
    shrink = (1 - squared) / (1 + k)
    moving = {**VP, **RATIO}
    centred = {**moving, m2: ZERO}
    return (
        _rate("fixed level: numerator", NUMERATOR, (1 - kappa) * d + beta * m2, VP),
        _rate("fixed level: drift", U_X, (1 - kappa) * d, VP),
        _rate("fixed level: E|u|^2", U_U, fixed, VP),
        _rate("fixed ratio: (1 - kappa) / alpha^2", shrink / alpha**2, (c**2 - 1) / 2, {}),
        _rate("fixed ratio: numerator / alpha", NUMERATOR / alpha, (c - 1) * m2, moving),
        _rate("fixed ratio: drift / alpha^2", U_X / alpha**2, lead, moving),
        _rate("fixed ratio: E|u|^2 / alpha^2", U_U / alpha**2, (c - 1) ** 2 * m2, moving),
        Step("fixed ratio: alpha gamma*", (c - 1) * m2 / ((c - 1) ** 2 * m2), 1 / (c - 1)),
        _rate("centred: numerator / alpha^2", NUMERATOR / alpha**2, lead, centred),
        _rate("centred: drift / alpha^2", U_X / alpha**2, lead, centred),
        _rate("centred: E|u|^2 / alpha^4", U_U / alpha**4, power, centred),
    )


def _rate(name: str, quantity: Any, limit: Any, given: Any) -> Step:
    by = ("scalars", "small-alpha", "limit")
    return Step(name, quantity, limit, given=given, at=LIMIT, by=by)


def _sampling() -> tuple[Step, ...]:
    """Leading part of one state's error in the numerator, a coordinate; ``D = m + alpha C e``."""
    state = alpha * star + sigma * e
    denoised = m + alpha * C * e + alpha**2 * r
    moved = (1 - kappa) * state - beta * denoised
    div = (1 - kappa) - beta * (alpha * C + alpha**2 * slope)
    part = (1 - 1 / alpha) * moved * state + sigma**2 / alpha * div
    bend = (c - 1) * ((c + 1) / 2 - C)
    ends = {**LIMIT, sigma: ONE}
    fixed = (1 - kappa) * (1 - e**2) + beta * m * e
    spread = bend * (1 - e**2)
    flat = {**RATIO, m: ZERO}

    def error(name: str, quantity: Any, limit: Any, given: Any) -> Step:
        return Step(name, quantity, limit, given=given, at=ends, by=("small-alpha", "limit"))

    return (
        error("fixed level: alpha error", alpha * (part - g * moved**2), fixed, {}),
        Step(
            "fixed level: its variance", Normal(fixed**2, e), 2 * (1 - kappa) ** 2 + beta**2 * m**2
        ),
        error("fixed ratio: error", part - g / alpha * moved**2, (c - 1) * m * e, RATIO),
        error("fixed ratio: |u|^2 / alpha^2", moved**2 / alpha**2, (c - 1) ** 2 * m**2, RATIO),
        Step("fixed ratio: its variance", Normal(((c - 1) * m * e) ** 2, e), (c - 1) ** 2 * m**2),
        error("centred: error / alpha", (part - g / alpha**2 * moved**2) / alpha, spread, flat),
        error("centred: |u|^2 / alpha^4", moved**2 / alpha**4, (bend * e) ** 2, flat),
        Step("centred: its variance", Normal(spread**2, e), 2 * bend**2),
    )
