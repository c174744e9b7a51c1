"""Proved enclosures of the coefficient: right, narrow, and able to prove a formula wrong."""

from __future__ import annotations

import functools
import sys
import time
from fractions import Fraction

import mpmath as mp
import pytest

pytest.importorskip("flint")

import analytic.certified.coefficient
import analytic.certified.radius
from analytic.certified.balls import Enclosure, ball, exact, missing, precision, reach
from analytic.certified.coefficient import coefficient, stein_form, step_terms, tail
from analytic.certified.laws import ExactMixture, Line
from analytic.certified.radius import Radial, radial_terms
from analytic.certified.steps import BallStep, ExactStep
from tests.analytic.certified import certified_cases as reference

TWO = ExactMixture.of(["3/10", "7/10"], [-1, "3/2"], ["4/25", "49/100"])
THREE = ExactMixture.of([0.2, 0.5, 0.3], [-2.0, 0.1, 3.0], [0.3, 0.01, 1.7])
HEUN = ExactStep.of("heun", (1, 1), (1, "1/2"))
STEPS = {
    "euler": (TWO, ExactStep.of("euler", ("4/5", "3/5"), ("12/13", "5/13"))),
    "heun": (TWO, HEUN),
    "heun vp": (TWO, ExactStep.of("heun", ("3/5", "4/5"), ("12/13", "5/13"))),
    "2m": (TWO, ExactStep.of("dpmpp-2m", (1, 1), (1, "1/2"), ((1, 2), ["7/10"]))),
    "to zero": (TWO, ExactStep.of("heun", (1, "1/2"), (1, 0))),
}


def close(enclosure, value, digits):
    """Whether a 40-digit number is in the enclosure, but for its own error."""
    with mp.workdps(reference.DIGITS):
        slack = mp.mpf(10) ** -digits * (1 + abs(value))
        return abs(reference.number(enclosure.mid) - value) <= slack + reference.number(
            enclosure.radius
        )


SLOW = ("heun vp", "to zero")


WRONG = {
    "sign": lambda a, s: (1 - 1 / a, -s * s / a),
    "sigma": lambda a, s: (1 - 1 / a, s / a),
    "alpha": lambda a, s: (1 - 1 / a, s * s),
    "drift": lambda a, s: (0 * a, s * s / a),
    "graded 1e-12": lambda a, s: tuple(
        c * (1 + a * 0 + exact_ball("1e-12")) for c in stein_form(a, s)
    ),
}


@functools.cache
def proved(name):
    """What is certified of a step, and the seconds that it took; of Euler's, what is wrong too."""
    start = time.process_time()
    found = coefficient(*STEPS[name], forms=WRONG if name == "euler" else None)
    return found, time.process_time() - start


@functools.cache
def in_doubles():
    """The terms of one step at 53 bits, tails included."""
    return step_terms(*STEPS["heun vp"], bits=53)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in STEPS]
)
def test_mpmath_at_forty_digits_lies_inside(name):
    law, step = STEPS[name]
    found, _ = proved(name)
    by_reference, by_stein = reference.gammas(law, step)
    for route, value in (("reference", by_reference), ("stein", by_stein)):
        assert close(found[route], value, 28), route
        assert found[route].radius < Fraction(1, 10**29), route


@pytest.mark.parametrize(
    ("law", "bits", "radius"), [(TWO, 53, 1e-12), (TWO, 128, 1e-33), (THREE, 53, 1e-11)]
)
def test_all_routes_share_a_narrow_interval(law, bits, radius):
    found = coefficient(law, ExactStep.of("dpmpp-2m", ("4/5", "3/5"), (1, "1/5")), bits=bits)
    assert set(found) == {"reference", "stein", "three_scalar"}
    for one in found.values():
        assert one.radius < radius
        assert one.overlaps(found["reference"])


def test_heun_meets_its_target_of_radius_and_time():
    found, seconds = proved("heun")
    assert seconds < 10
    assert found["reference"].radius < Fraction(1, 10**29)
    assert found["stein"].overlaps(found["reference"])


