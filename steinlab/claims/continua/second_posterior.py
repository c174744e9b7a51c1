r"""The posterior variance of two equal modes for second evaluators.

``Q = E[sech^2(mu Y)]`` and ``R = E[sech^4(mu Y)]``, ``Y ~ N(mu, 1)``. Weighted by
``exp(-mu^2/2) cosh(mu y) phi(y)``, the even part of that density, they are means of ``sech`` and
``sech^3``: so both fall in ``mu >= 0``, and lie between 0 and ``exp(-mu^2/2)``. ``Q' = -2 mu R``
(Guo, Shamai and Verdu 2005).

The sums are the trapezoid rule in ``z = Y - mu`` with ``t = exp(2 mu Y)``, ``sech^2 = 4t/(1+t)^2``,
of step ``h = 2^-j <= 2 pi a/26``. Within ``|Im z| < a``, ``mu a <= 1.2``, the integrand is at most
``exp(a^2/2) phi(Re z)/cos(1.2)^4``, so the rule errs by at most ``2 exp(a^2/2)/cos(1.2)^4`` over
``exp(2 pi a/h) - 1`` (Trefethen and Weideman 2014, theorem 5.1), and by ``P(|z| > 7) < 3e-12`` for
the nodes that are left out.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import Any

import numpy as np

from analytic.certified.balls import precision
from analytic.certified.intervals import Intervals
from analytic.certified.series import (
    Ball,
    coefficient,
    is_series,
    number,
    pi,
    series_of,
)

DECAY, REACH, FAR = 26.0, 7.0, 6.0
POINT = 1e-14
"""Radius below which a ball is summed as it is."""


STEP = 2.0**-10
"""Distance of the numbers that are summed for arrays."""

BITS = 64
"""Precision of those sums."""


def posterior(mu: Any) -> Any:
    """Return ``Q`` of a ball, of a series to first order, or of intervals, ``mu >= 0``."""
    if isinstance(mu, Intervals):
        return _between(mu)
    if not is_series(mu):
        return _falling(mu)[0]
    middle = coefficient(mu, 0)
    q, r = _falling(middle)
    return series_of(q, -2 * middle * r * coefficient(mu, 1))


def _falling(mu: Ball) -> tuple[Ball, Ball]:
    """Return ``Q`` and ``R``: of a point by their sums, of a ball by its ends."""
    if mu > FAR:
        most = number(0).union((-(mu.lower() ** 2) / 2).exp())
        return most, most
    if mu.rad() < POINT:
        return _sums(mu)
    ends = [_end(*map(int, end.man_exp())) for end in (mu.lower().max(number(0)), mu.upper())]
    return ends[0][0].union(ends[1][0]), ends[0][1].union(ends[1][1])


@lru_cache(maxsize=64)
def _end(mantissa: int, exponent: int) -> tuple[Ball, Ball]:
    from flint import arb

    return _falling(arb((mantissa, exponent)))


def _sums(mu: Ball) -> tuple[Ball, Ball]:
    """Sum both over the nodes of a step ``2^-j``, whose weights are known."""
    a = min(1.2 / max(float(mu.upper()), 1e-9), 2.0)
    halvings = max(math.ceil(math.log2(DECAY / (2 * math.pi * a))), 0)
    weights = _weights(halvings)
    t = (2 * mu * (mu - (len(weights) // 2) * number(2) ** -halvings)).exp()
    growth = (2 * mu * number(2) ** -halvings).exp()
    q = r = number(0)
    for weight in weights:
        d = 1 / (1 + t)
        s = t * d * d
        part = weight * s
        q, r, t = q + part, r + part * s, t * growth
    missed = math.exp(a * a / 2 - 2 * math.pi * a * 2**halvings) / math.cos(1.2) ** 4
    slip = number(2.01 * missed + 1e-11)
    off = slip.union(-slip)
    return 4 * q + off, 16 * r + off


@lru_cache(maxsize=16)
def _weights(halvings: int) -> list[Ball]:
    """Return ``h phi(j h)``, ``h = 2^-halvings``, for ``|j h| <= REACH``."""
    count, h = math.ceil(REACH * 2**halvings), number(2) ** -halvings
    scale = h / (2 * pi()).sqrt()
    return [scale * (-((j * h) ** 2) / 2).exp() for j in range(-count, count + 1)]


@cache
def _table() -> np.ndarray:
    """Return bounds ``(2, 2, J)`` of ``Q`` and of ``R`` at the multiples of :data:`STEP`, and 0."""
    with precision(BITS):
        found = [_sums(number(mu)) for mu in np.arange(0, FAR + STEP / 2, STEP).tolist()]
    ends = [[[*map(_under, row)], [-_under(-x) for x in row]] for row in zip(*found, strict=True)]
    return np.concatenate([np.array(ends), np.zeros((2, 2, 1))], axis=2)


def _under(x: Ball) -> float:
    return math.nextafter(float(x.lower()), -math.inf)


def _between(mu: Intervals) -> Intervals:
    """Return ``Q`` from the table: both fall, and ``Q(b) = Q(a) - int_a^b 2 s R(s) ds``.

    The last cell begins at :data:`FAR` and does not end.
    """
    (q, q_most), (r, r_most) = _table()
    low, high = np.where(mu.low >= 0, mu.low, 0.0), np.where(mu.high >= 0, mu.high, np.inf)
    first, last = ((np.minimum(end, FAR) / STEP).astype(int) for end in (low, high))

    def at(end: np.ndarray, j: np.ndarray) -> Intervals:
        """Return ``Q`` at a number in the cell ``j``."""
        steep = Intervals(r[j + 1], r_most[j])
        a, b = Intervals(j * STEP, j * STEP), Intervals(end, end)
        return Intervals(q[j], q_most[j]) - (b.squared() - a.squared()) * steep

    found = Intervals(at(high, last).low, at(low, first).high)
    found = found.shared(Intervals(q[last + 1], q_most[first]))
    if mu.slope is not None:
        found.slope = mu.slope * (-2.0 * mu.plain * Intervals(r[last + 1], r_most[first]))
    return found
