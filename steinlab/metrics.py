"""Distances between samples, each with its standard error, of which two hold as a normal's do."""

from __future__ import annotations

import math
import os

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import ndtr, stdtrit

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

    Where the laws are close the value is nearly ``a z + b (z^2 - 1)`` with a normal ``z``, whose
    projection ``a + 2 b z`` vanishes at ``z = -a / (2 b)``, where the value is off by
    ``a^2 / (4 b) + b``. Two errors hold down to ``z = -2`` if the variance has 3.1 times the
    quadratic part's ``2 b^2``. The rows' scatter brings it twice; samples of fewer than
    :data:`FEW` states get it twice more (Hoeffding's second-order variances, from distances
    centred by row and column). Then two errors miss in at most 2, 3, 3, 5, 6 and 8 % of draws at
    n = m = 2, 3, 4, 6, 8 and 16, over six shifts of four laws (normal, exponential, uniform, two
    modes) in one and two dimensions; without, in up to 7, 11, 11, 13, 16 and 15 %. From 32 states
    on up to 17 % miss on the line at shifts below the width. Of modes that a sample missed the
    error cannot know.

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
    n, m = len(x), len(y)
    to_y, to_x = _distance_sums(x, y)
    within_x, within_y = (_distance_sums(z, z)[0] / (len(z) - 1) for z in (x, y))
    h, g = to_y / m - within_x, to_x / n - within_y
    variance = 4 * (h.var(ddof=1) / n + g.var(ddof=1) / m)
    if min(n, m) < FEW:
        pairs = ((x, y, 4), (x, x, 2 * n / (n - 1)), (y, y, 2 * m / (m - 1)))
        variance += 2 * sum(c * _interaction(a, b) for a, b, c in pairs)
    return Estimate(float(h.mean() + g.mean()), student(min(n, m)) * math.sqrt(variance))


def _interaction(x: np.ndarray, y: np.ndarray) -> float:
    """Variance of ``|x_i - y_j|`` beyond what its row and its column say, over ``n m``."""
    d = np.asarray(cdist(x, y))
    rest = d - d.mean(axis=0) - d.mean(axis=1, keepdims=True) + d.mean()
    return float((rest**2).sum()) / ((len(x) - 1) * (len(y) - 1) * d.size)


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
    return student(n) * float(squares.std(ddof=1)) / (2 * value * math.sqrt(n))


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


def _distance_sums(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of ``|x_i - y_j|`` over ``j``, shape ``(n,)``, and over ``i``, shape ``(m,)``."""
    rows, columns = np.empty(len(x)), np.zeros(len(y))
    step = max(1, CHUNK_PAIRS // len(y))
    for i in range(0, len(x), step):
        distances = cdist(x[i : i + step], y)
        rows[i : i + step] = distances.sum(axis=1)
        columns += distances.sum(axis=0)
    return rows, columns


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
