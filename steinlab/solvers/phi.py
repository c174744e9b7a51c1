r"""The phi functions of exponential integrators, and interpolatory weights.

    phi_k(z) = int_0^1 exp((1 - theta) z) theta^(k-1) / (k-1)! dtheta = sum_n z^n / (n + k)!

A multistep or single-step solver integrates the polynomial in ``theta`` through the denoiser's
known outputs against some measure, so its nodes and the measure's moments determine it. See
:func:`interpolatory`.
"""

import math
from collections.abc import Sequence

import numpy as np

from analytic.levels import Scalar
from steinlab.solvers.scalars import expm1

SERIES_BELOW = 1.0
"""``|z|`` below which the upward recurrence loses a factor ``k / |z|`` of accuracy per order."""

SERIES_TERMS = 18
"""Terms of the series: at ``|z| = 1`` the next one is below ``1e-17`` of the sum."""


def phis(count: int, z: Scalar) -> list[Scalar]:
    """Return ``phi_1(z), ..., phi_count(z)`` for real ``z``, to a few units in the last place.

    From ``phi_{k+1} = (phi_k - 1/k!) / z``, read upwards from ``expm1(z) / z`` at large ``|z|`` and
    downwards from the last one's series at small.

    Parameters
    ----------
    count : int
        At least 1.
    z : float or array

    Examples
    --------
    >>> phis(2, 0.0)
    [1.0, 0.5]
    """
    if isinstance(z, float):
        return _downwards(count, z) if abs(z) < SERIES_BELOW else _upwards(count, z)
    small = np.abs(z) < SERIES_BELOW
    low = _downwards(count, np.where(small, z, 0.0))
    high = _upwards(count, np.where(small, 1.0, z))
    return [np.where(small, a, b) for a, b in zip(low, high, strict=True)]


def _downwards(count: int, z: Scalar) -> list[Scalar]:
    total = 1.0 + 0.0 * z
    for n in range(SERIES_TERMS, 0, -1):
        total = 1.0 + total * z / (n + count)
    values = [total / math.factorial(count)]
    for k in range(count - 1, 0, -1):
        values.insert(0, 1.0 / math.factorial(k) + z * values[0])
    return values


def _upwards(count: int, z: Scalar) -> list[Scalar]:
    values = [expm1(z) / z]
    for k in range(1, count):
        values.append((values[-1] - 1.0 / math.factorial(k)) / z)
    return values


def decaying_moments(h: Scalar, count: int) -> list[Scalar]:
    """Return ``h int_0^1 exp(-h (1 - theta)) theta^k dtheta = h k! phi_{k+1}(-h)``, k < count.

    Each tends to 1 as ``h`` grows.

    Examples
    --------
    >>> decaying_moments(math.inf, 2)
    [1.0, 1.0]
    """
    infinite = h == math.inf
    if infinite is True:
        return [1.0] * count
    if np.any(infinite):
        finite = decaying_moments(np.where(infinite, 1.0, h), count)
        return [np.where(infinite, 1.0, moment) for moment in finite]
    return [h * math.factorial(k) * value for k, value in enumerate(phis(count, -h))]


def interpolatory(nodes: Sequence[Scalar], moments: Sequence[Scalar]) -> list[Scalar]:
    """Return weights ``w`` with ``sum_j w_j p(nodes[j]) = sum_k p_k moments[k]``.

    The rule holds for every polynomial ``p(theta) = sum_k p_k theta^k`` of degree below the number
    of nodes, so with ``moments[k] = int theta^k dmu`` it integrates the interpolant of ``p``
    against ``mu``.

    Parameters
    ----------
    nodes : sequence of float or array
        Distinct. An infinite node, in every case of a stack or in none, has weight 0: the
        interpolant tends to that of the others.
    moments : sequence of float or array
        One per node.

    Examples
    --------
    Two-step Adams-Bashforth on an even grid, and the trapezoid rule:

    >>> interpolatory([0.0, -1.0], [1.0, 0.5]), interpolatory([0.0, 1.0], [1.0, 0.5])
    ([1.5, -0.5], [0.5, 0.5])
    """
    finite = [_all_finite(node) for node in nodes]
    if not all(finite):
        kept = [node for node, ok in zip(nodes, finite, strict=True) if ok]
        weights = iter(interpolatory(kept, moments[: len(kept)]))
        return [next(weights) if ok else 0.0 for ok in finite]
    w = list(moments)  # Bjorck and Pereyra (1970): O(n^2), accurate for ordered nodes
    n = len(w)
    for k in range(n - 1):
        for i in range(n - 1, k, -1):
            w[i] = w[i] - nodes[k] * w[i - 1]
    for k in range(n - 2, -1, -1):
        for i in range(k + 1, n):
            w[i] = w[i] / (nodes[i] - nodes[i - k - 1])
        for i in range(k, n - 1):
            w[i] = w[i] - w[i + 1]
    return w


def _all_finite(node: Scalar) -> bool:
    if not hasattr(node, "dtype"):
        return math.isfinite(node)  # a fraction too
    infinite = np.isinf(node)
    if infinite.any() and not infinite.all():
        raise ValueError("alpha must be 0 in every case of a stack or in none, got both")
    return not infinite.any()
