"""The second evaluator: balls of Arb, plain, by other formulas than those that were searched.

Each function takes one ball per parameter and returns a ball around ``f``. Nothing is shared with
:mod:`analytic.certified.intervals` or the statements' own modules but the definitions of the laws.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from analytic.certified.series import Ball, coefficient, monotone, number, pi, shared, squared, tanh
from steinlab.claims.continua.second_posterior import posterior


def contraction_edm_euler(separation: Ball, step: Ball) -> Ball:
    """``(1 - kappa)(1 - L_D)``, ``L_D = a^2/4``, ``kappa = exp(-h)``: nothing cancels."""
    return -monotone("expm1", -step) * (1 - squared(separation) / 4)


def contraction_vp_euler(separation: Ball, step: Ball, noise: Ball) -> Ball:
    """``1 - (kappa + (A - kappa) L)``, ``kappa = q A``, ``A = alpha'/alpha``, ``q = exp(-h)``.

    As ``(1 - q)(A (1 - L) - N (1 + q) / ((1 + N q^2)(1 + A)))``, ``N = (sigma/alpha)^2``: what
    cancels at short steps stands in front.
    """
    q, n = monotone("exp", -step), squared(noise)
    after = 1 + n * squared(q)
    a = ((1 + n) / after).sqrt()
    rest = a * (1 - squared(separation) / 4) - n * (1 + q) / (after * (1 + a))
    return -monotone("expm1", -step) * rest


def contraction_edm_heun(separation: Ball, step: Ball, weight: Ball) -> Ball:
    """From the corners as polynomials in ``S = a^2/4`` with ``q = exp(h)`` from the ridge."""
    q = monotone("exp", step)
    s, part = squared(separation) / 4, 1 - 1 / q
    second = 1 / q + s * part * (1 + (q * q - q) / 2) + s * s * part * part * q * q * q / 2
    first, low = 1 / q + s * part * q * q / 2, 1 / q + s * part * (1 - q / 2)
    least = (1 - first).min(1 - second).min(1 + low)
    shift = (weight / (1 - weight)).log() / 2
    t = part * shift / (1 + (q - 1) * s)
    j = s - s * number(0).union(squared(t))  # where the Euler step leads to the ridge
    on_ridge = 1 / q + (q - 1) / 2 * s * q + j * (part + (q - 1) / 2 * (s * q * q * part - 1))
    return least.lower().union((1 - on_ridge).upper())


CELLS = 64


def coefficient_edm_heun(separation: Ball, ratio: Ball, threshold: Ball) -> Ball:
    """From the residual ``v = e - g/(2k)``: ``E[v e]`` and ``E[v^2]`` less ``E[e^2]``."""
    mu = separation / 2
    cross, own = _folded_far(mu, ratio) if mu > 6 else _folded(mu, ratio)
    power = 1 - squared(mu) * posterior(mu)
    return (power + cross) / ((1 - ratio) * (power + own)) - threshold


def _folded_far(mu: Ball, k: Ball) -> list[Ball]:
    """Both by ``0 <= g <= 2 mu exp(-2 mu y)`` on ``y >= 0``; the bounds fall with ``mu``.

    ``exp(-2 mu y)`` turns ``phi(y - mu)`` into ``phi(y + mu)``, and ``|e| <= y + mu``, so that
    ``E|g e| <= 4 mu phi(mu)``; alike ``E[g^2] <= 8 mu exp(-mu^2/2)/(3 sqrt(2 pi))``.
    """
    low = mu.lower()
    peak = low * (-low * low / 2).exp() / (2 * pi()).sqrt()
    cross = (2 * peak / k).upper()
    own = (peak * 2 / 3 / (k * k)).upper() + 2 * cross
    return [cross.union(-cross), own.union(-own)]


def _folded(mu: Ball, k: Ball) -> list[Ball]:
    """Both by cells, and what lies beyond the last."""
    top = float(mu.upper()) + 10
    low = float(mu.lower())
    last = min(top, 25 / low if low > 0 else top)
    edges = [last * (j / CELLS) ** 3 for j in range(CELLS + 1)]
    sums = [number(0), number(0)]
    for a, b in itertools.pairwise(edges):
        for i, part in enumerate(_cell(mu, k, number(a), number(b))):
            sums[i] += part
    gap = (number(last) - mu.upper()).max(number(0))
    rest = 4 * (1 + mu.upper()) ** 2 * (-(gap**2) / 4 - 2 * mu.lower() * last).exp()
    rest = (rest / k / k).upper()
    return [part + rest.union(-rest) for part in sums]


def _cell(mu: Ball, k: Ball, a: Ball, b: Ball) -> list[Ball]:
    """``b - a`` times the value at the middle, and ``(b - a)^3/12`` times half the curvature."""
    from flint import arb_series

    middle, side = (a + b) / 2, b - a
    there, plain = _fold(mu, k, middle), _fold(mu, k, a.union(b))
    try:
        around = _fold(mu, k, arb_series([a.union(b), 1], prec=3))
    except ValueError:  # a ball about a divisor reaches 0
        return [side * rough for rough in plain]
    out = []
    for value, series, rough in zip(there, around, plain, strict=True):
        bend = side**3 / 12 * coefficient(series, 2)
        out.append(shared(side * value + bend, side * rough))
    return out


def _fold(mu: Ball, k: Ball, y: Any) -> tuple[Any, Any]:
    """``w (v e - e^2)`` and ``w (v^2 - e^2)`` with ``v - e = -g/(2k)``; balls or series of them."""
    t = tanh(y * mu)
    g = (tanh(y * (mu / k) + t * ((1 / k - 1) / k * mu * mu)) - t) * (mu / (2 * k))
    e, below, above = y - t * mu, y - mu, y + mu
    root = (2 * number(math.pi)).sqrt()
    weight = ((below * below * number(-0.5)).exp() + (above * above * number(-0.5)).exp()) / root
    return weight * (-g * e), weight * (g * g - 2 * (g * e))
