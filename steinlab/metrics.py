r"""Distances between samples, each with its standard error, of which two hold as a normal's do.

:data:`METRICS` holds what end states can be measured by, by name: one function of :class:`Samples`
under :func:`metric`. Every bench measures by these names.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import ndtr, rel_entr, stdtrit

from analytic import EmpiricalMixture, GaussianMixture
from analytic.arrays import log_sum_exp
from steinlab.estimates import Estimate

CHUNK_PAIRS = 2**22
"""Pairs of states whose distances are held at once."""
FEW = 32
"""Below as many states the second-order part of an energy distance's variance is added."""
OTHER_BACKENDS = ("PYTORCH", "JAX", "TENSORFLOW", "CUPY")
"""Libraries that POT would import although it is given NumPy arrays."""


def student(n: int) -> float:
    """Return the factor of a standard error whose scatter is that of ``n`` numbers.

    ``t / 2`` with ``P(|T| > t) = P(|Z| > 2) = 4.6 %`` for Student's ``T`` of ``n - 1`` degrees of
    freedom: a small sample's scatter is often too small, and two errors then miss too often.

    Examples
    --------
    >>> [round(student(n), 2) for n in (2, 4, 8, 64)], student(10_000) < 1.0002
    ([6.98, 1.65, 1.21, 1.02], True)
    """
    return float(stdtrit(n - 1, ndtr(2.0))) / 2


def energy_distance(x: np.ndarray, y: np.ndarray) -> Estimate:
    r"""Return the energy distance between the laws of two independent samples.

    ``2 E|X-Y| - E|X-X'| - E|Y-Y'|`` with means over distinct pairs (a U-statistic: unbiased, so it
    can be negative). The standard error comes from the Hajek projection,

        Var = 4 Var_i(a_i - b_i) / n + 4 Var_j(a'_j - c_j) / m,

    ``a_i`` and ``b_i`` the mean distances of ``x_i`` to ``y`` and to the rest of ``x``, times
    :func:`student` of the smaller sample. Where the two laws are equal the projection vanishes, and
    the rows' own scatter makes the error 1.4 times too large in the mean square.

    Samples of fewer than :data:`FEW` states get Hoeffding's second-order variances besides, from
    distances centred by row and column. Two errors then miss in at most 8 % of draws; from 32
    states on in up to 17 % on the line, where the laws are nearer than their width. Of modes that a
    sample missed the error cannot know.

    Parameters
    ----------
    x : array (n, d)
    y : array (m, d)
        Independent of each other, ``n, m >= 2``. Time grows like ``(n + m)^2 d``.

    Raises
    ------
    ValueError
        If shapes do not fit or a value is not finite.

    References
    ----------
    Szekely and Rizzo, "Energy statistics", J. Stat. Plan. Inference 143, 2013.

    Examples
    --------
    >>> energy_distance(np.array([[0.0], [2.0]]), np.array([[1.0], [3.0]])).value
    -1.0
    """
    x, y = _samples(x, y)
    found, n, m = energy_rows(x, y), len(x), len(y)
    if min(n, m) >= FEW:
        return found.estimate
    pairs = ((x, y, 4), (x, x, 2 * n / (n - 1)), (y, y, 2 * m / (m - 1)))
    second = 2 * sum(c * _interaction(a, b) for a, b, c in pairs)
    error = math.hypot(found.error, student(min(n, m)) * math.sqrt(second))
    return Estimate(found.distance, error)


def _interaction(x: np.ndarray, y: np.ndarray) -> float:
    """Variance of ``|x_i - y_j|`` beyond what its row and its column say, over ``n m``."""
    d = np.asarray(cdist(x, y))
    rest = d - d.mean(axis=0) - d.mean(axis=1, keepdims=True) + d.mean()
    return float((rest**2).sum()) / ((len(x) - 1) * (len(y) - 1) * d.size)


