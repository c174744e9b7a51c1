"""Grids by name against the values that peers compute, float32 where they round to it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from steinlab.diffusion.grids import SHIFTS, TRAIN_STEPS, make_grid, table_ratios
from steinlab.diffusion.processes import EDM, Process

diffusers = pytest.importorskip("diffusers", reason="diffusers, a test extra, is not installed")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

DOUBLE, SINGLE = 1e-12, 1e-5
"""Relative agreement with values in float64; the peers' tables are products of float32 numbers."""

N = 12


def ratios(process: Process | str, name: str, n: int = N) -> np.ndarray:
    """Ratios of the levels above zero noise."""
    return np.array([level.ratio for level in make_grid(process, name, n)[:-1]])


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("karras", "_convert_to_karras"),
        ("exponential", "_convert_to_exponential"),
        ("beta", "_convert_to_beta"),
    ],
)
def test_sigma_spacings(name: str, method: str) -> None:
    peer = getattr(diffusers.DPMSolverMultistepScheduler(), method)
    ends = torch.tensor([EDM.ratio_max, EDM.ratio_min], dtype=torch.float64)
    np.testing.assert_allclose(ratios(EDM, name), peer(ends, N), rtol=DOUBLE)


def test_lu() -> None:
    peer = diffusers.DPMSolverMultistepScheduler()
    ends = torch.tensor([EDM.ratio_max, EDM.ratio_min], dtype=torch.float64).log()
    np.testing.assert_allclose(ratios(EDM, "lu"), np.exp(peer._convert_to_lu(ends, N)), rtol=DOUBLE)


@pytest.mark.parametrize("rho", [3, 5, 7])
def test_edm_with_another_exponent(rho: int) -> None:
    peer = diffusers.EDMEulerScheduler(rho=rho)
    values = peer._compute_karras_sigmas(torch.linspace(0, 1, N, dtype=torch.float64))
    np.testing.assert_allclose(ratios(EDM, f"karras:rho={rho}"), values, rtol=DOUBLE)


def flow_sigmas(peer: Any, sigmas: np.ndarray, **more: float) -> np.ndarray:
    peer.set_timesteps(sigmas=sigmas, **more)
    return np.asarray(peer.sigmas[:-1], dtype=float)


@pytest.mark.parametrize("shift", [1.0, 3.0, 7.0])
def test_flow_shift(shift: float) -> None:
    """As pipelines ask for it, and as ``use_flow_sigmas`` has it: from ``alpha = 0.001``."""
    times = np.linspace(1.0, 1 / N, N)
    peer = flow_sigmas(diffusers.FlowMatchEulerDiscreteScheduler(shift=shift), times)
    found = ratios("flow", f"flow-shift:shift={shift}")
    assert np.isinf(found[0])
    assert peer[0] == 1.0
    np.testing.assert_allclose(found[1:] / (1 + found[1:]), peer[1:], rtol=SINGLE)
    multistep = diffusers.DPMSolverMultistepScheduler(use_flow_sigmas=True, flow_shift=shift)
    multistep.set_timesteps(N)
    found = ratios("flow", f"flow-shift:shift={shift},start=0.999")
    np.testing.assert_allclose(found / (1 + found), multistep.sigmas[:-1], rtol=SINGLE)


@pytest.mark.parametrize("length", [256, 1024, 4096])
def test_dynamic_flow_shift(length: int) -> None:
    (short, low), (long, high) = SHIFTS
    mu = low + (high - low) * (length - short) / (long - short)
    peer = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    values = flow_sigmas(peer, np.linspace(1.0, 1 / N, N), mu=mu)
    found = ratios("flow", f"flow-shift-dynamic:length={length}")[1:]
    np.testing.assert_allclose(found / (1 + found), values[1:], rtol=SINGLE)


def test_flow_grid_without_a_shift() -> None:
    peer = diffusers.FlowMatchEulerDiscreteScheduler()
    peer.set_timesteps(N)
    found = ratios("flow", "time-uniform:start=1")[1:]
    np.testing.assert_allclose(found / (1 + found), peer.sigmas[1:-1], rtol=SINGLE)


def bars(found: np.ndarray) -> np.ndarray:
    """``alphas_cumprod`` of ratios: the peers' ``1 - alphas_cumprod`` cancels in float32."""
    return np.asarray(1 / (1 + found**2))


BETAS = {
    "linear": {},
    "scaled-linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
}


@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize("table", BETAS)
@pytest.mark.parametrize("n", [7, 20, 300])
def test_spacings_of_a_table(spacing: str, table: str, n: int) -> None:
    peer = diffusers.DDIMScheduler(timestep_spacing=spacing, **BETAS[table])
    peer.set_timesteps(n)
    found = ratios("vp-linear", f"{spacing}:table={table}", n)
    np.testing.assert_allclose(bars(found), peer.alphas_cumprod[peer.timesteps], rtol=SINGLE)
    times = np.searchsorted(table_ratios(table), found * (1 - 1e-9))
    np.testing.assert_array_equal(times, peer.timesteps)


def test_offset_of_leading_times() -> None:
    peer = diffusers.DDIMScheduler(steps_offset=1)
    peer.set_timesteps(N)
    found = ratios("vp-linear", "leading:offset=1")
    np.testing.assert_allclose(bars(found), peer.alphas_cumprod[peer.timesteps], rtol=SINGLE)


def test_zero_terminal_snr() -> None:
    from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

    betas = torch.linspace(1e-4, 0.02, TRAIN_STEPS, dtype=torch.float64)
    peer = torch.cumprod(1 - rescale_zero_terminal_snr(betas), 0).numpy()
    found = table_ratios(zero_snr=1)
    np.testing.assert_allclose(bars(found), peer, rtol=DOUBLE)
    assert np.isinf(found[-1])
    assert peer[-1] == 0


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("sd15", "StableDiffusionSigmas"),
        ("sdxl", "StableDiffusionXLSigmas"),
        ("svd", "StableDiffusionVideoSigmas"),
    ],
)
def test_align_your_steps(table: str, name: str) -> None:
    from diffusers.schedulers import AysSchedules

    grid = make_grid(EDM, f"ays:table={table}", 10)
    assert [level.sigma for level in grid] == AysSchedules[name]


def test_tangent() -> None:
    """The peer's angles end at zero noise, ours may: there the tangents are the same."""
    peer = diffusers.SCMScheduler()
    top = float(np.arctan(EDM.ratio_max / 0.5))
    peer.set_timesteps(N, max_timesteps=top, intermediate_timesteps=None)
    whole = dataclasses.replace(EDM, t_min=0.0)
    grid = make_grid(whole, "tangent:scale=0.5", N, final_zero=False)
    angles = np.arctan(np.array([level.ratio for level in grid]) / 0.5)
    np.testing.assert_allclose(angles, peer.timesteps, atol=1e-6)
