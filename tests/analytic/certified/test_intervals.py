"""Intervals in doubles enclose exact fractions, their slopes the difference quotients."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from analytic.certified.intervals import Intervals, cornered, intervals

OPERATORS = (operator.add, operator.sub, operator.mul, operator.truediv)


def boxes(rng: np.random.Generator, count: int, wide: float) -> tuple[np.ndarray, np.ndarray]:
    """Return sides of every size and sign, some of which hold 0."""
    low = rng.normal(size=(2, count)) * 10 ** rng.uniform(-3, 3, (2, count))
    return low, low + wide * rng.random((2, count)) * np.abs(low)


def within(found: Intervals, i: int, exact: Fraction) -> bool:
    return Fraction(float(found.low[i])) <= exact <= Fraction(float(found.high[i]))


@pytest.mark.parametrize("wide", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("apply", OPERATORS)
def test_encloses_exact_results(apply: Callable[[Any, Any], Any], wide: float) -> None:
    """At corners, where the ends are the results themselves, so that rounding inward shows."""
    low, high = boxes(np.random.default_rng(0), 200, wide)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = apply(*(Intervals(a, b) for a, b in zip(low, high, strict=True)))
    known = 0
    for i in np.flatnonzero(np.isfinite(found.low)).tolist():
        for x, y in itertools.product(*zip(low[:, i].tolist(), high[:, i].tolist(), strict=True)):
            known += 1
            assert within(found, i, apply(Fraction(x), Fraction(y)))
    assert known >= 400


@pytest.mark.parametrize("wide", [0.0, 3.0])
def test_encloses_squares_and_roots(wide: float) -> None:
    low, high = (side[0] for side in boxes(np.random.default_rng(1), 200, wide))
    square, root = Intervals(low, high).squared(), Intervals(low, high).sqrt()
    for i, ends in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        for x in map(Fraction, ends):
            assert within(square, i, x * x)
            if low[i] > 0:
                assert Fraction(float(root.low[i])) ** 2 <= x <= Fraction(float(root.high[i])) ** 2
    assert (square.low >= 0).all()
    held = (low < 0) & (high > 0)
    assert (square.low[held] == 0).all()
    assert np.isnan(root.low[low <= 0]).all()
    assert np.isfinite(root.low[low > 0]).all()


def test_a_divisor_that_may_be_0_says_nothing() -> None:
    ends = np.array([[-1.0, 1.0], [0.0, 1.0], [-1.0, 0.0]])
    found = 1 / Intervals(*ends.T)
    assert np.isnan([found.low, found.high]).all()


def test_a_double_is_itself() -> None:
    x = Intervals(np.array([2.0]), np.array([3.0]))
    for found, exact in ((1 + x, (3, 4)), (1 - x, (-2, -1)), (2 * x, (4, 6)), (6 / x, (2, 3))):
        assert [*found.low, *found.high] == pytest.approx(exact, rel=1e-14)
    assert intervals(x) is x


def test_shared_takes_the_tighter_ends_and_what_is_known() -> None:
    a = Intervals(np.array([0.0, np.nan]), np.array([2.0, np.nan]))
    b = Intervals(np.array([1.0, 5.0]), np.array([3.0, 6.0]))
    found = a.shared(b)
    assert found.low.tolist() == [1, 5]
    assert found.high.tolist() == [2, 6]


def rational(x: Any, y: Any, square: Callable[[Any], Any] = lambda x: x * x) -> Any:
    return (2 - x) * y / (1 + square(x - y)) - 3 * square(x) + 1 / (y + 2)


def on_arrays(x: Intervals, y: Intervals) -> Intervals:
    return rational(x, y, lambda x: x.squared())


def squares(rng: np.random.Generator, side: float) -> tuple[np.ndarray, np.ndarray]:
    low = rng.uniform(0, 1, (100, 2))
    return low, low + side * rng.random((100, 2))


def test_slopes_enclose_difference_quotients() -> None:
    """Of points of the box that differ in one coordinate, in exact fractions."""
    low, high = squares(np.random.default_rng(2), 0.1)
    unit = np.eye(2)[:, :, None]
    sides = zip(low.T, high.T, unit, strict=True)
    slope = on_arrays(*(Intervals(a, b, Intervals(one, one)) for a, b, one in sides)).slope
    assert slope is not None
    for i, corners in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        for start, end in (corners, corners[::-1]):
            for axis in (0, 1):
                at = [Fraction(x) for x in start]
                first, step = rational(*at), Fraction(end[axis]) - at[axis]
                at[axis] += step
                quotient = (rational(*at) - first) / step
                assert within(Intervals(slope.low[axis], slope.high[axis]), i, quotient)
    assert (slope.high - slope.low).max() < 3


def test_slopes_of_a_root() -> None:
    x = Intervals(np.array([4.0]), np.array([4.0]), Intervals(np.ones((1, 1)), np.ones((1, 1))))
    slope = x.sqrt().slope
    assert slope is not None
    assert slope.low <= 0.25 <= slope.high
    assert slope.high - slope.low < 1e-14


@pytest.mark.parametrize("side", [0.5, 0.05, 0.0])
def test_two_corners_enclose_the_values_of_a_box(side: float) -> None:
    low, high = squares(np.random.default_rng(3), side)
    found, effects = cornered(on_arrays, low, high, [0, 1])
    values = []
    for share in [(0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5), (0.3, 0.9)]:
        at = np.clip(low + (high - low) * share, low, high)
        exact = [rational(*map(Fraction, point)) for point in at.tolist()]
        assert all(within(found, i, value) for i, value in enumerate(exact))
        values.append([float(value) for value in exact])
    reached = np.ptp(values, axis=0)
    assert (reached <= effects.sum(axis=1) + 1e-12).all()
    slack = (found.high - found.low) - reached
    assert np.median(slack) < 0.3 * side + 1e-13
    assert slack.max() < 6 * side + 1e-13


def test_a_held_side_has_no_slope() -> None:
    low, high = squares(np.random.default_rng(4), 0.1)
    low[:, 1] = high[:, 1]
    found, effects = cornered(on_arrays, low, high, [0])
    both, _ = cornered(on_arrays, low, high, [0, 1])
    assert effects.shape == (100, 1)
    assert found.low == pytest.approx(both.low, abs=1e-14)
    assert found.high == pytest.approx(both.high, abs=1e-14)


def test_what_does_not_depend_on_the_sides_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must depend on one of the sides \[0\]"):
        cornered(lambda _, y: y, *(np.zeros((1, 2)),) * 2, [0])


def test_unknown_slopes_leave_the_plain_value() -> None:
    """Of ``x / x`` nothing is known about 0; ``|x|`` has no slope there, and its value stands."""
    low, high = np.array([[-1.0]]), np.array([[1.0]])
    found, effects = cornered(lambda x: x / x, low, high, [0])
    assert np.isnan(found.low).all()
    assert np.isinf(effects).all()
    found, effects = cornered(lambda x: (x.squared() + 1e-300).sqrt(), low, high, [0])
    assert found.low <= 1e-150
    assert found.high == pytest.approx(1)
