"""Exact mathematics of known laws: the oracle, which imports none of what it judges."""

from analytic.levels import NoiseLevel
from analytic.mixtures import GaussianMixture

__all__ = ["GaussianMixture", "NoiseLevel"]
