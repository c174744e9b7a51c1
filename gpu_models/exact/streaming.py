r"""A streaming softmax over chunks of data rows, keeping apart the most probable row.

For logits ``l_i = rate u.m_i - bias |m_i|^2 / 2`` and the running top row ``t``,

    mass   = sum_{i != t} exp(l_i - l_t),
    second = sum_{i != t} exp(l_i - l_t) |m_i|^2 / 2,
    rest   = sum_{i != t} exp(l_i - l_t) m_i.

When a chunk holds a larger logit ``l_s``, every sum is scaled by ``exp(l_t - l_s)`` and row ``t``
joins the rest with that weight. No sum holds a term of order one beside the rest, so the rest keeps
its relative accuracy however small it is. A chunk costs two matrix products and one pass over its
logits; memory is that of one chunk, small enough to stay in the cache of a GPU. A chunk is computed
by one of four methods:

- ``plain``: library products and plain torch operations between them; everywhere.
- ``folded``: library products, and one Triton kernel for the softmax of a chunk.
- ``fused``: the softmax in the epilogue of a Triton product, so that logits are never stored; TF32
  and bf16 only.
- ``split``: products of factors in two TF32 parts, on tensor cores
  (:mod:`gpu_models.exact.split`); TF32x3 only, which on a processor is float32.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch

from analytic.rows import Rows
from steinlab.errors import InputError

ALIGNMENT = 16
"""Numbers: chunks start at multiples of it."""

EXTRA = 8
"""Lines below the rows in the factor of a fused sweep's second product: whole 16-byte words."""

PIECE = 16_384
"""Rows put on a device at once."""

MAX_COLUMNS = 16384
"""Rows of data in a folded chunk: a program of its kernel holds that many logits in registers."""

FUSED_COLUMNS = 65_536
"""Rows of data in a fused chunk: tensor cores sum that many weights without losing digits that
the bound does not have (:mod:`gpu_models.exact.rounding`)."""

SPLIT_COLUMNS = 2048
"""Rows of data in a split chunk, for the same reason: its bound has more digits."""


