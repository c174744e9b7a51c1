"""The few-step systems against their algorithms as published, typed anew."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from analytic import NoiseLevel
from steinlab.diffusion.processes import EDM, FLOW, VP_LINEAR
from steinlab.solvers.loop import solve
from steinlab.solvers.parallel import Parallel
from tests.steinlab.solvers.cases import PLANE, end, same, states, uneven_grid


def slope(x: np.ndarray, sigma: float) -> np.ndarray:
    """The noise prediction in EDM coordinates."""
    return (x - PLANE(x, NoiseLevel(1.0, sigma))) / sigma


def edm(count: int = 6) -> tuple[tuple[NoiseLevel, ...], list[float], np.ndarray]:
    grid = uneven_grid(EDM, count)
    return grid, [level.sigma for level in grid], states(grid)


def test_pfdiff_rests_between_the_levels_at_which_it_asks() -> None:
    asked = np.geomspace(20, 0.05, 7)
    rests = [asked[0], *np.sqrt(asked[:-1] * asked[1:])[:-1], asked[-1]]
    x = states(tuple(NoiseLevel(1.0, s) for s in asked))
    e = slope(x, asked[0])
    y = x + (rests[1] - asked[0]) * e  # the first slope leads to the first rest
    for rest, spring, after in zip(rests[1:], asked[1:], rests[2:], strict=False):
        e = slope(y + (spring - rest) * e, spring)
        y = y + (after - rest) * e
    found = solve(PLANE, x, [NoiseLevel(1.0, s) for s in asked], "pfdiff").state
    same(found, y)


@pytest.mark.parametrize("parts", [2, 3])
def test_rx_extrapolates_fine_and_coarse_steps(parts: int) -> None:
    grid, sigmas, x = edm()
    y = x
    for s, t in itertools.pairwise(sigmas):
        fine, inner = y, np.geomspace(s, t, parts + 1)
        coarse = y + (t - s) * slope(y, s)
        for a, b in itertools.pairwise(inner):
            fine = fine + (b - a) * slope(fine, a)
        r = np.sum((np.diff(inner) / (t - s)) ** 2)
        y = (fine - r * coarse) / (1 - r)
    same(solve(PLANE, x, grid, f"rx-{parts}").state, y)


@pytest.mark.parametrize("stages", [((0.4, 1.02),), ((0.3, 0.41), (0.8, 0.58))])
def test_parallel_slopes_with_scaled_directions(stages: tuple[tuple[float, float], ...]) -> None:
    grid, sigmas, x = edm()
    y = x
    for s, t in itertools.pairwise(sigmas):
        first, total = slope(y, s), 0.0
        for r, w in stages:
            middle = t**r * s ** (1 - r)
            total = total + w * slope(y + (middle - s) * first, middle)
        y = y + (t - s) * total
    solver = Parallel("parallel", stages)
    same(solve(PLANE, x, grid, solver).state, y)
    assert solver.order == (0 if not math.isclose(sum(w for _, w in stages), 1) else 1)


@pytest.mark.parametrize("process", [EDM, VP_LINEAR, FLOW], ids=lambda p: p.name)
def test_amed_in_the_middle_is_dpm_solver_2(process) -> None:
    same(end("amed@1/2", process, zero=True), end("dpm-2", process, zero=True))
