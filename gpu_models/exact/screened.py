"""Triton: which rows may count, without ceilings in memory (CUDA only, import lazily).

The mathematics is that of :meth:`analytic.screening.Screen.low`. A first kernel finds the largest
ceiling of every tile of queries by rows, from which two rows of each query and its floor follow; a
second one computes the ceilings again and keeps, per tile, which rows reach a floor.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from analytic.screening import Screen

ROWS, COLS, DEPTH = 128, 128, 32
"""A tile: queries, rows of data, and coordinates at a time."""


@triton.jit
def _ceilings(
    factors_ptr,
    table_ptr,
    q,
    columns,
    queries,
    count,
    width,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    acc = tl.zeros((ROWS, COLS), dtype=tl.float32)
    axis = tl.arange(0, DEPTH)
    for k in range(0, width, DEPTH):
        a = tl.load(
            factors_ptr + q[:, None] * width + k + axis[None, :],
            mask=(q < queries)[:, None],
            other=0.0,
        )
        b = tl.load(
            table_ptr + columns[:, None] * width + k + axis[None, :],
            mask=(columns < count)[:, None],
            other=0.0,
        )
        acc = tl.dot(a, b.T, acc, input_precision="tf32x3")
    return acc


@triton.jit
def _tops(
    factors_ptr,
    table_ptr,
    best_ptr,
    where_ptr,
    queries,
    count,
    width,
    tiles,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    q = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    tile = tl.program_id(1)
    columns = tile * COLS + tl.arange(0, COLS)
    high = _ceilings(factors_ptr, table_ptr, q, columns, queries, count, width, ROWS, COLS, DEPTH)
    high = tl.where((columns < count)[None, :], high, float("-inf"))
    best, where = tl.max(high, axis=1, return_indices=True)
    slot = q.to(tl.int64) * tiles + tile
    tl.store(best_ptr + slot, best, mask=q < queries)
    tl.store(where_ptr + slot, tile * COLS + where, mask=q < queries)


@triton.jit
def _near(
    factors_ptr,
    table_ptr,
    floor_ptr,
    near_ptr,
    queries,
    count,
    width,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    tile_q = tl.program_id(0)
    q = tile_q * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLS + tl.arange(0, COLS)
    high = _ceilings(factors_ptr, table_ptr, q, columns, queries, count, width, ROWS, COLS, DEPTH)
    floor = tl.load(floor_ptr + q, mask=q < queries, other=float("inf"))
    # a comparison with what is not a number is false: the row is not low
    low = high < floor[:, None]
    reached = tl.max(tl.where(low, 0, 1), axis=0)
    place = tile_q.to(tl.int64) * count + columns
    tl.store(near_ptr + place, reached.to(tl.int8), mask=columns < count)


def padded(rows: torch.Tensor) -> torch.Tensor:
    """Return the rows with zeros up to a multiple of ``DEPTH`` coordinates."""
    return torch.nn.functional.pad(rows, (0, -rows.shape[1] % DEPTH))


def near(screen: Screen, table: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Return the places of the rows that may count for any of the states ``u``, float32.

    ``table`` is that of the screen's heads, :func:`padded`.
    """
    factors = padded(screen.heads.factors(u, screen.alpha))
    queries, (count, width) = len(u), table.shape
    tiles, blocks = triton.cdiv(count, COLS), triton.cdiv(queries, ROWS)
    best = torch.empty((queries, tiles), dtype=torch.float32, device=u.device)
    where = torch.empty((queries, tiles), dtype=torch.int32, device=u.device)
    sizes = {"ROWS": ROWS, "COLS": COLS, "DEPTH": DEPTH, "num_warps": 8}
    _tops[(blocks, tiles)](factors, table, best, where, queries, count, width, tiles, **sizes)
    middle = tiles // 2
    picks = []
    for start, end in ((0, middle), (middle, tiles)):
        tile = best[:, start:end].argmax(dim=1, keepdim=True)
        picks.append(where[:, start:end].gather(1, tile)[:, 0].long())
    floor = screen.floor(u, *picks)[:, 0].contiguous()
    reached = torch.empty((blocks, count), dtype=torch.int8, device=u.device)
    _near[(blocks, tiles)](factors, table, floor, reached, queries, count, width, **sizes)
    return torch.nonzero(reached.amax(dim=0))[:, 0]
