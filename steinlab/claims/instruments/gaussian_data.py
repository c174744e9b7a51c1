"""Gaussian data with an axis per deviation, on which linear solvers are products of gains."""

from typing import Any

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from steinlab.diffusion.processes import EDM
from steinlab.solvers.gaussian_runs import forward_law


def law_of(deviations: Any, mean: Any = 0.0) -> GaussianMixture:
    """Return the Gaussian of these deviations ``(d,)`` about a mean, along the axes."""
    spread = np.asarray(deviations, dtype=float)[None]
    return GaussianMixture(np.ones(1), np.broadcast_to(mean, spread.shape), spread**2)


def standing_state(law: GaussianMixture) -> np.ndarray:
    """Return one state ``(1, d)`` at EDM's noisiest level that stands for all of a centred law.

    Its squares are the forward law's variances, so that its distances between runs of linear
    solvers are root mean squares over all states. For other costs it is one state of many.
    """
    return forward_law(law, NoiseLevel(1.0, EDM.ratio_max)).deviations[None]
