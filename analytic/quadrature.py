r"""Deterministic integrals under a mixture: adaptive in one dimension, tensor rules in a few.

One-dimensional integrals of many cases are computed together. The interval of each case is cut
where its components change (:func:`mixture_breaks`). Every round splits those panels, of all cases,
whose Gauss-Lobatto value differs from that of their halves. For an integrand that is analytic near
a panel the difference is a safe bound of the halves' error: if the panel's value is off by ``e``,
the halves' is off by about ``e^2``.

A feature between the nodes of both rules goes unnoticed. If an integrand is part of a derivative
``g'``, the exact integral ``g(b) - g(a)`` reveals it. ``integrate(..., watched=...)`` settles a
panel only where the rule gives that difference too, and counts the rest as error.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from analytic.levels import NoiseLevel
from analytic.mixtures import GaussianMixture

NODES = 17
"""Gauss-Lobatto nodes per panel. They include the ends of the panel, so a jump close to an end is
noticed."""

ROUNDS = 24
"""Most halvings; a panel that is not settled then counts its whole size as error."""

CROWD = 150
"""Unsettled panels at which a case is no longer refined. A feature keeps a few panels unsettled;
noise above the stated sizes keeps all of them, twice as many per round."""

PANEL_TOLERANCE = 4 * np.finfo(float).eps
"""A panel is settled when halving it moves its integral by less than this part of the case's
integral of ``|value|`` plus the panel's own size."""

BLOCK = 2**9
"""Panels evaluated at a time; temporaries then fit in a cache."""

REACH = np.array([0, 1.25, 2.5, 4, 5.5, 7.5, 10.0])
"""Breaks about a component, in its standard deviations; beyond 10 lies a mass of 1.5e-23."""

Sizes = np.ndarray | Callable[[], np.ndarray]
"""Sizes, or what computes them where they are asked for: a third of the panels needs none."""

Integrand = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, Sizes]]
"""``(case (P,), x (P, n)) -> values, sizes``, each ``(P, n, Q)``: ``Q`` integrands at the nodes of
``P`` panels, and the size of what was added up to form each value. Rounding errors are a few
``eps`` times that size, which exceeds ``|value|`` where terms cancel."""


@dataclass(frozen=True)
class Integral:
    """``Q`` integrals of ``C`` cases, each of shape ``(C, Q)``.

    ``size`` integrates the integrand's sizes, the scale of rounding; ``error`` sums what the last
    halving moved, an estimate from above, and the size of panels that never settled.
    """

    value: np.ndarray
    size: np.ndarray
    error: np.ndarray

    @property
    def single(self) -> tuple[float, float, float]:
        """Value, size and error of a lone integral of one case."""
        return self.value.item(), self.size.item(), self.error.item()


@lru_cache(maxsize=8)
def gauss_legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on ``[-1, 1]``, exact for polynomials of degree ``2 n - 1``."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return nodes, weights


