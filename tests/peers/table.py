"""Which solver is which of diffusers' schedulers, with which options."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from steinlab.solvers import (
    Plan,
    Solver,
    get_solver,
    lowered,
    make_plan,
)
from steinlab.solvers.loop import solve
from tests.peers import drive
from tests.steinlab.solvers.cases import PLANE

DOUBLE = 1e-12
"""Relative agreement on injected float64 grids."""

SINGLE = 4e-6
"""Relative agreement on shipped float32 grids, in float32 states."""

STEPS = 9

LAST = {1: (), 2: (1,), 3: (2, 1)}
"""Outputs combined in the last steps: below 15 steps (DPM-Solver++, DEIS) or always (UniPC)."""


@dataclass(frozen=True)
class Peer:
    """A solver, and the scheduler and options that should be the same method."""

    solver: str
    scheduler: str
    options: dict[str, Any]
    at: drive.Coordinates = drive.vp
    output: Callable[..., Any] = drive.to_sample
    last: tuple[int, ...] = ()  # outputs combined in the last steps
    interleaved: bool = False

    def build(self, **more: Any) -> Any:
        return getattr(importlib.import_module("diffusers"), self.scheduler)(**self.options, **more)

    def plan(self, steps: int, last: tuple[int, ...]) -> Solver | Plan:
        solver = get_solver(self.solver)
        finish = lowered(solver, *last) if last else ()  # type: ignore[arg-type]
        return make_plan(solver, steps, finish=finish)

    @property
    def in_noise_form(self) -> bool:
        """Whether it combines noise predictions, as diffusers does of no flow prediction."""
        return self.options.get("algorithm_type") == "dpmsolver" or "predict_x0" in self.options

    @property
    def fails_at_zero(self) -> bool:
        """Not a number there: see the tests of what is wrong in diffusers, below."""
        return (
            self.in_noise_form
            or self.options.get("solver_type") == "bh1"
            or "DEIS" in self.scheduler
        )


def dpm(solver: str, order: int, kind: str = "midpoint", **more: Any) -> Peer:
    options = {"solver_order": order, "solver_type": kind, "prediction_type": "sample"} | more
    return Peer(solver, "DPMSolverMultistepScheduler", options, last=LAST[order])


def unipc(p: int, variant: str) -> Peer:
    name = f"unipc-{p}" + ("-bh1" if variant == "bh1" else "")
    options = {"solver_order": p, "solver_type": variant, "prediction_type": "sample"}
    return Peer(name, "UniPCMultistepScheduler", options, last=LAST[p])


NOISE = {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}


def unipc_noise(p: int) -> Peer:
    options = {"solver_order": p, "predict_x0": False, "prediction_type": "sample"}
    return Peer(f"unipc-{p}-noise", "UniPCMultistepScheduler", options, last=LAST[p])


def deis(nodes: int) -> Peer:
    options = {"solver_order": nodes, "prediction_type": "sample"}
    return Peer(f"deis-log-{nodes}", "DEISMultistepScheduler", options, last=LAST[nodes])


def in_flow(peer: Peer) -> Peer:
    options = peer.options | {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    return Peer(peer.solver, peer.scheduler, options, drive.flow, drive.to_velocity, last=peer.last)


def edm_dpm(solver: str, order: int, kind: str) -> Peer:
    options = {"solver_order": order, "solver_type": kind}
    name = "EDMDPMSolverMultistepScheduler"
    return Peer(solver, name, options, drive.ve, drive.to_edm, LAST[order])


VE_EPS = {"at": drive.ve, "output": drive.to_eps}
MULTISTEP = [
    dpm("euler", 1),
    dpm("dpmpp-2m", 2),
    dpm("dpmpp-2m-heun", 2, "heun"),
    dpm("dpmpp-3m", 3),
    *(unipc(p, variant) for p in (1, 2, 3) for variant in ("bh1", "bh2")),
    *(deis(nodes) for nodes in (1, 2, 3)),
    dpm("euler", 1, **NOISE),
    dpm("dpm-2m", 2, **NOISE),
    dpm("deis-log-2", 2, "heun", **NOISE),
    dpm("dpm-3m", 3, **NOISE),
    *(unipc_noise(p) for p in (1, 2, 3)),
]
PEERS = [
    *MULTISTEP,
    *(in_flow(peer) for peer in MULTISTEP if not peer.in_noise_form),
    edm_dpm("dpmpp-2m", 2, "midpoint"),
    edm_dpm("dpmpp-2m-heun", 2, "heun"),
    edm_dpm("dpmpp-3m", 3, "midpoint"),
    Peer("euler", "EulerDiscreteScheduler", {}, **VE_EPS),
    Peer("euler", "EDMEulerScheduler", {}, drive.ve, drive.to_edm),
    Peer("heun", "HeunDiscreteScheduler", {}, **VE_EPS, interleaved=True),
]
VELOCITY = Peer("euler", "FlowMatchEulerDiscreteScheduler", {}, drive.flow, drive.to_velocity)


def name_of(peer: Peer) -> str:
    return f"{peer.solver}-{peer.scheduler}-{peer.at.__name__}"


def ours(peer: Peer, values: list[float], x: np.ndarray) -> np.ndarray:
    last = peer.last
    if values[-1] == values[-2]:  # the duplicate that DEIS appends: a step that goes nowhere
        values, last = values[:-1], last[:-1]
    grid = drive.levels(values, peer.at)
    return np.asarray(solve(PLANE, x, grid, peer.plan(len(grid) - 1, last)).state)
