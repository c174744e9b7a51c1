r"""Characteristic functions of a noised mixture, and moments of Fourier fields under it.

For ``x = alpha x_star + sigma eps`` of a mixture ``sum_k w_k N(m_k, C_k)``

    phi(k) = E exp(i <k, x>) = sum_j w_j exp(i alpha <k, m_j> - <k, S_j k> / 2),
    S_j = alpha^2 C_j + sigma^2 I,

so that every moment of a sum of waves is a finite sum:

    E cos(<k, x> + b) cos(<l, x> + c) = Re[e^{i(b-c)} phi(k - l) + e^{i(b+c)} phi(k + l)] / 2.
"""

from typing import Any

import numpy as np

from analytic.empirical import EmpiricalMixture
from analytic.levels import NoiseLevel
from analytic.mixtures import GaussianMixture


def characteristic(
    law: GaussianMixture | EmpiricalMixture, level: NoiseLevel, waves: np.ndarray
) -> np.ndarray:
    """Return ``E exp(i <k, x>)`` at wave vectors ``(..., P, d)``, shape ``(..., P)``, exactly.

    A stack of laws ``(C, K)`` takes levels of shape ``(C, 1, 1)``, and waves ``(P, d)`` or
    ``(C, P, d)``.

    Examples
    --------
    >>> law = GaussianMixture([0.5, 0.5], [-1.0, 1.0], 1.0)
    >>> found = characteristic(law, NoiseLevel(1.0, 1.0), np.array([[0.0], [1.0]]))
    >>> bool(np.allclose(found, [1.0, np.cos(1.0) * np.exp(-1.0)], rtol=1e-15, atol=0))
    True
    """
    weights, means = _atoms(law)
    alpha, sigma = np.asarray(level.alpha), np.asarray(level.sigma)
    phase = alpha * (waves @ np.swapaxes(means, -1, -2))
    spread = alpha**2 * _quadratic(law, waves) + sigma**2 * (waves**2).sum(axis=-1)[..., None]
    return np.asarray((weights[..., None, :] * np.exp(1j * phase - 0.5 * spread)).sum(axis=-1))


def _atoms(law: Any) -> tuple[np.ndarray, np.ndarray]:
    """Weights ``(..., K)`` and means ``(..., K, d)``."""
    if isinstance(law, EmpiricalMixture):
        return np.full(len(law.data), 1 / len(law.data)), law.data
    return law.weights, law.means


def _quadratic(law: Any, waves: np.ndarray) -> np.ndarray:
    """``<k, C_j k>``, shape ``(..., P, K)`` or one that broadcasts with it."""
    if isinstance(law, EmpiricalMixture):
        return np.asarray(law.smallest_variance * (waves**2).sum(axis=-1)[..., None])
    if law.basis is None:
        squares = (waves**2)[..., :, None, :] * law.spectra[..., None, :, :]
        return np.asarray(squares.sum(axis=-1))
    turned = waves[..., None, :, :] @ law.basis  # (..., K, P, d)
    square = (turned**2 * law.spectra[..., :, None, :]).sum(axis=-1)
    return np.asarray(np.swapaxes(square, -1, -2))


def mean_square_of_waves(
    law: GaussianMixture | EmpiricalMixture,
    level: NoiseLevel,
    waves: np.ndarray,
    phases: np.ndarray,
    vectors: np.ndarray,
) -> np.ndarray:
    """Return ``E |sum_j a_j cos(<k_j, x> + b_j)|^2`` exactly, shape of the stack.

    Parameters
    ----------
    law : mixture
    level : NoiseLevel
    waves : array (..., m, d)
        ``k``.
    phases : array (m,)
        ``b``.
    vectors : array (m, d)
        ``a``.

    Examples
    --------
    >>> law = GaussianMixture([1.0], [0.0], 1.0)
    >>> one = np.ones((1, 1))
    >>> found = float(mean_square_of_waves(law, NoiseLevel(1.0, 1.0), one, np.zeros(1), one))
    >>> bool(abs(found - 0.5 * (1 + np.exp(-4.0))) < 1e-15)
    True
    """
    m = len(phases)
    left, right = np.triu_indices(m)
    gram = (vectors @ vectors.T)[left, right] * np.where(left == right, 1.0, 2.0)
    first, second = waves[..., left, :], waves[..., right, :]
    total = np.zeros(())
    for sign in (-1.0, 1.0):
        turn = np.exp(1j * (phases[left] + sign * phases[right]))
        phi = characteristic(law, level, first + sign * second)
        total = total + 0.5 * (gram * (turn * phi).real).sum(axis=-1)
    return np.asarray(total)
