"""The second evaluator: balls of Arb, plain, by other formulas than those that were searched.

Each function takes one ball per parameter and returns a ball around ``f``. Nothing is shared with
:mod:`analytic.certified.intervals` or the statements' own modules but the definitions of the laws.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from analytic.certified.series import Ball, monotone, number, pi, shared, squared, tanh


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


def coefficient_vp_euler(separation: Ball, noise: Ball, ratio: Ball, threshold: Ball) -> Ball:
    """From ``u = (1 - kappa) z - (a - kappa) D`` in ``z = x/alpha``, term by term."""
    m2, n2 = squared(separation) / 4, squared(noise)
    less = (1 - squared(ratio)) / (1 + n2 * squared(ratio))
    kappa, a, root = (1 - less).sqrt(), (1 + n2 * less).sqrt(), (1 + n2).sqrt()
    one, two, three = less / (1 + kappa), n2 * less / (1 + a), a * (1 - ratio)
    q = posterior(separation / noise / 2)
    mu2, big = m2 / n2, three * (root - threshold * three)
    margin = one * (1 - threshold * one)
    steep = two * (n2 / (1 + root) - threshold * two) * mu2
    near = margin + steep - big * q * mu2
    far = margin + (threshold * one * (one + 2 * two) - root * one - two) * mu2
    margin = shared(near, far + big * (1 - q) * mu2)
    power = one * one + (two * two - three * three * q) * mu2
    other = one * one + (three * three * (1 - q) - one * (one + 2 * two)) * mu2
    return _quotient(margin, shared(power, other))


def _quotient(margin: Ball, power: Ball) -> Ball:
    """Divide by a number > 0 whose ball may reach below."""
    if not power > 0:
        power = power.upper().union(number(0))
        return (
            number(math.nan)
            if margin.contains(0)
            else margin / power.upper() * number(1).union(number(2) ** 900)
        )
    return margin / power


def posterior(mu: Ball) -> Ball:
    """``Q = 1 - E tanh(mu Y)``, ``Y ~ N(mu, 1)``: falls in ``mu >= 0``, so its ends are enough."""
    low, high = (_one_minus_tanh(end) for end in (mu.lower().max(number(0)), mu.upper()))
    return low.union(high)


def _one_minus_tanh(mu: Ball) -> Ball:
    """Trapezoid rule in ``z = Y - mu``: ``|1 - tanh| <= 2/cos(mu a)`` within ``|Im z| < a``."""
    a = min(1.5 / max(float(mu), 1e-9), 2.0)
    h, total = a * math.pi / 14, number(0)
    count = math.ceil(8.5 / h)
    for j in range(-count, count + 1):
        z = number(j * h)
        total += (-z * z / 2).exp() / (1 + (2 * mu * (mu + z)).exp())
    slip = number(4 * math.exp(a * a / 2 - 28) / 0.07 * 1.01 + 4e-17)
    return total * h * 2 / (2 * number(math.pi)).sqrt() + slip.union(-slip)


CELLS = 64


def coefficient_edm_heun(separation: Ball, ratio: Ball, threshold: Ball) -> Ball:
    """From the residual ``v = e - g/(2k)``: ``E[v e]`` and ``E[v^2]`` less ``E[e^2]``."""
    mu = separation / 2
    cross, own = _folded_far(mu, ratio) if mu > 6 else _folded(mu, ratio)
    power = 1 - squared(mu) * posterior(mu)
    return (power + cross) / ((1 - ratio) * (power + own)) - threshold


def _folded_far(mu: Ball, k: Ball) -> list[Ball]:
    """``0 <= g <= 2 mu exp(-2 mu y)``, so ``E[g^2] <= 8 mu exp(-mu^2/2)/(3 sqrt(2 pi))``: falls."""
    low = mu.lower()
    fold = (low * 8 / 3 / (2 * pi()).sqrt() * (-low * low / 2).exp()).upper()
    cross = (fold.sqrt() / (2 * k)).upper()
    own = (fold / (4 * k * k)).upper() + 2 * cross
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
        curve = series.coeffs()[2] if len(series.coeffs()) > 2 else number(0)
        out.append(shared(side * value + side**3 / 12 * curve, side * rough))
    return out


def _fold(mu: Ball, k: Ball, y: Any) -> tuple[Any, Any]:
    """``w (v e - e^2)`` and ``w (v^2 - e^2)`` with ``v - e = -g/(2k)``; balls or series of them."""
    t = tanh(y * mu)
    g = (tanh(y * (mu / k) + t * ((1 / k - 1) / k * mu * mu)) - t) * (mu / (2 * k))
    e, below, above = y - t * mu, y - mu, y + mu
    root = (2 * number(math.pi)).sqrt()
    weight = ((below * below * number(-0.5)).exp() + (above * above * number(-0.5)).exp()) / root
    return weight * (-g * e), weight * (g * g - 2 * (g * e))
