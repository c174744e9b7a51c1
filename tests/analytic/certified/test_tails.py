# ruff: noqa: ARG005 - what is planted is called as what it stands for
"""What a proof adds for tails and quadrature: each bound against its formula in floating point.

A bound that is too large wastes boxes, one that is too small proves nothing; neither moves the
middle of an enclosure, so each is compared here with the number that its derivation gives.
"""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.polynomial import Polynomial
from scipy.special import gamma, gammaincc
from scipy.stats import norm

pytest.importorskip("flint")

from analytic.certified import coefficient, perturbation, radius
from analytic.certified.balls import ball, precision
from analytic.certified.coefficient import tail
from analytic.certified.laws import ExactMixture, Level, Line
from analytic.certified.radius import Radial, Side
from analytic.certified.steps import BallStep, ExactStep, denoiser_bounds, upper

BITS = 64
TWO = ExactMixture.of(["3/10", "7/10"], [-1, "3/2"], ["4/25", "49/100"])
STEEP = ExactMixture.of(["1/5", "4/5"], [[-3, 0, 0], [2, 0, 0]], ["1/9", "1"])
STEPS = [
    ExactStep.of("euler", ("4/5", "3/5"), ("12/13", "5/13")),
    ExactStep.of("heun", ("4/5", "3/5"), ("12/13", "5/13")),
]
T = np.array([0.0, 0.3, 1.7, 6.0])
REACHED = 2
"""Deviations after which the tails are cut here, where they are large."""


@pytest.fixture(autouse=True)
def _bits() -> Any:
    with precision(BITS):
        yield


def real(value: Any) -> float:
    return float(value.mid()) if hasattr(value, "mid") else float(value)


def numbers(values: Any) -> np.ndarray:
    return np.array([real(one) for one in values])


def at(poly: Any) -> np.ndarray:
    """A polynomial of balls at :data:`T`."""
    return np.array([real(poly(ball(Fraction(t)))) for t in T])


def side(center: float, half: float) -> Side:
    return Side(Fraction(center), Fraction(half))


def constant(c: float) -> Any:
    return SimpleNamespace(values=lambda y, rho: [ball(0) * y, ball(Fraction(c))], bits=BITS)


# the product rule


def test_sides_become_balls() -> None:
    one = radius._segment(side(3.0, 0.5))
    assert (float(one.lower()), float(one.upper())) == pytest.approx((2.5, 3.5), rel=1e-6, abs=0)
    halves = radius._halves(side(3.0, 0.5))
    assert halves == [side(2.75, 0.25), side(3.25, 0.25)]
    box = radius._ellipse(side(3.0, 0.5))
    reach = 0.5 * (3 + 1 / 3) / 2, 0.5 * (3 - 1 / 3) / 2  # half axes of the ellipse r = 3
    assert float(box.real.upper()) == pytest.approx(3 + reach[0], rel=1e-8, abs=0)
    assert float(box.real.lower()) == pytest.approx(3 - reach[0], rel=1e-8, abs=0)
    assert float(box.imag.upper()) == pytest.approx(reach[1], rel=1e-8, abs=0)
    assert float(box.imag.lower()) == pytest.approx(-reach[1], rel=1e-8, abs=0)


@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_the_rule_is_exact_up_to_its_degree(nodes: int) -> None:
    """Monomials ``y^a rho^b`` with ``a, b < 2 N``; one more is not."""
    top = 2 * nodes - 1
    powers = [(0, 0), (top, 1), (1, top), (top, top)]
    problem: Any = SimpleNamespace(
        values=lambda y, rho: [y**a * rho**b for a, b in powers], bits=BITS
    )
    found = numbers(radius._rule(problem, (side(0.5, 1.5), side(2.0, 1.0)), nodes))
    exact = [
        (2.0 ** (a + 1) - (-1.0) ** (a + 1)) / (a + 1) * (3.0 ** (b + 1) - 1) / (b + 1)
        for a, b in powers
    ]
    np.testing.assert_allclose(found, exact, rtol=1e-13)
    problem.values = lambda y, rho: [y ** (top + 1)] * 4
    beyond = real(radius._rule(problem, (side(0.5, 1.5), side(2.0, 1.0)), nodes)[0])
    whole = 2 * (2.0 ** (top + 2) + 1) / (top + 2)
    assert abs(beyond / whole - 1) > 1e-4
    assert radius._rule(problem, (side(0.5, 1.5), side(2.0, 1.0)), 0)[0] == 0


