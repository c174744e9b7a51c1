"""The optimal coefficient of the exact flow's map from a level to the data, on the line."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.rectified import DATA
from steinlab.claims.instruments.two_modes import moved, rule
from steinlab.coefficient.rounding import EPS, ROUNDING


class Terms(NamedTuple):
    """Expectations of the residual ``u = x - Phi(x)``, the level, the exact gain, the rounding."""

    reference: float  # E<u, x - x_star>
    with_state: float  # E<u, x>
    divergence: float  # E u'
    power: float  # E u^2
    kept: float  # Var(x - gamma* u) / Var(x_star)
    level: NoiseLevel
    gain: float  # of a Gaussian with the law's variance, in EDM
    error: float  # of the coefficient by either numerator

    @property
    def noise(self) -> float:
        """What multiplies ``E u'`` in the coefficient's numerator."""
        return float(self.level.sigma**2 / self.level.alpha)


def map_terms(law: GaussianMixture, level: NoiseLevel) -> Terms:
    """Integrate over a law on the line with two rules, whose difference is the error."""
    coarse, fine = (_integrals(law, level, nodes) for nodes in (8, 12))
    gain = math.sqrt(float(law.variance()) / (float(law.variance()) + level.ratio**2))
    weight = np.array([1, abs(1 - 1 / level.alpha), level.sigma**2 / level.alpha, 1])
    size = float((weight * np.abs(fine[:4])).sum()) + level.sigma**2 / level.alpha
    error = 2 * float((weight * np.abs(fine - coarse)[:4]).sum()) + 64 * ROUNDING * EPS * size
    reference, with_state, divergence, power, kept = map(float, fine)
    error /= power
    return Terms(reference, with_state, divergence, power, kept, level, gain, error)


def _integrals(law: GaussianMixture, level: NoiseLevel, nodes: int) -> np.ndarray:
    """Integrate over the data, from where the flow leads up to the level."""
    ends, weights = rule(law, DATA, nodes)
    x = moved(law, ends, DATA, level)
    u, mean = x - ends, np.asarray(law(x[:, None], level))[:, 0]
    logs = [np.asarray(law.log_prob(at[:, None], one)) for at, one in ((x, level), (ends, DATA))]
    slope = 1 - np.exp(logs[0] - logs[1])
    reference, power = weights @ (u * (x - mean)), weights @ u**2
    corrected = x - reference / power * u
    kept = weights @ (corrected - weights @ corrected) ** 2 / law.variance()
    return np.array([reference, weights @ (u * x), weights @ slope, power, float(kept)])