@lru_cache(maxsize=8)
def gauss_lobatto(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on ``[-1, 1]`` with both ends, exact to degree ``2 n - 3``.

    The inner nodes are the roots of ``P'_{n-1}``, the weights ``2 / (n (n-1) P_{n-1}^2)``.
    """
    legendre = np.polynomial.legendre.Legendre.basis(n - 1)
    slope, bend = legendre.deriv(), legendre.deriv(2)
    inner = np.sort(slope.roots().real)
    for _ in range(2):  # Newton: eigenvalues are good to some 1e-14
        inner = inner - slope(inner) / bend(inner)
    nodes = np.concatenate(([-1.0], 0.5 * (inner - inner[::-1]), [1.0]))
    return nodes, 2 / (n * (n - 1) * legendre(nodes) ** 2)


def integrate(
    f: Integrand,
    breaks: np.ndarray,
    *,
    watched: int | None = None,
    tolerance: float = 0.0,
) -> Integral:
    """Integrate ``f`` over ``[breaks[c, 0], breaks[c, -1]]`` for every case ``c``.

    Parameters
    ----------
    f : callable
        ``(case, x) -> values, sizes`` of case ``case[p]`` at ``x[p]``.
    breaks : array (C, B)
        Increasing along the last axis; empty panels are allowed. Discontinuities belong here.
    watched : int, optional
        Index of an integrand to check for narrow features. The last two integrands of ``f`` must
        then be a derivative ``g'`` and ``g``; they are not integrated. ``g'`` is the sum of
        ``watched`` and of terms that are smooth wherever ``g`` is continuous, so
        ``|int g' - (g(b) - g(a))|`` measures what the rule misses of ``watched``. Its sum over the
        panels is part of the error of ``watched``.
    tolerance : float
        A panel is settled too where halving it moves its integral by at most this part of the
        case's integral of ``|value|``; what it moved counts as error.

    Examples
    --------
    >>> def powers(case, x):
    ...     values = (x ** (1 + case[:, None]))[..., None]
    ...     return values, abs(values)
    >>> integrate(powers, np.array([[0.0, 1.0], [0.0, 2.0]])).value[:, 0]
    array([0.5       , 2.66666667])
    """
    count, width = breaks.shape
    case = np.repeat(np.arange(count), width - 1)
    a, b = breaks[:, :-1].ravel(), breaks[:, 1:].ravel()
    keep = b > a
    case, a, b = case[keep], a[keep], b[keep]
    coarse, _ = _panels(f, watched, case, a, b, sized=False)
    scale = _by_case(case, np.abs(coarse), count)
    value, total, error = (np.zeros_like(scale) for _ in range(3))
    for round_ in range(ROUNDS):
        middle = 0.5 * (a + b)
        halves = (np.concatenate(ends) for ends in ((case, case), (a, middle), (middle, b)))
        (left, right), (left_size, right_size) = (
            np.split(part, 2) for part in _panels(f, watched, *halves)
        )
        with np.errstate(invalid="ignore"):  # an infinite integrand never settles
            moved = np.abs(left + right - coarse)
            if watched is not None:
                moved[:, -1] = np.abs(left[:, -1]) + np.abs(right[:, -1])
            rounding = PANEL_TOLERANCE * (scale[case] + left_size + right_size)
            settled = moved <= np.maximum(rounding, tolerance * scale[case])
        done = settled.all(axis=-1)
        if round_ == ROUNDS - 1:
            moved = np.where(settled, moved, left_size + right_size)
            done[:] = True
        crowded = np.bincount(case[~done], minlength=count) > CROWD
        done |= crowded[case]
        value += _by_case(case[done], (left + right)[done], count)
        total += _by_case(case[done], (left_size + right_size)[done], count)
        error += _by_case(case[done], moved[done], count)
        more = ~done
        if not more.any():
            break
        case = np.repeat(case[more], 2)
        a, b = _zip(a[more], middle[more]), _zip(middle[more], b[more])
        coarse = _zip(left[more], right[more])
    if watched is not None:
        error[:, watched] += error[:, -1]
        value, total, error = (part[:, :-1] for part in (value, total, error))
    return Integral(value, total, error)


def columns(integrands: Sequence[np.ndarray]) -> np.ndarray:
    """Return integrands ``(P, n)`` as ``(P, n, Q)``, each contiguous in memory."""
    return np.moveaxis(np.stack(integrands), 0, -1)


def _panels(
    f: Integrand,
    watched: int | None,
    case: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    *,
    sized: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Lobatto values and sizes of panels, ``(P, Q)``; the last column closes ``watched``.

    Unless ``sized``, the values stand for the sizes.
    """
    nodes, weights = gauss_lobatto(NODES)
    out = []
    for start in range(0, len(a), BLOCK):
        part = slice(start, start + BLOCK)
        half = 0.5 * (b[part] - a[part])[:, None]
        x = 0.5 * (a[part] + b[part])[:, None] + half * nodes
        # just inside: at a break that is a discontinuity each panel sees its own side
        x[:, 0], x[:, -1] = np.nextafter(a[part], b[part]), np.nextafter(b[part], a[part])
        values, asked = f(case[part], x)
        sizes = values if not sized else asked() if callable(asked) else asked
        weight = (half * weights)[..., None]
        value, size = (values * weight).sum(axis=1), (sizes * weight).sum(axis=1)
        if watched is not None:
            value[:, -2] -= values[:, -1, -1] - values[:, 0, -1]
            size[:, -2] += sizes[:, -1, -1] + sizes[:, 0, -1]
            value, size = value[:, :-1], size[:, :-1]
        out.append((value, size))
    return np.concatenate([v for v, _ in out]), np.concatenate([s for _, s in out])


def _by_case(case: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Sum the panels of each case in their order, so that its sum does not depend on others."""
    columns = [np.bincount(case, weights=column, minlength=count) for column in values.T]
    return np.stack(columns, axis=-1)


def _zip(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.stack((first, second), axis=1).reshape(-1, *first.shape[1:])


def mixture_breaks(law: GaussianMixture, level: NoiseLevel) -> np.ndarray:
    """Return breaks ``(C, B)`` for a stack of 1-D mixtures at a level, out to 10 deviations."""
    if law.dim != 1:
        raise ValueError(f"law must be one-dimensional, got {law.dim} dimensions")
    alpha, sigma = _column(level.alpha), _column(level.sigma)
    center = alpha * law.means[..., 0]
    spread = np.sqrt(alpha**2 * law.spectra[..., 0] + sigma**2)
    steps = np.concatenate((-REACH[:0:-1], REACH))
    marks = center[..., None] + spread[..., None] * steps
    return np.sort(marks.reshape(*marks.shape[:-2], -1), axis=-1)


def _column(value: object) -> np.ndarray:
    """A level's value against ``(C, K)``: arrays ``(C, 1, 1)`` lose an axis."""
    array = np.asarray(value, dtype=float)
    return array[..., 0] if array.ndim else array


def expect(
    f: Callable[[np.ndarray], np.ndarray],
    law: GaussianMixture,
    level: NoiseLevel,
    *,
    breaks: np.ndarray | None = None,
) -> Integral:
    """Return ``E[f(x)]`` for ``x = alpha x_star + sigma eps`` of one 1-D mixture.

    Parameters
    ----------
    f : callable
        ``x (n, 1) -> values (n, Q)``.
    breaks : array, optional
        Discontinuities of ``f``.

    Examples
    --------
    >>> law = GaussianMixture([0.5, 0.5], [-1.0, 1.0], 0.25)
    >>> round(float(expect(lambda x: x**2, law, NoiseLevel(1.0, 1.0)).value[0, 0]), 12)
    2.25
    """
    marks = mixture_breaks(law, level)
    if breaks is not None:
        inside = breaks[(breaks > marks[0]) & (breaks < marks[-1])]
        marks = np.sort(np.concatenate((marks, inside)))

    def integrand(case: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG001
        states = x.reshape(-1, 1)
        density = np.exp(law.log_prob(states, level))
        values = (f(states) * density[:, None]).reshape(*x.shape, -1)
        return values, np.abs(values)

    return integrate(integrand, marks[None])


def tensor_nodes(
    law: GaussianMixture, level: NoiseLevel, *, nodes: int = 12
) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes ``(n, d)`` and weights ``(n,)`` with ``sum w f(x) = E[f(x)]`` in few dimensions.

    A product of composite Gauss-Legendre rules cut at the marginal breaks of every coordinate;
    weights include the density. Meant for ``d <= 3`` and covariances that are not nearly singular.
    """
    axes = []
    for i in range(law.dim):
        variance = marginal_variances(law)[:, i]
        marginal = GaussianMixture(law.weights, law.means[:, i], variance)
        axes.append(composite_rule(mixture_breaks(marginal, level), nodes))
    grids = np.meshgrid(*(x for x, _ in axes), indexing="ij")
    weights = np.ones(1)
    for _, w in axes:
        weights = np.multiply.outer(weights, w)
    x = np.stack([g.ravel() for g in grids], axis=-1)
    return x, weights.ravel() * np.exp(law.log_prob(x, level))


def marginal_variances(law: GaussianMixture) -> np.ndarray:
    """Return the variance of every coordinate in every component, shape ``(..., K, d)``."""
    if law.basis is None:
        return np.broadcast_to(law.spectra, law.means.shape)
    return np.asarray((law.basis**2 * law.spectra[..., None, :]).sum(axis=-1))


def composite_rule(breaks: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the nodes and weights of ``n``-point Gauss-Legendre panels between sorted breaks."""
    nodes, weights = gauss_legendre(n)
    a, b = breaks[:-1], breaks[1:]
    keep = b > a
    center, half = (0.5 * (a + b))[keep, None], (0.5 * (b - a))[keep, None]
    return (center + half * nodes).ravel(), (half * weights).ravel()
