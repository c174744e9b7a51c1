"""The stated errors of every route against exact values, where terms cancel and where they do not.

In EDM and rectified flow ``gamma* = 1 / (1 - kappa)`` for every law; in VP one Gaussian has a
rational coefficient, and a law of modes on a line times a Gaussian is two one-dimensional ones.
"""

from __future__ import annotations

import json
import math
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2, norm

from analytic import GaussianMixture, NoiseLevel
from analytic.quadrature import expect
from steinlab.coefficient.formulas import LawScalars, three_scalar
from steinlab.coefficient.routes import _quotient, _range, coefficients
from steinlab.diffusion.grids import given_grid
from steinlab.diffusion.processes import EDM, FLOW, VP_LINEAR, Process
from steinlab.solvers import EULER, HEUN, LinearStep, first_order
from tests.steinlab.coefficient.test_formulas import FAMILY_LEVEL, ROUTES

SMALL = (NoiseLevel(1.0, 0.05), NoiseLevel(1.0, 0.01))
"""A step of EDM with ``gamma* = 5/4``."""


def rational(law: GaussianMixture, s: NoiseLevel, t: NoiseLevel) -> Fraction:
    """``gamma*`` of an Euler step on one Gaussian, exactly."""
    alpha, sigma, alpha_t, sigma_t = map(Fraction, (s.alpha, s.sigma, t.alpha, t.sigma))
    kappa = sigma_t / sigma
    mean, square = Fraction(float(law.means[0, 0])), Fraction(float(law.spectra[0, 0]))
    variance = square * sigma**2 / (alpha**2 * square + sigma**2)
    scalars = LawScalars(mean**2 + square, variance, 1)
    step = LinearStep(kappa, 1 - kappa, (alpha_t - kappa * alpha,))
    level: Any = SimpleNamespace(alpha=alpha, sigma=sigma)
    return Fraction(three_scalar(scalars, level, step))


def off(value: float, truth: Fraction) -> float:
    return abs(float(Fraction(value) - truth))


def drawn(rng: np.random.Generator, process: Process) -> tuple[GaussianMixture, Any, Any]:
    """A law and a step: means up to 300 away, steps down to 1e-4 of the level.

    Flow's levels are cut to 40 bits, so that ``alpha + sigma = 1`` in doubles too.
    """
    k = 1 if process is VP_LINEAR else int(rng.integers(1, 4))
    weights = rng.dirichlet(np.ones(k))
    means = 10 ** rng.uniform(-1, 2.5) * rng.uniform(-1, 1, k)
    law = GaussianMixture(weights / weights.sum(), means, 10 ** rng.uniform(-4, 2, k))
    ratio = 10 ** rng.uniform(-2, 2)
    s, t = given_grid(process, [ratio, ratio * (1 - 10 ** rng.uniform(-4, -0.1))])
    if process is FLOW:
        cut = [round(level.sigma * 2**40) / 2**40 for level in (s, t)]
        s, t = (NoiseLevel(1 - sigma, sigma) for sigma in cut)
    return law, s, t


@pytest.mark.parametrize("process", [VP_LINEAR, EDM, FLOW], ids=lambda p: p.name)
def test_every_route_on_the_line_is_within_its_stated_error(process: Process) -> None:
    """80 laws and steps a process. Before cancellation counted, 1 in 6 of three_scalar's missed."""
    rng = np.random.default_rng(0)
    widths = []
    for _ in range(80):
        law, s, t = drawn(rng, process)
        collapsed = 1 / (1 - Fraction(t.sigma) / Fraction(s.sigma))
        truth = rational(law, s, t) if process is VP_LINEAR else collapsed
        for route, gamma in coefficients(law, s, t, EULER).items():
            assert off(gamma.value, truth) <= gamma.error, (route, law, s, t)
            widths.append(gamma.error / abs(gamma.value))
    assert np.median(widths) < 1e-11  # no error is kept honest by being wide


NEAR = GaussianMixture([0.3, 0.7], [-1.0, 1.5], [0.16, 0.49])
AWAY = GaussianMixture([0.25, 0.75], [127.0, 128.5], [0.25, 0.5])