def test_the_certified_step_is_the_collapse_where_beta_is_one_minus_kappa():
    gamma = coefficient(THREE, ExactStep.of("euler", (1, 3), (1, 1)))["stein"]
    assert gamma.contains(Fraction(3, 2))
    assert gamma.radius < Fraction(1, 10**29)


@pytest.mark.parametrize("name", WRONG)
def test_a_corrupted_formula_is_proved_wrong(name):
    found, _ = proved("euler")
    assert not found[name].overlaps(found["reference"])
    assert found["stein"].overlaps(found["reference"])


def exact_ball(value):
    return ball(exact(value))


def test_a_law_in_space_is_its_line_and_gaussian_directions():
    """Rotated by a rational rotation, centred off the origin: the sum over independent axes."""
    step = ExactStep.of("heun", ("4/5", "3/5"), ("12/13", "5/13"))
    flat = ExactMixture.of(["1/4", "3/4"], [[-2, "1/2", 0], [1, "1/2", 0]], ["1/9"] * 2)
    turned = [
        [
            m[0] * Fraction(3, 5) - m[1] * Fraction(4, 5),
            m[0] * Fraction(4, 5) + m[1] * Fraction(3, 5),
            m[2],
        ]
        for m in flat.means
    ]
    space = ExactMixture.of(flat.weights, turned, flat.variances)
    first, second = coefficient(flat, step), coefficient(space, step)
    for route in ("reference", "stein"):
        assert first[route].overlaps(second[route])
        assert first[route].overlaps(first["reference"])
        assert second[route].radius < Fraction(1, 10**29)
    parts = [
        ExactMixture.of(flat.weights, [m[i] for m in flat.means], flat.variances) for i in range(3)
    ]
    with mp.workdps(reference.DIGITS):
        axes = [reference.moments(part, step) for part in parts]
        gamma = mp.fsum(axis[0] for axis in axes) / mp.fsum(axis[1] for axis in axes)
    assert close(first["reference"], gamma, 13)  # the poles lie close: 1500 nodes reach 1e-15


def test_a_past_in_space_moves_the_candidate_across_the_line():
    """Theorem 4.7 needs no more than independence of the past: routes agree, and the past acts."""
    law = ExactMixture.of(["1/4", "3/4"], [[0, 1], [3, 1]], ["1/4"] * 2)
    found = [
        coefficient(law, ExactStep.of("dpmpp-2m", ("4/5", "3/5"), ("12/13", "5/13"), past))
        for past in (None, (("3/5", "4/5"), [1, 2]), (("3/5", "4/5"), [1, -2]))
    ]
    for one in found:
        assert one["reference"].overlaps(one["stein"])
        assert one["reference"].radius < Fraction(1, 10**29)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert not found[i]["reference"].overlaps(found[j]["reference"])


SPACE = ExactMixture.of(["1/4", "3/4"], [[0, 1, 0], [2, 1, 0]], ["1/4", "1/2"])


@pytest.mark.parametrize(
    "solver", ["euler", pytest.param("heun", marks=pytest.mark.slow), "dpmpp-2m"]
)
def test_several_variances_in_space_are_line_times_radius(solver):
    """Both routes: the derivatives along the radius enter one of them only."""
    past = (("3/5", "4/5"), ["1", "1", "1/2"]) if solver == "dpmpp-2m" else None
    found = coefficient(
        SPACE, ExactStep.of(solver, ("4/5", "3/5"), ("12/13", "5/13"), past), bits=53
    )
    assert found["reference"].overlaps(found["stein"])
    for one in found.values():
        assert one.radius < 1e-8


