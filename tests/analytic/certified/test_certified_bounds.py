"""Proved Lipschitz constants and perturbation bounds against floating-point suprema and mpmath."""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from types import SimpleNamespace

import mpmath as mp
import numpy as np
import pytest

pytest.importorskip("flint")

import analytic.certified.lipschitz
from analytic import GaussianMixture, NoiseLevel
from analytic.certified.balls import ball, precision
from analytic.certified.far import Ray, _suppressed
from analytic.certified.laws import ExactMixture, Line
from analytic.certified.lipschitz import lipschitz
from analytic.certified.perturbation import perturbation_bound
from analytic.certified.plane import Pair, StepField, norm_upper
from analytic.certified.steps import BallStep, ExactStep, denoiser_bounds
from tests.analytic.certified import certified_cases as reference

LINE = ExactMixture.of(["3/10", "7/10"], [-1, "3/2"], ["4/25", "49/100"])
MODES = ExactMixture.of([1, 1], [-3, 3], ["1/4", "1/4"])
ONE = ExactMixture.of([1], [5], ["1/4"])
PLANE = ExactMixture.of([1, 2], [[0, 1], [2, 3]], ["3/10", "1/5"])
TRIANGLE = ExactMixture.of([1, 1, 1], [[0, 1], [2, 3], [-2, 2]], ["1/5"] * 3)
COLLINEAR = ExactMixture.of([1, 2], [[0, 1, 0], [2, 3, 1]], [1, 1])

CASES = {
    "one": (ONE, 1e-3, 50),
    "line": (LINE, 1e-3, 400),
    "modes": (MODES, 1e-3, 200),
    "space": (COLLINEAR, 1e-3, 200),
    "plane": (PLANE, 5e-2, 4000),
    "triangle": (TRIANGLE, 5e-2, 5000),
}
LEVELS = {"edm": ((1, 1), (1, "1/2")), "vp": (("4/5", "3/5"), ("12/13", "5/13"))}


def slopes(law, step, x):
    """Spectral norms of a step's Jacobian at states, in doubles."""
    data = GaussianMixture(
        np.array([float(w) for w in law.weights]),
        np.array([[float(c) for c in m] for m in law.means]),
        np.array([float(v) for v in law.variances]),
    )
    s, t = (NoiseLevel(float(a), float(b)) for a, b in (step.s, step.t))
    kappa = t.sigma / s.sigma
    beta = t.alpha - kappa * s.alpha
    inner, eye = data.jacobian(x, s), np.eye(law.dim)
    out = kappa * eye + beta * inner
    if step.solver == "heun":
        c = t.alpha * beta / (2 * s.alpha * kappa)
        outer = data.jacobian(kappa * x + beta * data(x, s), t)
        out = out + c * (outer @ (kappa * eye + beta * inner) - inner)
    return np.linalg.norm(out, ord=2, axis=(-2, -1))


@functools.cache
def enclosed(name, solver, levels):
    """What is proved of a step's constant, for all tests that look at it."""
    law, tolerance, _ = CASES[name]
    return lipschitz(law, ExactStep.of(solver, *LEVELS[levels]), tolerance=tolerance)


@functools.cache
def highest(law, step):
    """The largest slope over many states, some far away."""
    rng = np.random.default_rng(0)
    alpha = float(step.s[0])
    middle = np.mean([[float(c) for c in m] for m in law.means], axis=0)
    cloud = alpha * middle + 3 * rng.standard_normal((40_000, law.dim))
    far = alpha * middle + 1e3 * rng.standard_normal((1000, law.dim))
    return max(float(slopes(law, step, x).max()) for x in (cloud, far))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("solver", ["euler", "heun"])
@pytest.mark.parametrize("levels", ["edm", pytest.param("vp", marks=pytest.mark.slow)])
def test_the_constant_lies_inside_and_the_interval_is_narrow(name, solver, levels):
    law, tolerance, most = CASES[name]
    step = ExactStep.of(solver, *LEVELS[levels])
    found = enclosed(name, solver, levels)
    top = highest(law, step)
    assert top <= float(found.value.upper) * (1 + 1e-12)
    assert float(found.value.lower) * (1 - tolerance / 5) <= top
    assert found.width <= tolerance
    assert found.boxes <= most


