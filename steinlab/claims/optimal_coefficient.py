r"""The optimum of the mean-square objective.

``J(gamma) = E|x - gamma u - x_star|^2`` is a parabola. Its vertex is found from three values of
``J``, at ``-1, 0, 1``, and compared with the formula: two routes without a common integral.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from steinlab.claims.checks import digits_check, quadrature_check, sampled_check
from steinlab.claims.forms import Measured
from steinlab.terms import Integrated, Terms
from steinlab.verdicts import EPS, ROUNDING, Claim, Comparison, Result, Twin

Formula = Callable[[Terms], np.ndarray]


def optimum(terms: Terms) -> np.ndarray:
    """``E<u, x - x_star> / E|u|^2``."""
    return np.asarray(terms.u_ref / terms.u_u)


def vertex(terms: Terms) -> np.ndarray:
    """Vertex of the parabola through ``J(-1), J(0), J(1)``."""
    return np.asarray(
        (terms.mirror - terms.gap) / (2 * (terms.gap + terms.mirror - 2 * terms.err))
    )


def compare(data: Measured, formula: Formula) -> Comparison:
    """Compare the vertex with a formula for ``gamma*``."""
    terms, rounding = settled(data)
    measured, predicted = vertex(terms), formula(terms)
    bend = 2 * (terms.gap + terms.mirror - 2 * terms.err)
    objective = rounding.mirror + rounding.gap
    own = objective + 2 * np.abs(measured) * (objective + 2 * rounding.err)
    other = rounding.u_ref + np.abs(predicted) * rounding.u_u
    tolerance = own / np.abs(bend) + other / terms.u_u
    return Comparison(measured, predicted, tolerance, scale=np.maximum(np.abs(measured), 1.0))


def settled(data: Measured) -> tuple[Terms, Terms]:
    """Return means of the terms and bounds of their errors.

    For integrals: rounding and quadrature error. For a batch the empirical law of its states is
    the law, the means are exact, and only rounding remains: squares of sums of exact inputs,
    relative to ``|x|, |u|`` and ``|x - x_star|``.
    """
    if isinstance(data.terms, Integrated):
        value, size, error = data.terms
        return value, (size + value.absolute()).scaled(np.float64(ROUNDING * EPS)) + error
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
    return mean, sizes.scaled(np.float64(ROUNDING * EPS))


def _plain(terms: Terms) -> np.ndarray:
    return np.ones_like(terms.u_u)


def _no_reference(terms: Terms) -> np.ndarray:
    return terms.u_x / terms.u_u


def _finding(results: Mapping[str, Result]) -> str:
    gammas = np.concatenate([r.comparison.measured for r in results.values()])
    moved = float((np.abs(gammas - 1) > 0.1).mean())
    return (
        f"gamma* is the vertex of J in all {len(gammas)} cases, to rounding; it differs from the "
        f"plain solver's 1 by more than 0.1 in {moved:.0%} of them"
    )


QUADRATURE = replace(quadrature_check(1000), compare=compare)
PAIRS = replace(
    sampled_check(1000), name="pairs", method="property", compare=compare, pool=None
)
DIGITS = replace(digits_check(), method="property", compare=compare, pool=None)

CLAIM = Claim(
    id="optimal-coefficient",
    title="Optimal coefficient",
    statement="gamma* = E<u, x - x_star> / E|u|^2 minimises E|(1-gamma) x + gamma T(x) - x_star|^2",
    source="Definition of the optimum, eq. for gamma*",
    kind="identity",
    conditions=("E|u|^2 > 0", "any joint law of x and x_star"),
    formula=optimum,
    checks=(QUADRATURE, PAIRS, DIGITS),
    twins=(
        Twin("wrong sign", lambda terms: -optimum(terms)),
        Twin("the plain solver's gamma = 1", _plain),
        Twin("reference dropped: E<u,x> / E|u|^2", _no_reference),
        Twin("E<u, T - x_star> / E|u|^2", lambda terms: optimum(terms) - 1),
    ),
    dropped=(),
    finding=_finding,
)
