"""Checks of denoisers and corrections, the trace of a run, and the decorator."""

from __future__ import annotations

import dataclasses
import itertools
import pkgutil
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import steinlab.testing
from analytic import GaussianMixture, NoiseLevel
from steinlab.corrections import CORRECTIONS
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import EDM
from steinlab.solvers import EULER, make_plan
from steinlab.solvers.step import Diagnostics
from steinlab.testing import (
    ConformanceError,
    check_correction,
    check_denoiser,
    identify,
    parametrize_with_checks,
    trace,
)
from steinlab.testing.adapters import Known, _ends, as_subject, kind_of
from steinlab.testing.bench import MEAN, Bench
from steinlab.testing.causes import _stage
from steinlab.testing.check import require_runs
from steinlab.testing.components import _levelled
from steinlab.testing.methods import _Stages, local_order
from steinlab.testing.noise import Seeded
from steinlab.testing.reading import read
from steinlab.testing.subject import SubjectError
from tests.steinlab.testing import loops
from tests.steinlab.testing.told import held

LAW = GaussianMixture([0.4, 0.6], [[-1.0, 0.2], [1.0, -0.3]], [0.2, 0.4])


class Wrong:
    """An exact denoiser with one thing broken."""

    def __init__(self, **broken: Any):
        self.broken = broken

    def __call__(self, x: Any, level: Any) -> Any:
        if "call" in self.broken:
            return self.broken["call"](x, level)
        return LAW(x, level)

    def jvp(self, x: Any, level: Any, v: Any) -> Any:
        return self.broken.get("jvp", 1.0) * LAW.jvp(x, level, v)

    def divergence(self, x: Any, level: Any) -> Any:
        return self.broken.get("divergence", 1.0) * LAW.divergence(x, level)


def in_place(x: Any, level: Any) -> Any:
    x += 0.0 * x + 1e-3
    return LAW(x, level)


DENOISERS = {
    "finite": Wrong(call=lambda x, level: LAW(x, level) + (np.nan if level.sigma > 50 else 0.0)),
    "input-kept": Wrong(call=in_place),
    "dtype": Wrong(call=lambda x, level: LAW(x, level).astype(np.float64)),
    "deterministic": Wrong(call=lambda x, level: LAW(x, level) + np.random.default_rng().random()),
    "each-state-alone": Wrong(call=lambda x, level: LAW(x, level) + 1e-3 * x.mean(axis=0)),
    "level-per-state": Wrong(
        call=lambda x, level: LAW(
            x, NoiseLevel(*(np.ravel(a)[0] for a in (level.alpha, level.sigma)))
        )
    ),
    "jvp": Wrong(jvp=1.001),
    "divergence": Wrong(divergence=1.001),
    "posterior-mean": Wrong(call=lambda x, level: LAW(x, level) * (1 + 1e-6)),
}


@pytest.mark.parametrize("check", DENOISERS)
def test_a_broken_denoiser_is_rejected(check: str) -> None:
    with pytest.raises(ConformanceError) as caught:
        check_denoiser(DENOISERS[check], law=LAW)
    assert check in {row.check for row in caught.value.rows if row.verdict == "fails"}
    if check != "deterministic":  # it draws
        held(f"denoiser: {check}", caught.value.rows)


def test_an_exact_law_conforms() -> None:
    rows = check_denoiser(LAW, law=LAW)
    assert {row.verdict for row in rows} == {"ok"}
    held("denoiser: exact", rows)


@dataclasses.dataclass
class Half:
    """Half the way, with one thing broken."""

    broken: str = ""
    name: str = "half"

    def __call__(self, step: Any, rng: Any) -> Any:
        del rng
        gamma, u = 0.5, step.candidate.residual
        state = step.x - gamma * u
        if self.broken == "finite" and step.t.sigma == 0:
            state = state * np.nan
        if self.broken == "input-kept":
            step.x[:] = 0.0
        if self.broken == "deterministic":
            state = state + 1e-3 * np.random.default_rng().random()
        if self.broken == "told-coefficient":
            gamma = 0.6
        return state, Diagnostics(gamma)


@pytest.mark.parametrize("check", ["finite", "input-kept", "deterministic", "told-coefficient"])
def test_a_broken_correction_is_rejected(check: str) -> None:
    with pytest.raises(ConformanceError) as caught:
        check_correction(Half(check))
    assert check in {row.check for row in caught.value.rows if row.verdict == "fails"}
    if check != "deterministic":  # it draws
        held(f"correction: {check}", caught.value.rows)