@pytest.mark.parametrize("means", [[[0, 1], [2, 1]], [[0, 1, 0], [2, 1, 0]]], ids=["2", "3"])
def test_line_times_radius_is_the_product_where_one_variance_is_shared(means):
    law = ExactMixture.of(["1/4", "3/4"], means, ["1/2", "1/2"])
    step = ExactStep.of("heun", ("4/5", "3/5"), ("12/13", "5/13"))
    factors = step_terms(law, step, bits=53)
    with precision(53):
        made = BallStep(step, Line.through(law))
        double = {name: Enclosure.of(v) for name, v in radial_terms(made, 53).items()}
    for name, one in double.items():
        assert one.overlaps(factors[name]), name
        assert one.radius < 1e-8, name


def test_inputs_are_exact():
    third = ExactMixture.of(["1/3", "2/3"], [0, "0.1"], [1, 1])
    assert third.weights == (Fraction(1, 3), Fraction(2, 3))
    assert third.means[1] == (Fraction(1, 10),)
    assert ExactMixture.of([0.3, 0.7], [0, 1], [0.1, 1]).variances[0] == Fraction(0.1)
    assert sum(ExactMixture.of([0.3, 0.7], [0, 1], [1, 1]).weights) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExactMixture.of([1], [0], [0]), "variances must be > 0, got 0"),
        (lambda: ExactMixture.of([-1], [0], [1]), "weights must be >= 0"),
        (lambda: ExactMixture.of(["x"], [0], [1]), "weights must be a finite number"),
        (lambda: ExactMixture.of([1], [float("inf")], [1]), "means must be a finite number"),
        (lambda: ExactMixture.of([1, 1], [0], [1, 1]), "means and variances must hold one entry"),
        (lambda: ExactStep.of("dpm-2", (1, 1), (1, 0)), "solver must be one of"),
        (lambda: ExactStep.of("euler", (1, 1), (1, 2)), "t must be less noisy than s"),
        (lambda: ExactStep.of("euler", (0, 1), (1, 1)), "s must have alpha > 0"),
        (
            lambda: ExactStep.of("heun", (1, 1), (1, 0), ((1, 2), [0])),
            "past must be None for heun",
        ),
        (
            lambda: Line.through(ExactMixture.of([1] * 3, [[0, 0], [1, 0], [0, 1]], [1] * 3)),
            r"means\[2\] off the line",
        ),
        (lambda: precision(8).__enter__(), "bits must be >= 24"),
    ],
)
def test_bad_input_names_the_field(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_enclosure_in_decimal_still_contains_the_number():
    for mid, radius in ((Fraction(1, 3), Fraction(1, 10**12)), (Fraction(-2), Fraction(0))):
        text, error = Enclosure(mid, radius).decimal()
        assert abs(Fraction(text) - mid) + radius <= Fraction(error)
    value, error = Enclosure(Fraction(1, 3), Fraction(1, 10**30)).double()
    assert abs(Fraction(value) - Fraction(1, 3)) <= Fraction(error) < Fraction(1, 10**15)


def test_without_python_flint_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "flint", None)
    assert "pip install 'steinlab[certified]'" in missing()
    with pytest.raises(ModuleNotFoundError, match="steinlab"):
        coefficient(TWO, HEUN)


STEEP = ExactMixture.of(["1/5", "4/5"], [[-3, 0, 0], [2, 0, 0]], ["1/9", "1"])


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_the_polynomials_bound_the_integrands_everywhere(solver):
    """Both those along the line and those over the radius, which the tails rest on."""
    step = ExactStep.of(solver, ("4/5", "3/5"), ("12/13", "5/13"))
    line = ExactMixture.of(STEEP.weights, [m[0] for m in STEEP.means], STEEP.variances)
    with precision(53):
        flat = BallStep(step, Line.through(line))
        u_bound, slope_bound = flat.growth()
        space = Radial(BallStep(step, Line.through(STEEP)), 53)
        bounds = space.growth()
        nearest = 0.0
        for y in (ball(Fraction(i, 4)) for i in range(-60, 61)):
            found = flat.residual(y)
            assert abs(found.along) <= u_bound(abs(y))
            assert abs(found.slope) <= slope_bound(abs(y))
            nearest = max(nearest, float(abs(found.along) / u_bound(abs(y))))
            for rho in (ball(Fraction(i, 2)) for i in range(1, 12)):
                mass = sum(
                    height * rho * ((y - c) * (y - c) * rate + rho * rho * rate).exp()
                    for height, c, rate in zip(
                        space.heights, space.level.centers, space.level.rates, strict=True
                    )
                )
                for value, bound in zip(space.values(y, rho), bounds, strict=True):
                    assert abs(value) <= mass * bound(abs(y) + rho) * (1 + ball(Fraction(1, 10**9)))
        assert nearest > 0.1


