r"""Intervals on NumPy arrays, many boxes at once, and their slopes.

An :class:`Interval` holds two arrays of doubles between which the true number lies. Each operation
widens its result by one double on either side, so IEEE rounding never narrows it. NumPy's ``exp``,
``log`` and ``tanh`` are taken to err by at most :data:`ULPS` units in the last place, which NumPy's
own tests hold them to; :mod:`steinlab.claims.continua.second` proves the same without them. An
operation that means nothing gives NaN or an infinite end, with which nothing is decided.

A :class:`Jet` carries the intervals of its partial derivatives besides. :func:`mean_value` then
encloses a function over boxes to second order in their sides:

    f(box) in f(c) + sum_i (df/dtheta_i)(box) (box_i - c_i).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

ULPS = 4
"""Units in the last place by which a transcendental function of NumPy may be wrong."""


def _down(x: np.ndarray) -> np.ndarray:
    return np.nextafter(x, -np.inf)


def _up(x: np.ndarray) -> np.ndarray:
    return np.nextafter(x, np.inf)


class Interval:
    """Numbers between ``low`` and ``high``, arrays of one shape.

    Examples
    --------
    >>> x = Interval(np.array([1.0]), np.array([2.0]))
    >>> product = x * x - x
    >>> bool(product.low <= -1), bool(product.high >= 3), bool(product.high < 3.001)
    (True, True, True)
    """

    __array_ufunc__ = None  # array * Interval is ours

    def __init__(self, low: Any, high: Any | None = None) -> None:
        self.low = np.asarray(low, dtype=float)
        self.high = self.low if high is None else np.asarray(high, dtype=float)

    def __neg__(self) -> Interval:
        return Interval(-self.high, -self.low)

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Jet):
            return NotImplemented
        b = _interval(other)
        return Interval(_down(self.low + b.low), _up(self.high + b.high))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return NotImplemented if isinstance(other, Jet) else self + -_interval(other)

    def __rsub__(self, other: Any) -> Interval:
        return _interval(other) + -self

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, Jet):
            return NotImplemented
        b = _interval(other)
        ends = (self.low * b.low, self.low * b.high, self.high * b.low, self.high * b.high)
        low = np.minimum(np.minimum(ends[0], ends[1]), np.minimum(ends[2], ends[3]))
        high = np.maximum(np.maximum(ends[0], ends[1]), np.maximum(ends[2], ends[3]))
        return Interval(_down(low), _up(high))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return NotImplemented if isinstance(other, Jet) else self * reciprocal(_interval(other))

    def __rtruediv__(self, other: Any) -> Interval:
        return _interval(other) * reciprocal(self)

    def __getitem__(self, index: Any) -> Interval:
        return Interval(self.low[index], self.high[index])

    @property
    def width(self) -> np.ndarray:
        """``high - low``."""
        return np.asarray(self.high - self.low)

    def sum(self, axis: int = -1) -> Interval:
        """Add along an axis; the error of adding n numbers is at most ``n eps`` of their sizes."""
        slip = np.maximum(np.abs(self.low), np.abs(self.high)).sum(axis)
        slip = slip * (2 * self.low.shape[axis] * np.finfo(float).eps)
        return Interval(_down(self.low.sum(axis) - slip), _up(self.high.sum(axis) + slip))

    def meet(self, other: Interval) -> Interval:
        """Return what two enclosures of one number share; NaN counts for no bound."""
        return Interval(np.fmax(self.low, other.low), np.fmin(self.high, other.high))

    def increasing(self, function: Callable[[Any], Any], ulps: int = ULPS) -> Interval:
        """Return the image under an increasing function that errs by at most ``ulps``."""
        low, high = function(self.low), function(self.high)
        slip = ulps * np.finfo(float).eps
        return Interval(_down(low - slip * np.abs(low)), _up(high + slip * np.abs(high)))


def _interval(value: Any) -> Interval:
    return value if isinstance(value, Interval) else Interval(value)


def reciprocal(x: Interval) -> Interval:
    """``1 / x``; unbounded where 0 lies within."""
    low, high = _down(1 / x.high), _up(1 / x.low)
    within = (x.low <= 0) & (x.high >= 0)
    return Interval(np.where(within, -np.inf, low), np.where(within, np.inf, high))


class Jet:
    """An interval and those of its partial derivatives, all over the same boxes."""

    __array_ufunc__ = None

    def __init__(self, value: Interval, slopes: Sequence[Interval]) -> None:
        self.value, self.slopes = value, tuple(slopes)

    def _with(self, other: Any) -> Jet:
        if isinstance(other, Jet):
            return other
        return Jet(_interval(other), [Interval(0.0)] * len(self.slopes))

    def through(self, value: Interval, slope: Interval) -> Jet:
        """Return a function's value, given with its derivative."""
        return Jet(value, [slope * part for part in self.slopes])

    def __neg__(self) -> Jet:
        return Jet(-self.value, [-part for part in self.slopes])

    def __add__(self, other: Any) -> Jet:
        b = self._with(other)
        pairs = zip(self.slopes, b.slopes, strict=True)
        return Jet(self.value + b.value, [p + q for p, q in pairs])

    __radd__ = __add__

    def __sub__(self, other: Any) -> Jet:
        return self + -self._with(other)

    def __rsub__(self, other: Any) -> Jet:
        return self._with(other) + -self

    def __mul__(self, other: Any) -> Jet:
        b = self._with(other)
        pairs = zip(self.slopes, b.slopes, strict=True)
        slopes = [p * b.value + self.value * q for p, q in pairs]
        return Jet(self.value * b.value, slopes)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Jet:
        b = self._with(other)
        inverse = reciprocal(b.value)
        return self * b.through(inverse, -(inverse * inverse))

    def __rtruediv__(self, other: Any) -> Jet:
        return self._with(other) / self


