"""A property on symbols computes what it does on numbers: each operation, each part of a law."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad

from analytic.levels import NoiseLevel
from analytic.mixtures import GaussianMixture
from steinlab.verification.continuum import trace
from steinlab.verification.continuum.trace import Law, Level, Node, NotEnclosable

A, B = 0.7, -1.3
LEVELS = [(1.0, 0.5), (0.6, 0.8)]
LAWS = [([1.0], [0.4], 0.8), ([0.3, 0.7], [1.1, -0.6], 0.5)]


def parameter(name: str, *, positive: bool = False) -> Node:
    return Node("parameter", (), name, positive, nonnegative=positive)


def number(one: Node, values: dict[str, float], state: dict[int, float] | None = None) -> float:
    """Evaluate in floats; an expectation by quadrature, of each mode's own normal law."""
    rules: dict[str, Callable[..., Any]] = {
        "const": lambda leaf: leaf.value,
        "parameter": lambda leaf: values[leaf.value],
        "mean": lambda leaf: mean(leaf, values),
        "add": operator.add,
        "mul": operator.mul,
        "neg": operator.neg,
        "square": lambda x: x * x,
        "reciprocal": lambda x: 1 / x,
        "sqrt": np.sqrt,
        "root": np.sqrt,
        "exp": np.exp,
        "log": np.log,
        "tanh": np.tanh,
        "abs": abs,
    }
    return float(trace.evaluate(one, rules, dict(state or {})))


def mean(leaf: Node, values: dict[str, float]) -> float:
    body, root, *modes = leaf.args
    total = 0.0
    for weight, middle in zip(modes[::2], modes[1::2], strict=True):
        w, m, r = (number(part, values) for part in (weight, middle, root))

        def integrand(z: float, m: float = m, r: float = r) -> float:
            density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
            return float(number(body, values, {id(leaf.value): m + r * z}) * density)

        total += w * quad(integrand, -12, 12, epsabs=1e-12, limit=200)[0]
    return total


UNARY = {
    "negative": lambda a: -a,
    "plus": lambda a: +a,
    "absolute": abs,
    "minus a number": lambda a: a - 2,
    "a number minus": lambda a: 2 - a,
    "a number over": lambda a: 3 / a,
    "over a number": lambda a: a / 4,
    "times one, plus nothing": lambda a: 1 * a + 0,
    "times nothing": lambda a: 5 + 0 * a,
    "its own square": lambda a: a * a,
    **{f"power {p}": lambda a, p=p: a**p for p in (-3, -0.5, 0, 0.5, 1, 2, 2.5, 3, 4, 5, 12)},
    **{
        f"np.{name}": lambda a, name=name: getattr(np, name)(a)
        for name in ("square", "reciprocal", "exp", "expm1", "log", "log1p", "sqrt", "tanh", "abs")
    },
    "np.clip below": lambda a: np.clip(a, 0.9, 2.0),
    "np.clip above": lambda a: np.clip(a, 0.1, 0.5),
    "np.clip": lambda a: np.clip(a, 0.1, 0.9),
    "np.ones_like": lambda a: a + np.ones_like(a),
    "np.zeros_like": lambda a: a + 3 * np.zeros_like(a),
    "np.negative": np.negative,
}
BINARY = {
    **{name: getattr(operator, name) for name in ("add", "sub", "mul", "truediv")},
    **{
        f"np.{name}": getattr(np, name)
        for name in ("add", "subtract", "multiply", "divide", "hypot", "maximum", "minimum")
    },
    "the larger first": lambda a, b: np.maximum(b, a) - np.minimum(b, a),
    "np.power": lambda a, b: np.power(a, 3) + b,
}


@pytest.mark.parametrize("name", UNARY)
def test_an_operation_is_numpys(name: str) -> None:
    f = UNARY[name]
    for known in (True, False):
        found = number(trace.node(f(parameter("a", positive=known))), {"a": A})
        assert found == pytest.approx(float(f(A)), rel=1e-14)


@pytest.mark.parametrize("name", BINARY)
def test_an_operation_of_two_is_numpys(name: str) -> None:
    f = BINARY[name]
    a, b = parameter("a", positive=True), parameter("b")
    assert number(f(a, b), {"a": A, "b": B}) == pytest.approx(float(f(A, B)), rel=1e-14)
    assert number(f(a, B), {"a": A}) == pytest.approx(float(f(A, B)), rel=1e-14)
    if not name.startswith("np.power"):
        assert number(f(A, b), {"b": B}) == pytest.approx(float(f(A, B)), rel=1e-14)