def test_the_tail_bound_is_above_the_tail_and_not_by_much():
    with precision(64) as flint:
        level = BallStep(HEUN, Line.through(TWO)).start
        for bits in (8, 24, 53):
            z = flint.arb(reach(bits))
            beyond = level.weights[1] * (z / flint.arb(2).sqrt()).erfc()
            bound = tail(level, 1, flint.arb_poly([1]), bits)
            assert beyond < bound < beyond * 1.1
            center, root = level.centers[1], level.widths[1].sqrt()
            phi = (-(z * z) / 2).exp() / (2 * flint.arb.pi()).sqrt()
            # E |y|; 1 beyond z on the side where y > 0, the larger half
            above = level.weights[1] * (center * beyond / level.weights[1] / 2 + root * phi)
            assert above < tail(level, 1, flint.arb_poly([0, 1]), bits) < 2.5 * above


def test_a_low_precision_still_contains_the_number():
    """At 24 bits the tails and the rounding are large: the ball must grow with them."""
    tight = proved("heun")[0]["reference"]
    rough = coefficient(TWO, HEUN, bits=24)
    for one in rough.values():
        assert one.overlaps(tight)
        assert one.radius > 1e-9


@pytest.mark.parametrize("deviations", [1, 2, 4])
def test_tails_are_in_the_ball_wherever_the_range_ends(monkeypatch, deviations):
    """Cut at a few deviations, what is left out must be covered by the radius."""
    whole = in_doubles()
    monkeypatch.setattr(analytic.certified.coefficient, "reach", lambda _: deviations)
    cut = step_terms(*STEPS["heun vp"], bits=53)
    for name, one in cut.items():
        assert one.contains(whole[name].mid), name
        off = abs(one.mid - whole[name].mid)
        assert off > Fraction(1, 10**6), name
        assert one.radius < 10**5 * off, name


def test_tails_over_the_radius_are_in_the_ball_too(monkeypatch):
    step = ExactStep.of("euler", ("4/5", "3/5"), ("12/13", "5/13"))
    with precision(40):
        made = BallStep(step, Line.through(SPACE))
        whole = radial_terms(made, 40)
        monkeypatch.setattr(analytic.certified.radius, "reach", lambda _: 2)
        for name, value in radial_terms(made, 40).items():
            one, other = Enclosure.of(value), Enclosure.of(whole[name])
            assert one.overlaps(other), name
            assert abs(one.mid - other.mid) > other.radius, name


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_derivatives_of_the_residual_are_differences(solver):
    step = ExactStep.of(solver, ("4/5", "3/5"), ("12/13", "5/13"))
    h = Fraction(1, 10**12)
    with precision(160):
        made = BallStep(step, Line.through(SPACE))

        def at(y, rho):
            return made.residual(ball(y), ball(rho) * ball(rho))

        for y, rho in ((Fraction(-1, 2), Fraction(1, 3)), (Fraction(2), Fraction(3, 2))):
            here = at(y, rho)
            up, down = at(y + h, rho), at(y - h, rho)
            wide, narrow = at(y, rho + h), at(y, rho - h)
            slope = (up.along - down.along) / ball(2 * h)
            radial = ball(rho) * (wide.gain - narrow.gain) / ball(2 * h)
            for value, expected in ((here.slope, slope), (here.radial, radial)):
                assert abs(value - expected) < ball(Fraction(1, 10**18))
                assert abs(value) > ball(Fraction(1, 10**6))
