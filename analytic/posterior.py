r"""The posterior of ``x_star`` under a mixture at one batch of states, each part computed once.

With responsibilities ``r_k``, ``v_k = alpha^2 l_k + sigma^2`` and component posterior means
``mu_k = m_k + Q_k diag(alpha l_k / v_k) Q_k' (x - alpha m_k)`` (see :mod:`analytic.mixtures`)

    D = sum_k r_k mu_k,                    s = -sum_k r_k Q_k diag(1 / v_k) Q_k' (x - alpha m_k),
    V = sum_k r_k (tr S_k + |mu_k - D|^2),  S_k = Q_k diag(l_k sigma^2 / v_k) Q_k'.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from analytic.arrays import (
    FEW,
    Array,
    as_rows,
    like,
    mixed,
    namespace,
    products,
    sum_over,
    un_row,
)
from analytic.levels import NoiseLevel, Scalar

NEAR = 1e-8
"""Noise over a component's variance, ``sigma^2 / (alpha^2 l)``, below which both agree in float32.
"""


class ExactDenoiser:
    """What follows from ``denoise``, ``moments``, ``jvp`` and ``dim`` of a law."""

    def __call__(self: Any, x: Array, level: NoiseLevel) -> Array:
        """Denoise: the same as :meth:`denoise`."""
        return self.denoise(x, level)

    def divergence(self: Any, x: Array, level: NoiseLevel) -> Array:
        """Return ``div D(x)``, the exact trace of the denoiser's Jacobian, shape ``(..., N)``."""
        return self.moments(x, level)[1]

    def posterior_variance(self: Any, x: Array, level: NoiseLevel) -> Array:
        """Return ``V(x) = tr Cov(x_star | x)``, shape ``(..., N)``."""
        return self.moments(x, level)[2]

    def jacobian(self: Any, x: Array, level: NoiseLevel) -> Array:
        """Return ``D'(x)``, shape ``(..., N, d, d)``: symmetric positive semidefinite."""
        xp, rows = namespace(x), as_rows(x, self.dim)
        eye = like(np.eye(self.dim), x)[(slice(None), *(None,) * (rows.ndim - 1), slice(None))]
        columns = self.jvp(rows, level, xp.broadcast_to(eye, (self.dim, *rows.shape)))
        return un_row(xp.moveaxis(columns, 0, -1), x)


