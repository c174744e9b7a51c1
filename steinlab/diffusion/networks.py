r"""Neural networks as denoisers: float64 states outside, the network's own dtype inside.

A network sees flat states reshaped to its pictures, in EDM coordinates ``x / alpha`` at the noise
ratio ``sigma / alpha`` or in those it was trained in, on its device and in its dtype, a bounded
number of rows at a time. What it returns comes back in the library, dtype and device of the state,
so the solvers keep float64 states around a float32 network, as EDM's reference sampler does.
Around a network in half precision states are scaled, and its output turned into ``D``, in the wider
of float32 and the states' own dtype; what the network is given is rounded once.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from analytic import NoiseLevel
from analytic.arrays import Array, require_floating
from steinlab.diffusion.autodiff import Differentiable
from steinlab.diffusion.denoisers import PREDICTIONS
from steinlab.diffusion.processes import EDM, FLOW, VP_LINEAR, Process
from steinlab.errors import InputError, one_of, quote

Function = Callable[..., torch.Tensor]
"""``(states (N, d), level) -> D (N, d)``, each state on its own; with labels ``(states, level,
labels (N, ...))``. In the network's dtype or, where that is half precision, in a wider one."""

DEFAULT_ROWS = 1024
"""States that a network sees at once."""


@dataclass(frozen=True)
class NetworkDenoiser:
    """A torch function as a denoiser of NumPy arrays or torch tensors, with its derivatives.

    States are flat, ``(..., d)``, or pictures ``(..., *shape)``.

    Parameters
    ----------
    function : callable
        ``(x, level) -> D(x)`` on tensors ``(N, d)`` in ``dtype`` on ``device``.
    dim : int
        Coordinates of a state.
    dtype : torch.dtype
    device : str
    rows : int
        States evaluated at once, probes counted: bounds the memory.
    remake : callable, optional
        ``(dtype, device) -> function`` of the same network with its parameters there; by default
        the function follows the dtype and device of its states by itself.
    shape : tuple of int
        Of one picture; empty where a state is flat.
    labels : tensor, optional
        One for all states or one per state; :meth:`given` sets them.
    gradients : bool, optional
        Whether the output stays in autograd's graph: by default where the state requires gradients,
        so that derivatives of a whole run are right; True also for the network's parameters; False
        never, and then ``D`` counts as a constant. NumPy states have no graph.
    products : type
        How the products with the Jacobian are taken: :class:`~steinlab.diffusion.autodiff.Pulled`
        where reverse mode costs less.

    Raises
    ------
    ValueError
        If ``rows < 1``; when called with states of another size, naming both, of integers, or with
        a level of arrays; if what the network returns is no real tensor of the shape, dtype and
        device of what it was given.
    """

    function: Function
    dim: int
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    rows: int = DEFAULT_ROWS
    remake: Callable[[torch.dtype, str], Function] | None = None
    shape: tuple[int, ...] = ()
    labels: torch.Tensor | None = field(default=None, compare=False)
    gradients: bool | None = None
    products: type[Differentiable] = Differentiable

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ValueError(f"rows must be >= 1, got {self.rows}")

    def __call__(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``D(x)`` like ``x``."""
        asked = self.gradients
        if asked is None:
            asked = bool(getattr(x, "requires_grad", False))
        with torch.set_grad_enabled(asked and torch.is_grad_enabled()):
            return self._by_rows(lambda z, *labels: self.function(z, level, *labels), x)

    def given(self, labels: Any) -> NetworkDenoiser:
        """Return the conditional denoiser: the network's third argument.

        Parameters
        ----------
        labels : int, array or tensor
            One for all states, or one per state along the first axis.

        Examples
        --------
        >>> shifted = edm_denoiser(lambda x, sigma, y: x + y[:, None], [1]).given([1.0, 2.0])
        >>> shifted(np.zeros((2, 1)), NoiseLevel(1.0, 1.0))
        array([[1.],
               [2.]])
        """
        try:
            tensor = torch.as_tensor(labels)
        except (TypeError, ValueError, RuntimeError):
            raise InputError(f"labels must be numbers, got {quote(labels)}") from None
        if tensor.is_floating_point():
            tensor = tensor.to(self.dtype)
        return replace(self, labels=tensor.to(self.device))

    def of_states(self, states: slice) -> NetworkDenoiser:
        """Return the denoiser of some of the states, with their labels."""
        if self.labels is None or not self.labels.ndim:
            return self
        return replace(self, labels=self.labels[states])

    def in_dtype(self, dtype: torch.dtype) -> NetworkDenoiser:
        """Return the same network, the same parameters, computed in another dtype."""
        return self._remade(dtype, self.device)

    def on(self, device: str) -> NetworkDenoiser:
        """Return the same network on a device; whether products use TF32 there is torch's choice.

        Raises
        ------
        InputError
            If torch has no such device here.
        """
        _require_device(device)
        return self._remade(self.dtype, device)

    def _remade(self, dtype: torch.dtype, device: str) -> NetworkDenoiser:
        function = self.remake(dtype, device) if self.remake else self.function
        new = replace(self, function=function, dtype=dtype, device=device)
        return new if self.labels is None else new.given(self.labels)

    def jvp(self, x: Array, level: NoiseLevel, tangent: Array) -> Array:
        """Return ``D'(x) v`` for tangents ``(P, N, d)`` or ``(N, d)``."""
        return self._product("jvp", x, level, tangent)

    def vjp(self, x: Array, level: NoiseLevel, cotangent: Array) -> Array:
        """Return ``D'(x)' v`` for cotangents ``(P, N, d)`` or ``(N, d)``."""
        return self._product("vjp", x, level, cotangent)

    def _product(self, mode: str, x: Array, level: NoiseLevel, v: Array) -> Array:
        def product(z: torch.Tensor, w: torch.Tensor, *labels: torch.Tensor) -> torch.Tensor:
            one = self.products(lambda a, s: _like(self.function(a, s, *labels), a))
            out: torch.Tensor = getattr(one, mode)(z, level, w)
            return out.detach()

        return self._by_rows(product, x, v)

    def _by_rows(
        self, function: Callable[..., torch.Tensor], x: Array, v: Array | None = None
    ) -> Array:
        """Apply a function to states ``(n, d)``, and probes ``(p, n, d)``, ``p n <= rows``."""
        require_floating(x)
        own = self.shape if tuple(x.shape[-len(self.shape) :]) == self.shape else (self.dim,)
        if tuple(x.shape[-len(own) :]) != own:
            if x.ndim > len(self.shape) > 1:
                raise ValueError(f"x must hold pictures {self.shape}, got {tuple(x.shape)}")
            raise ValueError(f"x must have {self.dim} coordinates, got {x.shape[-1]}")
        states = self._inside(x).reshape(-1, self.dim)
        labels = self._labels(len(states))
        if v is None:
            blocks = [
                (states[rows], *(y[rows] for y in labels))
                for rows in _blocks(len(states), self.rows)
            ]
            parts = [_like(function(*block), block[0]) for block in blocks]
            return _outside(torch.cat(parts).reshape(x.shape), x)
        require_floating(v, "v")
        shape = np.broadcast_shapes(tuple(v.shape), tuple(x.shape))
        number = math.prod(shape[: len(shape) - x.ndim])
        probes = self._inside(v, states.dtype).expand(shape).reshape(number, *states.shape)
        few = max(1, min(self.rows, number))
        columns = [
            torch.cat(
                [
                    function(states[rows], probes[i, rows], *(y[rows] for y in labels))
                    for i in _blocks(number, few)
                ]
            )
            for rows in _blocks(len(states), max(1, self.rows // few))
        ]
        return _outside(torch.cat(columns, dim=1).reshape(shape), x)

    def _labels(self, count: int) -> tuple[torch.Tensor, ...]:
        if self.labels is None:
            return ()
        labels = self.labels if self.labels.ndim else self.labels.expand(count)
        if len(labels) != count:
            raise ValueError(f"labels must be one, or one per state ({count}), got {len(labels)}")
        return (labels,)

    def _inside(self, x: Array, dtype: torch.dtype | None = None) -> torch.Tensor:
        if isinstance(x, np.ndarray):
            x = np.array(x)  # torch takes neither negative strides nor, quietly, read-only memory
        given: torch.Tensor = torch.as_tensor(x)
        own, wide = self.dtype, torch.promote_types(given.dtype, torch.float32)
        return given.to(device=self.device, dtype=dtype or (wide if _is_half(own) else own))


def _blocks(count: int, size: int) -> list[slice]:
    """Slices of at most ``size``; one that is empty where there is nothing."""
    return [slice(i, i + size) for i in range(0, max(count, 1), size)]


def _is_half(dtype: torch.dtype) -> bool:
    return dtype.itemsize < torch.float32.itemsize


def _outside(out: torch.Tensor, x: Array) -> Array:
    if isinstance(x, torch.Tensor):
        return out.to(device=x.device, dtype=x.dtype)
    return out.detach().cpu().numpy().astype(np.asarray(x).dtype)


def _like(output: Any, given: torch.Tensor) -> torch.Tensor:
    """Refuse what is no real tensor of its input's shape, dtype and device: channels last, say."""
    if not isinstance(output, torch.Tensor):
        raise ValueError(f"net must return a tensor, got {type(output).__name__}")
    if output.is_complex():
        raise ValueError(f"net must return real numbers, got {output.dtype}")
    if output.shape != given.shape:
        raise ValueError(
            f"net must return the shape of its input, {tuple(given.shape)}, "
            f"got {tuple(output.shape)}"
        )
    for name in ("dtype", "device"):
        own, wanted = getattr(output, name), getattr(given, name)
        if own != wanted:
            raise ValueError(f"net must return the {name} of its input, {wanted}, got {own}")
    return output


def _unwrapped(output: Any) -> Any:
    """Return the tensor of a tuple, or of an output object with ``sample``, as diffusers has."""
    if isinstance(output, tuple | list) and output:
        return output[0]
    return output if isinstance(output, torch.Tensor) else getattr(output, "sample", output)


def _require_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise InputError(
            f"device must be one that torch has here, cpu or cuda say, got {device}: {reason}"
        ) from None


def _ratio(level: NoiseLevel) -> float:
    """``sigma / alpha`` of a level of numbers, the only kind that a network takes."""
    if np.ndim(level.alpha) or np.ndim(level.sigma):
        shapes = f"{np.shape(level.alpha)} and {np.shape(level.sigma)}"
        raise ValueError(f"level must hold numbers, got arrays of shapes {shapes}")
    return float(level.ratio)


COORDINATES: Mapping[str, Process] = MappingProxyType({"edm": EDM, "vp": VP_LINEAR, "flow": FLOW})
"""What a network saw in training: ``x0 + sigma eps``, the variance-preserving
``alpha x0 + sigma eps``, or rectified flow's ``(1 - t) x0 + t eps``; the process gives the time
that ``time_of`` is by default."""


def from_torch(
    net: Callable[..., Any],
    shape: Sequence[int],
    *,
    prediction: str,
    coordinates: str,
    time_of: Callable[[float], Any] | None = None,
    time_dtype: torch.dtype | None = None,
    dtype: torch.dtype | None = None,
    device: str | None = None,
    rows: int = DEFAULT_ROWS,
    gradients: bool | None = None,
    labels: Any = None,
) -> NetworkDenoiser:
    r"""Make a denoiser of a network ``net(x, t)``, for any process.

    A level of ratio ``r = sigma / alpha`` is one level ``(a, s)`` of the coordinates: the network
    sees ``(a / alpha) x`` at the time ``time_of(r)``, and its output becomes ``D`` by
    :data:`~steinlab.diffusion.denoisers.PREDICTIONS` at ``(a, s)``. Without noise
    ``D = x / alpha``; the network is not asked. At ``alpha = 0``, where a state is noise alone,
    ``x0``, ``v`` and ``velocity`` say what ``D`` is; ``eps`` and ``score`` do not, and coordinates
    ``edm`` have no such level.

    Parameters
    ----------
    net : callable
        Takes pictures ``(N, *shape)``, times ``(N,)`` and, where ``labels`` are given, those.
        Returns a tensor of the pictures' shape, or a tuple or an output object that holds it.
    shape : sequence of int
        Of one picture.
    prediction : str
        ``x0``, ``eps``, ``v = a eps - s x0``, ``score``, ``velocity`` (``eps - x0``, which is
        ``d x_t / d t`` of ``x_t = (1 - t) x0 + t eps``), or ``velocity-to-data``, its negative.
    coordinates : str
        A key of :data:`COORDINATES`: which states the network was trained on.
    time_of : callable, optional
        ``sigma / alpha -> t``; by default the coordinates' own time: ``sigma`` (edm), the linear
        schedule's in [0, 1] (vp), ``sigma / (alpha + sigma)`` (flow). :func:`discrete_times` makes
        it of ``alphas_cumprod``.
    time_dtype : torch.dtype, optional
        Of ``t``, by default the network's: float32 for a network in half precision that embeds
        times in float32, as diffusers' do. (bfloat16 has no 999, float16 no 999.3.)
    dtype, device : optional
        By default the network's own. Elsewhere a copy of the network is moved.
    rows, gradients, labels
        See :class:`NetworkDenoiser`.

    Raises
    ------
    ValueError
        For an unknown prediction or coordinates; for another ``shape``, ``dtype`` or ``time_of``
        than asked for; if the network has dropout or batch statistics in training mode, then or
        when called; when called, if the network fails, or at a time beyond the whole numbers of a
        ``time_dtype`` of half precision.

    Examples
    --------
    A rectified-flow network, exact for data N(0, 1): ``E[eps - x0 | x]``.

    >>> def velocity(x, t):
    ...     return x * ((2 * t - 1) / ((1 - t) ** 2 + t**2))[:, None]
    >>> wrapped = from_torch(velocity, [1], prediction="velocity", coordinates="flow")
    >>> wrapped(np.array([[2.0]]), NoiseLevel(1.0, 1.0)).round(6)
    array([[1.]])
    >>> wrapped(np.array([[2.0]]), NoiseLevel(0.0, 1.0)).round(6)
    array([[0.]])
    """
    one_of("prediction", prediction, PREDICTIONS)
    process = COORDINATES[one_of("coordinates", coordinates, COORDINATES)]
    clock, inner = time_of or process.time, _shape(shape)
    if not callable(clock):
        raise ValueError(f"time_of must be a function of sigma / alpha, got {clock!r}")
    _require_evaluation(_watched(net))
    for name, kind in (("dtype", dtype), ("time_dtype", time_dtype)):
        if kind is not None and not (isinstance(kind, torch.dtype) and kind.is_floating_point):
            raise ValueError(
                f"{name} must be a floating one of torch, torch.float32 say, got {kind!r}"
            )

    def make(net: Any, dtype: torch.dtype) -> Function:
        watched = _watched(net)

        def function(x: torch.Tensor, level: NoiseLevel, *labels: torch.Tensor) -> torch.Tensor:
            ratio = _ratio(level)
            if ratio == 0:
                return x / float(level.alpha)
            _require_evaluation(watched)
            if ratio == math.inf and process is EDM:
                raise InputError(
                    f"level: alpha must be > 0 for a network in edm coordinates, got {level.alpha}"
                )
            own = process.level_at(ratio)
            scale = own.alpha / level.alpha if level.alpha else own.sigma / level.sigma
            a, b = PREDICTIONS[prediction](own)
            pictures = (x * float(scale)).reshape(-1, *inner)
            given = pictures.to(dtype)
            times = _column(_time(clock, ratio), given, time_dtype or dtype)
            output = _like(_unwrapped(_called(net, given, times, *labels)), given)
            out: torch.Tensor = (a * pictures + b * output.to(x.dtype)).reshape(x.shape)
            return out

        return function

    def remake(dtype: torch.dtype, device: str) -> Function:
        return make(_moved(net, dtype, device), dtype)

    own_dtype, own_device = next(iter(_homes(net)), (torch.float32, torch.device("cpu")))
    dtype, device = dtype or own_dtype, str(device or own_device)
    _require_device(device)
    made = NetworkDenoiser(
        remake(dtype, device),
        math.prod(inner),
        dtype,
        device,
        rows,
        remake,
        inner,
        gradients=gradients,
    )
    return made if labels is None else made.given(labels)


def _shape(shape: Any) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, Sequence) else (0,)
    if not all(isinstance(n, int | np.integer) and n > 0 for n in sizes):
        raise ValueError(f"shape must be a picture's sizes >= 1, (3, 32, 32) say, got {shape!r}")
    return tuple(int(n) for n in sizes)


def _time(clock: Callable[[float], Any], ratio: float) -> float:
    found = clock(ratio)
    try:
        time = float(found)
    except (TypeError, ValueError):
        time = math.nan
    if math.isnan(time):
        raise ValueError(f"time_of must return a number, at sigma / alpha {ratio:.4g} got {found}")
    return time


def _called(net: Callable[..., Any], *args: torch.Tensor) -> Any:
    try:
        return net(*args)
    except (RuntimeError, TypeError, IndexError) as error:
        given = ", ".join(f"{tuple(arg.shape)} {arg.dtype} on {arg.device}" for arg in args)
        reason = str(error).partition("\n")[0][:200]
        raise ValueError(f"net failed on {given}: {reason}") from error


def _homes(net: Any) -> list[tuple[torch.dtype, torch.device]]:
    """Dtype and device of a network's floating parameters and buffers."""
    if not isinstance(net, torch.nn.Module):
        return []
    tensors = (*net.parameters(), *net.buffers())
    return [(tensor.dtype, tensor.device) for tensor in tensors if tensor.is_floating_point()]


def _moved(net: Any, dtype: torch.dtype, device: str) -> Any:
    """Return the network there; a copy, so that the caller's own stays where it is."""
    there = torch.empty(0, device=device).device  # cuda is one of several
    if all(home == (dtype, there) for home in _homes(net)):
        return net
    return copy.deepcopy(net).to(device=device, dtype=dtype)


def _watched(net: Any) -> list[Any]:
    """Return the modules that must not train, and the network itself if it does not train now.

    While they train, their output is random, or depends on other states.
    """
    if not isinstance(net, torch.nn.Module):
        return []
    nn = torch.nn.modules
    kinds = (nn.dropout._DropoutNd, nn.batchnorm._BatchNorm, nn.MultiheadAttention, nn.RNNBase)
    random = (one for one in net.modules() if isinstance(one, kinds))
    kept = [one for one in random if getattr(one, "p", getattr(one, "dropout", True))]
    return kept if net.training else [*kept, net]


def _require_evaluation(watched: Sequence[Any]) -> None:
    for part in watched:
        if part.training:
            raise ValueError(
                f"net must be in evaluation mode, call net.eval() first: "
                f"its {type(part).__name__} is training"
            )


def edm_denoiser(net: Callable[..., Any], shape: Sequence[int], **options: Any) -> NetworkDenoiser:
    """Wrap a network in EDM style: ``net(x, sigma) -> D`` for ``x = x_star + sigma eps``.

    :func:`from_torch` with ``prediction="x0"``, ``coordinates="edm"`` and the given options.

    Examples
    --------
    >>> def shrink(x, sigma):                                # exact for data N(0, 1)
    ...     return x / (1 + sigma[:, None] ** 2)
    >>> wrapped = edm_denoiser(shrink, [2])
    >>> wrapped(np.array([[1.0, 2.0]]), NoiseLevel(1.0, 1.0))
    array([[0.5, 1. ]])
    """
    return from_torch(net, shape, prediction="x0", coordinates="edm", **options)


VELOCITIES = ("velocity", "velocity-to-data", "flow")
"""Predictions of networks that are hardly ever trained on variance-preserving states."""


def timed_denoiser(
    net: Callable[..., Any],
    shape: Sequence[int],
    *,
    prediction: str,
    time_of: Callable[[float], Any],
    coordinates: str | None = None,
    **options: Any,
) -> NetworkDenoiser:
    """Wrap a variance-preserving network ``net(x, t)`` that predicts ``eps``, ``v`` or the score.

    :func:`from_torch` with ``coordinates="vp"``, unless they are given; a velocity needs them.

    Examples
    --------
    >>> score = lambda x, t: -x                              # exact for data N(0, 1)
    >>> wrapped = timed_denoiser(score, [1], prediction="score", time_of=lambda r: r)
    >>> wrapped(np.array([[2.0]]), NoiseLevel(1.0, 1.0)).round(6)
    array([[1.]])
    """
    if coordinates is None and prediction in VELOCITIES:
        raise ValueError(
            f"coordinates must be given for the prediction {prediction}: flow where the network "
            "saw (1 - t) x0 + t eps, vp or edm"
        )
    return from_torch(
        net,
        shape,
        prediction=prediction,
        coordinates=coordinates or "vp",
        time_of=time_of,
        **options,
    )


def discrete_times(alphas_cumprod: Sequence[float]) -> Callable[[float], float]:
    """Return ``sigma / alpha -> t`` for a network trained at ``t = 0, 1, ...`` with these values.

    Times between are interpolated in ``log(sigma / alpha)``; next to a level without noise or
    without signal, where that is infinite, in ``atan(sigma / alpha)``. A ratio within 0.1 % of an
    end is that end: a table in float32 has no more digits.

    Parameters
    ----------
    alphas_cumprod : sequence of float
        Falling; it may start at 1 and end at 0 (zero terminal signal).

    Raises
    ------
    ValueError
        Naming the first value out of order; when called outside their range.

    Examples
    --------
    >>> time_of = discrete_times([0.9, 0.5, 0.1])
    >>> time_of(1.0)
    1.0
    >>> discrete_times([1.0, 0.5, 0.0])(math.inf)
    2.0
    """
    bars = np.asarray(alphas_cumprod, dtype=np.float64)
    if bars.ndim != 1 or len(bars) < 2:
        raise ValueError(f"alphas_cumprod must be a list of at least 2, got shape {bars.shape}")
    wrong = ~((bars >= 0) & (bars <= 1)) | (np.diff(bars, prepend=math.inf) >= 0)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(
            f"alphas_cumprod must fall within [0, 1], got alphas_cumprod[{first}] = {bars[first]}"
        )
    with np.errstate(divide="ignore"):
        ratios = np.sqrt((1 - bars) / bars)
        logs = 0.5 * (np.log1p(-bars) - np.log(bars))

    def time_of(ratio: float) -> float:
        log = math.log(ratio) if 0 < ratio < math.inf else math.copysign(math.inf, ratio - 1)
        slack = 0.0 if math.isinf(log) else 1e-3
        if not logs[0] - slack <= log <= logs[-1] + slack:
            low, high = (float(end) for end in ratios[[0, -1]])
            raise InputError(f"sigma / alpha must be in {low:.4g} to {high:.4g}, got {ratio:.4g}")
        place = int(np.clip(np.searchsorted(logs, log, side="right") - 1, 0, len(logs) - 2))
        ends = slice(place, place + 2)
        if np.isfinite(logs[ends]).all():
            return float(np.interp(log, logs[ends], (place, place + 1)))
        return float(np.interp(math.atan(ratio), np.arctan(ratios[ends]), (place, place + 1)))

    return time_of


def _column(value: float, pictures: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """One time per picture; refused where neighbouring whole numbers are one in the dtype."""
    most = 2 / torch.finfo(dtype).eps
    if _is_half(dtype) and abs(value) > most:
        raise InputError(
            f"time_of must return at most {most:g}, where whole numbers of {dtype} end, got "
            f"{value:g}: pass time_dtype=torch.float32 if the network takes times in it"
        )
    return torch.full((len(pictures),), value, dtype=dtype, device=pictures.device)
