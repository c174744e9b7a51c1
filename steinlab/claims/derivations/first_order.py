r"""Derivations for a step that evaluates an exact denoiser once: ``T = kappa x + beta D``."""

import sympy as sp

from steinlab.claims.derivations.algebra import Algebra, E, positives, reals
from steinlab.claims.derivations.proofs import AT_MOST, Premise, Proof, Step

x, x_star, eps, D, u, T = reals("x x_star eps D u T")
div_D, div_u, beta, gamma_star, residual = reals("div_D div_u beta gamma_star x-D")
alpha, sigma, d, kappa, M = positives("alpha sigma d kappa M")
alpha_next, sigma_next, t, t_next = positives("alpha' sigma' t t'")
V = sp.Symbol("V", nonnegative=True)

U_X = (1 - kappa) * (alpha**2 * M + sigma**2 * d) - beta * alpha * M
DIV_U = (1 - kappa) * d - beta * alpha * V / sigma**2
U_U = (
    (1 - kappa) ** 2 * (alpha**2 * M + sigma**2 * d)
    - 2 * (1 - kappa) * beta * alpha * M
    + beta**2 * (M - V)
)
U_STAR = (1 - kappa) * alpha * M - beta * (M - V)
"""``E<u, x_star>``."""


def first_order() -> Algebra:
    """Return the letters of a step that evaluates an exact denoiser once."""
    return Algebra(
        vectors=(x_star, eps, D),
        scalars=(div_D,),
        definitions=(
            (T, kappa * x + beta * D),
            (u, (1 - kappa) * x - beta * D),
            (div_u, (1 - kappa) * d - beta * div_D),
            (x, alpha * x_star + sigma * eps),
            (M, E(x_star**2)),
            (V, E((x_star - D) ** 2)),
        ),
    )


PREMISES = (
    Premise("independent noise", "coupling", E(x_star * eps), sp.Integer(0)),
    Premise("unit noise", "coupling", E(eps**2), d),
    Premise("tower in D", "tower", E(D * x_star), E(D**2)),
    Premise("tower in x", "tower", E(x * D), E(x * x_star)),
    Premise("parts", "stein", E(D * eps), sigma * E(div_D)),
)


def _moments() -> tuple[Step, ...]:
    return (
        Step("residual", u, x - T),
        Step(
            "power of the state",
            E(x**2),
            alpha**2 * M + sigma**2 * d,
            ((2 * alpha * sigma, "independent noise"), (sigma**2, "unit noise")),
            by=("linearity",),
        ),
        Step("state and data", E(x * x_star), alpha * M, ((sigma, "independent noise"),)),
        Step("state and denoiser", E(x * D), alpha * M, ((1, "tower in x"), (1, "state and data"))),
        Step("power of the denoiser", E(D**2), M - V, ((-2, "tower in D"),)),
        Step(
            "divergence of the denoiser",
            E(div_D),
            alpha * V / sigma**2,
            (
                (-1 / sigma, "parts"),
                (1 / sigma**2, "state and denoiser"),
                (alpha / sigma**2, "tower in D"),
            ),
        ),
    )


def _scalars() -> tuple[Step, ...]:
    return (
        Step(
            "first scalar",
            E(u * x),
            U_X,
            ((1 - kappa, "power of the state"), (-beta, "state and denoiser")),
        ),
        Step("second scalar", E(div_u), DIV_U, ((-beta, "divergence of the denoiser"),)),
        Step(
            "third scalar",
            E(u**2),
            U_U,
            (
                ((1 - kappa) ** 2, "power of the state"),
                (-2 * (1 - kappa) * beta, "state and denoiser"),
                (beta**2, "power of the denoiser"),
            ),
        ),
        Step(
            "residual and data",
            E(u * x_star),
            U_STAR,
            (
                (1 - kappa, "state and data"),
                (-beta, "power of the denoiser"),
                (-beta, "tower in D"),
            ),
        ),
        Step(
            "reference numerator",
            E(u * (x - x_star)),
            (1 - 1 / alpha) * U_X + sigma**2 / alpha * DIV_U,
            ((1, "first scalar"), (-1, "residual and data")),
        ),
    )


def three_scalars() -> Proof:
    """``E<u,x>``, ``E div u`` and ``E|u|^2`` from ``M``, ``V`` and the levels."""
    return Proof(first_order(), (*_moments(), *_scalars()), PREMISES)


def collapse() -> Proof:
    """``gamma* = 1 / (1 - kappa)`` and a corrected state ``D(x)`` wherever ``beta = 1 - kappa``."""
    same = {beta: 1 - kappa}
    one = {alpha: sp.Integer(1), alpha_next: sp.Integer(1)}
    flow = {alpha: 1 - t, alpha_next: 1 - t_next, sigma: t, sigma_next: t_next}
    drift = alpha_next - sigma_next / sigma * alpha
    still = 1 - sigma_next / sigma
    numerator = E(u * (x - x_star))
    return Proof(
        first_order(),
        (
            Step("EDM and VE", drift, still, given=one),
            Step("rectified flow", drift, still, given=flow),
            Step("residual at beta = 1 - kappa", u, (1 - kappa) * (x - D), given=same),
            Step(
                "residual against its target",
                (1 - kappa) * numerator,
                E(u**2),
                (((1 - kappa) ** 2, "tower in x"), ((1 - kappa) ** 2, "tower in D")),
                given=same,
                by=("linearity",),
            ),
            Step(
                "coefficient",
                numerator / E(u**2),
                1 / (1 - kappa),
                ((1 / ((1 - kappa) * E(u**2)), "residual against its target"),),
                given=same,
                by=("moving", "shrinking"),
            ),
            Step("corrected state", x - u / (1 - kappa), D, given=same, by=("shrinking",)),
            Step(
                "error of the corrected state",
                E((x - u / (1 - kappa) - x_star) ** 2),
                V,
                given=same,
            ),
            Step(
                "no more than the plain error",
                V,
                E((x - x_star) ** 2),
                ((1, "a square is not negative"), (-2, "tower in x"), (-2, "tower in D")),
                AT_MOST,
            ),
        ),
        (
            *PREMISES[2:4],
            Premise(
                "a square is not negative", "positivity", sp.Integer(0), E((x - D) ** 2), AT_MOST
            ),
        ),
        positive=(1 - kappa, E((x - D) ** 2)),
    )
