r"""The second evaluator of VP Euler's coefficient: balls, slopes, and values at corners.

With ``m`` half the separation, ``r = alpha/sigma`` at the start, ``k`` the ratio, ``mu = m r`` and

    A = (1 + r^2)^(1/2),   B = (k^2 + r^2)^(1/2),   C = A + B,   L = B + k A,

so that ``kappa = k A/B`` and ``alpha'/alpha = A/B``, the margin and the power of
:mod:`steinlab.claims.continua.coefficient`, both times ``B^2 / (A r (1 - k)) > 0``, are

    F = T_0 + (m^2/r)(T_1 - T_2 Q) + (1 - tau) P = T_0 - m^2 T_3 + m^2 T_2 (1 - Q)/r + (1 - tau) P,
    T_0 = k (1 + k)/L,   T_1 = (1 + k) k^2 / (C (B + r)),   T_2 = A (B - (1 - k) r),
    T_3 = B + r (1 + k)(B - (2 - k) r)/L,
    A P / ((1 - k) r^2) = G + m^2 ((1 + k)^2/C^2 - A^2 Q)/r^2 = G - m^2 H + m^2 A^2 (1 - Q)/r^2,
    G = (1 + k)^2/L^2,   H = (1 + (1 + k^2 + r^2)/(k + A B)) (1 + k + A C)/C^2.

The first form of each loses nothing where the modes are apart, the last where the noise is large.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analytic.certified import intervals
from analytic.certified.intervals import Intervals
from analytic.certified.series import (
    Ball,
    coefficient,
    cornered,
    is_series,
    series_of,
    shared,
    squared,
)
from steinlab.claims.continua.second_posterior import posterior


def coefficient_vp_euler(
    separation: Ball, noise: Ball, ratio: Ball, threshold: Ball
) -> tuple[Ball, Ball]:
    """Return balls around ``F`` and ``P``."""
    given = separation / 2, (1 / noise.upper()).union(1 / noise.lower()), ratio
    return cornered(_margin, *given, threshold), _power(*given)


def coefficient_vp_euler_on(
    low: np.ndarray, high: np.ndarray, axes: list[int]
) -> tuple[Intervals, Intervals, np.ndarray]:
    """Return the same on boxes ``(B, 4)``, and how much ``F`` may vary along each of ``axes``."""
    rate = 1 / Intervals(low[:, 1], high[:, 1])
    low, high = (
        np.column_stack([end[:, 0] / 2, rates, end[:, 2:]])
        for end, rates in ((low, rate.low), (high, rate.high))
    )
    found, effects = intervals.cornered(_margin, low, high, axes)
    power = _power(*(Intervals(low[:, i], high[:, i]) for i in range(3)))
    return found, power, effects


def _margin(m: Any, r: Any, k: Any, threshold: Any) -> Any:
    q, m2, (a, b, both, last) = posterior(m * r), squared(m), _lengths(r, k)
    t0, t1 = k * (1 + k) / last, (1 + k) * squared(k) / (both * (b + r))
    t2, t3 = a * (b - (1 - k) * r), b + r * (1 + k) * (b - (2 - k) * r) / last
    found = _both(t0 + m2 / r * (t1 - t2 * q), t0 + m2 * (t2 * (1 - q) / r - t3))
    return found if threshold == 1 else found + (1 - threshold) * _power(m, r, k)


def _power(m: Any, r: Any, k: Any) -> Any:
    q, m2, (a, b, both, last) = posterior(m * r), squared(m), _lengths(r, k)
    r2, a2, g = squared(r), squared(a), squared((1 + k) / last)
    h = (1 + (1 + squared(k) + r2) / (k + a * b)) * (1 + k + a * both) / squared(both)
    near = g + m2 / r2 * (squared((1 + k) / both) - a2 * q)
    return (1 - k) * r2 / a * _both(near, g + m2 * (a2 * (1 - q) / r2 - h))


def _lengths(r: Any, k: Any) -> tuple[Any, Any, Any, Any]:
    a, b = (1 + squared(r)).sqrt(), (squared(k) + squared(r)).sqrt()
    return a, b, a + b, b + k * a


def _both(a: Any, b: Any) -> Any:
    """Return what two enclosures of one number or series share."""
    if isinstance(a, Intervals):
        return a.shared(b)
    if not is_series(a):
        return shared(a, b)
    return series_of(*(shared(coefficient(a, i), coefficient(b, i)) for i in (0, 1)))
