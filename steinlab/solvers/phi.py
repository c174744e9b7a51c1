r"""The phi functions of exponential integrators, and interpolatory weights.

    phi_k(z) = int_0^1 exp((1 - theta) z) theta^(k-1) / (k-1)! dtheta = sum_n z^n / (n + k)!

A multistep or single-step solver replaces the denoiser (or another drive) by the polynomial in
``theta`` through its known values and integrates that polynomial against some measure; so each is
given by its nodes and the measure's moments. See :func:`interpolatory`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from analytic.levels import Scalar
from steinlab.solvers.scalars import exp

SERIES_BELOW = 1.0
"""``|z|`` below which the series is used: the recurrence loses a factor ``k / |z|`` per order."""

SERIES_TERMS = 18
"""Terms of the series: at ``|z| = 1`` the next one is below ``1e-17`` of the sum."""


def phi(k: int, z: Scalar) -> Scalar:
    """Return ``phi_k(z)`` for real ``z``, ``k >= 1``, to a few units in the last place.

    Parameters
    ----------
    k : int
        At least 1.
    z : float or array

    Examples
    --------
    >>> phi(1, 0.0), phi(2, 0.0)
    (1.0, 0.5)
    """
    if isinstance(z, float):
        return _series(k, z) if abs(z) < SERIES_BELOW else _recurrence(k, z)
    small = np.abs(z) < SERIES_BELOW
    return np.where(
        small, _series(k, np.where(small, z, 0.0)), _recurrence(k, np.where(small, 1.0, z))
    )


def _series(k: int, z: Scalar) -> Scalar:
    total = 1.0 + 0.0 * z
    for n in range(SERIES_TERMS, 0, -1):
        total = 1.0 + total * z / (n + k)
    return total / math.factorial(k)


def _recurrence(k: int, z: Scalar) -> Scalar:
    value = exp(z)
    for j in range(k):
        value = (value - 1.0 / math.factorial(j)) / z
    return value


def decaying_moments(h: Scalar, count: int) -> list[Scalar]:
    """Return ``h int_0^1 exp(-h (1 - theta)) theta^k dtheta = h k! phi_{k+1}(-h)``, k < count."""
    return [h * math.factorial(k) * phi(k + 1, -h) for k in range(count)]


def interpolatory(nodes: Sequence[Scalar], moments: Sequence[Scalar]) -> list[Scalar]:
    """Return weights ``w`` with ``sum_j w_j p(nodes[j]) = sum_k p_k moments[k]``.

    The rule holds for every polynomial ``p(theta) = sum_k p_k theta^k`` of degree below the number
    of nodes, so with ``moments[k] = int theta^k dmu`` it integrates the interpolant of ``p``
    against ``mu``.

    Parameters
    ----------
    nodes : sequence of float or array
        Distinct.
    moments : sequence of float or array
        One a node.

    Examples
    --------
    Two-step Adams-Bashforth on an even grid, and the trapezoid rule:

    >>> interpolatory([0.0, -1.0], [1.0, 0.5]), interpolatory([0.0, 1.0], [1.0, 0.5])
    ([1.5, -0.5], [0.5, 0.5])
    """
    weights = []
    for j, node in enumerate(nodes):
        basis: list[Scalar] = [1.0]  # coefficients of prod (theta - other), lowest first
        scale: Scalar = 1.0
        for m, other in enumerate(nodes):
            if m != j:
                basis = [
                    low - other * high
                    for low, high in zip([0.0, *basis], [*basis, 0.0], strict=True)
                ]
                scale = scale * (node - other)
        total: Scalar = 0.0
        for coefficient, moment in zip(basis, moments, strict=True):
            total = total + coefficient * moment
        weights.append(total / scale)
    return weights
