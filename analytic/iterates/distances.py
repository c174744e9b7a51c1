r"""Distances between the exact law ``q`` of an iterate and a mixture ``p`` on the line.

    F(q|p) = E_q (s_q - s_p)^2 = E_0 ((s_0 - X''/X')/X' - s_p(X))^2       no folds
    KL(q|p) = E_0 [log q(X) - log p(X)]
    W2^2    = E_0 (X - Q_p(F_q(X)))^2                  quantile functions, the monotone coupling
    energy  = 2 int (F_q - F_p)^2 dy

``E_0`` is over the initial ``x``. Where the map folds, ``s_q`` is like ``-1/(2 (y - y_f))`` on a
density like ``|y - y_f|^(-1/2)``: ``F`` is infinite, and leaving out ``|y - y_f| < c`` leaves

    F(c) = A c^(-3/2) (1 + o(1)),   A = sum_f p0(x_f) / (3 sqrt(2 |X''(x_f)|)).

Every number states the error of its integral: what the last halving of the quadrature moved,
rounding, and nothing for the mass of 1.6e-23 beyond 10 deviations.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri_exp

from analytic.flow.line import Line, Noised, increasing_root
from analytic.iterates.branches import covers, invert
from analytic.iterates.line import Fold, LineIterate
from analytic.levels import NoiseLevel
from analytic.mixtures import GaussianMixture
from analytic.quadrature import integrate, mixture_breaks

ROUNDING = 16 * np.finfo(float).eps
"""Rounding of an integral relative to its integrand's absolute size."""

GRADING = 4.0 ** -np.arange(1, 14)
"""Panels towards a singular end, as parts of the interval: the last is 1e-8 of it, where the
rounding of a preimage near a fold begins to govern."""


class Distance(NamedTuple):
    """A distance, its error, and why it is infinite where it is."""

    value: float
    error: float
    reason: str = ""


def fisher_divergence(law: LineIterate, target: GaussianMixture, level: NoiseLevel) -> Distance:
    """Return ``E_q (s_q - s_p)^2``; infinite, with the reason, where the map folds.

    Examples
    --------
    >>> from analytic.iterates.line import LineJet
    >>> normal, level = GaussianMixture([1.0], [0.0], 0.5), NoiseLevel(1.0, 0.5**0.5)
    >>> twice = LineIterate(normal, level, lambda x: LineJet(2 * x, 2 + 0 * x, 0 * x))
    >>> round(fisher_divergence(twice, normal, level).value, 12)       # (1 - 1/4)^2 4
    2.25
    >>> square = LineIterate(normal, level, lambda x: LineJet(x**2, 2 * x, 2 + 0 * x))
    >>> fisher_divergence(square, normal, level).value
    inf
    """
    if law.folds:
        return Distance(np.inf, 0.0, _reason(law.folds))
    return _under_base(law, _score_gap(law, target, level), _base_breaks(law))


