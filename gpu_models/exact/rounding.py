r"""How far rounding may move the moments of a :class:`gpu_models.exact.denoiser.ScaledEmpirical`.

A dot product of ``d`` terms whose factors carry a relative error ``unit`` is off by at most

    C (unit sqrt(2) |u * m|_2 + w sqrt(d) |u| |m|),     w the unit roundoff of the sums,

with independent mean-zero roundings, except with probability ``2 exp(-C^2 / 2)`` each (Higham and
Mary 2019, Theorem 2.4; ``|u * m|_2`` is the root of the sum of squared terms). With ``delta`` such
a bound for every logit, in units of logits, the responsibilities move by factors within
``exp(+-2 delta)``, hence

    |Delta D| <= (sigma^2 / v) expm1(2 delta) sqrt(V_atoms),
    |Delta V_atoms| <= expm1(2 delta) V_atoms,

whatever the size of ``delta``. Rounded rows add ``2 unit R mass`` to ``D`` and
``2 sqrt(mass V_atoms) 2 unit R + mass (2 unit R)^2`` to ``V_atoms``, ``R`` the largest norm of a
row and ``mass`` the probability of all rows but the top one; sums over ``n`` rows add
``C w sqrt(n) mass`` times ``R``, and times ``4 R^2``. Tensor cores cut a sum where others round it,
after every eight terms or more: products of TF32 and bf16 factors lose at most ``w n / 4`` of a sum
of ``n`` weights, with ``n`` the rows of a chunk, and add that share of ``mass`` times the same.
Those of two TF32 parts lose at most ``3 w d / 4`` of ``|u| |m|`` in a logit besides.
Rows and weights left out have at most
``lost = left_out mass`` of the probability and add ``3 R lost``, and ``12 R^2 lost``
(:mod:`analytic.screening`).
"""

import math
from dataclasses import dataclass

import numpy as np

from analytic import EmpiricalMixture, NoiseLevel
from gpu_models.exact.streaming import FUSED, FUSED_COLUMNS, PRECISIONS, SPLIT_COLUMNS

CONFIDENCE = 8.0
"""``C``: for 2.5e8 logits a bound fails with probability 6e-6."""

LARGEST = 700.0
"""Exponent kept: a bound this large is cut by the data's diameter."""

TINY = (1e-36, 1e-300)
"""Weights that float32, or float64, cannot hold vanish: n of them, times a squared norm."""


@dataclass(frozen=True)
class Bounds:
    """Largest errors of ``D`` (norm), ``div D`` and ``V`` per state, and of a logit."""

    denoised: np.ndarray
    divergence: np.ndarray
    variance: np.ndarray
    logit: np.ndarray


def bounds(
    law: EmpiricalMixture,
    x: np.ndarray,
    level: NoiseLevel,
    precision: str,
    *,
    spread: np.ndarray,
    mass: np.ndarray,
    left_out: float | None = None,
) -> Bounds:
    """Bound the error of the moments in a precision.

    Parameters
    ----------
    law : EmpiricalMixture
    x : array (N, d)
    level : NoiseLevel
    precision : str
        A key of :data:`gpu_models.exact.streaming.PRECISIONS`.
    spread : array (N,)
        ``V_atoms``, the trace of the rows' posterior covariance.
    mass : array (N,)
        Posterior probability of all rows but the most probable one.
    left_out : float, optional
        That of the denoiser.
    """
    kind, gains = PRECISIONS[precision], law.gains(level)
    work = 2.0**-53 if precision == "float64" else 2.0**-24
    rows = law.data - law.centre
    n, d = rows.shape
    u, rate = x - gains.alpha * law.centre, gains.alpha / gains.v
    norm, radius = np.linalg.norm(u, axis=1), float(np.linalg.norm(rows, axis=1).max())
    # the largest |u * m|_2 over rows is at most the norm of u * (largest |m_k|)
    largest = np.abs(rows).max(axis=0)
    terms = np.minimum(np.linalg.norm(u * largest, axis=1), norm * radius)
    size = norm * radius + gains.alpha * radius**2
    logit = rate * CONFIDENCE * (kind.unit * math.sqrt(2) * terms + work * math.sqrt(d) * size)
    if kind.split:
        logit = logit + rate * work * 0.75 * d * size
    # a weight is rounded as it is written, and again if it is rescaled
    logit = logit + 2 * kind.unit + 4 * work
    factor, shake = np.expm1(np.minimum(2 * logit, LARGEST)), 2 * kind.unit * radius
    summed = CONFIDENCE * work * math.sqrt(n) * mass
    if precision in FUSED:
        summed = summed + work * min(n, FUSED_COLUMNS) / 4 * mass
    if kind.split:
        summed = summed + work * min(n, SPLIT_COLUMNS) / 4 * mass
    lost = mass * (work if left_out is None else left_out)
    denoised = factor * np.sqrt(spread) + mass * shake + (summed + 3 * lost) * radius
    moved = factor * spread + 2 * np.sqrt(mass * spread) * shake + mass * shake**2
    moved = (
        moved
        + 12 * lost * radius**2
        + 4 * summed * radius**2
        + n * size * TINY[precision == "float64"]
    )
    # means of rows differ by a diameter at most, whatever the weights
    denoised, moved = gains.noise * np.minimum(denoised, 2 * radius), np.minimum(moved, radius**2)
    denoised = denoised + 8 * work * (radius + np.linalg.norm(law.centre) + gains.signal * norm)
    own = 8 * work * d * law.smallest_variance * gains.noise
    scale = gains.alpha * gains.noise / gains.v
    return Bounds(
        denoised,
        scale * moved + 8 * work * (d * gains.signal + scale * spread),
        gains.noise**2 * (moved + 8 * work * spread) + own,
        logit,
    )
