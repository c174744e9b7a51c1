r"""Laws made of other laws, exact at every level: patch by patch, and through a linear decoder.

A product law's patches are independent, ``p(x) = prod_P p_P(x_P)``: each patch has its own denoiser
and looks at no other. A decoded law is that of ``A z``, ``z`` of a law in fewer dimensions. With
``A = U B``, the columns of ``U`` orthonormal, noise keeps apart what lies along ``U`` and across:

    D(x) = U D_w(U' x),   D_w the denoiser of w = B z,   div D = div D_w.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from analytic.arrays import Array, as_rows, like, namespace
from analytic.levels import NoiseLevel
from analytic.mixtures import GaussianMixture
from analytic.posterior import ExactDenoiser


@dataclass(frozen=True, eq=False)
class Product(ExactDenoiser):
    """Independent patches, side by side along the last axis.

    Parameters
    ----------
    laws : tuple
        Laws of the patches, each with what is asked of the whole.

    Examples
    --------
    >>> law = Product((GaussianMixture([1.0], [0.0], 1.0), GaussianMixture([1.0], [5.0], 1e-12)))
    >>> law(np.array([2.0, 2.0]), NoiseLevel(1.0, 1.0)).round(9).tolist()
    [1.0, 5.0]
    """

    laws: tuple[Any, ...]

    @property
    def dim(self) -> int:
        """Dimension of the whole."""
        return sum(law.dim for law in self.laws)

    @property
    def smallest_variance(self) -> float:
        """Smallest of any patch."""
        return float(min(law.smallest_variance for law in self.laws))

    def parts(self, x: Array) -> list[Array]:
        """Return the patches of states ``(..., d)``."""
        as_rows(x, self.dim)  # refuses other shapes
        ends = np.cumsum([law.dim for law in self.laws]).tolist()
        return [x[..., end - law.dim : end] for law, end in zip(self.laws, ends, strict=True)]

    def _each(self, x: Array, name: str, level: NoiseLevel) -> list[Any]:
        parts = zip(self.laws, self.parts(x), strict=True)
        return [getattr(law, name)(part, level) for law, part in parts]

    def denoise(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``E[x_star | x]``, shape of ``x``."""
        return namespace(x).concat(self._each(x, "denoise", level), axis=-1)

    def moments(self, x: Array, level: NoiseLevel) -> tuple[Array, Array, Array]:
        """Return ``D``, ``div D`` and ``tr Cov(x_star | x)``."""
        each = self._each(x, "moments", level)
        whole = namespace(x).concat([one[0] for one in each], axis=-1)
        return whole, sum(one[1] for one in each), sum(one[2] for one in each)

    def log_prob(self, x: Array, level: NoiseLevel) -> Array:
        """Return the logarithm of the density at a level."""
        return sum(self._each(x, "log_prob", level))

    def jvp(self, x: Array, level: NoiseLevel, tangent: Array) -> Array:
        """Return ``D'(x) tangent``."""
        each = zip(self.laws, self.parts(x), self.parts(tangent), strict=True)
        return namespace(x).concat([law.jvp(u, level, v) for law, u, v in each], axis=-1)

    def mean(self) -> np.ndarray:
        """Return ``E[x_star]``, shape ``(d,)``."""
        return np.concatenate([law.mean() for law in self.laws])

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw ``n`` states, patch by patch."""
        return np.concatenate([law.sample(n, rng) for law in self.laws], axis=-1)


def marginal(law: GaussianMixture, axes: slice) -> GaussianMixture:
    """Return the law of some coordinates of a mixture's states.

    Examples
    --------
    >>> law = GaussianMixture([1.0], [[0.0, 3.0]], [[[1.0, 0.5], [0.5, 2.0]]])
    >>> round(float(marginal(law, slice(1, 2)).variance()), 12)
    2.0
    """
    return GaussianMixture(law.weights, law.means[:, axes], _full(law)[:, axes, axes])


def product_mixture(a: GaussianMixture, b: GaussianMixture) -> GaussianMixture:
    """Return two independent mixtures side by side as one, of all pairs of components.

    Examples
    --------
    >>> law = GaussianMixture([0.5, 0.5], [0.0, 1.0], 1.0)
    >>> product_mixture(law, law).means.tolist()
    [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    pairs = list(itertools.product(range(len(a.weights)), range(len(b.weights))))
    covariances = np.zeros((len(pairs), a.dim + b.dim, a.dim + b.dim))
    for k, (i, j) in enumerate(pairs):
        covariances[k, : a.dim, : a.dim] = _full(a)[i]
        covariances[k, a.dim :, a.dim :] = _full(b)[j]
    means = np.array([np.concatenate([a.means[i], b.means[j]]) for i, j in pairs])
    return GaussianMixture(np.outer(a.weights, b.weights).ravel(), means, covariances)


def _full(law: GaussianMixture) -> np.ndarray:
    """Return a mixture's covariances as matrices, ``(K, d, d)``."""
    basis = np.eye(law.dim) if law.basis is None else law.basis
    return np.asarray(basis * law.spectra[:, None, :] @ np.swapaxes(basis, -1, -2))


@dataclass(frozen=True, eq=False)
class Embedded(ExactDenoiser):
    """The law of ``U w`` in more dimensions, ``w`` of a law.

    Parameters
    ----------
    law : law
        Of ``w``, in ``k`` dimensions.
    frame : array (d, k)
        ``U``, of orthonormal columns.

    Raises
    ------
    ValueError
        If the columns are not orthonormal.

    Examples
    --------
    >>> law = Embedded(GaussianMixture([1.0], [0.0], 1.0), np.array([[0.6], [0.8]]))
    >>> law(np.array([1.2, 1.6]), NoiseLevel(1.0, 1.0)).round(9).tolist()
    [0.6, 0.8]
    """

    law: Any
    frame: np.ndarray

    def __post_init__(self) -> None:
        off = float(np.abs(self.frame.T @ self.frame - np.eye(self.law.dim)).max())
        if off > 1e-9:
            raise ValueError(f"frame must have orthonormal columns, got products off by {off}")

    @property
    def dim(self) -> int:
        """Dimension ``d``."""
        return len(self.frame)

    @property
    def smallest_variance(self) -> float:
        """0: the law lies in a subspace."""
        return 0.0

    def encode(self, x: Array) -> Array:
        """Return ``U' x``."""
        return x @ like(self.frame, x)

    def decode(self, w: Array) -> Array:
        """Return ``U w``."""
        return w @ like(self.frame.T, w)

    def denoise(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``E[x_star | x]``, shape of ``x``."""
        return self.decode(self.law.denoise(self.encode(x), level))

    def moments(self, x: Array, level: NoiseLevel) -> tuple[Array, Array, Array]:
        """Return ``D``, ``div D`` and ``tr Cov(x_star | x)``."""
        denoised, divergence, variance = self.law.moments(self.encode(x), level)
        return self.decode(denoised), divergence, variance

    def jvp(self, x: Array, level: NoiseLevel, tangent: Array) -> Array:
        """Return ``D'(x) tangent``."""
        return self.decode(self.law.jvp(self.encode(x), level, self.encode(tangent)))

    def mean(self) -> np.ndarray:
        """Return ``E[x_star]``, shape ``(d,)``."""
        return np.asarray(self.decode(self.law.mean()))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw ``n`` states."""
        return np.asarray(self.decode(self.law.sample(n, rng)))


def decoded(law: GaussianMixture, decoder: np.ndarray) -> Embedded:
    """Return the law of ``A z``, ``z`` of a mixture, for any linear decoder ``A`` of full rank.

    Parameters
    ----------
    law : GaussianMixture
        In ``k`` dimensions.
    decoder : array (d, k)
    """
    frame, inner = np.linalg.qr(decoder)
    moved = inner @ _full(law) @ inner.T
    symmetric = (moved + np.swapaxes(moved, 1, 2)) / 2
    return Embedded(GaussianMixture(law.weights, law.means @ inner.T, symmetric), frame)
