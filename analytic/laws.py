r"""Exact laws beside the mixtures: bounded, on a manifold, heavy-tailed.

The posterior of ``x_star`` at a level is a law on an interval, or on a circle, whose density is the
exponential of a parabola, or of a cosine:

    interval:  p(t | x) ~ exp(-(y - a t)^2 / (2 sigma^2)),  t in [-1, 1],  a = alpha h,
    circle:    p(angle | x) ~ exp(kappa cos(angle)),        kappa = alpha R |x - alpha c| / sigma^2.

A truncated normal's mean and variance by differences of error functions cancel in its tails, a von
Mises law's ``1 - A^2 - A / kappa`` where ``kappa`` is large. So both are integrated by Gauss and
Legendre's rule over a window beyond which the density is below ``exp(-40)`` of its top. There the
logarithm is a parabola, or nearly, that falls by 100 at most: :data:`NODES` nodes integrate it to
rounding, and central moments are sums of terms ``>= 0``: they keep their digits at every level and
in every tail. Measured against mpmath (sigma 1e-6 to 1e6, 100 deviations out): ``D`` within 1e-14
of the law's size, ``div D`` within a relative 1e-12 besides what a rounding of ``x`` moves it by.

Then ``D = E[x_star | x]`` and ``D' = (alpha / sigma^2) Cov(x_star | x)``. Below ``eps`` of the
law's size, noise counts as none (``sigma`` is raised to there): the denoiser is then the nearest
point of the support.

``student`` is a mixture of zero means whose variances lie on a logarithmic grid: the trapezoid rule
for the integral over its scale, which converges like ``exp(-pi^2 / step)`` in ``log v``.

References
----------
Robert, "Simulation of truncated normal variables", Statistics and Computing 5, 1995.
Mardia and Jupp, "Directional Statistics", 2000, section 3.5.4.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from analytic.arrays import Array, as_rows, by_rows, like, log_sum_exp, namespace, un_row
from analytic.levels import NoiseLevel, require_fit
from analytic.mixtures import GaussianMixture
from analytic.parameters import finite
from analytic.quadrature import gauss_legendre

NODES = 48
FALL = 40.0
"""Depth of the window: ``exp(-40) = 4e-18`` of the density's top is left out."""

CHUNK_BYTES = 2**22
"""Size at which an array ``(NODES, N, d)`` is cut into chunks of rows."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """The posterior of ``x_star`` at a batch of states.

    ``D' = diag(across) + sum_j slope_j axis_j axis_j'`` with orthonormal axes.
    """

    log_prob: Array  # (..., N)
    denoised: Array  # (..., N, d)
    variance: Array  # (..., N), tr Cov(x_star | x)
    across: Array | None = None  # (..., N, d)
    axes: tuple[tuple[Array, Array], ...] = ()  # (..., N, 1), (..., N or 1, d)

    @property
    def divergence(self) -> Array:
        """``div D``, ``(..., N)``: a sum of terms >= 0."""
        slopes = [slope[..., 0] for slope, _ in self.axes]
        if self.across is not None:
            slopes.append(namespace(self.across).sum(self.across, axis=-1))
        return sum(slopes[1:], slopes[0])

    def jvp(self, tangent: Array) -> Array:
        """Return ``D' tangent``; axes of ``tangent`` before those of ``x`` count probes."""
        xp = namespace(tangent)
        out = 0.0 * tangent if self.across is None else self.across * tangent
        for slope, axis in self.axes:
            out = out + slope * axis * xp.sum(axis * tangent, axis=-1, keepdims=True)
        return out


class _Known(Protocol):
    @property
    def dim(self) -> int: ...

    def mean(self) -> np.ndarray: ...

    def variance(self) -> np.ndarray: ...

    def _posterior(self, x: Array, level: NoiseLevel) -> Posterior: ...

    def _ask(self, x: Array, level: NoiseLevel, part: Callable[[Posterior], Array]) -> Array: ...


