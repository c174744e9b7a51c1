"""Triton: the first product with the softmax in its epilogue (CUDA only, import lazily).

A tile of ``ROWS`` queries by ``COLS`` rows of data leaves the tensor cores as weights relative to
``max(running maximum, tile's maximum)``, with the tile's own top row apart, and never as logits.
A second kernel settles a chunk: where no tile of a query beat the running maximum, which over ``C``
chunks happens all but about ``log C`` times, it adds the tiles' sums; elsewhere it rescales the
query's weights and partial sum as :func:`gpu_models.exact.streaming.fold_plain` does.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from gpu_models.exact.streaming import Atoms, Chunk, State, empty_state, even_chunk, finish_chunk

MARGIN = 30.0
"""Weights are relative to a reference that the largest logit exceeds by this at most: ``exp(30)``
costs a float no accuracy, and rescaling is seldom."""

HEAD = 512
"""Rows of the first chunk, whose weights are always rescaled."""


class Tiling(NamedTuple):
    """Sizes of a tile of the first product."""

    rows: int
    cols: int
    depth: int
    warps: int
    stages: int
    group: int


TILING = Tiling(rows=128, cols=256, depth=64, warps=8, stages=3, group=16)
"""The fastest of those measured on an H100."""


@triton.jit
def _round_tf32(x):
    bits = x.to(tl.int32, bitcast=True)
    return ((bits + 0x1000) & -8192).to(tl.float32, bitcast=True)


@triton.jit
def _weigh(
    u_desc,
    factors_desc,
    weights_ptr,
    halves_ptr,
    top_logit_ptr,
    ref_ptr,
    tile_logit_ptr,
    tile_top_ptr,
    tile_mass_ptr,
    tile_second_ptr,
    bias_ptr,
    queries,
    start,
    count,
    dim,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    DEPTH: tl.constexpr,
    GROUP: tl.constexpr,
    MARGIN: tl.constexpr,
    FIRST: tl.constexpr,
    TF32: tl.constexpr,
):
    tiles_q = tl.cdiv(queries, ROWS)
    tiles = tl.cdiv(count, COLS)
    pid = tl.program_id(0)
    first_q = (pid // (GROUP * tiles)) * GROUP
    height = tl.minimum(tiles_q - first_q, GROUP)
    tile_q = first_q + (pid % (GROUP * tiles)) % height
    tile = (pid % (GROUP * tiles)) // height
    acc = tl.zeros((ROWS, COLS), dtype=tl.float32)
    for k in range(0, dim, DEPTH):
        a = u_desc.load([tile_q * ROWS, k])
        b = factors_desc.load([start + tile * COLS, k])
        acc = tl.dot(a, b.T, acc, input_precision="tf32")
    q = tile_q * ROWS + tl.arange(0, ROWS)
    columns = tile * COLS + tl.arange(0, COLS)
    real, live = q < queries, columns < count
    halves = tl.load(halves_ptr + start + columns, mask=live, other=0.0)
    drop = tl.where(live, tl.load(bias_ptr) * halves, float("inf"))
    logits = acc - drop[None, :]
    best = tl.max(logits, axis=1)
    local = tl.arange(0, COLS)[None, :]
    where = tl.max(tl.where(logits == best[:, None], local, -1), axis=1)
    if FIRST:
        ref = best
        apart = where
    else:
        old = tl.load(top_logit_ptr + q, mask=real, other=0.0)
        ref = tl.load(ref_ptr + q, mask=real, other=0.0)
        ref = tl.where(best > ref + MARGIN, best, ref)
        apart = tl.where(best > old, where, -1)
    weights = tl.exp(logits - ref[:, None])
    weights = tl.where(local == apart[:, None], 0.0, weights)
    if TF32:
        weights = _round_tf32(weights)
    stored = weights.to(weights_ptr.dtype.element_ty)
    offsets = q.to(tl.int64)[:, None] * count + columns[None, :]
    tl.store(weights_ptr + offsets, stored, mask=real[:, None] & live[None, :])
    weights = stored.to(tl.float32)
    slot = q * tiles + tile
    tl.store(tile_logit_ptr + slot, best, mask=real)
    tl.store(tile_top_ptr + slot, tl.where(apart < 0, -1, tile * COLS + apart), mask=real)
    tl.store(tile_mass_ptr + slot, tl.sum(weights, axis=1), mask=real)
    tl.store(tile_second_ptr + slot, tl.sum(weights * halves[None, :], axis=1), mask=real)


@triton.jit
def _settle(
    weights_ptr,
    halves_ptr,
    rows_ptr,
    top_logit_ptr,
    mass_ptr,
    second_ptr,
    top_ptr,
    rest_ptr,
    ref_ptr,
    tile_logit_ptr,
    tile_top_ptr,
    tile_mass_ptr,
    tile_second_ptr,
    start,
    count,
    dim,
    tiles,
    COLS: tl.constexpr,
    BLOCK: tl.constexpr,
    TILES: tl.constexpr,
    WIDTH: tl.constexpr,
    MARGIN: tl.constexpr,
    FIRST: tl.constexpr,
    TF32: tl.constexpr,
):
    q = tl.program_id(0).to(tl.int64)
    tile = tl.arange(0, TILES)
    there = tile < tiles
    slots = q * tiles + tile
    bests = tl.load(tile_logit_ptr + slots, mask=there, other=float("-inf"))
    best, winner = tl.max(bests, axis=0, return_indices=True)
    if FIRST:
        old_ref = float("-inf")
        changed = True
        moved = True
    else:
        old = tl.load(top_logit_ptr + q)
        old_ref = tl.load(ref_ptr + q)
        changed = best > old
        moved = best > old_ref + MARGIN
    ref = tl.where(moved, best, old_ref)
    row = weights_ptr + q * count
    # tops of tiles that lost to another tile join the rest, the winner's stays apart
    tops = tl.load(tile_top_ptr + slots, mask=there, other=-1)
    joins = (tops >= 0) & (tile != winner)
    if moved:
        columns = tl.arange(0, BLOCK)
        live = columns < count
        own = tl.load(tile_logit_ptr + q * tiles + columns // COLS, mask=live, other=best)
        scale = tl.exp(tl.where(own > old_ref + MARGIN, own, old_ref) - ref)
        weights = scale * tl.load(row + columns, mask=live, other=0.0).to(tl.float32)
        top = tl.load(tile_top_ptr + q * tiles + columns // COLS, mask=live, other=-1)
        loser = tl.where(columns // COLS == winner, -1, top)
        weights = tl.where(columns == loser, tl.exp(own - ref), weights)
        if TF32:
            weights = _round_tf32(weights)
        stored = weights.to(weights_ptr.dtype.element_ty)
        tl.store(row + columns, stored, mask=live)
        weights = stored.to(tl.float32)
        halves = tl.load(halves_ptr + start + columns, mask=live, other=0.0)
        mass = tl.sum(weights, axis=0)
        second = tl.sum(weights * halves, axis=0)
    else:
        mass = tl.sum(tl.load(tile_mass_ptr + slots, mask=there, other=0.0), axis=0)
        second = tl.sum(tl.load(tile_second_ptr + slots, mask=there, other=0.0), axis=0)
        if changed:
            lost = tl.where(joins, tl.exp(bests - ref), 0.0)
            if TF32:
                lost = _round_tf32(lost)
            kept = lost.to(weights_ptr.dtype.element_ty)
            tl.store(row + tops, kept, mask=joins)
            lost = kept.to(tl.float32)
            halves = tl.load(halves_ptr + start + tops, mask=joins, other=0.0)
            mass += tl.sum(lost, axis=0)
            second += tl.sum(lost * halves, axis=0)
    if not FIRST:
        fade = tl.exp(old_ref - ref)
        mass += fade * tl.load(mass_ptr + q)
        second += fade * tl.load(second_ptr + q)
        if changed:
            before = tl.load(top_ptr + q).to(tl.int64)
            enters = tl.exp(old - ref)
            mass += enters
            second += enters * tl.load(halves_ptr + before)
            axis = tl.arange(0, WIDTH)
            inside = axis < dim
            former = tl.load(rows_ptr + before * dim + axis, mask=inside, other=0.0)
            rest = tl.load(rest_ptr + q * dim + axis, mask=inside, other=0.0)
            rest = fade * rest + enters * former.to(tl.float32)
            tl.store(rest_ptr + q * dim + axis, rest, mask=inside)
    if changed:
        tl.store(top_logit_ptr + q, best)
        tl.store(top_ptr + q, (start + tl.load(tile_top_ptr + q * tiles + winner)).to(tl.int32))
    if moved:
        tl.store(ref_ptr + q, ref)
    tl.store(mass_ptr + q, mass)
    tl.store(second_ptr + q, second)


class Scratch:
    """Descriptors and the tiles' statistics for queries of one shape."""

    def __init__(self, u: torch.Tensor, atoms: Atoms, columns: int):
        depth = TILING.depth if u.element_size() == 2 else TILING.depth // 2
        self.tiling = tiling = TILING._replace(depth=depth)
        self.u = TensorDescriptor.from_tensor(u, [tiling.rows, depth])
        self.factors = TensorDescriptor.from_tensor(atoms.factors, [tiling.cols, depth])
        size = u.shape[0] * triton.cdiv(columns, tiling.cols)
        self.logit, self.mass, self.second = torch.empty(
            (3, size), dtype=torch.float32, device=u.device
        )
        self.top = torch.empty(size, dtype=torch.int32, device=u.device)


