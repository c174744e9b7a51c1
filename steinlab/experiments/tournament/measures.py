r"""What a cell's end points are judged by, a true sample's own part computed once.

Against a sample of the truth: the energy distance and the sliced distance of
:mod:`steinlab.metrics`. Against the law itself, or the truth's sample where no law is known:

    mode weights    sum_k |mean_i r_k(x_i) - w_k| / 2     total variation, r_k the responsibilities
    mean            |mean(x) - m| / sqrt(tr C)
    covariance      |cov(x) - C|_F / |C|_F

A state of the true law has ``E r_k(x) = w_k``, so the mode weights of true samples differ from
``w`` by sampling alone. All but the energy distance are biased upward by the sample's finite size;
their values for true samples are the noise floors.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from analytic import EmpiricalMixture, GaussianMixture
from analytic.arrays import log_sum_exp
from steinlab.metrics import student

PROJECTIONS = 50
"""Directions of the sliced distance, the same in every cell of a dimension."""

WIDE = 16
"""Coordinates from which distances come from one matrix product, ``|x|^2 + |y|^2 - 2 <x, y>``.

It leaves an error of ``eps |x|^2 / distance``, nothing beside the distances of states so wide.
"""

MEASURES = ("energy_distance", "sliced_w2", "flow_error", "mode_weights", "mean", "covariance")
"""Every measure; ``mode_weights`` only where the truth's modes are known."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The parts of an energy distance: of each state measured, and of each of the truth's.

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

    def ratio_error(self, other: Rows, ratio: float) -> float:
        """Return the standard error of ``distance - ratio * other.distance`` on the same rows.

        Both samples come from the same start states, row by row, and stand against the same truth:
        what they share drops out. Over the denominator of the ratio it is the ratio's own error, to
        first order.
        """
        return Rows(self.h - ratio * other.h, self.g - ratio * other.g).error


@dataclass(frozen=True, eq=False)
class Truth:
    """A sample of the truth with what is known of its law.

    Parameters
    ----------
    sample : array (m, d)
    mean, covariance : array (d,), (d, d)
    modes : GaussianMixture, optional
        Whose components are the modes.
    weights : array (K,), optional
        True weights of the modes.
    """

    sample: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    modes: GaussianMixture | None = None
    weights: np.ndarray | None = None

    @classmethod
    def of_law(cls, law: Any, sample: np.ndarray) -> Truth:
        """Return the truth of an exact law."""
        modes = law if isinstance(law, GaussianMixture) else None
        weights = modes.weights if modes is not None else None
        return cls(sample, law.mean(), covariance_of(law), modes, weights)

    @classmethod
    def of_sample(cls, sample: np.ndarray, modes: GaussianMixture | None) -> Truth:
        """Return the truth that a sample stands for, its states assigned to given modes."""
        weights = mode_weights(modes, sample) if modes is not None else None
        return cls(sample, sample.mean(axis=0), _covariance(sample), modes, weights)

    @functools.cached_property
    def within(self) -> np.ndarray:
        """Mean distance of each state to the others."""
        return _within(self.sample)

    @functools.cached_property
    def directions(self) -> np.ndarray:
        """Unit vectors ``(d, PROJECTIONS)``."""
        found = np.random.RandomState(0).randn(self.sample.shape[1], PROJECTIONS)
        return np.asarray(found / np.linalg.norm(found, axis=0))

    @functools.cached_property
    def sorted(self) -> np.ndarray:
        """Projections of the sample, sorted along each direction."""
        return np.sort(self.sample @ self.directions, axis=0)

    def measures(self, x: np.ndarray, rows: Rows | None = None) -> dict[str, float]:
        """Return every measure of a sample of as many states, with the energy distance's error."""
        rows = rows or self.rows(x)
        out = {
            "energy_distance": rows.distance,
            "energy_error": rows.error,
            "sliced_w2": self.sliced_w2(x),
        }
        if self.modes is not None and self.weights is not None:
            found = mode_weights(self.modes, x)
            out["mode_weights"] = float(np.abs(found - self.weights).sum() / 2)
        gap, size = x.mean(axis=0) - self.mean, math.sqrt(np.trace(self.covariance))
        out["mean"] = float(np.linalg.norm(gap)) / size
        spread = np.linalg.norm(_covariance(x) - self.covariance)
        out["covariance"] = float(spread / np.linalg.norm(self.covariance))
        return out

    def energy_distance(self, x: np.ndarray) -> tuple[float, float]:
        """Return :func:`steinlab.metrics.energy_distance` and its error at 32 states or more."""
        rows = self.rows(x)
        return rows.distance, rows.error

    def rows(self, x: np.ndarray) -> Rows:
        """Return the parts of a sample's energy distance."""
        n, m = len(x), len(self.sample)
        between = distances(x, self.sample)
        return Rows(between.sum(axis=1) / m - _within(x), between.sum(axis=0) / n - self.within)

    def sliced_w2(self, x: np.ndarray) -> float:
        """Return :func:`steinlab.metrics.sliced_w2` of a sample of as many states."""
        gaps = np.sort(x @ self.directions, axis=0) - self.sorted
        return math.sqrt(np.mean(gaps**2))


def distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return ``|x_i - y_j|``, shape ``(n, m)``."""
    if x.shape[1] < WIDE:
        return np.asarray(cdist(x, y))
    centre = y.mean(axis=0)
    x, y = x - centre, y - centre
    squares = x @ y.T
    squares *= -2.0
    squares += np.einsum("ij,ij->i", x, x)[:, None]
    squares += np.einsum("ij,ij->i", y, y)
    np.maximum(squares, 0.0, out=squares)
    return np.asarray(np.sqrt(squares, out=squares))


def _within(x: np.ndarray) -> np.ndarray:
    found = distances(x, x)
    np.fill_diagonal(found, 0.0)
    return np.asarray(found.sum(axis=1) / (len(x) - 1))


def mode_weights(modes: GaussianMixture, x: np.ndarray) -> np.ndarray:
    """Return the mean responsibilities of a mixture's components for clean states.

    Examples
    --------
    >>> law = GaussianMixture([0.5, 0.5], [-1.0, 1.0], 0.01)
    >>> mode_weights(law, np.array([[-1.0], [-1.1], [0.9], [-0.9]])).tolist()
    [0.75, 0.25]
    """
    logits = []
    for k, log_weight in enumerate(modes.log_weights):
        offset = x - modes.means[k]
        if modes.basis is not None:
            offset = offset @ modes.basis[k]
        spectrum = np.broadcast_to(modes.spectra[k], (modes.dim,))
        far = (offset**2 / spectrum).sum(axis=1) + np.log(spectrum).sum()
        logits.append(log_weight - 0.5 * far)
    _, shares = log_sum_exp(np.array(logits), axis=0)
    return np.asarray(shares.mean(axis=1))


def covariance_of(law: Any) -> np.ndarray:
    """Return the covariance of a law's states, shape ``(d, d)``."""
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
