r"""Smooth error fields whose mean square under a law is known.

A field is a map ``e(x, level)`` with derivatives in closed form. Fourier fields vary on the scale
of the states, ``z = x / sqrt(alpha^2 + sigma^2)``, at every level:

    e(x) = sum_j a_j cos(<k_j, z> + b_j),
    e'(x) v = -sum_j a_j sin(<k_j, z> + b_j) <k_j, v> / sqrt(alpha^2 + sigma^2).

Their mean square is a finite sum of values of the law's characteristic function.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from array_api_compat import array_namespace

from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel
from analytic.arrays import Array, like
from analytic.characteristic import mean_square_of_waves
from analytic.quadrature import expect, tensor_nodes

Law = Any
"""A :class:`GaussianMixture`, or a stack of them, or an :class:`EmpiricalMixture`."""

NODES = (8, 12)
"""Nodes per panel and axis of the coarse and the fine rule, whose difference is the error."""

SAMPLES = 20_000
"""States that a mean square is sampled on where no rule serves: above 2 dimensions."""


class Size(NamedTuple):
    """``E|e|^2`` and its error; arrays ``(C,)`` for a stack. The error of a closed form is 0."""

    value: Any
    error: Any


class Field(Protocol):
    """A smooth error field."""

    def __call__(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``e(x)``, shape of ``x``."""

    def divergence(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``div e(x)``, shape ``(..., N)``."""

    def jvp(self, x: Array, level: NoiseLevel, tangent: Array) -> Array:
        """Return ``e'(x) v``; axes of ``v`` before those of ``x`` count probes."""

    def vjp(self, x: Array, level: NoiseLevel, cotangent: Array) -> Array:
        """Return ``e'(x)' v``."""

    def mean_square(self, law: Law, level: NoiseLevel) -> Size:
        """Return ``E|e|^2`` under the law at the level."""

    def rounding(self, x: Array, level: NoiseLevel) -> tuple[Array, ...]:
        """Return sizes of the rounding of ``e`` and ``e'``, in ``eps``, and of ``e''``, in 1-D."""

    def take(self, index: Any) -> Self:
        """Return the field of the cases ``index`` of a stack."""


@dataclass(frozen=True, eq=False)
class Waves:
    r"""A Fourier field ``sum_j a_j cos(<k_j, z> + b_j)``, ``z = x / sqrt(alpha^2 + sigma^2)``.

    With every ``a_j`` along its ``k_j`` it is a gradient field; otherwise it is not.

    Parameters
    ----------
    waves : array (m, d)
        ``k``.
    phases : array (m,)
        ``b``.
    vectors : array (m, d)
        ``a``.
    """

    waves: np.ndarray
    phases: np.ndarray
    vectors: np.ndarray

    def __post_init__(self) -> None:
        waves, phases, vectors = (
            np.asarray(v, dtype=np.float64) for v in (self.waves, self.phases, self.vectors)
        )
        if waves.ndim != 2 or phases.shape != waves.shape[:1] or vectors.shape != waves.shape:
            raise ValueError(
                "waves and vectors must have shape (m, d) and phases (m,), got "
                f"{waves.shape}, {vectors.shape} and {phases.shape}"
            )
        for name, value in (("waves", waves), ("phases", phases), ("vectors", vectors)):
            object.__setattr__(self, name, value)

    def __call__(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``e(x)``."""
        xp = array_namespace(x)
        return xp.cos(self._phase(x, level)) @ like(self.vectors, x)

    def divergence(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``-sum_j sin(.) <k_j, a_j> / sqrt(alpha^2 + sigma^2)``."""
        xp = array_namespace(x)
        along = like((self.waves * self.vectors).sum(axis=-1, keepdims=True), x)
        slope = (xp.sin(self._phase(x, level)) @ along) / _scale(level, x)
        return -slope[..., 0]

    def jvp(self, x: Array, level: NoiseLevel, tangent: Array) -> Array:
        """Return ``e'(x) v``."""
        return self._product(x, level, tangent, self.waves, self.vectors)

    def vjp(self, x: Array, level: NoiseLevel, cotangent: Array) -> Array:
        """Return ``e'(x)' v``: the two families of vectors change places."""
        return self._product(x, level, cotangent, self.vectors, self.waves)

    def mean_square(self, law: Law, level: NoiseLevel) -> Size:
        """Return ``E|e|^2``, in closed form."""
        scaled = self.waves / np.asarray(_scale(level, np.zeros(1)))
        value = mean_square_of_waves(law, level, scaled, self.phases, self.vectors)
        return Size(value, np.zeros_like(value))

    def rounding(self, x: Array, level: NoiseLevel) -> tuple[Array, ...]:
        """Return the sizes of the rounding errors: each wave's, its phase's included."""
        scale = _scale(level, x)
        turned = 1 + abs(x / scale) @ abs(self.waves).T
        slope = abs((self.waves * self.vectors).sum(axis=-1, keepdims=True))
        bend = (abs(self.waves).T @ slope) * np.ones_like(x) / scale**2
        return turned @ abs(self.vectors), turned @ slope / scale, bend

    def take(self, index: Any) -> Self:  # noqa: ARG002
        """Return the field itself: all cases of a stack share it."""
        return self

    def _phase(self, x: Array, level: NoiseLevel) -> Array:
        return (x / _scale(level, x)) @ like(self.waves.T, x) + like(self.phases, x)

    def _product(
        self, x: Array, level: NoiseLevel, v: Array, inward: np.ndarray, outward: np.ndarray
    ) -> Array:
        xp = array_namespace(x)
        along = (v / _scale(level, x)) @ like(inward.T, x)
        return -((xp.sin(self._phase(x, level)) * along) @ like(outward, x))


def _scale(level: NoiseLevel, x: Array) -> Any:
    """``sqrt(alpha^2 + sigma^2)``, a number or a stack's ``(C, 1, 1)`` in the library of ``x``."""
    root = np.sqrt(np.square(level.alpha) + np.square(level.sigma))
    return like(root, x) if np.ndim(root) else float(root)


def fourier(dim: int, *, terms: int = 8, frequency: float = 2.0, seed: int = 0) -> Waves:
    """Return a random Fourier field: Gaussian wave vectors, phases and directions.

    Parameters
    ----------
    dim : int
    terms : int
    frequency : float
        Root mean square length of a wave vector.
    seed : int
    """
    rng = np.random.default_rng(seed)
    waves = frequency / np.sqrt(dim) * rng.standard_normal((terms, dim))
    vectors = rng.standard_normal((terms, dim)) / np.sqrt(terms * dim)
    return Waves(waves, 2 * np.pi * rng.random(terms), vectors)


def ripple(dim: int, *, frequency: float = 30.0, seed: int = 0) -> Waves:
    """Return one wave along its own direction: small, and steep like ``frequency``.

    Its largest slope is ``frequency sqrt 2`` times its root mean square, over the scale of ``z``.
    """
    direction = np.random.default_rng(seed).standard_normal((1, dim))
    direction /= np.linalg.norm(direction)
    return Waves(frequency * direction, np.array([0.5]), direction)


def bias(vector: Any) -> Waves:
    """Return the constant field ``vector``: a wave of length 0.

    Examples
    --------
    >>> law = GaussianMixture([1.0], [[0.0, 0.0]], 1.0)
    >>> field = bias([3.0, 4.0])
    >>> float(field.mean_square(law, NoiseLevel(1.0, 1.0)).value)
    25.0
    """
    row = np.atleast_2d(np.asarray(vector, dtype=np.float64))
    return Waves(np.zeros_like(row), np.zeros(1), row)


@dataclass(frozen=True, eq=False)
class Difference:
    """The exact denoiser of another law, less the right one: ``e = D_wrong - D_right``.

    ``E|e|^2`` is integrated in 1 and 2 dimensions and sampled above; a stack has none.

    Parameters
    ----------
    right, wrong : law
    """

    right: Law
    wrong: Law

    def __call__(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``D_wrong(x) - D_right(x)``."""
        return self.wrong(x, level) - self.right(x, level)

    def divergence(self, x: Array, level: NoiseLevel) -> Array:
        """Return the difference of both divergences."""
        return self.wrong.divergence(x, level) - self.right.divergence(x, level)

    def jvp(self, x: Array, level: NoiseLevel, tangent: Array) -> Array:
        """Return the difference of both products."""
        return self.wrong.jvp(x, level, tangent) - self.right.jvp(x, level, tangent)

    def vjp(self, x: Array, level: NoiseLevel, cotangent: Array) -> Array:
        """Return the same as :meth:`jvp`: an exact denoiser's Jacobian is symmetric."""
        return self.jvp(x, level, cotangent)

    def mean_square(self, law: Law, level: NoiseLevel) -> Size:
        """Return ``E|e|^2`` with the error of its rule, or its standard error."""

        def square(x: np.ndarray) -> np.ndarray:
            return np.asarray((self(x, level) ** 2).sum(axis=-1))

        if getattr(law, "weights", np.ones(1)).ndim > 1:
            raise ValueError("law must be one law where a mean square is integrated, got a stack")
        if isinstance(law, GaussianMixture) and law.dim == 1:
            found = expect(lambda x: square(x)[:, None], law, level)
            return Size(float(found.value[0, 0]), float(found.error[0, 0]))
        if isinstance(law, GaussianMixture) and law.dim == 2:
            rules = (tensor_nodes(law, level, nodes=n) for n in NODES)
            coarse, fine = (float((weights * square(x)).sum()) for x, weights in rules)
            return Size(fine, abs(fine - coarse))
        rng = np.random.default_rng(0)
        data = law.sample(SAMPLES, rng)
        values = square(level.noised(data, rng))
        return Size(float(values.mean()), float(values.std(ddof=1)) / SAMPLES**0.5)

    def rounding(self, x: Array, level: NoiseLevel) -> tuple[Array, ...]:
        """Return the sizes of both denoisers, added."""
        sizes = (law.rounding(x, level) for law in (self.wrong, self.right))
        return tuple(a + b for a, b in zip(*sizes, strict=True))

    def take(self, index: Any) -> Self:
        """Return the difference of the laws at ``index``."""
        return type(self)(self.right.take(index), self.wrong.take(index))


def smoothing(law: Law, factor: Any) -> Difference:
    """Return the error of a wrong bandwidth: every component's deviations times ``factor``.

    Parameters
    ----------
    law : mixture
    factor : float, or array (C,) for a stack
        Above 0 and not 1: above 1 over-smoothed, below 1 under-smoothed.
    """
    times = np.asarray(factor, dtype=np.float64)
    if not np.all((times > 0) & (times < np.inf) & (times != 1)):
        raise ValueError(f"factor must be finite, > 0 and not 1, got {factor}")
    if not isinstance(law, EmpiricalMixture):
        times = times.reshape(times.shape + (1,) * (np.ndim(law.covariances) - times.ndim))
        return Difference(law, GaussianMixture(law.weights, law.means, times**2 * law.covariances))
    if law.bandwidth == 0:
        raise ValueError("bandwidth must be > 0 for its multiple to differ, got 0")
    return Difference(law, EmpiricalMixture(law.data, float(times) * law.bandwidth))
