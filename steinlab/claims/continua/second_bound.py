"""The second evaluator of the perturbation bound: integrals of balls by the midpoint rule."""

from __future__ import annotations

from functools import partial
from typing import Any

from analytic.certified.series import (
    Ball,
    integral,
    mean_value,
    number,
    pi,
    squared,
    tanh,
)
from steinlab.claims.continua import second_gram

CELLS, REACH = 96, 7
EDGES = [REACH * (2 * j / CELLS - 1) for j in range(CELLS + 1)]


def bound(separation: Ball, weight: Ball, shift: Ball, threshold: Ball) -> Ball | tuple[Ball, Ball]:
    """``tau^2 - cos^2`` of the angle between ``e = x - D_p`` and ``A = D_p - D_q``.

    ``tau = 1`` asks only whether they are multiples of each other, which
    :mod:`steinlab.claims.continua.second_gram` rules out.
    Beyond the cells ``P = P(|z| > 7) < 2.6e-12``, ``E[z^2] < 1.4e-10``, ``|e + A| <= |z| + 2 mu``
    and ``|A| <= delta + 2 mu``; what is there may be any number below these, the same on a box.
    """
    if threshold == 1:
        return second_gram.bound(separation, weight, shift)
    most = (separation + shift).upper()
    own = number("1.2e-5") + number("1.7e-6") * most
    gap = number("1.7e-6") * most
    tails = [part.upper().union(-part.upper()) for part in (own * own, own * gap, gap * gap)]
    return mean_value(partial(_value, tails), separation, weight, shift, threshold)


def _value(tails: list[Ball], separation: Any, weight: Any, shift: Any, threshold: Any) -> Any:
    """From ``tanh(eta)(1 - t t')`` for the difference ``t' - t`` of two ``tanh``."""
    mu, bias = separation / 2, (weight / (1 - weight)).log() / 2
    eta = mu * shift + bias
    steep = mu * tanh(eta)

    def about(sign: int) -> Any:
        def terms(z: Any, mu: Any, shift: Any, eta: Any, steep: Any) -> list[Any]:
            theta = (z + mu * sign) * mu
            t = tanh(theta)
            e, a = z + mu * sign - t * mu, (1 - t * tanh(theta + eta)) * steep - shift
            mass = (z * z * number(-0.5)).exp()
            return [mass * e * e, mass * e * a, mass * a * a]

        return integral(terms, EDGES, mu, shift, eta, steep)

    root = (8 * pi()).sqrt()
    sums = zip(about(1), about(-1), tails, strict=True)
    own, cross, gap = ((x + y) / root + tail for x, y, tail in sums)
    power = (own - cross * 2 + gap) * gap
    return (own * gap - squared(cross)) / power + squared(threshold) - 1
