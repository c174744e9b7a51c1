r"""Intervals on arrays of doubles, for second evaluators that prove many boxes at once.

IEEE 754 rounds ``+ - * /`` and the square root to the nearest double, so the next double outward
is not inside the exact value: every result is stepped once, and encloses. A divisor that may be 0
leaves ``nan`` at both ends, which says nothing and stays: no comparison with it is true.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Number = Any
"""Intervals, or a double taken as it is."""


class Intervals:
    """Numbers between ``low`` and ``high``, arrays ``(..., B)``, perhaps with their slopes.

    ``slope`` holds the derivatives along ``P`` sides, each an interval over the whole box:
    ``(P, B)``. None stands for 0.
    """

    def __init__(self, low: Any, high: Any, slope: Intervals | None = None) -> None:
        self.low, self.high, self.slope = low, high, slope

    @property
    def size(self) -> Any:
        """The largest modulus."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def plain(self) -> Intervals:
        """The same without slopes."""
        return Intervals(self.low, self.high)

    def __neg__(self) -> Intervals:
        return Intervals(-self.high, -self.low, None if self.slope is None else -self.slope)

    def __add__(self, other: Number) -> Intervals:
        other = intervals(other)
        slope = _sum(self.slope, other.slope)
        return _outward(self.low + other.low, self.high + other.high, slope)

    def __sub__(self, other: Number) -> Intervals:
        return self + -intervals(other)

    def __rsub__(self, other: Number) -> Intervals:
        return -self + intervals(other)

    def __mul__(self, other: Number) -> Intervals:
        other = intervals(other)
        ends = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        slope = _sum(_scaled(self.slope, other), _scaled(other.slope, self))
        return _outward(_least(*ends), _most(*ends), slope)

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, other: Number) -> Intervals:
        other = intervals(other)
        none = np.where((other.low > 0) | (other.high < 0), 1.0, np.nan)
        inverse = _outward(none / other.high, none / other.low)
        if other.slope is not None:
            inverse.slope = -(other.slope * inverse.squared())
        return self * inverse

    def __rtruediv__(self, other: Number) -> Intervals:
        return intervals(other) / self

    def squared(self) -> Intervals:
        """Return the squares, none of which is negative."""
        large, reaches = self.size, (self.low <= 0) & (self.high >= 0)
        small = np.where(reaches, 0.0, np.minimum(np.abs(self.low), np.abs(self.high)))
        found = _outward(small * small, large * large, _scaled(self.slope, 2.0 * self.plain))
        return Intervals(np.maximum(found.low, 0.0), found.high, found.slope)

    def sqrt(self) -> Intervals:
        """Return the roots of numbers > 0; ``nan`` where one may not be."""
        none = np.where(self.low > 0, 1.0, np.nan)
        root = _outward(np.sqrt(none * self.low), np.sqrt(none * self.high))
        root.slope = None if self.slope is None else self.slope / (2.0 * root)
        return root

    def shared(self, other: Intervals) -> Intervals:
        """Return what two enclosures of the same numbers share."""
        slope = None
        if self.slope is not None and other.slope is not None:
            slope = self.slope.shared(other.slope)
        return Intervals(np.fmax(self.low, other.low), np.fmin(self.high, other.high), slope)


def intervals(x: Number) -> Intervals:
    """Return intervals as they are, a double as one of itself."""
    return x if isinstance(x, Intervals) else Intervals(np.float64(x), np.float64(x))


def _outward(low: Any, high: Any, slope: Intervals | None = None) -> Intervals:
    return Intervals(np.nextafter(low, -np.inf), np.nextafter(high, np.inf), slope)


def _sum(a: Intervals | None, b: Intervals | None) -> Intervals | None:
    return b if a is None else a if b is None else a + b


def _scaled(slope: Intervals | None, factor: Intervals) -> Intervals | None:
    return None if slope is None else slope * factor.plain


def _least(a: Any, b: Any, c: Any, d: Any) -> Any:
    return np.minimum(np.minimum(a, b), np.minimum(c, d))


def _most(a: Any, b: Any, c: Any, d: Any) -> Any:
    return np.maximum(np.maximum(a, b), np.maximum(c, d))


def cornered(
    function: Callable[..., Intervals], low: np.ndarray, high: np.ndarray, axes: list[int]
) -> tuple[Intervals, np.ndarray]:
    """Enclose ``f`` on boxes ``(B, P)`` by its values at two corners, and plainly.

    Along a side whose slope has one sign on the whole box ``f`` is monotone: its least value lies
    at one end, its largest at the other. Along another of ``axes`` it is at most the distance times
    the slope away from the middle. Also return how much ``f`` may vary along each of ``axes``,
    ``(B, A)``, infinite where nothing is known.
    """
    given = [Intervals(a, b) for a, b in zip(low.T, high.T, strict=True)]
    for axis, unit in zip(axes, np.eye(len(axes))[:, :, None], strict=True):
        given[axis] = Intervals(low[:, axis], high[:, axis], Intervals(unit, unit))
    plain, ends, off = function(*given), [list(given), list(given)], Intervals(0.0, 0.0)
    if plain.slope is None:
        raise ValueError(f"function must depend on one of the sides {axes}")
    effects = np.empty((len(low), len(axes)))
    for i, axis in enumerate(axes):
        a, b = low[:, axis], high[:, axis]
        slope = Intervals(plain.slope.low[i], plain.slope.high[i])
        rises, falls, middle = slope.low > 0, slope.high < 0, 0.5 * (a + b)
        for end, (first, last) in zip(ends, ((a, b), (b, a)), strict=True):
            at = np.where(rises, first, np.where(falls, last, middle))
            end[axis] = Intervals(at, at)
        reach = Intervals(0.0, np.nextafter(np.maximum(middle - a, b - middle), np.inf))
        off += Intervals(0.0, np.where(rises | falls, 0.0, slope.size)) * reach
        effects[:, i] = slope.size * (b - a)
    least, most = (function(*end) for end in ends)
    found = plain.plain.shared(Intervals((least - off).low, (most + off).high))
    return found, np.nan_to_num(effects, nan=np.inf, posinf=np.inf)
