"""Running error analysis: its bound holds against mpmath, and is not vacuous."""

from __future__ import annotations

import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from steinlab.coefficient.divergence import Exact
from steinlab.coefficient.rounding import EPS, ROUNDING, Sized, step_sizes
from steinlab.diffusion.processes import EDM, FLOW, VP_LINEAR
from steinlab.solvers import SOLVERS, Evaluation
from steinlab.solvers.step import Step

CASES = 40
STATES = 4


def mp_denoise(law: GaussianMixture, x: Any, level: Any) -> tuple[Any, Any]:
    """``D`` and ``D' = (alpha / sigma^2) Var(x_star | x)`` at a level ``(alpha, sigma)``."""
    alpha, sigma = level
    weight, first, second = mp.mpf(0), mp.mpf(0), mp.mpf(0)
    columns = law.weights.tolist(), law.means[:, 0].tolist(), law.spectra[:, 0].tolist()
    for w, m, variance in zip(*(map(mp.mpf, c) for c in columns), strict=True):
        v = alpha**2 * variance + sigma**2
        p = w * mp.npdf(x, alpha * m, mp.sqrt(v))
        mu = m + alpha * variance * (x - alpha * m) / v
        weight += p
        first += p * mu
        second += p * (mu**2 + variance * sigma**2 / v)
    mean = first / weight
    return mean, alpha / sigma**2 * (second / weight - mean**2)


def mp_residual(
    name: str, law: GaussianMixture, x: float, levels: list[NoiseLevel], past: float
) -> tuple[Any, Any]:
    """``u`` and ``du/dx`` of one step, from the published formulas, at 60 digits."""
    (a, s), (b, t), (c, r) = ((mp.mpf(p.alpha), mp.mpf(p.sigma)) for p in levels)
    x = mp.mpf(x)
    d, slope = mp_denoise(law, x, (a, s))
    kappa, beta = t / s, b - t / s * a
    state, change = kappa * x + beta * d, kappa + beta * slope
    if name == "heun" and t > 0:  # Karras et al., algorithm 1, on y = x / alpha
        step = t / b - s / a
        here, here_slope = (x / a - d) / (s / a), (1 / a - slope) / (s / a)
        there, bend = mp_denoise(law, state, (b, t))
        after = (state / b - there) / (t / b)
        after_slope = (change / b - bend * change) / (t / b)
        state = b * (x / a + step * (here + after) / 2)
        change = b * (1 / a + step * (here_slope + after_slope) / 2)
    if name == "dpmpp-2m" and t > 0:  # Lu et al. (2022), algorithm 2
        h, before = mp.log(b / t) - mp.log(a / s), mp.log(a / s) - mp.log(c / r)
        share = h / (2 * before)
        state += beta * share * (d - mp.mpf(past))
        change += beta * share * slope
    return x - state, 1 - change


def draw(rng: np.random.Generator) -> tuple[GaussianMixture, list[NoiseLevel], np.ndarray]:
    k = int(rng.integers(1, 4))
    law = GaussianMixture(
        rng.dirichlet(np.ones(k)), rng.normal(0, 3, k), np.exp(rng.uniform(-5, 1, k))
    )
    process = (EDM, VP_LINEAR, FLOW)[int(rng.integers(3))]
    ratio = math.exp(rng.uniform(math.log(1e-3), math.log(1e2)))
    ratios = (ratio, ratio * math.exp(-rng.uniform(1e-3, 2)), ratio * math.exp(rng.uniform(0.1, 2)))
    levels = [process.level_at(r) for r in ratios]
    clean = law.sample(STATES, rng)
    return law, levels, levels[0].noised(clean, rng)


@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp-2m"])
def test_the_bound_holds_and_is_not_vacuous(name: str) -> None:
    rng = np.random.default_rng(11)
    worst: list[float] = []
    for _ in range(CASES):
        law, levels, x = draw(rng)
        s, t, earlier = levels
        solver = SOLVERS[name]
        past = np.full_like(x, rng.normal())
        history = (Evaluation(earlier, x, past),) if solver.depth else ()
        step = Step.take(law, solver, x, s, t, history=history)
        size_u, size_slope = step_sizes(step)
        slopes = Exact()(step, rng)
        for i in range(STATES):
            with mp.workdps(60):
                u, slope = mp_residual(name, law, x[i, 0], levels, past[i, 0])
                errors = (
                    float(abs(u - mp.mpf(float(step.candidate.residual[i, 0])))),
                    float(abs(slope - mp.mpf(float(slopes[i])))),
                )
            bounds = EPS * size_u[i, 0], EPS * size_slope[i, 0]
            assert errors[0] <= ROUNDING * bounds[0]
            assert errors[1] <= ROUNDING * bounds[1]
            worst.append(max(errors[0] / bounds[0], errors[1] / bounds[1]))
    assert max(worst) > 0.05, "within two orders of what is reached"


