r"""The posterior variance of two equal modes, and the moments that its derivatives are made of.

For two point masses at ``+-m`` seen through the noise ``n``, ``mu = m/n`` and ``Y ~ N(mu, 1)``,

    V = m^2 Q(mu),   Q = E_1,   E_n(mu) = E[sech^{2n}(mu Y)].

Weighted by ``exp(-mu^2/2) cosh(mu y) phi(y)``, the even part of the density of ``Y``, this is

    E_n = exp(-mu^2/2) int phi(y) sech(mu y)^{2n-1} dy,

so every ``E_n`` falls in ``mu >= 0`` and lies between 0 and ``exp(-mu^2/2)``. Under ``E`` an even
function times ``tanh`` counts as much as times ``tanh^2``. With ``v = mu^2``, ``mu Y ~ N(v, v)``,
whose means change with ``v`` by ``E[g' + g''/2]``; for ``g = sech^{2n}`` that is

    dE_n/dv = a_n E_n - b_n E_{n+1},   a_n = 2 n (n - 1),   b_n = n (2 n - 1),

of which ``Q' = -2 mu E_2`` is the case ``n = 1`` (Guo, Shamai and Verdu 2005). Once more:

    E_n'' = 2 (a_n E_n - b_n E_{n+1})
            + 4 v (a_n^2 E_n - b_n (a_n + a_{n+1}) E_{n+1} + b_n b_{n+1} E_{n+2}).

The sums are the trapezoid rule, which errs by at most ``2 M / (exp(2 pi a / h) - 1)`` for an
integrand analytic within ``|Im y| < a`` whose integral of moduli stays below ``M`` there (Trefethen
and Weideman 2014, theorem 5.1); ``|cosh(x + i w)| >= cos(w) cosh(x)`` gives ``M``.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import overload

import numpy as np

from analytic.certified.affine import SLIP, Form, Jet, bounds, chained, square

NODES, DECAY = 184, 30.0
"""Nodes on either side of 0, and the exponent ``2 pi a / h`` of the trapezoid rule."""

ROUNDING = 1e-12
"""Relative rounding of a sum of :data:`NODES` positive terms whose exponents stay below 100."""

ORDERS = 4
"""``E_1`` to ``E_4``: two derivatives of ``E_2`` need no more."""

STEP, LAST, CHUNK = 2.0**-11, 9.0, 1024
"""Distance of the numbers ``mu`` whose moments are tabulated, the last, and how many at a time."""

Bounds = list[tuple[np.ndarray, np.ndarray]]


def moments(mu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``E_1`` to ``E_4`` at numbers ``(B,)``, and their errors, ``(4, B)`` each."""
    return _moments(mu.tobytes())


