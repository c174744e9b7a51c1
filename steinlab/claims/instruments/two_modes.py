"""Two Gaussian modes on the line by four numbers: a law whose flow is known to rounding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.exact import exact_flow
from analytic.quadrature import composite_rule, mixture_breaks
from steinlab.verification.cases import SingleCase
from steinlab.verification.falsify.spaces import Parameter

MODES = (
    Parameter("weight", 0.1, 0.9),
    Parameter("apart", 0.0, 3.0),
    Parameter("first", 0.3, 1.5, True),
    Parameter("second", 0.3, 1.5, True),
)
"""The weight of the first mode, the distance of the means, and the deviations."""

NODES = 8
"""Gauss nodes per panel of an expectation."""

NOTHING = 1e-18
"""Weights that are left out: the far tails."""


@dataclass(frozen=True)
class TwoModes(SingleCase):
    """A centred law of two modes."""

    weight: float
    apart: float
    first: float
    second: float

    @property
    def law(self) -> GaussianMixture:
        """The law."""
        means = self.apart * np.array([self.weight - 1, self.weight])
        variances = np.array([self.first, self.second]) ** 2
        return GaussianMixture(np.array([self.weight, 1 - self.weight]), means, variances)

    def at(self, level: NoiseLevel, deviations: float) -> np.ndarray:
        """Return one state ``(1,)``, so many deviations of the law at a level from its mean."""
        spread = level.alpha**2 * float(self.law.variance()) + level.sigma**2
        return np.array([deviations * np.sqrt(spread)])


def on_flow(t: float) -> NoiseLevel:
    """Return the level of rectified flow at time ``t``: 1 is noise, 0 data."""
    return NoiseLevel(1 - t, t)


def moved(law: GaussianMixture, x: np.ndarray, s: NoiseLevel, t: NoiseLevel) -> np.ndarray:
    """Return where the exact flow leads states ``(N,)``."""
    return exact_flow(law, x[:, None], s, t).state[:, 0]


def rule(
    law: GaussianMixture, level: NoiseLevel, nodes: int = NODES
) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes ``(N,)`` and weights of expectations under a law on the line at a level."""
    x, weights = composite_rule(mixture_breaks(law, level), nodes)
    weights = weights * np.exp(np.asarray(law.log_prob(x[:, None], level)))
    kept = weights > NOTHING
    return x[kept], weights[kept]
