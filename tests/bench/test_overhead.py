"""What ``steinlab.solve`` adds to a step, against diffusers' schedulers, as ratios.

Run by ``make bench``. Every run takes the same 20 steps with the same denoiser, which returns its
argument, on the same small batch, so that what is measured is the solver's and the loop's own cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import VP_LINEAR
from steinlab.solvers import get_solver
from steinlab.solvers.loop import solve

STEPS = 20
SHAPE = (16, 8)
LIMIT = 30e-6
"""Seconds of our own per step."""

GRID = make_grid(VP_LINEAR, "logsnr", STEPS, final_zero=False)
NUMPY = np.random.default_rng(0).standard_normal(SHAPE)
STATES = {"numpy": NUMPY, "torch": torch.from_numpy(NUMPY)}

PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("DDIMScheduler", {"clip_sample": False}),
    "dpmpp-2m": ("DPMSolverMultistepScheduler", {"solver_order": 2}),
    "dpmpp-3m": ("DPMSolverMultistepScheduler", {"solver_order": 3}),
    "unipc-2": ("UniPCMultistepScheduler", {"solver_order": 2}),
    "unipc-3": ("UniPCMultistepScheduler", {"solver_order": 3}),
    "deis-log-3": ("DEISMultistepScheduler", {"solver_order": 3}),
}


def identity(x: Any, level: Any) -> Any:
    """The trivial denoiser."""
    return x


Run = Callable[[], Any]


def ours(name: str, library: str) -> Run:
    solver, x = get_solver(name, VP_LINEAR), STATES[library]
    return lambda: solve(identity, x, GRID, solver)


def theirs(name: str) -> tuple[Run, Run]:
    """A run of the scheduler, and setting its timesteps, which is not counted against it."""
    diffusers = pytest.importorskip("diffusers", reason="diffusers, a test extra, is missing")
    scheduler_name, options = PEERS[name]
    scheduler = getattr(diffusers, scheduler_name)(prediction_type="sample", **options)

    def prepare() -> None:
        scheduler.set_timesteps(STEPS)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)

    def run() -> Any:
        x = STATES["torch"]
        for t in scheduler.timesteps:
            x = scheduler.step(identity(x, t), t, x, return_dict=False)[0]
        return x

    return run, prepare


def per_step(run: Run, prepare: Run = lambda: None, seconds: float = 0.3) -> float:
    """Best time of a step over repeated runs; the best is the least disturbed one."""
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        prepare()
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best / STEPS


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("library", STATES)
@pytest.mark.parametrize("name", PEERS)
def test_overhead(benchmark: Any, name: str, library: str) -> None:
    if benchmark.disabled:
        pytest.skip("a measurement of time: run `make bench`")
    run = ours(name, library)
    own, peer = per_step(run), per_step(*theirs(name))
    benchmark.extra_info |= {
        "ours_us_per_step": round(1e6 * own, 1),
        "diffusers_us_per_step": round(1e6 * peer, 1),
        "ratio": round(own / peer, 3),
    }
    benchmark(run)
    print(
        f"\n{name:12} {library:6} {1e6 * own:6.1f} us  diffusers {1e6 * peer:6.1f} us  "
        f"ratio {own / peer:.2f}"
    )
    assert own < LIMIT
    assert own < 0.5 * peer
