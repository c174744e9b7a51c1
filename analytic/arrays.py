"""Array operations that the array API standard lacks, on arrays of any library."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
from array_api_compat import (
    array_namespace,
    device,
    is_numpy_array,
    is_torch_array,
    to_device,
)

Array = Any
"""An array of any library that follows the array API: NumPy, torch, array-api-strict."""


_NUMPY = array_namespace(np.empty(0))


def namespace(x: Array) -> Any:
    """Return the array API namespace of ``x``, with a short cut for NumPy."""
    return _NUMPY if type(x) is np.ndarray else array_namespace(x)


def like(values: Any, x: Array) -> Array:
    """Return ``values`` (numbers or a NumPy array) with the library, dtype and device of ``x``."""
    if isinstance(x, np.ndarray):
        return np.asarray(values, dtype=x.dtype)
    xp = array_namespace(x)
    return xp.asarray(values, dtype=x.dtype, device=device(x))


def host(x: Array, dtype: Any = None) -> np.ndarray:
    """Return an array of any library and device as NumPy's, in its own dtype or another."""
    return np.asarray(x if isinstance(x, np.ndarray) else to_device(x, "cpu"), dtype=dtype)


def on_cpu(x: Array) -> bool:
    """Return whether an array lies in the memory of the CPU."""
    return isinstance(x, np.ndarray) or getattr(device(x), "type", "cpu") == "cpu"


def assign(x: Array, columns: Array, value: float) -> None:
    """Set one entry of every row of ``x``, ``(N, n)``, in place: that of its column ``(N,)``."""
    if is_numpy_array(x) or is_torch_array(x):
        x[array_namespace(x).arange(x.shape[0], device=device(x)), columns] = value
        return
    for row in range(x.shape[0]):  # the standard assigns to one place at a time
        x[row, int(columns[row])] = value


class Linear:
    """What follows from the ``+``, the negation and the product with scalars of a subclass.

    A solver's step does nothing else with states, so it runs on values with parts of their own:
    derivatives, or sizes of rounding errors.
    """

    __array_ufunc__ = None  # NumPy scalars on the left leave the product to __rmul__

    def __radd__(self: Any, other: Any) -> Any:
        return self + other

    def __sub__(self: Any, other: Any) -> Any:
        return self + (-other)

    def __rsub__(self: Any, other: Any) -> Any:
        return -self + other

    def __rmul__(self: Any, scale: Any) -> Any:
        return self * scale


def require_floating(x: Array, name: str = "x") -> Any:
    """Return the namespace of ``x``; raise ``ValueError`` unless it is an array of real floats."""
    try:
        xp = namespace(x)
    except TypeError:
        raise ValueError(f"{name} must be an array of numbers, got {type(x).__name__}") from None
    plain = xp is _NUMPY and x.dtype.kind == "f"
    if not plain and not xp.isdtype(x.dtype, "real floating"):
        raise ValueError(f"{name} must have a real floating dtype, got {x.dtype}")
    return xp


def log_sum_exp(logits: Array, *, axis: int) -> tuple[Array, Array]:
    """Return ``log sum exp`` over ``axis`` (removed) and the softmax along it.

    Both come from one exponential, shifted by the largest logit, which must be finite.
    """
    xp = namespace(logits)
    largest, summed = (xp.max, xp.sum) if xp is not _NUMPY else (np.maximum.reduce, np.add.reduce)
    top = largest(logits, axis=axis, keepdims=True)
    terms = xp.exp(logits - top)
    total = summed(terms, axis=axis, keepdims=True)
    return xp.squeeze(top + xp.log(total), axis=axis), terms / total


def sum_over(x: Array, axis: int) -> Array:
    """Sum over an axis; one entry, the usual case on the line, is its own sum.

    Few coordinates, on the last axis, are added one after the other, as NumPy adds them, which
    spends a loop on each state.
    """
    count = x.shape[axis]
    if not isinstance(x, np.ndarray):
        xp = namespace(x)
        return xp.squeeze(x, axis=axis) if count == 1 else xp.sum(x, axis=axis)
    if count == 1:
        return x.squeeze(axis)
    if axis == -1 and count < FEW and x.size > MANY:
        return reduce(np.add, [x[..., i] for i in range(count)])
    return np.add.reduce(x, axis=axis)


def products(a: Array, b: Array) -> Array:
    """Return ``sum_i a_i b_i`` over the last axis; axes before it broadcast.

    NumPy adds few coordinates one after the other, as :func:`sum_over` does, and takes the others
    in one pass without the product in memory: a fifth of the time in 64 dimensions.
    """
    if not isinstance(a, np.ndarray):
        return sum_over(a * b, -1)
    if a.shape[-1] >= FEW:
        return np.einsum("...i,...i->...", a, b)
    return reduce(np.add, [a[..., i] * b[..., i] for i in range(a.shape[-1])])


def mixed(shares: Array, parts: Array) -> Array:
    """Return ``sum_k r_k z_k`` of shares ``(..., K, N, 1)`` and parts ``(..., K, N or 1, d)``."""
    if isinstance(parts, np.ndarray) and parts.shape[-1] >= FEW:
        return np.einsum("...kn,...kni->...ni", shares[..., 0], parts)
    return sum_over(shares * parts, -3)


FEW, MANY = 8, 2**9
"""Up to this number of terms NumPy's sum has no other order; so many numbers pay the slices."""


def as_rows(x: Array, dim: int, name: str = "x") -> Array:
    """Return states ``(..., N, d)``: a single state ``(d,)`` becomes one row.

    Raise ``ValueError`` unless ``x`` is real floating with ``dim`` coordinates in its last axis.
    """
    require_floating(x, name)
    if x.ndim == 0 or x.shape[-1] != dim:
        raise ValueError(
            f"{name} must have {dim} coordinates in its last axis, got the shape {tuple(x.shape)}"
        )
    return x[None, :] if x.ndim == 1 else x


def un_row(out: Array, x: Array) -> Array:
    """Drop the row axis again where ``x`` was a single state; ``out`` starts with that axis."""
    return out[0, ...] if x.ndim == 1 else out


def by_rows(
    function: Callable[..., tuple[Array, ...]], num_rows: int, *args: Array
) -> tuple[Array, ...]:
    """Apply ``function`` to at most ``num_rows`` rows (axis -2) of all ``args`` at a time.

    Every output must have its rows on the row axis of the argument with the most axes.
    """
    count = args[0].shape[-2]
    if count <= num_rows:
        return function(*args)
    parts = [
        function(*(arg[..., i : min(i + num_rows, count), :] for arg in args))
        for i in range(0, count, num_rows)
    ]
    axis = max(arg.ndim for arg in args) - 2
    concat = array_namespace(*args).concat
    return tuple(concat(list(pieces), axis=axis) for pieces in zip(*parts, strict=True))
