"""Second evaluators that are short: plain balls."""

from __future__ import annotations

from typing import Any

from analytic.certified.series import Ball, integral, number, squared, tanh
from steinlab.claims.continua.second import posterior

CELLS = 24
EDGES = [j / CELLS for j in range(CELLS + 1)]


def ascent(state: Ball, separation: Ball, length: Ball) -> Ball:
    """``1 - l/2 + l mu^2 int (1 - s)(1 - tanh^2) ds``, by the midpoint rule."""
    mu = separation / 2
    move = mu * length * (state - mu * tanh(mu * state))

    def terms(s: Any, start: Any, move: Any) -> list[Any]:
        t = tanh(start - s * move)
        return [(1 - s) * (1 - t * t)]

    [bend] = integral(terms, EDGES, mu * state, move)
    return 1 - length / 2 + length * squared(mu) * bend.max(number(0))


def conditioning(alpha: Ball, target: Ball, separation: Ball, threshold: Ball) -> Ball:
    """With ``u = (1 - kappa) sigma eps + (1 - kappa) alpha x_star - beta D``, term by term."""
    m2, noise = squared(separation) / 4, (1 - squared(alpha)).sqrt()
    kappa = (1 - squared(target)).sqrt() / noise
    beta, less = target - kappa * alpha, 1 - kappa
    seen = m2 * (1 - posterior(alpha * separation / 2 / noise))
    by_noise = less * noise - beta * alpha * (m2 - seen) / noise
    by_data = less * alpha * m2 - beta * seen
    total = alpha * by_data + noise * by_noise - by_data
    top = (1 - alpha) * (alpha * by_data + noise * by_noise) + noise * by_noise
    return threshold - abs(top / total / 2 - number(1))
