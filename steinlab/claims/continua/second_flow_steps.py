"""The second evaluator of steps against the exact flow: balls, with ``E[u e]`` by Stein's identity.

States end at ``z = m + k zeta`` (the others mirror them) and began at ``X``, so that

    N(X - m) + N(X + m) = N(zeta) + N(zeta + 2 m/k).

``x - D = e`` is minus the score, so ``E[u e] = 1 - E[Phi']``, and ``E[Phi'] = int p_1(X) dz`` with
``p_1(x) = phi(x - m) + phi(x + m)``, over ``z >= 0``: where few states are, it is steep.
"""

from __future__ import annotations

import math
from typing import Any

from analytic.certified.series import (
    Ball,
    coefficient,
    integral,
    is_series,
    mean_value,
    number,
    pi,
    squared,
    tanh,
)

REACH, GAP_CELLS, CELLS = 6, 16, 160
ZETA = [REACH * (2 * j / CELLS - 1) for j in range(CELLS + 1)]
WHOLE = [j / CELLS for j in range(CELLS + 1)]
GAP = [j / GAP_CELLS for j in range(GAP_CELLS + 1)]


def clip_neutral(separation: Ball, ratio: Ball, threshold: Ball) -> Ball:
    """``E[u e] / E[u^2] - tau``."""
    tail = _tail(separation)

    def value(separation: Any, ratio: Any, threshold: Any) -> Any:
        slope, power, _ = _means(separation, ratio, tail)
        return (1 - slope) / power - threshold

    return mean_value(value, separation, ratio, threshold)


def moment_exact(separation: Ball, ratio: Ball) -> Ball:
    """``(1 - k)(1 + gamma) E[e^2] - 2 E[u e]``."""
    tail = _tail(separation)

    def value(separation: Any, ratio: Any) -> Any:
        slope, _, own = _means(separation, ratio, tail)
        k2 = squared(ratio)
        gamma = (1 + ratio) / (1 + (1 - own * (1 - k2)).sqrt())
        return own * (1 - ratio) * (1 + gamma) - 2 * (1 - slope)

    return mean_value(value, separation, ratio)


def _tail(separation: Ball) -> Ball:
    """Beyond the cells ``P < 2e-9``, ``E[z^2] < 7.6e-8``; integrands below ``(|z| + 2m + 1)^2``."""
    most = (separation.upper() + 1) * number("4.5e-5") + number("2.8e-4")
    return (most * most).union(-most * most)


def _means(separation: Any, k: Any, tail: Ball) -> list[Any]:
    """``E[Phi']``, ``E[u^2]`` and ``E[e^2]``.

    Where ``m > 6 k``, over ``zeta``, and ``E[Phi']`` over the gap between the modes too; else over
    ``z >= 0`` as parts of ``m + 6 k``, with both modes' states.
    """
    m = separation / 2
    apart = coefficient(m, 0).mid() > REACH * coefficient(k, 0).mid()

    def mean(zeta: Any, side: Any, m: Any, k: Any) -> list[Any]:
        other = zeta + m * 2 / k
        x = _start(zeta, other, m)
        mass = _bump(zeta) if apart else _bump(zeta) + _bump(other)
        u, e, slope = x - m - k * zeta, x - tanh(m * x) * m, _bump(x - m) + _bump(x + m)
        return [side * k * slope, side * mass * u * u, side * mass * e * e]

    def part(share: Any, low: Any, high: Any, m: Any, k: Any) -> list[Any]:
        return mean(low + share * (high - low), high - low, m, k)

    def here(zeta: Any, m: Any, k: Any) -> list[Any]:
        return mean(zeta, 1, m, k)

    origin = -m / k
    if not apart:
        found = integral(part, WHOLE, origin, number(REACH), m, k)
    else:
        found = integral(here, ZETA, m, k)
        found[0] += integral(part, GAP, origin, number(-REACH), m, k)[0]
    return [one + tail for one in found]


def _start(zeta: Any, other: Any, m: Any) -> Any:
    """Enclose ``X``: by Newton's step from a guess, then one per order of a series."""
    at = [coefficient(part, 0) for part in (zeta, other, m)]
    ball = _solved(*at)
    if not any(map(is_series, (zeta, other, m))):
        return ball
    from flint import arb_series

    x: Any = arb_series([ball], prec=3)
    steep = _bump(ball - at[2]) + _bump(ball + at[2])
    for order in (1, 2):
        off = _normal(x - m) + _normal(x + m) - _normal(zeta) - _normal(other)
        known = [coefficient(x, i) for i in range(order)]
        x = arb_series([*known, coefficient(x, order) - coefficient(off, order) / steep], prec=3)
    return x


def _solved(zeta: Ball, other: Ball, m: Ball) -> Ball:
    """Enclose ``X``, which rises with ``zeta``: both sides as tails, at both ends of ``m``."""
    ends = []
    for first, last, away in (
        (zeta.lower(), other.lower(), -1),
        (zeta.upper(), other.upper(), 1),
    ):
        right, modes = _rest(first) + _rest(last), (m.lower(), m.upper())
        near = max(away * _guess(float(mode), float(right)) for mode in modes)
        for slip in (1e-9, 1e-6, 1e-3, math.inf):
            x = number(away * (near + slip))
            left = [_rest(x - mode) + _rest(x + mode) for mode in modes]
            if all(tail < right if away > 0 else tail > right for tail in left):
                break
        ends.append(x)
    return ends[0].union(ends[1])


def _guess(m: float, tail: float) -> float:
    low, high = -abs(m) - 9, abs(m) + 9
    for _ in range(50):
        x = 0.5 * (low + high)
        found = 0.5 * (math.erfc((x - m) / ROOT) + math.erfc((x + m) / ROOT))
        low, high = (x, high) if found > tail else (low, x)
    return low


ROOT = math.sqrt(2)


def _rest(x: Ball) -> Ball:
    return (x / number(2).sqrt()).erfc() / 2


def _normal(x: Any) -> Any:
    """Return the normal distribution function of a ball or a series."""
    root = number(2).sqrt()
    if is_series(x):
        return (-x / root).erfc() / 2
    return (-(x.lower()) / root).erfc().union((-(x.upper()) / root).erfc()) / 2


def _bump(x: Any) -> Any:
    """Return the normal density of a ball or a series."""
    return (squared(x) * number(-0.5)).exp() / (2 * pi()).sqrt()
