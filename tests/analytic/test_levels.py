from __future__ import annotations

import math

import numpy as np
import pytest

from analytic import NoiseLevel
from analytic.levels import require_fit


@pytest.mark.parametrize("alpha", [-0.5, 1.5, math.nan])
def test_alpha_outside_its_range_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=rf"^alpha must be in \[0, 1\], got {alpha}$"):
        NoiseLevel(alpha, 1.0)


@pytest.mark.parametrize("sigma", [-0.1, math.inf, math.nan])
def test_sigma_outside_its_range_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match=f"^sigma must be finite and >= 0, got {sigma}$"):
        NoiseLevel(1.0, sigma)


def test_one_bad_entry_of_an_array_is_refused() -> None:
    good = np.full((3, 1, 1), 0.5)
    bad = good.copy()
    bad[1] = np.nan
    NoiseLevel(good, good)
    with pytest.raises(ValueError, match="alpha must be in"):
        NoiseLevel(bad, good)
    with pytest.raises(ValueError, match="sigma must be finite"):
        NoiseLevel(good, -good)


def test_ratio_and_lam() -> None:
    level = NoiseLevel(0.25, 0.5)
    assert level.ratio == 2.0
    assert level.lam == pytest.approx(-math.log(2), rel=1e-15)
    assert NoiseLevel(0.5, 0.0).lam == math.inf
    stack = NoiseLevel(np.array([0.25, 1.0]), np.array([0.5, 1.0]))
    np.testing.assert_allclose(stack.lam, [-math.log(2), 0.0], rtol=1e-15)
    np.testing.assert_array_equal(stack.ratio, [2.0, 1.0])


def test_noised_states_follow_the_forward_coupling() -> None:
    level, x_star = NoiseLevel(0.6, 0.8), np.linspace(-1, 1, 12).reshape(6, 2)
    x = level.noised(x_star, np.random.default_rng(3))
    eps = np.random.default_rng(3).standard_normal((6, 2))
    np.testing.assert_array_equal(x, 0.6 * x_star + 0.8 * eps)
    stack = NoiseLevel(np.full((3, 1, 1), 0.6), np.arange(3.0)[:, None, None])
    wide = stack.noised(np.zeros((3, 5, 2)), np.random.default_rng(0))
    assert wide.shape == (3, 5, 2)
    assert not wide[0].any()


@pytest.mark.parametrize("shape", [(1, 5, 1), (1,), (4, 1), (5, 2)])
def test_a_level_that_does_not_fit_the_states_is_refused(shape: tuple[int, ...]) -> None:
    require_fit(NoiseLevel(1.0, np.ones((5, 1))), (5, 2))
    with pytest.raises(ValueError, match=r"^sigma must be a number or .* for states .5, 2.*, got"):
        require_fit(NoiseLevel(1.0, np.ones(shape)), (5, 2))
