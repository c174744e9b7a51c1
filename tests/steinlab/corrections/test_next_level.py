"""The Stein step towards the next level: its formula, its neutrality, its equivariance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from steinlab.coefficient.formulas import next_level_numerator
from steinlab.corrections import next_level
from steinlab.solvers import EULER, first_order, get_solver
from steinlab.solvers.base import Evaluation
from steinlab.solvers.step import Step, inner
from tests.steinlab.solvers.cases import PLANE

LEVELS = [
    (NoiseLevel(0.6, 0.8), NoiseLevel(0.8, 0.6)),
    (NoiseLevel(1.0, 2.0), NoiseLevel(1.0, 0.5)),
    (NoiseLevel(0.2, 0.8), NoiseLevel(0.6, 0.4)),
]


def forward(law: Any, level: NoiseLevel, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    clean = law.sample(n, rng)
    return level.noised(clean, rng), clean


@pytest.mark.parametrize(("s", "t"), LEVELS)
def test_the_numerator_means_the_distance_to_the_target(s: NoiseLevel, t: NoiseLevel) -> None:
    """``E`` of the numerator is ``E<u, (1 - kappa) x - beta x_star>``, within 5 errors."""
    x, clean = forward(PLANE, s, 500_000)
    earlier = NoiseLevel(s.alpha * 0.9, s.sigma * 1.2)
    past = Evaluation(earlier, x, 0.3 * np.ones_like(x))  # any history that is independent of x
    candidate = get_solver("dpmpp-2m").step(PLANE, x, s, t, (past,))
    linear = candidate.linear
    assert linear is not None
    div = linear.one_minus_kappa * 2 - linear.betas[0] * PLANE.divergence(x, s)
    ours = next_level_numerator(x, candidate.residual, div, s, t)
    step = first_order(s, t)
    target = step.one_minus_kappa * x - step.betas[0] * clean
    gap = ours - inner(candidate.residual, target)
    error = gap.std() / math.sqrt(len(gap))
    assert abs(gap.mean()) < 5 * error
    assert error < 0.02 * abs(ours.mean())


@pytest.mark.parametrize(("s", "t"), LEVELS)
def test_neutral_for_an_exact_first_order_step(s: NoiseLevel, t: NoiseLevel) -> None:
    x, _ = forward(PLANE, s, 50_000)
    step = Step.take(PLANE, EULER, x, s, t)
    done = next_level(gamma_min=-math.inf)(step, np.random.default_rng(0))[1]
    assert done.estimate is not None
    assert abs(done.gamma - 1.0) < 5 * done.estimate.error
    assert done.estimate.error < 0.05


def test_equivariant_under_rotation_and_scaling() -> None:
    s, t = NoiseLevel(1.0, 2.0), NoiseLevel(1.0, 0.5)
    law = GaussianMixture([0.4, 0.6], [[-1.0, 0.0], [1.0, 1.0]], [0.2, 0.2])
    angle, scale = 0.7, 3.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    other = GaussianMixture([0.4, 0.6], law.means @ turn.T, [0.2 * scale**2, 0.2 * scale**2])
    wide_s, wide_t = NoiseLevel(1.0, 2.0 * scale), NoiseLevel(1.0, 0.5 * scale)
    x, _ = forward(law, s, 500)
    rng = np.random.default_rng(0)
    ends = []
    for one, state, a, b in ((law, x, s, t), (other, x @ turn.T, wide_s, wide_t)):
        heun = get_solver("heun")
        step = Step.take(one, heun, state, a, b)
        ends.append(next_level(gamma_min=-math.inf)(step, rng)[0])
    np.testing.assert_allclose(ends[0] @ turn.T, ends[1], rtol=1e-9, atol=1e-9)
