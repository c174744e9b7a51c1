"""Affine forms enclose what they stand for: random points of random boxes, and Arb's values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from analytic.certified.affine import (
    Form,
    bounds,
    exp,
    log,
    reciprocal,
    sides,
    sqrt,
    square,
    tanh,
)

CASES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "products": (lambda x, y: x * y - y * x + square(x) - 3 * x, lambda x, y: x * (x - 3) + 0 * y),
    "quotient": (lambda x, y: (1 + x) / (2 - y) - x / y, lambda x, y: (1 + x) / (2 - y) - x / y),
    "exp": (lambda x, y: exp(-x * y) - exp(x), lambda x, y: np.exp(-x * y) - np.exp(x)),
    "log": (lambda x, y: log(x / (1 + y)), lambda x, y: np.log(x / (1 + y))),
    "sqrt": (lambda x, y: sqrt(x + y) - reciprocal(x), lambda x, y: np.sqrt(x + y) - 1 / x),
    "tanh": (lambda x, y: tanh(9 * x - 4 * y), lambda x, y: np.tanh(9 * x - 4 * y)),
}


def boxes(rng: np.random.Generator, width: float) -> tuple[np.ndarray, np.ndarray]:
    low = rng.uniform(0.2, 1.2, (300, 2))
    return low, low + width * rng.random((300, 2))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("width", [0.5, 0.05, 1e-9])
def test_encloses_points_of_the_box(name: str, width: float) -> None:
    rng = np.random.default_rng(0)
    form, value = CASES[name]
    low, high = boxes(rng, width)
    least, most = bounds(form(*sides(low, high)))
    for share in (*rng.random((40, 300, 2)), 0.0, 1.0):
        found = value(*(low + (high - low) * share).T)
        assert np.all(least <= found)
        assert np.all(found <= most)


@pytest.mark.parametrize("name", CASES)
def test_is_of_second_order(name: str) -> None:
    """What is not linear shrinks by four where the sides are halved: no vacuous enclosure."""
    rng = np.random.default_rng(1)
    form, _ = CASES[name]
    low, high = boxes(rng, 0.02)
    whole, half = (form(*sides(low, low + (high - low) * part)).rest for part in (1.0, 0.5))
    assert np.median(whole / half) == pytest.approx(4, rel=0.3)


def test_exp_of_large_numbers_has_room_for_their_ends_rounding() -> None:
    """An end ``c + r`` is rounded by up to ``eps c/2``: 350 eps of ``exp`` at 700."""
    mpmath = pytest.importorskip("mpmath")
    rng = np.random.default_rng(0)
    c = rng.uniform(300, 700, 400)
    r = c * np.exp(rng.uniform(-38, -30, 400))
    low, high = bounds(exp(Form(c, [np.zeros(400)], r)))
    with mpmath.workdps(40):
        for middle, radius, a, b in zip(*(x.tolist() for x in (c, r, low, high)), strict=True):
            for sign in (-1, 1):
                assert a <= mpmath.exp(mpmath.mpf(middle) + sign * mpmath.mpf(radius)) <= b


@pytest.mark.parametrize("width", [0.0, 1e-172])
def test_where_the_tangent_overflows_the_ends_are_known(width: float) -> None:
    """``-1/x^2`` is infinite at 1e-170, and times a rest of 0 no number at all."""
    x = Form(np.array([1e-170]), [np.array([width])])
    with np.errstate(all="ignore"):
        low, high = bounds(reciprocal(x))
    for end in (1e-170 - width, 1e-170 + width):
        assert low <= 1 / end <= high
    assert high - low <= 2.1e170 * width / 1e-170 + 1e157


def test_what_means_nothing_decides_nothing() -> None:
    with np.errstate(all="ignore"):
        low, high = bounds(1 / Form(np.array([0.0]), [np.array([1.0])]))
    assert not (low > 0).any()
    assert not (high < 0).any()
