"""Comparisons: what counts as decided, violated, graded, detected, tight and worst."""

from __future__ import annotations

import math

import numpy as np
import pytest

from steinlab.verification.claim import Effort
from steinlab.verification.comparison import UNDECIDED, Comparison, join


def compared(
    measured: object, predicted: object, tolerance: object, **options: object
) -> Comparison:
    arrays = np.broadcast_arrays(measured, predicted, tolerance)
    return Comparison(*(np.atleast_1d(np.asarray(a, dtype=float)) for a in arrays), **options)


def test_an_identity_is_violated_on_either_side() -> None:
    c = compared([1.0, 1.1, 0.9, 1.0 + 5e-5], 1.0, 1e-4)
    assert c.violated.tolist() == [False, True, True, False]
    np.testing.assert_allclose(c.excess, [0, 0.1, 0.1, 5e-5], atol=1e-15)


def test_an_upper_bound_is_violated_above_only() -> None:
    c = compared([0.5, 1.0 + 5e-5, 1.1], 1.0, 1e-4, upper=True)
    assert c.violated.tolist() == [False, False, True]
    np.testing.assert_allclose(c.excess, [-0.5, 5e-5, 0.1], atol=1e-15)


def test_a_wide_tolerance_leaves_a_case_undecided() -> None:
    edge = UNDECIDED * 10
    c = compared(10.0, [10.0, 10.0, 99.0, 10.0], [edge, 1.001 * edge, 1.0, math.inf])
    assert c.decided.tolist() == [True, False, False, False]
    assert not c.violated.any(), "undecided is neither passed nor failed"
    assert compared(math.nan, 1.0, 0.0).decided.tolist() == [False]


def test_the_scale_decides_what_is_wide() -> None:
    small = compared(1e-9, 0.0, 1e-10)
    assert not small.decided.any()
    scaled = compared(1e-9, 0.0, 1e-10, scale=np.ones(1))
    assert scaled.decided.all()
    assert scaled.violated.all()


def test_samples_are_always_decided_if_finite() -> None:
    c = compared([1.0, 5.0, 1.0], 1.0, [3.0, 3.0, math.inf], sampled=True)
    assert c.decided.tolist() == [True, True, False]
    assert c.violated.tolist() == [False, True, False]


def test_the_graded_control_moves_the_formula() -> None:
    c = compared(2.0, 2.0, 1e-7)
    assert c.graded(1e-6).predicted == 2.0 * (1 + 1e-6)
    assert c.graded(1e-6).violated.all()
    assert not c.graded(1e-8).violated.any()
    bound = compared(0.995, 1.0, 1e-9, upper=True)
    assert bound.graded(0.01).predicted == 0.99
    assert bound.graded(0.01).violated.all()
    assert not bound.graded(0.001).violated.any()


@pytest.mark.parametrize("upper", [False, True])
def test_detects_is_the_smallest_grade_that_shows(upper: bool) -> None:
    c = compared([1.9, 0.0, 3.0], [2.0, 0.0, 3.5], 2e-4, upper=upper, scale=np.full(3, 5.0))
    if not upper:
        c = compared([2.0 + 1e-4, 0.0, 3.5], [2.0, 0.0, 3.5], 2e-4, scale=np.full(3, 5.0))
    least = c.detects()
    assert 0 < least < math.inf
    assert c.graded(1.0001 * least).violated.any()
    assert not c.graded(0.9999 * least).violated.any()


def test_nothing_decided_detects_nothing() -> None:
    assert compared(1.0, 1.0, 1.0).detects() == math.inf
    assert compared(0.0, 0.0, 0.0).detects() == math.inf
    assert not compared(1.0, 1.0, 1.0).graded(0.5).violated.any()


def test_tightness_is_of_bounds() -> None:
    assert compared([0.5, 0.9], 1.0, 1e-6, upper=True).tightness() == pytest.approx(0.9)
    assert compared([0.5, 0.9], 1.0, 1e-6).tightness() is None
    assert compared([0.5, 9.0], 1.0, [1e-6, 1.0], upper=True).tightness() == pytest.approx(0.5)
    assert compared(0.5, 0.0, 1e-9, upper=True).tightness() is None


def test_worst_is_nearest_to_its_limit_among_the_decided() -> None:
    assert compared([1.0, 1.00002, 1.00001], 1.0, [1e-4, 1e-4, 2e-5]).worst() == 2
    assert compared([1.0, 9.0], 1.0, [1e-4, 1e4]).worst() == 0
    assert compared([1.0, 1.0 + 1e-9], 1.0, 0.0).worst() == 1


def test_join_keeps_the_kind() -> None:
    a = compared([1.0, 2.0], 1.0, 1e-6, upper=True, scale=np.full(2, 3.0), grade=0.05)
    b = compared([7.0], 8.0, 1e-5, upper=True, scale=np.full(1, 4.0), grade=0.05)
    c = join([a, b])
    assert c.measured.tolist() == [1.0, 2.0, 7.0]
    assert c.predicted.tolist() == [1.0, 1.0, 8.0]
    assert c.tolerance.tolist() == [1e-6, 1e-6, 1e-5]
    assert c.scale is not None
    assert c.scale.tolist() == [3.0, 3.0, 4.0]
    assert (c.upper, c.grade) == (True, 0.05)


def test_the_full_profile_draws_more() -> None:
    rng = np.random.default_rng(0)
    assert Effort("quick", rng).count(10) == 10
    assert Effort("full", rng).count(10) == 80
