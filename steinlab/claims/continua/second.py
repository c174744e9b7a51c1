"""The second evaluator: balls of Arb, plain, by other formulas than those that were searched.

Each function takes one ball per parameter and returns a ball around ``f``. Nothing is shared with
:mod:`analytic.certified.intervals` or the statements' own modules but the definitions of the laws.
"""

from __future__ import annotations

import math
from typing import Any

Ball = Any


def _arb(value: float | int) -> Ball:
    from flint import arb

    return arb(value)


def _monotone(function: str, x: Ball) -> Ball:
    """Return the image under an increasing function by its ends: wide balls stay tight."""
    return getattr(x.lower(), function)().union(getattr(x.upper(), function)())


def _square(x: Ball) -> Ball:
    low, high = x.abs_lower(), x.abs_upper()
    return (low * low).union(high * high)


def contraction_edm_euler(separation: Ball, step: Ball) -> Ball:
    """``1 - (kappa + beta L_D)``, ``L_D = a^2/4``, ``kappa = exp(-h)``, ``beta = 1 - kappa``."""
    kappa = _monotone("exp", -step)
    return 1 - (kappa + (1 - kappa) * _square(separation) / 4)


def contraction_vp_euler(separation: Ball, step: Ball, noise: Ball) -> Ball:
    """``1 - (kappa + (alpha'/alpha - kappa) a^2/4)``, ``kappa = exp(-h) alpha'/alpha``."""
    shrink, ratio2 = _monotone("exp", -step), _square(noise)
    alphas = ((1 + ratio2) / (1 + ratio2 * _square(shrink))).sqrt()
    spread = _square(separation) / 4
    return 1 - alphas * (spread + shrink * (1 - spread))


def contraction_edm_heun(separation: Ball, step: Ball, weight: Ball) -> Ball:
    """From the corners as polynomials in ``S = a^2/4`` with ``q = exp(h)``, and from a state."""
    q = _monotone("exp", step)
    s, part = _square(separation) / 4, 1 - 1 / q
    second = 1 / q + s * part * (1 + (q * q - q) / 2) + s * s * part * part * q * q * q / 2
    first, low = 1 / q + s * part * q * q / 2, 1 / q + s * part * (1 - q / 2)
    least = (1 - first).min(1 - second).min(1 + low)
    b = (weight / (1 - weight)).log() / 2
    state = _arb(_ridge(float(s.mid()), float(step.mid()), float(b.mid())))
    after = q * state - (q - 1) * (b - q * s * state.tanh())
    j, there = s / _square(state.cosh()), s * q * q / _square(_even_cosh(after))
    on_ridge = 1 / q + part * j + (q - 1) / 2 * (there * (1 / q + part * j) - j)
    return least.lower().union((1 - on_ridge).upper())


def _even_cosh(x: Ball) -> Ball:
    return x.abs_lower().cosh().union(x.abs_upper().cosh())


def _ridge(s: float, step: float, b: float) -> float:
    """Return the state ``y`` that solves ``y + (q - 1) S tanh y = (1 - 1/q) b``: any would do."""
    goal = -math.expm1(-step) * abs(b)
    low, high = 0.0, goal
    for _ in range(60):
        y = (low + high) / 2
        low, high = (low, y) if y + math.expm1(step) * s * math.tanh(y) > goal else (y, high)
    return math.copysign(low, b)


def coefficient_vp_euler(separation: Ball, noise: Ball, ratio: Ball, threshold: Ball) -> Ball:
    """From the three scalars ``M``, ``V`` and ``d = 1`` of a first-order step, in VP."""
    m2, n2 = _square(separation) / 4, _square(noise)
    alpha, after = 1 / (1 + n2).sqrt(), 1 / (1 + n2 * _square(ratio)).sqrt()
    kappa = ratio * after / alpha
    beta = after - kappa * alpha
    v = m2 * _posterior(separation / noise / 2)
    power, slack = alpha * alpha * (m2 + n2), 1 - kappa
    u_x, u_star = slack * power - beta * alpha * m2, slack * alpha * m2 - beta * (m2 - v)
    u_u = slack * slack * power - 2 * slack * beta * alpha * m2 + beta * beta * (m2 - v)
    margin = u_x - u_star - threshold * u_u
    if u_u > 0:
        return margin / u_u
    return margin / _arb(0).union(u_u.upper()) if not margin.contains(0) else _arb(math.nan)


def _posterior(mu: Ball) -> Ball:
    """``1 - E tanh(mu Y)``, ``Y ~ N(mu, 1)``: falls in ``mu``."""
    return _one_minus_tanh(mu.lower().max(_arb(0))).union(_one_minus_tanh(mu.upper()))


def _one_minus_tanh(mu: Ball) -> Ball:
    """Trapezoid rule in ``z``, ``Y = mu + z``: ``|1 - tanh| <= 2/cos(mu a)`` within ``|Im z| < a``."""
    from flint import arb

    a = min(math.pi / 4 / max(float(mu.mid()), 1e-9), 2.0)
    h, total = a * math.pi / 20, arb(0)
    count = math.ceil(9.5 / h)
    for j in range(-count, count + 1):
        z = arb(j * h)
        total += (-z * z / 2).exp() / (1 + (2 * mu * (mu + z)).exp())
    slip = 2 * 2 * (a * a / 2 + 0.5) ** 0 * math.exp(a * a / 2) / 0.7 * math.exp(-40) * 1.01
    value = total * h * 2 / (2 * arb.pi()).sqrt()
    return value + arb(0, slip + 2e-20)


def coefficient_edm_heun(separation: Ball, ratio: Ball, threshold: Ball) -> Ball:
    return _arb(math.nan)