@dataclass(frozen=True, eq=False)
class Posterior:
    """One evaluation at states ``x``; ``K`` components stand before the ``N`` states.

    Attributes
    ----------
    alpha, sigma : float or array (..., 1, 1 or N, 1)
    log_prob : array (..., N)
    r : array (..., K, N, 1)
        Responsibilities.
    offset : array (..., K, N, d)
        ``x - alpha m_k`` in the eigenbasis of component ``k``.
    centers : array (..., K, 1, d)
        ``m_k``.
    spectrum, v : array (..., K, 1, 1 or d)
        Eigenvalues of ``C_k`` and of ``S_k``; ``v`` is ``(..., K, N, 1 or d)`` with one level per
        state.
    basis : array (..., K, d, d), optional
        Columns are the eigenvectors; None where they are the axes. ``(J, N, d, d)`` where each
        state has components of its own.
    least, most : array (..., 1, 1, 1)
        The law's smallest variance, and its largest variance or square of a mean.
    """

    alpha: Scalar
    sigma: Scalar
    log_prob: Array
    r: Array
    offset: Array
    centers: Array
    spectrum: Array
    v: Array
    basis: Array | None
    least: np.ndarray
    most: np.ndarray

    @cached_property
    def gain(self) -> Array:
        """``alpha l / v``, the slope of a component's posterior mean along its axes."""
        return self.alpha * self.spectrum / self.v

    @cached_property
    def slack(self) -> Array:
        """``l sigma^2 / v``, the posterior variances of a component along its axes."""
        return self.spectrum * self.sigma**2 / self.v

    @cached_property
    def pulled(self) -> Array:
        """Component posterior means less the components' own, ``(..., K, N, d)``."""
        return self._turned(self.offset * self.gain)

    @cached_property
    def means(self) -> Array:
        """Component posterior means, ``(..., K, N, d)``."""
        return self.centers + self.pulled

    @cached_property
    def denoised(self) -> Array:
        """``D``, ``(..., N, d)``."""
        if self.offset.shape[-1] < FEW:
            return mixed(self.r, self.means)  # the divergence needs the means again
        if self.gain.shape[-1] == 1:
            return mixed(self.r, self.centers) + mixed(self.r * self.gain, self.offset)
        return mixed(self.r, self.centers) + mixed(self.r, self.pulled)

    @cached_property
    def deltas(self) -> Array:
        r"""Component posterior means less ``D``, ``(..., K, N, d)``.

        Far below every width (:data:`NEAR`), or where ``sigma^2`` is below ``eps`` of the law's
        size squared, the means differ by less than their rounding, which ``alpha / sigma^2``
        multiplies squared. There ``alpha mu_k = x - rho_k`` with ``rho_k = Q_k diag(sigma^2 / v_k)
        Q_k' (x - alpha m_k)``, of size ``sigma`` at most where ``r_k`` counts, gives the
        differences.
        """
        xp = namespace(self.offset)
        eps = float(xp.finfo(self.offset.dtype).eps)
        below = like(np.maximum(NEAR * self.least, eps * self.most), self.offset)
        near = self.sigma**2 < self.alpha**2 * below
        if not xp.any(near):
            return self.means - self.denoised[..., None, :, :]
        rest = self._turned(self.offset * (self.sigma / self.v) * self.sigma)
        apart = (mixed(self.r, rest)[..., None, :, :] - rest) / self.alpha
        if xp.all(near):
            return apart
        return xp.where(near, apart, self.means - self.denoised[..., None, :, :])

    @cached_property
    def moments(self) -> tuple[Array, Array]:
        """``div D`` and ``V``, each ``(..., N)``: sums of terms >= 0."""
        r = self.r[..., 0]
        spread = sum_over(r * products(self.deltas, self.deltas), -2)
        copies = self.offset.shape[-1] // self.spectrum.shape[-1]
        gain = sum_over(r * sum_over(self.gain, -1), -2) * copies
        within = sum_over(r * sum_over(self.slack, -1), -2) * copies
        return gain + _narrow(self._precision) * spread, within + spread

    @cached_property
    def rounding(self) -> tuple[Array, Array, Array]:
        r"""Sizes, in units of ``eps``, of the rounding of ``D`` and ``D'``, and one of ``|D''|``.

        One dimension; each ``(..., N, 1)``. The logit of a component is ``offset^2 / (2 v)`` with
        ``offset = x - alpha m``, whose product is rounded, and the logarithm of ``v``; so its
        error, and the relative error of ``r_k``, is

            e_k = 1 + |offset| (|offset| + |alpha m|) / v + |log v| / 2

        (the logarithm of a weight, some units, is left to what multiplies the size), and
        ``mu_k = m + gain offset`` is off by ``b_k = |m| + gain (|offset| + |alpha m|)``. With
        ``delta_k = mu_k - D``, ``slack`` the variance within a component and
        ``P = alpha / sigma^2``, to first order

            D:   sum r (b + e |delta|)               (a factor common to all r cancels),
            D':  sum r (gain + e (gain + P delta^2) + 2 P |delta| b),
            D'' = P^2 sum r (delta^3 + 3 delta slack), of absolute terms.
        """
        centre, off = abs(self.alpha * self.centers), abs(self.offset)
        logit = 1 + off * (off + centre) / self.v + 0.5 * abs(np.log(self.v))
        own, apart = abs(self.centers) + self.gain * (off + centre), abs(self.deltas)
        steep = self._precision * apart
        slope = self.gain + logit * (self.gain + steep * apart) + 2 * steep * own
        bend = steep * self._precision * (apart**2 + 3 * self.slack)
        sizes = (own + logit * apart, slope, bend)
        value, first, second = (mixed(self.r, size) for size in sizes)
        return value, first, second

    @property
    def score(self) -> Array:
        """``grad log p``, ``(..., N, d)``."""
        if self.v.shape[-1] == 1:
            return -mixed(self.r / self.v, self.offset)
        return -mixed(self.r, self._turned(self.offset / self.v))

    def jvp(self, tangent: Array) -> Array:
        """Return ``D' tangent``; axes of ``tangent`` before those of ``x`` count probes."""
        if self.offset.shape[-1] == 1:
            return self.moments[0][..., None] * tangent
        t = tangent[..., None, :, :]
        along = products(self.deltas, t)[..., None]
        between = mixed(self.r * (along * self._precision), self.deltas)
        if self.basis is None:
            return mixed(self.r, self.gain) * tangent + between
        inner = product(t, self.basis, each=self._each)
        return mixed(self.r, self._turned(inner * self.gain)) + between

    def _turned(self, z: Array) -> Array:
        """Turn components from their eigenbases to that of the states."""
        if self.basis is None:
            return z
        return product(z, namespace(z).matrix_transpose(self.basis), each=self._each)

    @property
    def _each(self) -> bool:
        """Whether each state has matrices of its own."""
        return bool(getattr(self.basis, "ndim", 0) > self.offset.ndim)

    @property
    def _precision(self) -> Scalar:
        """``alpha / sigma^2``, and 0 where ``sigma^2`` is no normal number: a point's posterior."""
        tiny = float(namespace(self.offset).finfo(self.offset.dtype).smallest_normal)
        if not getattr(self.sigma, "ndim", 0):
            return self.alpha / self.sigma**2 if self.sigma**2 > tiny else 0.0
        xp = namespace(self.sigma)
        noisy = self.sigma**2 > tiny
        one = xp.ones_like(self.sigma)
        return xp.where(noisy, self.alpha * one / xp.where(noisy, self.sigma**2, one), 0.0 * one)


def product(rows: Array, matrices: Array, *, each: bool) -> Array:
    """Return rows ``(..., K, N, d)`` times matrices ``(..., K, d, d)``, or ``each`` by its own."""
    return (rows[..., None, :] @ matrices)[..., 0, :] if each else rows @ matrices


def _narrow(value: Scalar) -> Scalar:
    """Drop the axes of components and coordinates, ``(..., 1, N, 1)``: it meets ``(..., N)``."""
    return value[..., 0, :, 0] if getattr(value, "ndim", 0) else value
