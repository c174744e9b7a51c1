"""Two Gaussian modes on the line by four numbers: a law whose flow is known to rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.exact import exact_flow
from analytic.flow.rectified import DATA, NOISE
from analytic.quadrature import composite_rule, mixture_breaks
from steinlab.claims.instruments.ranges import Ranges
from steinlab.verification.cases import SingleCase
from steinlab.verification.falsify.spaces import Parameter

MODES = (
    Parameter("weight", 0.1, 0.9),
    Parameter("apart", 0.0, 3.0),
    Parameter("first", 0.3, 1.5, True),
    Parameter("second", 0.3, 1.5, True),
)
"""The weight of the first mode, the distance of the means, and the deviations."""

STATE = Parameter("state", -3.0, 3.0)
"""A state, in deviations of the law at its level."""

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

    def squared_slope(self) -> float:
        """Return the mean square of the slope of the flow from noise to data.

        The least loss of a MeanFlow from noise to data is flow matching's times this.
        """
        ends, weights = rule(self.law, DATA)
        z = moved(self.law, ends, DATA, NOISE)
        density = np.exp(np.asarray(self.law.log_prob(ends[:, None], DATA)))
        slope = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) / density
        return float(weights @ slope**2)


EXAMPLE = TwoModes(0.4, 2.5, 0.3, 0.5)
"""Two narrow modes apart, for numbers that name one law."""


def on_modes(make: type[TwoModes], *numbers: Parameter, **lists: Any) -> Ranges:
    """Return the ranges of a case: those of the law, these numbers, and lists to choose from."""
    return Ranges(make, lists, (*MODES, *numbers), seeded=False)


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
