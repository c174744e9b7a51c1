"""Parts of solvers and corrections that a whole run does not show: each against its own formula."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from steinlab.corrections.gmm import Gmm
from steinlab.corrections.law_matched import LARGEST, _root
from steinlab.corrections.moments import moments
from steinlab.diffusion.grids import given_grid
from steinlab.diffusion.processes import EDM
from steinlab.solvers import get_solver
from steinlab.solvers.compensated import fitted
from steinlab.solvers.dpm_v3 import measured
from steinlab.solvers.loop import solve
from steinlab.solvers.parallel import EPD_2
from steinlab.solvers.step import Step

LAW = GaussianMixture([1.0], [[0.0, 0.0]], 1.0)
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("power", [0, 1, 2, 3])
def test_gausss_places_integrate_cubics(power: int) -> None:
    assert sum(w * r**power for r, w in EPD_2.stages) == pytest.approx(
        1 / (power + 1), rel=1e-14, abs=0
    )
    assert all(0 < r < 1 for r, _ in EPD_2.stages)


def test_the_first_states_first_coordinate_is_led() -> None:
    levels = [NoiseLevel(1.0, sigma) for sigma in (8.0, 4.0, 2.0, 1.0)]
    x = np.array([[1.0, 3.0], [-2.0, 5.0], [4.0, 0.5]])
    solver = fitted(LAW, x, levels, [0.5, 0.3, 0.17])
    assert solve(LAW, x, levels, solver).state[0, 0] == pytest.approx(0.17, abs=1e-12)


def test_a_run_without_a_seed_is_that_of_seed_0() -> None:
    grid = given_grid(EDM, [5.0, 2.0, 1.0, 0.3])
    x = grid[0].noised(LAW.sample(20, np.random.default_rng(1)), np.random.default_rng(2))
    name = "seeds-1"
    found = solve(LAW, x, grid, name).state
    np.testing.assert_array_equal(found, solve(LAW, x, grid, name, seed=0).state)
    assert not np.array_equal(found, solve(LAW, x, grid, name, seed=1).state)


def test_what_hardly_varies_has_no_slope_of_its_own() -> None:
    """``s`` is fitted where the spread is above eps times the mean square, 2.2e-16 1e16."""
    lam = [0.0, 0.5, 1.0, 1.5]
    rng = np.random.default_rng(3)
    denoised = 1e8 + 1e-3 * rng.standard_normal((4, 200, 1))
    z = denoised + 1e-3 * rng.standard_normal((4, 200, 1))
    assert np.all(measured(lam, z + 1e8, denoised)[1] == 0)
    far = denoised - 1e8
    assert np.all(measured(lam, far + rng.standard_normal((4, 200, 1)), far)[1] != 0)


# corrections


def step(states: int = 400, ends: tuple[float, float] = (1.0, 0.999)) -> Step:
    s, t = given_grid(EDM, list(ends))
    rng = np.random.default_rng(5)
    x = s.noised(LAW.sample(states, rng), rng)
    return Step.take(LAW, get_solver("euler"), x, s, t)


def test_moments_within_their_errors_leave_the_candidate() -> None:
    """A step so short that its states follow the law: the coefficient told is one."""
    taken = step()
    state, done = Gmm()(taken, RNG)
    assert done.note == "declined: the moments are within their standard errors"
    assert done.gamma == 1.0
    assert done.evaluations > 0
    np.testing.assert_array_equal(state, taken.candidate.state)


def test_a_root_inside_its_range_has_no_note() -> None:
    """From half the noise that is due; only a coefficient at the end of the range is clipped."""
    taken = step(4000, (2.0, 0.5))
    found = _root(taken, "noise", 0.0, 0.0)
    assert abs(found.coefficient) < LARGEST
    assert found.note == ""
    far = _root(taken, "noise", 50.0, 0.0)
    assert abs(far.coefficient) == LARGEST
    assert far.note == f"clipped to {LARGEST}"


def test_the_first_four_axes_have_moments_of_their_own() -> None:
    """Two frequencies, a sine and a cosine each; a further axis adds none."""
    rng = np.random.default_rng(0)
    level, law = NoiseLevel(1.0, 1.0), GaussianMixture([1.0], [[0.0] * 7], 1.0)
    y = math.sqrt(2) * rng.standard_normal((50, 7))
    counts = [moments(law, y, level, np.eye(7)[:k]).shape[1] for k in range(1, 7)]
    assert counts == [3 + 4 * k for k in (1, 2, 3, 4, 4, 4)]