GOAL = 2.0 ** -(BITS - 8)


@pytest.mark.parametrize("c", [1e-3, 7.0, 1e-18])
def test_the_fewest_nodes_meet_the_goal(c: float) -> None:
    """``2 area (32/15) c / ((1 - 1/9) 3^(2 N - 2))`` for a constant."""
    plan = radius._plan(constant(c), (side(0.5, 1.5), side(2.0, 0.5)))
    error = 2 * 3.0 * (32 / 15) * c * 9 / (1 - 1 / 9)
    nodes = max(2, math.ceil(math.log(error / GOAL) / (2 * math.log(3))))
    assert (plan.nodes, plan.axis) == (nodes, -1)
    assert real(plan.error) == pytest.approx(error / 9.0**nodes, rel=1e-7, abs=0)


@pytest.mark.parametrize(("share", "flat"), [(0.99, True), (1.01, False)])
def test_a_box_below_a_part_of_the_goal_needs_no_nodes(share: float, flat: bool) -> None:
    c = share * GOAL / 256
    plan = radius._plan(constant(c), (side(0.5, 1.5), side(2.0, 0.5)))
    assert (plan.nodes == 0) == flat
    assert plan.axis == -1
    if flat:
        assert real(plan.error) == pytest.approx(3.0 * c, rel=1e-7, abs=0)


def pole(along: float | None, across: float | None) -> Any:
    """``1 / (y - along)`` and ``1 / (rho - across)``, added."""

    def values(y: Any, rho: Any) -> Any:
        total = ball(0) * y
        if along is not None:
            total += 1 / (y - ball(Fraction(along)))
        if across is not None:
            total += 1 / (rho - ball(Fraction(across)))
        return [total]

    return SimpleNamespace(values=values, bits=BITS)


@pytest.mark.parametrize(
    ("along", "across", "axis"),
    [(2.3, None, 0), (None, 2.8, 1), (1.0, 2.0, 0), (0.9, 2.0, 0), (2.3, 2.8, 0)],
)
def test_a_side_near_a_pole_is_halved(along: float | None, across: float | None, axis: int) -> None:
    """The sides are ``[-1, 2]`` and ``[1.5, 2.5]``: where both have poles the longer one is."""
    plan = radius._plan(pole(along, across), (side(0.5, 1.5), side(2.0, 0.5)))
    assert plan.axis == axis
    turned = radius._plan(pole(across, along), (side(2.0, 0.5), side(0.5, 1.5)))
    assert turned.axis == (1 if along is not None and across is not None else 1 - axis)


def test_a_side_that_needs_too_many_nodes_is_halved() -> None:
    """``exp(20 y)`` grows on the ellipse of ``y``; at most a third of the bits as nodes."""
    along: Any = SimpleNamespace(values=lambda y, rho: [(20 * y).exp()], bits=BITS)
    box = (side(0.5, 1.5), side(2.0, 1.5))
    assert radius._plan(along, box).axis == 0
    across: Any = SimpleNamespace(values=lambda y, rho: [(20 * rho).exp()], bits=BITS)
    assert radius._plan(across, box).axis == 1
    few: Any = SimpleNamespace(values=constant(7.0).values, bits=BITS)
    needed = radius._plan(few, box).nodes
    for bits, axis in ((3 * needed, -1), (3 * needed - 1, 0)):
        few.bits = bits
        plan = radius._plan(few, box)
        least = math.log(2 * 9.0 * (32 / 15) * 7 * 9 / (1 - 1 / 9) * 2 ** (bits - 8))
        fits = max(2, math.ceil(least / (2 * math.log(3)))) <= bits // 3
        assert (plan.axis == -1) == fits, axis