def test_a_single_gaussian_has_one_slope_everywhere():
    found = lipschitz(ONE, ExactStep.of("euler", (1, 1), (1, "1/2")), tolerance=1e-9)
    assert found.value.contains(Fraction(1, 2) + Fraction(1, 2) * Fraction(1, 5))
    assert found.width < 1e-9


def test_moving_the_data_changes_nothing():
    moved = ExactMixture.of(LINE.weights, [m[0] + 1000 for m in LINE.means], LINE.variances)
    step = ExactStep.of("heun", (1, 1), (1, "1/2"))
    first, second = (lipschitz(law, step) for law in (LINE, moved))
    assert first.value.overlaps(second.value)
    assert first.radius == second.radius


def test_a_slope_off_by_one_percent_is_proved_wrong():
    step = ExactStep.of("euler", (1, 1), (1, "1/2"))
    top = Fraction(highest(LINE, step))
    found = lipschitz(LINE, step)
    assert top * Fraction(101, 100) > found.value.upper
    assert top * Fraction(99, 100) < found.value.lower


def test_spending_the_boxes_leaves_a_wide_but_true_interval():
    step = ExactStep.of("heun", (1, 1), (1, "1/2"))
    found = lipschitz(PLANE, step, tolerance=1e-6, boxes=200)
    assert found.width > 1e-3
    assert found.value.lower <= Fraction(highest(PLANE, step)) <= found.value.upper


@pytest.mark.parametrize(
    ("law", "options", "message"),
    [
        (LINE, {"tolerance": 0}, "tolerance and boxes must be > 0"),
        (
            ExactMixture.of([1, 1], [[0, 0, 0], [1, 0, 0]], [1, 2]),
            {},
            "law must be in 1 or 2 dimensions",
        ),
    ],
)
def test_bad_input_names_the_field(law, options, message):
    with pytest.raises(ValueError, match=message):
        lipschitz(law, ExactStep.of("euler", (1, 1), (1, 0)), **options)


def test_both_sides_of_the_perturbation_bound_against_mpmath():
    other = ExactMixture.of(["1/2", "1/2"], [-1, 2], ["1/2", "1/2"])
    step = ExactStep.of("euler", ("4/5", "3/5"), ("12/13", "5/13"))
    found = perturbation_bound(LINE, other.at(*step.s), step)
    with mp.workdps(reference.DIGITS):
        model, states = (reference.Line(law, *step.s) for law in (LINE, other))
        u, total = reference.residual(LINE, step), [mp.mpf(0)] * 4
        grid = states.grid()
        for x in grid:
            value, q = u(x), states.density(x)
            gap = model.score(x) - states.score(x)
            parts = (q * value**2, q * gap**2, q * value * (x - model.denoise(x)), q * value * gap)
            total = [a + b for a, b in zip(total, parts, strict=True)]
        power, fisher, own, cross = (part * (grid[1] - grid[0]) for part in total)
        ratio = model.s**2 / model.a
        expected = {
            "power": power,
            "fisher": fisher,
            "gamma_q": own / power,
            "by_scores": ratio * cross / power,
            "deviation": ratio * cross / power,
            "bound": ratio * mp.sqrt(fisher / power),
            "state": ratio * abs(cross) / mp.sqrt(power),
            "state_bound": ratio * mp.sqrt(fisher),
        }
        for name, value in expected.items():
            one = getattr(found, name)
            assert one.radius < Fraction(1, 10**28), name
            off = abs(reference.number(one.mid) - value)
            assert off <= reference.number(one.radius) + mp.mpf(10) ** -26, name
    assert found.holds


def test_equal_laws_have_no_deviation():
    step = ExactStep.of("euler", (1, 2), (1, 1))
    found = perturbation_bound(LINE, LINE.at(Fraction(1), Fraction(2)), step, bits=53)
    for one in (found.deviation, found.by_scores, found.fisher):
        assert one.contains(Fraction(0))
        assert one.radius < Fraction(1, 10**12)
    assert found.holds