@pytest.mark.parametrize(
    ("solver", "law"),
    [
        (EULER, NEAR),
        pytest.param(EULER, AWAY, marks=pytest.mark.slow),
        pytest.param(HEUN, NEAR, marks=pytest.mark.slow),
        pytest.param(HEUN, AWAY, marks=pytest.mark.slow),
    ],
    ids=["euler-near", "euler-away", "heun-near", "heun-away"],
)
def test_certified_values_lie_within_the_stated_errors(solver: Any, law: GaussianMixture) -> None:
    pytest.importorskip("flint")
    from analytic.certified.coefficient import coefficient
    from analytic.certified.steps import ExactStep
    from steinlab.coefficient.certified import exact_mixture

    for s, t in (((0.8, 0.6), (0.8125, 0.5625)), ((0.03125, 1.0), (0.0625, 0.96875))):
        step = ExactStep.of(solver.name, s, t)
        truth = coefficient(exact_mixture(law), step, bits=64)["reference"]
        for route, gamma in coefficients(law, NoiseLevel(*s), NoiseLevel(*t), solver).items():
            assert off(gamma.value, truth.mid) <= gamma.error + float(truth.radius), route
            assert gamma.error < 1e-3 * abs(gamma.value)


def test_means_far_out_cost_three_scalar_its_digits_and_it_says_so() -> None:
    """It said 1.25002 with an error of 4e-9."""
    found = coefficients(GaussianMixture([0.4, 0.6], [4096.0, 4099.0], [0.01, 0.04]), *SMALL, EULER)
    for gamma in found.values():
        assert abs(gamma.value - 1.25) <= gamma.error < 1e-2
    assert abs(found["three_scalar"].value - 1.25) > 1e-6


def test_nothing_is_known_where_nothing_is_left(steinlab: Any, spec_file: Any) -> None:
    """``E|u|^2`` is 1e-3 beside terms of 1e19: the error is infinite, and null in the file."""
    data = {"weights": [1], "means": [3e9], "stds": [0.1]}
    spec = {"data": data, "from": [1, 0.05], "to": [1, 0.01], "solver": "euler"}
    done = steinlab("coefficient", spec_file(spec), "--json", "-", here=True)
    assert done.returncode == 0, done.stderr
    gamma = json.loads(done.stdout)["gamma"]
    assert gamma["three_scalar"]["error"] is None
    assert abs(gamma["reference"]["value"] - 1.25) < gamma["reference"]["error"]
    assert "unknown" in done.stderr


def test_a_quotient_whose_denominator_may_vanish_is_unknown() -> None:
    assert _quotient((1.0, 0.1), (2.0, 0.5)).error == pytest.approx((0.1 + 0.5 * 0.5) / 1.5)
    for q, b in ((1.0, 2.0), (-1.0, 0.5), (0.0, 0.0)):
        assert math.isinf(_quotient((1.0, 0.1), (q, b)).error)


# --- sampled ------------------------------------------------------------------------------------


@pytest.mark.parametrize("away", [0.0, 1e5, 3e9])
def test_sampled_routes_count_rounding_in_the_plane(away: float) -> None:
    """At 1e5 it said 1.2504 with an error of 0; at 3e6 it divided by zero."""
    law = GaussianMixture([0.5, 0.5], [[away, 0.0], [away, 1.0]], 0.01)
    found = coefficients(law, *SMALL, EULER, samples=2000)
    assert set(found) == ROUTES
    for route, gamma in found.items():
        unknown = not math.isfinite(gamma.error)
        assert unknown == (route == "three_scalar" and away > 1e6), route
        assert unknown or abs(gamma.value - 1.25) < 4 * gamma.error, route


@pytest.mark.parametrize("unit", [2.0**-10, 2.0**10])
def test_no_error_depends_on_the_unit_of_length(unit: float) -> None:
    """In EDM all of Tweedie's error is rounding: its size must scale as ``|u|^2`` does."""

    def found(unit: float) -> dict[str, Any]:
        law = GaussianMixture([0.5, 0.5], unit * np.array([[1.0, 0.0], [2.0, 1.0]]), 0.25 * unit**2)
        s, t = (NoiseLevel(1.0, sigma * unit) for sigma in (1.0, 0.5))
        return coefficients(law, s, t, EULER, samples=2000)

    for (route, one), other in zip(found(1.0).items(), found(unit).values(), strict=True):
        assert other.error == pytest.approx(one.error, rel=1e-3), route


