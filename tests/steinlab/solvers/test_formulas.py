"""Each solver against the formula of the literature, written out by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad

from analytic import NoiseLevel
from steinlab.diffusion.processes import EDM, FLOW, VP_COSINE, VP_LINEAR, Process
from steinlab.solvers import (
    SOLVER_IDS,
    Evaluation,
    get_solver,
)
from tests.steinlab.solvers.cases import EVERY_PROCESS, PLANE, end, same, states, uneven_grid


def vp_coordinates(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> tuple[Any, ...]:
    lam = [math.log(level.alpha / level.sigma) for level in (t, *levels)]
    return lam[0] - lam[1], lam, levels[0], t


def published_2m(levels: tuple[NoiseLevel, ...], t: NoiseLevel, m: list[Any], heun: bool) -> Any:
    h, lam, _, _ = vp_coordinates(levels, t)
    phi_1 = math.expm1(-h)
    d10 = (m[0] - m[1]) * h / (lam[1] - lam[2])
    return -phi_1 * m[0] + ((phi_1 / h + 1) * d10 if heun else -0.5 * phi_1 * d10)


def published_3m(levels: tuple[NoiseLevel, ...], t: NoiseLevel, m: list[Any], c: float) -> Any:
    h, lam, _, _ = vp_coordinates(levels, t)
    phi_1 = math.expm1(-h)
    phi_2 = phi_1 / h + 1
    phi_3 = phi_2 / h - 0.5
    r0, r1 = (lam[1] - lam[2]) / h, (lam[2] - lam[3]) / h
    d10, d11 = (m[0] - m[1]) / r0, (m[1] - m[2]) / r1
    d1 = d10 + r0 / (r0 + r1) * (d10 - d11)
    d2 = (d10 - d11) / (r0 + r1)
    return -phi_1 * m[0] + phi_2 * d1 - c * phi_3 * d2


def unified(
    levels: tuple[NoiseLevel, ...], t: NoiseLevel, m: list[Any], variant: str, solve_all: bool
) -> Any:
    """UniP of UniPC's paper with every coefficient solved for, or with ``rho = 1/2``."""
    h, lam, _, _ = vp_coordinates(levels, t)
    p, hh = len(levels), -h
    b_h = math.expm1(hh) if variant == "bh2" else hh
    r = [(lam[j + 1] - lam[1]) / h for j in range(1, p)]
    psi, b, factorial = math.expm1(hh) / hh - 1, [], 1
    for k in range(1, p):
        b.append(psi * factorial / b_h)
        factorial *= k + 1
        psi = psi / hh - 1 / factorial
    matrix = np.array([[rj ** (k - 1) for rj in r] for k in range(1, p)])
    rho = np.linalg.solve(matrix, b) if solve_all else [0.5]
    slopes = [(m[j] - m[0]) / r[j - 1] for j in range(1, p)]
    return -math.expm1(hh) * m[0] - b_h * sum(x * y for x, y in zip(rho, slopes, strict=True))


def step_of(solver: Any, grid: Any, process: Process, width: int) -> tuple[Any, Any, Any, Any]:
    """One step with a full history of independent outputs, and the pieces to redo it by hand."""
    levels = tuple(reversed(grid[1 : 1 + width]))
    t = grid[1 + width]
    rng = np.random.default_rng(1)
    entries = [Evaluation(level, *rng.standard_normal((2, 4, 2))) for level in levels]
    x = entries[0].state

    def denoiser(state: Any, level: NoiseLevel) -> Any:
        assert level == levels[0]
        assert state is x
        return entries[0].denoised

    candidate = solver.step(denoiser, x, levels[0], t, tuple(entries[1:]))
    kappa = t.sigma / levels[0].sigma
    return (candidate.state - kappa * x) / t.alpha, levels, t, [e.denoised for e in entries]


@pytest.mark.parametrize("process", EVERY_PROCESS)
@pytest.mark.parametrize(
    ("name", "width", "by_hand"),
    [
        ("dpmpp-2m", 2, lambda *a: published_2m(*a, heun=False)),
        ("dpmpp-2m-heun", 2, lambda *a: published_2m(*a, heun=True)),
        ("dpmpp-2m-heun", 2, lambda *a: unified(*a, "bh1", solve_all=True)),
        ("dpmpp-2m-heun", 2, lambda *a: unified(*a, "bh2", solve_all=True)),
        ("dpmpp-3m", 3, lambda *a: published_3m(*a, c=1.0)),
        ("dpmpp-3m-exact", 3, lambda *a: published_3m(*a, c=2.0)),
        ("unipc-2", 2, lambda *a: unified(*a, "bh2", solve_all=False)),
        ("unipc-2-bh1", 2, lambda *a: unified(*a, "bh1", solve_all=False)),
        ("unipc-3", 3, lambda *a: unified(*a, "bh2", solve_all=True)),
        ("unipc-3-bh1", 3, lambda *a: unified(*a, "bh1", solve_all=True)),
        ("unipc-3", 3, lambda *a: published_3m(*a, c=2.0)),
    ],
)
def test_step_by_the_published_formula(
    process: Process, name: str, width: int, by_hand: Callable[..., Any]
) -> None:
    drive, levels, t, outputs = step_of(get_solver(name), uneven_grid(process), process, width)
    same(drive, by_hand(levels, t, outputs))


