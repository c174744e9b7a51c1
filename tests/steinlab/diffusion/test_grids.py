"""Grids: decreasing, spaced as they say, with errors that name the step."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.exact import gaussian_gain
from steinlab.diffusion.grids import (
    GRIDS,
    given_grid,
    given_steps,
    grid_name,
    make_grid,
    require_grid,
    require_step,
)
from steinlab.diffusion.processes import EDM, PROCESSES, VP_LINEAR, Process
from steinlab.errors import InputError
from steinlab.solvers import EULER
from steinlab.solvers.gaussian_runs import gaussian_run

ALL = pytest.mark.parametrize("process", PROCESSES.values(), ids=lambda p: p.name)


@ALL
@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_grids_run_from_noise_to_data(process: Process, name: str, steps: int) -> None:
    grid = make_grid(process, name, steps)
    ratios = np.array([level.ratio for level in grid])
    assert len(grid) == steps + 1
    assert np.all(np.diff(ratios) < 0)
    assert ratios[0] == pytest.approx(process.ratio_max, rel=1e-12)
    assert (grid[-1].alpha, grid[-1].sigma) == (1.0, 0.0)
    if steps > 1:
        assert ratios[-2] == pytest.approx(process.ratio_min, rel=1e-9)
    bare = make_grid(process, name, steps, final_zero=False)
    assert len(bare) == steps + 1
    assert bare[-1].ratio == pytest.approx(process.ratio_min, rel=1e-9)


def spacing(values: np.ndarray) -> np.ndarray:
    steps = np.diff(values)
    return np.asarray(steps / steps[0])


@ALL
def test_what_each_grid_spaces_evenly(process: Process) -> None:
    def ratios(name: str) -> np.ndarray:
        return np.array([p.ratio for p in make_grid(process, name, 6, final_zero=False)])

    np.testing.assert_allclose(spacing(ratios("karras") ** (1 / 7)), 1, rtol=1e-9)
    np.testing.assert_allclose(spacing(np.log(ratios("logsnr"))), 1, rtol=1e-9)
    np.testing.assert_allclose(spacing(process.time(ratios("time-uniform"))), 1, rtol=1e-7)
    np.testing.assert_allclose(spacing(process.time(ratios("quadratic")) ** 0.5), 1, rtol=1e-7)


def test_karras_equation_5() -> None:
    n = 18
    formula = [(80 ** (1 / 7) + i / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
               for i in range(n)]  # fmt: skip
    grid = make_grid(EDM, "karras", n)
    np.testing.assert_allclose([level.sigma for level in grid], [*formula, 0.0], rtol=1e-12)


def test_bad_grids_are_named() -> None:
    with pytest.raises(ValueError, match="steps must be >= 1, got 0"):
        make_grid(EDM, "karras", 0)
    with pytest.raises(ValueError, match="grid must be one of karras, logsnr, time-uniform, quad"):
        make_grid(EDM, "carras", 3)
    with pytest.raises(ValueError, match="grid must hold at least 2 levels, got 1"):
        require_grid([NoiseLevel(1.0, 1.0)])
    with pytest.raises(ValueError, match=r"grid step 1: to must be less noisy .*< 1\.0, got 2\.0"):
        given_grid(EDM, [3.0, 1.0, 2.0])
    with pytest.raises(ValueError, match=r"grid step 1: from: sigma must be > 0, got 0\.0"):
        given_grid(VP_LINEAR, [3.0, 0.0, 0.0])


def test_every_step_of_a_stack_counts() -> None:
    one = np.ones((2, 1, 1))
    s = NoiseLevel(one, 2 * one)
    require_step(s, NoiseLevel(one, one))
    with pytest.raises(ValueError, match="to must be less noisy"):
        require_step(s, NoiseLevel(one, one * np.array([1.0, 2.0])[:, None, None]))
    with pytest.raises(ValueError, match="sigma must be > 0"):
        require_step(NoiseLevel(one, one * np.array([1.0, 0.0])[:, None, None]), s)


def test_given_levels_are_a_grid() -> None:
    grid = make_grid("vp-linear", [157.0, 10, "1", 0])
    assert [level.ratio for level in grid] == pytest.approx([157, 10, 1, 0])
    assert grid == make_grid("vp-linear", "sigmas:157,10,1,0")
    assert grid == make_grid("vp-linear", {"sigmas": [157, 10, 1, 0]}, 3)
    flow = make_grid("flow", {"times": [1, 0.7, 0.2]}, final_zero=True)
    assert [level.sigma for level in flow] == pytest.approx([1.0, 0.7, 0.2])
    assert flow[0].alpha == 0
    assert make_grid("flow", ["inf", 1.0])[0] == NoiseLevel(0.0, 1.0)
    assert grid_name([0.2, 1e-9, 0]) == "sigmas:0.2,1e-09,0"
    assert (given_steps("sigmas:3,2"), given_steps("karras")) == (1, None)


@pytest.mark.parametrize(
    ("grid", "line"),
    [
        ([1.0], "grid must be a list of at least 2 numbers, got [1.0]"),
        ([1.0, 2.0], "grid[1] must be less than the one before, 1, got 2"),
        ([1.0, -2.0], "grid[1] must be a number >= 0, got -2.0"),
        ([1.0, True], "grid[1] must be a number >= 0, got true"),
        ([1e300, 1.0], "grid[0] must be 0, infinite or from 1e-100 to 1e+100, got 1e+300"),
        ([1.0, 1e-300], "grid[1] must be 0, infinite or from 1e-100 to 1e+100, got 1e-300"),
        ({"times": "1"}, "grid: times must be a list of at least 2 numbers, got 1"),
        ({"times": [1.5, 0]}, "grid times: t must be in [0, 1] for flow, got 1.5"),
        ("karras:sigma_max=2,start=0.5", "start and sigma_max both say where it begins, got both"),
        ("karras:sigma_min=3,sigma_max=2", "sigma_min must be less than sigma_max, got 3 and 2"),
        ("leading:sigma_max=2", "option must be one of"),
    ],
)
def test_bad_levels_are_named(grid: object, line: str) -> None:
    with pytest.raises(InputError, match=re.escape(line)):
        make_grid("flow", grid, None if isinstance(grid, list | dict) else 4)  # type: ignore[arg-type]


@ALL
@pytest.mark.parametrize("name", ["karras", "logsnr", "time-uniform", "tangent", "beta"])
def test_a_range_is_cut(process: Process, name: str) -> None:
    grid = make_grid(process, f"{name}:sigma_min=0.05,sigma_max=3", 6)
    assert grid[0].ratio == pytest.approx(3, rel=1e-9)
    assert grid[-2].ratio == pytest.approx(0.05, rel=1e-9)


def test_arrays_are_given_levels_and_what_is_no_level_is_told():
    assert make_grid("edm", np.array([80.0, 1.0, 0.0])) == make_grid("edm", [80, 1, 0])
    times = np.array([1.0, 0.5, 0.0])
    assert make_grid("flow", {"times": times}) == make_grid("flow", {"times": [1, 0.5, 0]})
    with pytest.raises(ValueError, match=r"steps must be a whole number, got 2\.5"):
        make_grid("edm", "karras", 2.5)
    with pytest.raises(ValueError, match=r"grid must hold levels, as make_grid.* got 'k'"):
        require_grid("karras")
    with pytest.raises(ValueError, match=r"grid must hold levels, as make_grid.* got 80\.0"):
        require_grid([80.0, 1.0])


def test_the_tangent_grid_takes_equal_angles() -> None:
    """Each Euler step on ``N(0, c^2)`` then keeps the same share of the exact gain."""
    levels = make_grid(EDM, "tangent:scale=0.3", 6, final_zero=False)
    angles = np.arctan(np.array([level.ratio for level in levels]) / 0.3)
    np.testing.assert_allclose(np.diff(angles), np.diff(angles)[0], rtol=1e-9)
    law = GaussianMixture([1.0], [0.0], 0.09)
    run = gaussian_run(law, EULER, levels)
    shares = run.gains[1:, 0] / run.gains[:-1, 0]
    shares /= [gaussian_gain(np.array([0.09]), s, t)[0] for s, t in itertools.pairwise(levels)]
    np.testing.assert_allclose(shares, np.cos(np.diff(angles)[0]), rtol=1e-9)


def test_scale_data_needs_data() -> None:
    assert grid_name({"name": "tangent", "scale": "data"}) == "tangent:scale=data"
    with pytest.raises(InputError, match=r"^grid tangent: scale must be a number where no law or"):
        make_grid(EDM, "tangent:scale=data", 4)
    with pytest.raises(InputError, match=r"^grid karras: rho must be a number > 0, got data$"):
        grid_name("karras:rho=data")
