"""Expectations state an error that holds, arithmetic keeps it, comparisons keep both sides."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.verification import arguments, expectation, laws
from steinlab.verification.expectation import Ball, E, Relation

NUMBERS = st.floats(-100, 100)
ERRORS = st.floats(0, 10)


@given(st.tuples(NUMBERS, ERRORS, NUMBERS, ERRORS, st.floats(-1, 1), st.floats(-1, 1)))
def test_what_a_ball_holds_stays_in_it(drawn: tuple[float, ...]) -> None:
    a, da, b, db, i, j = drawn
    x, y = Ball(a, da), Ball(b, db)
    inner, other = mpmath.mpf(a) + i * mpmath.mpf(da), mpmath.mpf(b) + j * mpmath.mpf(db)
    pairs = [
        (x + y, inner + other),
        (x - y, inner - other),
        (x * y, inner * other),
        (2 - x, 2 - inner),
        (3 * x + 1, 3 * inner + 1),
        (abs(x), abs(inner)),
        *((x**n, inner**n) for n in (0, 1, 2, 3)),
    ]
    if b and other:
        pairs += [(x / y, inner / other), (1 / y, 1 / other), (y**-1, 1 / other)]
    if b > 0 and other > 0:
        pairs.append((y**0.5, mpmath.sqrt(other)))
    for found, true in pairs:
        # the ends of the ball are themselves rounded
        slack = 8 * EPS * (abs(found.value) + found.error + abs(a) + da)
        assert abs(found.value - true) <= found.error + slack


def test_errors_are_no_wider_than_the_arithmetic_asks() -> None:
    x = Ball(2.0, 1e-6)
    assert (x + x).error == pytest.approx(2e-6, rel=1e-5)
    assert (x * x).error == pytest.approx(4e-6, rel=1e-5)
    assert (x / x).error == pytest.approx(1e-6, rel=1e-5)
    assert (x**3).error == pytest.approx(12e-6, rel=1e-5)
    assert (1 / Ball(1e-9, 1e-6)).error == np.inf
    assert (Ball(1e-9, 1e-6) ** -1).error == np.inf
    with pytest.raises(ValueError, match=r"a power of 0\.5 needs a number >= 0, got -1"):
        _ = Ball(-1.0) ** 0.5


@pytest.mark.parametrize("plain", [1.5, np.float64(1.5), np.array(1.5), np.array([1.5]), 3])
def test_plain_numbers_stand_on_either_side(plain: Any) -> None:
    x, value = Ball(2.0, 1e-3), float(np.asarray(plain).item())
    assert (plain + x).value == value + 2
    assert (plain - x).value == value - 2
    assert (plain / x).value == value / 2
    relation = x <= plain
    assert (relation.sign, relation.right.value) == ("<=", value)
    assert relation.right.error == ROUNDING * EPS * value
    assert (plain <= x).sign == ">="
    assert isinstance(x == plain, Relation)


def test_what_is_no_number_is_refused() -> None:
    x = Ball(1.0)
    for other in ("a", np.ones(2), None, True):
        with pytest.raises(TypeError):
            _ = x + other
    with pytest.raises(TypeError, match="one relation"):
        assert 0 <= x <= 2
    with pytest.raises(TypeError):
        _ = x < 2


IDENTITIES = {
    "second moment": lambda law, s: (
        E(lambda x: x**2, law, s),
        s.alpha**2 * float(law.second_moment()) + s.sigma**2,
    ),
    "Stein, v = x": lambda law, s: (
        E(lambda x: x * (x - s.alpha * law(x, s)), law, s),
        s.sigma**2,
    ),
    "score": lambda law, s: (
        E(lambda x: law.score(x, s) ** 2, law, s),
        (1 - s.alpha * E(lambda x: law.divergence(x, s), law, s)) / s.sigma**2,
    ),
    "total variance": lambda law, s: (
        E(lambda x: law(x, s) ** 2, law, s) + E(lambda x: law.posterior_variance(x, s), law, s),
        law.second_moment(),
    ),
}


def worst_over_tolerance(cases: int) -> float:
    """Return the largest excess of the identities over their tolerance, over drawn laws."""
    rng, worst = np.random.default_rng(0), 0.0
    law_cases, level_cases = laws.mixtures(), arguments.levels("edm", "vp-linear", "flow")
    for i in range(cases):
        values = []
        for strategy in (law_cases, level_cases):
            kind = strategy.kinds[i % len(strategy.kinds)]
            numbers = [float(p.at(rng.random())) for p in strategy.parameters(kind)]
            values.append(strategy.read(strategy.write(kind, tuple(numbers))))
        for sides in IDENTITIES.values():
            left, right = sides(*values)
            relation = left == right
            gap = abs(relation.left.value - relation.right.value)
            worst = max(worst, gap / (relation.left.error + relation.right.error))
    return worst


def test_stated_errors_hold_where_f_cancels() -> None:
    assert worst_over_tolerance(24) < 1


def test_without_the_rounding_that_f_shows_they_would_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expectation, "SINGLE_EPS", 1e300)
    assert worst_over_tolerance(24) > 1


@pytest.mark.slow
def test_stated_errors_hold_on_many_laws() -> None:
    assert worst_over_tolerance(1000) < 0.5  # 0.24 of the tolerance in 300 laws


LAW, LEVEL = GaussianMixture([0.5, 0.5], [-1.0, 1.0], 0.25), NoiseLevel(1.0, 1.0)


def test_values_come_one_a_state_in_either_shape() -> None:
    wide = E(lambda x: x**2, LAW, LEVEL)
    assert E(lambda x: x[:, 0] ** 2, LAW, LEVEL).value == wide.value == pytest.approx(2.25)
    assert E(lambda _: 3.0, LAW, LEVEL).value == pytest.approx(3, abs=1e-14)


def test_one_state_where_f_is_not_finite_is_named() -> None:
    met = []

    def f(x: np.ndarray) -> np.ndarray:
        met.append(float(x.max()))
        return np.where(x == x.max(), np.inf, x)

    with pytest.raises(ValueError, match="finite at every state, got inf at x") as caught:
        E(f, LAW, LEVEL)
    assert str(caught.value).endswith(f"at x = {met[0]}")


@pytest.mark.parametrize(
    ("f", "law", "message"),
    [
        (lambda x: x @ np.ones((1, 2)), LAW, r"one value per state.*got \(\d+, 2\)"),
        (lambda x: np.where(x > 0, np.nan, 1.0), LAW, r"finite at every state, got nan at x = \S+"),
        (lambda x: x, GaussianMixture([1.0], [[0.0, 0.0]], 1.0), "on a line.*of dimension 2"),
        (lambda x: x, EmpiricalMixture(np.ones((2, 1)), 0.1), "got EmpiricalMixture"),
        (lambda x: x, lambda x, _s: x, "got function of dimension unknown"),
    ],
)
def test_one_line_says_what_cannot_be_integrated(f: Any, law: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        E(f, law, LEVEL)
    assert "\n" not in str(caught.value)
