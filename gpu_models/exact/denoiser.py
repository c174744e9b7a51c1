r"""The exact denoiser of a data set on a GPU, with its exact divergence in the same pass.

The law and the formulas are those of :class:`analytic.EmpiricalMixture`; the softmax streams over
chunks of the data (:mod:`gpu_models.exact.streaming`), so that an evaluation is two matrix products
and little else. With ``mass``, ``second`` and ``rest`` divided by the weight of all rows,

    shift = rest - mass m_top,
    V_atoms = 2 second - mass |m_top|^2 - shift . (2 m_top + shift),

and ``D``, ``V`` and ``div D`` follow as there.
"""

import math
import weakref
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from analytic import EmpiricalMixture, NoiseLevel
from analytic.arrays import Array, as_rows
from analytic.empirical import Gains
from analytic.posterior import ExactDenoiser
from analytic.rows import Rows
from analytic.screening import SAMPLED, Heads, Screen, heads, share
from gpu_models.exact.parts import Part, gathered, joined
from gpu_models.exact.streaming import (
    FUSED_COLUMNS,
    MAX_COLUMNS,
    METHODS,
    PRECISIONS,
    Atoms,
    Narrow,
    Precision,
    Sweep,
    default_method,
    first_product,
    has_triton,
    is_narrow,
    keep,
    place,
    product_mode,
)
from steinlab.errors import InputError, one_of

QUERIES = 4096
"""States evaluated at once."""

CHUNK_BYTES, FUSED_BYTES = 2**28, 2**30
"""Default memory of a chunk; products of fewer rows measure slower than the cache they save."""

ROOM = 0.7
"""Share of the device's free memory that rows may take."""

DEAR = ("float64", "float32", "tf32x3")
"""Precisions whose products are slow enough on a device that leaving rows out pays, and a sparse
product: in TF32 and bf16 a product of 784 coordinates is done sooner than its heads are read."""

WIDE = 2048
"""Coordinates from which leaving rows out pays in any precision."""

SHARE = 2**16
"""Narrow rows that are factors of products at once."""

FEW_WEIGHTS = 1 / 512
"""Share of weights that count below which a sparse product pays."""

SMALLEST = 64
"""Numbers of queries and of rows below which running out of memory ends the run."""


class Moments(NamedTuple):
    """``D``, ``div D`` and ``V = tr Cov(x_star | x)`` of a batch of states."""

    denoised: Array
    divergence: Array
    variance: Array


Shares = Callable[[], Iterator[Atoms]]
"""Brings rows to the device, share by share, as often as it is called."""


class Posterior(NamedTuple):
    """The posterior of a block of queries over the rows, written around the top row."""

    u: torch.Tensor  # (N, d) x - alpha c in the work dtype
    scaled: torch.Tensor  # (N, d) rate u, rounded to the products' factors
    part: Part
    shares: Shares  # of the rows that were not left out
    total: torch.Tensor  # (N, 1) weight of all rows
    mass: torch.Tensor  # (N, 1) probability of the other rows
    shift: torch.Tensor  # (N, d) posterior mean of the rows, less the top row
    spread: torch.Tensor  # (N,) V_atoms


