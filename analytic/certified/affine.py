r"""Affine forms on NumPy arrays: functions enclosed over many boxes at once, to second order.

A :class:`Form` stands for numbers ``centre + sum_i parts_i e_i + rest e``, every ``e`` in [-1, 1].
The ``e_i`` are the sides of a box and are shared by all forms on it, so what cancels does; ``rest``
takes what is not linear, products of radii and curvatures, and every rounding. Arrays have one
entry per box. NumPy's ``exp``, ``log`` and ``tanh`` and SciPy's ``ndtr`` are taken to err by at
most :data:`ULPS` units in the last place, which their own tests hold them to; the certificates'
checker does without them. What means nothing becomes NaN or infinite, and decides nothing.

References
----------
De Figueiredo and Stolfi, "Affine arithmetic: concepts and applications", Numerical Algorithms 37,
2004.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import numpy as np
from scipy.special import ndtr

ULPS = 4
"""Units in the last place by which a transcendental function of NumPy may be wrong."""

SLIP = 16 * float(np.finfo(float).eps)
"""Bound on the relative rounding of a few operations, those on the radii included."""


Ends = tuple[Any, Any]
"""A number below and one above."""


def _apart(low: Any, high: Any) -> Ends:
    """Return ends that one rounding of each cannot reach."""
    return np.nextafter(low, -np.inf), np.nextafter(high, np.inf)


def _crossed(first: Ends, last: Ends) -> Ends:
    """Return the ends of a product."""
    every = [a * b for a in first for b in last]
    return _apart(np.minimum.reduce(every), np.maximum.reduce(every))


class Form:
    """Numbers about ``centre``.

    Examples
    --------
    ``x - x`` is 0; ``x^2 - x`` on [1, 2], within [0, 2], is enclosed up to its curvature:

    >>> [x] = sides(np.array([[1.0]]), np.array([[2.0]]))
    >>> low, high = bounds(square(x) - x)
    >>> bool(abs(bounds(x - x)[1][0]) < 1e-13), bool(-0.26 < low[0] <= 0), bool(2 <= high[0] < 2.01)
    (True, True, True)
    """

    __array_ufunc__ = None  # array * Form is ours

    def __init__(
        self, centre: Any, parts: Sequence[Any] = (), rest: Any = 0.0, ends: Ends | None = None
    ) -> None:
        self.centre, self.parts, self.rest, self.ends = centre, tuple(parts), rest, ends

    @property
    def radius(self) -> Any:
        """The largest distance from the centre."""
        linear = sum((abs(part) for part in self.parts), self.rest) * (1 + SLIP)
        if self.ends is None:
            return linear
        low, high = self.ends
        return np.fmin(linear, np.maximum(high - self.centre, self.centre - low) * (1 + SLIP))

    @property
    def range(self) -> Ends:
        """Numbers below and above; without ends up to their own rounding."""
        r = self.radius
        low, high = self.centre - r, self.centre + r
        if self.ends is None:
            return low, high
        low, high = _apart(low, high)
        return np.fmax(low, self.ends[0]), np.fmin(high, self.ends[1])

    def _with(self, other: Any) -> Form:
        if isinstance(other, Form):
            return other
        return Form(other, [0.0] * len(self.parts), ends=self.ends and (other, other))

    def __neg__(self) -> Form:
        ends = self.ends and (-self.ends[1], -self.ends[0])
        return Form(-self.centre, [-part for part in self.parts], self.rest, ends)

    def __add__(self, other: Any) -> Form:
        b = self._with(other)
        parts = [p + q for p, q in zip(self.parts, b.parts, strict=True)]
        size = abs(self.centre) + abs(b.centre) + self.radius + b.radius
        ends = self.ends and b.ends and _apart(*map(np.add, self.ends, b.ends))
        return Form(self.centre + b.centre, parts, self.rest + b.rest + SLIP * size, ends)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Form:
        return self + -self._with(other)

    def __rsub__(self, other: Any) -> Form:
        return self._with(other) + -self

    def __mul__(self, other: Any) -> Form:
        b = self._with(other)
        c, d, r, s = self.centre, b.centre, self.radius, b.radius
        parts = [c * q + d * p for p, q in zip(self.parts, b.parts, strict=True)]
        rest = abs(c) * b.rest + abs(d) * self.rest + r * s
        ends = self.ends and b.ends and _crossed(self.range, b.range)
        return Form(c * d, parts, rest + SLIP * (abs(c) + r) * (abs(d) + s), ends)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Form:
        return self * reciprocal(self._with(other))

    def __rtruediv__(self, other: Any) -> Form:
        return self._with(other) * reciprocal(self)


class Jet:
    """A form and its derivatives along the sides of its box, those that are 0 left out."""

    __array_ufunc__ = None

    def __init__(self, value: Form, slopes: Mapping[int, Form]) -> None:
        self.value, self.slopes = value, slopes

    def __neg__(self) -> Jet:
        return Jet(-self.value, {i: -slope for i, slope in self.slopes.items()})

    def __add__(self, other: Any) -> Jet:
        if not isinstance(other, Jet):
            return Jet(self.value + other, self.slopes)
        return Jet(self.value + other.value, _summed(self.slopes, other.slopes))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Jet:
        return self.__add__(-other)

    def __rsub__(self, other: Any) -> Jet:
        return self.__neg__().__add__(other)

    def __mul__(self, other: Any) -> Jet:
        if not isinstance(other, Jet):
            return Jet(self.value * other, {i: one * other for i, one in self.slopes.items()})
        first = {i: slope * other.value for i, slope in self.slopes.items()}
        last = {i: slope * self.value for i, slope in other.slopes.items()}
        return Jet(self.value * other.value, _summed(first, last))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Jet:
        return self.__mul__(1 / other)

    def __rtruediv__(self, other: Any) -> Jet:
        return reciprocal(self).__mul__(other)


def _summed(first: Mapping[int, Form], last: Mapping[int, Form]) -> dict[int, Form]:
    both = {i: first[i] + last[i] for i in first if i in last}
    return {**first, **last, **both}


def chained(x: Jet, value: Form, slope: Form) -> Jet:
    """Return a function of a jet from its value and its derivative there."""
    return Jet(value, {i: slope * one for i, one in x.slopes.items()})


def jets(low: np.ndarray, high: np.ndarray, *, ended: bool = False) -> list[Jet]:
    """Return one jet per parameter of boxes ``(B, P)``; sides that all boxes hold have no slope."""
    unit = np.ones(len(low))
    one = Form(unit, [0.0] * low.shape[1], ends=(unit, unit) if ended else None)
    wide = np.any(low < high, axis=0).tolist()
    given = sides(low, high, ended=ended)
    return [Jet(side, {i: one} if wide[i] else {}) for i, side in enumerate(given)]


def taylor(x: Jet, middle: Form, low: np.ndarray, high: np.ndarray) -> Form:
    """Return a form of ``x`` from its value at the middles and its slopes on the boxes.

    On the way from the middle, ``t`` of it gone, a slope is ``c_i + t sum_j p_ij e_j`` and its
    rest; the mean over the way halves the sum. What is left of the second order is
    ``sum_ij h_i p_ij e_i e_j / 2``, ``h`` the half sides; each pair is added before it is bounded.
    """
    half = 0.5 * (high - low) * (1 + SLIP)
    zeros = np.zeros(len(low))
    parts, bend, off = [zeros] * low.shape[1], zeros, zeros
    steep = {i: [half[:, i] * part for part in slope.parts] for i, slope in x.slopes.items()}
    for i, slope in x.slopes.items():
        parts[i] = half[:, i] * slope.centre
        own = 0.25 * steep[i][i]
        bend, off = bend + own, off + np.abs(own) + half[:, i] * slope.rest
        off = off + sum(0.5 * np.abs(steep[i][j] + steep[j][i]) for j in steep if j > i)
    size = np.abs(middle.centre) + sum(map(np.abs, parts)) + off
    return Form(middle.centre + bend, parts, middle.radius + off + 4 * SLIP * size)


def sides(low: np.ndarray, high: np.ndarray, *, ended: bool = False) -> list[Form]:
    """Return one form per parameter of boxes ``(B, P)``, each on a side of its own.

    ``ended`` forms know their ends too.
    """
    count = low.shape[1]
    centre = 0.5 * (low + high)
    half = np.maximum(high - centre, centre - low) * (1 + SLIP)
    return [
        Form(
            centre[:, i],
            [half[:, i] if i == j else 0.0 for j in range(count)],
            ends=(low[:, i], high[:, i]) if ended else None,
        )
        for i in range(count)
    ]


def bounds(x: Form) -> tuple[np.ndarray, np.ndarray]:
    """Return a lower and an upper bound per box."""
    size = x.radius + SLIP * abs(x.centre)
    low, high = np.asarray(x.centre - size), np.asarray(x.centre + size)
    return (low, high) if x.ends is None else (np.fmax(low, x.ends[0]), np.fmin(high, x.ends[1]))


def effects(
    radius: Callable[[np.ndarray, np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Return by how much an enclosure's radius shrinks if one side is halved, ``(B, P)``."""
    full, out = radius(low, high), np.zeros(low.shape)
    for i in np.flatnonzero((low < high).any(axis=0)):
        a, b = low.copy(), high.copy()
        quarter = 0.25 * (high[:, i] - low[:, i])
        a[:, i], b[:, i] = low[:, i] + quarter, high[:, i] - quarter
        out[:, i] = full - radius(a, b)
    return out


