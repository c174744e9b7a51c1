"""The few array operations that the array API standard lacks, written in it once."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

Array = Any
"""An array of any library that follows the array API: NumPy, torch, array-api-strict."""


def like(values: Any, x: Array) -> Array:
    """Return ``values`` (numbers or a NumPy array) with the library, dtype and device of ``x``."""
    if isinstance(x, np.ndarray):
        return np.asarray(values, dtype=x.dtype)
    xp = array_namespace(x)
    return xp.asarray(values, dtype=x.dtype, device=device(x))


def require_floating(x: Array, name: str = "x") -> Any:
    """Return the namespace of ``x``; raise ``ValueError`` unless its dtype is a real float."""
    xp = array_namespace(x)
    if not xp.isdtype(x.dtype, "real floating"):
        raise ValueError(f"{name} must have a real floating dtype, got {x.dtype}")
    return xp


def log_sum_exp(logits: Array, *, axis: int) -> tuple[Array, Array]:
    """Return ``log sum exp`` over ``axis`` (removed) and the softmax along it.

    Both come from one exponential, shifted by the largest logit, which must be finite.
    """
    xp = array_namespace(logits)
    top = xp.max(logits, axis=axis, keepdims=True)
    terms = xp.exp(logits - top)
    total = xp.sum(terms, axis=axis, keepdims=True)
    return xp.squeeze(top + xp.log(total), axis=axis), terms / total
