"""k-diffusion's formulas (without noise), typed anew: independent oracles on a VE grid to zero.

The package is not needed. Its solvers work in ``t = -log sigma`` and end at zero with ``x = D``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad

from steinlab.solvers import (
    DPMPP_2M_HEUN,
    DPMPP_3M,
    EULER,
    Plan,
    Solver,
    get_solver,
    make_plan,
)
from steinlab.solvers.loop import solve
from tests.peers import drive
from tests.steinlab.solvers.cases import PLANE, states

SIGMAS = [*drive.spaced(40.0, 0.02, 8, bend=-0.4), 0.0]
GRID = drive.levels(SIGMAS, drive.ve)
AGREEMENT = 1e-13


def model(x: Any, sigma: float) -> Any:
    return PLANE(x, drive.ve(sigma))


def dpmpp_2m(x: Any) -> Any:
    old = None
    for i, (sigma, after) in enumerate(itertools.pairwise(SIGMAS)):
        denoised = model(x, sigma)
        if after == 0:
            return denoised
        h = math.log(sigma) - math.log(after)
        mixed = denoised
        if old is not None:
            r = (math.log(SIGMAS[i - 1]) - math.log(sigma)) / h
            mixed = (1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * old
        x, old = after / sigma * x - math.expm1(-h) * mixed, denoised
    raise AssertionError


def dpmpp_3m(x: Any) -> Any:
    """The 3M-SDE at ``eta = 0``; its second step is the heun form."""
    past: list[tuple[float, Any]] = []
    for sigma, after in itertools.pairwise(SIGMAS):
        denoised = model(x, sigma)
        if after == 0:
            return denoised
        h = math.log(sigma / after)
        x = math.exp(-h) * x - math.expm1(-h) * denoised
        phi_2 = math.expm1(-h) / h + 1
        if len(past) == 1:
            x = x + phi_2 * (denoised - past[0][1]) / (past[0][0] / h)
        elif past:
            (h1, m1), (h2, m2) = past
            r0, r1 = h1 / h, h2 / h
            d10, d11 = (denoised - m1) / r0, (m1 - m2) / r1
            d1 = d10 + (d10 - d11) * r0 / (r0 + r1)
            d2 = (d10 - d11) / (r0 + r1)
            x = x + phi_2 * d1 - (phi_2 / h - 0.5) * d2
        past = [(h, denoised), *past][:2]
    raise AssertionError


def dpmpp_2s(x: Any) -> Any:
    for sigma, after in itertools.pairwise(SIGMAS):
        denoised = model(x, sigma)
        if after == 0:
            return denoised
        t, t_next = -math.log(sigma), -math.log(after)
        middle = math.exp(-(t + 0.5 * (t_next - t)))
        x2 = middle / sigma * x - math.expm1(-(t_next - t) * 0.5) * denoised
        x = after / sigma * x - math.expm1(-(t_next - t)) * model(x2, middle)
    raise AssertionError


def with_slopes(second: Callable[[Any, Any, float, float], Any]) -> Callable[[Any], Any]:
    def run(x: Any) -> Any:
        for sigma, after in itertools.pairwise(SIGMAS):
            d = (x - model(x, sigma)) / sigma
            x = x + d * (after - sigma) if after == 0 else second(x, d, sigma, after)
        return x

    return run


def heun(x: Any, d: Any, sigma: float, after: float) -> Any:
    x2 = x + d * (after - sigma)
    return x + 0.5 * (d + (x2 - model(x2, after)) / after) * (after - sigma)


def dpm_2(x: Any, d: Any, sigma: float, after: float) -> Any:
    middle = math.exp(0.5 * (math.log(sigma) + math.log(after)))
    x2 = x + d * (middle - sigma)
    return x + (x2 - model(x2, middle)) / middle * (after - sigma)


def lms(order: int) -> Callable[[Any], Any]:
    def run(x: Any) -> Any:
        slopes: list[Any] = []
        for i, (sigma, after) in enumerate(itertools.pairwise(SIGMAS)):
            slopes = [(x - model(x, sigma)) / sigma, *slopes][:order]
            nodes = [SIGMAS[i - j] for j in range(len(slopes))]
            for j, d in enumerate(slopes):

                def basis(tau: float, j: int = j, nodes: list[float] = nodes) -> float:
                    rest = (s for k, s in enumerate(nodes) if k != j)
                    return math.prod((tau - s) / (nodes[j] - s) for s in rest)

                x = x + quad(basis, sigma, after, epsrel=1e-13)[0] * d
        return x

    return run


CASES: list[tuple[Solver | Plan, Callable[[Any], Any]]] = [
    (get_solver("dpmpp-2m"), dpmpp_2m),
    (make_plan(DPMPP_3M, 9, start=(EULER, DPMPP_2M_HEUN)), dpmpp_3m),
    (get_solver("dpmpp-2s"), dpmpp_2s),
    (get_solver("heun"), with_slopes(heun)),
    (get_solver("dpm-2"), with_slopes(dpm_2)),
    *((get_solver(f"ipndm-v-{n}"), lms(n)) for n in (1, 2, 3, 4)),
]


@pytest.mark.parametrize(("solver", "formula"), CASES, ids=lambda c: getattr(c, "name", ""))
def test_agrees_with_the_formula(solver: Solver | Plan, formula: Callable[[Any], Any]) -> None:
    x = states(GRID)
    state = np.asarray(solve(PLANE, x, GRID, solver).state)
    assert drive.gap(state, formula(x)) < AGREEMENT