@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp-2m"])
@pytest.mark.parametrize("variances", [(1e-2, 1e-2), (1e-2, 4e-2)], ids=["one width", "two"])
def test_the_bound_holds_where_the_modes_change(name: str, variances: tuple[float, float]) -> None:
    """Between narrow modes exponents of hundreds decide, and ``D'`` changes within a few states."""
    law = GaussianMixture([0.6, 0.4], [-3.0, 3.5], variances)
    worst: list[float] = []
    for ratio, end, past in ((0.5, 0.05, 0.6), (0.05, 0.03, 0.08), (2.0, 0.001, 3.0)):
        s, t, earlier = levels = [VP_LINEAR.level_at(r) for r in (ratio, end, past)]
        solver, known = SOLVERS[name], 0.3
        x = s.alpha * np.concatenate((np.linspace(-4, 4, 25), np.linspace(0.15, 0.35, 12)))[:, None]
        history = (Evaluation(earlier, x, np.full_like(x, known)),) if solver.depth else ()
        step = Step(law, solver, x, s, t, history, solver.step(law, x, s, t, history))
        sizes = [ROUNDING * EPS * size[:, 0] for size in step_sizes(step)]
        found = step.candidate.residual[:, 0], Exact()(step, np.random.default_rng(0))
        for i, state in enumerate(x[:, 0]):
            with mp.workdps(60):
                exact = mp_residual(name, law, state, levels, known)
                worst += [
                    float(abs(mp.mpf(float(got[i])) - truth)) / size[i]
                    for got, truth, size in zip(found, exact, sizes, strict=True)
                ]
    assert 0.02 < max(worst) < 0.5


def test_arithmetic_adds_what_was_added_up() -> None:
    a, b = Sized(np.array(2.0), np.array(1.0)), Sized(np.array(-2.0), np.array(3.0))
    total = a + b
    assert (total.value, total.size) == (0.0, 4.0)
    assert ((a + -5.0).value, (a + -5.0).size) == (-3.0, 6.0)
    product = a * -3.0
    assert (product.value, product.size) == (-6.0, 1 * 3 + 6)
    left = np.float64(-3.0) * a
    assert (left.value, left.size) == (product.value, product.size)
    back = 5.0 - a
    assert (back.value, back.size) == (3.0, 6.0)
    assert ((a - b).value, (a - b).size) == (4.0, 4.0)
    assert ((-a).value, (-a).size) == (-2.0, 1.0)


class Straight:
    """``D = c x`` of stated rounding: sizes can be added up by hand."""

    slope, own = 3.0, (2.0, 0.25, 0.5)

    def __call__(self, x: np.ndarray, _level: NoiseLevel) -> np.ndarray:
        return self.slope * x

    def moments(self, x: np.ndarray, level: NoiseLevel) -> tuple[np.ndarray, ...]:
        return self(x, level), np.full(x.shape[:-1], self.slope), np.ones(x.shape[:-1])

    def rounding(self, x: np.ndarray, _level: NoiseLevel) -> tuple[np.ndarray, ...]:
        return tuple(np.full_like(x, size) for size in self.own)


def test_sizes_by_hand() -> None:
    """Every product and sum of a step of Euler, then of Heun, written down once more."""
    x, s, t = np.array([[2.0]]), NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.5)
    k = beta = 0.5
    c, (own, own_slope, turn) = 3.0, Straight.own
    d = c * 2.0
    driven = beta * own + beta * d  # of the product beta D
    euler = k * 2 + driven
    euler_slope = k + beta * own_slope + beta * c
    for name in ("euler", "heun"):
        solver = SOLVERS[name]
        step = Step(Straight(), solver, x, s, t, (), solver.step(Straight(), x, s, t, ()))
        sizes = step_sizes(step)
        if name == "euler":
            assert (sizes[0].item(), sizes[1].item()) == (euler, euler_slope)
            continue
        state, change = 0.5 * 2 + beta * d, 0.5 + beta * c
        again = c * euler + own
        weight = 0.5 * (beta / 0.5)  # Heun's c
        bend = weight * (again + own) + weight * abs(c * state - d)
        assert sizes[0].item() == pytest.approx(euler + bend, rel=1e-14)
        again_slope = c * euler_slope + (own_slope + turn * euler) * change
        bend_slope = weight * (again_slope + own_slope) + weight * abs(c * change - c)
        assert sizes[1].item() == pytest.approx(euler_slope + bend_slope, rel=1e-14)
