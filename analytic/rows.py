r"""Rows of a data set as they are kept: where they lie, or as whole numbers on a grid.

A memory map stays the map that other processes read. Pictures lie on a grid,

    row = low + step * code,      code a whole number of 8 or 16 bits,

an eighth or a quarter of their float64. Whoever takes rows gets float64, decoded as they are taken;
whoever multiplies with them decodes :data:`PIECE` rows at a time.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from array_api_compat import device

from analytic.arrays import Array, host, like, namespace
from analytic.parameters import finite

PIECE = 512
"""Rows decoded at once: they stay in a cache."""

SEEN = 2**18
"""Numbers from which a grid's step is guessed; every number then has to lie on it."""

NEAR = 4.0
"""Distance of a number from its place on the grid, in ``eps`` of the largest: it is no other."""

STORAGES = ("work", "given", "codes")
"""How a data set's rows are kept: centred in the states' dtype, as they are given, as codes."""


class Rows:
    """An array ``(n, d)`` in float64 to whoever takes some of it, kept as something smaller.

    Parameters
    ----------
    kept : array (n, d)
        Of any real dtype; a memory map is kept as it is.
    low, step : float
        A row is ``low + step * kept``; finite.

    Raises
    ------
    ValueError
        Naming ``low`` or ``step``, its value and the requirement.

    Examples
    --------
    >>> rows = Rows(np.array([[0, 255]], dtype=np.uint8), -1.0, 1 / 127.5)
    >>> rows[0].tolist(), len(rows), rows.nbytes
    ([-1.0, 1.0], 1, 2)
    """

    dtype = np.dtype(np.float64)

    def __init__(self, kept: np.ndarray, low: float = 0.0, step: float = 1.0) -> None:
        self.low, self.step = (float(finite(*one)) for one in (("low", low), ("step", step)))
        self.kept = kept
        self.shape, self.ndim = kept.shape, kept.ndim

    @property
    def nbytes(self) -> int:
        """What is kept, in bytes."""
        return int(self.kept.nbytes)

    def __len__(self) -> int:
        """Return ``n``."""
        return int(self.shape[0])

    def part(self, which: slice) -> "Rows":
        """Return some rows, kept as they are."""
        return Rows(self.kept[which], self.low, self.step)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Return some rows in float64."""
        rows = np.array(self.kept[key], dtype=np.float64)
        if self.step != 1:
            rows *= self.step
        if self.low:
            rows += self.low
        return rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all rows: this is what is avoided elsewhere."""
        if copy is False:
            raise ValueError("copy must not be False of rows that are decoded")
        return self[:].astype(dtype or np.float64, copy=False)


class Centred:
    """Rows less a centre in the library, dtype and device of states, decoded as they are used."""

    __array_ufunc__ = None  # NumPy arrays on the left leave the product to __rmatmul__

    def __init__(self, rows: Rows, centre: np.ndarray, x: Array) -> None:
        self.rows, self.centre, self.x = rows, centre, x[:0]
        self.shape, self.dtype = rows.shape, x.dtype

    def __getitem__(self, key: Any) -> Array:
        """Return rows by a slice, their places or booleans; whatever follows takes all columns."""
        first = key[0] if isinstance(key, tuple) else key
        which = first if isinstance(first, slice) else host(first)
        return like(self.rows[which] - self.centre, self.x)

    @property
    def T(self) -> "Turned":
        """The other factor of ``u @ rows.T``."""
        return Turned(self)

    def pieces(self) -> Iterator[tuple[slice, Array]]:
        """Yield the rows, and their places."""
        for i in range(0, self.shape[0], PIECE):
            here = slice(i, min(i + PIECE, self.shape[0]))
            yield here, self[here]

    def __rmatmul__(self, weights: Array) -> Array:
        """Return ``weights @ rows``, ``(N, d)``."""
        return sum(weights[:, here] @ piece for here, piece in self.pieces())