def weigh(scratch: Scratch, state: State, chunk: Chunk, atoms: Atoms, bias: torch.Tensor) -> None:
    """Write a chunk's weights and fold them into the statistics; logits are never stored.

    The result is that of the first product and :func:`gpu_models.exact.streaming.fold_plain`.
    """
    start, weights, tf32 = chunk.start, chunk.weights, atoms.precision.tf32
    t = scratch.tiling
    queries, count = weights.shape
    tiles = triton.cdiv(count, t.cols)
    dim = atoms.factors.shape[1]
    stats = (scratch.logit, scratch.top, scratch.mass, scratch.second)
    _weigh[(triton.cdiv(queries, t.rows) * tiles,)](
        scratch.u,
        scratch.factors,
        weights,
        atoms.halves,
        state.top_logit,
        state.ref,
        *stats,
        bias,
        *(queries, start, count, dim),
        ROWS=t.rows,
        COLS=t.cols,
        DEPTH=t.depth,
        GROUP=t.group,
        MARGIN=MARGIN,
        FIRST=start == 0,
        TF32=tf32,
        num_warps=t.warps,
        num_stages=t.stages,
    )
    _settle[(queries,)](
        weights,
        atoms.halves,
        atoms.factors,
        *(state.top_logit, state.mass, state.second, state.top, state.rest, state.ref),
        *stats,
        *(start, count, dim, tiles),
        COLS=t.cols,
        BLOCK=triton.next_power_of_2(count),
        TILES=triton.next_power_of_2(tiles),
        WIDTH=triton.next_power_of_2(dim),
        MARGIN=MARGIN,
        FIRST=start == 0,
        TF32=tf32,
        num_warps=4 if count <= 2048 else 8,
    )


def fused_sweep(
    u: torch.Tensor, bias: torch.Tensor, atoms: Atoms, columns: int, cut: float | None = None
) -> State:
    """Return what :func:`gpu_models.exact.streaming.sweep` returns, its first product fused."""
    count, total = u.shape[0], atoms.halves.shape[0]
    columns = even_chunk(total, columns)
    state = empty_state(u, atoms)
    state = replace(state, ref=torch.empty_like(state.top_logit))
    scratch = Scratch(u, atoms, columns)
    buffer = torch.empty(count * columns, dtype=atoms.precision.factor, device=u.device)
    head = min(HEAD, columns)
    for start, end in pairwise([0, *range(head, total, columns), total]):
        weights = buffer[: count * (end - start)].view(count, end - start)
        chunk = Chunk(start, weights, weights)
        weigh(scratch, state, chunk, atoms, bias)
        finish_chunk(state, chunk, atoms, cut)
    return state
