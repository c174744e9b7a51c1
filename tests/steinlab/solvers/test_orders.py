"""Observed global orders against the declared ones, and wrong coefficients rejected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from analytic import NoiseLevel
from steinlab.diffusion.processes import EDM, Process
from steinlab.solvers import (
    DPMPP_3M_EXACT,
    EULER,
    SOLVER_IDS,
    LinearMultistep,
    LinearStep,
    get_solver,
    lowered,
    make_plan,
    matching_start,
)
from steinlab.solvers.heun import Heun
from steinlab.solvers.parallel import Parallel
from steinlab.solvers.richardson import Richardson
from steinlab.solvers.runge_kutta import RungeKutta
from steinlab.solvers.single import Dpm2, SingleStep
from steinlab.solvers.unit_speed import UnitSpeed
from tests.steinlab.solvers.cases import (
    GRIDS_MEASURED,
    ORDER_TOLERANCE,
    PROCESSES_MEASURED,
    logsnr,
    observed_order,
    quadratic,
)

CASES = [
    pytest.param(process, ratios, id=f"{process.name}-{ratios.__name__}")
    for process in PROCESSES_MEASURED
    for ratios in GRIDS_MEASURED
]
NOT_EULER = [n for n in SOLVER_IDS if get_solver(n, EDM).order > 1]
Ratios = Callable[[int], np.ndarray]


@pytest.mark.parametrize(("process", "ratios"), CASES)
@pytest.mark.parametrize("name", SOLVER_IDS)
def test_order_started_by_itself(name: str, process: Process, ratios: Ratios) -> None:
    solver = get_solver(name, process)
    seen = observed_order(lambda _: solver, process, ratios)
    assert seen == pytest.approx(solver.order, abs=ORDER_TOLERANCE)


@pytest.mark.parametrize(("process", "ratios"), CASES)
@pytest.mark.parametrize("name", [n for n in SOLVER_IDS if matching_start(get_solver(n, EDM))])
def test_order_with_a_matching_start(name: str, process: Process, ratios: Ratios) -> None:
    solver = get_solver(name, process)
    assert isinstance(solver, LinearMultistep)
    plan = lambda n: make_plan(solver, n, start=matching_start(solver))  # noqa: E731
    assert plan(4).order == (solver.full_order or solver.order)
    seen = observed_order(plan, process, ratios)
    assert seen == pytest.approx(plan(4).order, abs=ORDER_TOLERANCE)


@pytest.mark.parametrize("ratios", GRIDS_MEASURED)
@pytest.mark.parametrize("fraction", ["0.2", "1/3", "0.8", "1"])
@pytest.mark.parametrize("name", ["dpm-2", "dpmpp-2s"])
def test_order_with_the_stage_anywhere(name: str, fraction: str, ratios: Ratios) -> None:
    solver = get_solver(f"{name}@{fraction}", EDM)
    assert observed_order(lambda _: solver, EDM, ratios) == pytest.approx(2, abs=ORDER_TOLERANCE)
    plan = lambda _: PerturbedDrive(solver)  # noqa: E731
    assert observed_order(plan, EDM, ratios) < 2 - ORDER_TOLERANCE


@pytest.mark.parametrize("nodes", [2, 3, 4])
def test_ipndm_has_the_order_of_its_weights_on_even_grids_only(nodes: int) -> None:
    solver = get_solver(f"ipndm-{nodes}")
    plan = lambda n: make_plan(  # noqa: E731
        solver, n, start=matching_start(get_solver(f"ipndm-v-{nodes}"))
    )
    even = lambda n: np.linspace(1.0, 0.3, n + 1)  # noqa: E731
    assert observed_order(plan, EDM, even) == pytest.approx(nodes, abs=ORDER_TOLERANCE)


def test_one_euler_step_at_the_start_or_the_end_caps_the_order_at_two() -> None:
    third = matching_start(DPMPP_3M_EXACT)
    capped = lambda n: make_plan(DPMPP_3M_EXACT, n, start=(EULER, *third[1:]))  # noqa: E731
    ended = lambda n: make_plan(  # noqa: E731
        DPMPP_3M_EXACT, n, start=third, finish=lowered(DPMPP_3M_EXACT, 2, 1)
    )
    for plan in (capped, ended):
        assert plan(8).order == 2
        assert observed_order(plan, EDM, logsnr) == pytest.approx(2, abs=ORDER_TOLERANCE)


@dataclass(frozen=True)
class Perturbed:
    """A solver whose last coefficient is 5 % off; a constant denoiser is still integrated."""

    inner: Any

    def __call__(self, levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> LinearStep:
        step = self.inner.weights(levels, t)
        if len(levels) < 2 and not step.corrector:
            return step
        if len(step.betas) > 1:
            off = 0.05 * step.betas[-1]
            betas = (step.betas[0] - off, *step.betas[1:-1], step.betas[-1] + off)
            step = replace(step, betas=betas)
        if step.corrector:
            off = 0.05 * step.corrector[-1]
            gain = (step.corrector[0] - off, *step.corrector[1:-1], step.corrector[-1] + off)
            step = replace(step, corrector=gain)
        return step


@dataclass(frozen=True)
class PerturbedDrive:
    """A solver with stages whose correction of the Euler step is 5 % off."""

    inner: Any
    depth: int = 0
    ends_at_zero: bool = True
    name: str = "perturbed"

    @property
    def order(self) -> int:
        return int(self.inner.order)

    def evaluations(self, t: NoiseLevel) -> int:
        return int(self.inner.evaluations(t))

    def step(self, denoiser: Any, x: Any, s: Any, t: Any, history: Any) -> Any:
        right = self.inner.step(denoiser, x, s, t, history)
        euler = EULER.step(denoiser, x, s, t, history)
        bend = 1.05 * (right.state - euler.state)
        return replace(right, state=euler.state + bend, residual=euler.residual - bend)


def wrong(solver: Any) -> Any:
    if isinstance(solver, LinearMultistep):
        return replace(solver, weights=Perturbed(solver))
    staged = Heun | Dpm2 | SingleStep | RungeKutta | UnitSpeed | Parallel | Richardson
    assert isinstance(solver, staged)
    return PerturbedDrive(solver)


@pytest.mark.parametrize("ratios", GRIDS_MEASURED)
@pytest.mark.parametrize("name", NOT_EULER)
def test_a_coefficient_five_percent_off_is_rejected(name: str, ratios: Ratios) -> None:
    solver = get_solver(name, EDM)
    plan = lambda n: make_plan(  # noqa: E731
        wrong(solver), n, start=matching_start(solver)
    )
    declared = make_plan(solver, 4, start=matching_start(solver)).order
    assert abs(observed_order(plan, EDM, ratios) - declared) > ORDER_TOLERANCE


def test_a_first_order_coefficient_off_is_rejected() -> None:
    def weights(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> LinearStep:
        step = EULER.weights(levels, t)
        return replace(step, betas=(1.05 * step.betas[0],))

    solver = replace(EULER, weights=weights)
    assert observed_order(lambda _: solver, EDM, quadratic) < 1 - ORDER_TOLERANCE
