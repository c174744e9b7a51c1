r"""Expectations as linear functionals, for sympy.

A random vector is a *letter*: a commuting symbol. A product of two letters is an inner product,
which is symmetric and bilinear as the product of symbols is, and ``E`` maps every such monomial to
a symbol of its own, the moment ``E<a,b>``. Random scalars, such as a divergence, are letters
too, and stand alone. ``Normal`` integrates polynomials of a standard normal scalar.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp

E = sp.Function("E")
"""``E(expression)``, an expectation that :meth:`Algebra.resolve` expands by linearity."""

Normal = sp.Function("Normal")
"""``Normal(polynomial, e)``, its expectation under ``e ~ N(0, 1)``."""


def reals(names: str) -> Any:
    """Return real symbols."""
    return sp.symbols(names, real=True)


def positives(names: str) -> Any:
    """Return positive symbols."""
    return sp.symbols(names, positive=True)


@dataclass(frozen=True)
class Algebra:
    """The letters of a derivation and what they stand for.

    Attributes
    ----------
    vectors, scalars : tuple of symbols
        Random vectors and random scalars.
    moving : tuple of symbols
        Vectors whose mean square is positive, so that it may be divided by.
    definitions : mapping
        Symbols and what they abbreviate; applied in order.
    """

    vectors: tuple[Any, ...] = ()
    scalars: tuple[Any, ...] = ()
    moving: tuple[Any, ...] = ()
    definitions: tuple[tuple[Any, Any], ...] = ()

    def resolve(self, expression: Any, given: Mapping[Any, Any] | None = None) -> Any:
        """Write an expression in moments: definitions, what is given, linearity, derivatives."""
        expression = self.special(expression, given or {})
        expression = expression.replace(Normal, normal).replace(E, self.expectation)
        return expression.doit() if expression.has(sp.Derivative, sp.Integral) else expression

    def special(self, expression: Any, given: Mapping[Any, Any]) -> Any:
        """Return an expression with definitions written out and special values put in."""
        expression = sp.sympify(expression)
        for name, value in self.definitions:
            expression = expression.xreplace({name: sp.sympify(value)})
        return expression.xreplace(dict(given))

    def expectation(self, expression: Any) -> Any:
        """Return the sum of coefficients times moments; bad monomials raise ``ValueError``."""
        letters = (*self.vectors, *self.scalars)
        total = sp.Integer(0)
        for powers, coefficient in sp.Poly(expression, *letters).terms():
            factors = [a for a, power in zip(letters, powers, strict=True) for _ in range(power)]
            total += coefficient * self.moment(tuple(factors))
        return total

    def moment(self, factors: tuple[Any, ...]) -> Any:
        """Return ``1``, ``E<a,b>`` of two vectors or ``E<s>`` of one scalar."""
        if not factors:
            return sp.Integer(1)
        name = f"E<{','.join(str(f) for f in factors)}>"
        if len(factors) == 1 and factors[0] in self.scalars:
            return sp.Symbol(name, real=True)
        if len(factors) == 2 and not set(factors) & set(self.scalars):
            if factors[0] != factors[1]:
                return sp.Symbol(name, real=True)
            if factors[0] in self.moving:
                return sp.Symbol(name, positive=True)
            return sp.Symbol(name, nonnegative=True)
        raise ValueError(f"E must hold inner products or single scalars, got {factors}")


def normal(polynomial: Any, e: Any) -> Any:
    """Return ``E polynomial(e)`` for ``e ~ N(0, 1)``: ``E e^(2k) = (2k - 1)!!``, odd ones 0."""
    total = sp.Integer(0)
    for (power,), coefficient in sp.Poly(polynomial, e).terms():
        if power % 2 == 0:
            total += coefficient * sp.factorial2(power - 1)
    return total
