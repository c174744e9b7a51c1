r"""Derivation of the perturbation bound, in coefficient and in state form, and when it is tight.

All expectations are under the sampler's own law ``q``. ``gamma_tilde`` is the reference-free
coefficient there, ``gamma_q`` the optimum for the model's own denoiser; ``gap`` is the score
discrepancy ``s_model - s_q``.
"""

import sympy as sp

from steinlab.claims.derivations.algebra import Algebra, E, positives, reals
from steinlab.claims.derivations.coefficient import STEIN, alpha, div_u, schwarz, sigma, u, x
from steinlab.claims.derivations.proofs import AT_MOST, Premise, Proof, Step

D, s_model, s_q, gap = reals("D s_model s_q gap")
gamma_tilde, gamma_q, c = reals("gamma_tilde gamma_q c")
C, F = positives("C F")


def perturbation_bound() -> Proof:
    """``|gamma_tilde - gamma_q| <= C sqrt(F)``, ``C = sigma^2 / (alpha |u|)``."""
    rest, cauchy = schwarz(u, gap)
    return Proof(
        Algebra(
            vectors=(u, x, s_q, gap),
            scalars=(div_u,),
            moving=(u,),
            definitions=(
                (gamma_tilde, STEIN),
                (gamma_q, E(u * (x - D)) / E(u**2)),
                (C, sigma**2 / (alpha * sp.sqrt(E(u**2)))),
                (F, E(gap**2)),
                (D, (x + sigma**2 * s_model) / alpha),
                (s_model, s_q + gap),
            ),
        ),
        premises=(Premise("parts", "parts-q", E(div_u), -E(u * s_q)), rest),
        steps=(*_deviation(cauchy), *_forms(), *_tight()),
    )


OFF = gamma_tilde - gamma_q
DRIVE = sigma**2 / alpha * E(u * gap) / E(u**2)


def _deviation(cauchy: Step) -> tuple[Step, ...]:
    return (
        Step(
            "Tweedie displacement",
            x - D,
            (1 - 1 / alpha) * x - sigma**2 / alpha * s_model,
            by=("tweedie",),
        ),
        Step(
            "deviation",
            OFF,
            sigma**2 / alpha * E(u * (s_model - s_q)) / E(u**2),
            ((sigma**2 / (alpha * E(u**2)), "parts"),),
            by=("linearity", "moving"),
        ),
        cauchy,
    )


def _forms() -> tuple[Step, ...]:
    return (
        Step("constant", C**2, sigma**4 / (alpha**2 * E(u**2)), by=("moving",)),
        Step(
            "coefficient form, squared",
            OFF**2,
            C**2 * F,
            ((sigma**4 / (alpha**2 * E(u**2) ** 2), "Cauchy-Schwarz"), (OFF + DRIVE, "deviation")),
            AT_MOST,
        ),
        Step(
            "coefficient form",
            sp.Abs(OFF),
            C * sp.sqrt(F),
            ((1, "coefficient form, squared"),),
            AT_MOST,
            squared=True,
            by=("positivity",),
        ),
        Step(
            "state form, squared",
            E((OFF * u) ** 2),
            sigma**4 / alpha**2 * F,
            ((E(u**2), "coefficient form, squared"),),
            AT_MOST,
        ),
        Step(
            "state form",
            sp.sqrt(E((OFF * u) ** 2)),
            sigma**2 / alpha * sp.sqrt(F),
            ((1, "state form, squared"),),
            AT_MOST,
            squared=True,
            by=("positivity",),
        ),
    )


def _tight() -> tuple[Step, ...]:
    """Equality at ``gap = c u``, and what is lost otherwise."""
    parallel = {gap: c * u}
    across = gap - E(u * gap) / E(u**2) * u
    return (
        Step(
            "equality where u and the gap are parallel",
            OFF**2,
            C**2 * F,
            ((OFF + DRIVE, "deviation"),),
            given=parallel,
        ),
        Step(
            "what the bound loses",
            C**2 * F - OFF**2,
            C**2 * E(across**2),
            ((-OFF - DRIVE, "deviation"),),
            by=("linearity", "moving"),
        ),
    )
