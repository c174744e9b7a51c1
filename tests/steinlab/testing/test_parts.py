"""Checks of denoisers and corrections, the trace of a run, and the decorator."""

from __future__ import annotations

import dataclasses
import pkgutil
from typing import Any

import numpy as np
import pytest

import steinlab.testing
from analytic import GaussianMixture
from steinlab.corrections import CORRECTIONS
from steinlab.diffusion.grids import make_grid
from steinlab.solvers.step import Diagnostics
from steinlab.testing import (
    ConformanceError,
    check_correction,
    check_denoiser,
    identify,
    parametrize_with_checks,
    trace,
)
from steinlab.testing.adapters import as_subject, kind_of
from steinlab.testing.subject import SubjectError
from tests.steinlab.testing import loops

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
    "jvp": Wrong(jvp=1.001),
    "divergence": Wrong(divergence=1.001),
    "posterior-mean": Wrong(call=lambda x, level: LAW(x, level) * (1 + 1e-6)),
}


@pytest.mark.parametrize("check", DENOISERS)
def test_a_broken_denoiser_is_rejected(check: str) -> None:
    with pytest.raises(ConformanceError) as caught:
        check_denoiser(DENOISERS[check], law=LAW)
    assert check in {row.check for row in caught.value.rows if row.verdict == "fails"}


def test_an_exact_law_conforms() -> None:
    assert {row.verdict for row in check_denoiser(LAW, law=LAW)} == {"ok"}


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


@pytest.mark.parametrize("name", ["none", "stein", "tweedie"])
def test_our_corrections_conform(name: str) -> None:
    assert name in CORRECTIONS
    assert {row.verdict for row in check_correction(name)} <= {"ok", "declined"}


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

    worst = max(trace(broken, LAW, grid, x).steps, key=lambda one: one.local)
    assert worst.step == 7


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