def test_an_integral_over_halved_boxes_is_enclosed(monkeypatch: pytest.MonkeyPatch) -> None:
    """``exp(y - rho)`` over ``[-6, 6] x [0, 8]``."""
    problem: Any = SimpleNamespace(values=lambda y, rho: [(y - rho).exp()] * 4, bits=BITS)
    box = (side(0.0, 6.0), side(4.0, 4.0))
    found = radius._integrate(problem, box)[0]
    exact = (math.exp(6) - math.exp(-6)) * (1 - math.exp(-8))
    assert real(found) == pytest.approx(exact, rel=1e-13, abs=0)
    assert float(found.rad()) < 1e-12
    monkeypatch.setattr(radius, "MOST", 2)
    with pytest.raises(ArithmeticError, match="2 boxes do not suffice at 64 bits"):
        radius._integrate(problem, box)


# growth and tails


class Doubles:
    """A level's numbers in floating point."""

    def __init__(self, level: Any):
        for name in ("gains", "bases", "centers", "widths", "weights"):
            setattr(self, name, numbers(getattr(level, name)))
        self.precision = real(level.precision)

    gains: np.ndarray
    bases: np.ndarray
    centers: np.ndarray
    widths: np.ndarray
    weights: np.ndarray

    def denoised(self, reach: Any) -> tuple[Any, Any]:
        half = reach * np.ptp(self.gains) / 2 + np.ptp(self.bases) / 2
        gain = self.gains.max()
        return reach * gain + np.abs(self.bases).max(), half * half * self.precision + gain


@pytest.mark.parametrize("reach", [Polynomial([0.0, 1.0]), Polynomial([0.5, 2.0])])
def test_a_denoiser_and_its_slope_are_bounded_by_popoviciu(reach: Polynomial) -> None:
    """``max |base| + g |y|``, ``g + (alpha/sigma^2) (half the spread of mu)^2``."""
    from flint import arb_poly

    level = Level(Line.through(TWO), Fraction(4, 5), Fraction(3, 5))
    found = denoiser_bounds(level, arb_poly([ball(Fraction(c)) for c in reach.coef]))
    for one, expected in zip(found, Doubles(level).denoised(reach), strict=True):
        np.testing.assert_allclose(at(one), expected(T), rtol=1e-7)


def growth_of(step: BallStep) -> tuple[Any, Any]:
    """``|u|`` and ``|u'|`` of a step along the line, in floating point."""
    t, start = Polynomial([0.0, 1.0]), Doubles(step.start)
    mean, slope = start.denoised(t)
    slack, beta = abs(real(step.slack)), abs(real(step.beta))
    u, du = t * slack + mean * beta, slack + slope * beta
    if step.end is None:
        return u, du
    end, c, kappa = Doubles(step.end), abs(real(step.bend)), real(step.kappa)
    after, later = end.denoised(t * kappa + mean * beta)
    return u + (after + mean) * c, du + (later * (kappa + slope * beta) + slope) * c


@pytest.mark.parametrize("exact", STEPS)
def test_a_residuals_growth(exact: ExactStep) -> None:
    step = BallStep(exact, Line.through(TWO))
    for one, expected in zip(step.growth(), growth_of(step), strict=True):
        np.testing.assert_allclose(at(one), expected(T), rtol=1e-7)


@pytest.mark.parametrize("exact", STEPS)
def test_the_integrands_growth_over_the_radius(exact: ExactStep) -> None:
    """By the triangle inequality, ``|g_j - g_k|`` at most twice the half spread, ``rho <= t``."""
    step = BallStep(exact, Line.through(STEEP))
    start, t = Doubles(step.start), Polynomial([0.0, 1.0])
    u, slope = growth_of(step)
    g, wide = start.gains.max(), np.ptp(start.gains) / 2
    beta, p = abs(real(step.beta)), start.precision
    fisher = t * t * p * wide**2  # rho dG/drho
    gain, radial = abs(real(step.slack)) + beta * g, fisher * beta
    if step.end is not None:
        end, c = Doubles(step.end), abs(real(step.bend))
        q, later = end.precision, end.gains.max()
        stretch = real(step.kappa) + beta * g
        gain = gain + c * (later * stretch + g)
        width = np.ptp(end.gains) / 2
        spread = t * wide + np.ptp(start.bases) / 2
        state = t * real(step.kappa) + start.denoised(t)[0] * beta
        moved = (state * width + np.ptp(end.bases) / 2) * width
        cross = spread * (beta * p * wide)
        slope = slope + c * q * stretch * moved * cross * t * t
        # d(rho')/drho is at most stretch + beta rho dG/drho
        turned = moved * cross + width**2 * stretch * (stretch + fisher * beta)
        turned = q * stretch * t * t * turned
        radial = radial + c * (turned + fisher * (later * beta + 1))
    own = t * (1 + g) + np.abs(start.bases).max()
    square = t * t * gain
    expected = [u * own + square, u * t + square, slope + radial + 2 * gain, u * u + square * gain]
    for one, two in zip(Radial(step, BITS).growth(), expected, strict=True):
        np.testing.assert_allclose(at(one), two(T), rtol=1e-7)


