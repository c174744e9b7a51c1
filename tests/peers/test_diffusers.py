"""Every solver that diffusers has, against it: injected float64 grids and its own float32 ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from steinlab.solvers import (
    EULER,
    evaluations_on,
    get_solver,
)
from steinlab.solvers.loop import solve
from tests.peers import drive
from tests.peers.table import (
    DOUBLE,
    PEERS,
    SINGLE,
    STEPS,
    VELOCITY,
    Peer,
    dpm,
    name_of,
    ours,
    unipc,
)
from tests.steinlab.solvers.cases import PLANE, states

diffusers = pytest.importorskip("diffusers", reason="diffusers, a test extra, is not installed")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


DOUBLE_CASES = [
    pytest.param(peer, zero, id=f"{name_of(peer)}-{'zero' if zero else 'above'}")
    for peer in [*PEERS, VELOCITY]
    for zero in (False, True)
    # diffusers' Heun has no second stage in its last step, so it can only end at zero
    if not (zero and peer.fails_at_zero) and (zero or not peer.interleaved)
]


@pytest.mark.parametrize(("peer", "zero"), DOUBLE_CASES)
def test_injected_double_precision_grid(peer: Peer, zero: bool) -> None:
    top = 0.95 if peer.at is drive.flow else 20.0
    values = drive.spaced(top, 0.05, STEPS, bend=0.3)
    values = [*values[:-1], 0.0] if zero else values
    scheduler = peer.build()
    scheduler.set_timesteps(STEPS)
    drive.inject(scheduler, values, peer.interleaved)
    x = states(drive.levels(values, peer.at))
    with drive.double_precision(scheduler):
        theirs = drive.run(scheduler, PLANE, torch.from_numpy(x), peer.at, peer.output)
    assert theirs.dtype == torch.float64
    assert drive.gap(ours(peer, values, x), theirs) < DOUBLE


# on its own flow grid bh1 is not a number at either end, and DEIS loses two digits (below)
SINGLE_PEERS = [peer for peer in PEERS if not (peer.fails_at_zero and peer.at is drive.flow)]


@pytest.mark.parametrize("peer", SINGLE_PEERS, ids=name_of)
def test_shipped_single_precision_grid(peer: Peer) -> None:
    above = peer.fails_at_zero and "UniPC" in peer.scheduler
    scheduler = peer.build(**({"final_sigmas_type": "sigma_min"} if above else {}))
    scheduler.set_timesteps(STEPS)
    assert_agrees_in_single_precision(peer, scheduler)


def assert_agrees_in_single_precision(peer: Peer, scheduler: Any) -> None:
    values = [float(s) for s in scheduler.sigmas]
    if peer.interleaved:
        values = [values[0], *values[1:-1:2], values[-1]]
    x = states(drive.levels(values, peer.at)).astype(np.float32)
    theirs = drive.run(scheduler, PLANE, torch.from_numpy(x), peer.at, peer.output)
    assert theirs.dtype == torch.float32
    assert drive.gap(ours(peer, values, x.astype(float)), theirs) < SINGLE


def test_velocity_on_a_single_precision_grid() -> None:
    """Its own grid starts at ``alpha = 0``, where nothing of the data is left."""
    scheduler = VELOCITY.build()
    scheduler.set_timesteps(sigmas=np.linspace(0.98, 0.1, STEPS))
    assert_agrees_in_single_precision(VELOCITY, scheduler)


def test_karras_grid_of_the_latent_schedule() -> None:
    """Another shipped grid and schedule: Stable Diffusion's betas with Karras sigmas."""
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    for peer in (dpm("dpmpp-2m", 2), dpm("dpmpp-3m", 3), unipc(2, "bh2"), unipc(3, "bh2")):
        scheduler = peer.build(use_karras_sigmas=True, **betas)
        scheduler.set_timesteps(STEPS)
        assert_agrees_in_single_precision(peer, scheduler)


def test_ddim() -> None:
    """DDIM steps between entries of ``alphas_cumprod``; the whole table is injected."""
    ratios = drive.spaced(20.0, 0.05, STEPS, bend=0.3)
    powers = [drive.vp(ratio).alpha ** 2 for ratio in ratios]
    scheduler = diffusers.DDIMScheduler(
        num_train_timesteps=STEPS, clip_sample=False, prediction_type="sample"
    )
    scheduler.set_timesteps(STEPS)
    scheduler.alphas_cumprod = torch.tensor(powers[-2::-1], dtype=torch.float64)
    scheduler.final_alpha_cumprod = torch.tensor(powers[-1], dtype=torch.float64)
    x = states(drive.levels(ratios, drive.vp))
    y = torch.from_numpy(x)
    for i, t in enumerate(scheduler.timesteps):
        y = scheduler.step(PLANE(y, drive.vp(ratios[i])), t, y).prev_sample
    assert drive.gap(solve(PLANE, x, drive.levels(ratios, drive.vp), EULER).state, y) < DOUBLE


def test_ddim_on_its_own_grid() -> None:
    scheduler = diffusers.DDIMScheduler(clip_sample=False, prediction_type="sample")
    scheduler.set_timesteps(10)
    cumulative = [float(scheduler.alphas_cumprod[t]) for t in scheduler.timesteps]
    cumulative.append(float(scheduler.final_alpha_cumprod))
    ratios = [((1 - power) / power) ** 0.5 for power in cumulative]
    grid = drive.levels(ratios, drive.vp)
    x = states(grid).astype(np.float32)
    y = torch.from_numpy(x)
    for level, t in zip(grid, scheduler.timesteps, strict=False):
        y = scheduler.step(PLANE(y, level), t, y).prev_sample
    assert drive.gap(solve(PLANE, x.astype(float), grid, EULER).state, y) < SINGLE