@dataclass(frozen=True, eq=False)
class EnergyRows:
    """The parts of an energy distance, one per state of either sample.

    Parameters
    ----------
    h, g : array (n,), (m,)
        Mean distances to the other sample less those within the own; their means sum to the
        distance.
    """

    h: np.ndarray
    g: np.ndarray

    @property
    def distance(self) -> float:
        """The distance."""
        return float(self.h.mean() + self.g.mean())

    @property
    def error(self) -> float:
        """Its standard error, by the Hajek projection and Student's factor."""
        n, m = len(self.h), len(self.g)
        spread = math.sqrt(self.h.var(ddof=1) / n + self.g.var(ddof=1) / m)
        return 2 * student(min(n, m)) * spread

    @property
    def estimate(self) -> Estimate:
        """Both."""
        return Estimate(self.distance, self.error)

    def ratio_error(self, other: EnergyRows, ratio: float) -> float:
        """Return the standard error of ``distance - ratio * other.distance`` on the same rows.

        Both samples come from the same start states, row by row, and stand against the same truth:
        what they share drops out. Over the denominator of the ratio it is the ratio's own error, to
        first order.
        """
        return EnergyRows(self.h - ratio * other.h, self.g - ratio * other.g).error


Distances = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""``(n, d), (m, d) -> (n, m)``, Euclidean."""


def energy_rows(
    x: np.ndarray, y: np.ndarray, *, within: np.ndarray | None = None, distances: Distances = cdist
) -> EnergyRows:
    """Return the rows of :func:`energy_distance`; ``within`` is :func:`mean_within` of ``y``."""
    to_y, to_x = _distance_sums(x, y, distances)
    own = mean_within(y, distances) if within is None else within
    return EnergyRows(to_y / len(y) - mean_within(x, distances), to_x / len(x) - own)


def mean_within(x: np.ndarray, distances: Distances = cdist) -> np.ndarray:
    """Return the mean distance of each state to the others."""
    return _distance_sums(x, x, distances)[0] / (len(x) - 1)


def sliced_w2(x: np.ndarray, y: np.ndarray, *, num_projections: int, seed: int) -> Estimate:
    r"""Return the sliced 2-Wasserstein distance between two samples, computed by POT.

    ``sqrt(mean_k w_k)``, ``w_k`` the squared distance of the projections on a random direction;
    the error is that of the directions, ``std(w) / (2 value sqrt(num_projections))`` times
    :func:`student`. It knows
    nothing of the samples' finite size, which biases the value upward: compare two true samples.

    Parameters
    ----------
    x : array (n, d)
    y : array (m, d)
    num_projections : int
        Number of directions, >= 2.
    seed : int
        Seed of the directions.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite or ``num_projections < 2``.

    References
    ----------
    Bonneel, Rabin, Peyre and Pfister, "Sliced and Radon Wasserstein barycenters", 2015.

    Examples
    --------
    >>> sliced_w2(np.zeros((5, 1)), np.ones((5, 1)), num_projections=4, seed=0)
    Estimate(value=1.0, error=0.0)
    """
    x, y = _samples(x, y)
    if num_projections < 2:
        raise ValueError(f"num_projections must be >= 2, got {num_projections}")
    for backend in OTHER_BACKENDS:
        os.environ.setdefault(f"POT_BACKEND_DISABLE_{backend}", "1")
    import ot

    _, log = ot.sliced_wasserstein_distance(
        x, y, n_projections=num_projections, p=2, seed=seed, log=True
    )
    squares = np.asarray(log["projected_emds"])
    value = math.sqrt(squares.mean())
    return Estimate(value, _error_of_root(squares, value))


def rms_distance(x: np.ndarray, y: np.ndarray) -> Estimate:
    r"""Return the root mean square distance ``sqrt(mean_i |x_i - y_i|^2)`` of paired states.

    The standard error is ``std_i(|x_i - y_i|^2) / (2 value sqrt(n))`` (delta method) times
    :func:`student`.

    Parameters
    ----------
    x, y : array (n, d)
        ``n >= 2`` independent pairs.

    Raises
    ------
    ValueError
        If shapes differ or a value is not finite.

    Examples
    --------
    >>> rms_distance(np.zeros((4, 2)), np.full((4, 2), 3.0)).value == math.sqrt(18)
    True
    """
    x, y = _samples(x, y)
    if x.shape != y.shape:
        raise ValueError(f"y must have the shape of x, {x.shape}, got {y.shape}")
    squares = np.einsum("ij,ij->i", x - y, x - y)
    value = math.sqrt(squares.mean())
    return Estimate(value, _error_of_root(squares, value))


def _error_of_root(squares: np.ndarray, value: float) -> float:
    """Standard error of the root of a mean, by the delta method."""
    if value == 0:
        return 0.0
    n = len(squares)
    with np.errstate(over="ignore"):  # an infinite error is a true statement
        deviation = float(squares.std(ddof=1))
    return student(n) * deviation / (2 * value * math.sqrt(n))


def _samples(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    checked = []
    for name, given in (("x", x), ("y", y)):
        sample = np.asarray(given, dtype=np.float64)
        if sample.ndim != 2 or len(sample) < 2:
            raise ValueError(f"{name} must have shape (n >= 2, d), got {sample.shape}")
        if not np.all(np.isfinite(sample)):
            raise ValueError(f"{name} must be finite, got {sample[~np.isfinite(sample)][0]}")
        checked.append(sample)
    if checked[0].shape[1] != checked[1].shape[1]:
        raise ValueError(f"y must have {checked[0].shape[1]} columns, got {checked[1].shape[1]}")
    return checked[0], checked[1]


def _distance_sums(
    x: np.ndarray, y: np.ndarray, distances: Distances = cdist
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of ``|x_i - y_j|`` over ``j``, shape ``(n,)``, and over ``i``, shape ``(m,)``."""
    if x.shape[1] == 1:
        return _sums_on_the_line(x[:, 0], y[:, 0])
    rows, columns = np.empty(len(x)), np.zeros(len(y))
    step = max(1, CHUNK_PAIRS // len(y))
    for i in range(0, len(x), step):
        found = distances(x[i : i + step], y)
        if x is y:  # products leave the distance of a state to itself at a rounding error
            np.fill_diagonal(found[:, i:], 0.0)
        rows[i : i + step] = found.sum(axis=1)
        columns += found.sum(axis=0)
    return rows, columns


def _sums_on_the_line(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Do the same on the line, from the gaps between neighbours: no pair is formed.

    With ``z`` both samples in order and ``c_k`` how many of ``y`` are among ``z_0 ... z_k``,

        sum_j |z_i - y_j| = sum_{k<i} (z_{k+1} - z_k) c_k + sum_{k>=i} (z_{k+1} - z_k) (m - c_k).

    No term is negative, so that nothing cancels: the relative error is below ``(n + m + 2) eps``.
    """
    both, n = np.concatenate([x, y]), len(x)
    order = np.argsort(both, kind="stable")
    gaps, of_y = np.diff(both[order]), order >= n
    found = []
    for member in (of_y, ~of_y):
        count = np.cumsum(member)
        below, above = gaps * count[:-1], gaps * (count[-1] - count[:-1])
        sums = np.empty(len(both))
        sums[order] = np.append(0.0, below.cumsum()) + np.append(above[::-1].cumsum()[::-1], 0.0)
        found.append(sums)
    to_y, to_x = found
    return to_y[:n], to_x[n:]


def energy_distance_of_pairs(x: np.ndarray, y: np.ndarray) -> Estimate:
    r"""Return the energy distance between the two laws of independent pairs ``(x_i, y_i)``.

    The mean of ``|x_i - y_j| + |x_j - y_i| - |x_i - x_j| - |y_i - y_j|`` over ``i != j``: unbiased,
    for within a pair anything may depend. Where the pairs are close, as two runs from one start
    are, its error is far below that of :func:`energy_distance`; it is 0 for equal pairs. The
    standard error is the jackknife's, ``2 std_i(row means) (n - 1) / ((n - 2) sqrt(n))``, times
    :func:`student`.

    Parameters
    ----------
    x, y : array (n, d)
        ``n >= 3`` independent pairs.

    Raises
    ------
    ValueError
        If shapes differ or a value is not finite.

    Examples
    --------
    >>> x = np.array([[0.0], [2.0], [5.0]])
    >>> energy_distance_of_pairs(x, x)
    Estimate(value=0.0, error=0.0)
    """
    x, y = _samples(x, y)
    if x.shape != y.shape or len(x) < 3:
        raise ValueError(
            f"y must have the shape of x with 3 rows or more, got {x.shape}, {y.shape}"
        )
    n = len(x)
    own = np.linalg.norm(x - y, axis=1)
    to_y, to_x = _distance_sums(x, y)
    within_x, within_y = _distance_sums(x, x)[0], _distance_sums(y, y)[0]
    rows = (to_y + to_x - 2 * own - within_x - within_y) / (n - 1)
    error = 2 * student(n) * float(rows.std(ddof=1)) * (n - 1) / ((n - 2) * math.sqrt(n))
    return Estimate(float(rows.mean()), error)


GROUPS = 16
"""Groups of states that the Frechet distance's jackknife leaves out, one after the other."""


class Moments(NamedTuple):
    """Mean ``(d,)`` and covariance ``(d, d)``."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> Moments:
        """Return those of a sample, the covariance with ``n - 1``."""
        return cls(np.asarray(x.mean(axis=0)), _covariance(x))

    def to(self, other: Moments) -> float:
        r"""Return ``|m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C2^(1/2) C1 C2^(1/2))^(1/2)``.

        The last trace is the sum of the singular values of ``A'B``, ``C1 = A A'``, ``C2 = B B'``.
        """
        shift, roots = self.mean - other.mean, []
        for covariance in (self.covariance, other.covariance):
            values, vectors = np.linalg.eigh(covariance)
            roots.append(vectors * np.sqrt(np.maximum(values, 0)))
        shared = np.linalg.svd(roots[0].T @ roots[1], compute_uv=False).sum()
        return float(shift @ shift + np.trace(self.covariance + other.covariance) - 2 * shared)


class Frechet(NamedTuple):
    """A Frechet distance, the one extrapolated to infinitely many states, and an error of both."""

    value: float
    extrapolated: float
    error: float


def frechet_distance(x: np.ndarray, truth: np.ndarray | Moments) -> Frechet:
    r"""Return the Frechet distance of features to a sample, or to known moments (not its root).

    Its expectation lies above the laws' by ``b / n + O(n^-2)``, more for a wider law, and by
    ``d (d + 5) / (4 n)`` for two equal standard normals of which one is sampled: compare equal
    ``n``, or what is extrapolated. The extrapolation is a line in ``1/n`` through ``n`` and ``n (G
    - 1)/G`` states, the latter a mean over ``G`` groups left out in turn (the jackknife). The error
    is the jackknife's, times :func:`student`; that of the extrapolated value is the same to first
    order.

    Parameters
    ----------
    x : array (n, d)
        Independent features, ``n >= 4``; row ``i`` is of group ``i mod G``, ``G`` the less of
        :data:`GROUPS` and ``n // 2``.
    truth : array (m, d) or Moments
        A sample is thinned alike: its own bias goes with that of ``x``.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite or there are fewer than four states.

    References
    ----------
    Heusel et al., "GANs trained by a two time-scale update rule", 2017. Chong and Forsyth,
    "Effectively unbiased FID and Inception score and where to find them", 2020 (extrapolation by a
    line in ``1/n``). Efron and Tibshirani, "An introduction to the bootstrap", 1993 (jackknife).

    Examples
    --------
    >>> unit = Moments(np.zeros(1), np.eye(1))
    >>> [round(v, 3) for v in frechet_distance(np.array([[-1.0], [1.0], [2.0], [4.0]]), unit)]
    [3.42, 2.333, 20.952]
    """
    x, other = _samples(x, truth.mean[None].repeat(2, 0) if isinstance(truth, Moments) else truth)
    sampled = not isinstance(truth, Moments)
    if min(len(x), len(other) if sampled else 4) < 4:
        raise ValueError(f"samples must have 4 rows or more, got {len(x)} and {len(other)}")
    groups = min(GROUPS, len(x) // 2, len(other) // 2 if sampled else GROUPS)

    def without(group: int) -> float:
        kept = [rows[np.arange(len(rows)) % groups != group] for rows in (x, other)]
        return Moments.of(kept[0]).to(Moments.of(kept[1]) if sampled else truth)  # type: ignore[arg-type]

    value = without(groups)  # leaves out none
    left = np.array([without(group) for group in range(groups)])
    error = math.sqrt((groups - 1) * left.var()) * student(groups)
    return Frechet(value, groups * value - (groups - 1) * float(left.mean()), error)


def inception_score(shares: np.ndarray) -> Estimate:
    r"""Return ``exp(mean_i KL(p_i || mean_j p_j))`` of a classifier's probabilities.

    Between 1 and the number of classes. The classes' mean enters in second order only, so that the
    error is ``value std_i(KL_i) / sqrt(n)`` times :func:`student`. Biased upward like ``1/n``.

    Parameters
    ----------
    shares : array (n, K)
        What a classifier says of each state; rows sum to 1.

    Raises
    ------
    ValueError
        If a row does not sum to 1, or holds a negative number.

    References
    ----------
    Salimans et al., "Improved techniques for training GANs", 2016.

    Examples
    --------
    >>> inception_score(np.eye(3))
    Estimate(value=3.0000000000000004, error=0.0)
    """
    shares, _ = _samples(shares, shares)
    if shares.min() < 0 or np.abs(shares.sum(axis=1) - 1).max() > 1e-6:
        raise ValueError("shares must be >= 0 and sum to 1 in each row")
    rows = rel_entr(shares, shares.mean(axis=0)).sum(axis=1)
    value = math.exp(rows.mean())
    return Estimate(value, value * student(len(rows)) * float(rows.std(ddof=1)) / len(rows) ** 0.5)


class Neighbourhoods(NamedTuple):
    """What share of two samples lies in each other's balls, each with a standard error."""

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


def neighbourhoods(
    x: np.ndarray, y: np.ndarray, *, near: int = 3, dense: int = 5
) -> Neighbourhoods:
    r"""Return precision, recall, density and coverage of ``x`` with respect to the truth ``y``.

    A state's ball reaches to its k-th nearest neighbour in its own sample. Precision is the share
    of ``x`` within some ball of ``y``, recall the share of ``y`` within some ball of ``x`` (``k =
    near``). Density is the mean number of balls of ``y`` around a state of ``x``, over ``k``;
    coverage the share of ``y`` whose ball holds a state of ``x`` (``k = dense``). The errors count
    the states, given the balls. All depend on both numbers of states: compare equal ones.

    Parameters
    ----------
    x : array (n, d)
    y : array (m, d)
    near, dense : int
        From 1 to ``min(n, m) - 1``.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite or a sample has too few rows.

    References
    ----------
    Kynkaanniemi et al., "Improved precision and recall metric", 2019. Naeem et al., "Reliable
    fidelity and diversity metrics for generative models", 2020.

    Examples
    --------
    >>> x = np.arange(8.0)[:, None]
    >>> [one.value for one in neighbourhoods(x, x + 100)], neighbourhoods(x, x).coverage.value
    ([0.0, 0.0, 0.0, 0.0], 1.0)
    """
    x, y = _samples(x, y)
    if not 1 <= min(near, dense) <= max(near, dense) < min(len(x), len(y)):
        raise ValueError(f"near and dense must be in 1 to {min(len(x), len(y)) - 1}")
    between = cdist(x, y)
    own = [np.sort(cdist(one, one), axis=1) for one in (x, y)]
    inside = between <= own[1][:, dense]
    counts = (
        (between <= own[1][:, near]).any(axis=1),
        (between <= own[0][:, near, None]).any(axis=0),
        inside.sum(axis=1) / dense,
        inside.any(axis=0),
    )
    return Neighbourhoods(
        *(Estimate(float(n.mean()), float(n.std(ddof=1)) / math.sqrt(len(n))) for n in counts)
    )


@dataclass(frozen=True, eq=False)
class Truth:
    """A sample of the truth, with what is known of its law.

    Parameters
    ----------
    sample : array (m, d)
    law : law, optional
        Whose sample it is; without one the sample stands for it.
    named : GaussianMixture, optional
        Whose components are the modes, where the law itself is not known as a mixture.
    num_projections, seed : int
        Directions of the sliced distance, the same ones for all that is measured.
    """

    sample: np.ndarray
    law: Any | None = None
    named: GaussianMixture | None = None
    num_projections: int = 200
    seed: int = 0

    @property
    def modes(self) -> GaussianMixture | None:
        """The mixture to whose components end states are assigned, where there is one."""
        return self.law if isinstance(self.law, GaussianMixture) else self.named

    @functools.cached_property
    def weights(self) -> np.ndarray | None:
        """True weights of the modes."""
        modes = self.modes
        if modes is None:
            return None
        return mode_weights(modes, self.sample) if self.law is None else modes.weights

    @functools.cached_property
    def mean(self) -> np.ndarray:
        """Mean of the law, shape ``(d,)``."""
        return np.asarray(self.sample.mean(axis=0) if self.law is None else self.law.mean())

    @functools.cached_property
    def covariance(self) -> np.ndarray:
        """Covariance of the law, shape ``(d, d)``."""
        return _covariance(self.sample) if self.law is None else covariance_of(self.law)

    @property
    def moments(self) -> np.ndarray | Moments:
        """Mean and covariance of the law; the sample where there is none."""
        return self.sample if self.law is None else Moments(self.mean, self.covariance)

    @functools.cached_property
    def within(self) -> np.ndarray:
        """Mean distance of each state of the sample to the others."""
        return mean_within(self.sample)

    def rows(self, x: np.ndarray) -> EnergyRows:
        """Return the parts of a sample's energy distance to the truth's."""
        x, sample = _samples(x, self.sample)
        return energy_rows(x, sample, within=self.within)

    def sliced_w2(self, x: np.ndarray) -> Estimate:
        """Return the sliced distance of a sample to the truth's."""
        return sliced_w2(x, self.sample, num_projections=self.num_projections, seed=self.seed)


@dataclass(frozen=True, eq=False)
class Samples:
    """End states ``(n, d)`` and what they are held against.

    Parameters
    ----------
    x : array (n, d)
    truth : Truth
    ends : array (k, d), optional
        Where the flow leads the first ``k`` of them, each from its own start state.
    ends_error : float
        Root mean square error of those.
    back : callable, optional
        Where the run's solver leads such states, up the noise and down again.
    """

    x: np.ndarray
    truth: Truth
    ends: np.ndarray | None = None
    ends_error: float = 0.0
    back: Callable[[np.ndarray], np.ndarray] | None = None

    @functools.cached_property
    def rows(self) -> EnergyRows:
        """The parts of the energy distance."""
        return self.truth.rows(self.x)

    @functools.cached_property
    def frechet(self) -> Frechet | None:
        """The Frechet distance; None for fewer than four states."""
        if min(len(self.x), len(self.truth.sample)) < 4:
            return None
        return frechet_distance(self.x, self.truth.moments)

    @functools.cached_property
    def neighbourhoods(self) -> Neighbourhoods | None:
        """Precision and its kin, of the first states; None for fewer than six."""
        x, y = self.x[:PAIRED], self.truth.sample[:PAIRED]
        return neighbourhoods(x, y) if min(len(x), len(y)) > 5 else None

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray] | None:
        """End states beside the flow's, where two or more are known."""
        if self.ends is None or len(self.ends) < 2:
            return None
        return self.x[: len(self.ends)], self.ends

    def measured(self, names: Iterable[str]) -> dict[str, Estimate | None]:
        """Return metrics by name; None for one that has nothing here to compare with."""
        return {name: METRICS[name].of(self) for name in names}


