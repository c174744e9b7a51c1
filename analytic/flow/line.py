r"""Exact probability flow of one-dimensional mixtures: the monotone map of distribution functions.

``F_t(y) = F_s(x)``, written without cancellation. Let ``L`` hold the components with mean left of
``x`` and ``R`` the others; subtracting the weight of ``L`` from both sides leaves

    P(y) - N(y) = P(x) - N(x),   P = sum_R w_k cdf_k,   N = sum_L w_k sf_k,

where all terms are small tails. Hence, in logarithms and with positive terms only,

    H(y) = log(P_t(y) + N_s(x)) - log(N_t(y) + P_s(x)) = 0,

which increases in ``y``. If ``L`` is empty or full these are the two tails of ``F``. Between
separated modes, where ``F`` is nearly constant, the equation is one for the small difference from
that constant.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple, Self

import numpy as np
from scipy.special import log_ndtr, ndtri_exp

from analytic.levels import NoiseLevel
from analytic.mixtures import GaussianMixture

MAX_ITERATIONS = 200
ROUNDING = 8 * np.finfo(np.float64).eps
"""Relative rounding error allowed to one logarithm of a tail and to one argument of it."""
HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)


class Line(NamedTuple):
    """A one-dimensional mixture; every array has shape ``(K,)``, the weights are positive."""

    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray

    @classmethod
    def of(cls, law: GaussianMixture) -> Self:
        """Return a law in one dimension, components of weight zero left out."""
        kept = law.weights > 0
        return cls(law.weights[kept], law.means[kept, 0], law.spectra[kept, 0])

    def at(self, level: NoiseLevel) -> Noised:
        """Return the mixture at a level, or at a stack of them, ``(C, 1, 1)``."""
        stds = np.sqrt(level.alpha**2 * self.variances + level.sigma**2)
        return Noised(np.log(self.weights), level.alpha * self.means, stds)


class Noised(NamedTuple):
    """A mixture at a level, evaluated at states ``(..., N, 1)``."""

    log_weights: np.ndarray
    means: np.ndarray
    stds: np.ndarray

    def split(self, x: np.ndarray, left: np.ndarray) -> Split:
        """Return tails and densities of the groups ``left`` (a mask ``(..., N, K)``) and right."""
        z = (x - self.means) / self.stds
        tails = self.log_weights + log_ndtr(np.where(left, -z, z))
        densities = self.log_weights - np.log(self.stds) - 0.5 * z**2 - HALF_LOG_2PI
        parts, groups = np.stack((tails, densities))[:, None], np.stack((~left, left))
        (cdf, sf), (right, other) = _log_sum(np.where(groups, parts, -np.inf))
        return Split(cdf, sf, right, other)


class Split(NamedTuple):
    """Logarithms at states, each of shape ``(..., N)``."""

    right_cdf: np.ndarray  # P
    left_sf: np.ndarray  # N
    right_density: np.ndarray
    left_density: np.ndarray

    @property
    def density(self) -> np.ndarray:
        """Log density of both groups."""
        total: np.ndarray = np.logaddexp(self.right_density, self.left_density)
        return total


def line_flow(
    line: Line, x: np.ndarray, s: NoiseLevel, t: NoiseLevel
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return ``F_t^{-1}(F_s(x))`` and a bound of its rounding error, both of shape ``(..., N)``.

    The error is first order in the rounding: an error ``eps |x|`` of the state reaches ``y`` by the
    factor ``f_s(x) / f_t(y)``, one of ``eps max(1, |log|)`` of a tail by ``(P + N) / f_t(y)``.

    Parameters
    ----------
    line : Line
    x : array (..., N)
    s, t : NoiseLevel
        Levels of ``x`` and of the result, at both of which the law has a density; stacks of them,
        ``(C, 1, 1)``, for states ``(C, N)``.
    """
    column = x[..., None]
    source, target = line.at(s), line.at(t)
    left = column > source.means
    start = source.split(column, left)

    def balance(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``H(y)`` and its derivative."""
        end = target.split(y[..., None], left)
        rising = np.logaddexp(end.right_cdf, start.left_sf)
        falling = np.logaddexp(end.left_sf, start.right_cdf)
        with np.errstate(over="ignore"):  # where it is infinite the root finder bisects
            slope = np.exp(end.right_density - rising) + np.exp(end.left_density - falling)
        return rising - falling, slope

    y = increasing_root(balance, *_bracket(source, target, column), unit=target.stds.min(axis=-1))
    end = target.split(y[..., None], left)
    total = np.logaddexp(end.right_cdf, start.left_sf)
    with np.errstate(over="ignore"):  # an infinite error is a true statement
        tails = np.exp(total - end.density) * np.maximum(1.0, np.abs(total))
        inputs = np.exp(start.density - end.density) * _size(column, source)
    error: np.ndarray = ROUNDING * (tails + inputs + _size(y[..., None], target))
    return y, error


def _size(x: np.ndarray, law: Noised) -> np.ndarray:
    """Magnitude of the numbers subtracted in an argument, shape ``(..., N)``."""
    sizes: np.ndarray = np.abs(x[..., 0]) + np.abs(law.means).max(axis=-1)
    return sizes


def _bracket(source: Noised, target: Noised, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantile of the mixture: between the least and the greatest of its components'."""
    nothing = np.zeros(np.broadcast_shapes(x.shape, source.means.shape), dtype=bool)
    log_cdf = source.split(x, nothing).right_cdf
    log_sf = source.split(x, ~nothing).left_sf
    z = np.where(log_cdf < log_sf, ndtri_exp(log_cdf), -ndtri_exp(log_sf))[..., None]
    quantiles = target.means + target.stds * z
    slack = 1e-6 * (np.abs(quantiles).max(axis=-1) + target.stds.max(axis=-1))
    return quantiles.min(axis=-1) - slack, quantiles.max(axis=-1) + slack


def increasing_root(
    function: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    low: np.ndarray,
    high: np.ndarray,
    *,
    unit: np.ndarray | float,
) -> np.ndarray:
    """Roots of increasing functions in ``[low, high]``, by Newton steps that bisection guards.

    They are resolved to rounding of ``|y| + unit``.
    """
    eps = np.finfo(np.float64).eps
    y, step = 0.5 * (low + high), high - low
    for _ in range(MAX_ITERATIONS):
        value, slope = function(y)
        low, high = np.where(value < 0, y, low), np.where(value < 0, high, y)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            newton = y - value / slope
        # a step that does not halve the one before is left to bisection
        usable = (newton >= low) & (newton <= high) & (2 * np.abs(newton - y) <= np.abs(step))
        usable &= np.isfinite(slope)
        new = np.where(usable, newton, 0.5 * (low + high))
        new = np.where(value == 0, y, new)
        y, step = new, new - y
        resolved = eps * (np.abs(y) + unit)
        if np.all((np.abs(step) <= resolved) | (high - low <= resolved)):
            return np.asarray(y)
    raise ArithmeticError(f"no root within {MAX_ITERATIONS} steps, widest {np.max(high - low)}")


def _log_sum(terms: np.ndarray) -> np.ndarray:
    """Log of the sum of exponentials over the last axis; ``-inf`` where every term is.

    A few columns are added one by one, in NumPy's order: it is slow along a short last axis.
    """
    columns = [terms[..., k] for k in range(terms.shape[-1])] if terms.shape[-1] < 8 else []
    top = reduce(np.maximum, columns) if columns else terms.max(axis=-1)
    shift = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        if columns:
            return np.asarray(np.log(reduce(np.add, [np.exp(c - shift) for c in columns])) + shift)
        return np.asarray(np.log(np.exp(terms - shift[..., None]).sum(axis=-1)) + shift)
