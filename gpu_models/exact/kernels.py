"""Triton: one pass of the streaming softmax over a chunk of logits (CUDA only, import lazily).

The mathematics is that of :func:`gpu_models.exact.streaming.fold_plain`, which the tests compare it
with. A program owns a query: it reads its logits once, writes their exponentials in the product's
dtype, and updates the running statistics. The query's partial sum is touched only where the maximum
moved, which over ``C`` chunks in random order happens about ``log C`` times.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from gpu_models.exact.streaming import MAX_COLUMNS, Atoms, Chunk, State

WARPS = ((2048, 4), (4096, 8), (8192, 16), (MAX_COLUMNS, 32))
"""Warps of a program by the largest chunk that it serves."""


@triton.jit
def _round_tf32(x):
    bits = x.to(tl.int32, bitcast=True)
    return ((bits + 0x1000) & -8192).to(tl.float32, bitcast=True)


@triton.jit
def _parts(rows_ptr, out_ptr, dim, WIDTH: tl.constexpr):
    at = tl.program_id(0).to(tl.int64)
    axis = tl.arange(0, WIDTH)
    inside = axis < dim
    row = tl.load(rows_ptr + at * dim + axis, mask=inside, other=0.0)
    large = _round_tf32(row)
    out = out_ptr + at * 3 * dim + axis
    tl.store(out, _round_tf32(row - large), mask=inside)
    tl.store(out + dim, large, mask=inside)
    tl.store(out + 2 * dim, large, mask=inside)


def parts(rows: torch.Tensor, out: torch.Tensor) -> None:
    """Write the small part of each row, and its large part twice, ``(n, 3 d)``."""
    dim = rows.shape[1]
    _parts[(len(rows),)](rows, out, dim, WIDTH=triton.next_power_of_2(dim))


@triton.jit
def _stored(weights, out, apart, live, TF32: tl.constexpr, SPLIT: tl.constexpr):
    large = weights
    if TF32:
        large = _round_tf32(weights)
    large = large.to(out.dtype.element_ty)
    tl.store(out, large, mask=live)
    kept = large.to(weights.dtype)
    if SPLIT:
        small = _round_tf32(weights - kept)
        tl.store(out + apart, small, mask=live)
        kept += small
    return kept


@triton.jit
def _fold(
    logits_ptr,
    weights_ptr,
    halves_ptr,
    rows_ptr,
    top_logit_ptr,
    mass_ptr,
    second_ptr,
    top_ptr,
    rest_ptr,
    bias_ptr,
    start,
    count,
    dim,
    apart,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
    FIRST: tl.constexpr,
    TF32: tl.constexpr,
    SPLIT: tl.constexpr,
):
    q = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    live = columns < count
    halves = tl.load(halves_ptr + start + columns, mask=live, other=0.0)
    logits = tl.load(logits_ptr + q * count + columns, mask=live, other=0.0)
    logits = tl.where(live, logits - tl.load(bias_ptr) * halves, float("-inf"))
    best = tl.max(logits, axis=0)
    if FIRST:
        new = best
        changed = True
    else:
        old = tl.load(top_logit_ptr + q)
        new = tl.maximum(best, old)
        changed = best > old
    weights = tl.exp(logits - new)
    # the top row has weight one and is kept apart, so that a rest of 1e-30 keeps its digits
    where = -1
    if changed:
        where = tl.minimum(tl.min(tl.where(logits == best, columns, BLOCK), axis=0), count - 1)
    weights = tl.where(columns == where, 0.0, weights)
    weights = _stored(weights, weights_ptr + q * count + columns, apart, live, TF32, SPLIT)
    mass = tl.sum(weights, axis=0)
    second = tl.sum(weights * halves, axis=0)
    if FIRST:
        tl.store(top_logit_ptr + q, new)
        tl.store(top_ptr + q, (start + where).to(tl.int32))
    else:
        scale = tl.exp(old - new)
        mass += scale * tl.load(mass_ptr + q)
        second += scale * tl.load(second_ptr + q)
        if changed:
            before = tl.load(top_ptr + q).to(tl.int64)
            mass += scale
            second += scale * tl.load(halves_ptr + before)
            axis = tl.arange(0, WIDTH)
            inside = axis < dim
            joins = tl.load(rows_ptr + before * dim + axis, mask=inside, other=0.0)
            rest = tl.load(rest_ptr + q * dim + axis, mask=inside, other=0.0)
            rest = scale * (rest + joins.to(rest.dtype))
            tl.store(rest_ptr + q * dim + axis, rest, mask=inside)
            tl.store(top_logit_ptr + q, new)
            tl.store(top_ptr + q, (start + where).to(tl.int32))
    tl.store(mass_ptr + q, mass)
    tl.store(second_ptr + q, second)


def fold(state: State, chunk: Chunk, atoms: Atoms, bias: torch.Tensor) -> None:
    """Fold a chunk into the statistics; see :func:`gpu_models.exact.streaming.fold_plain`.

    Nothing in ``state`` is read where the chunk starts at 0. In TF32x3 a chunk's weights are
    ``(2, N, C)``: their large parts, and their small ones.
    """
    queries, count = chunk.logits.shape
    warps = next(warps for columns, warps in WARPS if count <= columns)
    _fold[(queries,)](
        chunk.logits,
        chunk.weights,
        atoms.halves,
        atoms.factors,
        state.top_logit,
        state.mass,
        state.second,
        state.top,
        state.rest,
        bias,
        chunk.start,
        count,
        atoms.factors.shape[1],
        chunk.logits.numel(),
        BLOCK=max(16, triton.next_power_of_2(count)),
        WIDTH=triton.next_power_of_2(atoms.factors.shape[1]),
        FIRST=chunk.start == 0,
        TF32=atoms.precision.tf32 or atoms.precision.split,
        SPLIT=atoms.precision.split,
        num_warps=warps,
    )