class Metric(NamedTuple):
    """A metric: its heading in tables, and its function."""

    title: str
    of: Callable[[Samples], Estimate | None]


Measure = TypeVar("Measure", bound=Callable[[Samples], Estimate | None])

_METRICS: dict[str, Metric] = {}

METRICS: Mapping[str, Metric] = MappingProxyType(_METRICS)
"""Every metric by name."""


def metric(name: str, title: str) -> Callable[[Measure], Measure]:
    """Enter a function of :class:`Samples` among the metrics."""

    def enter(function: Measure) -> Measure:
        _METRICS[name] = Metric(title, function)
        return function

    return enter


@metric("energy_distance", "energy distance")
def _energy(found: Samples) -> Estimate:
    return found.rows.estimate


@metric("sliced_w2", "sliced W2")
def _sliced(found: Samples) -> Estimate:
    return found.truth.sliced_w2(found.x)


@metric("flow_error", "flow error")
def _flow_error(found: Samples) -> Estimate | None:
    """Root mean square distance to where the flow leads the very same start states."""
    if found.pairs is None:
        return None
    gap = rms_distance(*found.pairs)
    return Estimate(gap.value, float(np.hypot(gap.error, found.ends_error)))


@metric("mode_weights", "mode weights")
def _mode_weights(found: Samples) -> Estimate | None:
    """``sum_k |mean_i r_k(x_i) - w_k| / 2``: total variation, ``r_k`` the responsibilities."""
    modes, weights = found.truth.modes, found.truth.weights
    if modes is None or weights is None:
        return None
    gaps = np.abs(mode_weights(modes, found.x) - weights)
    return Estimate(float(gaps.sum() / 2), math.nan)


