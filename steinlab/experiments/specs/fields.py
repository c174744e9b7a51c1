"""Reading JSON field by field; each failure names the field by its path.

Numbers are kept as exact fractions of what was written: ``0.1`` is 1/10, ``"12/13"`` is 12/13.
"""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, TypeVar

from steinlab.errors import InputError, quote, suggestion

T = TypeVar("T")

Level = tuple[Fraction, Fraction]
"""``(alpha, sigma)``, exact."""

MAX_EVALUATIONS, MAX_SAMPLES = 10_000, 1_000_000
"""How large a comparison, or a run, may be."""

SMALLEST, LARGEST = Fraction(1, 10**100), Fraction(10**100)
"""Magnitudes of numbers other than 0: their squares and products stay in double precision."""


_FRACTION = re.compile(r"\s*([+-]?\d{1,400})\s*/\s*(\d{1,400})\s*")
_NUMBER = 'a number or a fraction such as "12/13"'


def at(path: str, key: str) -> str:
    """Return the path of a key: ``data.weights``, or ``weights`` at the top."""
    return f"{path}.{key}" if path else key


def mapping(
    obj: Any, path: str, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, Any]:
    """Return ``obj`` if it is an object with exactly the known keys.

    Raises
    ------
    InputError
        For another type, a missing key or an unknown one (naming the nearest).
    """
    name = path or "SPEC"
    if not isinstance(obj, dict):
        raise InputError(f"{name} must be an object, got {quote(obj)}")
    known = [*required, *optional]
    for key in obj:
        if key not in known:
            hint = suggestion(key, known)
            raise InputError(f"{hint}{name} must hold only {', '.join(known)}, got {quote(key)}")
    for key in required:
        if key not in obj:
            raise InputError(f"{at(path, key)} is missing: {name} must hold {', '.join(required)}")
    return obj


def items(obj: Any, path: str) -> list[Any]:
    """Return ``obj`` if it is a list with at least one entry."""
    if not isinstance(obj, list | tuple) or not obj:
        raise InputError(f"{path} must be a list with at least one entry, got {quote(obj)}")
    return list(obj)


def each(obj: Any, path: str, read: Callable[[Any, str], T]) -> tuple[T, ...]:
    """Return what ``read`` makes of every entry of a list and of its path."""
    return tuple(read(entry, f"{path}[{i}]") for i, entry in enumerate(items(obj, path)))


def text(obj: Any, path: str) -> str:
    """Return ``obj`` if it is a non-empty string."""
    if not isinstance(obj, str) or not obj:
        raise InputError(f"{path} must be a string, got {quote(obj)}")
    return obj


def integer(obj: Any, path: str, at_least: int, at_most: int) -> int:
    """Return ``obj`` if it is a whole number within the limits."""
    whole = isinstance(obj, int) and not isinstance(obj, bool)
    if not whole or not at_least <= obj <= at_most:
        raise InputError(
            f"{path} must be a whole number from {at_least} to {at_most}, got {quote(obj)}"
        )
    return int(obj)


def number(obj: Any, path: str) -> Fraction:
    """Return the exact value of a JSON number or of a string such as ``"12/13"``.

    Raises
    ------
    InputError
        Unless it is one, and 0 or within :data:`SMALLEST` to :data:`LARGEST`.

    Examples
    --------
    >>> number(0.1, "x"), number("12/13", "x"), number("1e-3", "x")
    (Fraction(1, 10), Fraction(12, 13), Fraction(1, 1000))
    """
    if isinstance(obj, bool) or not isinstance(obj, int | float | str | Decimal | Fraction):
        raise InputError(f"{path} must be {_NUMBER}, got {quote(obj)}")
    written = _FRACTION.fullmatch(obj) if isinstance(obj, str) else None
    if isinstance(obj, int | Fraction):
        value = Fraction(obj)
    elif written:
        value = _ratio(int(written[1]), int(written[2]), path)
    else:
        value = _decimal(obj, path)
    if value and not SMALLEST <= abs(value) <= LARGEST:
        raise _out_of_range(obj, path)
    return value


def _ratio(numerator: int, denominator: int, path: str) -> Fraction:
    if denominator == 0:
        raise InputError(f"{path} must have a denominator other than 0, got {numerator}/0")
    return Fraction(numerator, denominator)


def _decimal(obj: float | str | Decimal, path: str) -> Fraction:
    try:
        value = Decimal(repr(obj)) if isinstance(obj, float) else Decimal(obj)
    except InvalidOperation:
        raise InputError(f"{path} must be {_NUMBER}, got {quote(obj)}") from None
    if not value.is_finite():
        raise InputError(f"{path} must be finite, got {quote(obj)}")
    if value and abs(value.adjusted()) > 400:  # as a fraction it could fill the memory
        raise _out_of_range(obj, path)
    return Fraction(value)


def _out_of_range(obj: Any, path: str) -> InputError:
    return InputError(f"{path} must be 0 or of magnitude 1e-100 to 1e100, got {quote(obj)}")


def level(obj: Any, path: str) -> Level:
    """Return ``[alpha, sigma]`` with ``alpha`` in [0, 1], ``sigma >= 0``, not both zero."""
    if not isinstance(obj, list | tuple) or len(obj) != 2:
        raise InputError(f"{path} must be a list [alpha, sigma], got {quote(obj)}")
    alpha, sigma = number(obj[0], f"{path}: alpha"), number(obj[1], f"{path}: sigma")
    if not 0 <= alpha <= 1:
        raise InputError(f"{path}: alpha must be in [0, 1], got {quote(alpha)}")
    if sigma < 0:
        raise InputError(f"{path}: sigma must be >= 0, got {quote(sigma)}")
    if alpha == sigma == 0:
        raise InputError(f"{path}: sigma must be > 0 where alpha is 0, got 0")
    return alpha, sigma
