"""Schedulers of diffusers: each check of their own grids finds a known fault, and only there."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest

from steinlab.testing import check_scheduler, from_diffusers, lint_grid, rows_of
from steinlab.testing.checks import CHECKS
from tests.steinlab.testing.told import held

diffusers = pytest.importorskip("diffusers", reason="diffusers, a test extra, is not installed")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

CHEAP = [
    "own-grid",
    "own-finite",
    "own-levels",
    "own-midway",
    "network-level",
    "one-point",
    "method",
]


def dpm(**options: Any) -> Callable[[], Any]:
    return lambda: diffusers.DPMSolverMultistepScheduler(**options)


def copied(make: Callable[[], Any]) -> Callable[[], Any]:
    """One that is built once: some make the table of all thousand steps when they are built."""
    one = functools.cache(make)
    return lambda: copy.deepcopy(one())


FAULTS: dict[str, Callable[[], Any]] = {
    "network-level": dpm(use_karras_sigmas=True),
    "own-grid": lambda: diffusers.DEISMultistepScheduler(use_karras_sigmas=True),
    "own-finite": lambda: diffusers.UniPCMultistepScheduler(solver_type="bh1"),
    "own-levels": lambda: diffusers.DDIMScheduler(clip_sample=False, timestep_spacing="linspace"),
    "own-midway": diffusers.LMSDiscreteScheduler,
    "order-graded": dpm(solver_order=3),
}
"""A scheduler with the fault that a check must find."""


@pytest.mark.parametrize("check", FAULTS)
def test_a_known_fault_is_found(check: str) -> None:
    order = 3 if check == "order-graded" else None
    (row,) = rows_of(from_diffusers(FAULTS[check]), only=[check], order=order)
    assert row.verdict == "fails", row
    assert row.cause
    held(f"scheduler: {check}", [row])


@pytest.mark.slow
def test_cancellation_grows_with_the_steps() -> None:
    subject = from_diffusers(lambda: diffusers.DEISMultistepScheduler(solver_order=3))
    (row,) = rows_of(subject, only=["own-float32"])
    assert row.verdict == "fails"
    assert "cancellation" in row.cause


def test_every_check_of_own_grids_has_a_fault() -> None:
    assert {check.id for check in CHECKS if check.of == "own"} <= {*FAULTS, "own-float32"}


RIGHT: dict[str, tuple[Callable[[], Any], str]] = {
    "DDIM": (lambda: diffusers.DDIMScheduler(clip_sample=False), "euler"),
    "DPM-Solver++": (dpm(), "dpmpp-2m (euler in step 12)"),
    "Euler": (diffusers.EulerDiscreteScheduler, "euler"),
    "Heun": (diffusers.HeunDiscreteScheduler, "heun (euler in step 12)"),
    "KDPM2": (copied(diffusers.KDPM2DiscreteScheduler), "dpm-2"),
    "flow": (diffusers.FlowMatchEulerDiscreteScheduler, "euler"),
    "Euler, v": (
        lambda: diffusers.EulerDiscreteScheduler(prediction_type="v_prediction"), "euler",
    ),
    "DDIM, v": (
        lambda: diffusers.DDIMScheduler(clip_sample=False, prediction_type="v_prediction"), "euler",
    ),
    "DDIM, x_0": (
        lambda: diffusers.DDIMScheduler(clip_sample=False, prediction_type="sample"), "euler",
    ),
    "DPM-Solver++, v": (dpm(prediction_type="v_prediction"), "dpmpp-2m (euler in step 12)"),
    "UniPC": (diffusers.UniPCMultistepScheduler, "unipc-2 (euler in step 12)"),
    "EDM": (diffusers.EDMEulerScheduler, "euler"),
    "EDM, v": (lambda: diffusers.EDMEulerScheduler(prediction_type="v_prediction"), "euler"),
    "EDM, DPM-Solver++": (diffusers.EDMDPMSolverMultistepScheduler, "dpmpp-2m (euler in step 12)"),
    "PNDM": (
        lambda: diffusers.PNDMScheduler(skip_prk_steps=True), "ipndm-4 (heun in step 1)",
    ),
    "flow, Heun": (diffusers.FlowMatchHeunDiscreteScheduler, "rk-heun (euler in step 12)"),
    "flow, shifted": (
        lambda: diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), "euler",
    ),
}  # fmt: skip
ODD: dict[str, tuple[Callable[[], Any], str, set[str]]] = {
    "IPNDM": (diffusers.IPNDMScheduler, "ipndm-4", {"own-levels"}),
    "flow, DPM-Solver++": (
        dpm(use_flow_sigmas=True, prediction_type="flow_prediction"),
        "dpmpp-2m (euler in step 12)",
        {"network-level"},
    ),
}
"""Schedulers whose method is told, and that fail a check."""


@pytest.mark.parametrize("name", RIGHT)
def test_right_ones_conform_and_are_named(name: str) -> None:
    factory, method = RIGHT[name]
    rows = {row.check: row for row in check_scheduler(factory, only=CHEAP)}
    assert rows["method"].text == method
    held(f"scheduler, right: {name}", list(rows.values()))


@pytest.mark.parametrize("name", ODD)
def test_odd_ones_are_named_and_fail_where_they_differ(name: str) -> None:
    factory, method, faults = ODD[name]
    rows = rows_of(from_diffusers(factory), only=CHEAP)
    assert {row.check for row in rows if row.verdict == "fails"} == faults
    assert {row.check: row for row in rows}["method"].text == method
    held(f"scheduler, odd: {name}", rows)


def test_a_stochastic_scheduler_is_judged_by_law() -> None:
    rows = rows_of(from_diffusers(dpm(algorithm_type="sde-dpmsolver++")), only=["law", "gaussian"])
    found = {row.check: row.verdict for row in rows}
    assert found == {"gaussian": "declined", "law": "ok", "law-distance": "ok"}


def test_a_class_and_an_object_will_do() -> None:
    for factory in (diffusers.DPMSolverMultistepScheduler, diffusers.EulerDiscreteScheduler()):
        (row,) = check_scheduler(factory, only=["one-point"])
        assert row.verdict == "ok"


def test_the_linter_reads_a_scheduler() -> None:
    found = [one.kind for one in lint_grid(FAULTS["own-grid"]) if one.severity == "fault"]
    assert found == ["repeated", "level-mismatch"]
