"""Corrections: the formula applied, clipping, what the notes say, and when they decline."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from analytic import NoiseLevel
from steinlab.coefficient.divergence import Hutchinson
from steinlab.corrections import CORRECTIONS, DEFAULT_GAMMA_MIN, ScalarCorrection, stein, tweedie
from steinlab.solvers import EULER, HEUN
from steinlab.solvers.loop import solve
from steinlab.solvers.step import Diagnostics, NoCorrection, Step
from tests.steinlab.solvers.cases import PLANE

S, T = NoiseLevel(0.6, 0.8), NoiseLevel(0.8, 0.6)
RNG = np.random.default_rng(0)


def step_of(x: Any, solver: Any = EULER, s: NoiseLevel = S, t: NoiseLevel = T) -> Step:
    return Step.take(PLANE, solver, x, s, t)


def forward(n: int = 2000) -> np.ndarray:
    rng = np.random.default_rng(3)
    clean = PLANE.sample(n, rng)
    return np.asarray(S.noised(clean, rng))


X = forward()


def theorem(step: Step) -> float:
    """Theorem 4.7 from batch means, with a divergence by finite differences."""
    x, u, h = step.x, step.candidate.residual, 1e-5
    div = np.zeros(len(x))
    for i, e in enumerate(np.eye(x.shape[1])):
        up, down = (step_of(x + k * h * e, step.solver).candidate.residual for k in (1, -1))
        div += (up - down)[:, i] / (2 * h)
    s_xu, s_uu = (x * u).sum(1).mean(), (u * u).sum(1).mean()
    return float(((1 - 1 / S.alpha) * s_xu + S.sigma**2 / S.alpha * div.mean()) / s_uu)


@pytest.mark.parametrize("solver", [EULER, HEUN], ids=lambda s: s.name)
def test_stein_applies_theorem_4_7(solver: Any) -> None:
    step = step_of(X, solver)
    state, done = stein(gamma_min=-math.inf)(step, RNG)
    gamma = theorem(step)
    assert done.estimate is not None
    assert done.gamma == done.estimate.value == pytest.approx(gamma, rel=1e-7)
    assert 0 < done.estimate.error < 0.5
    assert done.note == ""
    np.testing.assert_allclose(state, (1 - gamma) * X + gamma * step.candidate.state, atol=1e-6)


def test_tweedie_agrees_up_to_sampling() -> None:
    step = step_of(X)
    ours, theirs = (c(gamma_min=-math.inf)(step, RNG)[1].estimate for c in (stein, tweedie))
    x, u = step.x, step.candidate.residual
    assert theirs.value == pytest.approx((u * (x - PLANE(x, S))).sum() / (u * u).sum(), rel=1e-12)
    assert abs(ours.value - theirs.value) < 4 * (ours.error + theirs.error)


def test_the_divergence_can_be_chosen() -> None:
    exact = stein()(step_of(X), RNG)[1].estimate
    probed = stein(divergence=Hutchinson(probes=5, law="gaussian"))
    first = probed(step_of(X), np.random.default_rng(1))[1].estimate
    assert first == probed(step_of(X), np.random.default_rng(1))[1].estimate
    assert first != probed(step_of(X), np.random.default_rng(2))[1].estimate
    assert exact.value != first.value
    assert abs(exact.value - first.value) < 4 * (exact.error + first.error)


@pytest.mark.parametrize(
    ("raw", "low", "high", "applied", "clipped"),
    [
        (0.5, 0.1, math.inf, 0.5, False),
        (-3.0, 0.1, math.inf, 0.1, True),
        (7.0, 0.1, math.inf, 7.0, False),
        (7.0, 0.1, 1.0, 1.0, True),
        (1.0, 0.1, 1.0, 1.0, False),
        (-3.0, -math.inf, 1.0, -3.0, False),
    ],
)
def test_clipping(raw: float, low: float, high: float, applied: float, *, clipped: bool) -> None:
    step = step_of(X)
    u = step.candidate.residual
    fixed = ScalarCorrection("fixed", lambda *_: raw * (u * u).sum(axis=-1), low, high)
    state, done = fixed(step, RNG)
    assert done.gamma == pytest.approx(applied, rel=1e-13)
    assert done.estimate is not None
    assert done.estimate.value == pytest.approx(raw, rel=1e-13)
    assert (done.note == f"clipped to [{low}, {high}]") == clipped
    assert (done.note == "") == (not clipped)
    np.testing.assert_array_equal(state, X - done.gamma * u)


def test_the_defaults_clip_from_below_only() -> None:
    assert (stein().gamma_min, stein().gamma_max) == (DEFAULT_GAMMA_MIN, math.inf)
    assert DEFAULT_GAMMA_MIN == 0.1
    with pytest.raises(ValueError, match=r"gamma_min must be <= gamma_max = 0\.5, got 0\.6"):
        stein(gamma_min=0.6, gamma_max=0.5)
    with pytest.raises(ValueError, match="gamma_min must be <= gamma_max"):
        stein(gamma_min=math.nan)


def test_gamma_one_is_the_plain_step_to_rounding() -> None:
    """``x - u`` and ``T`` round differently: equal to a few ulps of ``|x| + |T|``, not bitwise."""
    step = step_of(X)
    state, done = stein(gamma_min=1.0, gamma_max=1.0)(step, RNG)
    plain, _ = NoCorrection()(step, RNG)
    assert done.gamma == 1.0
    assert plain is step.candidate.state
    size = np.abs(X) + np.abs(plain) + np.abs(step.candidate.residual)
    assert np.all(np.abs(state - plain) <= 4 * np.finfo(float).eps * size)


def test_none_says_one() -> None:
    assert NoCorrection()(step_of(X), RNG)[1] == Diagnostics(1.0)


@pytest.mark.parametrize("correction", [stein(), tweedie()], ids=lambda c: c.name)
def test_it_declines_where_there_is_nothing_to_scale(correction: Any) -> None:
    step = step_of(X[:1])
    state, done = correction(step, RNG)
    assert state is step.candidate.state
    assert (done.gamma, done.estimate) == (1.0, None)
    assert done.note == "declined: states must number at least 2, got 1"

    class Still:
        name, order, depth, ends_at_zero = "still", 0, 0, True

        def step(self, denoiser: Any, x: Any, s: Any, t: Any, history: Any) -> Any:
            plain = EULER.step(denoiser, x, s, t, history)
            return type(plain)(x, 0 * x, plain.denoised, plain.linear, 1)

    state, done = correction(step_of(X, Still()), RNG)
    np.testing.assert_array_equal(state, X)
    assert done.note.startswith("declined: E|u|^2 must be > 0")


def test_numpy_and_torch_agree() -> None:
    for make in CORRECTIONS.values():  # a run of one step, for some want to see the run first
        ours = solve(PLANE, X, (S, T), EULER, correction=make())
        theirs = solve(PLANE, torch.as_tensor(X), (S, T), EULER, correction=make())
        np.testing.assert_allclose(theirs.state, ours.state, rtol=1e-10, atol=1e-12)
        told, said = ours.diagnostics[0], theirs.diagnostics[0]
        assert said.gamma == pytest.approx(told.gamma, rel=1e-10)
        assert isinstance(said.gamma, float)


def test_the_registry() -> None:
    assert set(CORRECTIONS) >= {"none", "stein", "tweedie"}
    for name, make in CORRECTIONS.items():
        assert make().name == name