@dataclass(frozen=True)
class Precision:
    """How the two products are computed; sums and logits are kept in ``work``.

    Attributes
    ----------
    work : torch.dtype
        Of logits, accumulators and statistics.
    factor : torch.dtype
        Storage of the products' factors.
    unit : float
        Unit roundoff of the factors.
    """

    name: str
    work: torch.dtype
    factor: torch.dtype
    unit: float

    @property
    def tf32(self) -> bool:
        """Whether factors are float32 numbers rounded to TF32."""
        return self.name == "tf32"

    @property
    def split(self) -> bool:
        """Whether factors are float32 numbers in two TF32 parts, on a device."""
        return self.name == "tf32x3"

    def rounded(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` rounded to nearest as a factor of a product."""
        x = x.to(self.factor)
        if not self.tf32:
            return x
        bits = x.contiguous().view(torch.int32)
        nearest = ((bits + 0xFFF + ((bits >> 13) & 1)) & -8192).view(torch.float32)
        return torch.where(torch.isfinite(x), nearest, x)


PRECISIONS: Mapping[str, Precision] = MappingProxyType(
    {
        "float64": Precision("float64", torch.float64, torch.float64, 2.0**-53),
        "float32": Precision("float32", torch.float32, torch.float32, 2.0**-24),
        # two parts leave 2^-22 of each factor, and the product of the small ones another
        "tf32x3": Precision("tf32x3", torch.float32, torch.float32, 2.0**-21),
        "tf32": Precision("tf32", torch.float32, torch.float32, 2.0**-11),
        "bf16": Precision("bf16", torch.float32, torch.bfloat16, 2.0**-8),
    }
)
"""Precisions of the products by name."""


@dataclass(frozen=True)
class Atoms:
    """The centred data on one device in one precision of the products.

    ``factors`` and ``columns`` hold the same numbers, row by row for the first product and
    transposed for the second: on Hopper's tensor cores TF32 wants both factors contiguous along
    the axis that is summed.
    """

    precision: Precision
    centre: torch.Tensor  # (d,)
    rows: torch.Tensor  # (n, d) in the work dtype
    factors: torch.Tensor  # (n, d) rounded
    columns: torch.Tensor  # (d or more, n) rounded, see second_factor
    halves: torch.Tensor  # (n,) |m_i|^2 / 2 of the rounded rows, in the work dtype
    places: torch.Tensor  # (n,) of the rows in the data

    def part(self, which: slice | torch.Tensor, device: str) -> "Atoms":
        """Return some of the rows, by a slice or by their places, on a device."""
        factors = self.factors[which].to(device, non_blocking=True)
        same = isinstance(which, slice) and factors.device == self.factors.device
        rest = (self.rows[which], self.halves[which], self.places[which])
        rows, halves, places = (one.to(device, non_blocking=True) for one in rest)
        moved = None if same else second_factor(factors, halves, self.precision)
        columns = self.columns[:, which] if moved is None else moved
        return replace(
            self,
            centre=self.centre.to(device),
            rows=rows,
            factors=factors,
            columns=columns,
            halves=halves,
            places=places,
        )


@dataclass(frozen=True)
class Narrow:
    """Rows kept in 8 or 16 bits: a share becomes :class:`Atoms` on the device as it is used.

    Decoded and centred in float64, so that it holds the numbers of :func:`place`.
    """

    precision: Precision
    middle: torch.Tensor  # (d,) the centre in float64
    codes: torch.Tensor  # (n, d)
    low: float  # a row is low + step * code
    step: float
    halves: torch.Tensor  # (n,) as those of Atoms
    places: torch.Tensor  # (n,)

    @property
    def centre(self) -> torch.Tensor:
        """The centre in the work dtype, ``(d,)``."""
        return self.middle.to(self.precision.work)

    @property
    def rows(self) -> "Narrow":
        """Rows to be taken, as those of Atoms."""
        return self

    @property
    def shape(self) -> torch.Size:
        """``(n, d)``."""
        return self.codes.shape

    @property
    def dtype(self) -> torch.dtype:
        """Of rows that are taken."""
        return self.precision.work

    @property
    def device(self) -> torch.device:
        """Where codes lie."""
        return self.codes.device

    def __getitem__(self, key: Any) -> torch.Tensor:
        """Return rows in the work dtype, by a slice or by their places."""
        which = key[0] if isinstance(key, tuple) else key
        return self._decoded(self.codes[which])

    def _decoded(self, codes: torch.Tensor) -> torch.Tensor:
        wide = codes.double().mul_(self.step).add_(self.low)
        return wide.sub_(self.middle.to(codes.device)).to(self.precision.work)

    def part(self, which: slice | torch.Tensor, device: str) -> Atoms:
        """Return some of the rows, by a slice or by their places, on a device."""
        codes, halves, places = (
            one[which].to(device, non_blocking=True)
            for one in (self.codes, self.halves, self.places)
        )
        rows = self._decoded(codes)
        factors = self.precision.rounded(rows)
        on_host = device == "cpu"
        columns = factors.T if on_host else second_factor(factors, halves, self.precision)
        return Atoms(self.precision, self.centre.to(device), rows, factors, columns, halves, places)


NARROW = (np.int8, np.uint8, np.int16, np.float16)
"""What rows are kept as on a device; others become work rows, and factors of products."""


def is_narrow(data: object) -> bool:
    """Whether a data set is kept in few bits."""
    return isinstance(data, Rows) and data.kept.dtype in NARROW


def keep(
    data: Rows, centre: np.ndarray, precision: Precision, device: str, *, start: int = 0
) -> Narrow:
    """Put narrow rows on a device as they are; ``start`` is the place of the first."""
    middle = torch.as_tensor(centre)
    codes = torch.empty(data.shape, dtype=_torch_dtype(data.kept.dtype), device=device)
    halves = torch.empty(len(data), dtype=precision.work, device=device)
    places = torch.arange(start, start + len(data), device=device)
    found = Narrow(precision, middle.to(device), codes, data.low, data.step, halves, places)
    for i in range(0, len(data), PIECE):
        piece = slice(i, min(i + PIECE, len(data)))
        codes[piece] = torch.as_tensor(np.array(data.kept[piece]))
        halves[piece] = 0.5 * (precision.rounded(found[piece]).double() ** 2).sum(dim=1)
    return found


def _torch_dtype(dtype: Any) -> torch.dtype:
    return torch.as_tensor(np.empty(0, dtype)).dtype


def two_parts(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return float32 numbers as two of TF32, up to ``2^-22`` of themselves."""
    rounded = PRECISIONS["tf32"].rounded
    large = rounded(x)
    return large, rounded(x - large)


def second_factor(
    factors: torch.Tensor, halves: torch.Tensor, precision: Precision
) -> torch.Tensor:
    """Return the second product's factor, transposed: the rows and, for a fused sweep, more.

    Below the rows stand ones and ``|m_i|^2 / 2`` in three parts that sum to it, rounded as factors,
    so that a product with weights gives ``rest``, ``mass`` and ``second``; zeros fill eight lines.
    For a split sweep the large parts of the rows stand above the small ones.
    """
    if precision.split:
        return torch.cat([part.T for part in two_parts(factors)])
    (count, dim), extra = factors.shape, EXTRA if precision.name in FUSED else 0
    columns = factors.new_empty((dim + extra, count))
    columns[:dim] = factors.T
    if extra:
        columns[dim], columns[dim + 4 :], left = 1, 0, halves
        for line in range(dim + 1, dim + 4):
            columns[line] = precision.rounded(left)
            left = left - columns[line].to(left.dtype)
    return columns


def place(
    data: np.ndarray, centre: np.ndarray, precision: Precision, device: str, *, start: int = 0
) -> Atoms:
    """Centre the data in float64 and put it on a device; ``start`` is the place of its first row.

    Rows go by pieces, so that no second copy of the data is made on the host.
    """
    shape, pinned = data.shape, device == "cpu" and torch.cuda.is_available()
    rows = torch.empty(shape, dtype=precision.work, device=device, pin_memory=pinned)
    exact = precision.factor == precision.work and not precision.tf32
    factors = rows if exact else torch.empty_like(rows, dtype=precision.factor)
    halves = torch.empty(shape[0], dtype=precision.work, device=device)
    for i in range(0, shape[0], PIECE):
        piece = torch.as_tensor(data[i : i + PIECE] - centre)
        rows[i : i + PIECE] = piece.to(device=device, dtype=precision.work)
        rounded = precision.rounded(rows[i : i + PIECE])
        factors[i : i + PIECE] = rounded
        halves[i : i + PIECE] = 0.5 * (rounded.double() ** 2).sum(dim=1)
    return Atoms(
        precision,
        torch.as_tensor(centre).to(device=device, dtype=precision.work),
        rows,
        factors,
        second_factor(factors, halves, precision) if device != "cpu" else factors.T,
        halves,
        torch.arange(start, start + shape[0], device=device),
    )


@dataclass(frozen=True)
class State:
    """Running statistics of a block of queries, with ``ref`` in place of ``l_t`` in the sums."""

    top_logit: torch.Tensor  # (N,)
    mass: torch.Tensor  # (N,)
    second: torch.Tensor  # (N,)
    top: torch.Tensor  # (N,) index of the top row, int32
    rest: torch.Tensor  # (N, d)
    ref: torch.Tensor  # (N,) top_logit itself, or below it by a bounded margin


class Chunk(NamedTuple):
    """A block of queries by rows: their logits, and room for their weights in the factors' dtype.

    ``logits`` hold ``rate u . m_i`` on entry to a fold; both are contiguous and may be one array.
    """

    start: int
    logits: torch.Tensor  # (N, C)
    weights: torch.Tensor  # (N, C)


def empty_state(u: torch.Tensor, atoms: Atoms) -> State:
    """Return the statistics of no rows at all."""
    count, work = u.shape[0], atoms.precision.work

    def zeros(*shape: int, dtype: torch.dtype = work) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype, device=u.device)

    top_logit = torch.full((count,), -torch.inf, dtype=work, device=u.device)
    top = zeros(count, dtype=torch.int32)
    return State(top_logit, zeros(count), zeros(count), top, zeros(count, u.shape[1]), top_logit)


def fold_plain(state: State, chunk: Chunk, atoms: Atoms, bias: torch.Tensor) -> None:
    """Fold a chunk into the statistics with plain torch operations.

    Parameters
    ----------
    state : State
        Changed in place.
    chunk : Chunk
        Its weights become ``exp(logit - max)``, rounded, and 0 at the top row.
    atoms : Atoms
    bias : tensor ()
        Factor of ``|m_i|^2 / 2`` in a logit.
    """
    start, logits, weights = chunk
    halves = atoms.halves[start : start + logits.shape[1]]
    logits.sub_(bias * halves)
    best, where = logits.max(dim=1)
    wins, new = best > state.top_logit, torch.maximum(best, state.top_logit)
    logits.sub_(new[:, None]).exp_()
    if not logits.is_cuda:  # products with subnormal numbers crawl on some processors
        logits.masked_fill_(logits < torch.finfo(logits.dtype).smallest_normal, 0.0)
    column = where[:, None]
    logits.scatter_(1, column, logits.gather(1, column).masked_fill(wins[:, None], 0.0))
    weights.copy_(atoms.precision.rounded(logits))
    scale = torch.exp(state.top_logit - new)
    joining = torch.where(wins, scale, torch.zeros_like(scale))
    before, exact = state.top.long(), weights.to(logits.dtype)
    state.mass.mul_(scale).add_(exact.sum(dim=1)).add_(joining)
    state.second.mul_(scale).add_(exact @ halves).add_(joining * atoms.halves[before])
    state.rest.mul_(scale[:, None]).addcmul_(joining[:, None], atoms.factors[before])
    state.top.copy_(torch.where(wins, start + where, before))
    state.top_logit.copy_(new)


Fold = Callable[[State, Chunk, Atoms, torch.Tensor], None]
"""``fold_plain`` or the Triton kernel of the same signature."""


@contextmanager
def product_mode(precision: Precision) -> Iterator[None]:
    """Allow TF32 in float32 products where the precision asks for it, and only there."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32" if precision.tf32 else "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def first_product(u: torch.Tensor, rows: torch.Tensor, out: torch.Tensor) -> None:
    """Write ``u rows'`` in ``out``'s dtype: bf16 factors are summed in float32."""
    if u.dtype == out.dtype:
        torch.mm(u, rows.T, out=out)
    elif u.is_cuda:
        torch.mm(u, rows.T, out_dtype=out.dtype, out=out)
    else:
        torch.mm(u.to(out.dtype), rows.to(out.dtype).T, out=out)


def second_product(
    weights: torch.Tensor, columns: torch.Tensor, rest: torch.Tensor, *, add: bool = True
) -> None:
    """Add ``weights columns'`` to ``rest`` in its dtype, or write it there."""
    if not add:
        first_product(weights, columns, rest)
    elif weights.dtype == rest.dtype:
        torch.addmm(rest, weights, columns.T, out=rest)
    elif weights.is_cuda:
        try:
            torch.addmm(rest, weights, columns.T, out_dtype=rest.dtype, out=rest)
        except (RuntimeError, TypeError):
            rest.add_(torch.mm(weights, columns.T, out_dtype=rest.dtype))
    else:
        rest.addmm_(weights.to(rest.dtype), columns.to(rest.dtype).T)


def few_product(
    weights: torch.Tensor, cut: torch.Tensor, factors: torch.Tensor, rest: torch.Tensor
) -> None:
    """Add to ``rest`` the sparse product of the weights above ``cut`` with ``factors``."""
    kept = torch.where(weights > cut, weights, torch.zeros_like(weights)).to(rest.dtype)
    rest.add_(torch.sparse.mm(kept.to_sparse(), factors.to(rest.dtype)))


def finish_chunk(state: State, chunk: Chunk, atoms: Atoms, cut: float | None) -> None:
    """Add a folded chunk's rows to the partial sums.

    Parameters
    ----------
    state : State
    chunk : Chunk
        Folded: its weights are those that ``state.mass`` sums.
    atoms : Atoms
    cut : float or None
        Weights below this share of the mass may be left out; None keeps every one. The mass only
        grows from chunk to chunk, so that ``n`` of them are at most ``n cut`` of the final one.
    """
    start, end = chunk.start, chunk.start + chunk.weights.shape[1]
    if cut is None:
        columns = atoms.columns[: state.rest.shape[1], start:end]
        second_product(chunk.weights, columns, state.rest)
    else:
        few_product(chunk.weights, cut * state.mass[:, None], atoms.factors[start:end], state.rest)


def even_chunk(total: int, columns: int) -> int:
    """Return the length of chunks of one size, a multiple of 16 (aligned loads), near ``columns``.

    Examples
    --------
    >>> even_chunk(60_000, 2048), even_chunk(10, 4)
    (2000, 10)
    """
    chunks = -(-total // max(columns, ALIGNMENT))
    return min(total, -(-total // (chunks * ALIGNMENT)) * ALIGNMENT)


def sweep(
    u: torch.Tensor,
    bias: torch.Tensor,
    atoms: Atoms,
    columns: int,
    cut: float | None = None,
    *,
    fold: Fold,
) -> State:
    """Return the statistics of all rows for the scaled queries ``rate u``, shape ``(N, d)``.

    Parameters
    ----------
    u : tensor (N, d)
        Rounded to the precision's factors.
    bias : tensor ()
        In the work dtype, on the device.
    columns : int
        Rows of data in a chunk.
    cut : float or None
        Share of the mass below which a weight may be left out, see :func:`finish_chunk`.
    fold : Fold
    """
    count, total, precision = u.shape[0], atoms.halves.shape[0], atoms.precision
    columns = even_chunk(total, columns)
    state = empty_state(u, atoms)
    buffer = torch.empty(count * columns, dtype=precision.work, device=u.device)
    narrow = precision.factor != precision.work
    small = torch.empty_like(buffer, dtype=precision.factor) if narrow else buffer
    for start in range(0, total, columns):
        end = min(start + columns, total)
        size, shape = count * (end - start), (count, end - start)
        chunk = Chunk(start, buffer[:size].view(shape), small[:size].view(shape))
        first_product(u, atoms.factors[start:end], chunk.logits)
        fold(state, chunk, atoms, bias)
        finish_chunk(state, chunk, atoms, cut)
    return state


Sweep = Callable[[torch.Tensor, torch.Tensor, Atoms, int, float | None], State]
"""``(rounded queries, bias, atoms, rows in a chunk, cut) -> statistics`` of all rows."""


def _plain(precision: Precision, dim: int, *, cuda: bool) -> Sweep:  # noqa: ARG001
    if precision.split and cuda:
        raise InputError(f"method must be split for {precision.name} on a device, got plain")
    return partial(sweep, fold=fold_plain)


def _folded(precision: Precision, dim: int, *, cuda: bool) -> Sweep:  # noqa: ARG001
    _require_triton("folded", cuda=cuda)
    if precision.split:
        raise InputError(f"method must be split for {precision.name} on a device, got folded")
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


def _split(precision: Precision, dim: int, *, cuda: bool) -> Sweep:  # noqa: ARG001
    _require_triton("split", cuda=cuda)
    if not precision.split:
        raise InputError(f"method must not be split for {precision.name}: it is for tf32x3")
    from gpu_models.exact.split import split_sweep

    return split_sweep


def _aligned(precision: Precision, dim: int) -> bool:
    """Whether a row is whole 16-byte words, as Hopper's tensor copies want it."""
    return dim * torch.empty(0, dtype=precision.factor).element_size() % 16 == 0


def has_triton(x: torch.Tensor, precision: Precision) -> bool:
    """Whether Triton's kernels for sums in float32 serve these states."""
    return x.is_cuda and precision.work == torch.float32 and bool(find_spec("triton"))


def _require_triton(method: str, *, cuda: bool) -> None:
    if not (cuda and find_spec("triton")):
        raise InputError(f"method must be plain without CUDA and Triton, got {method}")


FUSED = ("tf32", "bf16")
"""Precisions of the fused product."""

METHODS: Mapping[str, Callable[..., Sweep]] = MappingProxyType(
    {"plain": _plain, "folded": _folded, "fused": _fused, "split": _split}
)
"""Every method by name: a factory of its sweep."""


def default_method(precision: Precision, dim: int, *, cuda: bool) -> str:
    """Return the fastest method as measured on an H200 (docs/gpu.md)."""
    if cuda and precision.split:
        return "split"
    if not (cuda and find_spec("triton")):
        return "plain"
    return "fused" if precision.name in FUSED and _aligned(precision, dim) else "folded"