def integral_in(clock: Callable[[float], float], levels: Any, t: NoiseLevel, j: int) -> float:
    """``int l_j ds`` by adaptive quadrature, the Lagrange basis on the clock's values."""
    nodes = [clock(level.ratio) for level in levels]

    def basis(s: float) -> float:
        others = (c for i, c in enumerate(nodes) if i != j)
        return math.prod((clock(s) - c) / (nodes[j] - c) for c in others)

    return float(quad(basis, levels[0].ratio, t.ratio, epsabs=1e-13, epsrel=1e-13, limit=200)[0])


CLOCKS: dict[str, Callable[[Process], Callable[[float], float]]] = {
    "deis-rho": lambda _: lambda s: s,
    "ipndm-v": lambda _: lambda s: s,
    "deis-log": lambda _: math.log,
    "deis-tab": lambda process: lambda s: float(process.time(s)),
}


@pytest.mark.parametrize("process", EVERY_PROCESS)
@pytest.mark.parametrize(
    "name",
    [n for n in SOLVER_IDS if n.rpartition("-")[0] in CLOCKS and not n.endswith("-1")],
)
def test_adams_step_by_quadrature(process: Process, name: str) -> None:
    solver = get_solver(name, process)
    width = solver.width
    levels = tuple(reversed(uneven_grid(process)[1 : 1 + width]))
    t = uneven_grid(process)[1 + width]
    rng = np.random.default_rng(1)
    entries = [Evaluation(level, *rng.standard_normal((2, 4, 2))) for level in levels]
    x = entries[0].state
    state = solver.step(lambda *_: entries[0].denoised, x, levels[0], t, tuple(entries[1:])).state
    clock = CLOCKS[name.rpartition("-")[0]](process)
    y = x / levels[0].alpha
    for j, entry in enumerate(entries):
        d = (entry.state - entry.level.alpha * entry.denoised) / entry.level.sigma
        y = y + integral_in(clock, levels, t, j) * d
    np.testing.assert_allclose(state, t.alpha * y, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("process", [VP_LINEAR, VP_COSINE, FLOW], ids=lambda p: p.name)
def test_time_quadrature_reaches_zero_noise(process: Process) -> None:
    levels = tuple(process.level_at(s) for s in (0.01, 0.3))
    (solver,) = [get_solver("deis-tab-2", process)]
    step = solver.weights(levels, NoiseLevel(1.0, 0.0))
    clock = CLOCKS["deis-tab"](process)
    by_quad = integral_in(clock, levels, NoiseLevel(1.0, 0.0), 1)
    assert step.zetas[0] * levels[1].sigma == pytest.approx(by_quad, rel=1e-7)


@pytest.mark.parametrize("process", EVERY_PROCESS)
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_unipc_by_the_published_algorithm(process: Process, variant: str, p: int) -> None:
    """Restart each corrected step from the last corrected state, as the authors' code does."""
    grid = uneven_grid(process, 7)
    corrected = predicted = states(grid)
    levels: list[NoiseLevel] = []
    outputs: list[np.ndarray] = []
    for i, t in enumerate(grid[1:]):
        m = PLANE(predicted, grid[i])
        if i:
            corrected = corrector(corrected, levels[:p], outputs[:p], (grid[i], m), variant)
        levels, outputs = [grid[i], *levels], [m, *outputs]
        order = min(p, len(levels))
        held = tuple(levels[:order])
        kappa = t.sigma / grid[i].sigma
        drive = (
            -math.expm1(-vp_coordinates(held, t)[0]) * m
            if order == 1
            else unified(held, t, outputs[:order], variant, solve_all=order > 2)
        )
        predicted = kappa * corrected + t.alpha * drive
    name = f"unipc-{p}" + ("-bh1" if variant == "bh1" else "")
    same(end(name, process, steps=7), predicted)


def corrector(
    x: np.ndarray,
    levels: list[NoiseLevel],
    outputs: list[np.ndarray],
    new: tuple[NoiseLevel, np.ndarray],
    variant: str,
) -> np.ndarray:
    t, m_t = new
    h, lam, s, _ = vp_coordinates(tuple(levels), t)
    p, hh = len(levels), -h
    b_h = math.expm1(hh) if variant == "bh2" else hh
    r = [(lam[j + 1] - lam[1]) / h for j in range(1, p)] + [1.0]
    slopes = [(outputs[j] - outputs[0]) / r[j - 1] for j in range(1, p)] + [m_t - outputs[0]]
    psi, b, factorial = math.expm1(hh) / hh - 1, [], 1
    for k in range(1, p + 1):
        b.append(psi * factorial / b_h)
        factorial *= k + 1
        psi = psi / hh - 1 / factorial
    matrix = np.array([[rj ** (k - 1) for rj in r] for k in range(1, p + 1)])
    rho = [0.5] if p == 1 else np.linalg.solve(matrix, b)
    pull = sum(x * y for x, y in zip(rho, slopes, strict=True))
    drive = -math.expm1(hh) * outputs[0] - b_h * pull
    return np.asarray(t.sigma / s.sigma * x + t.alpha * drive)


@pytest.mark.parametrize("process", EVERY_PROCESS)
def test_dpm_2_in_noise_form(process: Process) -> None:
    grid = uneven_grid(process)
    x = states(grid)
    for s, t in itertools.pairwise(grid):
        middle = process.level_at(math.sqrt(s.ratio * t.ratio))
        h = math.log(s.ratio / t.ratio)
        eps = (x - s.alpha * PLANE(x, s)) / s.sigma
        u = middle.alpha / s.alpha * x - middle.sigma * math.expm1(h / 2) * eps
        eps = (u - middle.alpha * PLANE(u, middle)) / middle.sigma
        x = t.alpha / s.alpha * x - t.sigma * math.expm1(h) * eps
    same(end("dpm-2", process), x)


@pytest.mark.parametrize("process", EVERY_PROCESS)
@pytest.mark.parametrize("taylor", [False, True])
def test_single_step_third_order_as_in_the_authors_code(process: Process, taylor: bool) -> None:
    grid = uneven_grid(process)
    x = states(grid)
    r1, r2 = 1 / 3, 2 / 3
    for s, t in itertools.pairwise(grid):
        h = math.log(s.ratio / t.ratio)
        a, b = (process.level_at(s.ratio * math.exp(-r * h)) for r in (r1, r2))
        phi_11, phi_12, phi_1 = math.expm1(-r1 * h), math.expm1(-r2 * h), math.expm1(-h)
        phi_22, phi_2 = phi_12 / (r2 * h) + 1, phi_1 / h + 1
        phi_3 = phi_2 / h - 0.5
        m = PLANE(x, s)
        m_a = PLANE(a.sigma / s.sigma * x - a.alpha * phi_11 * m, a)
        u = b.sigma / s.sigma * x - b.alpha * phi_12 * m + r2 / r1 * b.alpha * phi_22 * (m_a - m)
        m_b = PLANE(u, b)
        x = t.sigma / s.sigma * x - t.alpha * phi_1 * m
        if taylor:
            low, high = (m_a - m) / r1, (m_b - m) / r2
            x = x + t.alpha * phi_2 * (r2 * low - r1 * high) / (r2 - r1)
            x = x - t.alpha * phi_3 * 2 * (high - low) / (r2 - r1)
        else:
            x = x + t.alpha / r2 * phi_2 * (m_b - m)
    same(end("dpmpp-3s-taylor" if taylor else "dpmpp-3s", process), x)


@pytest.mark.parametrize("process", EVERY_PROCESS)
def test_2s_and_heun_by_hand(process: Process) -> None:
    grid = uneven_grid(process)
    x, y = states(grid), states(grid) / grid[0].alpha
    for s, t in itertools.pairwise(grid):
        middle = process.level_at(math.sqrt(s.ratio * t.ratio))
        h = math.log(s.ratio / t.ratio)
        u = middle.sigma / s.sigma * x - middle.alpha * math.expm1(-h / 2) * PLANE(x, s)
        x = t.sigma / s.sigma * x - t.alpha * math.expm1(-h) * PLANE(u, middle)
        d = (y - PLANE(s.alpha * y, s)) / s.ratio
        euler = y + (t.ratio - s.ratio) * d
        y = y + (t.ratio - s.ratio) * 0.5 * (d + (euler - PLANE(t.alpha * euler, t)) / t.ratio)
    same(end("dpmpp-2s", process), x)
    same(end("heun", process), y * grid[-1].alpha)


def test_dpm_2_is_its_formula_wherever_the_stage_lies() -> None:
    s, t, fraction, x = 2.0, 0.7, 0.3, np.array([[0.5, -1.2]])
    m = s * (t / s) ** fraction
    first = np.sin(x) + s
    output = np.sin(m / s * x + (1 - m / s) * first) + m
    weight = t * (s / t - 1) / (2 * fraction * m)
    expected = t / s * x + (1 - t / s) * first + weight * (output - first)
    solver = get_solver(f"dpm-2@{fraction}", EDM)
    step = solver.step(
        lambda x, level: np.sin(x) + level.sigma, x, NoiseLevel(1, s), NoiseLevel(1, t), ()
    )
    np.testing.assert_allclose(step.state, expected, rtol=1e-13)
