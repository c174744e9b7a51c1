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


def richardson(gap: Any, order: int) -> Any:
    """Return the error of the finer of two runs, of which one takes steps twice as long.

    An error ``c h^order`` leaves ``gap = (2^order - 1) c h^order`` between them, ``h`` the finer's.
    """
    return gap / (2**order - 1)


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