class Turned:
    """Centred rows as columns."""

    __array_ufunc__ = None

    def __init__(self, rows: Centred) -> None:
        self.rows = rows

    def __rmatmul__(self, u: Array) -> Array:
        """Return ``u @ rows.T``, ``(N, n)``."""
        xp = namespace(u)
        out = xp.empty((u.shape[0], self.rows.shape[0]), dtype=u.dtype, device=device(u))
        for here, piece in self.rows.pieces():
            out[:, here] = u @ piece.T
        return out


def pieces(data: Any) -> Iterator[np.ndarray]:
    """Yield the rows of a data set in float64: an array at once, others piece by piece."""
    if isinstance(data, np.ndarray):
        yield data
        return
    for i in range(0, len(data), PIECE):
        yield data[i : i + PIECE]


def kept(data: Any, storage: str | None) -> Any:
    """Return a data set as it is to be kept: finite float64, or :class:`Rows`.

    Parameters
    ----------
    data : array (n, d) or Rows
    storage : {"work", "given", "codes"}, optional
        By default ``given`` for a memory map and for :class:`Rows`, otherwise ``work``.

    Raises
    ------
    ValueError
        Naming the field, its value and the requirement.
    """
    if storage is None:
        storage = "given" if isinstance(data, np.memmap | Rows) else "work"
    if storage not in STORAGES:
        raise ValueError(f"storage must be one of {', '.join(STORAGES)}, got {storage}")
    if storage == "codes":
        known = isinstance(data, Rows) and data.kept.dtype in (np.int8, np.int16)
        return data if known else coded(data)
    if storage == "work":
        return finite("data", data)
    rows = data if isinstance(data, Rows) else Rows(np.asarray(data))
    if rows.kept.dtype.kind not in "iuf":
        raise ValueError(f"data must have a real dtype to be kept as given, got {rows.kept.dtype}")
    if rows.kept.ndim == 2:
        for piece in pieces(rows):
            finite("data", piece)
    return rows


def coded(data: Any) -> Rows:
    """Return rows as codes of 8 or 16 bits; raise where they lie on no grid of 65,536 steps.

    The step is guessed from the nearest two of some numbers. Every number has to lie within
    ``4 eps`` of the largest one from its place.

    Examples
    --------
    >>> pictures = np.arange(256.0).reshape(2, 128) / 127.5 - 1
    >>> rows = coded(pictures)
    >>> str(rows.kept.dtype), bool(abs(rows[:] - pictures).max() < 1e-15)
    ('int8', True)
    """
    data = finite("data", data)
    if data.ndim != 2 or not data.size:
        return Rows(data)
    low, high, eps = float(data.min()), float(data.max()), float(np.finfo(np.float64).eps)
    refused = "storage must be work or given for rows on no grid of 65536 places, got codes"
    if high - low == math.inf:
        raise ValueError(f"{refused} and numbers from {low} to {high}")
    near = NEAR * eps * max(abs(low), abs(high))
    flat = data.reshape(-1)
    gaps = np.diff(np.unique(flat[:: max(1, flat.size // SEEN)]))
    gap = float(gaps[gaps > 2 * near].min(initial=high - low))
    last = round((high - low) / gap) if gap else 0
    if last >= 2**16:
        raise ValueError(f"{refused} and a step of {gap}")
    dtype, half = np.int8 if last < 2**8 else np.int16, (last + 1) // 2
    step = (high - low) / last if last else 1.0
    rows = Rows(np.empty(data.shape, dtype=dtype), low + half * step, step)
    for i in range(0, len(data), PIECE):
        piece = data[i : i + PIECE]
        rows.kept[i : i + PIECE] = np.rint((piece - low) / step) - half
        off = np.abs(rows[i : i + PIECE] - piece)
        if off.max() > near:
            raise ValueError(f"{refused} and {piece.flat[off.argmax()]}")
    return rows
