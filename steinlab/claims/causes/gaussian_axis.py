"""Gaussian data on one axis in EDM coordinates: what a step of Euler does there, as it is coded."""

from typing import NamedTuple

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.exact import gaussian_gain
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.solvers import EULER

DEVIATIONS = (0.05, 2.0)
"""Standard deviations of the data."""

LEVELS = (0.002, 80.0)
"""Noise levels at which steps begin: EDM's."""


class EulerStep(NamedTuple):
    """Gain of a state at 1, what the step takes from it, the exact gain, and the rounding."""

    gain: float
    residual: float
    exact: float
    rounding: float


def euler_step(deviation: float, sigma: float, finer: float) -> EulerStep:
    """Take a step of Euler with the denoiser of ``N(0, c^2)`` from the state 1."""
    law = GaussianMixture(np.ones(1), np.zeros(1), deviation**2)
    s, t = NoiseLevel(1.0, sigma), NoiseLevel(1.0, finer)
    taken = EULER.step(law, np.ones((1, 1)), s, t, ())
    exact = float(gaussian_gain(deviation**2, s, t))
    return EulerStep(
        float(taken.state[0, 0]), float(taken.residual[0, 0]), exact, ROUNDING * EPS * 2
    )


def parts(deviation: float, sigma: float, finer: float) -> tuple[float, float]:
    """Return ``k = sigma'/sigma`` and ``v = c^2 / (c^2 + sigma^2)``."""
    return finer / sigma, deviation**2 / (deviation**2 + sigma**2)