def test_signs_are_known_where_they_follow() -> None:
    a, b = parameter("a", positive=True), parameter("b")
    for one in (a + a, a * a, a + 1, 2 * a, 1 / a, trace.exp(b), trace.sqrt(a), trace.tanh(a)):
        assert one.positive
        assert one.nonnegative
        assert one > 0
        assert abs(one) is one
    for one in (b * b, abs(b), trace.sqrt(b), trace.sqrt(b * b), abs(b) + abs(b), abs(b) * abs(b)):
        assert not one.positive
        assert one.nonnegative
    for one in (b, -a, a + b, a * b, a - a, trace.log(a), trace.tanh(b), 1 / b):
        assert not one.positive
        assert not one.nonnegative
    assert trace.sqrt(a).op == trace.sqrt(b * b).op == "sqrt"
    assert trace.sqrt(b).op == "root"
    zero, one = trace.node(0.0), trace.node(1.0)
    assert not zero.positive
    assert zero.nonnegative
    assert one.positive
    assert not trace.node(-1.0).nonnegative


def test_neutral_numbers_leave_no_trace() -> None:
    a = parameter("a")
    for one in (a + 0, 0 + a, a * 1, 1 * a, a - 0, a**1, +a, a.item(), a.sum(axis=-1)):
        assert one is a
    assert (0 * a).op == "const"
    assert (a**0).value == 1.0
    assert (-trace.node(2.0)).value == -2.0


@pytest.mark.parametrize("key", [..., None, (..., None), (slice(None), 0), (..., 0), 0])
def test_the_one_coordinate_is_picked(key: Any) -> None:
    a = parameter("a")
    assert a[key] is a


@pytest.mark.parametrize("key", [1, slice(1), (0, slice(None)), (..., 1), (1, ...)])
def test_another_index_is_refused(key: Any) -> None:
    with pytest.raises(NotEnclosable, match="an index"):
        parameter("a")[key]


