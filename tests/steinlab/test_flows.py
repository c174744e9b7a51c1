"""The fine flow: exact for a Gaussian, of its stated order, on every library, to zero noise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from analytic import GaussianMixture, NoiseLevel, exact_flow
from steinlab.flows import between, follow, trajectory
from steinlab.grids import make_grid
from steinlab.processes import EDM
from tests.steinlab.solvers.cases import LAW, PLANE, START, Counted

S, T = NoiseLevel(0.6, 0.8), NoiseLevel(0.8, 0.6)


@pytest.mark.parametrize(("s", "t"), [(S, T), (NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.3))])
def test_it_agrees_with_the_exact_flow_at_order_three(s: NoiseLevel, t: NoiseLevel) -> None:
    exact = exact_flow(LAW, START, s, t).state
    errors = [np.abs(follow(LAW, START, s, t, n) - exact).max() for n in (8, 16, 32)]
    assert errors[-1] < 1e-5
    for coarse, fine in itertools.pairwise(errors):
        assert 2.5 < np.log2(coarse / fine) < 3.6


def test_a_gaussian_scales_by_its_deviations_down_to_zero_noise() -> None:
    law = GaussianMixture([1.0], [0.0], 1.0)
    end = follow(law, START, NoiseLevel(1.0, 2.0), NoiseLevel(1.0, 0.0))
    np.testing.assert_allclose(end, START / 5**0.5, atol=2e-4)


def test_between_keeps_the_ends_and_the_even_ratios() -> None:
    levels = between(S, T, 5)
    assert (levels[0], levels[-1], len(levels)) == (S, T, 6)
    logs = np.diff([np.log(level.sigma / level.alpha) for level in levels])
    np.testing.assert_allclose(logs, logs[0], rtol=1e-12)
    assert between(S, NoiseLevel(1.0, 0.0), 5)[-1].sigma == 0.0


def test_it_costs_what_it_says() -> None:
    counted = Counted(PLANE)
    follow(counted, np.zeros((2, 2)), S, T, 7)
    assert counted.calls == 21
    counted = Counted(PLANE)
    follow(counted, np.zeros((2, 2)), S, NoiseLevel(1.0, 0.0), 7)
    assert counted.calls == 22


def test_a_trajectory_is_one_flow_and_torch_agrees() -> None:
    grid = make_grid(EDM, "karras", 4)
    x = grid[0].sigma * np.random.default_rng(0).standard_normal((6, 2))
    states = trajectory(PLANE, x, grid)
    assert len(states) == len(grid)
    assert states[0] is x
    np.testing.assert_array_equal(states[2], follow(PLANE, states[1], grid[1], grid[2]))
    told = trajectory(PLANE, torch.as_tensor(x), grid)
    np.testing.assert_allclose(told[-1].numpy(), states[-1], rtol=1e-10, atol=1e-12)