def _on(x: Any, value: Callable[[Interval], Interval], slope: Callable[..., Interval]) -> Any:
    """Apply a function to an interval or a jet; ``slope`` is given the argument and the value."""
    if not isinstance(x, Jet):
        return value(_interval(x))
    found = value(x.value)
    return x.through(found, slope(x.value, found))


def exp(x: Any) -> Any:
    """``e^x``."""
    return _on(x, lambda v: v.increasing(np.exp), lambda _, found: found)


def log(x: Any) -> Any:
    """Natural logarithm; the true number is > 0."""
    return _on(x, lambda v: v.increasing(np.log), lambda v, _: reciprocal(v))


def sqrt(x: Any) -> Any:
    """Square root; the true number is >= 0."""
    return _on(
        x,
        lambda v: Interval(np.maximum(v.low, 0), v.high).increasing(np.sqrt, 1),
        lambda _, found: reciprocal(2 * found),
    )


def square(x: Any) -> Any:
    """``x^2``, never below 0."""

    def value(v: Interval) -> Interval:
        a, b = np.abs(v.low), np.abs(v.high)
        small = np.where((v.low <= 0) & (v.high >= 0), 0.0, np.minimum(a, b))
        large = np.maximum(a, b)
        return Interval(np.maximum(_down(small * small), 0), _up(large * large))

    return _on(x, value, lambda v, _: 2 * v)


def tanh(x: Any) -> Any:
    """Hyperbolic tangent, within [-1, 1]."""

    def value(v: Interval) -> Interval:
        found = v.increasing(np.tanh)
        return Interval(np.maximum(found.low, -1), np.minimum(found.high, 1))

    return _on(x, value, lambda v, _: square(sech(v)))


def sech(v: Interval) -> Interval:
    """``1 / cosh x`` of an interval: even, falling away from 0."""
    a, b = np.abs(v.low), np.abs(v.high)
    near = np.where((v.low <= 0) & (v.high >= 0), 0.0, np.minimum(a, b))
    size = Interval(-np.maximum(a, b), -near)  # in minus |x|, sech increases
    return size.increasing(lambda y: 2 / (np.exp(y) + np.exp(-y)), 2 * ULPS)


def mean_values(
    function: Callable[..., Sequence[Any]], low: np.ndarray, high: np.ndarray
) -> list[tuple[Interval, np.ndarray]]:
    """Enclose several functions over boxes, from their slopes and plainly, whichever is narrower.

    Parameters
    ----------
    function : callable
        Of one argument per parameter, intervals or jets of shape ``(B,)``.
    low, high : array, shape (B, P)
        Ends of the boxes.

    Returns
    -------
    list of (Interval, array)
        Of shape ``(B,)`` per function, and how much it can vary along each side, ``(B, P)``.
    """
    columns = range(low.shape[1])
    centre = 0.5 * (low + high)
    ones = [[Interval(float(i == j)) for j in columns] for i in columns]
    box = [Interval(low[:, i], high[:, i]) for i in columns]
    over = function(*(Jet(box[i], ones[i]) for i in columns))
    middle = function(*(Interval(centre[:, i]) for i in columns))
    out = []
    for jet, value in zip(over, middle, strict=True):
        parts = [jet.slopes[i] * (box[i] - centre[:, i]) for i in columns]
        effects = np.stack([np.broadcast_to(part.width, low[:, 0].shape) for part in parts], -1)
        out.append((jet.value.meet(sum(parts, value)), effects))
    return out


def mean_value(
    function: Callable[..., Any], low: np.ndarray, high: np.ndarray
) -> tuple[Interval, np.ndarray]:
    """Enclose one function over boxes; see :func:`mean_values`."""
    return mean_values(lambda *args: [function(*args)], low, high)[0]