REFUSED: dict[str, tuple[Callable[[Node], Any], str]] = {
    "power": (lambda a: a**13, "the power 13"),
    "negative power": (lambda a: a**-13, "the power -13"),
    "third": (lambda a: a ** (1 / 3), "the power 0.333"),
    "symbol": (lambda a: a**a, "the power of a side"),
    "exponent": (lambda a: 2**a, "a power whose exponent is a symbol"),
    "remainder": (lambda a: a % 2, "a remainder"),
    "quotient": (lambda a: a // 2, "a remainder"),
    "matrix": (lambda a: a @ a, "a matrix product"),
    "below": (lambda a: a < 1, "a comparison"),
    "above": (lambda a: a > 1, "a comparison"),
    "above nothing": (lambda a: a > 0, "a comparison"),
    "condition": (bool, "a condition"),
    "float": (float, "a conversion to a plain number"),
    "int": (int, "a conversion to a plain number"),
    "array": (np.asarray, "a conversion to an array"),
    "part": (lambda a: a.shape, r"\.shape"),
    "sum": (lambda a: a.sum(), "a sum over states"),
    "np.sum": (np.sum, "np.sum over states"),
    "np.sum of states": (lambda a: np.sum(a, axis=0), "np.sum over states"),
    "np.norm": (np.linalg.norm, "np.norm over states"),
    "np.mean": (np.mean, "np.mean"),
    "np.sin": (np.sin, "np.sin"),
    "out": (lambda a: np.add(a, 1, out=np.zeros(1)), "np.add"),
    "infinite": (lambda a: a + np.inf, "the number inf"),
    "truth": (lambda a: a + True, "the number nan"),
    "word": (lambda a: a + "1", "the number nan"),
    "two numbers": (lambda a: a * [1.0, 2.0], "a value of list"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_enclosure_is_named(name: str) -> None:
    make, said = REFUSED[name]
    with pytest.raises(NotEnclosable, match=said):
        make(parameter("a"))


def test_sums_over_coordinates_and_norms_are_of_one() -> None:
    a = parameter("a")
    assert np.sum(a, axis=-1) is a
    assert np.sum(a, -1) is a
    assert np.linalg.norm(a, axis=-1).op == "abs"
    assert getattr(a, "missing", None) is None
    with pytest.raises(AttributeError):
        a.__missing__  # noqa: B018


def test_relations_keep_their_sides() -> None:
    a = parameter("a")
    for relation, sign in ((a <= 2, "<="), (a >= 2, ">="), (a == 2, "==")):
        assert relation.sign == sign
        assert relation.left is a
        assert relation.right.value == 2.0  # type: ignore[union-attr]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("weights", "means", "std"), LAWS)
@pytest.mark.parametrize("x", [-1.4, 0.2, 3.0])
def test_a_law_is_the_mixtures(
    weights: list[float], means: list[float], std: float, level: tuple[float, float], x: float
) -> None:
    law = Law(list(zip(weights, means, strict=True)), std)
    mixture = GaussianMixture(weights, means, std**2)
    symbol, at = Level(*level), NoiseLevel(*level)
    state = np.array([[x]])
    assert number(symbol.ratio, {}) == pytest.approx(at.ratio)
    assert number(symbol.lam, {}) == pytest.approx(at.lam)
    assert number(law.mean(), {}) == pytest.approx(float(mixture.mean()[0]))
    assert number(law.second_moment(), {}) == pytest.approx(float(mixture.second_moment()))
    assert number(law.variance(), {}) == pytest.approx(float(mixture.variance()))
    denoised, divergence, variance = (float(v.ravel()[0]) for v in mixture.moments(state, at))
    found = [number(one, {}) for one in law.moments(x, symbol)]
    assert found == pytest.approx([denoised, divergence, variance], rel=1e-12)
    assert number(law(x, symbol), {}) == pytest.approx(denoised, rel=1e-12)
    assert number(law.score(x, symbol), {}) == pytest.approx(
        float(mixture.score(state, at)[0, 0]), rel=1e-12
    )
    assert number(law.jvp(x, symbol, 2.5), {}) == pytest.approx(2.5 * divergence, rel=1e-12)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("weights", "means", "std"), LAWS)
def test_an_expectation_is_over_the_noised_law(
    weights: list[float], means: list[float], std: float, level: tuple[float, float]
) -> None:
    law, symbol = Law(list(zip(weights, means, strict=True)), std), Level(*level)
    alpha, sigma = level
    first = sum(w * m for w, m in zip(weights, means, strict=True))
    second = std**2 + sum(w * m * m for w, m in zip(weights, means, strict=True))
    assert number(law.expectation(lambda x: x, symbol), {}) == pytest.approx(alpha * first)
    assert number(law.expectation(lambda x: x * x, symbol), {}) == pytest.approx(
        alpha**2 * second + sigma**2
    )
    # Stein: E[x . score] = -1; Tweedie: E D = E x_star
    stein = law.expectation(lambda x: x * law.score(x, symbol), symbol)
    assert number(stein, {}) == pytest.approx(-1)
    assert number(law.expectation(lambda x: law(x, symbol), symbol), {}) == pytest.approx(first)
    square = law.expectation(lambda x: x * x, symbol)
    assert square.nonnegative
    assert not square.positive
    assert law.expectation(trace.exp, symbol).positive
    assert number(law.expectation(lambda _: 3.0, symbol), {}) == 3.0


def test_an_expectation_within_anothers_is_refused() -> None:
    law, level = Law([(1.0, 0.0)], 1.0), Level(1.0, 1.0)
    with pytest.raises(NotEnclosable, match="an expectation within"):
        law.expectation(lambda x: x * law.expectation(lambda y: x * y, level), level)
    with pytest.raises(NotEnclosable, match="a level that depends on a state"):
        law.expectation(lambda x: law.expectation(lambda y: y, Level(1.0, x)) * x, level)
    for one, said in ((law, "a law's .stds"), (level, "a level's .stds")):
        with pytest.raises(NotEnclosable, match=said):
            one.stds  # noqa: B018


def test_what_does_not_depend_on_the_state_is_found() -> None:
    a, law, level = parameter("a"), Law([(1.0, 0.0)], 1.0), Level(1.0, 1.0)
    held = trace.exp(a) + 1
    body = law.expectation(lambda x: held * x + x * a, level).args[0]
    found = trace.fixed(body)
    assert {id(one) for one in found} == {id(held), id(a)}
