"""Numbers with a proof: exact inputs, ball arithmetic at a stated precision, enclosures.

Ball arithmetic is Arb's, through python-flint, which is an extra and imported when first needed
(:func:`load`). Inputs are exact fractions; they become balls inside :func:`precision`, never
before. What comes out is an :class:`Enclosure`: exact fractions again, free of python-flint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from typing import Any

INSTALL = "python-flint is not installed: pip install 'steinlab[certified]'"
"""What to do where ball arithmetic is missing."""

Number = int | float | str | Fraction
Ball = Any
"""A real or complex ball of python-flint."""


def missing() -> str:
    """Return why nothing can be certified here, empty if it can."""
    try:
        load()
    except ModuleNotFoundError as error:
        return str(error)
    return ""


def load() -> Any:
    """Return the module ``flint``; raise ``ModuleNotFoundError`` with the way to get it."""
    try:
        import flint
    except ImportError:
        raise ModuleNotFoundError(INSTALL) from None
    return flint


@contextmanager
def precision(bits: int) -> Iterator[Any]:
    """Work with ``bits`` bits of mantissa (at least 24) inside the block; yields ``flint``."""
    if bits < 24:
        raise ValueError(f"bits must be >= 24, got {bits}")
    flint = load()
    before = flint.ctx.prec
    flint.ctx.prec = bits
    try:
        yield flint
    finally:
        flint.ctx.prec = before


def exact(value: Number, name: str = "value") -> Fraction:
    """Return the exact value: a fraction or decimal as written, a float's binary value.

    Examples
    --------
    >>> exact("12/13"), exact("0.1"), exact(0.5)
    (Fraction(12, 13), Fraction(1, 10), Fraction(1, 2))
    """
    try:
        return Fraction(value)
    except (ValueError, OverflowError, ZeroDivisionError, TypeError):
        raise ValueError(f"{name} must be a finite number or a fraction, got {value!r}") from None


def ball(value: Fraction | int) -> Ball:
    """Return the real ball of an exact number, at the precision now set."""
    from flint import arb, fmpq

    fraction = Fraction(value)
    return arb(fmpq(fraction.numerator, fraction.denominator))


def around(half: Fraction) -> Ball:
    """Return the ball ``[-half, half]``."""
    from flint import arb

    return arb(0, ball(half).upper())


def reach(bits: int) -> int:
    """Return the standard deviations to integrate over: ``exp(-z^2/2) < 2^-(bits + 16)``."""
    return math.ceil(math.sqrt(2 * (bits + 16) * math.log(2)))


def power(base: Ball, exponent: int) -> Ball:
    """Return ``base^exponent`` by products: a real ball around 0 stays finite."""
    out = ball(1)
    for _ in range(exponent):
        out = out * base
    return out


def kept(function: Callable[[Ball], Any]) -> Callable[[Ball], Any]:
    """Return a function of complex balls that keeps its values.

    Integrals over the same panels ask for it at the same balls: half of the evaluations, and more.
    """
    known: dict[Any, Any] = {}

    def value(y: Ball) -> Any:
        if not y.is_finite():
            return function(y)
        parts = (y.real.mid(), y.real.rad(), y.imag.mid(), y.imag.rad())
        key = tuple(number for part in parts for number in part.man_exp())
        if key not in known:
            known[key] = function(y)
        return known[key]

    return value


def widened(center: Ball, error: Ball) -> Ball:
    """Return ``center`` with its radius enlarged by the upper end of ``|error|``."""
    from flint import arb

    return center + arb(0, error.abs_upper())


@dataclass(frozen=True)
class Enclosure:
    """An interval ``[mid - radius, mid + radius]`` that contains the number it stands for.

    Attributes
    ----------
    mid, radius : Fraction
        Exact, ``radius >= 0``.

    Examples
    --------
    >>> third = Enclosure(Fraction(1, 3), Fraction(1, 10**9))
    >>> third.decimal(), third.contains(Fraction(1, 3)), third.overlaps(Enclosure.point(0.5))
    (('0.33333333333', '1.1e-9'), True, False)
    """

    mid: Fraction
    radius: Fraction

    @classmethod
    def of(cls, value: Ball) -> Enclosure:
        """Return the exact midpoint and radius of a real ball.

        Raises
        ------
        ArithmeticError
            If the ball is not finite: nothing was proved at this precision.
        """
        if not value.is_finite():
            raise ArithmeticError("the enclosure is not finite at this precision: raise bits")
        return cls(_dyadic(value.mid()), _dyadic(value.rad()))

    @classmethod
    def point(cls, value: Number) -> Enclosure:
        """Return an exact number."""
        return cls(exact(value), Fraction(0))

    @classmethod
    def between(cls, lower: Fraction, upper: Fraction) -> Enclosure:
        """Return ``[lower, upper]``."""
        return cls((lower + upper) / 2, (upper - lower) / 2)

    @property
    def lower(self) -> Fraction:
        """``mid - radius``."""
        return self.mid - self.radius

    @property
    def upper(self) -> Fraction:
        """``mid + radius``."""
        return self.mid + self.radius

    def contains(self, value: Fraction) -> bool:
        """Whether an exact number lies in it."""
        return abs(value - self.mid) <= self.radius

    def overlaps(self, other: Enclosure) -> bool:
        """Whether the two share a number; if not, what they enclose is proved different."""
        return abs(self.mid - other.mid) <= self.radius + other.radius

    def plus(self, other: Enclosure) -> Enclosure:
        """Return an enclosure of the sum."""
        return Enclosure(self.mid + other.mid, self.radius + other.radius)

    def times(self, factor: Number) -> Enclosure:
        """Return an enclosure of the product with an exact number."""
        scale = exact(factor)
        return Enclosure(self.mid * scale, self.radius * abs(scale))

    def over(self, other: Enclosure) -> Enclosure:
        """Return an enclosure of the quotient; ``other`` must be proved > 0."""
        if other.lower <= 0:
            raise ArithmeticError(f"the divisor must be proved > 0, got {other.decimal()}")
        ends = [a / b for a in (self.lower, self.upper) for b in (other.lower, other.upper)]
        return Enclosure.between(min(ends), max(ends))

    def double(self) -> tuple[float, float]:
        """Return the midpoint in double precision, and a radius about it (rounded up)."""
        value = float(self.mid)
        radius = float(self.radius + abs(Fraction(value) - self.mid))
        return value, math.nextafter(radius, math.inf) if radius else 0.0

    def decimal(self) -> tuple[str, str]:
        """Return midpoint and radius in decimal; the radius absorbs the midpoint's rounding."""
        if not self.radius:
            digits = 30
        else:
            leading = _exponent(abs(self.mid)) if self.mid else _exponent(self.radius)
            digits = max(leading - _exponent(self.radius) + 3, 1)
        mid = _rounded(self.mid, digits, ROUND_HALF_EVEN)
        off = abs(Fraction(mid) - self.mid)
        radius = _rounded(self.radius + off, 2, ROUND_CEILING)
        return f"{mid}".lower(), f"{radius:e}" if radius else "0"


def _dyadic(value: Ball) -> Fraction:
    mantissa, exponent = (int(part) for part in value.man_exp())
    return Fraction(mantissa) * Fraction(2) ** exponent


def _exponent(value: Fraction) -> int:
    """Decimal exponent, off by one at most."""
    bits = value.numerator.bit_length() - value.denominator.bit_length()
    return math.floor(bits * math.log10(2))


def _rounded(value: Fraction, digits: int, rounding: str) -> Decimal:
    with localcontext() as context:
        context.prec, context.rounding = digits, rounding
        quotient = Decimal(value.numerator) / Decimal(value.denominator)
        if rounding == ROUND_CEILING:
            return quotient
        return quotient.quantize(Decimal(1).scaleb(quotient.adjusted() - digits + 1))
