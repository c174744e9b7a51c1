r"""Corollary 4.9: an accurate candidate is left alone.

``(gamma* - 1) E|u|^2 = E<u, T - x_star>``, so by Cauchy-Schwarz the corrected step differs from
the plain one by ``|gamma* - 1| |u|_{L2} <= |T - x_star|_{L2}``: it vanishes with the candidate's
distance to the *reference sample*. A candidate that is accurate as an ODE step is another matter.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from analytic import NoiseLevel
from steinlab.claims.coefficient.optimal_coefficient import settled
from steinlab.claims.derivations import DERIVATIONS, symbolic_check, symbolic_controls
from steinlab.claims.instruments.linear_forms import Measured
from steinlab.claims.instruments.random_steps import StepCases, draw_law
from steinlab.claims.instruments.step_checks import integrate_steps, quadrature_check
from steinlab.coefficient.step_terms import Problem, Terms
from steinlab.solvers import SOLVERS
from steinlab.verification.claim import Check, Claim, Dropped, Effort, NegativeControl, Results
from steinlab.verification.comparison import Comparison
from steinlab.verification.quantities import Number

Bound = Callable[[Terms], np.ndarray]


def distance(terms: Terms) -> np.ndarray:
    """``|T - x_star|_{L2}``."""
    return np.asarray(np.sqrt(terms.gap))


def compare(data: Measured, bound: Bound) -> Comparison:
    """Compare ``|gamma* - 1| |u|_{L2}`` with the bound."""
    terms, rounding = settled(data)
    power = np.sqrt(terms.u_u)
    measured = np.abs(terms.u_ref / terms.u_u - 1) * power
    slack = (rounding.u_ref + rounding.u_u) / power + 0.5 * measured * rounding.u_u / terms.u_u
    predicted = bound(terms)
    tolerance = slack + 0.5 * predicted * rounding.gap / terms.gap
    return Comparison(measured, predicted, tolerance, upper=True)


REFINEMENTS = (1e-1, 1e-2, 1e-3)


def _draw_refined(effort: Effort) -> list[StepCases]:
    """Draw EDM steps ever shorter in ``log sigma``."""
    out = []
    for h in REFINEMENTS:
        count = effort.count(32)
        sigma = np.exp(effort.rng.uniform(np.log(0.1), np.log(10), (count, 1, 1)))
        one = np.ones_like(sigma)
        problem = Problem(
            draw_law(effort.rng, count, 2, 1, "scalar"),
            NoiseLevel(one, sigma),
            NoiseLevel(one, sigma * np.exp(-h)),
            SOLVERS["heun"],
            None,
        )
        out.append(StepCases(problem, effort.rng.integers(2**32, size=count), np.ones(count)))
    return out


def _compare_refined(data: Measured, bound: Bound) -> Comparison:  # noqa: ARG001
    """Hold ``|gamma* - 1|`` below 1/2, as it is if accurate ODE steps are left alone."""
    terms, rounding = settled(data)
    measured = np.abs(terms.u_ref / terms.u_u - 1)
    tolerance = (rounding.u_ref + (1 + measured) * rounding.u_u) / terms.u_u
    return Comparison(measured, np.full_like(measured, 0.5), tolerance, upper=True)


def _numbers(results: Results) -> list[Number]:
    refined = results["refined"].comparison.measured
    finest = refined[-len(refined) // len(REFINEMENTS) :]
    return [
        Number("tightness of the bound", results["quadrature"].comparison.tightness() or 0.0),
        Number("kappa of the finest steps", np.exp(-REFINEMENTS[-1])),
        Number("least |gamma* - 1| there", finest.min()),
        Number("largest |gamma* - 1| there", finest.max()),
    ]


DERIVATION = DERIVATIONS["asymptotic-equivalence"]

CLAIM = Claim(
    id="asymptotic-equivalence",
    title="Accurate candidates are left alone",
    statement="as E|T - x_star|^2 -> 0 the corrected step becomes the plain step",
    latex=(
        r"\mathbb{E}\|T - x_{\star}\|^2 \to 0 \;\Rightarrow\; (1-\gamma^{\star})x + "
        r"\gamma^{\star} T \to T",
    ),
    expected="conditional",
    headline="A step near the reference sample is left alone; an accurate ODE step is not.",
    numbers=_numbers,
    source="Corollary 4.9",
    kind="limit",
    owner="paper",
    conditions=(
        "unstated: accurate means close to the reference sample x_star, not to the ODE's solution",
    ),
    formula=distance,
    checks=(
        replace(quadrature_check(1500), compare=compare),
        symbolic_check(DERIVATION, covers=True),
    ),
    controls=(
        NegativeControl("bound halved", lambda terms: 0.5 * distance(terms)),
        NegativeControl("squared distance", lambda terms: terms.gap),
        NegativeControl(
            "distance of the plain state's mean square", lambda terms: np.sqrt(terms.gap / 2)
        ),
        *symbolic_controls(DERIVATION),
    ),
    dropped=(
        Dropped(
            "accurate as an ODE step: the grid refined",
            Check(
                "refined",
                "quadrature",
                StepCases,
                draw=_draw_refined,
                measure=integrate_steps,
                compare=_compare_refined,
            ),
            unstated=True,
        ),
    ),
    finding="As a candidate reaches the reference sample the corrected step becomes the plain "
    "one. Refining the grid does not do that: the step is then nearly the exact flow, and gamma* "
    "near 1/(1 - kappa), far from 1. Do not expect the correction to fade on fine grids.",
)