@pytest.mark.parametrize("solver", ["euler", "heun"])
@pytest.mark.parametrize("name", ["line", "plane", "triangle"])
@pytest.mark.parametrize("levels", LEVELS)
def test_the_far_bound_holds_outside_the_disc_and_is_not_far_above(name, solver, levels):
    law, step = CASES[name][0], ExactStep.of(solver, *LEVELS[levels])
    found = (
        enclosed(name, solver, "edm") if levels == "edm" else lipschitz(law, step, tolerance=0.2)
    )
    columns = zip(*law.means, strict=True)
    middle = np.array([float((min(column) + max(column)) / 2) for column in columns])
    middle *= float(step.s[0])
    radius = float(found.radius)
    rng = np.random.default_rng(1)
    way = rng.standard_normal((40_000, law.dim))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    top = max(slopes(law, step, middle + scale * radius * way).max() for scale in (1, 1.2, 2, 10))
    assert top <= float(found.far) * (1 + 1e-12)
    assert top >= 0.6 * float(found.far)


@pytest.mark.parametrize("solver", ["euler", "heun"])
@pytest.mark.parametrize("law", [LINE, PLANE, TRIANGLE], ids=["line", "plane", "triangle"])
def test_a_box_bounds_every_state_in_it(law, solver):
    step = ExactStep.of(solver, *LEVELS["vp"])
    rng = np.random.default_rng(2)
    with precision(64) as flint:
        field = StepField(step, law, [[ball(c) for c in mean] for mean in law.means])
        for half in (2.0, 0.3, 0.01):
            for center in 2 * rng.standard_normal((12, law.dim)):
                box = [flint.arb(0, half)] * law.dim
                bound = float(norm_upper(field.jacobian([flint.arb(c) for c in center], box)))
                states = center + half * rng.uniform(-1, 1, (200, law.dim))
                top = slopes(law, step, states).max()
                assert top <= bound * (1 + 1e-12)
                assert half > 0.1 or bound < 1.4 * top


def test_the_far_bound_is_part_of_the_answer(monkeypatch):
    monkeypatch.setattr(analytic.certified.lipschitz, "_far", lambda _, size, *__: (ball(9), size))
    found = lipschitz(LINE, ExactStep.of("euler", (1, 1), (1, "1/2")))
    assert found.value.upper >= 9
    assert found.value.lower < 2


def test_a_suppressed_components_mass_is_its_ratio_times_its_distance():
    """``exp(a + b rho + C rho^2) (P + W rho)`` and its product with ``P + W rho``, at the edge."""
    pair = Pair(ball(-4), [ball(-2), ball(0)], ball("-1/10"), [ball(3), ball(0)], ball("1/2"))
    field = SimpleNamespace(pairs=[[None, pair]])
    ray = Ray([ball(1), ball(0)], ball(2), [ball(1), ball(0)], ball(2))
    mass, square = _suppressed(field, 0, ray)
    distance, log = 3 + 0.5 + 1.0 * 2, -4 - 2 - 0.1 + 2 * (-2 - 0.2) * 2 - 0.1 * 4 * 4
    assert float(mass) == pytest.approx(math.exp(log) * distance)
    assert float(square) == pytest.approx(math.exp(log) * distance**2)


def test_a_majorant_bounds_the_denoiser_and_its_slope():
    from flint import arb_poly

    law = GaussianMixture([0.3, 0.7], [-1.0, 1.5], [0.16, 0.49])
    level = BallStep(ExactStep.of("euler", (1, "3/5"), (1, 0)), Line.through(LINE)).start
    mean, slope = denoiser_bounds(level, arb_poly([0, 1]))
    y = np.linspace(-6, 6, 241)
    at = NoiseLevel(1.0, 0.6)
    bounds = [np.array([float(p(ball(abs(one)))) for one in y]) for p in (mean, slope)]
    assert np.all(np.abs(law(y[:, None], at)[:, 0]) <= bounds[0])
    assert np.all(law.divergence(y[:, None], at) <= bounds[1])
    half = (
        np.ptp([float(b) for b in level.bases]) + 2 * np.ptp([float(g) for g in level.gains])
    ) / 2
    gain = max(float(g) for g in level.gains)
    assert float(slope(ball(2))) == pytest.approx(half**2 / 0.36 + gain)
