r"""How widely the data are spread, as a batch of states shows it: no divergence, no known law.

With ``z = x / alpha``, ``S = sigma / alpha``, ``r = z - D`` and a subscript c for "minus the mean",
every law satisfies ``E<D_c, r_c> = V`` and ``E<z_c, r_c> = S^2 d`` under its forward process, where
``V = E|x_star - D|^2``: ``D`` is a conditional mean, and the rest is Stein's identity. Taken of one
batch, numerator and denominator share their noise:

    w = E|r_c|^2 / E<z_c, r_c> = 1 - V / (S^2 d),
    l = S^2 (1 - w) / w = S^2 E<D_c, r_c> / E|r_c|^2.

For data ``N(m, c^2 I)``, ``l = c^2`` from any two states. For others ``w`` is right up to sampling
noise where the states follow the forward law, and ``l`` says by which Gaussian the level sees them:
it falls from the variance per coordinate at large noise to that within a mode at small noise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from analytic import NoiseLevel
from analytic.arrays import Array

LEAST_STATES = 2
"""One state has no spread."""

STATES = 1024
"""States from which a network's spread is taken."""


def seen_variance(x: Array, denoised: Array, level: NoiseLevel) -> Array:
    """Return ``l``, the variance per coordinate of the Gaussian that a level sees.

    Parameters
    ----------
    x, denoised : array (N, d), or (C, N, d) with levels (C, 1, 1)
        States, two or more of each case, and ``D`` there.
    level : NoiseLevel
        ``alpha, sigma > 0``.

    Returns
    -------
    array
        ``l``, of one element, ``(C, 1, 1)`` for stacks; nan where ``D = x / alpha`` throughout.
        It is negative where ``D`` falls with ``x``, which no law's denoiser does on its own states.

    Examples
    --------
    >>> from analytic import GaussianMixture
    >>> law, level = GaussianMixture([1.0], [3.0], 0.25), NoiseLevel(0.5, 2.0)
    >>> x = np.array([[1.0], [4.0]])
    >>> round(float(seen_variance(x, law(x, level), level)[0, 0]), 12)
    0.25
    """
    signal, noise = _products(x, denoised, level)
    return level.ratio**2 * signal / noise


def _products(x: Array, denoised: Array, level: NoiseLevel) -> tuple[Array, Array]:
    """``E<D_c, r_c>`` and ``E|r_c|^2`` up to one common factor."""
    xp = array_namespace(x)
    axes = (-2, -1) if x.ndim <= 3 else None
    rest = x / level.alpha - denoised

    def centred(a: Array) -> Array:
        axis = -2 if x.ndim <= 3 else 0
        return a - xp.mean(a, axis=axis, keepdims=True)

    residual = centred(rest)
    signal = xp.sum(centred(denoised) * residual, axis=axes, keepdims=True)
    return signal, xp.sum(residual * residual, axis=axes, keepdims=True)


def data_deviation(denoiser: Any, x: Array, level: NoiseLevel) -> float:
    """Return the data's standard deviation per coordinate, ``sqrt(l)`` at a noisy level.

    It is that of the law up to ``O(c^2 / S^2)`` and sampling noise, since ``V = c^2 d`` there to
    leading order.

    Raises
    ------
    ValueError
        If there is one state, or the states show no spread.
    """
    if not x.shape[-2] >= LEAST_STATES:
        raise ValueError(f"states must be >= {LEAST_STATES} to show a spread, got {x.shape[-2]}")
    with np.errstate(divide="ignore", invalid="ignore"):
        found = float(seen_variance(x, denoiser(x, level), level).reshape(-1)[0])
    if not 0 < found < math.inf:
        raise ValueError(
            f"the states must show a variance > 0 at sigma/alpha {float(level.ratio):.4g}, "
            f"got {found:.4g}"
        )
    return math.sqrt(found)
