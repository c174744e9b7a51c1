"""A coefficient computed and applied in VP coordinates: plain numpy, limiting cases, refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from analytic import NoiseLevel
from steinlab.corrections import tweedie
from steinlab.corrections.coordinates import vp_step
from steinlab.errors import InputError
from steinlab.solvers import EULER, HEUN
from steinlab.solvers.step import Step
from tests.steinlab.solvers.cases import PLANE

RNG = np.random.default_rng(0)
EPS = np.finfo(float).eps
LEVELS = {
    "EDM": (NoiseLevel(1.0, 1.2), NoiseLevel(1.0, 0.5)),
    "EDM, to the end": (NoiseLevel(1.0, 1.2), NoiseLevel(1.0, 0.0)),
    "flow": (NoiseLevel(0.4, 0.6), NoiseLevel(0.7, 0.3)),
    "VP": (NoiseLevel(0.6, 0.8), NoiseLevel(0.8, 0.6)),
}


def step_on(name: str, solver: Any = EULER) -> Step:
    s, t = LEVELS[name]
    rng = np.random.default_rng(3)
    clean = PLANE.sample(500, rng)
    x = s.noised(clean, rng)
    return Step.take(PLANE, solver, x, s, t)


@pytest.mark.parametrize("solver", [EULER, HEUN], ids=lambda s: s.name)
@pytest.mark.parametrize("name", LEVELS)
def test_a_step_is_that_of_plain_numpy(name: str, solver: Any) -> None:
    """Scale both states to unit total variance, correct there, scale back: written out anew."""
    step = step_on(name, solver)
    (a, b), (c, d) = ((z.alpha, z.sigma) for z in LEVELS[name])
    before, after = math.sqrt(a * a + b * b), math.sqrt(c * c + d * d)
    y, target = step.x / before, step.candidate.state / after
    v = y - target
    raw = np.mean(np.sum(v * (y - PLANE(step.x, step.s)), 1)) / np.mean(np.sum(v * v, 1))
    low, high = 0.4 * raw, 0.6 * raw
    for limits, gamma in (((-9.0, 9.0), raw), ((low, high), high)):
        state, done = tweedie(gamma_min=limits[0], gamma_max=limits[1], coordinates="vp")(step, RNG)
        assert done.gamma == pytest.approx(gamma, rel=1e-11)
        assert done.estimate is not None
        assert done.estimate.value == pytest.approx(raw, rel=1e-11)
        assert done.move == {}
        expected = after * ((1 - gamma) * y + gamma * target)
        np.testing.assert_allclose(state, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", LEVELS)
def test_gamma_one_leaves_the_step(name: str) -> None:
    """To a few ulps of ``|x| + |T|``, as in the process's own coordinates."""
    step = step_on(name)
    state, done = tweedie(gamma_min=1.0, gamma_max=1.0, coordinates="vp")(step, RNG)
    assert done.gamma == 1.0
    size = np.abs(step.x) + np.abs(step.candidate.state)
    assert np.all(np.abs(state - step.candidate.state) <= 8 * EPS * size)


def test_in_a_variance_preserving_process_it_is_the_correction_itself() -> None:
    step = step_on("VP")
    own, vp = (tweedie(coordinates=where)(step, RNG) for where in ("own", "vp"))
    assert vp[1].gamma == pytest.approx(own[1].gamma, rel=1e-13)
    np.testing.assert_allclose(vp[0], own[0], rtol=1e-13, atol=1e-13)


def test_elsewhere_the_coefficient_is_another_one() -> None:
    """In EDM a first-order step's is ``1 / (1 - kappa)`` for every law; in VP the law decides."""
    step = step_on("EDM")
    own, vp = (tweedie(coordinates=where)(step, RNG)[1].gamma for where in ("own", "vp"))
    assert own == pytest.approx(1 / (1 - 0.5 / 1.2), rel=1e-12)
    assert vp > 1.4 * own


def test_a_residual_of_nearly_equal_levels_does_not_cancel() -> None:
    """``v`` of a step by 1e-9 of the noise, against the difference in 50 digits."""
    import mpmath as mp

    s, t = NoiseLevel(1.0, 1.2), NoiseLevel(1.0, 1.2 * (1 - 1e-9))
    x = PLANE.sample(3, np.random.default_rng(1)) + 1.0
    step = Step.take(PLANE, EULER, x, s, t)
    found = vp_step(step).candidate.residual
    with mp.workdps(50):
        before, after = (mp.sqrt(mp.mpf(z.alpha) ** 2 + mp.mpf(z.sigma) ** 2) for z in (s, t))
        for index, value in np.ndenumerate(found):
            own, u = mp.mpf(x[index]), mp.mpf(step.candidate.residual[index])
            exact = own / before - (own - u) / after
            scale = abs(u) + abs(own) * abs(after - before)
            assert abs(mp.mpf(value) - exact) <= 8 * EPS * scale


def test_it_declines_and_refuses_in_a_line() -> None:
    whole = step_on("EDM")
    state, done = tweedie(coordinates="vp")(whole.head(1), RNG)
    assert np.array_equal(state, whole.candidate.state[:1])
    assert done.note == "declined: states must number at least 2, got 1"
    with pytest.raises(InputError, match="coordinates"):
        tweedie(coordinates="polar")
