"""Triton: the first product with the softmax in its epilogue (CUDA only, import lazily).

A tile of ``ROWS`` queries by ``COLS`` rows of data leaves the tensor cores as weights, and never as
logits. Weights are relative to a reference, the largest logit of a few rows of data, or to the
tile's own largest logit where that exceeds the reference by more than ``MARGIN``. A second kernel
settles a chunk: it finds the top row of each query and takes its weight out. Only where a tile left
the reference does it scale the query's weights and sums, as
:func:`gpu_models.exact.streaming.fold_plain` does. The second product sums mass and second moment
beside the rest: its factor has columns for them (:func:`gpu_models.exact.streaming.second_factor`).

The top row is the first whose rounded weight is the largest, and its logit is that of this weight:
it counts as it is written, like every other row.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from gpu_models.exact.kernels import _round_tf32
from gpu_models.exact.streaming import (
    ALIGNMENT,
    Atoms,
    State,
    even_chunk,
    first_product,
    second_product,
)

MARGIN = 30.0
"""The largest logit exceeds the reference by this at most: ``exp(30)`` costs a float no accuracy,
and scaling is seldom."""

SAMPLE = 512
"""Rows of data whose largest logit is the reference."""

SPAN = 2048
"""Weights that a program scales at once."""


class Tiling(NamedTuple):
    """Sizes of a tile of the first product, which a program on each multiprocessor takes in turn.

    Attributes
    ----------
    rows, cols : int
        Queries and rows of data.
    depth : int
        Bytes of a step along the coordinates: 128 is the widest that a tensor copy swizzles.
    parts : int
        The weights of a tile are stored in 2 or 4 parts, so that three steps fit beside one.
    group : int
        Tiles of queries that share a tile of data while it is in the cache.
    """

    parts: int
    group: int
    rows: int = 128
    cols: int = 256
    depth: int = 128
    warps: int = 8
    stages: int = 3


TILINGS = {"bf16": Tiling(parts=2, group=32), "tf32": Tiling(parts=4, group=8)}
"""The fastest of those measured on an H200 (docs/gpu.md)."""


@triton.jit
def _halved(x, ROWS: tl.constexpr, COLS: tl.constexpr):
    return tl.split(tl.reshape(x, (ROWS, 2, COLS // 2)).permute(0, 2, 1))


@triton.jit
def _weigh(
    u_desc,
    factors_desc,
    weights_desc,
    halves_ptr,
    ref_ptr,
    tile_logit_ptr,
    bias_ptr,
    queries,
    start,
    count,
    dim,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    DEPTH: tl.constexpr,
    GROUP: tl.constexpr,
    PARTS: tl.constexpr,
    PROGRAMS: tl.constexpr,
    MARGIN: tl.constexpr,
    TF32: tl.constexpr,
):
    tiles_q = tl.cdiv(queries, ROWS)
    tiles = tl.cdiv(count, COLS)
    bias = tl.load(bias_ptr)
    # one loop over tiles and steps: the loads of a tile go on during the softmax of the last
    for place in tl.range(tl.program_id(0), tiles_q * tiles, PROGRAMS, flatten=True):
        first_q = (place // (GROUP * tiles)) * GROUP
        height = tl.minimum(tiles_q - first_q, GROUP)
        tile_q = first_q + (place % (GROUP * tiles)) % height
        tile = (place % (GROUP * tiles)) // height
        acc = tl.zeros((ROWS, COLS), dtype=tl.float32)
        for k in range(0, dim, DEPTH):
            a = u_desc.load([tile_q * ROWS, k])
            b = factors_desc.load([start + tile * COLS, k])
            acc = tl.dot(a, b.T, acc, input_precision="tf32")
        q = tile_q * ROWS + tl.arange(0, ROWS)
        columns = tile * COLS + tl.arange(0, COLS)
        real, live = q < queries, columns < count
        halves = tl.load(halves_ptr + start + columns, mask=live, other=0.0)
        logits = acc - tl.where(live, bias * halves, float("inf"))[None, :]
        best = tl.max(logits, axis=1)
        tl.store(tile_logit_ptr + q * tiles + tile, best, mask=real)
        ref = tl.load(ref_ptr + q, mask=real, other=0.0)
        ref = tl.where(best > ref + MARGIN, best, ref)
        weights = tl.exp(logits - ref[:, None])
        if TF32:
            weights = _round_tf32(weights)
        weights = weights.to(weights_desc.dtype)
        top, left = tile_q * ROWS, tile * COLS
        low, high = _halved(weights, ROWS, COLS)
        if PARTS == 2:
            weights_desc.store([top, left], low)
            weights_desc.store([top, left + COLS // 2], high)
        else:
            one, two = _halved(low, ROWS, COLS // 2)
            weights_desc.store([top, left], one)
            weights_desc.store([top, left + COLS // 4], two)
            one, two = _halved(high, ROWS, COLS // 2)
            weights_desc.store([top, left + COLS // 2], one)
            weights_desc.store([top, left + 3 * (COLS // 4)], two)


@triton.jit
def _settle(
    weights_ptr,
    halves_ptr,
    factors_ptr,
    top_logit_ptr,
    top_ptr,
    sums_ptr,
    ref_ptr,
    tile_logit_ptr,
    start,
    count,
    pitch,
    dim,
    width,
    tiles,
    COLS: tl.constexpr,
    SPAN: tl.constexpr,
    TILES: tl.constexpr,
    WIDTH: tl.constexpr,
    MARGIN: tl.constexpr,
    FIRST: tl.constexpr,
    TF32: tl.constexpr,
):
    q = tl.program_id(0).to(tl.int64)
    row, sums = weights_ptr + q * pitch, sums_ptr + q * width
    tile = tl.arange(0, TILES)
    bests = tl.load(tile_logit_ptr + q * tiles + tile, mask=tile < tiles, other=float("-inf"))
    best, winner = tl.max(bests, axis=0, return_indices=True)
    old, old_ref = tl.load(top_logit_ptr + q), tl.load(ref_ptr + q)
    if best > old:
        inside = winner * COLS + tl.arange(0, COLS)
        candidates = tl.load(row + inside, mask=inside < count, other=-1.0).to(tl.float32)
        largest, at = tl.max(candidates, axis=0, return_indices=True)
        place = winner * COLS + at
        # a reference that is moved is that of a new top row
        ref = old_ref
        if best > old_ref + MARGIN:
            ref = best
            for i in range(0, count, SPAN):
                columns = i + tl.arange(0, SPAN)
                live = columns < count
                own = tl.load(tile_logit_ptr + q * tiles + columns // COLS, mask=live, other=best)
                scale = tl.exp(tl.where(own > old_ref + MARGIN, own, old_ref) - ref)
                # most of a narrow posterior vanishes without being read
                some = live & (scale > 0)
                weights = scale * tl.load(row + columns, mask=some, other=0.0).to(tl.float32)
                if TF32:
                    weights = _round_tf32(weights)
                tl.store(row + columns, weights.to(weights_ptr.dtype.element_ty), mask=live)
            tl.store(ref_ptr + q, ref)
            tl.debug_barrier()
        tl.store(row + place, 0.0)
        if not FIRST:
            fade, enters = tl.exp(old_ref - ref), tl.exp(old - ref)
            before = tl.load(top_ptr + q).to(tl.int64)
            axis = tl.arange(0, WIDTH)
            former = tl.load(factors_ptr + before * dim + axis, mask=axis < dim, other=0.0)
            former = tl.where(axis == dim, 1.0, former.to(tl.float32))
            former = tl.where(axis == dim + 1, tl.load(halves_ptr + before), former)
            held = tl.load(sums + axis, mask=axis < width, other=0.0)
            tl.store(sums + axis, fade * held + enters * former, mask=axis < width)
        tl.store(top_logit_ptr + q, ref + tl.log(largest))
        tl.store(top_ptr + q, (start + place).to(tl.int32))


def weigh(
    u: torch.Tensor,
    bias: torch.Tensor,
    atoms: Atoms,
    start: int,
    weights: torch.Tensor,
    ref: torch.Tensor,
    tile_logits: torch.Tensor,
) -> None:
    """Write the weights of a chunk of rows from ``start`` on, and the tiles' largest logits."""
    t = TILINGS[atoms.precision.name]
    (queries, count), depth = weights.shape, t.depth // u.element_size()
    tiles, programs = triton.cdiv(queries, t.rows) * triton.cdiv(count, t.cols), 1
    if u.is_cuda:
        programs = torch.cuda.get_device_properties(u.device).multi_processor_count
    _weigh[(min(tiles, programs),)](
        TensorDescriptor.from_tensor(u, [t.rows, depth]),
        TensorDescriptor.from_tensor(atoms.factors, [t.cols, depth]),
        TensorDescriptor.from_tensor(weights, [t.rows, t.cols // t.parts]),
        *(atoms.halves, ref, tile_logits, bias),
        *(queries, start, count, u.shape[1]),
        ROWS=t.rows,
        COLS=t.cols,
        DEPTH=depth,
        GROUP=t.group,
        PARTS=t.parts,
        PROGRAMS=programs,
        MARGIN=MARGIN,
        TF32=atoms.precision.tf32,
        num_warps=t.warps,
        num_stages=t.stages,
    )


def reference(u: torch.Tensor, bias: torch.Tensor, atoms: Atoms) -> torch.Tensor:
    """Return the largest logit of :data:`SAMPLE` rows spread over the data, shape ``(N,)``."""
    stride = max(1, len(atoms.halves) // SAMPLE)
    some = slice(0, SAMPLE * stride, stride)
    rows, halves = atoms.factors[some], atoms.halves[some]
    logits = torch.empty((len(u), len(rows)), dtype=atoms.precision.work, device=u.device)
    first_product(u, rows, logits)
    return logits.sub_(bias * halves).amax(dim=1)


def fused_sweep(
    u: torch.Tensor,
    bias: torch.Tensor,
    atoms: Atoms,
    columns: int,
    cut: float | None = None,  # noqa: ARG001
) -> State:
    """Return what :func:`gpu_models.exact.streaming.sweep` returns, its first product fused.

    Every weight is kept, whatever ``cut``.
    """
    (count, dim), total, width = u.shape, len(atoms.halves), len(atoms.columns)
    columns, precision = even_chunk(total, columns), atoms.precision
    cols = TILINGS[precision.name].cols
    top_logit = torch.full((count,), -torch.inf, dtype=precision.work, device=u.device)
    top = torch.zeros(count, dtype=torch.int32, device=u.device)
    ref = reference(u, bias, atoms)
    sums = torch.empty((count, width), dtype=precision.work, device=u.device)
    pitch = triton.cdiv(columns, ALIGNMENT) * ALIGNMENT
    buffer = torch.empty((count, pitch), dtype=precision.factor, device=u.device)
    for start in range(0, total if count else 0, columns):
        end = min(start + columns, total)
        weights, tiles = buffer[:, : end - start], triton.cdiv(end - start, cols)
        tile_logits = torch.empty((count, tiles), dtype=precision.work, device=u.device)
        weigh(u, bias, atoms, start, weights, ref, tile_logits)
        _settle[(count,)](
            *(weights, atoms.halves, atoms.factors, top_logit, top, sums, ref, tile_logits),
            *(start, end - start, pitch, dim, width, tiles),
            COLS=cols,
            SPAN=SPAN,
            TILES=triton.next_power_of_2(tiles),
            WIDTH=triton.next_power_of_2(width),
            MARGIN=MARGIN,
            FIRST=start == 0,
            TF32=precision.tf32,
        )
        second_product(weights, atoms.columns[:, start:end], sums, add=start > 0)
    second = sums[:, dim + 1 :].sum(dim=1)
    return State(top_logit, sums[:, dim].contiguous(), second, top, sums[:, :dim], ref)
