"""Second evaluators that are short: plain balls."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import numpy as np

from analytic.certified import intervals
from analytic.certified.intervals import Intervals
from analytic.certified.series import Ball, cornered, integral, number, squared, tanh
from steinlab.claims.continua.second_posterior import posterior

CELLS = 24
EDGES = [j / CELLS for j in range(CELLS + 1)]


def ascent(state: Ball, separation: Ball, length: Ball) -> Ball:
    """``1 - l/2 + l mu^2 int (1 - s)(1 - tanh^2) ds``, by the midpoint rule.

    Where the rule's error hides that the integral is positive, each cell's least ``sech^2`` serves.
    """
    mu = separation / 2
    move = mu * length * (state - mu * tanh(mu * state))

    def terms(s: Any, start: Any, move: Any) -> list[Any]:
        t = tanh(start - s * move)
        return [(1 - s) * (1 - t * t)]

    [bend] = integral(terms, EDGES, mu * state, move)
    least = number(0)
    for start, end in itertools.pairwise(EDGES):
        farthest = (mu * state - number(start).union(number(end)) * move).abs_upper()
        least += (number(end) - start) * (1 - (number(end) + start) / 2) / farthest.cosh() ** 2
    floor = length.lower() * mu.lower().max(number(0)) ** 2 * least
    return 1 - length / 2 + (length * squared(mu) * bend).max(floor.lower())


def conditioning(alpha: Ball, target: Ball, separation: Ball, threshold: Ball) -> tuple[Ball, Ball]:
    """``min((1 + tau) 2 S - N, N - (1 - tau) 2 S)`` over ``2 S``, ``alpha c = N/S``.

    ``N`` adds absolute values: it is this where ``E<u, x>``, ``E div u`` and ``S`` have one sign,
    and then the quotient does not depend on it.
    """
    given = alpha, target, separation
    terms = [cornered(partial(_one_of, i), *given) for i in range(3)]
    sign = 1 if terms[0] > 0 else -1
    if not all(sign * term > 0 for term in terms):
        return number(math.nan), terms[0]
    far, near = (cornered(partial(_beyond, way), *given, threshold) * sign for way in (1, -1))
    return far.min(near), terms[0] * sign


def conditioning_on(
    low: np.ndarray, high: np.ndarray, axes: list[int]
) -> tuple[Intervals, Intervals, np.ndarray]:
    """Return the same on boxes ``(B, 4)``, and how much the margin may vary along ``axes``."""
    moved = [axis for axis in axes if axis < 3] or [0]
    terms = [
        intervals.cornered(partial(_one_of, i), low[:, :3], high[:, :3], moved)[0] for i in range(3)
    ]
    above, below = (
        np.logical_and.reduce(ends)
        for ends in ([one.low > 0 for one in terms], [one.high < 0 for one in terms])
    )
    sign = np.where(above, 1.0, np.where(below, -1.0, np.nan))
    (far, steep), (near, rise) = (
        intervals.cornered(partial(_beyond, way), low, high, axes) for way in (1, -1)
    )
    far, near = (one * Intervals(sign, sign) for one in (far, near))
    margin = Intervals(np.minimum(far.low, near.low), np.minimum(far.high, near.high))
    return margin, terms[0] * Intervals(sign, sign), np.maximum(steep, rise)


def _beyond(way: int, alpha: Any, target: Any, separation: Any, threshold: Any) -> Any:
    by_data, by_noise, total = _terms(alpha, target, separation)
    top = (1 - alpha) * (alpha * by_data + by_noise) + by_noise
    return 2 * threshold * total + way * (2 * total - top)


def _one_of(which: int, alpha: Any, target: Any, separation: Any) -> Any:
    """Return ``2 S``, ``sigma^2 E div u`` or ``E<u, x>``."""
    by_data, by_noise, total = _terms(alpha, target, separation)
    return (2 * total, by_noise, alpha * by_data + by_noise)[which]


def _terms(alpha: Any, target: Any, separation: Any) -> tuple[Any, Any, Any]:
    """With ``u = (1 - kappa) sigma eps + (1 - kappa) alpha x_star - beta D``, term by term.

    ``E<u, x_star>``, ``sigma E<u, eps>`` and ``S = E<u, x - x_star>``.
    """
    m2, noise2 = squared(separation) / 4, 1 - squared(alpha)
    noise = noise2.sqrt()
    kappa = (1 - squared(target)).sqrt() / noise
    beta, less = target - kappa * alpha, 1 - kappa
    seen = m2 * (1 - posterior(alpha * separation / 2 / noise))
    by_noise = less * noise2 - beta * alpha * (m2 - seen)
    by_data = less * alpha * m2 - beta * seen
    return by_data, by_noise, alpha * by_data + by_noise - by_data
