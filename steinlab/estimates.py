"""A number with its error: what estimators and distances between samples return."""

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A number (or one per case) with its error: a standard error, or a bound where stated."""

    value: Any
    error: Any


def richardson(gap: Any, order: float) -> Any:
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


def significant(value: float, error: float) -> str:
    """Return ``value`` with the digits that its error leaves, one more, 15 at most.

    Examples
    --------
    >>> significant(2.0, 1e-9), significant(-0.123456, 0.002)
    ('2', '-0.1235')
    >>> significant(0.5, math.inf), significant(math.nan, 1.0)
    ('0.5', 'nan')
    """
    if not (0 < error < math.inf and value) or not math.isfinite(value / error):
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
    if not 1e-15 * abs(value) < error < math.inf:  # less is rounding
        return f"{value:.4g}"
    exponent = int(f"{error:e}".split("e")[1])
    if exponent < -9 or exponent > 6 or abs(value) > 1e9:
        return f"{value:.3g} +- {error:.1e}"
    places = digits - 1 - exponent
    return f"{round(value, places):.{max(places, 0)}f} +- {round(error, places):.{max(places, 0)}f}"
