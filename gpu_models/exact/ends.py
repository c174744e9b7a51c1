"""Triton: what comes before and after the products, one pass each (CUDA only, import lazily).

The mathematics is that of :func:`gpu_models.exact.denoiser.centred` and
:func:`gpu_models.exact.denoiser.moments_of`, which take a dozen passes over the states.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from gpu_models.exact.kernels import _round_tf32
from gpu_models.exact.parts import Part
from gpu_models.exact.streaming import Atoms, Precision


@triton.jit
def _centred(
    x_ptr,
    shift_ptr,
    u_ptr,
    scaled_ptr,
    rate_ptr,
    dim,
    WIDTH: tl.constexpr,
    TF32: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * dim
    axis = tl.arange(0, WIDTH)
    inside = axis < dim
    x = tl.load(x_ptr + at + axis, mask=inside, other=0.0)
    u = (x - tl.load(shift_ptr + axis, mask=inside, other=0.0)).to(tl.float32)
    tl.store(u_ptr + at + axis, u, mask=inside)
    scaled = tl.load(rate_ptr) * u
    if TF32:
        scaled = _round_tf32(scaled)
    tl.store(scaled_ptr + at + axis, scaled.to(scaled_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _picked(
    top_ptr,
    factors_ptr,
    rows_ptr,
    factor_ptr,
    row_ptr,
    dim,
    WIDTH: tl.constexpr,
):
    q = tl.program_id(0).to(tl.int64)
    axis = tl.arange(0, WIDTH)
    inside = axis < dim
    at = tl.load(top_ptr + q).to(tl.int64) * dim + axis
    factor = tl.load(factors_ptr + at, mask=inside, other=0.0)
    tl.store(factor_ptr + q * dim + axis, factor.to(tl.float32), mask=inside)
    tl.store(row_ptr + q * dim + axis, tl.load(rows_ptr + at, mask=inside), mask=inside)


@triton.jit
def _read(
    u_ptr,
    rest_ptr,
    factor_ptr,
    top_logit_ptr,
    ref_ptr,
    mass_ptr,
    second_ptr,
    total_ptr,
    share_ptr,
    spread_ptr,
    shift_ptr,
    dim,
    pitch,
    WIDTH: tl.constexpr,
):
    q = tl.program_id(0).to(tl.int64)
    axis = tl.arange(0, WIDTH)
    inside = axis < dim
    u = tl.load(u_ptr + q * dim + axis, mask=inside, other=0.0)
    rest = tl.load(rest_ptr + q * pitch + axis, mask=inside, other=0.0)
    top = tl.load(factor_ptr + q * dim + axis, mask=inside, other=0.0)
    # rounding a weight to TF32 may lose that it is not a number: the query says it again
    mass = tl.load(mass_ptr + q) + 0.0 * tl.sum(u, axis=0)
    total = tl.exp(tl.load(top_logit_ptr + q) - tl.load(ref_ptr + q)) + mass
    share = mass / total
    shift = rest / total - share * top
    spread = 2 * tl.load(second_ptr + q) / total - share * tl.sum(top * top, axis=0)
    spread -= tl.sum(shift * (2 * top + shift), axis=0)
    tl.store(total_ptr + q, total)
    tl.store(share_ptr + q, share)
    tl.store(spread_ptr + q, spread)
    tl.store(shift_ptr + q * dim + axis, shift, mask=inside)


def centred(
    x: torch.Tensor, shift: torch.Tensor, rate: float, precision: Precision
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what :func:`gpu_models.exact.denoiser.centred` returns, sums in float32."""
    x = x.contiguous()
    u, scaled = (torch.empty_like(x, dtype=d) for d in (precision.work, precision.factor))
    factor = torch.full((), rate, dtype=precision.work, device=x.device)
    width = triton.next_power_of_2(x.shape[1])
    _centred[(len(x),)](
        *(x, shift, u, scaled, factor, x.shape[1]), WIDTH=width, TF32=precision.tf32
    )
    return u, scaled


def picked(top: torch.Tensor, atoms: Atoms) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what :func:`gpu_models.exact.parts.picked` returns, in float32."""
    dim = atoms.rows.shape[1]
    factor, row = torch.empty((2, len(top), dim), dtype=torch.float32, device=top.device)
    given = (top, atoms.factors, atoms.rows)
    _picked[(len(top),)](*given, factor, row, dim, WIDTH=triton.next_power_of_2(dim))
    return factor, row


def moments_of(part: Part, u: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return what :func:`gpu_models.exact.denoiser.moments_of` returns, sums in float32."""
    total, share, spread = torch.empty((3, len(u)), dtype=u.dtype, device=u.device)
    shift = torch.empty_like(u)
    sums = (part.rest, part.factor, part.top_logit, part.ref, part.mass, part.second)
    _read[(len(u),)](
        *(u, *sums, total, share, spread, shift, u.shape[1], part.rest.stride(0)),
        WIDTH=triton.next_power_of_2(u.shape[1]),
    )
    return total[:, None], share[:, None], shift, spread