@pytest.mark.parametrize("name", ["none", "stein", "tweedie"])
def test_our_corrections_conform(name: str) -> None:
    assert name in CORRECTIONS
    rows = check_correction(name)
    assert {row.verdict for row in rows} <= {"ok", "declined"}
    held(f"correction: {name}", rows)


def test_the_trace_adds_up_and_finds_the_step() -> None:
    grid = make_grid("edm", "karras", 10)
    x = grid[0].noised(LAW.sample(50, np.random.default_rng(0)), np.random.default_rng(1))
    found = trace(loops.dpmpp_2m(), LAW, grid, x)
    assert sum(one.share for one in found.steps) == pytest.approx(1.0, abs=1e-6)

    def broken(model: Any, x: Any, sigmas: Any) -> Any:
        for i in range(len(sigmas) - 1):
            s, t = sigmas[i], sigmas[i + 1]
            d = model(x, s)
            x = t / s * x + (1 - t / s) * d * (1.3 if i == 6 else 1.0)
        return x

    pairs = zip(
        trace(broken, LAW, grid, x).steps, trace(loops.euler, LAW, grid, x).steps, strict=True
    )
    grown = [one.local / other.local for one, other in pairs]
    assert max(range(10), key=lambda k: grown[k]) == 6


@parametrize_with_checks([loops.euler], order=1)
def test_parametrized(check: Any) -> None:
    check()


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (loops.euler, "loop"),
        (loops.step_levels, "step"),
        (loops.step_sigmas, "step"),
        (loops.flow_midpoint, "velocity"),
        ("heun", "solver"),
        (LAW, "denoiser"),
        (Half(), "correction"),
    ],
)
def test_kinds_are_told_from_signatures(target: Any, kind: str) -> None:
    assert kind_of(target) == kind


def test_what_fits_no_kind_is_refused() -> None:
    with pytest.raises(SubjectError, match="say which with --as"):
        kind_of(lambda a, b, c, d, e: (a, b, c, d, e))
    with pytest.raises(SubjectError, match="must be callable"):
        as_subject(3)


def test_a_loop_that_clips_has_no_name() -> None:
    assert identify(loops.clipped) is None or not identify(loops.clipped).known  # type: ignore[union-attr]


def test_half_a_percent_is_measured_by_name() -> None:
    found = identify(loops.dpmpp_2m(weight=1.005))
    assert found is not None
    assert not found.known
    assert found.name == "dpmpp-2m"
    assert 1e-4 < found.distance < 1e-2


def test_no_module_takes_the_place_of_a_public_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(steinlab.testing.__path__)}
    assert not modules & set(steinlab.testing.__all__)
    assert set(steinlab.testing.__all__) == set(steinlab.testing._FACE)


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (("sigma_start", "sigma_end"), (0, -1)),
        (("sigma_min", "sigma_max"), (-1, 0)),
        (("sigma", "t"), None),
        (("t_min", "t_end"), None),
        (("sigma_start",), None),
    ],
)
def test_an_adaptive_loop_is_given_its_ends_by_name(
    names: tuple[str, ...], places: tuple[int, int] | None
) -> None:
    assert _ends(["model", "x", *names]) == places


def test_a_states_deviation_is_the_noised_laws() -> None:
    bench, level = Bench(as_subject(loops.euler)), NoiseLevel(0.6, 0.8)
    middle, off = bench.gaussian_states(level)
    np.testing.assert_allclose(middle, 0.6 * MEAN)
    np.testing.assert_allclose((off - middle) ** 2, 0.36 * bench.eigenvalues + 0.64)


def test_a_stage_is_placed_inside_its_step() -> None:
    levels = [NoiseLevel(1.0, s) for s in (8.0, 4.0, 1.0, 0.5)]
    asked = [NoiseLevel(1.0, s) for s in (8.0, 6.0, 4.0, 2.0, 1.0, 0.7)]
    reading: Any = SimpleNamespace(levels=levels, asked=asked)
    nearest: Any = SimpleNamespace(name="heun")
    assert "evaluation 2, at 0.5 of the step" in _stage(reading, [0, 2, 4], nearest)
    assert _stage(reading, [0, 2, 3], nearest) == ""  # the step asks once
    reading.levels = levels[:2]
    assert "evaluation 2" in _stage(reading, [0], nearest)
    reading.asked = asked[:1]
    assert _stage(reading, [0], nearest) == ""


