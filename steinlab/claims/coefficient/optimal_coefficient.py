r"""The optimum of the mean-square objective.

``J(gamma) = E|x - gamma u - x_star|^2`` is a parabola. Its vertex is found from three values of
``J``, at ``-1, 0, 1``, and compared with the formula: two routes without a common integral.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from steinlab.claims.derivations import DERIVATIONS, symbolic_check, symbolic_controls
from steinlab.claims.instruments.linear_forms import Measured
from steinlab.claims.instruments.random_steps import StepCases
from steinlab.claims.instruments.step_checks import (
    DigitsCases,
    NoDivergence,
    digits_check,
    digits_terms,
    quadrature_check,
    sample_steps,
    sampled_check,
)
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.coefficient.step_terms import Integrated, Terms
from steinlab.verification.claim import Claim, NegativeControl, Results
from steinlab.verification.comparison import Comparison
from steinlab.verification.quantities import Number

Formula = Callable[[Terms], np.ndarray]


def optimum(terms: Terms) -> np.ndarray:
    """``E<u, x - x_star> / E|u|^2``."""
    return np.asarray(terms.u_ref / terms.u_u)


def parabola(terms: Terms, rounding: Terms) -> tuple[np.ndarray, ...]:
    """Return ``J(-1) - J(1)`` and ``J(1) + J(-1) - 2 J(0)``, each with its error.

    The vertex is ``slope / (2 bend)``, the minimum ``J(0) - slope^2 / (8 bend)``.
    """
    objective = rounding.mirror + rounding.gap
    bend = terms.gap + terms.mirror - 2 * terms.err
    return terms.mirror - terms.gap, objective, bend, objective + 2 * rounding.err


def compare(data: Measured, formula: Formula) -> Comparison:
    """Compare the vertex with a formula for ``gamma*``."""
    terms, rounding = settled(data)
    slope, slope_error, bend, bend_error = parabola(terms, rounding)
    with np.errstate(divide="ignore", invalid="ignore"):
        measured, predicted = slope / (2 * bend), formula(terms)
        own = (slope_error + 2 * np.abs(measured) * bend_error) / (2 * (bend - bend_error))
    other = (rounding.u_ref + np.abs(predicted) * rounding.u_u) / terms.u_u
    tolerance = np.where(bend > bend_error, own + other, np.inf)
    return Comparison(measured, predicted, tolerance, scale=np.maximum(np.abs(measured), 1.0))


def settled(data: Measured) -> tuple[Terms, Terms]:
    """Return means of the terms and bounds of their errors.

    For integrals: rounding and quadrature error. For a batch the empirical law of its states is
    the law, the means are exact, and only rounding remains: squares of sums of exact inputs,
    relative to ``|x|, |u|`` and ``|x - x_star|``.
    """
    if isinstance(data.terms, Integrated):
        value, size, error = data.terms
        return value, (size + value.absolute()).scaled(ROUNDING * EPS) + error
    mean = data.terms.mean()
    x, u, off = np.sqrt(mean.x_x), np.sqrt(mean.u_u), np.sqrt(mean.err)
    state = 2 * x + u  # T = kappa x + drive and |drive| <= |u| + |x|
    sizes = replace(
        mean,
        u_u=2 * u * (x + state),
        u_ref=off * (x + state) + u * off,
        err=2 * off**2,
        gap=2 * np.sqrt(mean.gap) * (state + off),
        mirror=2 * np.sqrt(mean.mirror) * (state + off),
    )
    return mean, sizes.scaled(ROUNDING * EPS)


def _plain(terms: Terms) -> np.ndarray:
    return np.ones_like(terms.u_u)


def _no_reference(terms: Terms) -> np.ndarray:
    return np.asarray(terms.u_x / terms.u_u)


def _numbers(results: Results) -> list[Number]:
    measured = [results[name].comparison for name in ("quadrature", "pairs", "digits")]
    gammas = np.concatenate([c.measured for c in measured])
    moved = (np.abs(gammas - 1) > 0.1).mean()
    return [
        Number("steps whose gamma* is more than 0.1 off 1", moved, unit="%", key="moved"),
        Number("gamma*, median over the steps", np.median(gammas)),
        Number("steps", len(gammas)),
    ]


QUADRATURE = replace(quadrature_check(1000), compare=compare)
PAIR_STATES = 64
"""States of a batch: its empirical law is a law like any other, and the identity is exact."""


def _pairs(cases: StepCases) -> Measured:
    return sample_steps(cases, states=PAIR_STATES, divergence=NoDivergence())


def _digit_pairs(case: DigitsCases) -> Measured:
    return digits_terms(case, divergence=NoDivergence())


PAIRS = replace(
    sampled_check(4000), name="pairs", method="property", measure=_pairs, compare=compare, pool=None
)
DIGITS = replace(
    digits_check(), method="property", measure=_digit_pairs, compare=compare, pool=None
)

DERIVATION = DERIVATIONS["optimal-coefficient"]

CLAIM = Claim(
    id="optimal-coefficient",
    title="Optimal coefficient",
    statement="gamma* = E<u, x - x_star> / E|u|^2 minimises E|(1-gamma) x + gamma T(x) - x_star|^2",
    latex=(
        r"\gamma^{\star} = \frac{\mathbb{E}\langle u, x - "
        r"x_{\star}\rangle}{\mathbb{E}\|u\|^2} = \operatorname{argmin}_{\gamma}\, "
        r"\mathbb{E}\|(1-\gamma)\,x + \gamma\, T(x) - x_{\star}\|^2",
    ),
    expected="proved",
    source="Definition of the optimum, eq. for gamma*",
    kind="identity",
    owner="paper",
    conditions=("E|u|^2 > 0", "any joint law of x and x_star"),
    formula=optimum,
    checks=(QUADRATURE, PAIRS, DIGITS, symbolic_check(DERIVATION, covers=True)),
    controls=(
        NegativeControl("wrong sign", lambda terms: -optimum(terms)),
        NegativeControl("the plain solver's gamma = 1", _plain),
        NegativeControl("reference dropped: E<u,x> / E|u|^2", _no_reference),
        NegativeControl("E<u, T - x_star> / E|u|^2", lambda terms: optimum(terms) - 1),
        *symbolic_controls(DERIVATION),
    ),
    headline="gamma* minimises the mean-square error; {moved} of the steps tried want a gamma "
    "well away from 1.",
    numbers=_numbers,
    finding="gamma* is the vertex of the parabola J, for every law and step tried, to rounding.",
)