@metric("mean", "mean")
def _mean(found: Samples) -> Estimate:
    """``|mean(x) - m| / sqrt(tr C)``."""
    gap, size = found.x.mean(axis=0) - found.truth.mean, math.sqrt(np.trace(found.truth.covariance))
    return Estimate(float(np.linalg.norm(gap)) / size, math.nan)


@metric("covariance", "covariance")
def _covariances(found: Samples) -> Estimate:
    """``|cov(x) - C|_F / |C|_F``."""
    spread = np.linalg.norm(_covariance(found.x) - found.truth.covariance)
    return Estimate(float(spread / np.linalg.norm(found.truth.covariance)), math.nan)


RETURNED = 1000
"""States that go up the noise and down again."""


@metric("round_trip", "round trip")
def _round_trip(found: Samples) -> Estimate | None:
    """Root mean square distance to where the plain solver leads them, up the noise and down."""
    if found.back is None:
        return None
    x = found.x[:RETURNED]
    try:
        return rms_distance(x, found.back(x))
    except FloatingPointError:  # a state left the finite numbers
        return None


PAIRED = 1024
"""Pairs of an energy distance between runs, and states with balls: the cost is their square."""


@metric("paired_energy", "energy distance")
def _paired_energy(found: Samples) -> Estimate | None:
    """Energy distance to the flow's ends from the same start states."""
    if found.pairs is None or len(found.pairs[1]) < 3:
        return None
    return energy_distance_of_pairs(*(states[:PAIRED] for states in found.pairs))


