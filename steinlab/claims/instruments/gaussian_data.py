"""Gaussian data with an axis per deviation, on which linear solvers are products of gains."""

from typing import Any

import numpy as np

from analytic import GaussianMixture


def law_of(deviations: Any, mean: Any = 0.0) -> GaussianMixture:
    """Return the Gaussian of these deviations ``(d,)`` about a mean, along the axes."""
    spread = np.asarray(deviations, dtype=float)[None]
    return GaussianMixture(np.ones(1), np.broadcast_to(mean, spread.shape), spread**2)
