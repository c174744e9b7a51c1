"""What a cell's end points are judged by, the true sample's own part computed once.

A state of the true law has ``E r_k(x) = w_k``, so the mode weights of true samples differ from
``w`` by sampling alone. All metrics but the energy distance are biased upward by the sample's
finite size; their values for true samples are the noise floors.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from steinlab.estimates import Estimate
from steinlab.metrics import EnergyRows, Truth, energy_rows, mean_within

PROJECTIONS = 50
"""Directions of the sliced distance, the same in every cell of a dimension."""

WIDE = 16
"""Coordinates from which distances come from one matrix product, ``|x|^2 + |y|^2 - 2 <x, y>``.

It leaves an error of ``eps |x|^2 / distance``, nothing beside the distances of states so wide.
"""

MEASURES = ("energy_distance", "sliced_w2", "flow_error", "mode_weights", "mean", "covariance")
"""The metrics of a cell; ``mode_weights`` only where the truth's modes are known."""

RIVAL = ("energy_distance", "flow_error", "stopped")
"""What is kept of a plain solver that is not the cell's own."""


@dataclass(frozen=True, eq=False)
class QuickTruth(Truth):
    """The truth of thousands of samples of its own size: matrix products and sorted projections."""

    @functools.cached_property
    def within(self) -> np.ndarray:
        """Mean distance of each state of the sample to the others."""
        return mean_within(self.sample, distances)

    @functools.cached_property
    def directions(self) -> np.ndarray:
        """Unit vectors ``(d, PROJECTIONS)``."""
        found = np.random.RandomState(0).randn(self.sample.shape[1], PROJECTIONS)
        return np.asarray(found / np.linalg.norm(found, axis=0))

    @functools.cached_property
    def sorted(self) -> np.ndarray:
        """Projections of the sample, sorted along each direction."""
        return np.sort(self.sample @ self.directions, axis=0)

    def rows(self, x: np.ndarray) -> EnergyRows:
        """Return the parts of a sample's energy distance."""
        return energy_rows(x, self.sample, within=self.within, distances=distances)

    def sliced_w2(self, x: np.ndarray) -> Estimate:
        """Return :func:`steinlab.metrics.sliced_w2` of a sample of as many states, no error."""
        gaps = np.sort(x @ self.directions, axis=0) - self.sorted
        return Estimate(math.sqrt(np.mean(gaps**2)), math.nan)


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
