"""What is wrong in diffusers, or is another method than its name says."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from steinlab.solvers import (
    get_solver,
)
from steinlab.solvers.loop import solve
from tests.peers import drive
from tests.peers.table import (
    DOUBLE,
    SINGLE,
    STEPS,
    deis,
    dpm,
    in_flow,
    ours,
    unipc,
)
from tests.steinlab.solvers.cases import PLANE, states

diffusers = pytest.importorskip("diffusers", reason="diffusers, a test extra, is not installed")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def end_of(scheduler: Any, output: Callable[..., Any], at: drive.Coordinates) -> torch.Tensor:
    values = [float(s) for s in scheduler.sigmas]
    x = torch.from_numpy(states(drive.levels(values, at)))
    return drive.run(scheduler, PLANE, x, at, output)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_unipc_bh1_at_zero_is_not_a_number_in_diffusers(p: int) -> None:
    scheduler = unipc(p, "bh1").build(final_sigmas_type="zero")
    scheduler.set_timesteps(STEPS)
    assert torch.isnan(end_of(scheduler, drive.to_sample, drive.vp)).all()
    values = [float(s) for s in scheduler.sigmas]
    grid = drive.levels(values, drive.vp)
    assert np.isfinite(solve(PLANE, states(grid), grid, get_solver(f"unipc-{p}-bh1")).state).all()


def test_deis_at_zero_is_not_a_number_in_diffusers() -> None:
    """``sigma_t (exp(h) - 1)`` is zero times infinity; ours refuses the grid instead."""
    scheduler = deis(3).build()
    scheduler.set_timesteps(STEPS)
    drive.inject(scheduler, [*drive.spaced(20.0, 0.05, STEPS - 1), 0.0])
    assert torch.isnan(end_of(scheduler, drive.to_sample, drive.vp)).all()


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_deis_in_single_precision_loses_digits_on_a_flow_in_diffusers(nodes: int) -> None:
    """``x / alpha_s`` with ``alpha_s = 1 - sigma = 0.001`` formed in float32; float64 agrees."""
    peer = in_flow(deis(nodes))
    scheduler = peer.build()
    scheduler.set_timesteps(STEPS)
    values = [float(s) for s in scheduler.sigmas]
    x = states(drive.levels(values, drive.flow))
    single = torch.from_numpy(x).float()
    lossy = drive.run(scheduler, PLANE, single, drive.flow, peer.output)
    assert drive.gap(ours(peer, values, single.numpy().astype(float)), lossy) > 2e-5
    scheduler.set_timesteps(STEPS)
    drive.inject(scheduler, values)
    exact = drive.run(scheduler, PLANE, torch.from_numpy(x), drive.flow, peer.output)
    assert drive.gap(ours(peer, values, x), exact) < DOUBLE


def test_deis_with_karras_sigmas_evaluates_a_duplicate_in_diffusers() -> None:
    scheduler = deis(2).build(use_karras_sigmas=True)
    scheduler.set_timesteps(STEPS)
    assert float(scheduler.sigmas[-1]) == float(scheduler.sigmas[-2])


def test_multistep_state_is_single_precision_in_diffusers() -> None:
    """DPM-Solver++ casts a float64 state to float32 in every step and returns it as float64."""
    peer = dpm("dpmpp-2m", 2)
    values = drive.spaced(20.0, 0.05, STEPS, bend=0.3)
    scheduler = peer.build()
    scheduler.set_timesteps(STEPS)
    drive.inject(scheduler, values)
    x = states(drive.levels(values, drive.vp))
    theirs = drive.run(scheduler, PLANE, torch.from_numpy(x), drive.vp, drive.to_sample)
    assert theirs.dtype == torch.float64
    assert 1e-9 < drive.gap(ours(peer, values, x), theirs) < SINGLE


def test_third_order_of_diffusers_is_the_published_one() -> None:
    """Its 3M has ``c = 1``: far from the form that is of order three."""
    peer = dpm("dpmpp-3m-exact", 3)
    values = drive.spaced(20.0, 0.05, STEPS, bend=0.3)
    scheduler = peer.build()
    scheduler.set_timesteps(STEPS)
    drive.inject(scheduler, values)
    x = states(drive.levels(values, drive.vp))
    theirs = drive.run(scheduler, PLANE, torch.from_numpy(x), drive.vp, drive.to_sample)
    assert drive.gap(ours(peer, values, x), theirs) > 1e-3


def test_heun_of_flow_matching_is_a_trapezoid_in_time() -> None:
    """FlowMatchHeun averages velocities in ``t``; ours averages slopes in ``sigma / alpha``."""
    values = [*drive.spaced(0.95, 0.05, STEPS - 1, bend=0.3), 0.0]
    scheduler = diffusers.FlowMatchHeunDiscreteScheduler()
    scheduler.set_timesteps(STEPS)
    drive.inject(scheduler, values, interleaved=True)
    grid = drive.levels(values, drive.flow)
    x = states(grid)
    with drive.double_precision(scheduler):
        theirs = drive.run(scheduler, PLANE, torch.from_numpy(x), drive.flow, drive.to_velocity)

    def velocity(y: np.ndarray, level: Any) -> np.ndarray:
        return np.asarray(drive.to_velocity(y, PLANE(y, level), level))

    y = x
    for s, t in itertools.pairwise(grid):
        v = velocity(y, s)
        euler = y + (t.sigma - s.sigma) * v
        end = velocity(euler, t) if t.sigma > 0 else v
        y = y + (t.sigma - s.sigma) * 0.5 * (v + end)
    assert drive.gap(y, theirs) < DOUBLE
    assert drive.gap(solve(PLANE, x, grid, get_solver("heun")).state, theirs) > 1e-3
