r"""Derivation of Stein's identity under the forward coupling.

The general step is the product rule, coordinate by coordinate, and one axiom: the integral of a
divergence vanishes. On polynomials and exponential polynomials of one variable that axiom is not
needed: both sides are integrated.
"""

import sympy as sp

from steinlab.claims.derivations.algebra import Algebra, E, Normal, positives, reals
from steinlab.claims.derivations.proofs import Premise, Proof, Step

DEGREE = 5
"""Degree of the polynomials with symbolic coefficients; higher ones follow by differentiation."""

xi, others, a, e, s = reals("x_i x_others a e s")
alpha, sigma = positives("alpha sigma")
v, x, x_star, div_v, flux = reals("v x x_star div_v flux")

field = sp.Function("v_i")(xi, others)
rest = sp.Function("p_others")(others)
density = sp.exp(-((xi - a) ** 2) / (2 * sigma**2)) / (sigma * sp.sqrt(2 * sp.pi))
"""Density of coordinate ``i`` of ``x`` given ``x_star``, with ``a = alpha x_star_i``."""

unit = sp.exp(-(e**2) / 2) / sp.sqrt(2 * sp.pi)


def stein_identity() -> Proof:
    """``E<v(x), x - alpha x_star> = sigma^2 E div v(x)``."""
    return Proof(
        Algebra(
            vectors=(v, x, x_star),
            scalars=(div_v,),
            definitions=((flux, div_v - v * (x - alpha * x_star) / sigma**2),),
        ),
        premises=(Premise("no flux", "divergence", E(flux), sp.Integer(0)),),
        steps=(*_general(), *_exponentials(), *_polynomials()),
    )


def _general() -> tuple[Step, ...]:
    """With ``flux = div(v p) / p``, summed over coordinates."""
    whole = density * rest
    return (
        Step(
            "score of the noise",
            sp.Derivative(whole, xi),
            -(xi - a) / sigma**2 * whole,
            by=("coupling",),
        ),
        Step(
            "product rule",
            sp.Derivative(field * whole, xi),
            whole * (sp.Derivative(field, xi) - field * (xi - a) / sigma**2),
        ),
        Step(
            "Stein's identity",
            E(v * (x - alpha * x_star)),
            sigma**2 * E(div_v),
            ((-(sigma**2), "no flux"),),
            by=("linearity", "independence"),
        ),
    )


def _moments(t: sp.Expr) -> sp.Expr:
    """``E exp(t x)`` given ``x_star``."""
    return sp.exp(a * t + (sigma * t) ** 2 / 2)


def _exponentials() -> tuple[Step, ...]:
    """The field ``exp(s x)``: both sides are integrals of Gaussians."""
    antiderivative = sp.exp(s**2 / 2) * sp.erf((e - s) / sp.sqrt(2)) / 2
    upper, lower = (antiderivative.subs(e, end) for end in (sp.oo, -sp.oo))
    g = sp.Function("G")(s)
    c = reals(f"c_:{DEGREE + 1}")
    left = sum(c[n] * sp.Derivative(s * g, (s, n)) for n in range(DEGREE + 1))
    right = sum(
        c[n] * ((n * sp.Derivative(g, (s, n - 1)) if n else 0) + s * sp.Derivative(g, (s, n)))
        for n in range(DEGREE + 1)
    )
    return (
        Step("antiderivative", sp.Derivative(antiderivative, e), sp.exp(s * e) * unit),
        Step("moment generating function", upper - lower, sp.exp(s**2 / 2)),
        Step(
            "exponential fields",
            sp.Derivative(_moments(s), s) - a * _moments(s),
            sigma**2 * s * _moments(s),
            by=("exchange",),
        ),
        Step("exponential polynomials, by Leibniz", left, right, by=("exchange",)),
    )


def _polynomials() -> tuple[Step, ...]:
    """``x = a + sigma e``, so ``E (x - a) v(x) = sigma E e v`` and ``v' = (d/de v) / sigma``."""
    c = reals(f"c_:{DEGREE + 1}")
    polynomial = sum(c[n] * xi**n for n in range(DEGREE + 1))
    at = {xi: a + sigma * e}
    return (
        Step(
            "polynomial fields",
            Normal(sigma * e * polynomial.subs(at), e),
            sigma**2 * Normal(sp.diff(polynomial, xi).subs(at), e),
            by=("linearity",),
        ),
    )
