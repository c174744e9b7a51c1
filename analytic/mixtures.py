r"""Gaussian mixtures under the forward process: exact score, denoiser and derivatives.

At the level ``(alpha, sigma)`` a mixture ``sum_k w_k N(m_k, C_k)`` becomes
``sum_k w_k N(alpha m_k, S_k)`` with ``S_k = alpha^2 C_k + sigma^2 I``. Each ``C_k`` is factored
once, ``C_k = Q_k diag(l_k) Q_k'``; every level is then diagonal in the same basis. With
responsibilities ``r_k(x)`` and component posterior means

    mu_k(x) = m_k + Q_k diag(alpha l_k / v_k) Q_k' (x - alpha m_k),   v_k = alpha^2 l_k + sigma^2,

    D = sum_k r_k mu_k,
    D' = sum_k r_k Q_k diag(alpha l_k / v_k) Q_k'
       + (alpha / sigma^2) sum_k r_k (mu_k - D)(mu_k - D)'.

Both sums of ``D'`` are positive semidefinite, so its trace involves no cancellation.
"""

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np

from analytic.arrays import (
    Array,
    as_rows,
    by_rows,
    like,
    log_sum_exp,
    namespace,
    on_cpu,
    products,
    sum_over,
    un_row,
)
from analytic.levels import NoiseLevel, Scalar, require_fit
from analytic.parameters import components, factor, finite
from analytic.posterior import ExactDenoiser, Posterior, product
from analytic.pruning import LEAST, Near, Pruning, by_counts

CHUNK_BYTES = 2**20
"""Size at which an array ``(K, N, d)`` of an evaluation is cut into row chunks: a cache's."""

TURNS = 4
"""States per coordinate from which a table with matrices pays."""