@overload
def square(x: Form) -> Form: ...
@overload
def square(x: Jet) -> Jet: ...
def square(x: Form | Jet) -> Form | Jet:
    """``x^2``, whose curvature is known: the square of the rest lies between 0 and ``r^2``."""
    if isinstance(x, Jet):
        return chained(x, square(x.value), 2 * x.value)
    c, r = x.centre, x.radius
    bend = 0.5 * r * r
    slip = SLIP * (abs(c) + r) ** 2
    ends = x.ends and _squared(*x.range)
    return Form(c * c + bend, [2 * c * p for p in x.parts], 2 * abs(c) * x.rest + bend + slip, ends)


def _squared(low: Any, high: Any) -> Ends:
    least = np.maximum(np.maximum(low, -high), 0)
    most = np.maximum(-low, high)
    return _apart(least * least, most * most)


def smooth(
    x: Form,
    function: Callable[[Any], Any],
    slope: Callable[[Any], Any],
    curve: Callable[[Any, Any], Any],
) -> Form:
    """Return a monotone function of a form, from its tangent or, where it is narrower, its ends.

    Parameters
    ----------
    function, slope : callable
        The function and its derivative.
    curve : callable
        ``(low, high)`` to a bound on the second derivative between them.
    """
    c, r = x.centre, x.radius
    low, high = x.range
    value, steep = function(c), slope(c)
    slip = ULPS * SLIP * (abs(value) + abs(steep) * (r + abs(c) * SLIP))
    bend = curve(np.minimum(low, c), np.maximum(high, c))
    off = abs(steep) * x.rest + 0.5 * bend * r * r * (1 + SLIP) + slip
    first, last = function(np.nextafter(low, -np.inf)), function(np.nextafter(high, np.inf))
    rounding = ULPS * SLIP * (abs(first) + abs(last))
    half = 0.5 * abs(last - first) + rounding
    flat = np.asarray(~(half >= off))
    parts = [np.where(flat, 0.0, steep * part) for part in x.parts]
    ends = x.ends and (np.minimum(first, last) - rounding, np.maximum(first, last) + rounding)
    return Form(np.where(flat, 0.5 * (first + last), value), parts, np.where(flat, half, off), ends)