class ByPosterior:
    """What follows from a law's posterior; the interface is that of a mixture.

    States have shape ``(..., N, d)`` or ``(d,)``, in any array library; a level holds numbers, or
    one a state, ``(N, 1)``.
    """

    @property
    def smallest_variance(self) -> float:
        """0: the support has an edge, or is thinner than any noise."""
        return 0.0

    def second_moment(self: _Known) -> np.ndarray:
        """Return ``E|x_star|^2``, shape ``()``."""
        return np.asarray(self.variance() + (self.mean() ** 2).sum())

    def __call__(self: _Known, x: Array, level: NoiseLevel) -> Array:
        """Return ``D(x) = E[x_star | x]``, shape of ``x``."""
        return self._ask(x, level, lambda post: post.denoised)

    def divergence(self: _Known, x: Array, level: NoiseLevel) -> Array:
        """Return ``div D(x)``, shape ``(..., N)``."""
        return self._ask(x, level, lambda post: post.divergence)

    def posterior_variance(self: _Known, x: Array, level: NoiseLevel) -> Array:
        """Return ``tr Cov(x_star | x)``, shape ``(..., N)``."""
        return self._ask(x, level, lambda post: post.variance)

    def log_prob(self: _Known, x: Array, level: NoiseLevel) -> Array:
        """Return the log density of ``alpha x_star + sigma eps`` at ``x``, shape ``(..., N)``."""
        return self._ask(x, level, lambda post: post.log_prob)

    def score(self: _Known, x: Array, level: NoiseLevel) -> Array:
        """Return ``grad log p(x) = (alpha D - x) / sigma^2``, shape of ``x``; ``sigma > 0``."""
        denoised = self._ask(x, level, lambda post: post.denoised)
        alpha, sigma = (
            like(value, x) if np.ndim(value) else value for value in (level.alpha, level.sigma)
        )
        return (alpha * denoised - x) / sigma**2

    def jvp(self: _Known, x: Array, level: NoiseLevel, tangent: Array) -> Array:
        """Return ``D'(x) tangent``; axes of ``tangent`` before those of ``x`` count probes."""
        require_fit(level, tuple(x.shape))
        along = tangent[..., None, :] if x.ndim == 1 else tangent
        out = self._posterior(as_rows(x, self.dim), level).jvp(along)
        return out[..., 0, :] if x.ndim == 1 else out

    def _ask(
        self: _Known, x: Array, level: NoiseLevel, part: Callable[[Posterior], Array]
    ) -> Array:
        rows = as_rows(x, self.dim)
        require_fit(level, tuple(rows.shape))
        if np.ndim(level.alpha) or np.ndim(level.sigma):
            return un_row(part(self._posterior(rows, level)), x)
        flat = namespace(x).reshape(rows, (-1, self.dim))
        size = max(1, CHUNK_BYTES // (8 * NODES * self.dim))

        def evaluate(some: Array) -> tuple[Array]:
            return (part(self._posterior(some, level)),)

        (out,) = by_rows(evaluate, size, flat)
        shape = (*rows.shape[:-1], *out.shape[1:])
        return un_row(namespace(x).reshape(out, shape), x)


class _Interval(NamedTuple):
    log_mass: Array  # log of int exp(-(y - a t)^2 / (2 sigma^2)) dt / 2
    mean: Array
    variance: Array
    sigma: Array  # as it was raised


def _interval(y: Array, reach: Any, sigma: Any) -> _Interval:
    """Integrate ``exp(-(y - reach t)^2 / (2 sigma^2))`` over ``t`` in [-1, 1], all of one shape.

    From the top ``t = 1 - begin`` (mirrored so that ``y >= 0``), with ``d`` the way down from it,
    the exponent is ``-g d - k d^2 / 2``: ``g = 0`` inside, ``begin = 0`` outside.
    """
    xp = namespace(y)
    one = xp.ones_like(y)
    reach, sigma = reach * one, sigma * one
    sigma = xp.maximum(sigma, float(xp.finfo(y.dtype).eps) * reach)
    away = xp.abs(y) - reach  # beyond the end
    k, g = (reach / sigma) ** 2, (reach / sigma) * (xp.maximum(away, 0.0 * one) / sigma)
    begin = xp.where(reach > 0, xp.maximum(-away, 0.0 * one) / xp.where(reach > 0, reach, one), 0.0)
    begin = xp.minimum(begin, one)
    steep = g + xp.sqrt(g * g + 2 * FALL * k)
    least = 2 * FALL / 4.0  # wider than the interval wherever the fall is gentler
    wide = 2 * FALL / xp.maximum(steep, least * one)
    low, high = -xp.minimum(begin, wide), xp.minimum(2 - begin, wide)
    nodes, weights = gauss_legendre(NODES)
    shape = (NODES, *(1,) * y.ndim)
    node, weight = like(nodes.reshape(shape), y), like(weights.reshape(shape), y)
    half = 0.5 * (high - low)
    d = 0.5 * (low + high) + half * node
    density = weight * xp.exp(-g * d - 0.5 * k * d * d)
    total = xp.sum(density, axis=0)
    centre = xp.sum(density * node, axis=0) / total
    spread = xp.sum(density * (node - centre) ** 2, axis=0) / total
    mean = 1 - begin - (0.5 * (low + high) + half * centre)
    top = 0.5 * (xp.maximum(away, 0.0 * one) / sigma) ** 2
    return _Interval(
        xp.log(0.5 * half * total) - top, xp.where(y < 0, -mean, mean), half**2 * spread, sigma
    )


def _log_normal(sigma: Array) -> Array:
    return -0.5 * math.log(2 * math.pi) - namespace(sigma).log(sigma)


def _numbers(level: NoiseLevel, x: Array) -> tuple[Any, Any]:
    """Return ``alpha`` and ``sigma`` as numbers, or as arrays like the states."""
    both = (level.alpha, level.sigma)
    alpha, sigma = (like(value, x) if np.ndim(value) else float(value) for value in both)
    return alpha, sigma


@dataclass(frozen=True, eq=False)
class Box(ByPosterior):
    r"""The uniform law on a box, ``low_i <= x_i <= high_i``.

    Given ``x``, each coordinate is a normal law around ``x_i / alpha`` of deviation
    ``sigma / alpha``, truncated to its side.

    Parameters
    ----------
    low, high : array (d,)
        ``low < high``, finite.

    Raises
    ------
    ValueError
        Naming the field, its value and the requirement.

    Examples
    --------
    >>> law = Box([0.0], [1.0])
    >>> float(law(np.array([7.0]), NoiseLevel(0.0, 1.0))[0]), float(law.variance()) * 12
    (0.5, 1.0)
    """

    low: np.ndarray
    high: np.ndarray

    def __post_init__(self) -> None:
        low, high = (np.atleast_1d(finite(name, getattr(self, name))) for name in ("low", "high"))
        if low.ndim != 1 or low.shape != high.shape:
            raise ValueError(
                f"low and high must be vectors of one length, got {low.shape} and {high.shape}"
            )
        if not np.all(low < high):
            i = int(np.argmin(high - low))
            raise ValueError(f"high must be > low, got {high[i]} and {low[i]} in coordinate {i}")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @property
    def dim(self) -> int:
        """Dimension ``d`` of the states."""
        return len(self.low)

    def mean(self) -> np.ndarray:
        """Return ``E[x_star]``, shape ``(d,)``."""
        return np.asarray(0.5 * (self.low + self.high))

    def variance(self) -> np.ndarray:
        """Return ``E|x_star - E[x_star]|^2``, shape ``()``."""
        return np.asarray(((self.high - self.low) ** 2).sum() / 12)

    def covariance(self) -> np.ndarray:
        """Return the covariance, shape ``(d, d)``."""
        return np.diag((self.high - self.low) ** 2) / 12

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw ``n`` states, shape ``(n, d)``."""
        return np.asarray(rng.uniform(self.low, self.high, (n, self.dim)))

    def _posterior(self, x: Array, level: NoiseLevel) -> Posterior:
        xp, (alpha, sigma) = namespace(x), _numbers(level, x)
        centre, half = like(self.mean(), x), like(0.5 * (self.high - self.low), x)
        found = _interval(x - alpha * centre, alpha * half, sigma)
        spread = half**2 * found.variance
        return Posterior(
            xp.sum(found.log_mass + _log_normal(found.sigma), axis=-1),
            centre + half * found.mean,
            xp.sum(spread, axis=-1),
            across=alpha * half**2 * (found.variance / found.sigma**2),
        )


@dataclass(frozen=True, eq=False)
class Segment(ByPosterior):
    r"""The uniform law on the straight line from ``start`` to ``end`` in ``d >= 2`` dimensions.

    Along the line it is a :class:`Box`; across it there is noise alone. It has no density at
    ``sigma = 0``, where ``log_prob`` is refused.

    Examples
    --------
    >>> law = Segment([0.0, 0.0], [0.0, 2.0])
    >>> law(np.array([5.0, 1.0]), NoiseLevel(1.0, 1.0)).tolist()
    [0.0, 1.0]
    """

    start: np.ndarray
    end: np.ndarray

    def __post_init__(self) -> None:
        start, end = (finite(name, getattr(self, name)) for name in ("start", "end"))
        if start.ndim != 1 or start.shape != end.shape or len(start) < 2:
            raise ValueError(
                "start and end must be vectors of one length >= 2, "
                f"got {start.shape} and {end.shape}"
            )
        if np.array_equal(start, end):
            raise ValueError(f"end must differ from start, got {end.tolist()} twice")
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "end", end)

    @property
    def dim(self) -> int:
        """Dimension ``d`` of the states."""
        return len(self.start)

    @property
    def half(self) -> float:
        """Half the length."""
        return 0.5 * float(np.linalg.norm(self.end - self.start))

    def mean(self) -> np.ndarray:
        """Return ``E[x_star]``, shape ``(d,)``."""
        return np.asarray(0.5 * (self.start + self.end))

    def variance(self) -> np.ndarray:
        """Return ``E|x_star - E[x_star]|^2``, shape ``()``."""
        return np.asarray(self.half**2 / 3)

    def covariance(self) -> np.ndarray:
        """Return the covariance, shape ``(d, d)``."""
        way = self.end - self.start
        return np.outer(way, way) / 12

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw ``n`` states, shape ``(n, d)``."""
        return np.asarray(self.start + rng.random((n, 1)) * (self.end - self.start))

    def _posterior(self, x: Array, level: NoiseLevel) -> Posterior:
        xp, (alpha, sigma) = namespace(x), _numbers(level, x)
        half, centre = self.half, like(self.mean(), x)
        axis = like((self.end - self.start) / (2 * half), x)
        offset = x - alpha * centre
        y = xp.sum(offset * axis, axis=-1, keepdims=True)
        found = _interval(y, alpha * half, sigma)
        rest = offset - y * axis
        far = xp.sum((rest / found.sigma) ** 2, axis=-1)
        log_prob = (found.log_mass + self.dim * _log_normal(found.sigma))[..., 0] - 0.5 * far
        spread = half**2 * found.variance
        slope = alpha * half**2 * (found.variance / found.sigma**2)
        mean = centre + half * found.mean * axis
        return Posterior(log_prob, mean, spread[..., 0], axes=((slope, axis),))

    def log_prob(self, x: Array, level: NoiseLevel) -> Array:
        """Return the log density of ``alpha x_star + sigma eps`` at ``x``; ``sigma > 0``."""
        _require_density(level)
        return super().log_prob(x, level)


@dataclass(frozen=True, eq=False)
class Circle(ByPosterior):
    r"""The uniform law on a circle in the plane.

    Given ``x`` the angle to it is von Mises: ``D = c + R A(kappa) (x - alpha c)/|x - alpha c|``,
    ``A = I_1 / I_0``. It has no density at ``sigma = 0``, where ``log_prob`` is refused.

    Parameters
    ----------
    radius : float
        > 0.
    centre : array (2,)

    Examples
    --------
    >>> law = Circle(2.0)
    >>> [round(float(v), 12) for v in law(np.array([0.0, 3.0]), NoiseLevel(1.0, 0.0))]
    [0.0, 2.0]
    """

    radius: float = 1.0
    centre: np.ndarray | tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        centre = finite("centre", self.centre)
        if centre.shape != (2,):
            raise ValueError(f"centre must have shape (2,), got {centre.shape}")
        if not 0 < self.radius < math.inf:
            raise ValueError(f"radius must be finite and > 0, got {self.radius}")
        object.__setattr__(self, "centre", centre)

    @property
    def dim(self) -> int:
        """2."""
        return 2

    def mean(self) -> np.ndarray:
        """Return ``E[x_star]``, shape ``(2,)``."""
        return np.array(self.centre)

    def variance(self) -> np.ndarray:
        """Return ``R^2``, shape ``()``."""
        return np.asarray(float(self.radius) ** 2)

    def covariance(self) -> np.ndarray:
        """Return the covariance, shape ``(2, 2)``."""
        return np.eye(2) * self.radius**2 / 2

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw ``n`` states, shape ``(n, 2)``."""
        angle = rng.uniform(0, 2 * math.pi, n)
        return np.asarray(self.centre + self.radius * np.c_[np.cos(angle), np.sin(angle)])

    def _posterior(self, x: Array, level: NoiseLevel) -> Posterior:
        xp, (alpha, sigma), radius = namespace(x), _numbers(level, x), float(self.radius)
        offset = x - alpha * like(self.mean(), x)
        far = xp.sqrt(xp.sum(offset**2, axis=-1, keepdims=True))
        one = xp.ones_like(far)
        reach, sigma = alpha * radius * one, sigma * one
        sigma = xp.maximum(sigma, float(xp.finfo(x.dtype).eps) * reach)
        aside = like(np.array([1.0, 0.0]), x) * one  # at the centre any direction serves
        normal = xp.where(far > 0, offset / xp.where(far > 0, far, one), aside)
        along = xp.stack((-normal[..., 1], normal[..., 0]), axis=-1)
        kappa = (reach / sigma) * (far / sigma)
        # half the angle, where 2 kappa sin^2 >= 2 kappa (2 half / pi)^2 = FALL
        widest = 0.5 * math.pi * xp.sqrt(0.5 * FALL / xp.maximum(kappa, 0.5 * FALL * one))
        nodes, weights = gauss_legendre(NODES)
        shape = (NODES, *(1,) * far.ndim)
        node, weight = like(nodes.reshape(shape), x), like(weights.reshape(shape), x)
        turn = 0.5 * widest * (1 + node)
        short = 2 * xp.sin(turn) ** 2  # 1 - cos
        density = weight * xp.exp(-kappa * short)
        total = xp.sum(density, axis=0)
        less = xp.sum(density * short, axis=0) / total  # 1 - A
        radial = xp.sum(density * (short - less) ** 2, axis=0) / total
        tangential = xp.sum(density * xp.sin(2 * turn) ** 2, axis=0) / total
        gain = alpha * radius**2
        mean = like(self.mean(), x) + xp.where(far > 0, radius * (1 - less), 0.0 * one) * normal
        top = 0.5 * ((far - reach) / sigma) ** 2
        log_prob = xp.log(widest * total / math.pi) - top + 2 * _log_normal(sigma)
        slopes = (gain * (radial / sigma**2), gain * (tangential / sigma**2))
        return Posterior(
            log_prob[..., 0],
            mean,
            radius**2 * (radial + tangential)[..., 0],
            axes=tuple(zip(slopes, (normal, along), strict=True)),
        )

    def log_prob(self, x: Array, level: NoiseLevel) -> Array:
        """Return the log density of ``alpha x_star + sigma eps`` at ``x``; ``sigma > 0``."""
        _require_density(level)
        return super().log_prob(x, level)


def _require_density(level: NoiseLevel) -> None:
    if not np.all(np.asarray(level.sigma) > 0):
        raise ValueError(
            f"sigma must be > 0 for a law without a density, got {np.min(level.sigma)}"
        )


FREEDOM = (3.0, 30.0)
"""Degrees of freedom: from where the variance is the sum's to where far weights would underflow."""

STEPS = (0.2, 0.5)
"""Largest step of the trapezoid rule in ``log v``, and the largest in deviations of ``log v``."""

FARTHEST = 1e8
"""Scales from the centre out to which :func:`student` is exact to rounding."""


def student(freedom: float, centre: float = 0.0, scale: float = 1.0) -> GaussianMixture:
    r"""Return Student's law on the line, as a mixture over its scale.

    ``x_star = centre + scale sqrt(v) z`` with ``freedom / v`` chi-squared: the trapezoid rule in
    ``log v`` makes the integral over ``v`` a sum of a few hundred Gaussians. Its noised density,
    denoiser and derivatives are those of Student's law to rounding (relatively, 1e-13) for states
    up to :data:`FARTHEST` scales from the centre. Being a mixture it has all that mixtures have,
    the exact flow by distribution functions and the coefficient by quadrature too. The mean is
    estimated well by samples, ``|x|^2`` only for ``freedom > 4``.

    Parameters
    ----------
    freedom : float
        Degrees of freedom, 3 to 30 (a law of more is nearly normal).
    centre, scale : float
        ``scale > 0``.

    Examples
    --------
    >>> law = student(5.0)
    >>> bool(abs(law.variance() - 5 / 3) < 1e-12)
    True

    References
    ----------
    Andrews and Mallows, "Scale mixtures of normal distributions", JRSS B 36, 1974.
    """
    if not FREEDOM[0] <= freedom <= FREEDOM[1]:
        raise ValueError(f"freedom must be in {FREEDOM[0]:g} to {FREEDOM[1]:g}, got {freedom}")
    if not 0 < scale < math.inf:
        raise ValueError(f"scale must be finite and > 0, got {scale}")
    half = 0.5 * freedom
    # exp(-half / v) falls by FALL below the top at one end, v^-(half - 1) beyond the farthest
    low = math.log(half / (2 * FALL + half + half * math.log(2 * FALL / half + 1)))
    high = max(2 * math.log(FARTHEST) + FALL / half, FALL / (half - 1))
    step = min(STEPS[0], STEPS[1] / math.sqrt(half + 0.5))
    u = np.arange(low, high + step, step)
    logits = -half * u - half * np.exp(-u)
    _, weights = log_sum_exp(logits, axis=0)
    return GaussianMixture(
        weights, np.full(len(u), float(finite("centre", centre))), scale**2 * np.exp(u)
    )