def test_a_level_per_state_is_asked_at_one_state_each() -> None:
    levels, noise = [NoiseLevel(1.0, s) for s in (2.0, 0.5)], np.arange(8.0).reshape(4, 2)
    asked = []

    def spy(x: Any, level: NoiseLevel) -> Any:
        asked.append((x, level))
        return LAW(x, level)

    found = _levelled(spy, "spy", levels, noise, lambda level: level.sigma * noise)
    assert found
    assert found[0]
    x, level = asked[-1]
    np.testing.assert_array_equal(level.sigma, [[2.0], [0.5], [2.0], [0.5]])
    np.testing.assert_array_equal(x, level.sigma * noise)


@pytest.mark.parametrize(
    ("state", "sigma", "fits"), [(0.0, 2.0, True), (1e-3, 2.0, False), (0.0, 2.01, False)]
)
def test_a_stage_fits_by_its_state_and_its_level(state: float, sigma: float, fits: bool) -> None:
    reading: Any = SimpleNamespace(rows=np.eye(3), asked=[NoiseLevel(1.0, 2.0)])
    stages = _Stages(reading, 0)
    stages(np.array([[1.0 + state, 0.0, 0.0]]), NoiseLevel(1.0, sigma))
    assert stages.fits == fits


@pytest.mark.parametrize(("solver", "order"), [("euler", 2), ("dpmpp-2m", 3)])
def test_a_steps_defect_shrinks_with_its_order(solver: str, order: int) -> None:
    bench = Bench(as_subject(solver))
    coarse, fine = (bench.read(bench.grid("even", n)) for n in (16, 32))
    assert coarse
    assert fine
    assert local_order(coarse, fine, -1) == pytest.approx(order, abs=0.2)


def test_brownian_increments_have_unit_variance_on_every_interval() -> None:
    source, count = Seeded(0), 20_000
    for start, end in ((3.0, 0.5), (0.5, 0.2), (2.0, 1.3)):
        found = source.between((count,), start, end)
        assert np.mean(found**2) == pytest.approx(1.0, abs=4 * (2 / count) ** 0.5)


def test_a_run_without_an_error_has_no_shares() -> None:
    """The flow of a centred Gaussian leaves its centre where it is, and so does every step."""
    law, levels = (
        GaussianMixture([1.0], [[0.0]], 1.0),
        [NoiseLevel(1.0, s) for s in (2.0, 1.0, 0.5)],
    )
    found = trace("euler", law, levels, np.zeros((1, 1)))
    assert [one.share for one in found.steps] == [0.0, 0.0]
    assert found.total == 0.0


def test_a_sampler_that_never_asks_is_refused_by_its_number_of_steps() -> None:
    def deaf(model: Any, x: Any, sigmas: Any) -> Any:
        return 0.5 * x

    subject = as_subject(deaf)
    for steps in (3, 7):
        levels = tuple(NoiseLevel(1.0, 1.0 + k) for k in range(steps, -1, -1))
        with pytest.raises(SubjectError, match=rf"it did not in {steps} steps"):
            read(subject, levels)


def test_a_sampler_that_ends_at_zero_alone_is_no_bad_input() -> None:
    """It is given the same steps to zero noise: all of them."""
    lengths = []

    def whole(model: Any, x: Any, sigmas: Any) -> Any:
        lengths.append(len(sigmas))
        for s, t in itertools.pairwise(sigmas):
            x = t / s * x + (1 - t / s) * model(x, s)
        return x if sigmas[-1] == 0 else x * float("nan")

    require_runs(Bench(as_subject(whole)))
    assert lengths == [7, 7]
    with pytest.raises(SubjectError, match="must keep finite states on 6 steps from sigma"):
        require_runs(Bench(as_subject(lambda model, x, sigmas: float("nan") * model(x, sigmas[0]))))


def test_a_plan_is_asked_for_the_number_of_steps() -> None:
    asked = []

    def plan(steps: int) -> Any:
        asked.append(steps)
        return make_plan(EULER, steps)

    subject = Known(plan, (EDM,), "planned")
    for steps in (1, 4):
        levels = tuple(EDM.level_at(1.0 + k) for k in range(steps, -1, -1))
        assert subject.run(LAW, levels[0].sigma * np.ones((2, 2)), levels).end.shape == (2, 2)
    assert asked == [1, 4]
