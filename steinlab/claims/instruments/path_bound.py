r"""The bound on path space that Align Your Steps lowers, on Gaussian data, and its best grids.

    KLUB = sum_i int_(t_i+1)^(t_i) E|D(x_t, t) - D(x_(t_i), t_i)|^2 / t^3 dt

of the reverse *stochastic* equation with ``D`` held along a step. On ``N(0, l)`` the outputs ``D``
are a martingale up the noise, so ``E|D_t - D_s|^2 = l^2 (1/(l + t^2) - 1/(l + s^2))`` and the
integral is elementary.

References
----------
Sabour, Fidler and Kreis, "Align Your Steps", 2024.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.optimize import minimize


def klub(levels: np.ndarray, scales: Sequence[float]) -> float:
    """Return the bound for levels in EDM, axes of deviations ``scales``.

    Examples
    --------
    >>> klub(np.array([2.0, 1.0]), [1.0]) > klub(np.array([2.0, 1.5, 1.0]), [1.0])
    True
    """
    s, t = levels[:-1], levels[1:]
    total = 0.0
    for variance in np.asarray(scales) ** 2:
        moving = [np.log1p(variance / u**2) - variance / u**2 for u in (s, t)]
        held = variance**2 * (1 / t**2 - 1 / s**2) / (variance + s**2)
        total += 0.5 * float((moving[0] - moving[1] - held).sum())
    return total


@cache
def klub_grid(scales: tuple[float, ...], steps: int, ends: tuple[float, float]) -> np.ndarray:
    """Return the levels of least :func:`klub` between the least noisy and the noisiest level."""
    span = math.log(ends[1] / ends[0])

    def grid(free: np.ndarray) -> np.ndarray:
        shares = np.exp(free - free.max())
        left = np.append(1.0, 1.0 - np.cumsum(shares / shares.sum()))
        return np.asarray(ends[0] * np.exp(span * np.maximum(left, 0.0)))

    found = minimize(lambda free: math.log(klub(grid(free), scales)), np.zeros(steps))
    return grid(found.x)