@metric("frechet", "Frechet")
def _frechet(found: Samples) -> Estimate | None:
    """Of the states themselves: mean and covariance, biased upward."""
    return found.frechet and Estimate(found.frechet.value, found.frechet.error)


@metric("frechet_infinity", "Frechet, n = inf")
def _frechet_infinity(found: Samples) -> Estimate | None:
    """The same by a line in ``1/n``, without the bias."""
    return found.frechet and Estimate(found.frechet.extrapolated, found.frechet.error)


@metric("inception_score", "IS")
def _inception(found: Samples) -> Estimate | None:
    """With the modes' responsibilities for a classifier."""
    modes = found.truth.modes
    return None if modes is None else inception_score(responsibilities(modes, found.x))


def _share(name: str, found: Samples) -> Estimate | None:
    return found.neighbourhoods and getattr(found.neighbourhoods, name)


for _name in Neighbourhoods._fields:
    metric(_name, _name)(functools.partial(_share, _name))


def mode_weights(modes: GaussianMixture, x: np.ndarray) -> np.ndarray:
    """Return the mean responsibilities of a mixture's components for clean states.

    Examples
    --------
    >>> law = GaussianMixture([0.5, 0.5], [-1.0, 1.0], 0.01)
    >>> mode_weights(law, np.array([[-1.0], [-1.1], [0.9], [-0.9]])).tolist()
    [0.75, 0.25]
    """
    return np.asarray(responsibilities(modes, x).T.mean(axis=1))