def test_sampled_errors_are_standard_errors_in_vp() -> None:
    """100 laws of modes on a line times a Gaussian across it, each with an exact coefficient."""
    rng = np.random.default_rng(1)
    scores: dict[str, list[float]] = {route: [] for route in ROUTES}
    for seed in range(100):
        k = int(rng.integers(2, 4))
        weights, means = rng.dirichlet(np.ones(k) * 2), rng.uniform(-3, 3, k)
        variance = float(rng.uniform(0.05, 0.5))
        line = GaussianMixture(weights, means, variance)
        law = GaussianMixture(weights, np.stack((means, np.full(k, 2.0)), axis=1), variance)
        ratio = 10 ** rng.uniform(-0.5, 0.5)
        s, t = given_grid(VP_LINEAR, [ratio, ratio * rng.uniform(0.3, 0.8)])
        across = variance * s.sigma**2 / (s.alpha**2 * variance + s.sigma**2)
        along = expect(lambda x, s=s, law=line: law.posterior_variance(x, s)[:, None], line, s)
        v = float(along.value[0, 0]) + across
        truth = three_scalar(LawScalars(float(law.second_moment()), v, 2), s, first_order(s, t))
        for route, gamma in coefficients(law, s, t, EULER, samples=2000, seed=seed).items():
            scores[route].append((gamma.value - truth) / gamma.error)
    for route, z in scores.items():
        square, n = float((np.array(z) ** 2).sum()), len(z)
        assert chi2.sf(square, n) > FAMILY_LEVEL / 8, route
        assert np.abs(z).max() < norm.isf(FAMILY_LEVEL / (8 * n)), route
        # three_scalar's error also holds what states between modes, not drawn, may add to V
        assert route == "three_scalar" or chi2.cdf(square, n) > FAMILY_LEVEL / 8, route


def test_states_between_modes_that_no_draw_met_are_in_the_error() -> None:
    """A law of the scan: it said 1.5419952 with an error of 2e-9 where it is 1.5419899."""
    means = [[-5.442, 2.671], [-1.921, 2.671]]
    law = GaussianMixture([0.615, 0.385], means, 0.1315)
    s, t = given_grid(VP_LINEAR, [0.0747, 0.0336])
    line = GaussianMixture([0.615, 0.385], [-5.442, -1.921], 0.1315)
    across = 0.1315 * s.sigma**2 / (s.alpha**2 * 0.1315 + s.sigma**2)
    along = expect(lambda x: line.posterior_variance(x, s)[:, None], line, s).value[0, 0]
    scalars = LawScalars(float(law.second_moment()), float(along) + across, 2)
    truth = three_scalar(scalars, s, first_order(s, t))
    for seed in range(20):
        gamma = coefficients(law, s, t, EULER, samples=2000, seed=seed)["three_scalar"]
        assert abs(gamma.value - truth) < gamma.error < 1e-2


def test_the_range_of_the_posterior_variance_is_bounded_as_stated() -> None:
    """Two modes at ``-1`` and ``3`` of variances 1/4 and 4, by hand, at ``alpha = 1/2, sigma = 2``.

    ``sigma^2 / v`` is 4/(4 + 1/16) and 4/(4 + 1), the component variances ``l sigma^2 / v``; the
    mean is 1 with equal weights. And no state of a fine grid has a wider range.
    """
    law, s = GaussianMixture([0.5, 0.5], [-1.0, 3.0], np.array([0.25, 4.0])), NoiseLevel(0.5, 2.0)
    shares = 4 / (4 + 1 / 16), 4 / 5
    within = 0.25 * shares[0], 4 * shares[1]
    bound = _range(law, s)
    assert bound == pytest.approx(4 * shares[0] ** 2 + max(within) - min(within), rel=1e-12)
    values = law.posterior_variance(np.linspace(-60, 60, 4001)[:, None], s)
    assert 0.3 * bound < np.ptp(values) <= bound
    alone = GaussianMixture([1.0], [[2.0, 3.0]], 0.5)
    assert _range(alone, s) == 0.0
    plane = GaussianMixture([1.0, 0.0], [[0.0, 0.0], [9.0, 9.0]], 0.5)
    assert _range(plane, s) == 0.0
