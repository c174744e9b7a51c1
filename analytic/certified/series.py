"""What second evaluators share: functions and integrals of balls of Arb, and of series of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from analytic.certified.intervals import Intervals

Ball = Any


def number(value: float | str) -> Ball:
    """Return a ball around one number."""
    from flint import arb

    return arb(value)


def pi() -> Ball:
    """Return a ball around pi."""
    from flint import arb

    return arb.pi()


def monotone(function: str, x: Ball) -> Ball:
    """Return the image under an increasing function by its ends: wide balls stay tight."""
    return getattr(x.lower(), function)().union(getattr(x.upper(), function)())


def squared(x: Any) -> Any:
    """Return the square of a ball, which is not negative, of a series, or of intervals."""
    if isinstance(x, Intervals):
        return x.squared()
    if is_series(x):
        whole = x * x
        others = [coefficient(whole, order) for order in range(1, whole.prec)]
        return series_of(squared(coefficient(x, 0)), *others)
    low, high = x.abs_lower(), x.abs_upper()
    return (low * low).union(high * high)


def is_series(x: Any) -> bool:
    """Return whether ``x`` is a power series."""
    return hasattr(x, "coeffs")


def series_of(*parts: Ball) -> Any:
    """Return the power series of these coefficients."""
    from flint import arb_series

    return arb_series(list(parts), prec=len(parts))


def shared(a: Ball, b: Ball) -> Ball:
    """Return what two enclosures of one number share."""
    return a.intersection(b) if a.is_finite() and b.is_finite() else a if a.is_finite() else b


def tanh(x: Any) -> Any:
    """Hyperbolic tangent of a ball, or of a series to second order, whose slope is ``sech^2``."""
    if not is_series(x):
        return monotone("tanh", x)
    middle, first, last = (coefficient(x, order) for order in range(3))
    value = monotone("tanh", middle)
    near, far = (1 / number(end).cosh() for end in (middle.abs_lower(), middle.abs_upper()))
    slope = (near * near).union(far * far)
    curve = slope * last - value * slope * first * first
    return series_of(*[value, slope * first, curve][: x.prec])


def coefficient(x: Any, order: int) -> Ball:
    """Return a coefficient of a series, no number where it was cut; a number has one of its own."""
    if is_series(x) and order >= x.prec:
        return number(math.nan)
    found = x.coeffs() if is_series(x) else [x]
    return found[order] if order < len(found) else number(0)


def mean_value(function: Callable[..., Any], *given: Ball) -> Ball:
    """Enclose ``f`` by its value at the middles and its derivatives on the box, and plainly."""
    from flint import arb_series

    total = function(*(x.mid() for x in given))
    for i, x in enumerate(given):
        if x.rad() == 0:
            continue
        series = arb_series([x, 1], prec=2)
        try:
            slope = coefficient(function(*given[:i], series, *given[i + 1 :]), 1)
        except ValueError:  # a ball about a divisor reaches 0
            return number(math.nan)
        total += slope * (x - x.mid())
    return total


def cornered(function: Callable[..., Any], *given: Ball) -> Ball:
    """Enclose ``f`` by its values at two corners, and plainly.

    Along a side whose slope has one sign on the whole box ``f`` is monotone: its least value lies
    at one end, its largest at the other. Along another side it is at most the half side times the
    slope away from the middle.
    """
    wide = [x.lower().union(x.upper()) if x.rad() != 0 else x for x in given]
    slopes, plain = [number(0)] * len(given), function(*wide)
    for i, x in enumerate(wide):
        if x.rad() != 0:
            try:
                around = function(*wide[:i], series_of(x, number(1)), *wide[i + 1 :])
            except ValueError:  # a ball about a divisor reaches 0
                return plain
            slopes[i] = coefficient(around, 1)
    ends = []
    for away in (-1, 1):
        point, off = [], number(0)
        for x, slope in zip(given, slopes, strict=True):
            if slope > 0 or slope < 0:
                point.append(x.upper() if (slope > 0) == (away > 0) else x.lower())
            else:
                point.append(x.mid())
                off += slope.abs_upper() * x.rad()
        ends.append(function(*point) + off * away)
    return shared(ends[0].lower().union(ends[1].upper()), plain)


def integral(
    function: Callable[..., Sequence[Any]], edges: Sequence[float], *given: Any
) -> list[Any]:
    """Enclose ``int f(y, *given) dy`` for several ``f``; of series, roughly.

    A cell gives ``b - a`` times the value at the middle and ``(b - a)^3/12`` times half the
    curvature, or ``b - a`` times the range.
    """
    from flint import arb_series

    ends, rough = [number(edge) for edge in edges], any(map(is_series, given))
    sums: list[Any] = []
    for a, b in itertools.pairwise(ends):
        side, cell = b - a, a.union(b)
        found = [part * side for part in function(cell, *given)]
        if not rough:
            try:
                around = function(arb_series([cell, 1], prec=3), *given)
            except ValueError:
                around = None
            if around is not None:
                there = function((a + b) / 2, *given)
                bent = [coefficient(part, 2) * side**3 / 12 for part in around]
                found = [
                    shared(part * side + bend, plain)
                    for part, bend, plain in zip(there, bent, found, strict=True)
                ]
        sums = [x + y for x, y in zip(sums, found, strict=True)] if sums else found
    return sums
