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


def geometric_mean(
    logs: Any, errors: float | None = None, *, axis: int = -1
) -> tuple[Any, Any, Any]:
    """Return a geometric mean and the ends of its interval, from logarithms along an axis.

    The interval is ``exp(mean -+ k std / sqrt(n))``, ``k`` the number of ``errors``; by default
    Student's at 95 %.

    Examples
    --------
    >>> import numpy as np
    >>> [round(float(value), 3) for value in geometric_mean(np.log([1.0, 2.0, 4.0]), errors=2.0)]
    [2.0, 0.898, 4.453]
    """
    import numpy as np
    from scipy.special import stdtrit

    n = logs.shape[axis]
    half = (stdtrit(n - 1, 0.975) if errors is None else errors) * logs.std(axis=axis, ddof=1)
    middle, half = logs.mean(axis=axis), half / np.sqrt(n)
    return np.exp(middle), np.exp(middle - half), np.exp(middle + half)


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
