r"""Test functions of Stein's identity whose divergence is free, and their moments on a batch.

At a level ``(alpha, sigma)`` the forward process's law satisfies, for every smooth ``f``,

    E m_f(y) = 0,    m_f(y) = <f(y), r(y)> / sigma^2 - div f(y),    r(y) = y - alpha D(y),

since ``r = -sigma^2 score``. One evaluation of the denoiser gives ``r``, and with it every moment.
``E_q m_f`` is the derivative of ``KL(q || p)`` as ``q`` is moved along ``f``: where all moments
vanish, no small move along the test functions brings the batch nearer to the law.

With ``m`` the mean, ``P`` the projection on the wide subspace of the denoised states
(:func:`steinlab.corrections.subspaces.wide`), ``z_k`` the coordinates along its first axes ``e_k``
and ``s_k`` their spreads, the test functions are

    y - m                                            scale
    P (y - m)                                        scale of the wide subspace, where it is not all
    (y - m) tanh(|y - m|^2 / E|y - m|^2 - 1)         far and near states apart
    e_k s_k sin(j z_k / s_k), e_k s_k cos(j z_k / s_k)    along an axis, j = 1, 2

They rotate, shift and scale with the data: rotated data have the same moments up to signs.
"""

from __future__ import annotations

import numpy as np
from array_api_compat import array_namespace

from analytic import NoiseLevel
from analytic.arrays import Array, host
from steinlab.diffusion.denoisers import Denoiser

AXES = 4
"""Number of axes of the wide subspace with test functions of their own.

docs/corrections-evidence.md shows how this and the other constants here were chosen.
"""

FREQUENCIES = (1, 2)
"""The ``j`` of the test functions along an axis: radians per spread ``s_k``."""

SHRINKAGE = 0.5
"""Weight of the identity in the moments' correlations: 0 keeps them, 1 replaces them."""


def moments(denoiser: Denoiser, y: Array, level: NoiseLevel, basis: Array) -> np.ndarray:
    """Return ``m_f(y_i)`` for every test function, ``(n, K)``; one evaluation.

    Under the forward process's law and its exact denoiser each has mean 0: exactly for the linear
    test functions, up to ``O(1/n)`` for the others, which use the batch's own mean and spreads.

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
    whole = host(xp.sum(centred * noise, axis=1), float)
    squares = host(xp.sum(centred * centred, axis=1), float)
    unbiased = (n - 1) / n  # the batch's mean stands for m
    columns = [whole - dim * unbiased]
    if rank < dim:
        columns.append(host(xp.sum(along * pull, axis=1), float) - rank * unbiased)
    columns.append(_radial(whole, squares / (squares.mean() or 1.0), dim))
    for k in range(axes):
        columns += _waves(host(along[:, k], float), host(pull[:, k], float))
    return np.stack(columns, axis=1)


def _radial(whole: np.ndarray, ratio: np.ndarray, dim: int) -> np.ndarray:
    factor = np.tanh(ratio - 1)
    return np.asarray(whole * factor - (dim * factor + 2 * ratio * (1 - factor**2)))


def _waves(z: np.ndarray, pull: np.ndarray) -> list[np.ndarray]:
    spread = z.std() or 1.0  # states that coincide
    out = []
    for j in FREQUENCIES:
        sine, cosine = np.sin(j * z / spread), np.cos(j * z / spread)
        out += [spread * sine * pull - j * cosine, spread * cosine * pull + j * sine]
    return out


def weights(sample: np.ndarray) -> np.ndarray:
    """Return the inverse covariance ``W`` of moments ``(n, K)``, with shrunk correlations.

    ``(1 - SHRINKAGE) R + SHRINKAGE I`` replaces the correlations ``R``, so ``n g' W g`` has a mean
    of at most ``K`` where the moments have mean 0.
    """
    spread = sample.std(axis=0)
    centred = (sample - sample.mean(axis=0)) / spread
    correlations = centred.T @ centred / len(sample)
    shrunk = (1 - SHRINKAGE) * correlations + SHRINKAGE * np.eye(len(spread))
    found: np.ndarray = np.linalg.inv(shrunk) / np.outer(spread, spread)
    return found
