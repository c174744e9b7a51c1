"""Exact mathematics of known laws: the oracle, which imports none of what it judges."""

from analytic.empirical import EmpiricalMixture
from analytic.flow.exact import FlowResult, exact_flow, gaussian_gain
from analytic.levels import NoiseLevel
from analytic.mixtures import GaussianMixture

__all__ = [
    "EmpiricalMixture",
    "FlowResult",
    "GaussianMixture",
    "NoiseLevel",
    "exact_flow",
    "gaussian_gain",
]
