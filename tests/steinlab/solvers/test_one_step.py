"""Students: their teacher's steps in one, what they cost, and what the kit says of them."""

from __future__ import annotations

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from steinlab import coefficients
from steinlab.coefficient.divergence import Exact
from steinlab.diffusion.processes import EDM, FLOW, VP_LINEAR
from steinlab.errors import InputError
from steinlab.solvers import EULER, get_solver
from steinlab.solvers.loop import solve
from steinlab.solvers.one_step import target
from steinlab.solvers.plans import evaluations_on
from steinlab.solvers.step import Step
from steinlab.testing import check_solver
from tests.steinlab.solvers.cases import PLANE, same, states, uneven_grid

NAMES = pytest.mark.parametrize("name", ["distilled@3", "shortcut@4"])


def between(name: str, s: NoiseLevel, t: NoiseLevel, process) -> list[NoiseLevel]:
    """The teacher's levels, typed anew."""
    parts, share = int(name[-1]), np.linspace(0, 1, int(name[-1]) + 1)[1:-1]
    if name.startswith("distilled"):
        ratios = (s.ratio ** (1 / 7) * (1 - share) + t.ratio ** (1 / 7) * share) ** 7
    else:
        times = s.ratio / (1 + s.ratio) * (1 - share) + t.ratio / (1 + t.ratio) * share
        ratios = times / (1 - times)
    assert len(ratios) == parts - 1
    return [s, *(process.level_at(float(r)) for r in ratios), t]


@NAMES
@pytest.mark.parametrize("process", [EDM, VP_LINEAR, FLOW], ids=lambda p: p.name)
def test_a_student_is_its_teachers_run(name: str, process) -> None:
    grid = uneven_grid(process, 3)
    x = y = states(grid)
    for s, t in zip(grid, [*grid[1:-1], NoiseLevel(1.0, 0.0)], strict=False):
        y = solve(PLANE, y, between(name, s, t, process), "euler").state
    solver = get_solver(name, process)
    ends = [*grid[:-1], NoiseLevel(1.0, 0.0)]
    run = solve(PLANE, x, ends, solver)
    same(run.state, y)
    assert run.evaluations == evaluations_on(solver, ends) == int(name[-1]) * (len(grid) - 1)
    same(solve(PLANE, x, ends, name).state, y)  # off the process: another alpha, the same ratios


@NAMES
def test_residual_and_divergence(name: str) -> None:
    grid = uneven_grid(FLOW, 2)
    step = Step.take(PLANE, get_solver(name, FLOW), states(grid), *grid[:2])
    same(step.candidate.residual, step.x - step.candidate.state)
    same(step.candidate.denoised, PLANE(step.x, grid[0]))
    found, h = Exact()(step, np.random.default_rng(0)), 1e-5
    ways = (h * np.eye(step.dim))[:, None, None]
    moved = [
        step.residual(step.x + w[0], PLANE) - step.residual(step.x - w[0], PLANE) for w in ways
    ]
    slopes = sum(m[..., k] for k, m in enumerate(moved)) / (2 * h)
    np.testing.assert_allclose(found, slopes, atol=1e-6)


def test_the_target_takes_one_step_to_the_end() -> None:
    grid = uneven_grid(VP_LINEAR, 3)
    x = states(grid)
    end = solve(PLANE, x, grid, "euler").state
    output = target(x, end, grid[0], grid[-1])
    same(EULER.step(lambda *_: output, x, grid[0], grid[-1], ()).state, end)


@pytest.mark.parametrize(
    "name", ["distilled@1", "shortcut@2.5", "distilled@9000", "shortcut@\u00b2"]
)
def test_a_student_takes_a_whole_number_of_steps(name: str) -> None:
    with pytest.raises(InputError, match=r"solver: K must be a whole number in 2 to 8192 for"):
        get_solver(name, EDM)


def test_students_pass_the_kit_as_what_they_are() -> None:
    check_solver(get_solver("distilled@2", EDM), order=1)
    size = {"scale": "its teacher's steps are even in the flow's time"}
    check_solver(get_solver("shortcut@2", FLOW), order=1, xfail=size)


def test_every_route_to_the_coefficient_takes_a_student() -> None:
    s, t = NoiseLevel(1.0, 20.0), NoiseLevel(1.0, 0.0)
    found = coefficients(
        GaussianMixture([0.4, 0.6], [-1.0, 1.5], [0.09, 0.25]), s, t, "distilled@4"
    )
    values = [found[route].value for route in ("reference", "stein", "tweedie")]
    np.testing.assert_allclose(values, values[0], rtol=1e-12)
    assert values[0] == pytest.approx(1.0312914346507, rel=1e-12)