def responsibilities(modes: GaussianMixture, x: np.ndarray) -> np.ndarray:
    """Return the probabilities of a mixture's components given clean states, shape ``(n, K)``."""
    logits = []
    for k, log_weight in enumerate(modes.log_weights):
        offset = x - modes.means[k]
        if modes.basis is not None:
            offset = offset @ modes.basis[k]
        spectrum = np.broadcast_to(modes.spectra[k], (modes.dim,))
        far = (offset**2 / spectrum).sum(axis=1) + np.log(spectrum).sum()
        logits.append(log_weight - 0.5 * far)
    _, shares = log_sum_exp(np.array(logits), axis=0)
    return np.asarray(shares.T)


def covariance_of(law: Any) -> np.ndarray:
    """Return the covariance of a law's states, shape ``(d, d)``."""
    if hasattr(law, "covariance"):
        return np.asarray(law.covariance())
    if isinstance(law, EmpiricalMixture):
        rows = law.data - law.mean()
        return np.asarray(rows.T @ rows / len(rows) + law.bandwidth**2 * np.eye(law.dim))
    spread = law.means - law.mean()
    out = (law.weights[:, None] * spread).T @ spread
    for k, weight in enumerate(law.weights):
        basis = np.eye(law.dim) if law.basis is None else law.basis[k]
        out += weight * (basis * law.spectra[k]) @ basis.T
    return np.asarray(out)


def _covariance(x: np.ndarray) -> np.ndarray:
    return np.atleast_2d(np.cov(x, rowvar=False))
