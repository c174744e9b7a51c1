r"""The second evaluator of a property's expression: balls of Arb, by the midpoint rule.

It shares the expression with :mod:`~steinlab.verification.continuum.forms`, and nothing else. An
expectation is a sum over cells of ``[-Z, Z]``, ``Z = 7.5``, each its value at the middle and its
curvature by power series (:func:`analytic.certified.series.integral`). Beyond, ``f`` is
``c (|z|/Z)^p`` with ``c`` in a ball (:data:`GROWTH` keeps both), so what is left out is below
``|c| (8/7) sqrt(2/pi) exp(-Z^2/2)/Z`` for ``p <= 8``: ``E[|z|^p; |z| > Z]`` is
``2 Z^(p-1) phi(Z)`` and ``p - 1`` times that of ``p - 2``, a part of at most
``(p - 1)/Z^2 <= 1/8``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from analytic.certified.series import (
    Ball,
    coefficient,
    integral,
    is_series,
    number,
    pi,
    squared,
    tanh,
)
from steinlab.verification.continuum.trace import Node, Rules, evaluate, fixed

REACH, MOST_DEGREE, FEWEST, MOST = 7.5, 8, 24, 96
"""Where the cells end, the largest degree beyond, and how many cells there are."""


def nothing() -> Ball:
    """Return the ball that says nothing."""
    return number(math.nan)


def _reciprocal(x: Any) -> Any:
    return 1 / x


def _absolute(x: Any) -> Any:
    """``|x|``; of a series about a number that may be 0 only the value is known."""
    if not is_series(x):
        return abs(x)
    from flint import arb_series

    first = coefficient(x, 0)
    if first > 0 or first < 0:
        return x if first > 0 else -x
    return arb_series([abs(first), nothing(), nothing()], prec=3)


RULES: Rules = {
    "const": lambda one: number(one.value),
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "neg": lambda a: -a,
    "square": squared,
    "reciprocal": _reciprocal,
    "sqrt": lambda x: x.sqrt(),
    "root": lambda x: x.sqrt(),
    "exp": lambda x: x.exp(),
    "log": lambda x: x.log(),
    "tanh": tanh,
    "abs": _absolute,
}


class Grown(NamedTuple):
    """``f = c (|z|/Z)^p`` with ``c`` in a ball and ``least <= f <= most``, where ``|z| >= Z``."""

    c: Ball
    p: float
    least: Ball
    most: Ball


def _held(c: Ball) -> Grown:
    return Grown(c, 0, c.lower(), c.upper())


def _to_zero(x: Ball) -> Ball:
    return x.union(number(0))


def _grown_sum(a: Grown, b: Grown) -> Grown:
    p = max(a.p, b.p)
    first, last = (one.c if one.p == p else _to_zero(one.c) for one in (a, b))
    return Grown(first + last, p, (a.least + b.least).lower(), (a.most + b.most).upper())


def _grown_neg(x: Grown) -> Grown:
    return Grown(-x.c, x.p, -x.most, -x.least)


def _grown_product(a: Grown, b: Grown) -> Grown:
    if a.most <= 0 and not a.least >= 0:
        return _grown_neg(_grown_product(_grown_neg(a), b))
    if b.most <= 0 and not b.least >= 0:
        return _grown_neg(_grown_product(a, _grown_neg(b)))
    known = a.least >= 0 and b.least >= 0
    least = (a.least * b.least).lower() if known else number("-inf")
    return Grown(a.c * b.c, a.p + b.p, least, number("inf"))


def _grown_square(x: Grown) -> Grown:
    least = (x.least**2).lower() if x.least > 0 else number(0)
    return Grown(squared(x.c), 2 * x.p, least, number("inf"))


def _grown_reciprocal(x: Grown) -> Grown:
    if x.p == 0:
        return _held(1 / x.c)
    return _held(_to_zero(1 / x.least) if x.least > 0 else nothing())


def _grown_sqrt(x: Grown) -> Grown:
    return Grown(_to_zero(x.c.abs_upper().sqrt()), x.p / 2, number(0), number("inf"))


def _grown_root(x: Grown) -> Grown:
    return _grown_sqrt(x) if x.least >= 0 else _held(nothing())


def _grown_exp(x: Grown) -> Grown:
    return _held(_to_zero(x.most.exp()) if x.most.is_finite() else nothing())


def _grown_log(x: Grown) -> Grown:
    """``log least <= log f <= log |c| + p log(|z|/Z)``, and ``log(|z|/Z) <= |z|/Z``."""
    if not x.least > 0:
        return Grown(nothing(), 1, number("-inf"), number("inf"))
    low, high = x.least.log(), x.c.abs_upper().log()
    return Grown(_to_zero(low).union(_to_zero(high) + x.p), 1, low.lower(), number("inf"))


def _grown_tanh(x: Grown) -> Grown:
    return _held(tanh(x.c) if x.p == 0 else number(1).union(number(-1)))


GROWTH: Rules = {
    "const": lambda one: _held(number(one.value)),
    "add": _grown_sum,
    "mul": _grown_product,
    "neg": _grown_neg,
    "square": _grown_square,
    "reciprocal": _grown_reciprocal,
    "sqrt": _grown_sqrt,
    "root": _grown_root,
    "exp": _grown_exp,
    "log": _grown_log,
    "tanh": _grown_tanh,
    "abs": lambda x: Grown(abs(x.c), x.p, x.least.max(number(0)), number("inf")),
}


def enclose(root: Node, values: Mapping[str, Ball]) -> Ball:
    """Enclose an expression at balls, plainly; a narrower box has finer cells."""
    wide = max((float(x.rad()) for x in values.values()), default=0.0)
    count = FEWEST if wide > 0.02 else MOST
    edges = [REACH * (2 * j / count - 1) for j in range(count + 1)]
    known: dict[int, Any] = {}
    rules: dict[str, Any] = {
        **RULES,
        "parameter": lambda one: values[one.value],
        "mean": lambda one: _mean(one, rules, known, edges),
    }
    return evaluate(root, rules, known)


def _mean(one: Node, rules: Any, known: dict[int, Any], edges: list[float]) -> Ball:
    """Add the modes' sums over cells and what may lie beyond."""
    body, root, *modes = one.args
    parts, total = fixed(body), number(0)
    given = [evaluate(part, rules, known) for part in (root, *parts)]
    for weight, middle in zip(modes[::2], modes[1::2], strict=True):
        w, m = (evaluate(part, rules, known) for part in (weight, middle))

        def terms(z: Any, m: Any, r: Any, *held: Any) -> list[Any]:
            own = {id(part): value for part, value in zip(parts, held, strict=True)}
            own[id(one.value)] = z * r + m
            return [evaluate(body, RULES, own) * (z * z * number(-0.5)).exp()]

        [inner] = integral(terms, edges, m, *given)
        total += w * (inner / (2 * pi()).sqrt() + _beyond(one, m, *given))
    return total


def _beyond(one: Node, m: Ball, r: Ball, *held: Ball) -> Ball:
    """Bound what a mode leaves beyond the cells."""
    body, state = one.args[0], (abs(m) + abs(r) * REACH).upper()
    grown = {id(part): _held(value) for part, value in zip(fixed(body), held, strict=True)}
    grown[id(one.value)] = Grown(state.union(-state), 1, number("-inf"), number("inf"))
    found: Grown = evaluate(body, GROWTH, grown)
    if found.p > MOST_DEGREE:
        return nothing()
    part = number(8) / 7 * (2 / pi()).sqrt() * (-(number(REACH) ** 2) / 2).exp() / REACH
    bound = (found.c.abs_upper() * part).upper()
    return bound.union(-bound)
