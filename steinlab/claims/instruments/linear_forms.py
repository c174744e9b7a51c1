r"""Linear forms in the terms of a step, and the two ways to compare them.

A form maps ``(alpha, sigma)`` to coefficients of :class:`Terms`. Its value, the size of its
rounding and the quadrature's error follow from the same coefficients, so a formula and its
tolerance cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.coefficient.step_terms import Integrated, Terms
from steinlab.verification.comparison import Comparison
from steinlab.verification.significance import Mean, critical, square_band

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


def stein_wrong_sign(alpha: Any, sigma: Any) -> Mapping[str, Any]:
    """Theorem 4.7 with the divergence subtracted: a negative control's right side."""
    return {"u_x": 1 - 1 / alpha, "div": -(sigma**2) / alpha}


def no_drift(alpha: Any, sigma: Any) -> Mapping[str, Any]:
    """Theorem 4.7 without its drift term: a negative control's right side."""
    return {"div": sigma**2 / alpha}


def wrong_sign(alpha: Any, sigma: Any) -> Mapping[str, Any]:  # noqa: ARG001
    """``-sigma^2 div u``: a negative control's right side of Stein's identity."""
    return {"div": -(sigma**2)}


def no_square(alpha: Any, sigma: Any) -> Mapping[str, Any]:  # noqa: ARG001
    """``sigma div u``: a negative control's right side of Stein's identity."""
    return {"div": sigma}


class Measured(NamedTuple):
    """Terms of a stack with the levels they belong to, ``(C,)``; integrated or per state."""

    alpha: np.ndarray
    sigma: np.ndarray
    terms: Terms | Integrated


def gammas(data: Measured) -> dict[str, np.ndarray]:
    """Return the optimum, and the estimates by Theorem 4.7 and by Tweedie, of integrated terms."""
    assert isinstance(data.terms, Integrated)
    value, forms = data.terms.value, {"optimum": reference, "stein": stein, "tweedie": tweedie}
    return {k: combine(f, value, data.alpha, data.sigma) / value.u_u for k, f in forms.items()}


def combine(form: Form, terms: Terms, alpha: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Return ``sum c * term``, per case or per state."""
    wide = (alpha, sigma) if terms.u_x.ndim == 1 else (alpha[:, None], sigma[:, None])
    return np.asarray(sum(c * getattr(terms, name) for name, c in form(*wide).items()))


def compare_integrated(data: Measured, identity: Identity) -> Comparison:
    """Compare integrated forms per unit of ``E|u|^2``, within rounding and quadrature error."""
    assert isinstance(data.terms, Integrated)
    value, size, error = data.terms
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
        measured=sides[0] / power, predicted=sides[1] / power, tolerance=tolerance / power
    )


SAMPLED_FAMILY = 2**14
"""Cases that share the level of a sampled check: more than the full profile draws of any."""


def compare_sampled(data: Measured, identity: Identity) -> Comparison:
    """Compare sampled forms case by case: the mean difference within its own law's limit."""
    terms = data.terms
    assert isinstance(terms, Terms)
    left, right = (combine(f, terms, data.alpha, data.sigma) for f in identity)
    power = terms.u_u.mean(axis=-1)
    gap = Mean.of(left - right)
    return Comparison(
        measured=left.mean(axis=-1) / power,
        predicted=right.mean(axis=-1) / power,
        tolerance=gap.limit(gap.value, SAMPLED_FAMILY) / power,
        sampled=True,
    )


SNR_CAP = 100.0
"""A case's weight in the joint test stops growing at this signal-to-noise ratio, so that no
handful of nearly noiseless cases decides it."""


def pool_sampled(batches: Sequence[Measured], identity: Identity) -> Comparison:
    r"""Test all sampled cases jointly: for a common factor ``1 + delta``, and for what varies.

    The first entry is :func:`common_factor`'s. The second is the mean of the squared normal scores
    of the ``C`` cases: chi-square with ``C`` degrees of freedom over ``C``. (What skew states add,
    0.005 on average over random steps at 512 states, is a fortieth of the band in the quick profile
    and a tenth in the full one.) The two share the test's level.
    """
    halves: list[tuple[Half, Half]] = []
    gaps = []
    for data in batches:
        assert isinstance(data.terms, Terms)
        left, right = (combine(f, data.terms, data.alpha, data.sigma) for f in identity)
        gap, half = left - right, left.shape[-1] // 2
        one, other = (
            Half(Mean.of(gap[:, part]), Mean.of(right[:, part]))
            for part in (slice(0, half), slice(half, 2 * half))
        )
        halves.append((one, other))
        gaps.append(Mean.of(gap))
    factor, slack = common_factor(*(Half.join(side) for side in zip(*halves, strict=True)))
    square = Mean.join(gaps).scores() ** 2
    spread = float(square.mean())
    low, high = square_band(len(square), tests=2)
    return Comparison(
        measured=np.array([1 + factor, spread]),
        predicted=np.ones(2),
        tolerance=np.array([slack, high - 1 if spread > 1 else 1 - low]),
        sampled=True,
    )


class Half(NamedTuple):
    """Half of the states of ``C`` cases: differences of the two sides, and predictions."""

    gap: Mean
    right: Mean

    @classmethod
    def join(cls, parts: Sequence[Half]) -> Half:
        """Concatenate over batches."""
        return cls(Mean.join([p.gap for p in parts]), Mean.join([p.right for p in parts]))


def common_factor(first: Half, second: Half) -> tuple[Any, Any]:
    r"""Return ``delta_hat`` and how far from 0 it may be; cases along the last axis.

    ``delta_hat = sum w d p / sum w p^2`` with differences ``d`` from one half of the states and,
    from the other so that the two are independent, predictions ``p`` and weights
    ``w = 1 / (se^2 + p^2 / cap^2)``, ``se`` that of ``d``; both assignments are averaged. Given the
    other half a sum has normal terms and an estimated error: Student's law with Satterthwaite's
    degrees of freedom ``(n/2 - 1) (sum v)^2 / sum v^2``, ``v = (w p own)^2``, ``own`` the error of
    ``d``. The assignments share their states; their covariance is ``(rho se_p / p)^2`` of their
    variance, ``rho`` the correlation of ``d`` and ``p``, and the weights make little of cases whose
    ``p`` does not stand clear of its noise.
    """
    top = bottom = total = squares = 0.0
    for one, other in ((first, second), (second, first)):
        p = other.right.value
        floor = np.finfo(float).tiny
        w = 1 / np.maximum(other.gap.error**2 + (p / SNR_CAP) ** 2, floor)
        share = (w * p * one.gap.error) ** 2
        top = top + (w * one.gap.value * p).sum(axis=-1)
        bottom = bottom + (w * p**2).sum(axis=-1)
        total = total + share.sum(axis=-1)
        squares = squares + (share**2).sum(axis=-1)
    freedom = (first.gap.states - 1) * total**2 / squares
    return top / bottom, critical(2, freedom) * np.sqrt(total) / bottom