def centred(
    x: torch.Tensor, shift: torch.Tensor, rate: float, precision: Precision
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``u = x - shift`` in the work dtype, and ``rate u`` rounded to the factors."""
    u = (x - shift).to(precision.work)
    return u, precision.rounded(rate * u)


def moments_of(part: Part, u: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return a posterior's ``total``, ``mass``, ``shift`` and ``spread``."""
    # rounding a weight to TF32 may lose that it is not a number: the query says it again
    mass = part.mass[:, None] + 0 * u.sum(dim=1, keepdim=True)
    total = torch.exp(part.top_logit - part.ref)[:, None] + mass
    rest, mass, second = part.rest / total, mass / total, part.second / total[:, 0]
    top = part.factor
    shift = rest - mass * top
    spread = 2 * second - mass[:, 0] * (top**2).sum(-1) - (shift * (2 * top + shift)).sum(-1)
    return total, mass, shift, spread


def derivative(
    post: Posterior, gains: Gains, tangent: torch.Tensor, columns: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``sum r_i t.(m_i - m_top) m_i`` and the sum of those weights: a second pass."""
    part, t = post.part, tangent.to(post.u.dtype)
    bias = gains.alpha**2 / gains.v
    along_top = (t * part.factor).sum(-1, keepdim=True)
    second, sums = torch.zeros_like(t), torch.zeros_like(post.mass)
    for atoms in post.shares():
        for start in range(0, len(atoms.halves), columns):
            here = slice(start, start + columns)
            rows = atoms.factors[here].to(t.dtype)
            logits = post.scaled.to(t.dtype) @ rows.T - bias * atoms.halves[here]
            weights = torch.exp(logits - part.ref[:, None]) / post.total
            weights = weights * (t @ rows.T - along_top)
            weights = weights.masked_fill(atoms.places[here] == part.place[:, None], 0.0)
            second += weights @ rows
            sums += weights.sum(-1, keepdim=True)
    return second, sums


@dataclass(frozen=True, eq=False)
class ScaledEmpirical(ExactDenoiser):
    r"""A data set under the forward process, exact at every noise level, on any torch device.

    States are NumPy arrays or torch tensors ``(..., N, d)`` or ``(d,)``; results come back in their
    library, dtype and device. The last evaluation is kept: asking for the divergence at a state
    that was just denoised costs nothing.

    Guarantee: with ``delta`` the error of a logit, ``D`` is off by at most ``expm1(2 delta)
    sqrt(V_atoms)`` and ``V_atoms`` by ``expm1(2 delta)`` of itself, plus the rounding of sums
    (:mod:`gpu_models.exact.rounding`). ``delta`` grows as ``unit alpha |u| |m| / v``: bf16 factors
    serve large noise, or small noise where the nearest row is far ahead of the others.

    Parameters
    ----------
    data : array (n, d)
        Finite, in NumPy; a copy stays in float64 on the host.
    bandwidth : float
        Standard deviation ``b >= 0`` of every component.
    precision : {"float64", "float32", "tf32x3", "tf32", "bf16"}
        Of the factors of the products; sums are float32 in the last four. ``tf32x3`` is float32 by
        three products in TF32 on a device: some digits less, in half the time.
    device : str
    method : {"auto", "plain", "folded", "fused", "split"}
        How a chunk is computed, see :mod:`gpu_models.exact.streaming`; ``auto`` takes the fastest
        that the device and the precision have.
    queries : int
        States evaluated at once, > 0.
    chunk_bytes : int, optional
        Memory of a chunk of logits, > 0; by default 1 GiB if ``fused``, else 256 MiB. Halved, down
        to 64 rows and 64 queries, whenever the device runs out of memory.
    left_out : float, optional
        As of :class:`analytic.EmpiricalMixture`: share of the probability of all rows but the most
        probable one that may be left out; 0 for none, half the epsilon of the sums by default.
    device_rows : int, optional
        Rows on the device at once; the others wait in the host's memory and come share by share.
        By default all of them where they fit.
    storage : {"work", "given", "codes"}, optional
        As of :class:`analytic.EmpiricalMixture`. Rows of 8 or 16 bits stay so on the device too,
        and become factors of products a share at a time.
    spread : bool
        Whether the rows are spread over the processes of ``torch.distributed``, which has started:
        each holds a share of the rows, evaluates the same states, and returns the same bits.

    Raises
    ------
    InputError
        Naming the field, its value and the requirement.

    Examples
    --------
    Two points: the denoiser is ``tanh(x / sigma^2)``.

    >>> law = ScaledEmpirical(np.array([[-1.0], [1.0]]), precision="float64")
    >>> bool(abs(law(np.array([0.5]), NoiseLevel(1.0, 1.0))[0] - math.tanh(0.5)) < 1e-15)
    True
    """

    data: np.ndarray = field(repr=False)
    bandwidth: float = 0.0
    _: KW_ONLY
    precision: str = "float32"
    device: str = "cpu"
    method: str = "auto"
    queries: int = QUERIES
    chunk_bytes: int | None = None
    left_out: float | None = None
    device_rows: int | None = None
    spread: bool = False
    storage: str | None = None
    law: EmpiricalMixture = field(init=False, repr=False)
    atoms: Atoms | Narrow = field(init=False, repr=False)
    cache: dict[str, Any] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        one_of("precision", self.precision, PRECISIONS)
        one_of("method", self.method, ("auto", *METHODS))
        for name in ("queries", "chunk_bytes", "device_rows"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InputError(f"{name} must be > 0, got {value}")
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise InputError(f"device must be one that torch sees, got {self.device}: no CUDA here")
        try:
            law = EmpiricalMixture(
                self.data, self.bandwidth, left_out=self.left_out, storage=self.storage
            )
        except ValueError as error:
            raise InputError(str(error)) from error
        object.__setattr__(self, "law", law)
        object.__setattr__(self, "data", law.data)
        own = self._own_rows()
        rows: Any = law.data.part(own) if isinstance(law.data, Rows) else law.data[own]
        home = self.device if self._on_device(len(rows)) else "cpu"
        put = keep if is_narrow(rows) else place
        atoms = put(rows, law.centre, self._precision, home, start=own.start)
        object.__setattr__(self, "atoms", atoms)
        self.cache["sweep"], self.cache["guesses"] = self._sweep(), {}

    @property
    def dim(self) -> int:
        """Dimension ``d`` of the states."""
        return self.law.dim

    @property
    def smallest_variance(self) -> float:
        """Variance ``b^2`` of every component; the data may spread more."""
        return self.law.smallest_variance

    def mean(self) -> np.ndarray:
        """Return ``E[x_star]``, shape ``(d,)``."""
        return self.law.mean()

    def second_moment(self) -> np.ndarray:
        """Return ``E|x_star|^2``, shape ``()``."""
        return self.law.second_moment()

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw ``n`` states from the data law, shape ``(n, d)``."""
        return self.law.sample(n, rng)

    def denoise(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``D(x) = E[x_star | x]``, shape of ``x``."""
        return self.moments(x, level).denoised

    def denoise_and_divergence(self, x: Array, level: NoiseLevel) -> tuple[Array, Array]:
        """Return ``D`` and ``div D`` from one pass."""
        moments = self.moments(x, level)
        return moments.denoised, moments.divergence

    def moments(self, x: Array, level: NoiseLevel) -> Moments:
        """Return ``D``, ``div D`` and ``V`` from one pass, or from the last one at this state."""
        last = self.cache.get("last")
        stamp = (getattr(x, "_version", None), level.alpha, level.sigma)
        # a NumPy array may change in place unseen, so only tensors are recognised
        if last and stamp[0] is not None and last[0]() is x and last[1] == stamp:
            kept: Moments = last[2]
            return kept
        out = Moments(*self._by_blocks(lambda z: self._moments(z, level), x))
        if stamp[0] is not None:
            self.cache["last"] = (weakref.ref(x), stamp, out)
        return out

    def jvp(self, x: Array, level: NoiseLevel, tangent: Array) -> Array:
        """Return ``D'(x) tangent``; axes of ``tangent`` before those of ``x`` count probes.

        Takes a second pass over the data, of two products per probe.
        """
        lead = tangent.ndim - x.ndim
        probes = tangent.reshape(math.prod(tangent.shape[:lead]), *x.shape)
        parts = [
            self._by_blocks(lambda z, t: (self._jvp(z, t, level),), x, probe)[0] for probe in probes
        ]
        stacked = torch.stack(parts) if isinstance(x, torch.Tensor) else np.stack(parts)
        return stacked.reshape(tangent.shape)

    def vjp(self, x: Array, level: NoiseLevel, cotangent: Array) -> Array:
        """Return ``D'(x)' cotangent``: the Jacobian is symmetric."""
        return self.jvp(x, level, cotangent)

    def _own_rows(self) -> slice:
        """Return the rows of this process."""
        count = len(self.data)
        if not self.spread:
            return slice(0, count)
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            raise InputError("spread must be False where torch.distributed has not started")
        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        if world > count:
            raise InputError(f"data must have a row for each of {world} processes, got {count}")
        return slice(count * rank // world, count * (rank + 1) // world)

    def _on_device(self, count: int) -> bool:
        """Return whether the rows stay on the device; set how many come at once otherwise."""
        if self.device_rows is None and self.device.startswith("cuda"):
            kind = self._precision
            size = (torch.finfo(kind.work).bits + 2 * torch.finfo(kind.factor).bits) // 8
            if is_narrow(self.data):
                size = cast(Any, self.data).kept.itemsize
            room = int(torch.cuda.mem_get_info(self.device)[0] * ROOM) // (size * self.dim)
            if room < count:
                object.__setattr__(self, "device_rows", max(1, room // 2))
        return self.device_rows is None or self.device_rows >= count

    @property
    def _precision(self) -> Precision:
        return PRECISIONS[self.precision]

    @property
    def _method(self) -> str:
        cuda = self.device.startswith("cuda")
        auto = default_method(self._precision, self.dim, cuda=cuda)
        return auto if self.method == "auto" else self.method

    def _sweep(self) -> Sweep:
        cuda = self.device.startswith("cuda")
        return METHODS[self._method](self._precision, self.dim, cuda=cuda)

    def _by_blocks(self, function: Callable[..., tuple[torch.Tensor, ...]], *args: Array) -> Any:
        """Evaluate blocks of queries, with less at once each time the device's memory runs out."""
        x = args[0]
        tensors = [torch.as_tensor(as_rows(arg, self.dim)).to(self.device) for arg in args]
        flat = [t.reshape(-1, self.dim) for t in tensors]
        while True:
            size = self.cache.get("queries", self.queries)
            try:
                blocks = [
                    function(*(t[i : i + size] for t in flat))
                    for i in range(0, max(len(flat[0]), 1), size)
                ]
                break
            except torch.OutOfMemoryError as error:
                self._halve(error)
        outputs = [
            torch.cat(parts) if len(blocks) > 1 else parts[0] for parts in zip(*blocks, strict=True)
        ]
        return tuple(_outside(out.reshape((*x.shape[:-1], *out.shape[1:])), x) for out in outputs)

    def _halve(self, error: Exception) -> None:
        columns = self._columns()
        queries = self.cache.get("queries", self.queries)
        if columns > max(SMALLEST, queries):
            self.cache["columns"] = columns // 2
        elif queries > SMALLEST:
            self.cache["queries"] = queries // 2
        else:
            raise InputError(
                f"device must have memory for {queries} states by {columns} rows beside the data, "
                f"got {self.device}: {str(error).splitlines()[0]}"
            ) from error
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _columns(self) -> int:
        """Rows of data in a chunk."""
        queries = self.cache.get("queries", self.queries)
        size = torch.finfo(self._precision.work).bits // 8
        fused = self._method == "fused"
        room, most = (FUSED_BYTES, FUSED_COLUMNS) if fused else (CHUNK_BYTES, MAX_COLUMNS)
        wanted = max(SMALLEST, (self.chunk_bytes or room) // (queries * size))
        return int(min(self.cache.get("columns", wanted), len(self.data), most))

    def posterior(self, x: torch.Tensor, level: NoiseLevel) -> Posterior:
        """Return the posterior over the rows for one block of states ``(N, d)`` on the device."""
        gains, precision, atoms = self.law.gains(level), self._precision, self.atoms
        rate = gains.alpha / gains.v
        # states in single precision are exact in double; their offsets from the centre are not
        x = x.to(torch.promote_types(x.dtype, precision.work))
        centre, read = _ends(x, precision)
        u, scaled = centre(x, gains.alpha * atoms.centre.to(x), rate, precision)
        bias = torch.full((), rate * gains.alpha, dtype=precision.work, device=x.device)
        sweep: Sweep = self.cache["sweep"]
        # the bound's own products are not rounded to TF32
        with product_mode(PRECISIONS["float32"]):
            shares, cut = self._plan(u, scaled, gains)
        with product_mode(precision):
            parts = [
                Part.of(
                    sweep(scaled, bias, share, min(self._columns(), len(share.halves)), cut), share
                )
                for share in shares()
            ]
        part = joined(parts)
        if self.spread:
            part = joined(gathered(part))
        return Posterior(u, scaled, part, shares, *read(part, u))

    def _plan(
        self, u: torch.Tensor, scaled: torch.Tensor, gains: Gains
    ) -> tuple[Shares, float | None]:
        """Return the rows to evaluate, and the share of the mass below which a weight may go."""
        atoms, left_out = self.atoms, self._left_out
        count, whole = len(atoms.halves), partial(self._bring, slice(0, len(atoms.halves)))
        dear = not u.is_cuda or self.precision in DEAR
        if not (left_out and gains.alpha and len(u)) or not (dear or self.dim >= WIDE):
            return whole, None
        if self._heads(u) is None:
            return whole, None
        screen = self._screen(u, gains)
        key = (gains.alpha, gains.sigma)
        if key not in self.cache["guesses"]:
            pays = screen.pays(u)
            sparse = dear and self._method not in ("fused", "split")
            few = not pays and sparse and not screen.hopeless and self._few_weights(scaled, gains)
            self.cache["guesses"][key] = pays, few
        pays, few = self.cache["guesses"][key]
        if pays:
            near = self._near(screen, u)
            if len(near) < count / 2:
                return partial(self._bring, near), None
            self.cache["guesses"][key] = False, few  # each state has few, all of them many
        return whole, left_out / count if few else None

    def _near(self, screen: Screen, u: torch.Tensor) -> torch.Tensor:
        """Return the places of the rows that may count for any of the states."""
        if has_triton(u, self._precision):
            from gpu_models.exact.screened import near, padded

            if "table" not in self.cache:
                self.cache["table"] = padded(screen.heads.table)
            return near(screen, self.cache["table"], u)
        low = torch.ones(screen.heads.number, dtype=torch.bool, device=u.device)
        room = self.chunk_bytes or CHUNK_BYTES
        size = max(SMALLEST, room // (u.element_size() * len(low)))
        for i in range(0, len(u), size):
            low &= screen.low(u[i : i + size]).all(dim=0)
        return torch.nonzero(~low)[:, 0]

    def _few_weights(self, scaled: torch.Tensor, gains: Gains) -> bool:
        """Guess from some states whether few weights are above what may be left out."""
        atoms = self.atoms
        if not isinstance(atoms, Atoms) or atoms.halves.device != scaled.device:
            return False
        some = scaled[:: max(1, len(scaled) // SAMPLED)].contiguous()
        logits = torch.empty(
            (len(some), len(atoms.halves)), dtype=atoms.halves.dtype, device=some.device
        )
        first_product(some, atoms.factors, logits)
        logits -= gains.alpha**2 / gains.v * atoms.halves
        weights = torch.exp(logits - logits.max(dim=1, keepdim=True).values)
        cut = self._left_out / len(atoms.halves) * (weights.sum(dim=1, keepdim=True) - 1)
        return share(weights > cut) < FEW_WEIGHTS

    @property
    def _left_out(self) -> float:
        work = self._precision.work
        return torch.finfo(work).eps / 2 if self.left_out is None else self.left_out

    def _heads(self, u: torch.Tensor) -> Heads | None:
        """Return the rows' heads on the device, found once."""
        if "heads" not in self.cache:
            self.cache["heads"] = heads(self.atoms.rows, u)
        found: Heads | None = self.cache["heads"]
        return found

    def _screen(self, u: torch.Tensor, gains: Gains) -> Screen:
        rows, first = self.atoms.rows, self._heads(u)
        assert first is not None
        if "size" not in self.cache:
            self.cache["size"] = 2 * float(first.table[:, -1].max())
        # products of three TF32 parts on a device, whose guess alone may be of one
        unit = 2.0**-20 if u.is_cuda and u.dtype == torch.float32 else 0.0
        return Screen(
            first,
            lambda places: rows[places.to(rows.device)].to(u.device),
            self.cache["size"],
            gains.alpha,
            gains.v / gains.alpha,
            self._left_out,
            unit,
        )

    def _bring(self, which: slice | torch.Tensor) -> Iterator[Atoms]:
        """Bring rows to the device, ``device_rows`` at once."""
        atoms = self.atoms
        count = which.stop if isinstance(which, slice) else len(which)
        whole = count if isinstance(atoms, Atoms) else SHARE
        step = whole if self.device_rows is None else self.device_rows
        if isinstance(atoms, Atoms) and isinstance(which, slice) and step >= count:
            yield atoms
            return
        for i in range(0, count, step):
            piece = slice(i, min(i + step, count))
            if not isinstance(which, slice):
                yield atoms.part(which[piece].to(atoms.halves.device), self.device)
            else:
                yield atoms.part(piece, self.device)

    def _moments(self, x: torch.Tensor, level: NoiseLevel) -> tuple[torch.Tensor, ...]:
        gains, post = self.law.gains(level), self.posterior(x, level)
        mean = post.part.row + post.shift
        denoised = torch.add(self.atoms.centre.to(mean), mean, alpha=gains.noise)
        if gains.signal:
            denoised.add_(post.u, alpha=gains.signal)
        divergence = self.dim * gains.signal + gains.alpha * gains.noise / gains.v * post.spread
        variance = gains.noise**2 * post.spread + self.dim * self.smallest_variance * gains.noise
        return denoised, divergence, variance

    def _jvp(self, x: torch.Tensor, tangent: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
        gains, post = self.law.gains(level), self.posterior(x, level)
        second, sums = derivative(post, gains, tangent, min(self._columns(), MAX_COLUMNS))
        if self.spread:
            torch.distributed.all_reduce(second)
            torch.distributed.all_reduce(sums)
        t = tangent.to(post.u.dtype)
        between = second - sums * post.part.factor
        between = between - post.shift * (post.shift * t).sum(-1, keepdim=True)
        return gains.signal * t + gains.alpha * gains.noise / gains.v * between


def _ends(
    x: torch.Tensor, precision: Precision
) -> tuple[Callable[..., Any], Callable[..., tuple[torch.Tensor, ...]]]:
    """Return what comes before and after the products, in one pass each where there is one."""
    if not has_triton(x, precision):
        return centred, moments_of
    from gpu_models.exact import ends

    return ends.centred, ends.moments_of


def _outside(out: torch.Tensor, x: Array) -> Array:
    if isinstance(x, torch.Tensor):
        return out.to(device=x.device, dtype=x.dtype)
    return out.cpu().numpy().astype(x.dtype)
