r"""Products in single precision on tensor cores, from two TF32 parts (CUDA only, import lazily).

A number is ``large + small`` of 11 bits each, up to ``2^-22`` of itself, and a product

    a b = (small_a + large_a) (small_b + large_b)

of all but ``small_a small_b``, so that three products in TF32 stand for one in float32, after
Ootomo and Yokota (2022), "Recovering single precision accuracy from Tensor Cores". The first
product is one of three times the coordinates, small parts first. The second is three, each added to
the sum. Tensor cores cut their sums after every eight terms, see
:mod:`gpu_models.exact.rounding`: chunks are short.
"""

from __future__ import annotations

import torch

from gpu_models.exact.kernels import fold, parts
from gpu_models.exact.streaming import (
    PRECISIONS,
    SPLIT_COLUMNS,
    Atoms,
    Chunk,
    State,
    empty_state,
    even_chunk,
    first_product,
    product_mode,
    second_product,
    two_parts,
)


def split_sweep(
    u: torch.Tensor,
    bias: torch.Tensor,
    atoms: Atoms,
    columns: int,
    cut: float | None = None,  # noqa: ARG001
) -> State:
    """Return what :func:`gpu_models.exact.streaming.sweep` returns; every weight is kept."""
    (count, dim), total = u.shape, len(atoms.halves)
    columns = even_chunk(total, min(columns, SPLIT_COLUMNS))
    state, (large, small) = empty_state(u, atoms), two_parts(u)
    queries = torch.cat([large, small, large], dim=1)
    rows = torch.empty((columns, 3 * dim), dtype=u.dtype, device=u.device)
    logits, weights = u.new_empty(count * columns), u.new_empty(2 * count * columns)
    for start in range(0, total if count else 0, columns):
        end = min(start + columns, total)
        size, shape = count * (end - start), (count, end - start)
        both = weights[: 2 * size].view(2, *shape)
        chunk = Chunk(start, logits[:size].view(shape), both)
        parts(atoms.factors[start:end], rows)
        with product_mode(PRECISIONS["tf32"]):
            first_product(queries, rows[: end - start], chunk.logits)
            fold(state, chunk, atoms, bias)
            for weight, line in ((1, 0), (0, dim), (0, 0)):
                factor = atoms.columns[line : line + dim, start:end]
                second_product(both[weight], factor, state.rest)
    return state