@dataclass(frozen=True, eq=False)
class GaussianMixture(ExactDenoiser):
    r"""A Gaussian mixture, or a stack of them, exact at every noise level.

    Calling the object denoises, so a mixture is a denoiser: ``mixture(x, level) = E[x_star | x]``.
    States have shape ``(..., N, d)`` or ``(d,)``. A stack with weights ``(C, K)`` takes states
    ``(C, N, d)`` and levels of shape ``(C, 1, 1)``; a single law also takes one level per state,
    ``(N, 1)``. Computations run in the library and dtype of the states; parameters are kept in
    float64.

    Parameters
    ----------
    weights : array (..., K)
        Non-negative, summing to one.
    means : array (..., K, d), or (..., K) in one dimension
    covariances : scalar, or array (..., K), (..., K, d) or (..., K, d, d)
        One variance, one variance per component, diagonals, or full matrices; positive definite.
        ``(K, d)`` with ``K = d`` is refused if it could also be one matrix for all components.
    left_out : float, optional
        Share in [0, 1) that components left out at a state may have of the probability of all but
        the most probable one, see :mod:`analytic.pruning`; by default half the dtype's epsilon, 0
        for none. They are looked for among many components in two dimensions or more, on a CPU,
        for many states ``(N, d)`` at one level. The choice depends on values, so that
        ``torch.func.vmap`` over such batches needs 0.

    Raises
    ------
    ValueError
        Naming the field, its value and the requirement.

    Examples
    --------
    Two narrow modes at ``+-1``: the denoiser is nearly ``tanh(x / sigma^2)``.

    >>> law = GaussianMixture([0.5, 0.5], [-1.0, 1.0], 1e-12)
    >>> round(float(law(np.array([0.5]), NoiseLevel(1.0, 1.0))[0]), 12) == round(math.tanh(0.5), 12)
    True
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: Any
    _: KW_ONLY
    left_out: float | None = None
    spectra: np.ndarray = field(init=False, repr=False)
    basis: np.ndarray | None = field(init=False, repr=False)
    log_weights: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        weights, means = components(self.weights, self.means)
        covariances = finite("covariances", self.covariances)
        if self.left_out is not None and not 0 <= self.left_out < 1:
            raise ValueError(f"left_out must be in [0, 1), got {self.left_out}")
        spectra, basis = factor(covariances, weights.shape, means.shape[-1])
        with np.errstate(divide="ignore"):
            log_weights = np.log(weights)
        for name, value in (
            ("weights", weights),
            ("means", means),
            ("covariances", covariances),
            ("spectra", spectra),
            ("basis", basis),
            ("log_weights", log_weights),
        ):
            object.__setattr__(self, name, value)

    @property
    def dim(self) -> int:
        """Dimension ``d`` of the states."""
        return int(self.means.shape[-1])

    @cached_property
    def _sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest variance, and the largest or a mean's square, ``(..., 1, 1, 1)``."""
        axes, stack = (-2, -1), (..., None, None, None)
        most = np.maximum((self.means**2).max(axis=axes), self.spectra.max(axis=axes))
        return self.spectra.min(axis=axes)[stack], most[stack]

    def take(self, index: Any) -> Self:
        """Return the sub-stack at ``index``, an integer, a slice or an index array."""
        new = object.__new__(type(self))
        for name in ("weights", "log_weights", "means", "spectra", "basis", "covariances"):
            value = getattr(self, name)
            whole = value is None or np.ndim(value) == 0
            object.__setattr__(new, name, value if whole else value[index])
        object.__setattr__(new, "left_out", self.left_out)
        return new

    @property
    def smallest_variance(self) -> float:
        """Smallest eigenvalue of any component's covariance, over a whole stack."""
        return float(self.spectra.min())

    def mean(self) -> np.ndarray:
        """Return ``E[x_star]``, shape ``(..., d)``."""
        return np.asarray((self.weights[..., None] * self.means).sum(axis=-2))

    def second_moment(self) -> np.ndarray:
        """Return ``M = E|x_star|^2``, shape ``(...)``."""
        spread = self.spectra.sum(axis=-1) * (self.dim // self.spectra.shape[-1])
        return np.asarray((self.weights * ((self.means**2).sum(axis=-1) + spread)).sum(axis=-1))

    def variance(self) -> np.ndarray:
        """Return the total variance ``E|x_star - E[x_star]|^2``, shape ``(...)``: no cancellation.

        Examples
        --------
        >>> GaussianMixture([0.5, 0.5], [999.0, 1001.0], 0.25).variance()
        array(1.25)
        """
        spread = self.spectra.sum(axis=-1) * (self.dim // self.spectra.shape[-1])
        offset = self.means - self.mean()[..., None, :]
        return np.asarray((self.weights * ((offset**2).sum(axis=-1) + spread)).sum(axis=-1))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw ``n`` states from (each) data law, shape ``(..., n, d)``."""
        edges = np.cumsum(self.weights, axis=-1)[..., None, :-1]
        label = (rng.random((*self.weights.shape[:-1], n, 1)) > edges).sum(axis=-1)
        rows = label[..., None]
        noise = rng.standard_normal((*label.shape, self.dim))
        noise *= np.sqrt(np.take_along_axis(self.spectra, rows, axis=-2))
        if self.basis is not None:
            noise = self._rotate(noise, rows)
        return np.asarray(np.take_along_axis(self.means, rows, axis=-2) + noise)

    def _rotate(self, noise: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Turn each row ``(..., n, d)`` into the state basis of its component ``(..., n, 1)``."""
        assert self.basis is not None
        out = np.zeros_like(noise)
        for k in range(self.weights.shape[-1]):
            turned = noise @ np.swapaxes(self.basis[..., k, :, :], -1, -2)
            out = np.where(label == k, turned, out)
        return out

    def log_prob(self, x: Array, level: NoiseLevel) -> Array:
        """Return the log density of ``alpha x_star + sigma eps`` at ``x``, shape ``(..., N)``."""
        return self._evaluate(lambda post: (post.log_prob,), x, level)[0]

    def score(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``grad log p(x)`` at the level, shape of ``x``."""
        return self._evaluate(lambda post: (post.score,), x, level)[0]

    def denoise(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``D(x) = E[x_star | x]``, shape of ``x``."""
        return self._evaluate(lambda post: (post.denoised,), x, level)[0]

    def rounding(self, x: np.ndarray, level: NoiseLevel) -> tuple[np.ndarray, ...]:
        """Return sizes of the rounding of ``D`` and ``D'``, and ``|D''|``, on a line.

        See :attr:`analytic.posterior.Posterior.rounding`; each has the shape of ``x``.
        """
        return self._posterior(x, level).rounding

    def moments(self, x: Array, level: NoiseLevel) -> tuple[Array, Array, Array]:
        """Return ``D``, ``div D`` and ``V = tr Cov(x_star | x)`` in one pass."""
        found = self._evaluate(lambda post: (post.denoised, *post.moments), x, level)
        denoised, divergence, variance = found
        return denoised, divergence, variance

    def _evaluate(
        self, read: Callable[[Posterior], tuple[Array, ...]], x: Array, level: NoiseLevel
    ) -> tuple[Array, ...]:
        def evaluate(rows: Array, *some: Array) -> tuple[Array, ...]:
            return read(self._posterior(rows, level, *some))

        found = self._by_rows(evaluate, level, as_rows(x, self.dim))
        return found if x.ndim > 1 else tuple(un_row(out, x) for out in found)

    def jvp(self, x: Array, level: NoiseLevel, tangent: Array) -> Array:
        """Return ``D'(x) tangent``; axes of ``tangent`` before those of ``x`` count probes."""

        def evaluate(rows: Array, t: Array, *some: Array) -> tuple[Array]:
            return (self._posterior(rows, level, *some).jvp(t),)

        xp, rows = namespace(x), as_rows(x, self.dim)
        t = tangent[..., None, :] if x.ndim == 1 else tangent
        t = xp.broadcast_to(t, np.broadcast_shapes(t.shape, rows.shape))
        (out,) = self._by_rows(evaluate, level, rows, t)
        return out[..., 0, :] if x.ndim == 1 else out

    def _by_rows(
        self, evaluate: Callable[..., tuple[Array, ...]], level: NoiseLevel, *args: Array
    ) -> tuple[Array, ...]:
        """Evaluate in bounded memory; a stack of cases is left whole."""
        if self.weights.ndim > 1 or _many(level.alpha) or _many(level.sigma):
            return evaluate(*args)
        width = max(1, *(math.prod(arg.shape) // max(arg.shape[-2], 1) for arg in args))
        near = self._near(args[0], level)
        if near is not None:
            width *= 1 if self.basis is None else self.dim
            return by_counts(evaluate, near, CHUNK_BYTES // (8 * width), *args)
        return by_rows(evaluate, max(1, CHUNK_BYTES // (8 * self.weights.size * width)), *args)

    def _near(self, x: Array, level: NoiseLevel) -> Near | None:
        """Return the components that may count for states ``(N, d)``; None to solve for all."""
        left_out = self.left_out
        if left_out == 0 or x.ndim != 2 or not on_cpu(x):
            return None
        (count, dim), components = x.shape, self.weights.size
        sizes = components, dim, components * count * dim
        if any(size < least for size, least in zip(sizes, LEAST, strict=True)):
            return None
        # a table with matrices costs a product of as many states as there are coordinates
        if self.basis is not None and count < TURNS * dim:
            return None
        if left_out is None:
            left_out = float(namespace(x).finfo(x.dtype).eps) / 2
        alpha, sigma = float(level.alpha), float(level.sigma)
        # half the squared distance of two means, in deviations: were it the usual one, all count
        usual = alpha**2 * self._apart * (1 / (alpha**2 * self.spectra + sigma**2)).mean()
        if usual < math.log(components / left_out):
            return None
        parts = (self.log_weights, self.means, self.spectra, self.basis)
        with np.errstate(all="ignore"):  # what is no number keeps its component
            return Pruning.of(parts, (alpha, sigma), left_out, x).near(x)

    @cached_property
    def _apart(self) -> float:
        """Mean square distance of the means from their mean."""
        return float(((self.means - self.means.mean(axis=0)) ** 2).sum(axis=-1).mean())

    def _require_stack(self, x: Array) -> None:
        """Raise ``ValueError`` unless the states' leading axes are those of the stack."""
        stack, lead = self.weights.shape[:-1], tuple(x.shape[:-2])
        if stack and (
            len(stack) != len(lead)
            or not all(n in (1, m) for n, m in zip(stack, lead, strict=True))
        ):
            raise ValueError(
                f"x must have shape {(*stack, 'N', self.dim)} for a stack {stack} of laws, "
                f"got {tuple(x.shape)}"
            )

    def _posterior(self, x: Array, level: NoiseLevel, *some: Array) -> Posterior:
        """Return the posterior at states, of ``some`` components: see :meth:`Near.of`."""
        xp = namespace(x)
        self._require_stack(x)
        require_fit(level, tuple(x.shape))
        alpha, sigma = _wide(level.alpha, x), _wide(level.sigma, x)
        spectrum = like(self.spectra, x)[..., None, :]
        v = alpha**2 * spectrum + sigma**2
        centers = like(self.means, x)[..., None, :]
        basis = None if self.basis is None else like(self.basis, x)
        log_weights = like(self.log_weights, x)[..., None]
        log_det = sum_over(xp.log(v), -1) * (self.dim // self.spectra.shape[-1])
        if some:
            places, real = some
            spectrum, v, centers = (
                _taken(one[:, 0, ...], places) for one in (spectrum, v, centers)
            )
            basis = None if basis is None else _taken(basis, places)
            log_det, log_weights = (_taken(one[:, 0], places) for one in (log_det, log_weights))
            log_weights = xp.where(real, log_weights, like(-math.inf, x))
        offset = x[..., None, :, :] - alpha * centers
        if basis is not None:
            offset = product(offset, basis, each=bool(some))
        equal = v.shape[-1] == 1  # variances along all axes: divide their sum
        squares = products(offset, offset) / v[..., 0] if equal else products(offset, offset / v)
        logits = log_weights - 0.5 * (squares + log_det)
        total, r = log_sum_exp(logits, axis=-2)
        log_prob = total - 0.5 * self.dim * math.log(2 * math.pi)
        parts = (alpha, sigma, log_prob, r[..., None], offset, centers, spectrum, v)
        return Posterior(*parts, basis, *self._sizes)


def _taken(values: Array, places: Array) -> Array:
    """Return components ``(J, N, ...)`` by their places ``(J, N)``."""
    xp = namespace(values)
    flat = xp.take(values, xp.reshape(places, (-1,)), axis=0)
    return xp.reshape(flat, (*places.shape, *values.shape[1:]))


def _wide(value: Scalar, x: Array) -> Scalar:
    """Put the component axis into an array of levels; leave a number alone."""
    return like(value, x)[..., None, :, :] if _many(value) else float(value)


def _many(value: Scalar) -> bool:
    """Whether a level holds an array of values."""
    return type(value) is not float and np.ndim(value) > 0
