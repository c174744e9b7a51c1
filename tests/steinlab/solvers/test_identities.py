"""Identities between solvers."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analytic import NoiseLevel
from steinlab.diffusion.processes import EDM, FLOW, VE, VP_LINEAR, Process
from steinlab.solvers import (
    DPMPP_2M,
    DPMPP_2M_HEUN,
    DPMPP_3M,
    DPMPP_3M_EXACT,
    EULER,
    get_solver,
    lowered,
    make_plan,
)
from steinlab.solvers.exponential import exponential_weights
from steinlab.solvers.loop import solve
from steinlab.solvers.phi import decaying_moments
from tests.steinlab.solvers.cases import EVERY_PROCESS, PLANE, end, same, states, uneven_grid


@pytest.mark.parametrize("process", EVERY_PROCESS)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("deis-rho-2", "ipndm-v-2"),
        ("deis-rho-3", "ipndm-v-3"),
        *(("euler", f"{family}-1") for family in ("deis-tab", "deis-rho", "deis-log", "ipndm")),
    ],
)
def test_same_method_by_two_names(process: Process, one: str, other: str) -> None:
    same(end(one, process), end(other, process))


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_time_of_edm_is_sigma(nodes: int) -> None:
    same(end(f"deis-tab-{nodes}", EDM), end(f"deis-rho-{nodes}", EDM))


@pytest.mark.parametrize("nodes", [2, 3])
def test_time_of_ve_is_log_sigma(nodes: int) -> None:
    same(end(f"deis-tab-{nodes}", VE), end(f"deis-log-{nodes}", VE))


@pytest.mark.parametrize("process", EVERY_PROCESS)
def test_predictors_of_unipc_are_multistep_dpm(process: Process) -> None:
    def predictor(name: str) -> Any:
        solver = get_solver(name)
        return replace(
            solver, weights=lambda *levels: replace(solver.weights(*levels), corrector=())
        )

    same(end(predictor("unipc-2"), process), end(DPMPP_2M, process))
    for name in ("unipc-3", "unipc-3-bh1"):
        grid = uneven_grid(process, 6)
        x = states(grid)
        # the two share everything but the second step, where unipc-3 takes the published rho = 1/2
        start = (EULER, get_solver("dpmpp-2m"))
        one = solve(PLANE, x, grid, make_plan(predictor(name), 6, start=start)).state
        other = solve(PLANE, x, grid, make_plan(DPMPP_3M_EXACT, 6, start=start)).state
        same(one, other)


def test_ipndm_on_an_even_grid_is_adams_bashforth() -> None:
    grid = tuple(NoiseLevel(1.0, sigma) for sigma in np.linspace(5.0, 1.0, 9).tolist())
    x = states(grid)
    for nodes in (2, 3, 4):
        fixed = solve(PLANE, x, grid, get_solver(f"ipndm-{nodes}")).state
        same(fixed, solve(PLANE, x, grid, get_solver(f"ipndm-v-{nodes}")).state)


@pytest.mark.parametrize("process", EVERY_PROCESS)
def test_ddim_is_euler_in_edm_coordinates(process: Process) -> None:
    grid = uneven_grid(process)
    y = states(grid) / grid[0].alpha
    for s, t in itertools.pairwise(grid):
        y = y + (t.ratio - s.ratio) * (y - PLANE(y * s.alpha, s)) / s.ratio
    same(end("euler", process), y * grid[-1].alpha)


def test_ddim_is_euler_on_the_velocity_of_rectified_flow() -> None:
    grid = uneven_grid(FLOW, zero=True)
    x = states(grid)
    for s, t in itertools.pairwise(grid):
        x0 = PLANE(x, s)
        velocity = (x - s.alpha * x0) / s.sigma - x0  # eps - x0
        x = x + (t.sigma - s.sigma) * velocity
    same(end("euler", FLOW, zero=True), x)


@pytest.mark.parametrize("name", ["dpm-2", "dpmpp-2s", "dpmpp-3s", "dpmpp-3s-taylor"])
def test_exact_denoisers_cannot_tell_where_stages_lie(name: str) -> None:
    for process in (VP_LINEAR, FLOW):
        same(end(get_solver(name), process), end(get_solver(name, process), process))


def test_lowered_solvers_are_the_lower_ones() -> None:
    same(end(DPMPP_3M.narrowed(2), EDM), end(DPMPP_2M, EDM))
    same(end(DPMPP_3M_EXACT.narrowed(2), EDM), end(DPMPP_2M_HEUN, EDM))
    same(end(get_solver("unipc-3").narrowed(2), VP_LINEAR), end("unipc-2", VP_LINEAR))
    same(end(get_solver("ipndm-4").narrowed(1), FLOW), end("euler", FLOW))
    assert [one.width for one in lowered(DPMPP_3M, 2, 1)] == [2, 1]


def test_published_and_exact_3m_differ_in_one_moment() -> None:
    assert not np.allclose(end(DPMPP_3M, EDM), end(DPMPP_3M_EXACT, EDM), rtol=1e-4)

    def halved(h: float, count: int) -> list[float]:
        return [m if k < 2 else m / 2 for k, m in enumerate(decaying_moments(h, count))]

    again = replace(DPMPP_3M, weights=exponential_weights(halved))
    start = (EULER, DPMPP_2M)
    one, other = make_plan(DPMPP_3M, 6, start=start), make_plan(again, 6, start=start)
    same(end(one, EDM), end(other, EDM))
