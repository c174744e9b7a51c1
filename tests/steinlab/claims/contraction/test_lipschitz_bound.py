"""The Lipschitz bounds by hand, and the norms compared with them, on Gaussians."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from analytic.quadrature import mixture_breaks
from steinlab.claims.contraction import lipschitz_bound as lipschitz
from steinlab.claims.instruments import step_jacobians as slopes_module
from steinlab.claims.instruments.random_steps import StepCases
from steinlab.claims.instruments.step_checks import couple
from steinlab.claims.instruments.step_jacobians import Slopes, measure, measure_secants, supremum
from steinlab.coefficient.rounding import EPS, step_sizes
from steinlab.coefficient.step_terms import Problem, take_step
from steinlab.solvers import SOLVERS, first_order
from tests.steinlab.claims.gaussians import UNIT, S, T, two_modes


def slopes(seed: int = 0, **changes: Any) -> Slopes:
    rng = np.random.default_rng(seed)
    parts: dict[str, Any] = {k: rng.uniform(0.3, 2.0, (3, 4)) for k in Slopes._fields[2:]}
    parts["s"] = (np.array([[0.5], [0.8], [1.0]]), np.array([[1.1], [0.7], [2.0]]))
    parts["t"] = (np.array([[0.7], [0.9], [1.0]]), np.array([[0.6], [0.2], [0.5]]))
    parts["beta"] = np.array([[0.4], [0.2], [2.5]])
    return Slopes(**{**parts, **changes})


def test_lipschitz_bounds_by_hand() -> None:
    data = slopes()
    for i, j in np.ndindex(3, 4):
        (a, s), (b, t) = ((float(p[i, 0]) for p in pair) for pair in (data.s, data.t))
        d, later, beta = float(data.denoiser[i, j]), float(data.later[i, j]), float(data.beta[i, 0])
        kappa = t / s
        assert lipschitz.first(data)[i, j] == pytest.approx(
            kappa + (b - kappa * a) * d, rel=1e-13, abs=0
        )
        assert lipschitz.multistep(data)[i, j] == pytest.approx(kappa + beta * d, rel=1e-13, abs=0)
        c = 0.5 * beta * (b / a) / kappa
        heun = kappa + abs(beta - c) * d + c * later * (kappa + beta * d)
        assert lipschitz.heun(data)[i, j] == pytest.approx(heun, rel=1e-13, abs=0)
        size = 1 + kappa + (b + kappa * a) * d + data.rounding[i, j]
        assert lipschitz._tolerance(data)[i, j] == pytest.approx(UNIT * size, rel=1e-13, abs=0)
    negative = data._replace(beta=-data.beta)
    np.testing.assert_array_equal(lipschitz.multistep(negative), lipschitz.multistep(data))


@pytest.mark.parametrize("alpha", [0.6, 1.0])
def test_heuns_bound_is_its_slope_on_a_line(alpha: float) -> None:
    """A linear denoiser of slope ``d`` at the start and ``e`` at the end, both positive."""
    s, t = NoiseLevel(alpha, 0.8), NoiseLevel(min(1.0, alpha + 0.1), 0.5)
    rates = {s: 0.7, t: 0.4}
    x = np.ones((1, 1))
    slope = float(SOLVERS["heun"].step(lambda x, at: rates[at] * x, x, s, t, ()).state[0, 0])
    wide = tuple(np.full((1, 1), v) for v in (s.alpha, s.sigma, t.alpha, t.sigma, 0.7, 0.4))
    beta = np.full((1, 1), first_order(s, t).betas[0])
    data = Slopes(wide[:2], wide[2:4], x, wide[4], wide[5], beta, x)
    assert lipschitz.heun(data)[0, 0] == pytest.approx(slope, rel=1e-13, abs=0)


@pytest.mark.parametrize("name", ["equal", "first", "multistep", "heun"])
def test_a_case_is_judged_at_its_worst_state(name: str) -> None:
    data = slopes(1)
    formula = lipschitz.FORMULA
    bound = getattr(formula, "first" if name == "equal" else name)(data)
    tolerance = lipschitz._tolerance(data) * np.array([1.0, 2.0, 0.5, 4.0])
    data = data._replace(
        rounding=tolerance / UNIT - (lipschitz._tolerance(data) / UNIT - data.rounding)
    )
    away = np.array([[-9.0, 3.0, 1.0, 5.0], [1.0, 4.0, -2.0, 2.0], [-1.0, -4.0, -3.0, -2.0]])
    data = data._replace(step=bound + 1e-3 * away)
    got = getattr(lipschitz, f"compare_{name}")(data, formula)
    assert got.upper == (name != "equal")
    for i in range(3):
        score = away[i] / tolerance[i] if got.upper else abs(away[i]) / tolerance[i]
        j = int(np.argmax(score))
        assert got.measured[i] == data.step[i, j]
        assert got.predicted[i] == bound[i, j]
        assert got.tolerance[i] == pytest.approx(tolerance[i, j], rel=1e-12, abs=0)


def test_secants_that_rounding_hides_are_left_out() -> None:
    data = slopes(2, denoiser=np.full((3, 4), 0.7))
    bound = lipschitz.first(data)
    own = lipschitz._tolerance(data) / UNIT - data.rounding
    share = np.array([0.5e-6, 0.99e-6, 1.01e-6, 1.0])
    data = data._replace(rounding=share * bound / UNIT - own)
    data = data._replace(step=bound * np.array([0.8, 0.9, 0.99, 2.0]))
    got = lipschitz.compare_secants(data, lipschitz.FORMULA)
    assert got.upper
    np.testing.assert_array_equal(got.measured, data.step[:, 1])
    np.testing.assert_array_equal(got.predicted, bound[:, 1])
    np.testing.assert_allclose(got.tolerance, 0.99e-6 * bound[:, 1], rtol=1e-9)


PLANE = GaussianMixture(
    np.ones((2, 1)), np.array([[[1.0, -2.0]], [[0.5, 0.0]]]), np.array([[[0.3, 2.0]], [[1.0, 0.1]]])
)


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_norms_of_a_step_on_a_gaussian(solver: str) -> None:
    """Both Jacobians are diagonal, and every state has the same."""
    cases = StepCases(
        Problem(PLANE, S, T, SOLVERS[solver], None), np.array([3, 4]), np.array([2, 2])
    )
    got = measure(cases)
    alone = StepCases(cases.problem.take(slice(0, 1)), cases.seeds[:1], cases.dims[:1])
    np.testing.assert_allclose(measure(alone).rounding, got.rounding[:1], rtol=1e-14)
    for i in range(2):
        (a, s), (b, t) = ((float(v[i, 0, 0]) for v in (p.alpha, p.sigma)) for p in (S, T))
        spectrum = PLANE.spectra[i, 0]
        now, end = a * spectrum / (a**2 * spectrum + s**2), b * spectrum / (b**2 * spectrum + t**2)
        kappa = t / s
        beta = b - kappa * a
        step, bend = kappa + beta * now, 0.0
        if solver == "heun":
            c = 0.5 * beta * b / (a * kappa)
            step, bend = step + c * (end * step - now), c / beta
        d, e = now.max(), end.max()
        drive = beta * (1 + bend * (1 + e * (1 + d * beta))) * d
        for field, expected in (
            ("step", abs(step).max()),
            ("denoiser", d),
            ("later", e),
            ("rounding", 2 * (1 + kappa + drive)),
        ):
            np.testing.assert_allclose(getattr(got, field)[i], expected, rtol=1e-12)
        assert got.step.shape == (2, slopes_module.STATES)
        assert got.beta[i, 0] == pytest.approx(beta, rel=1e-13, abs=0)
        assert (got.s[0][i, 0], got.s[1][i, 0]) == (a, s)
        assert (got.t[0][i, 0], got.t[1][i, 0]) == (b, t)


def test_a_bent_denoiser_and_its_step() -> None:
    cases = StepCases(
        Problem(PLANE, S, T, SOLVERS["euler"], None), np.array([3, 4]), np.array([2, 2])
    )
    bent, x = slopes_module._bent(cases), np.random.default_rng(0).standard_normal((2, 3, 2))
    assert np.ptp(bent.part) > 0.1
    for i, seed in enumerate((3, 4)):
        moment = (PLANE.means[i] ** 2).sum() + PLANE.spectra[i].sum()
        part = math.sqrt((1 + moment) / 2) * np.random.default_rng([seed, 4]).standard_normal(
            (2, 2)
        )
        np.testing.assert_allclose(bent.part[i], part, rtol=1e-13)
        moved = np.array([part @ row for row in x[i]])
        np.testing.assert_allclose((bent(x, S) - PLANE(x, S))[i], moved, rtol=1e-11, atol=1e-13)
        product = bent.jvp(x, S, x[None])[0] - PLANE.jvp(x, S, x[None])[0]
        np.testing.assert_allclose(product[i], moved, rtol=1e-11, atol=1e-13)
        for whole, own in zip(bent.jacobian(x, S)[i], PLANE.jacobian(x, S)[i], strict=True):
            np.testing.assert_allclose(whole, own + part, rtol=1e-12)
    got = measure(cases, bend=True)
    linear = first_order(S, T)
    whole = np.array(
        [
            kappa * np.eye(2) + beta * j
            for kappa, beta, j in zip(
                linear.kappa, linear.betas[0], bent.jacobian(x, S)[:, 0], strict=True
            )
        ]
    )
    norms = [np.linalg.norm(j, 2) for j in whole]
    np.testing.assert_allclose(
        got.step, np.repeat(np.array(norms)[:, None], got.step.shape[1], 1), rtol=1e-12
    )
    norms = [np.linalg.norm(j, 2) for j in bent.jacobian(x, S)[:, 0]]
    np.testing.assert_allclose(got.denoiser[:, 0], norms, rtol=1e-12)
    norms = [np.linalg.norm(j, 2) for j in bent.jacobian(x, T)[:, 0]]
    np.testing.assert_allclose(got.later[:, 0], norms, rtol=1e-12)


def test_supremum_is_where_a_fine_search_finds_it() -> None:
    law = two_modes()
    problem = Problem(law, S, T, SOLVERS["euler"], None)
    x, largest = supremum(problem)
    grid = np.broadcast_to(np.linspace(-8, 8, 400_001), (2, 400_001))[..., None]
    values = law.divergence(grid, S)
    np.testing.assert_allclose(largest[:, 0], values.max(axis=1), rtol=1e-8)
    np.testing.assert_allclose(x[:, 0], grid[0, values.argmax(axis=1), 0], atol=1e-4)
    assert np.all(largest[:, 0] >= values.max(axis=1) * (1 - 1e-13))


def test_the_search_does_without_either_of_its_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(two_modes(), S, T, SOLVERS["euler"], None)
    x, largest = supremum(problem)
    with monkeypatch.context() as patch:
        patch.setattr(slopes_module, "_refined", lambda breaks: breaks)
        again = supremum(problem)
    for found, known in zip(again, (x, largest), strict=True):
        np.testing.assert_allclose(found, known, rtol=1e-6, atol=1e-7)
    panels = slopes_module._refined(np.array([[0.0, 1.0, 4.0]]))
    expected = np.concatenate((np.linspace(0, 1, 40), np.linspace(1, 4, 40)))
    np.testing.assert_allclose(panels, expected[None], rtol=1e-15)


@pytest.mark.parametrize("peak", [-9.0, -1.0, 0.3, 4.0, 9.0])
def test_the_search_brackets_a_peak_wherever_it_is(
    peak: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At either end too: the bracket is the best state's neighbours, inside the reach."""
    met: list[np.ndarray] = []

    def divergence(x: np.ndarray, _: NoiseLevel) -> np.ndarray:
        met.append(x[..., 0])
        return -((x[..., 0] - peak) ** 2)

    monkeypatch.setattr(slopes_module, "mixture_breaks", lambda *_: np.array([[-1.0, 0.5, 4.0]]))
    law: Any = SimpleNamespace(divergence=divergence)
    x, largest = supremum(Problem(law, S, T, SOLVERS["euler"], None))
    there = min(max(peak, -1.0), 4.0)
    assert x[0, 0] == pytest.approx(there, abs=1e-6)
    assert largest[0, 0] == pytest.approx(-((peak - there) ** 2), abs=1e-5)
    fine, inner = met[0][0], met[1][0]
    assert (fine[0], fine[-1]) == (-1.0, 4.0)
    assert np.diff(fine).max() <= 5.0 / 2000 * (1 + 1e-12)
    best = int(np.argmin(np.abs(fine - there)))
    ends = fine[max(best - 1, 0)], fine[min(best + 1, len(fine) - 1)]
    np.testing.assert_allclose(inner, np.linspace(*ends, 9), rtol=1e-12, atol=1e-15)
    assert np.ptp(met[-2]) < 1e-10