def truncated_fisher(
    law: LineIterate,
    target: GaussianMixture,
    level: NoiseLevel,
    cut: float,
    *,
    window: tuple[float, float] | None = None,
    tolerance: float = 0.0,
) -> Distance:
    """Return the part of ``E_q (s_q - s_p)^2`` with ``|y - y_f| > cut`` for every fold.

    With ``window`` only initial states in it count, and only folds in it are cut out: a lower bound
    that diverges by itself if a fold lies inside. ``tolerance`` is that of
    :func:`~analytic.quadrature.integrate`.
    """
    ends = window or (-np.inf, np.inf)
    ys = np.array([fold.y for fold in law.folds if ends[0] < fold.x < ends[1]])
    x = invert(law.jet, law.branches, np.concatenate((ys - cut, ys + cut)))
    breaks = _singular_breaks(law) if window is None else _window_breaks(law, window)
    near = x.ravel()[(x.ravel() > ends[0]) & (x.ravel() < ends[1])]
    gap = _score_gap(law, target, level)

    def outside(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kept = (np.abs(law.jet(x).value[:, None] - ys) > cut).all(axis=-1)
        values, sizes = np.zeros_like(x), np.zeros_like(x)
        if kept.any():
            values[kept], sizes[kept] = gap(x[kept])
        return values, sizes

    return _under_base(law, outside, np.union1d(breaks, near), tolerance)


def _window_breaks(law: LineIterate, window: tuple[float, float]) -> np.ndarray:
    """Breaks of a window, graded towards the folds in it."""
    folds = law.branches.folds
    inside = folds[(folds > window[0]) & (folds < window[1])]
    breaks = np.union1d(np.array(window), inside)
    return np.union1d(breaks, _graded(breaks, inside))


def fisher_rate(folds: tuple[Fold, ...]) -> float:
    """Return ``A`` of ``F(c) = A c^(-3/2)``."""
    return float(sum(f.density / (3 * np.sqrt(2 * abs(f.curvature))) for f in folds))


def _reason(folds: tuple[Fold, ...]) -> str:
    where = ", ".join(f"{fold.x:.6g}" for fold in folds[:4])
    more = f" and {len(folds) - 4} more" if len(folds) > 4 else ""
    return (
        f"the map folds at x = {where}{more}: the density is like |y - y_f|^(-1/2) there, and the "
        f"integral beyond a distance c grows like {fisher_rate(folds):.3g} c^(-3/2)"
    )


FOLD_GAP = 1e-9
"""Nodes nearer to a fold are moved this far from it: closer, float64 does not tell its preimages
apart. The logarithm's integral over the gap is below 1e-7 of the density there."""


def _gap(fold: Fold) -> float:
    """How far nodes stay from a fold: where ``X'' (x - x_f)^2 / 2`` is 8 units of ``y_f``, too."""
    unit = np.finfo(float).eps * abs(fold.y)
    return float(max(FOLD_GAP * (1 + abs(fold.x)), np.sqrt(16 * unit / abs(fold.curvature))))


def _beside_folds(x: np.ndarray, folds: tuple[Fold, ...]) -> np.ndarray:
    for fold in folds:
        gap = _gap(fold)
        side = np.where(x < fold.x, -gap, gap)
        x = np.where(np.abs(x - fold.x) < gap, fold.x + side, x)
    return x


def _gap_error(law: LineIterate) -> float:
    """Bound what moving nodes beside the folds changes: ``2 gap |log gap|`` of the density."""
    gaps = [(fold.x, _gap(fold)) for fold in law.folds]
    heights = [np.exp(law.base.log_prob(np.array([[x]]), law.level))[0] for x, _ in gaps]
    parts = zip(heights, gaps, strict=True)
    return float(sum(2 * height * gap * abs(np.log(gap)) for height, (_, gap) in parts))


def kl_divergence(law: LineIterate, target: GaussianMixture, level: NoiseLevel) -> Distance:
    """Return ``KL(q|p)``, finite with folds too."""

    def integrand(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = _beside_folds(x, law.folds)
        y = law.jet(x).value
        own = law.log_density(y, known=x) if law.folds else law.along(x)
        log_p = target.log_prob(y[:, None], level)
        return own.log - log_p, np.abs(own.log) + np.abs(log_p) + own.noise

    found = _under_base(law, integrand, _singular_breaks(law))
    return Distance(found.value, found.error + _gap_error(law))


def wasserstein(law: LineIterate, target: GaussianMixture, level: NoiseLevel) -> Distance:
    """Return the 2-Wasserstein distance, by quantile functions."""

    def integrand(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y = law.jet(x).value
        ideal = quantile(target, level, *law.distribution_along(x))
        return (y - ideal) ** 2, np.abs(y - ideal) * (np.abs(y) + np.abs(ideal))

    breaks = np.concatenate((_singular_breaks(law), _coupled_breaks(law, target, level)))
    square = _under_base(law, integrand, np.unique(breaks))
    value = np.sqrt(max(square.value, 0.0))
    return Distance(float(value), min(np.sqrt(square.error), square.error / max(value, 1e-300)))


def energy(law: LineIterate, target: GaussianMixture, level: NoiseLevel) -> Distance:
    """Return ``2 E|Y-Z| - E|Y-Y'| - E|Z-Z'|`` for ``Y ~ q`` and ``Z ~ p``."""
    line = Line.of(target).at(level)

    def integrand(case: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG001
        flat = y.ravel()
        gap = law.distribution(flat)[0] - _cdf(line, flat)
        values = (2 * gap**2).reshape(*y.shape, 1)
        return values, 2 * np.abs(gap).reshape(values.shape)

    singular = np.array([fold.y for fold in law.folds])
    breaks = np.concatenate(
        (law.jet(_base_breaks(law)).value, mixture_breaks(target, level), singular)
    )
    breaks = np.unique(breaks)
    breaks = np.sort(np.concatenate((breaks, _graded(breaks, singular))))
    value, size, error = integrate(integrand, breaks[None]).single
    return Distance(value, error + ROUNDING * size)


def quantile(
    law: GaussianMixture, level: NoiseLevel, cdf: np.ndarray, sf: np.ndarray
) -> np.ndarray:
    """Return where a mixture at a level has the tails ``cdf`` and ``sf``, by the smaller one."""
    line = Line.of(law).at(level)
    low_tail = cdf < sf
    with np.errstate(divide="ignore"):
        logs = np.log(np.where(low_tail, cdf, sf))
    logs = np.maximum(logs, -700.0)  # P(|z| > 37): beyond every integral here
    sign = np.where(low_tail, 1.0, -1.0)
    ends = line.means + line.stds * (sign * ndtri_exp(logs))[:, None]
    slack = 1e-6 * (np.abs(ends).max(axis=1) + line.stds.max())

    def tail(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = line.split(y[:, None], np.zeros((len(y), len(line.means)), dtype=bool))
        other = line.split(y[:, None], np.ones((len(y), len(line.means)), dtype=bool))
        log_tail = np.where(low_tail, at.right_cdf, other.left_sf)
        return sign * (log_tail - logs), np.exp(at.right_density - log_tail)

    low, high = ends.min(axis=1) - slack, ends.max(axis=1) + slack
    return increasing_root(tail, low, high, unit=float(line.stds.min()))


def _cdf(line: Noised, y: np.ndarray) -> np.ndarray:
    nothing = np.zeros((len(y), len(line.means)), dtype=bool)
    return np.asarray(np.exp(line.split(y[:, None], nothing).right_cdf))


Pointwise = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""``x (N,) -> values, sizes``."""


def _score_gap(law: LineIterate, target: GaussianMixture, level: NoiseLevel) -> Pointwise:
    def gap(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y = law.jet(x).value
        own = law.log_density(y, known=x) if law.folds else law.along(x)
        model = target.score(y[:, None], level)[:, 0]
        gap = own.score - model
        return gap**2, np.abs(gap) * (np.abs(own.score) * (1 + own.noise) + np.abs(model))

    return gap


def _base_breaks(law: LineIterate) -> np.ndarray:
    """The initial law's breaks, and the nodes that resolve the map."""
    breaks, nodes = mixture_breaks(law.base, law.level), law.branches.nodes
    inside = (nodes > breaks[0]) & (nodes < breaks[-1])
    return np.union1d(breaks, nodes[inside])


def _singular_breaks(law: LineIterate) -> np.ndarray:
    """Breaks graded towards folds and towards the other preimages of their images."""
    breaks = _base_breaks(law)
    if not law.folds:
        return breaks
    y = np.array([fold.y for fold in law.folds])
    shadows = invert(law.jet, law.branches, y)[covers(law.branches, y)]
    singular = np.concatenate((law.branches.folds, shadows))
    inside = singular[(singular > breaks[0]) & (singular < breaks[-1])]
    breaks = np.unique(np.concatenate((breaks, inside)))
    return np.sort(np.concatenate((breaks, _graded(breaks, inside))))


def _coupled_breaks(law: LineIterate, target: GaussianMixture, level: NoiseLevel) -> np.ndarray:
    """Where the monotone coupling meets the target's own breaks, to an accuracy fit for breaks."""
    marks = mixture_breaks(target, level)
    line = Line.of(target).at(level)
    cdf = _cdf(line, marks)
    sf = _cdf(line._replace(means=-line.means), -marks)
    if not law.folds:
        tails = (cdf, sf) if law.branches.signs[0] > 0 else (sf, cdf)
        return quantile(law.base, law.level, *tails)
    images = np.sort(law.branches.values)
    below, above = law.distribution(images)
    y = np.where(cdf < sf, np.interp(cdf, below, images), np.interp(-sf, -above, images))
    return np.asarray(invert(law.jet, law.branches, y)[covers(law.branches, y)])


def _graded(breaks: np.ndarray, singular: np.ndarray) -> np.ndarray:
    """Breaks that shrink towards both sides of every singular break."""
    at = np.searchsorted(breaks, singular)
    parts = [
        singular[:, None] + side * GRADING * np.abs(breaks[neighbour] - singular)[:, None]
        for side, neighbour in (
            (-1, np.maximum(at - 1, 0)),
            (1, np.minimum(at + 1, len(breaks) - 1)),
        )
    ]
    return np.concatenate([part.ravel() for part in parts])


def _under_base(
    law: LineIterate, f: Pointwise, breaks: np.ndarray, tolerance: float = 0.0
) -> Distance:
    """Integrate ``f`` under the initial law."""

    def integrand(case: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG001
        flat = x.ravel()
        density = np.exp(law.base.log_prob(flat[:, None], law.level))
        values, sizes = f(flat)
        both = (density * part for part in (values, sizes))
        value, size = (part.reshape(*x.shape, 1) for part in both)
        return value, size

    ends = _base_breaks(law)[[0, -1]]
    inside = breaks[(breaks >= ends[0]) & (breaks <= ends[1])]
    value, size, error = integrate(integrand, inside[None], tolerance=tolerance).single
    return Distance(value, error + ROUNDING * size)
