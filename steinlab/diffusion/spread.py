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

import math
from typing import Any

from array_api_compat import array_namespace

from analytic import NoiseLevel
from analytic.arrays import Array

LEAST_STATES = 2
"""One state has no spread."""

STATES = 1024
"""States from which a network's spread is taken."""


def seen_variance(x: Array, denoised: Array, level: NoiseLevel) -> Array:
    """Return ``l``, the variance per coordinate of the Gaussian that a level sees.

    It is 0 where ``E<D_c, r_c>`` is not positive, as a few states on both sides of a ridge between
    modes, or states that coincide, may show it: a law's own is a posterior variance.

    Parameters
    ----------
    x, denoised : array (N, d), or (C, N, d) with levels (C, 1, 1)
        States, two or more of each case, and ``D`` there.
    level : NoiseLevel
        ``alpha, sigma > 0``.

    Returns
    -------
    array
        ``l`` of shape ``()``, ``(C, 1, 1)`` for stacks.

    Raises
    ------
    ValueError
        If there is one state.

    Examples
    --------
    >>> import numpy as np
    >>> from analytic import GaussianMixture
    >>> law, level = GaussianMixture([1.0], [3.0], 0.25), NoiseLevel(0.5, 2.0)
    >>> x = np.array([[1.0], [4.0]])
    >>> round(float(seen_variance(x, law(x, level), level)), 12)
    0.25
    """
    xp = array_namespace(x)
    signal, residual = centred(x, denoised, level)
    stack = x.ndim == 3
    axes: dict[str, Any] = {"axis": (-2, -1), "keepdims": True} if stack else {}
    shared, noise = xp.sum(signal * residual, **axes), xp.sum(residual * residual, **axes)
    seen = shared > 0
    one = xp.ones_like(noise)
    return level.ratio**2 * xp.where(seen, shared, 0 * one) / xp.where(seen, noise, one)


def centred(x: Array, denoised: Array, level: NoiseLevel) -> tuple[Array, Array]:
    """Return ``D_c`` and ``r_c``, both minus the mean of each case's states.

    Raises
    ------
    ValueError
        If there is one state.
    """
    xp = array_namespace(x)
    axis = -2 if x.ndim <= 3 else 0  # pictures: the first axis counts states
    if not (x.ndim > 1 and x.shape[axis] >= LEAST_STATES):
        count = x.shape[axis] if x.ndim > 1 else 1
        raise ValueError(f"states must be >= {LEAST_STATES} to show a spread, got {count}")
    both = (denoised, x / level.alpha - denoised)
    signal, residual = (a - xp.mean(a, axis=axis, keepdims=True) for a in both)
    return signal, residual


def data_deviation(denoiser: Any, x: Array, level: NoiseLevel) -> float:
    """Return the data's standard deviation per coordinate, ``sqrt(l)`` at a noisy level.

    It is that of the law up to ``O(c^2 / S^2)`` and sampling noise, since ``V = c^2 d`` there to
    leading order.

    Raises
    ------
    ValueError
        If there is one state, or the states show no spread.
    """
    found = float(seen_variance(x, denoiser(x, level), level))
    if not 0 < found < math.inf:
        raise ValueError(
            f"the states must show a variance > 0 at sigma/alpha {float(level.ratio):.4g}, "
            f"got {found:.4g}"
        )
    return math.sqrt(found)
