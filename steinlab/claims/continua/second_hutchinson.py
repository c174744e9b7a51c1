"""The second evaluator of Hutchinson's variances: moments added up, no formula of the variance."""

from __future__ import annotations

from itertools import product
from typing import Any

from analytic.certified.series import Ball, is_series, mean_value, monotone, number, shared, squared


def ratio(separation: Ball, state: Ball, width: Ball, axis: Ball, threshold: Ball) -> Ball:
    """``tau`` less the quotient of both variances, of ``A`` over its largest eigenvalue.

    The other is ``r = 1/(1 + u^2/(cosh(u x/v)^2 v d^2))``, ``u`` half the separation.
    """
    u, d2 = separation / 2, squared(width)
    v = 1 + d2
    bend = squared(u / monotone("cosh", u * state / v))
    r = 1 / (1 + bend / (v * d2))
    return shared(_value(r, axis, threshold), mean_value(_value, r, axis, threshold))


def _value(r: Any, axis: Any, threshold: Any) -> Any:
    """With ``s = sin(2 phi)``, ``A = r I + (1 - r)/2 [[1 + c, s], [s, 1 - c]]``."""
    b = (1 - r) / 2
    off = _root(1 - squared(axis)) * b
    matrix = [[r + b * (axis + 1), off], [off, r + b * (1 - axis)]]
    return threshold - _variance(matrix, _sign_moment) / _variance(matrix, _normal_moment)


def _root(x: Any) -> Any:
    if is_series(x):
        return x.sqrt()
    low, high = (end.max(number(0)).sqrt() for end in (x.lower(), x.upper()))
    return low.union(high)


def _variance(matrix: list[list[Any]], moment: Any) -> Any:
    """``sum A_ij A_kl (E z_i z_j z_k z_l - E z_i z_j E z_k z_l)``."""
    total: Any = number(0)
    for i, j, k, m in product(range(2), repeat=4):
        weight = moment(i, j, k, m) - (i == j) * (k == m)
        if weight:
            total = matrix[i][j] * matrix[k][m] * number(weight) + total
    return total


def _sign_moment(*index: int) -> int:
    """``E z_i z_j z_k z_l`` over all sign vectors."""
    total = 0
    for z in product((1, -1), repeat=2):
        value = 1
        for i in index:
            value *= z[i]
        total += value
    return total // 4


def _normal_moment(i: int, j: int, k: int, m: int) -> int:
    """Return the number of pairings of equal indices."""
    return (i == j) * (k == m) + (i == k) * (j == m) + (i == m) * (j == k)
