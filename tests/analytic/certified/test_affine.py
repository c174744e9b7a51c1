"""Affine forms and jets: their bounds hold the values, their slopes are derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from analytic.certified.affine import (
    bounds,
    exp,
    jets,
    log,
    normal_cdf,
    reciprocal,
    sides,
    sqrt,
    square,
    tanh,
    tanh_rest,
    taylor,
)
from steinlab.claims.continua.coefficient import vp_parts
from steinlab.claims.continua.posterior import posterior

LOW, HIGH = np.array([0.5, 1.5]), np.array([2.0, 3.0])

FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "square": lambda x, y: square(x * y),
    "reciprocal": lambda x, y: reciprocal(x + y),
    "quotient": lambda x, y: 1 / x - x / y,
    "sqrt": lambda x, y: sqrt(x * y),
    "exp": lambda x, y: exp(x - y),
    "log": lambda x, y: log(x) * y,
    "tanh": lambda x, y: tanh(x - y) * 2,
    "posterior": lambda x, y: posterior(x * y),
    "VP Euler's margin": lambda x, y: vp_parts(x, y, 0.3 * reciprocal(y), 1.0)[0][0],
    "VP Euler's power": lambda x, y: vp_parts(x, y, 0.3 * reciprocal(y), 1.0)[1][1],
}

OF_FORMS: dict[str, Callable[[Any, Any], Any]] = {
    "normal": lambda x, y: normal_cdf(x - y),
    "beside tanh": lambda x, y: tanh_rest(x * y),
}


def boxes(width: float) -> tuple[np.ndarray, np.ndarray]:
    low = LOW + (HIGH - LOW) * np.random.default_rng(0).random((20, 2))
    return low, low + width


def at(function: Callable[[Any, Any], Any], points: np.ndarray) -> np.ndarray:
    return np.asarray(function(*sides(points, points)).centre)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_slopes_are_derivatives(name: str) -> None:
    point, _ = boxes(0.0)
    found = FUNCTIONS[name](*jets(point, point + 1e-9))
    for i, slope in found.slopes.items():
        step = np.zeros(2)
        step[i] = 1e-5
        quotient = (at(FUNCTIONS[name], point + step) - at(FUNCTIONS[name], point - step)) / 2e-5
        assert slope.centre == pytest.approx(quotient, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", [*FUNCTIONS, *OF_FORMS])
@pytest.mark.parametrize("width", [3.0, 0.3, 0.02])
@pytest.mark.parametrize("ended", [False, True])
def test_bounds_hold_the_corners_and_what_lies_between(
    name: str, width: float, ended: bool
) -> None:
    low, high = boxes(width)
    function = (FUNCTIONS | OF_FORMS)[name]
    with np.errstate(all="ignore"):
        forms = [function(*sides(low, high, ended=ended))]
        if name in FUNCTIONS:
            jet = FUNCTIONS[name](*jets(low, high, ended=ended))
            middle = function(*sides(*[0.5 * (low + high)] * 2))
            forms += [jet.value, taylor(jet, middle, low, high)]
    shares = np.random.default_rng(2).random((6, 2))
    corners = [np.where([i & 1, i & 2], high, low) for i in range(4)]
    corners += [low + (high - low) * share for share in shares]
    for form in forms:
        least, most = bounds(form)
        for corner in corners:
            value = at(function, corner)
            assert not (least > value).any()
            assert not (value > most).any()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_ends_leave_no_wide_box_unbounded(name: str) -> None:
    """Of ``x`` from 0.1 to 3 the square's line falls below 0, and nothing may be divided by it."""
    low, high = np.array([[0.1, 1.5]]), np.array([[3.0, 3.0]])
    least, most = bounds(FUNCTIONS[name](*sides(low, high, ended=True)))
    assert np.isfinite([least, most]).all()


def test_a_square_about_its_middle_leaves_half_of_its_curvature() -> None:
    """``x^2 + x y`` between its middle and its slopes: what is left is ``e^2/2 + e_1 e_2 / 4``."""
    low, high = np.zeros((1, 2)), np.ones((1, 2))
    x, y = jets(low, high)
    at = sides(*[0.5 * (low + high)] * 2)
    form = taylor(square(x) + x * y, square(at[0]) + at[0] * at[1], low, high)
    assert form.rest == pytest.approx(0.125 + 0.25, rel=1e-9)
    assert form.centre == pytest.approx(0.5 + 0.125, rel=1e-9)
