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
from steinlab.claims.continua.coefficient import posterior, vp_parts

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
@pytest.mark.parametrize("width", [0.3, 0.02])
def test_bounds_hold_the_corners(name: str, width: float) -> None:
    low, high = boxes(width)
    function = (FUNCTIONS | OF_FORMS)[name]
    forms = [function(*sides(low, high))]
    if name in FUNCTIONS:
        jet = FUNCTIONS[name](*jets(low, high))
        middle = function(*sides(*[0.5 * (low + high)] * 2))
        forms += [jet.value, taylor(jet, middle, low, high)]
    corners = [np.where([i & 1, i & 2], high, low) for i in range(4)]
    for form in forms:
        least, most = bounds(form)
        for corner in corners:
            value = at(function, corner)
            assert (least <= value).all()
            assert (value <= most).all()
