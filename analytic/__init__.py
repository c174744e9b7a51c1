"""Exact mathematics of known laws: the oracle, which imports none of what it judges."""

from analytic.composed import Embedded, Product, decoded, marginal
from analytic.empirical import EmpiricalMixture
from analytic.flow.exact import FlowResult, exact_flow, gaussian_gain
from analytic.levels import NoiseLevel
from analytic.mixtures import GaussianMixture

__all__ = [
    "Embedded",
    "EmpiricalMixture",
    "FlowResult",
    "GaussianMixture",
    "NoiseLevel",
    "Product",
    "decoded",
    "exact_flow",
    "gaussian_gain",
    "marginal",
]