def test_a_secant_at_the_limit_of_what_rounding_resolves_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = slopes(3)
    bound = lipschitz.first(data)
    at = 1e-6 * bound * np.array([2.0, 1.0, 2.0, 2.0])
    monkeypatch.setattr(lipschitz, "_tolerance", lambda _: at)
    data = data._replace(step=bound * np.array([2.0, 0.5, 3.0, 4.0]))
    got = lipschitz.compare_secants(data, lipschitz.FORMULA)
    np.testing.assert_array_equal(got.measured, data.step[:, 1])


@pytest.mark.parametrize("shift", [0.0, 5.0])
def test_secants_between_states_and_about_the_peak(shift: float) -> None:
    law = two_modes()
    law = GaussianMixture(law.weights, law.means + shift, law.covariances)
    problem = Problem(law, S, T, SOLVERS["euler"], None)
    cases = StepCases(problem, np.array([5, 6]), np.array([1, 1]))
    got = measure_secants(cases)
    x = S.noised(*couple(cases, 4 * slopes_module.STATES))[..., 0]
    peak, largest = supremum(problem)
    breaks = mixture_breaks(law, S)
    for i in range(2):
        reach, low, high = np.abs(law.means[i]).max(), breaks[i, 0], breaks[i, -1]
        width = S.sigma[i, 0, 0] ** 2 / (S.alpha[i, 0, 0] * (1 + reach))
        halves = min(width, 0.25 * (high - low)) / 2 * 10.0 ** np.linspace(-4, 0, 9)
        centers = [min(max(peak[i, 0], low + h), high - h) for h in halves]
        pairs = [*zip(x[i, ::2], x[i, 1::2], strict=True)]
        pairs += [(c - h, c + h) for c, h in zip(centers, halves, strict=True)]
        assert len(pairs) == got.step.shape[1]
        for j, pair in enumerate(pairs):
            ends = [take_step(problem, np.full((2, 1, 1), v), None) for v in pair]
            state = [float(e.candidate.state[i, 0, 0]) for e in ends]
            gap = pair[1] - pair[0]
            size = 0.0
            for end, y in zip(ends, pair, strict=True):
                size += float(step_sizes(end)[0][i, 0, 0]) + abs(y)
            slip = 4 * EPS * size / abs(gap)
            assert got.step[i, j] == pytest.approx(
                abs((state[1] - state[0]) / gap), rel=1e-9, abs=slip
            )
            assert got.rounding[i, j] == pytest.approx(size / abs(gap), rel=1e-6, abs=0)
        np.testing.assert_array_equal(got.denoiser[i], largest[i, 0])
        np.testing.assert_array_equal(got.later[i], largest[i, 0])
