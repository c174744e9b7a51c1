"""A number with its error: what estimators and distances between samples return."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A number (or one a case) with its error: a standard error, or a bound where stated."""

    value: Any
    error: Any


def as_json(measured: Estimate | None) -> dict[str, float | None] | None:
    """Return ``{"value", "error"}``, null where a number is not finite: nothing is known then.

    Examples
    --------
    >>> as_json(Estimate(0.5, math.inf))
    {'value': 0.5, 'error': None}
    """
    if measured is None:
        return None
    return {"value": finite_or_none(measured.value), "error": finite_or_none(measured.error)}


def finite_or_none(value: float) -> float | None:
    """Return a number, or None, JSON's null, where it is not finite."""
    return float(value) if math.isfinite(value) else None


def significant(value: float, error: float) -> str:
    """Return ``value`` with the digits that its error leaves, one more, 15 at most.

    Examples
    --------
    >>> significant(2.0, 1e-9), significant(-0.123456, 0.002)
    ('2', '-0.1235')
    """
    if not (error > 0 and value) or not math.isfinite(value / error):
        return f"{value:.15g}"
    digits = math.floor(math.log10(abs(value))) - math.floor(math.log10(error)) + 2
    return f"{value:.{min(max(digits, 1), 15)}g}"


def plus_minus(value: float, error: float, digits: int = 2) -> str:
    """Return ``value +- error`` with the error to two digits and the value to the same place.

    Examples
    --------
    >>> plus_minus(0.123456, 0.0021), plus_minus(2.0, 0.0), plus_minus(12345.6, 210.0)
    ('0.1235 +- 0.0021', '2', '12350 +- 210')
    """
    if not 0 < error < math.inf:
        return f"{value:.4g}"
    exponent = int(f"{error:e}".split("e")[1])
    if exponent < -9 or exponent > 6 or abs(value) > 1e9:
        return f"{value:.3g} +- {error:.1e}"
    places = digits - 1 - exponent
    return f"{round(value, places):.{max(places, 0)}f} +- {round(error, places):.{max(places, 0)}f}"
