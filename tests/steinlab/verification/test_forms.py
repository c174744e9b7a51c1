"""Growth beyond the cells and affine forms of traced functions: bounds hold, with little room.

Each rule is compared with its formula at numbers: what is added for rounding is more than none and
less than twice what is stated, so that a bound is neither inside the truth nor far from it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from analytic.certified.affine import Form, Jet, bounds, jets
from analytic.certified.cells import REACH
from steinlab.verification import significance
from steinlab.verification.comparison import Comparison
from steinlab.verification.continuum import forms
from steinlab.verification.continuum.forms import GROWTH, Growth, absolute
from steinlab.verification.continuum.statement import outward
from steinlab.verification.continuum.trace import Law, Level, evaluate
from steinlab.verification.judge import _wrong

from .test_trace import number

A = Growth(3.0, 2.0, -1.5, 2.0)
B = Growth(5.0, 1.0, 0.5, 4.0)
POSITIVE = Growth(7.0, 1.0, 0.25, 2.0)
NEGATIVE = Growth(7.0, 1.0, -2.0, -0.25)
OPEN = Growth(3.0, 2.0, -np.inf, np.inf)

RULES: list[tuple[Any, tuple[float, float, float, float]]] = [
    (A + B, (8.0, 2.0, -1.0, 6.0)),
    (B + A, (8.0, 2.0, -1.0, 6.0)),
    (A * B, (15.0, 3.0, -6.0, 8.0)),
    (A * A, (9.0, 4.0, -3.0, 4.0)),
    (B * B, (25.0, 2.0, 0.25, 16.0)),
    (NEGATIVE * B, (35.0, 2.0, -8.0, -0.125)),
    (-A, (3.0, 2.0, -2.0, 1.5)),
    (GROWTH["square"](A), (9.0, 4.0, 0.0, 4.0)),
    (GROWTH["square"](NEGATIVE), (49.0, 2.0, 0.0625, 4.0)),
    (GROWTH["reciprocal"](POSITIVE), (4.0, 0.0, 0.5, 4.0)),
    (GROWTH["reciprocal"](NEGATIVE), (4.0, 0.0, -4.0, -0.5)),
    (GROWTH["sqrt"](POSITIVE), (8.0, 1.0, 0.5, math.sqrt(2))),
    (GROWTH["sqrt"](A), (4.0, 2.0, 0.0, math.sqrt(2))),
    (GROWTH["root"](POSITIVE), (8.0, 1.0, 0.5, math.sqrt(2))),
    (GROWTH["log"](POSITIVE), (7.0 + math.log(4), 1.0, -math.log(4), math.log(2))),
    (GROWTH["exp"](A), (math.exp(2), 0.0, math.exp(-1.5), math.exp(2))),
    (GROWTH["tanh"](A), (math.tanh(2), 0.0, -math.tanh(1.5), math.tanh(2))),
    (GROWTH["tanh"](NEGATIVE), (math.tanh(2), 0.0, -math.tanh(2), -math.tanh(0.25))),
    (GROWTH["abs"](A), (3.0, 2.0, 0.0, 2.0)),
    (GROWTH["abs"](NEGATIVE), (7.0, 1.0, 0.25, 2.0)),
    (forms._constant(-3.0, 2.0), (3.0, 0.0, -3.0, 2.0)),
]


@pytest.mark.parametrize(("found", "exact"), RULES)
def test_a_growth_holds_with_little_room(
    found: Growth, exact: tuple[float, float, float, float]
) -> None:
    """At most 1e-9 of a size and a few 1e-12 of an end are added, never taken away."""
    size, degree, low, high = exact
    assert found.degree == degree
    assert size <= found.size <= size * (1 + 2.1e-9)
    scale = max(abs(low), abs(high), 1.5)
    assert low - 6e-12 * scale <= found.low <= low
    assert high <= found.high <= high + 6e-12 * scale


ROUNDED = [
    (A + B, 8.0, (1e-12 * 2.0, 1e-12 * 6.0)),
    (A * B, 15.0, (1e-12 * 6.0, 1e-12 * 8.0)),
    (GROWTH["exp"](A), math.exp(2), (1e-12 * math.exp(2), 1e-12 * math.exp(2))),
    (GROWTH["sqrt"](POSITIVE), 8.0, (0.5e-12, math.sqrt(2) * 1e-12)),
    (GROWTH["log"](POSITIVE), 7 + math.log(4), (math.log(4) * 1e-12, math.log(2) * 1e-12)),
]


@pytest.mark.parametrize(("found", "size", "ends"), ROUNDED)
def test_what_is_added_for_rounding(found: Growth, size: float, ends: tuple[float, float]) -> None:
    exact = {15.0: (-6.0, 8.0), math.exp(2): (math.exp(-1.5), math.exp(2))}
    exact |= {7 + math.log(4): (-math.log(4), math.log(2))}
    low, high = exact.get(size, (0.5, math.sqrt(2)) if found.degree == 1 else (-1.0, 6.0))
    assert found.size / size - 1 == pytest.approx(1e-9, rel=1e-4, abs=0)
    assert low - found.low == pytest.approx(ends[0], rel=1e-2, abs=0)
    assert found.high - high == pytest.approx(ends[1], rel=1e-2, abs=0)


def test_what_is_unknown_stays_so() -> None:
    zero = Growth(0.0, 0.0, 0.0, 0.0)
    for one in (OPEN * zero, zero * OPEN, OPEN * B):
        assert (one.low, one.high) == (-np.inf, np.inf)
    assert (OPEN + B).high == np.inf
    assert np.isnan(GROWTH["root"](A).size)
    assert not np.isnan(GROWTH["root"](Growth(1.0, 0.0, 0.0, 1.0)).size)
    with np.errstate(divide="ignore"):
        assert np.isinf(GROWTH["reciprocal"](A).high)


@pytest.mark.parametrize("degree", [0.0, 1.0, 2.0, 5.0, 20.0])
def test_the_tail_of_a_power_is_bounded_by_parts(degree: float) -> None:
    """``2 a phi(Z) / (Z (1 - (p - 1)/Z^2))`` beyond ``Z = 6``, above the integral itself."""
    found = Growth(3.0, degree, 0.0, 1.0).beyond()
    assert REACH == 6
    left = 1 - max(degree - 1, 0) / 36
    assert found == pytest.approx(6 * norm.pdf(6) / (6 * left), rel=1e-8, abs=0)
    z = np.linspace(6, 30, 200_001)
    exact = 2 * 3 * np.sum((z / 6) ** degree * norm.pdf(z)) * (z[1] - z[0])
    assert exact * 0.999 <= found <= 1.2 * exact + 1e-9 * found if degree < 6 else exact <= found


def test_a_power_too_high_has_no_bound() -> None:
    assert Growth(3.0, 37.0, 0.0, 1.0).beyond() == np.inf
    assert Growth(3.0, 36.9, 0.0, 1.0).beyond() < np.inf


def one(low: float, high: float) -> Jet:
    return jets(np.array([[low]]), np.array([[high]]))[0]


@pytest.mark.parametrize(
    ("low", "high", "ends", "slope"),
    [
        (1.0, 2.0, (1.0, 2.0), (1.0, 1.0)),
        (-2.0, -1.0, (1.0, 2.0), (-1.0, -1.0)),
        (-1.0, 2.0, (0.0, 2.0), (-1.0, 1.0)),
        (-3.0, 1.0, (0.0, 3.0), (-1.0, 1.0)),
    ],
)
def test_an_absolute_value(
    low: float, high: float, ends: tuple[float, float], slope: tuple[float, float]
) -> None:
    found = absolute(one(low, high))
    np.testing.assert_allclose(np.ravel(bounds(found.value)), ends, atol=1e-13)
    assert bounds(found.value)[0] <= ends[0]
    assert bounds(found.value)[1] >= ends[1]
    np.testing.assert_allclose(np.ravel(bounds(found.slopes[0])), slope, atol=1e-12)
    if low > 0 or high < 0:
        assert abs(np.ravel(found.value.parts[0])[0]) == pytest.approx(
            (high - low) / 2, rel=1e-6, abs=0
        )


@pytest.mark.parametrize(("low", "high"), [(0.5, 2.0), (-2.0, -0.5)])
def test_a_reciprocal_of_either_sign(low: float, high: float) -> None:
    found = forms._reciprocal_form(one(low, high))
    lower, upper = (float(np.ravel(end)[0]) for end in bounds(found.value))
    assert lower <= 1 / high < 1 / low <= upper
    assert upper - lower < 2.5 * (1 / low - 1 / high)


def test_forms_in_a_row_are_rebuilt() -> None:
    x, y = one(1.0, 2.0), Jet(Form(np.array([3.0]), [0.0], 0.0), {})
    flat, rebuilt = forms._flat([x, y])
    assert len(flat) == 3
    again = rebuilt(flat)
    assert again[0].value is x.value
    assert again[0].slopes[0] is x.slopes[0]
    assert again[1].value is y.value
    assert again[1].slopes == {}
    constant = forms._const(2, np.zeros(3), type("C", (), {"value": 1.5})())  # type: ignore[arg-type]
    np.testing.assert_array_equal(constant.value.centre, [1.5] * 3)
    assert list(constant.value.parts) == [0.0, 0.0]


# symbols


@pytest.mark.parametrize("x", [-1.4, 0.2, 3.0])
@pytest.mark.parametrize("mean", [0.7, -2.0])
def test_one_mode_is_a_gaussian(x: float, mean: float) -> None:
    """``D = m + alpha s^2 (x - alpha m) / (alpha^2 s^2 + sigma^2)``, with weight 1."""
    law, level = Law([(1.0, mean)], 0.5), Level(0.8, 0.6)
    v = 0.64 * 0.25 + 0.36
    denoised = mean + 0.8 * 0.25 * (x - 0.8 * mean) / v
    found = [number(part, {}) for part in law.moments(x, level)]
    assert found == pytest.approx([denoised, 0.8 * 0.25 / v, 0.25 * 0.36 / v], rel=1e-6, abs=0)
    assert number(law.score(x, level), {}) == pytest.approx(-(x - 0.8 * mean) / v, rel=1e-6, abs=0)
    assert number(law.variance(), {}) == pytest.approx(0.25, rel=1e-6, abs=0)
    assert evaluate is forms.evaluate


@pytest.mark.parametrize(
    "ends", [("1/3", "1/3"), ("-1/3", "1/10"), ("-1/10", "2/3"), ("1/2", "3/4"), ("-2/3", "-1/7")]
)
def test_doubles_around_a_side_are_the_nearest_outside(ends: tuple[str, str]) -> None:
    from fractions import Fraction

    low, high = map(Fraction, ends)
    below, above = outward((low, high))
    assert Fraction(below) <= low <= high <= Fraction(above)
    assert Fraction(math.nextafter(below, math.inf)) > low
    assert Fraction(math.nextafter(above, -math.inf)) < high


# numbers of a comparison


def test_which_numbers_a_comparison_may_hold() -> None:
    """An upper bound may be infinite; nothing else may, unless its tolerance is."""
    values, nothing = np.array([1.0, np.inf, -np.inf, np.nan]), np.zeros(4)
    plain = Comparison(nothing, nothing, nothing + 1.0)
    above = Comparison(nothing, nothing, nothing + 1.0, upper=np.ones(4, dtype=bool))
    free = Comparison(nothing, nothing, nothing + np.inf)
    for field in ("measured", "predicted"):
        assert _wrong(field, values, plain)[0].tolist() == [False, True, True, True]
        assert _wrong(field, values, free)[0].tolist() == [False, False, False, True]
    assert _wrong("predicted", values, above)[0].tolist() == [False, False, True, True]
    assert _wrong("measured", values, above)[0].tolist() == [False, True, True, True]
    tolerances = _wrong("tolerance", np.array([0.0, -1.0, np.inf, np.nan]), plain)[0]
    assert tolerances.tolist() == [False, True, False, True]


def test_a_means_error_and_skewness() -> None:
    """Of 0, 0, 0, 4: variance 3, third moment 6, so the skewness is ``6 / 3^1.5``."""
    found = significance.Mean.of(np.array([[0.0, 0.0, 0.0, 4.0], [2.0, 2.0, 2.0, 2.0]]))
    np.testing.assert_allclose(found.value, [1.0, 2.0])
    np.testing.assert_allclose(found.error, [1.0, 0.0])
    np.testing.assert_allclose(found.skew, [6 / 3**1.5, 0.0])
    assert found.states == 4


@pytest.mark.parametrize("skew", [0.0, 2.0, -2.0])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_limit_is_halls_on_the_side_of_the_longer_tail(skew: float, side: float) -> None:
    """``h(t) = ((1 + a t)^3 - 1) / (3 a) + a / 2`` is Student's limit at the limit found."""
    mean = significance.Mean(np.zeros(1), np.full(1, 0.5), np.full(1, skew), 400)
    found = mean.limit(np.full(1, side), 3)[0] / 0.5
    c = significance.critical(3, 399)
    a = skew * side / (3 * math.sqrt(400))
    if a >= 0:
        assert found == pytest.approx(c, rel=1e-12, abs=0)
    else:
        t = found
        assert ((1 + a * t) ** 3 - 1) / (3 * a) + a / 2 == pytest.approx(c, rel=1e-9, abs=0)
        assert found > c
