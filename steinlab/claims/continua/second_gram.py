r"""The second evaluator of the perturbation bound at its full constant: Lagrange's identity.

    P G - E_q[e A]^2 = E (e A' - e' A)^2 / 2 >= M M' min (e A' - e' A)^2,

``e = x - D_p``, ``A = D_p - D_q``, over two independent states of ``q``, or over those that fall
into two narrow cells of masses ``M`` and ``M'``. One pair of cells proves the bound: it holds
strictly where ``e`` and ``A`` are no multiples of each other. Adding ``A`` to ``e`` changes
nothing, so ``e`` is ``x - D_q`` here. About a mode of sign ``s``, ``x = s mu + delta + z``.
"""

from __future__ import annotations

import itertools
import math

from analytic.certified.series import Ball, monotone, number, pi, squared

MIDDLES = (-3, -2, -1, 0, 1, 2, 3)
HALF = 2.0**-7
"""Middles of the cells about each mode, in noises, and half their width."""


def bound(separation: Ball, weight: Ball, shift: Ball) -> tuple[Ball, Ball]:
    """Return balls around a margin and a power > 0 whose quotient is ``1 - cos^2``.

    They are ``c (P G - E_q[e A]^2)`` and ``c P G``; ``c`` brings the first between 1 and what the
    pair says that says most, its upper bound over its lower. ``P <= 2 E[e_q^2] + 2 G``,
    ``E[e_q^2] <= 1`` and ``|A| <= 2 mu + delta``.
    """
    mu, odds = separation / 2, monotone("log", weight / (1 - weight)) / 2
    eta = mu * shift + odds
    steep, cells = mu * monotone("tanh", eta), []
    for sign in (1, -1):
        for middle in (*map(number, MIDDLES), -sign * mu.mid()):
            z = middle + number(-HALF).union(number(HALF))
            at = mu * (sign * mu + z)
            t = monotone("tanh", at)
            gap = (1 - t * monotone("tanh", at + eta)) * steep - shift
            mass = HALF * (-squared(z) / 2).exp().lower() / (2 * pi()).sqrt()
            cells.append((mass, z + mu * (sign - t), gap))
    best = number(0)
    for (mass, e, a), (other, e1, a1) in itertools.combinations(cells, 2):
        pair = mass * other * squared(e * a1 - e1 * a)
        if pair.lower() > best.lower():
            best = pair
    if not best > 0:
        return number(math.nan), number(math.nan)
    most, least = squared(separation + shift), best.lower()
    margin = number(1).union((best / least).upper())
    return margin, number(0).union((2 * (1 + most) * most / least).upper())