@pytest.mark.parametrize("k", [0, 1])
@pytest.mark.parametrize("m", [0, 1, 4])
def test_moments_over_the_radius(k: int, m: int) -> None:
    """``3^m (|c|^m + E |sqrt(v) z|^m + E rho^m)``, ``rho^2 / v`` chi-square of two."""
    space = Radial(BallStep(STEPS[0], Line.through(STEEP)), BITS)
    level = Doubles(space.level)
    root = math.sqrt(2 * level.widths[k]) ** m
    parts = root * gamma((m + 1) / 2) / gamma(0.5) + root * gamma(1 + m / 2) / gamma(1)
    expected = 3**m * (abs(level.centers[k]) ** m + parts)
    assert real(space._moment(k, m)) == pytest.approx(expected, rel=1e-12, abs=0)
    n = 100_000
    rng = np.random.default_rng(0)
    y = level.centers[k] + math.sqrt(level.widths[k]) * rng.standard_normal(n)
    rho = math.sqrt(level.widths[k]) * np.linalg.norm(rng.standard_normal((n, 2)), axis=1)
    assert np.mean((np.abs(y) + rho) ** m) <= expected


def test_what_lies_outside_the_boxes_is_bounded_by_cauchy_and_schwarz() -> None:
    """``sum_k w_k sqrt(P_k(outside) E_k growth^2)``."""
    space = Radial(BallStep(STEPS[0], Line.through(STEEP)), BITS)
    level, most = Doubles(space.level), 1.7
    found = numbers(space.outside(3, ball(Fraction(most))))
    for i, one in enumerate(space.growth()):
        squared = numbers((one * one).coeffs())
        total = 0.0
        for k, (w, v) in enumerate(zip(level.weights, level.widths, strict=True)):
            lost = 2 * norm.sf(3) + gammaincc(1, most**2 / (2 * v))
            moments = [real(space._moment(k, m)) for m in range(len(squared))]
            total += w * math.sqrt(lost * np.abs(squared) @ moments)
        assert found[i] == pytest.approx(total, rel=1e-9, abs=0)


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 5])
def test_a_tail_is_the_integral_of_its_growth(degree: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """``2 w int_z^oo (|c| + sqrt(v) t)^m phi dt``, with ``phi(z)/z`` for the mass."""
    from flint import arb_poly

    monkeypatch.setattr(coefficient, "reach", lambda bits: REACHED)
    level = Level(Line.through(TWO), Fraction(4, 5), Fraction(3, 5))
    doubles = Doubles(level)
    for k in range(2):
        found = tail(level, k, arb_poly([0] * degree + [1]), BITS)
        moments = [norm.pdf(REACHED) / REACHED, norm.pdf(REACHED)]
        for j in range(2, degree + 1):
            moments.append(REACHED ** (j - 1) * norm.pdf(REACHED) + (j - 1) * moments[j - 2])
        shifted = Polynomial([abs(doubles.centers[k]), math.sqrt(doubles.widths[k])]) ** degree
        expected = 2 * doubles.weights[k] * (shifted.coef @ moments[: degree + 1])
        assert real(found) == pytest.approx(expected, rel=1e-12, abs=0)


def taken(monkeypatch: pytest.MonkeyPatch, module: Any) -> list[Any]:
    """The growth of every expectation."""
    growths: list[Any] = []
    expect = coefficient.expect

    def noted(level: Any, value: Any, growth: Any, *rest: Any) -> Any:
        growths.append(at(growth))
        return expect(level, value, growth, *rest)

    monkeypatch.setattr(module, "expect", noted)
    return growths


def test_the_growths_of_the_perturbation_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """``u^2``, Stein's form, ``u (|x| + |D|)``, ``gap^2`` and ``u gap``, each of its bounds."""
    growths = taken(monkeypatch, perturbation)
    q = ExactMixture.of(["3/5", "2/5"], [-1, 2], ["1/4", "9/4"])
    exact = STEPS[0]
    perturbation.perturbation_bound(TWO, q, exact, bits=32)
    step, t = BallStep(exact, Line.through(TWO)), Polynomial([0.0, 1.0])
    u, du = growth_of(step)
    mean = Doubles(step.start).denoised(t)[0]
    score = t * 4 + 4  # rates 4 and 4/9, shifts -4 and 8/9
    gap = (mean + t / 0.8) / (0.36 / 0.8) + score
    stein = t * u * abs(1 - 1 / 0.8) + du * (0.36 / 0.8)
    expected = [u * u, stein, u * (t + mean), gap * gap, u * gap]
    assert len(growths) == 5
    for one, two in zip(growths, expected, strict=True):
        np.testing.assert_allclose(one, two(T), rtol=1e-7)


def test_the_growths_of_the_coefficients_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    """``u^2`` and both forms; each mode's own ``|x| + |E[x_star]|`` for the reference."""
    growths = taken(monkeypatch, coefficient)
    tails: list[Any] = []
    bound = coefficient.tail

    def noted(level: Any, k: int, growth: Any, bits: int) -> Any:
        tails.append((k, at(growth)))
        return bound(level, k, growth, bits)

    monkeypatch.setattr(coefficient, "tail", noted)
    exact = STEPS[1]
    coefficient.step_terms(TWO, exact, bits=32)
    step, t = BallStep(exact, Line.through(TWO)), Polynomial([0.0, 1.0])
    start, (u, du) = Doubles(step.start), growth_of(step)
    forms = [u * u, t * u, du, t * u * 0.25 + du * 0.45]
    for growth in growths:
        assert any(np.allclose(growth, one(T), rtol=1e-7) for one in forms)
    assert any(np.allclose(growth, forms[0](T), rtol=1e-7) for growth in growths)
    own = [u * (t * (1 + start.gains[k]) + abs(start.bases[k])) for k in range(2)]
    for k in range(2):
        assert any(j == k and np.allclose(found, own[k](T), rtol=1e-7) for j, found in tails)


def test_a_score_and_its_bound() -> None:
    q = ExactMixture.of(["3/5", "2/5"], [-1, 2], ["1/4", "9/4"])
    level = Level(Line.through(q), Fraction(1), Fraction(0))
    from flint import arb_poly

    np.testing.assert_allclose(at(perturbation.score_bound(level, arb_poly([0, 1]))), 4 * T + 4)
    for x in (-3.0, -1.0, 0.4, 5.0):
        parts = [0.6 * norm.pdf(x, -1, 0.5), 0.4 * norm.pdf(x, 2, 1.5)]
        slopes = [-(x + 1) / 0.25, -(x - 2) / 2.25]
        expected = np.dot(parts, slopes) / sum(parts)
        found = perturbation.score(level, ball(Fraction(x)))
        assert real(found) == pytest.approx(expected, rel=1e-12, abs=0)


def test_a_root_of_what_may_be_negative_begins_at_zero() -> None:
    from flint import arb

    found = perturbation._root(arb(3, 6))
    assert float(found.lower()) == pytest.approx(0.0, abs=1e-8)
    assert float(found.upper()) == pytest.approx(3.0, rel=1e-7, abs=0)
    plain = perturbation._root(arb(9, 1))
    assert float(plain.lower()) == pytest.approx(math.sqrt(8), rel=1e-7, abs=0)
    assert float(plain.upper()) == pytest.approx(math.sqrt(10), rel=1e-7, abs=0)


def test_the_largest_of_several_bounds() -> None:
    values = [ball(Fraction(c)) for c in (1.0, -5.0, 3.0)]
    assert real(upper(values)) == 5.0
    assert real(radius._half_spread(values)) == 4.0
    assert real(radius._size(values)) == 5.0
