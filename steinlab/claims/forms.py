r"""Linear forms in the terms of a step, and the two ways to compare them.

A form maps ``(alpha, sigma)`` to coefficients of :class:`Terms`. Its value, the size of its
rounding and the quadrature's error follow from the same coefficients, so a formula and its
tolerance cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm

from steinlab.terms import Integrated, Terms
from steinlab.verdicts import EPS, FAMILY_LEVEL, ROUNDING, Comparison

Form = Callable[[Any, Any], Mapping[str, Any]]


class Identity(NamedTuple):
    """``left = right`` as expectations of two forms."""

    left: Form
    right: Form


def reference(alpha: Any, sigma: Any) -> Mapping[str, Any]:  # noqa: ARG001
    """``<u, x - x_star>``."""
    return {"u_ref": 1.0}


def stein(alpha: Any, sigma: Any) -> Mapping[str, Any]:
    """``(1 - 1/alpha) <u, x> + (sigma^2 / alpha) div u`` (Theorem 4.7)."""
    return {"u_x": 1 - 1 / alpha, "div": sigma**2 / alpha}


def tweedie(alpha: Any, sigma: Any) -> Mapping[str, Any]:  # noqa: ARG001
    """``<u, x - D>``."""
    return {"u_tweedie": 1.0}


class Measured(NamedTuple):
    """Terms of a stack with the levels they belong to, ``(C,)``; integrated or per state."""

    alpha: np.ndarray
    sigma: np.ndarray
    terms: Terms | Integrated


def combine(form: Form, terms: Terms, alpha: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Return ``sum c * term``, per case or per state."""
    wide = (alpha, sigma) if terms.u_x.ndim == 1 else (alpha[:, None], sigma[:, None])
    return np.asarray(sum(c * getattr(terms, name) for name, c in form(*wide).items()))


def compare_integrated(data: Measured, identity: Identity) -> Comparison:
    """Compare integrated forms per unit of ``E|u|^2``, within rounding and quadrature error."""
    value, size, error = data.terms
    assert isinstance(value, Terms)
    assert isinstance(size, Terms)
    assert isinstance(error, Terms)
    sides, tolerance = [], np.zeros_like(data.alpha)
    for form in identity:
        sides.append(combine(form, value, data.alpha, data.sigma))
        for name, c in form(data.alpha, data.sigma).items():
            weight = np.abs(c)
            tolerance = tolerance + weight * (
                ROUNDING * EPS * (getattr(size, name) + np.abs(getattr(value, name)))
                + getattr(error, name)
            )
    power = value.u_u
    return Comparison(
        measured=sides[0] / power,
        predicted=sides[1] / power,
        tolerance=tolerance / power,
    )


def critical(count: int) -> float:
    """Two-sided normal quantile at the family level over ``count`` comparisons."""
    return float(norm.isf(FAMILY_LEVEL / (2 * count)))


def compare_sampled(data: Measured, identity: Identity) -> Comparison:
    """Compare sampled forms case by case: the mean difference against its standard error."""
    terms = data.terms
    assert isinstance(terms, Terms)
    left, right = (combine(f, terms, data.alpha, data.sigma) for f in identity)
    n = left.shape[-1]
    power = terms.u_u.mean(axis=-1)
    error = (left - right).std(axis=-1, ddof=1) / np.sqrt(n)
    return Comparison(
        measured=left.mean(axis=-1) / power,
        predicted=right.mean(axis=-1) / power,
        tolerance=critical(SAMPLED_FAMILY) * error / power,
        sampled=True,
    )


SAMPLED_FAMILY = 10_000
"""Comparisons that share the family-wise level: more than any sampled check holds."""


SNR_CAP = 100.0
"""A case's weight in the joint test stops growing at this signal-to-noise ratio, so that no
handful of nearly noiseless cases decides it."""


def pool_sampled(batches: Sequence[Measured], identity: Identity) -> Comparison:
    r"""Test all sampled cases jointly: is the formula off by a common factor ``1 + delta``?

    ``delta_hat = sum w d p / sum w p^2`` with differences ``d`` from one half of the states and,
    from the other so that the two are independent, predictions ``p`` and weights
    ``w = 1 / (se^2 + p^2 / cap^2)``; both assignments are averaged. The second entry calibrates
    the z-values: their mean square is 1.
    """
    top = bottom = variance = 0.0
    scores = []
    for data in batches:
        assert isinstance(data.terms, Terms)
        left, right = (combine(f, data.terms, data.alpha, data.sigma) for f in identity)
        half = left.shape[-1] // 2
        halves = [_summary(left[:, part] - right[:, part], right[:, part]) for part in _split(half)]
        for (d, _, own), (_, p, se) in (halves, halves[::-1]):
            w = 1 / np.maximum(se**2 + (p / SNR_CAP) ** 2, np.finfo(float).tiny)
            top += float((w * d * p).sum())
            bottom += float((w * p**2).sum())
            variance += float((w**2 * p**2 * own**2).sum())
        d, _, se = _summary(left - right, right)
        scores.append(d[se > 0] / se[se > 0])
    square = np.concatenate(scores) ** 2
    return Comparison(
        measured=np.array([1 + top / bottom, square.mean()]),
        predicted=np.ones(2),
        tolerance=critical(2)
        * np.array([np.sqrt(variance) / bottom, square.std() / np.sqrt(len(square))]),
        sampled=True,
    )


def _split(half: int) -> tuple[slice, slice]:
    return slice(0, half), slice(half, 2 * half)


def _summary(difference: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, ...]:
    n = difference.shape[-1]
    error = difference.std(axis=-1, ddof=1) / np.sqrt(n)
    return difference.mean(axis=-1), right.mean(axis=-1), error
