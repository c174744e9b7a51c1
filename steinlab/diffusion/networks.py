r"""Neural networks as denoisers: float64 states outside, the network's own dtype inside.

A network receives flat states as pictures, in the coordinates that it was trained in, on its device
and in its dtype, a bounded number of rows at a time. Its output is converted to the library, dtype
and device of the states, so solvers keep float64 states around a float32 network, as EDM's
reference sampler does.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from analytic import NoiseLevel
from analytic.arrays import Array, require_floating
from steinlab.diffusion.autodiff import Differentiable
from steinlab.diffusion.denoisers import PREDICTIONS
from steinlab.errors import InputError

Function = Callable[[torch.Tensor, NoiseLevel], torch.Tensor]
"""``(states (N, d), level) -> D (N, d)`` in the network's dtype; rows must not interact."""

DEFAULT_ROWS = 1024
"""States that a network evaluates at once."""


@dataclass(frozen=True)
class NetworkDenoiser:
    """A torch function as a denoiser of NumPy arrays or torch tensors, with its derivatives.

    Parameters
    ----------
    function : callable
        ``(x, level) -> D(x)`` on tensors ``(N, d)`` in ``dtype`` on ``device``.
    dim : int
        Coordinates of a state.
    dtype : torch.dtype
    device : str
    rows : int
        States evaluated at once, times the number of probes: it bounds the memory.
    remake : callable, optional
        ``(dtype, device) -> function`` of the same network with its parameters there; by default
        the function must follow the dtype and device of its states.

    Raises
    ------
    ValueError
        If ``rows < 1``. When called: for states of another size or of integers, a level of arrays,
        or a network output that is no real tensor of the shape of its input.
    """

    function: Function
    dim: int
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    rows: int = DEFAULT_ROWS
    remake: Callable[[torch.dtype, str], Function] | None = None

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ValueError(f"rows must be >= 1, got {self.rows}")

    def __call__(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``D(x)`` like ``x``, without recording gradients."""
        with torch.no_grad():
            return self._by_rows(lambda z: self.function(z, level), x)

    def in_dtype(self, dtype: torch.dtype) -> NetworkDenoiser:
        """Return the same network with the same parameters in another dtype."""
        return self._remade(dtype, self.device)

    def on(self, device: str) -> NetworkDenoiser:
        """Return the same network on a device; torch's settings decide whether it uses TF32.

        Raises
        ------
        InputError
            If torch has no such device here.
        """
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).partition("\n")[0].partition(". ")[0]
            raise InputError(
                f"device must be one that torch has here, cpu or cuda say, got {device}: {reason}"
            ) from None
        return self._remade(self.dtype, device)

    def _remade(self, dtype: torch.dtype, device: str) -> NetworkDenoiser:
        function = self.remake(dtype, device) if self.remake else self.function
        return replace(self, function=function, dtype=dtype, device=device)

    def jvp(self, x: Array, level: NoiseLevel, tangent: Array) -> Array:
        """Return ``D'(x) v`` for tangents ``(P, N, d)`` or ``(N, d)``."""
        return self._product("jvp", x, level, tangent)

    def vjp(self, x: Array, level: NoiseLevel, cotangent: Array) -> Array:
        """Return ``D'(x)' v`` for cotangents ``(P, N, d)`` or ``(N, d)``."""
        return self._product("vjp", x, level, cotangent)

    def _product(self, mode: str, x: Array, level: NoiseLevel, v: Array) -> Array:
        pull = getattr(Differentiable(lambda z, s: _same_shape(self.function(z, s), z)), mode)
        return self._by_rows(lambda z, w: pull(z, level, w), x, v)

    def _by_rows(
        self, function: Callable[..., torch.Tensor], x: Array, v: Array | None = None
    ) -> Array:
        """Apply a function to states ``(n, d)``, and probes ``(p, n, d)``, ``p n <= rows``."""
        require_floating(x)
        if x.shape[-1] != self.dim:
            raise ValueError(f"x must have {self.dim} coordinates, got {x.shape[-1]}")
        states = self._inside(x).reshape(-1, self.dim)
        if v is None:
            blocks = [states[rows] for rows in _blocks(len(states), self.rows)]
            parts = [_same_shape(function(block), block) for block in blocks]
            return _outside(torch.cat(parts).reshape(x.shape), x)
        require_floating(v, "v")
        shape = np.broadcast_shapes(tuple(v.shape), tuple(x.shape))
        number = math.prod(shape[: len(shape) - x.ndim])
        probes = self._inside(v).expand(shape).reshape(number, *states.shape)
        few = max(1, min(self.rows, number))
        columns = [
            torch.cat([function(states[rows], probes[i, rows]) for i in _blocks(number, few)])
            for rows in _blocks(len(states), max(1, self.rows // few))
        ]
        return _outside(torch.cat(columns, dim=1).reshape(shape), x)

    def _inside(self, x: Array) -> torch.Tensor:
        if isinstance(x, np.ndarray):
            x = np.array(x)  # torch takes neither negative strides nor, quietly, read-only memory
        return torch.as_tensor(x).to(device=self.device, dtype=self.dtype)


def _blocks(count: int, size: int) -> list[slice]:
    """Slices of at most ``size``; one empty slice for ``count = 0``."""
    return [slice(i, i + size) for i in range(0, max(count, 1), size)]


def _outside(out: torch.Tensor, x: Array) -> Array:
    out = out.detach()
    if isinstance(x, torch.Tensor):
        return out.to(device=x.device, dtype=x.dtype)
    return out.cpu().numpy().astype(np.asarray(x).dtype)


def _same_shape(output: Any, given: torch.Tensor) -> torch.Tensor:
    """Raise ``ValueError`` unless the output is a real tensor of its input's shape."""
    if not isinstance(output, torch.Tensor):
        raise ValueError(f"net must return a tensor, got {type(output).__name__}")
    if output.is_complex():
        raise ValueError(f"net must return real numbers, got {output.dtype}")
    if output.shape != given.shape:
        raise ValueError(
            f"net must return the shape of its input, {tuple(given.shape)}, "
            f"got {tuple(output.shape)}"
        )
    return output


def _ratio(level: NoiseLevel) -> float:
    """Return ``sigma / alpha``; raise ``ValueError`` unless the level holds numbers, alpha > 0."""
    if np.ndim(level.alpha) or np.ndim(level.sigma):
        shapes = f"{np.shape(level.alpha)} and {np.shape(level.sigma)}"
        raise ValueError(f"level must hold numbers, got arrays of shapes {shapes}")
    if level.alpha == 0:
        raise ValueError(f"level: alpha must be > 0 for a network, got {level.alpha}")
    return float(level.sigma / level.alpha)


def edm_denoiser(
    net: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    shape: Sequence[int],
    **options: Any,
) -> NetworkDenoiser:
    """Wrap a network in EDM style: ``net(x, sigma) -> D`` for ``x = x_star + sigma eps``.

    On any process ``D(x; alpha, sigma) = net(x / alpha, sigma / alpha)``. Without noise
    ``D = x / alpha``, and the network is not evaluated.

    Parameters
    ----------
    net : callable
        Takes pictures ``(N, *shape)`` and noise levels ``(N,)``.
    shape : sequence of int
        Shape of one picture.
    options
        ``dtype``, ``device``, ``rows`` of :class:`NetworkDenoiser`.

    Examples
    --------
    >>> def shrink(x, sigma):                                # exact for data N(0, 1)
    ...     return x / (1 + sigma[:, None] ** 2)
    >>> wrapped = edm_denoiser(shrink, [2])
    >>> wrapped(np.array([[1.0, 2.0]]), NoiseLevel(1.0, 1.0))
    array([[0.5, 1. ]])
    """

    def denoise(x: torch.Tensor, alpha: float, ratio: float, ask: Ask) -> torch.Tensor:
        return ask(x / alpha, ratio)

    return _wrapped(denoise, net, tuple(shape), options)


def timed_denoiser(
    net: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    shape: Sequence[int],
    *,
    prediction: str,
    time_of: Callable[[float], float],
    **options: Any,
) -> NetworkDenoiser:
    r"""Wrap a variance-preserving network ``net(x, t)`` that predicts ``eps``, ``v`` or the score.

    At the ratio ``r = sigma / alpha`` the VP level is ``a = 1 / sqrt(1 + r^2)``, ``s = r a``: the
    network receives ``(a / alpha) x`` at the time ``time_of(r)``.

    Parameters
    ----------
    net : callable
        Takes pictures ``(N, *shape)`` and times ``(N,)``.
    shape : sequence of int
    prediction : str
        A key of :data:`steinlab.diffusion.denoisers.PREDICTIONS`.
    time_of : callable
        ``sigma / alpha -> t``; :func:`discrete_times` makes it from ``alphas_cumprod``.
    options
        ``dtype``, ``device``, ``rows`` of :class:`NetworkDenoiser`.

    Examples
    --------
    >>> score = lambda x, t: -x                              # exact for data N(0, 1)
    >>> wrapped = timed_denoiser(score, [1], prediction="score", time_of=lambda r: r)
    >>> wrapped(np.array([[2.0]]), NoiseLevel(1.0, 1.0)).round(6)
    array([[1.]])
    """
    if prediction not in PREDICTIONS:
        raise ValueError(f"prediction must be one of {', '.join(PREDICTIONS)}, got {prediction}")

    def denoise(x: torch.Tensor, alpha: float, ratio: float, ask: Ask) -> torch.Tensor:
        scale = 1 / math.hypot(1.0, ratio)
        a, b = PREDICTIONS[prediction](NoiseLevel(scale, ratio * scale))
        state = x * (scale / alpha)
        out: torch.Tensor = a * state + b * ask(state, time_of(ratio))
        return out

    return _wrapped(denoise, net, tuple(shape), options)


Ask = Callable[[torch.Tensor, float], torch.Tensor]
"""``(flat states, time) -> the network's output``, flat too."""


def _wrapped(
    denoise: Callable[[torch.Tensor, float, float, Ask], torch.Tensor],
    net: Any,
    shape: tuple[int, ...],
    options: dict[str, Any],
) -> NetworkDenoiser:
    """Return ``denoise(x, alpha, sigma / alpha, ask)`` where there is noise, else ``x / alpha``."""

    def make(net: Any) -> Function:
        def ask(x: torch.Tensor, time: float) -> torch.Tensor:
            pictures = x.reshape(-1, *shape)
            times = torch.full((len(pictures),), time, dtype=x.dtype, device=x.device)
            out: torch.Tensor = _same_shape(net(pictures, times), pictures).reshape(x.shape)
            return out

        def function(x: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
            ratio, alpha = _ratio(level), float(level.alpha)
            return denoise(x, alpha, ratio, ask) if ratio else x / alpha

        return function

    def remake(dtype: torch.dtype, device: str) -> Function:
        module = isinstance(net, torch.nn.Module)
        return make(copy.deepcopy(net).to(device=device, dtype=dtype) if module else net)

    return NetworkDenoiser(make(net), math.prod(shape), remake=remake, **options)


def discrete_times(alphas_cumprod: Sequence[float]) -> Callable[[float], float]:
    """Return ``sigma / alpha -> t`` for a network trained at ``t = 0, 1, ...`` with these values.

    Times between are interpolated linearly in ``log(sigma / alpha)``.

    Raises
    ------
    ValueError
        If the values do not decrease within (0, 1); when called outside their range.

    Examples
    --------
    >>> time_of = discrete_times([0.9, 0.5, 0.1])
    >>> time_of(1.0)
    1.0
    """
    bars = np.asarray(alphas_cumprod, dtype=np.float64)
    if bars.ndim != 1 or not (np.all((bars > 0) & (bars < 1)) and np.all(np.diff(bars) < 0)):
        raise ValueError("alphas_cumprod must fall strictly within (0, 1)")
    logs = 0.5 * (np.log1p(-bars) - np.log(bars))

    def time_of(ratio: float) -> float:
        log = math.log(ratio)
        slack = 1e-9 * (1 + abs(log))
        if not logs[0] - slack <= log <= logs[-1] + slack:
            low, high = (float(np.exp(end)) for end in (logs[0], logs[-1]))
            raise ValueError(f"sigma / alpha must be in {low:.4g} to {high:.4g}, got {ratio:.4g}")
        return float(np.interp(log, logs, np.arange(len(logs))))

    return time_of