@pytest.mark.parametrize("zero", [False, True], ids=["above", "zero"])
@pytest.mark.parametrize(
    "name", [*(f"ipndm-v-{n}" for n in (1, 2, 3, 4)), *(f"deis-rho-{n}" for n in (1, 2, 3))]
)
def test_lms_is_variable_step_adams(name: str, zero: bool) -> None:
    nodes = int(name[-1])
    ratios = drive.spaced(20.0, 0.05, STEPS, bend=0.3)
    ratios = [*ratios[:-1], 0.0] if zero else ratios
    scheduler = diffusers.LMSDiscreteScheduler()
    scheduler.set_timesteps(STEPS)
    drive.inject(scheduler, ratios)
    scheduler.set_begin_index(0)
    scheduler.is_scale_input_called = True
    grid = drive.levels(ratios, drive.ve)
    x = states(grid)
    y = torch.from_numpy(x)
    for level, t in zip(grid, scheduler.timesteps, strict=False):
        eps = drive.to_eps(y, PLANE(y, level), level)
        y = scheduler.step(eps, t, y, order=nodes).prev_sample
    assert drive.gap(solve(PLANE, x, grid, get_solver(name)).state, y) < DOUBLE


@pytest.mark.parametrize("zero", [False, True], ids=["above", "zero"])
def test_ipndm(zero: bool) -> None:
    ratios = drive.spaced(20.0, 0.05, STEPS, bend=0.3)
    ratios = [*ratios[:-1], 0.0] if zero else ratios
    grid = drive.levels(ratios, drive.vp)
    scheduler = diffusers.IPNDMScheduler()
    scheduler.set_timesteps(STEPS)
    scheduler.alphas = torch.tensor([level.alpha for level in grid], dtype=torch.float64)
    scheduler.betas = torch.tensor([level.sigma for level in grid], dtype=torch.float64)
    scheduler.set_begin_index(0)
    x = states(grid)
    y = torch.from_numpy(x)
    for level, t in zip(grid, scheduler.timesteps, strict=False):
        denoised = PLANE(y, level)
        v = level.alpha * drive.to_eps(y, denoised, level) - level.sigma * denoised
        y = scheduler.step(v, t, y).prev_sample
    assert drive.gap(solve(PLANE, x, grid, get_solver("ipndm-4")).state, y) < DOUBLE


def test_dpm_2_of_k_diffusion() -> None:
    """KDPM2Discrete is the midpoint in ``log sigma``; its last step, to zero, is Euler's."""
    ratios = [*drive.spaced(20.0, 0.05, STEPS - 1, bend=0.3), 0.0]
    scheduler = diffusers.KDPM2DiscreteScheduler()
    scheduler.set_timesteps(STEPS)
    sigmas = torch.tensor(ratios, dtype=torch.float64)
    inner = sigmas.log().lerp(sigmas.roll(1).log(), 0.5).exp()
    for name, values in (("sigmas", sigmas), ("sigmas_interpol", inner)):
        doubled = torch.cat([values[:1], values[1:].repeat_interleave(2), values[-1:]])
        setattr(scheduler, name, doubled)
    nodes = [ratios[0]]
    for i in range(1, STEPS):
        nodes += [float(inner[i]), ratios[i]]
    grid = drive.levels(ratios, drive.ve)
    x = states(grid)
    theirs = drive.run(
        scheduler, PLANE, torch.from_numpy(x), drive.ve, drive.to_eps, nodes=nodes[: 2 * STEPS - 1]
    )
    solver = get_solver("dpm-2")
    assert evaluations_on(solver, grid) == 2 * STEPS - 1 == len(scheduler.timesteps)
    assert drive.gap(solve(PLANE, x, grid, solver).state, theirs) < DOUBLE


@pytest.mark.parametrize(
    ("name", "order", "options"),
    [
        ("dpmpp-2s", 2, {"solver_type": "midpoint"}),
        ("dpm-2", 2, {"solver_type": "midpoint", "algorithm_type": "dpmsolver"}),
        ("dpmpp-3s-taylor", 3, {"solver_type": "heun"}),
    ],
)
def test_single_steps_on_a_grid_of_their_stages(
    name: str, order: int, options: dict[str, Any]
) -> None:
    """The scheduler's stages are grid nodes: every ``order``-th one is a node of ours."""
    ratios = drive.spaced(20.0, 0.05, 3 * order)
    scheduler = diffusers.DPMSolverSinglestepScheduler(
        solver_order=order,
        prediction_type="sample",
        lower_order_final=False,
        final_sigmas_type="sigma_min",
        **options,
    )
    scheduler.set_timesteps(3 * order)
    drive.inject(scheduler, ratios)
    grid = drive.levels(ratios, drive.vp)
    x = states(grid)
    theirs = drive.run(scheduler, PLANE, torch.from_numpy(x), drive.vp, drive.to_sample)
    state = solve(PLANE, x, grid[::order], get_solver(name)).state
    assert drive.gap(state, theirs) < DOUBLE