@lru_cache(maxsize=2)
def _moments(given: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return both; a value, its slope and its middle ask for the same numbers."""
    mu = np.frombuffer(given)
    a = np.minimum(np.pi / 4 / np.maximum(mu, 1e-9), 2.0)
    h = 2 * np.pi * a / DECAY
    y = h[:, None] * np.arange(NODES + 1)
    decay = np.exp(-mu[:, None] * y)
    sech = 2 * decay / (1 + decay * decay)
    edge = y[:, -1]
    tail = np.minimum(np.exp(-0.5 * edge**2), 2 * decay[:, -1] / (mu + 1e-9))
    scale = np.exp(-0.5 * mu * mu)
    term, values, errors = np.exp(-0.5 * y * y) * sech, [], []
    for order in range(1, ORDERS + 1):
        total = h * (term[:, 0] + 2 * term[:, 1:].sum(-1)) / np.sqrt(2 * np.pi)
        moduli = np.exp(0.5 * a * a) / np.cos(mu * a) ** (2 * order - 1)
        values.append(total * scale)
        errors.append((ROUNDING * total + 2 * tail + 2.0001 * moduli * np.exp(-DECAY)) * scale)
        term = term * sech * sech
    return np.array(values), np.array(errors)


@cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    """Return numbers below and above the moments at the multiples of :data:`STEP`."""
    mu = np.arange(0, LAST, STEP)
    found = [moments(mu[i : i + CHUNK]) for i in range(0, len(mu), CHUNK)]
    value, error = (np.concatenate(part, axis=1) for part in zip(*found, strict=True))
    return np.append(value - error, np.zeros((ORDERS, 1)), axis=1), value + error


def between(low: np.ndarray, high: np.ndarray) -> Bounds:
    """Return bounds of the moments over ``0 <= low <= mu <= high``: their ends, for they fall."""
    under, over = _table()
    last = over.shape[1] - 1
    first, beyond = (
        np.where(at > 0, np.minimum(at, last), 0).astype(int)
        for at in (low / STEP, np.where(np.isnan(high), last, high / STEP))
    )
    most = np.exp(-0.5 * low * low) * (1 + SLIP)
    return [(a[beyond + 1], np.fmin(b[first], most)) for a, b in zip(under, over, strict=True)]


def _weighted(*parts: tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, ...]:
    """Bound a sum of numbers in bounds by weights of one sign each, ``(B,)``."""
    low = high = np.zeros_like(parts[0][1][0])
    for weight, (least, most) in parts:
        low = low + np.where(weight > 0, weight * least, weight * most)
        high = high + np.where(weight > 0, weight * most, weight * least)
    return low, high


def _curve(order: int, low: np.ndarray, high: np.ndarray, found: Bounds) -> tuple[np.ndarray, ...]:
    """Bound ``E_n''``: both sums are bounded by themselves, the second times ``4 v``."""
    (a, b), (c, d) = ((2 * n * (n - 1), n * (2 * n - 1)) for n in (order, order + 1))
    one, two, three = found[order - 1 : order + 2]
    size = np.asarray(1.0)
    first = _weighted((2 * a * size, one), (-2 * b * size, two))
    last = _weighted((a * a * size, one), (-b * (a + c) * size, two), (b * d * size, three))
    small, large = 4 * low * low, 4 * high * high
    under = first[0] + np.where(last[0] > 0, small, large) * last[0]
    over = first[1] + np.where(last[1] > 0, large, small) * last[1]
    slip = SLIP * (np.abs(under) + np.abs(over) + 100 * (1 + large) * one[1])
    return under - slip, over + slip


def moment(mu: Form, order: int) -> Form:
    """Enclose ``E_n`` of ``mu >= 0``, ``n`` 1 or 2, by its tangent, its curvature and its ends."""
    centre, r = np.abs(mu.centre), mu.radius
    low, high = (np.maximum(end, 0) for end in mu.range)
    found = between(low, high)
    under, over = _curve(
        order, *(hull := (np.minimum(low, centre), np.maximum(high, centre))), between(*hull)
    )
    values, errors = moments(centre)
    a, b = 2 * order * (order - 1), order * (2 * order - 1)
    value, error = values[order - 1], errors[order - 1]
    steep = 2 * centre * (a * value - b * values[order])
    slip = 2 * centre * (a * error + b * errors[order])
    bend, most = 0.25 * r * r * np.minimum(under, 0), 0.25 * r * r * np.maximum(over, 0)
    off = most - bend + np.abs(steep) * mu.rest + slip * r + error
    off = off + SLIP * (value + np.abs(steep) * r + off) + 1e-300
    ends = found[order - 1]
    half = 0.5 * (ends[1] - ends[0]) + SLIP * ends[1]
    flat = ~(half >= off)
    parts = [np.where(flat, 0.0, steep * part) for part in mu.parts]
    middle = np.where(flat, 0.5 * (ends[0] + ends[1]), value + bend + most)
    return Form(middle, parts, np.where(flat, half, off), ends)


@overload
def posterior(mu: Form) -> Form: ...
@overload
def posterior(mu: Jet) -> Jet: ...
def posterior(mu: Form | Jet) -> Form | Jet:
    """Enclose ``Q`` of ``mu >= 0``."""
    if isinstance(mu, Jet):
        return chained(mu, posterior(mu.value), -2 * mu.value * moment(mu.value, 2))
    return moment(mu, 1)


@overload
def spread(mu: Form) -> Form: ...
@overload
def spread(mu: Jet) -> Jet: ...
def spread(mu: Form | Jet) -> Form | Jet:
    """Enclose ``mu^2 Q``, at most ``mu^2 exp(-mu^2/2)``, whose slope is ``2 mu (Q - mu^2 E_2)``."""
    if isinstance(mu, Jet):
        one = mu.value
        return chained(mu, spread(one), 2 * one * (moment(one, 1) - square(one) * moment(one, 2)))
    q = moment(mu, 1)
    found, (under, over) = square(mu) * q, bounds(q)
    low, high = (np.maximum(end, 0) for end in mu.range)
    top = np.clip(np.sqrt(2), low, high)
    least = low * low * under * (1 - SLIP)
    most = np.fmin(high * high * over, top * top * np.exp(-0.5 * top * top)) * (1 + SLIP)
    if found.ends is not None:
        least, most = np.fmax(least, found.ends[0]), np.fmin(most, found.ends[1])
    return Form(found.centre, found.parts, found.rest, (least, most))