@overload
def reciprocal(x: Form) -> Form: ...
@overload
def reciprocal(x: Jet) -> Jet: ...
def reciprocal(x: Form | Jet) -> Form | Jet:
    """``1 / x`` of numbers > 0."""
    if isinstance(x, Jet):
        value = reciprocal(x.value)
        return chained(x, value, -square(value))

    def curve(low: Any, high: Any) -> Any:  # noqa: ARG001
        return np.where(low > 0, 2 / np.where(low > 0, low, 1.0) ** 3, np.inf)

    return smooth(x, lambda v: np.where(v > 0, 1 / v, np.inf), lambda v: -1 / (v * v), curve)


@overload
def sqrt(x: Form) -> Form: ...
@overload
def sqrt(x: Jet) -> Jet: ...
def sqrt(x: Form | Jet) -> Form | Jet:
    """Square root of numbers >= 0."""
    if isinstance(x, Jet):
        value = sqrt(x.value)
        return chained(x, value, 0.5 * reciprocal(value))
    return smooth(
        x,
        lambda v: np.sqrt(np.maximum(v, 0)),
        lambda v: 0.5 / np.sqrt(v),
        lambda low, _: np.where(low > 0, 0.25 * np.abs(low) ** -1.5, np.inf),
    )


@overload
def exp(x: Form) -> Form: ...
@overload
def exp(x: Jet) -> Jet: ...
def exp(x: Form | Jet) -> Form | Jet:
    """``e^x``."""
    if isinstance(x, Jet):
        value = exp(x.value)
        return chained(x, value, value)
    return smooth(x, np.exp, np.exp, lambda _, high: 1.001 * np.exp(high))


@overload
def log(x: Form) -> Form: ...
@overload
def log(x: Jet) -> Jet: ...
def log(x: Form | Jet) -> Form | Jet:
    """Natural logarithm of numbers > 0."""
    if isinstance(x, Jet):
        return chained(x, log(x.value), reciprocal(x.value))
    return smooth(x, np.log, lambda v: 1 / v, lambda low, _: np.where(low > 0, low**-2.0, np.inf))


def normal_cdf(x: Form) -> Form:
    """Probability that a normal variable is below ``x``."""

    def density(v: Any) -> Any:
        return np.exp(-0.5 * v * v) / np.sqrt(2 * np.pi)

    def curve(low: Any, high: Any) -> Any:
        near = np.maximum(np.maximum(low, -high), 1)
        return 1.001 * near * density(near)

    return smooth(x, ndtr, density, curve)


def _tanh_curve(low: Any, high: Any) -> Any:
    near = np.maximum(np.maximum(low, -high), 0)
    return np.minimum(0.77, 8.01 * np.exp(-2 * near))


def _tanh_slope(v: Any) -> Any:
    return 1 / np.cosh(np.clip(v, -350, 350)) ** 2


@overload
def tanh(x: Form) -> Form: ...
@overload
def tanh(x: Jet) -> Jet: ...
def tanh(x: Form | Jet) -> Form | Jet:
    """Hyperbolic tangent; its second derivative is at most ``0.77`` and ``2 sech^2``."""
    if isinstance(x, Jet):
        value = tanh(x.value)
        return chained(x, value, 1 - square(value))
    return smooth(x, np.tanh, _tanh_slope, _tanh_curve)


def tanh_rest(x: Form) -> Form:
    """``1 - tanh x``, to its own relative accuracy."""

    def value(v: Any) -> Any:
        return 2 / (1 + np.exp(np.minimum(2 * v, 700.0)))

    return smooth(x, value, lambda v: -_tanh_slope(v), _tanh_curve)
