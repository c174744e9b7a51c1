"""Ways to pass over the data: plain torch, and two with Triton on a CUDA device.

- ``plain``: library products and plain torch operations between them; everywhere.
- ``folded``: library products, and one Triton kernel for the softmax of a chunk.
- ``fused``: the softmax in the epilogue of a Triton product, so that logits are never stored; TF32
  and bf16 only.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import torch

from gpu_models.exact.streaming import Atoms, Precision, State, fold_plain, sweep
from steinlab.errors import InputError

Sweep = Callable[[torch.Tensor, torch.Tensor, Atoms, int], State]
"""``(rounded queries, bias, atoms, rows in a chunk) -> statistics`` of all rows."""


def _plain(precision: Precision, dim: int, *, cuda: bool) -> Sweep:  # noqa: ARG001
    return partial(sweep, fold=fold_plain)


def _folded(precision: Precision, dim: int, *, cuda: bool) -> Sweep:  # noqa: ARG001
    _require_triton("folded", cuda=cuda)
    from gpu_models.exact.kernels import fold

    return partial(sweep, fold=fold)


def _fused(precision: Precision, dim: int, *, cuda: bool) -> Sweep:
    _require_triton("fused", cuda=cuda)
    if precision.name not in FUSED:
        raise InputError(
            f"method must be plain or folded for {precision.name}, got fused: its product is for "
            + " and ".join(FUSED)
        )
    if not _aligned(precision, dim):
        raise InputError(f"method must be plain or folded for {dim} coordinates, got fused")
    from gpu_models.exact.fused import fused_sweep

    return fused_sweep


def _aligned(precision: Precision, dim: int) -> bool:
    """Whether a row is whole 16-byte words, as Hopper's tensor copies want it."""
    return dim * torch.empty(0, dtype=precision.factor).element_size() % 16 == 0


def _require_triton(method: str, *, cuda: bool) -> None:
    if not (cuda and importlib.util.find_spec("triton")):
        raise InputError(f"method must be plain without CUDA and Triton, got {method}")


FUSED = ("tf32", "bf16")
"""Precisions of the fused product."""

METHODS: Mapping[str, Callable[..., Sweep]] = MappingProxyType(
    {"plain": _plain, "folded": _folded, "fused": _fused}
)
"""Every method by name: a factory of its sweep."""


def default_method(precision: Precision, dim: int, *, cuda: bool) -> str:
    """Return the fastest method as measured on an H100 (docs/gpu.md)."""
    if not (cuda and importlib.util.find_spec("triton")):
        return "plain"
    return "fused" if precision.name == "tf32" and _aligned(precision, dim) else "folded"
