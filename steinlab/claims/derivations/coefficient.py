r"""Derivations of the coefficient: its optimum, without a reference, at ``alpha = 1``, near 1."""

from typing import Any

import sympy as sp

from steinlab.claims.derivations.algebra import Algebra, E, positives, reals
from steinlab.claims.derivations.proofs import AT_MOST, Premise, Proof, Step

u, x, x_star, eps, T, miss = reals("u x x_star eps T miss")
div_u, gamma, gamma_star = reals("div_u gamma gamma_star")
alpha, sigma = positives("alpha sigma")

OPTIMUM = E(u * (x - x_star)) / E(u**2)


def objective(coefficient: Any) -> Any:
    """Return ``J = E|(1 - gamma) x + gamma T - x_star|^2``."""
    return E(((1 - coefficient) * x + coefficient * T - x_star) ** 2)


def optimal_coefficient() -> Proof:
    """``J(gamma) = J(gamma*) + E|u|^2 (gamma - gamma*)^2``."""
    algebra = Algebra(
        vectors=(u, x, x_star), moving=(u,), definitions=((T, x - u), (gamma_star, OPTIMUM))
    )
    best = objective(gamma_star)
    bend = E(u**2) * (gamma - gamma_star) ** 2
    return Proof(
        algebra,
        steps=(
            Step("corrected state", (1 - gamma) * x + gamma * T, x - gamma * u),
            Step(
                "expansion",
                objective(gamma),
                E((x - x_star) ** 2) - 2 * gamma * E(u * (x - x_star)) + gamma**2 * E(u**2),
                by=("linearity",),
            ),
            Step(
                "derivative",
                sp.Derivative(objective(gamma), gamma, evaluate=False),
                2 * E(u**2) * (gamma - gamma_star),
                by=("linearity", "moving"),
            ),
            Step("square completed", objective(gamma), best + bend, by=("linearity", "moving")),
            Step("minimum", best, objective(gamma), ((bend,),), AT_MOST),
            Step(
                "unique minimiser",
                (gamma - gamma_star) ** 2,
                (objective(gamma) - best) / E(u**2),
                by=("linearity", "moving"),
            ),
            Step(
                "when an estimate helps",
                objective(1) - objective(gamma),
                E(u**2) * ((1 - gamma_star) ** 2 - (gamma - gamma_star) ** 2),
                by=("linearity", "moving"),
            ),
        ),
    )


STEIN = ((1 - 1 / alpha) * E(u * x) + sigma**2 / alpha * E(div_u)) / E(u**2)
PARTS = Premise("parts", "stein", E(u * eps), sigma * E(div_u))


def reference_free_coefficient() -> Proof:
    """Theorem 4.7 from Stein's identity."""
    return Proof(
        Algebra(
            vectors=(u, x_star, eps),
            scalars=(div_u,),
            moving=(u,),
            definitions=((x, alpha * x_star + sigma * eps),),
        ),
        premises=(PARTS,),
        steps=_reference_free(),
    )


def _reference_free() -> tuple[Step, ...]:
    numerator = (1 - 1 / alpha) * E(u * x) + sigma**2 / alpha * E(div_u)
    return (
        Step("noise", eps, (x - alpha * x_star) / sigma, by=("coupling",)),
        Step(
            "displacement", x - x_star, (1 - 1 / alpha) * x + sigma / alpha * eps, by=("coupling",)
        ),
        Step(
            "linearity",
            E(u * (x - x_star)),
            (1 - 1 / alpha) * E(u * x) + sigma / alpha * E(u * eps),
            by=("linearity",),
        ),
        Step(
            "Stein's identity",
            E(u * (x - alpha * x_star)),
            sigma**2 * E(div_u),
            ((sigma, "parts"),),
        ),
        Step(
            "numerator",
            E(u * (x - x_star)),
            numerator,
            ((sigma / alpha, "parts"),),
            by=("linearity",),
        ),
        Step("coefficient", OPTIMUM, STEIN, ((1 / E(u**2), "numerator"),), by=("moving",)),
    )


def edm_drift_vanishes() -> Proof:
    """Theorem 4.7 at ``alpha = 1``: the factor of ``E<u,x>`` is zero."""
    proof = reference_free_coefficient()
    one = {alpha: sp.Integer(1)}
    drift = (1 - 1 / alpha) * E(u * x) / E(u**2)
    return Proof(
        proof.algebra,
        premises=proof.premises,
        steps=(
            *proof.steps,
            Step("drift", E(u * x) / E(u**2) + drift, E(u * x) / E(u**2), given=one),
            Step(
                "coefficient at alpha = 1",
                OPTIMUM,
                sigma**2 * E(div_u) / E(u**2),
                ((1, "coefficient"),),
                given=one,
            ),
        ),
    )


def schwarz(a: Any, b: Any, *, axiom: str = "positivity") -> tuple[Premise, Step]:
    """Return Cauchy-Schwarz for ``a, b`` with ``E|a|^2 > 0``, from the positivity of ``E``.

    ``0 <= E|E|a|^2 b - E<a,b> a|^2 = E|a|^2 (E|a|^2 E|b|^2 - E<a,b>^2)``.
    """
    rest = Premise(
        "a square is not negative",
        axiom,
        sp.Integer(0),
        E((E(a**2) * b - E(a * b) * a) ** 2),
        AT_MOST,
    )
    step = Step(
        "Cauchy-Schwarz",
        E(a * b) ** 2,
        E(a**2) * E(b**2),
        ((1 / E(a**2), rest.name),),
        AT_MOST,
        by=("linearity", "moving"),
    )
    return rest, step


def asymptotic_equivalence() -> Proof:
    """Corollary 4.9: ``|gamma* - 1| |u| <= |T - x_star|`` in mean square."""
    algebra = Algebra(
        vectors=(u, miss, x_star),
        moving=(u,),
        definitions=((gamma_star, OPTIMUM), (x, T + u), (T, x_star + miss)),
    )
    rest, cauchy = schwarz(u, miss)
    off, inner = (gamma_star - 1) * E(u**2), E(u * (T - x_star))
    moved = (x - gamma_star * u) - T
    return Proof(
        algebra,
        premises=(rest,),
        steps=(
            Step("distance to the reference", E((T - x_star) ** 2), E(miss**2)),
            Step("distance from 1", off, inner, by=("linearity", "moving")),
            cauchy,
            Step(
                "bound, squared",
                (gamma_star - 1) ** 2 * E(u**2),
                E(miss**2),
                ((1 / E(u**2), cauchy.name),),
                AT_MOST,
            ),
            Step(
                "bound",
                sp.Abs(gamma_star - 1) * sp.sqrt(E(u**2)),
                sp.sqrt(E(miss**2)),
                ((1, "bound, squared"),),
                AT_MOST,
                squared=True,
                by=("positivity",),
            ),
            Step("corrected minus plain", moved, (1 - gamma_star) * u),
            Step(
                "corrected becomes plain",
                E(moved**2),
                E(miss**2),
                ((1, "bound, squared"),),
                AT_MOST,
            ),
        ),
    )
