r"""States with their first and second derivatives in the state a run began at.

A solver's arithmetic is ``+``, ``-`` and products with scalars, and it calls the denoiser; so a jet
``(X, X', X'')`` passed through a run comes out as the composed map and its exact derivatives, past
evaluations included. The denoiser hands derivatives on by the chain rule; with ``kappa_n`` the
cumulants of ``x_star`` given ``x``,

    D = kappa_1,   D' = (alpha / sigma^2) kappa_2,   D'' = (alpha / sigma^2)^2 kappa_3,

and, with responsibilities ``r``, posterior means ``D + delta`` and covariances ``C`` of components,

    kappa_2 = sum r (delta delta' + C),
    kappa_3[a,b,c] = sum r (delta_a delta_b delta_c
                            + delta_a C_bc + delta_b C_ac + delta_c C_ab).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from analytic.arrays import Linear, as_rows
from analytic.levels import NoiseLevel
from analytic.mixtures import GaussianMixture


@dataclass(frozen=True, eq=False)
class Jet(Linear):
    """States ``(..., N, d)`` and their derivatives in ``d`` directions; NumPy only.

    Attributes
    ----------
    value : array (..., N, d)
    first : array (..., N, d, d)
        ``dX_i / dx_a`` at ``[i, a]``.
    second : array (..., N, d, d, d)
        ``d^2 X_i / dx_a dx_b`` at ``[i, a, b]``.
    """

    value: np.ndarray
    first: np.ndarray
    second: np.ndarray

    def __add__(self, other: Any) -> Jet:
        if isinstance(other, Jet):
            return Jet(
                self.value + other.value, self.first + other.first, self.second + other.second
            )
        return Jet(self.value + other, self.first, self.second)

    def __neg__(self) -> Jet:
        return Jet(-self.value, -self.first, -self.second)

    def __mul__(self, scale: Any) -> Jet:
        if not np.ndim(scale):
            return Jet(self.value * scale, self.first * scale, self.second * scale)
        return Jet(
            self.value * scale, self.first * scale[..., None], self.second * scale[..., None, None]
        )

    def __truediv__(self, scale: Any) -> Jet:
        return self.__mul__(1 / scale)


def identity(x: np.ndarray) -> Jet:
    """Return the jet of the identity map at states ``(..., N, d)``."""
    dim = x.shape[-1]
    first = np.broadcast_to(np.eye(dim), (*x.shape, dim)).copy()
    return Jet(x, first, np.zeros((*x.shape, dim, dim)))


class Derivatives(NamedTuple):
    """``D (..., N, d)``, ``D' (..., N, d, d)`` and ``D'' (..., N, d, d, d)``."""

    value: np.ndarray
    first: np.ndarray
    second: np.ndarray

    def after(self, inner: Jet) -> Jet:
        """Compose by the chain rule with the jet at whose states these were taken."""
        if inner.value.shape[-1] == 1:
            slope, bend = self.first * inner.first, self.first[..., None] * inner.second
            return Jet(self.value, slope, self.second * inner.first[..., None] ** 2 + bend)
        bend = np.einsum("...ijk,...ja,...kb->...iab", self.second, inner.first, inner.first)
        bend += np.einsum("...ij,...jab->...iab", self.first, inner.second)
        return Jet(self.value, self.first @ inner.first, bend)


def denoiser_derivatives(law: GaussianMixture, x: np.ndarray, level: NoiseLevel) -> Derivatives:
    """Return the exact denoiser with its first two derivatives.

    Parameters
    ----------
    law : GaussianMixture
        A law, or a stack that fits the states and the level.
    x : array (..., N, d)
    level : NoiseLevel
        ``sigma > 0``.

    Raises
    ------
    ValueError
        If a ``sigma`` is 0.

    Examples
    --------
    Two narrow modes at ``+-1``: ``D = tanh x``, ``D'' = -2 tanh x / cosh^2 x``.

    >>> law = GaussianMixture([0.5, 0.5], [-1.0, 1.0], 1e-12)
    >>> bend = denoiser_derivatives(law, np.array([[0.5]]), NoiseLevel(1.0, 1.0)).second
    >>> abs(bend.item() + 2 * np.tanh(0.5) / np.cosh(0.5) ** 2) < 1e-9
    np.True_
    """
    if not (np.asarray(level.sigma) > 0).all():
        raise ValueError(f"sigma must be > 0 where the denoiser is differentiated, got {level}")
    rows = as_rows(x, law.dim)
    post = law._posterior(rows, level)
    delta, slack = post.deltas, post.slack
    if law.dim == 1:
        square = delta**2
        second = np.add.reduce(post.r * (square + slack), axis=-3)[..., None]
        third = np.add.reduce(post.r * delta * (square + 3 * slack), axis=-3)[..., None, None]
    else:
        second, third = _cumulants(law, post.r, delta, slack)
    precision = np.asarray(level.alpha / np.square(level.sigma))
    if precision.ndim:
        precision = precision[..., None]
    gain = precision[..., None] if precision.ndim else precision
    return Derivatives(post.denoised, precision * second, gain**2 * third)


def _cumulants(
    law: GaussianMixture, r: np.ndarray, delta: np.ndarray, slack: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Second and third cumulants ``(..., N, d, d)`` and ``(..., N, d, d, d)``."""
    eigenvalues = np.broadcast_to(slack[..., 0, :], law.means.shape)
    basis = np.eye(law.dim) if law.basis is None else law.basis
    within = (basis * eigenvalues[..., None, :]) @ np.swapaxes(basis, -1, -2)  # (..., K, d, d)
    weight = r[..., 0]  # (..., K, N)
    mixed = np.einsum("...kn,...kab->...nab", weight, within)
    second = mixed + np.einsum("...kn,...kna,...knb->...nab", weight, delta, delta)
    third = np.einsum("...kn,...kna,...knb,...knc->...nabc", weight, delta, delta, delta)
    tilted = np.einsum("...kn,...kna,...kbc->...nabc", weight, delta, within)
    third += tilted + np.swapaxes(tilted, -3, -2) + np.moveaxis(tilted, -3, -1)
    return second, third


def on_jets(law: GaussianMixture) -> Callable[[Any, NoiseLevel], Any]:
    """Return the exact denoiser extended to :class:`Jet` states."""

    def denoise(x: Any, level: NoiseLevel) -> Any:
        if not isinstance(x, Jet):
            return law(x, level)
        return denoiser_derivatives(law, x.value, level).after(x)

    return denoise
