"""Measure what a correction costs beside the plain solver: seconds per run, and passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch

from gpu_models.study.cells import CALIBRATION_SEED
from gpu_models.study.lab import Lab
from steinlab.coefficient.divergence import Hutchinson
from steinlab.corrections import stein, tweedie
from steinlab.corrections.calibrated import Calibrated
from steinlab.corrections.fitted import calibrate
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import EDM
from steinlab.solvers import get_solver
from steinlab.solvers.loop import Run, Solution, solve
from steinlab.solvers.step import Correction, NoCorrection

SOLVER = "dpmpp-2m"
STATES = 512
"""States of a timed run, fewer where the study has fewer."""

TARGET_ERROR = 0.05
"""Standard error of the coefficient at which the sub-batch stops growing."""

CHEAP = (
    "plain",
    "tweedie",
    "stein, sub-batch of 256",
    "stein, sub-batch to 0.05",
    "calibrated table",
)
"""Corrections that are timed on all states of a run of the study as well."""


def costs(lab: Lab) -> dict[str, Any]:
    """Return medians of seconds and their ratios to the plain run's, round by round.

    Each round runs every correction once, plain first, so that slow drifts of the clock cancel in
    the ratios. The network is not compiled: that would speed up its values, not its Jacobian
    products.
    """
    grid, solver = make_grid(EDM, "karras", lab.size.steps), get_solver(SOLVER, EDM)

    def run(correction: Correction, states: Any) -> Solution:
        rng = np.random.default_rng(0)
        return solve(lab.uncompiled, states, grid, solver, correction=correction, rng=rng)

    start = lab.start(CALIBRATION_SEED, lab.size.calibration)
    whole = Run(lab.uncompiled, start, grid, solver)
    table = calibrate(whole, model="fashion-edm", substeps=lab.size.substeps)
    made = {"plain": NoCorrection(), **_corrections(), "calibrated table": Calibrated(table)}
    few, many = min(STATES, lab.size.samples), lab.size.samples
    found: dict[str, Any] = {"solver": SOLVER, "steps": lab.size.steps}
    found["price_of_table"] = table.evaluations * table.states
    found |= {"states": few, "rows": _rounds(lab, run, made, few)}
    if many > few:
        cheap = {name: made[name] for name in CHEAP}
        found["whole"] = {"states": many, "rows": _rounds(lab, run, cheap, many)}
    return found


def _rounds(
    lab: Lab, run: Callable[[Correction, Any], Solution], made: dict[str, Correction], states: int
) -> list[dict[str, Any]]:
    """Return a row per correction, timed on the same states."""
    x = lab.start(1, states)
    products = {
        name: sum(done.products for done in run(correction, x).diagnostics)
        for name, correction in made.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(lab.size.repeats):
        for name, correction in made.items():
            seconds[name].append(_timed(lambda c=correction: run(c, x), lab.device))  # type: ignore[misc]
    rows = []
    for name, times in seconds.items():
        ratios = [own / plain for own, plain in zip(times, seconds["plain"], strict=True)]
        rows.append(
            {
                "correction": name,
                "seconds": median(times),
                "ratio": median(ratios),
                "ratio_range": [min(ratios), max(ratios)],
                "products": products[name],
            }
        )
    return rows


def _corrections() -> dict[str, Correction]:
    def hutchinson(probes: int, law: str, mode: str, **options: Any) -> Correction:
        divergence = Hutchinson(probes, law, mode)
        return stein(divergence=divergence, gamma_max=1.0, **options)

    return {
        "tweedie": tweedie(gamma_max=1.0),
        "stein, 1 rademacher, forward mode": hutchinson(1, "rademacher", "jvp"),
        "stein, 1 rademacher, reverse mode": hutchinson(1, "rademacher", "vjp"),
        "stein, 5 gaussian, forward mode": hutchinson(5, "gaussian", "jvp"),
        "stein, 5 gaussian, reverse mode": hutchinson(5, "gaussian", "vjp"),
        "stein, sub-batch of 256": hutchinson(1, "rademacher", "vjp", states=256),
        "stein, sub-batch to 0.05": hutchinson(1, "rademacher", "vjp", target_error=TARGET_ERROR),
    }


def _timed(work: Callable[[], Any], device: torch.device) -> float:
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
