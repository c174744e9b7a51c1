r"""Test functions of Stein's identity whose divergence is free, and their moments on a batch.

At a level ``(alpha, sigma)`` the forward process's law satisfies, for every smooth ``f``,

    E m_f(y) = 0,    m_f(y) = <f(y), r(y)> / sigma^2 - div f(y),    r(y) = y - alpha D(y),

since ``r = -sigma^2 score``. One evaluation of the denoiser gives ``r`` and with it every moment.
The gradient of ``KL(q || p)`` under a motion of ``q`` along ``f`` is ``E_q m_f``: a batch whose
moments vanish cannot be brought nearer to the law by moving along the test functions.

With ``m`` the mean, ``P`` the projection on the wide subspace of the denoised states
(:func:`steinlab.corrections.subspaces.wide`), ``z_k`` the coordinates along its first axes ``e_k``
and ``s_k`` their spreads, the test functions are

    y - m                                            scale
    P (y - m)                                        scale of the wide subspace, where it is not all
    (y - m) tanh(|y - m|^2 / E|y - m|^2 - 1)         far and near states apart
    e_k s_k sin(j z_k / s_k), e_k s_k cos(j z_k / s_k)    along an axis, j = 1, 2

They turn, shift and stretch with the data: the moments of turned data are the same up to signs.
"""

from __future__ import annotations

import numpy as np
from array_api_compat import array_namespace, to_device

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.diffusion.denoisers import Denoiser

AXES = 4
"""Axes of the wide subspace that have test functions of their own.

In the cells of :data:`steinlab.corrections.gmm.PRIOR`: 0.165 without, 0.137 with 2, 0.135 with 4,
0.136 with 8.
"""

FREQUENCIES = (1, 2)
"""Per spread of an axis. The first alone gives 0.153, two 0.135, four 0.141, 1, 2, 4, 8 0.139."""

SHRINKAGE = 0.5
"""Of the moments' correlations towards none: 0.1 gives 0.148, a half 0.135, 0.8 0.147, 1 0.155."""


def moments(denoiser: Denoiser, y: Array, level: NoiseLevel, basis: Array) -> np.ndarray:
    """Return ``m_f(y_i)`` for every test function, ``(n, K)``; one evaluation.

    Each has mean 0 for states under the forward process's law and its exact denoiser, up to
    ``O(1/n)`` where the batch's own mean and spreads enter; for the linear ones, exactly.

    Parameters
    ----------
    denoiser : Denoiser
    y : array (n, d)
    level : NoiseLevel
        Of positive noise.
    basis : array (q, d)
        Orthonormal rows, the widest first.

    Examples
    --------
    >>> from analytic import GaussianMixture
    >>> law, level = GaussianMixture([1.0], [0.0], 1.0), NoiseLevel(1.0, 1.0)
    >>> y = np.sqrt(2.0) * np.random.default_rng(0).standard_normal((100_000, 1))
    >>> found = moments(law, y, level, np.ones((1, 1)))
    >>> bool(np.all(np.abs(found.mean(axis=0)) < 4 * found.std(axis=0) / np.sqrt(len(y))))
    True
    """
    xp = array_namespace(y)
    n, dim = y.shape
    axes, rank = min(AXES, basis.shape[0]), basis.shape[0]
    noise = (y - level.alpha * denoiser(y, level)) / level.sigma**2
    centred = y - xp.mean(y, axis=0, keepdims=True)
    along, pull = centred @ basis.T, noise @ basis.T
    whole = host(xp.sum(centred * noise, axis=1))
    squares = host(xp.sum(centred * centred, axis=1))
    unbiased = (n - 1) / n  # the batch's mean stands for m
    columns = [whole - dim * unbiased]
    if rank < dim:
        columns.append(host(xp.sum(along * pull, axis=1)) - rank * unbiased)
    columns.append(_radial(whole, squares / (squares.mean() or 1.0), dim))
    for k in range(axes):
        columns += _waves(host(along[:, k]), host(pull[:, k]))
    return np.stack(columns, axis=1)


def _radial(whole: np.ndarray, ratio: np.ndarray, dim: int) -> np.ndarray:
    factor = np.tanh(ratio - 1)
    return np.asarray(whole * factor - (dim * factor + 2 * ratio * (1 - factor**2)))


def _waves(z: np.ndarray, pull: np.ndarray) -> list[np.ndarray]:
    spread = z.std() or 1.0  # of states that coincide there is nothing to say
    out = []
    for j in FREQUENCIES:
        sine, cosine = np.sin(j * z / spread), np.cos(j * z / spread)
        out += [spread * sine * pull - j * cosine, spread * cosine * pull + j * sine]
    return out


def weights(sample: np.ndarray) -> np.ndarray:
    """Return the inverse covariance of moments ``(n, K)``, their correlations shrunk.

    With ``R`` the correlations, ``(1 - SHRINKAGE) R + SHRINKAGE I`` stands for them: so a sum of
    squares weighed by it has a mean of ``K`` at most where the moments have mean 0.
    """
    spread = sample.std(axis=0)
    centred = (sample - sample.mean(axis=0)) / spread
    correlations = centred.T @ centred / len(sample)
    shrunk = (1 - SHRINKAGE) * correlations + SHRINKAGE * np.eye(len(spread))
    found: np.ndarray = np.linalg.inv(shrunk) / np.outer(spread, spread)
    return found


def host(x: Array) -> np.ndarray:
    """Return an array of any library as NumPy's, in double precision."""
    return np.asarray(x if isinstance(x, np.ndarray) else to_device(x, "cpu"), dtype=float)
