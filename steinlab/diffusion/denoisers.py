r"""The denoiser protocol, and the conversion of network predictions.

Every prediction is affine in the denoised state: ``D = a x + b output``, with ``(a, b)`` from
``x = alpha x0 + sigma eps``.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np

from analytic import NoiseLevel
from analytic.arrays import Array
from analytic.levels import require_fit
from steinlab.errors import InputError


class Denoiser(Protocol):
    """``(x, level) -> x0_hat``, states and result of one shape."""

    def __call__(self, x: Array, level: NoiseLevel, /) -> Array:
        """Denoise."""


@runtime_checkable
class HasDivergence(Protocol):
    """A denoiser with an exact ``div D``, shape ``(..., N)``."""

    def divergence(self, x: Array, level: NoiseLevel, /) -> Array:
        """Return ``div D(x)``."""


@runtime_checkable
class HasJvp(Protocol):
    """A denoiser with ``D'(x) v``; axes of ``v`` before those of ``x`` count probes."""

    def jvp(self, x: Array, level: NoiseLevel, tangent: Array, /) -> Array:
        """Return ``D'(x) v``."""


@runtime_checkable
class HasVjp(Protocol):
    """A denoiser with ``D'(x)' v``; axes of ``v`` before those of ``x`` count probes."""

    def vjp(self, x: Array, level: NoiseLevel, cotangent: Array, /) -> Array:
        """Return ``D'(x)' v``."""


def picture_axes(x: Array, denoiser: Any) -> tuple[int, ...]:
    """Return the axes of one picture of a denoiser that states its ``shape``, from the end.

    None where the states are flat, or the denoiser has no shape of two axes or more.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> grey = SimpleNamespace(shape=(2, 3))
    >>> picture_axes(np.zeros((5, 2, 3)), grey), picture_axes(np.zeros((5, 6)), grey)
    ((-2, -1), ())
    """
    shape = tuple(getattr(denoiser, "shape", ()))
    axes = tuple(range(-len(shape), 0))
    if len(shape) < 2 or tuple(x.shape[-len(shape) :]) != shape:
        return ()
    return () if x.ndim == len(shape) and x.shape[-1] == math.prod(shape) else axes


def of_states(denoiser: Any, states: slice) -> Any:
    """Return the denoiser of some of the states, where it holds something for each: labels say."""
    restrict = getattr(denoiser, "of_states", None)
    return denoiser if restrict is None else restrict(states)


def _require_signal(level: NoiseLevel, prediction: str) -> None:
    """Raise ``ValueError`` at ``alpha = 0``, where the noise does not determine ``D``."""
    if not np.all(np.asarray(level.alpha) > 0):
        raise InputError(
            f"level: alpha must be > 0 for the prediction {prediction}, got {level.alpha}; "
            "v, velocity and x0 determine D there"
        )


def _eps(level: NoiseLevel) -> tuple[Any, Any]:
    _require_signal(level, "eps")
    return 1 / level.alpha, -level.sigma / level.alpha


def _v(level: NoiseLevel) -> tuple[Any, Any]:
    power = level.alpha**2 + level.sigma**2
    return level.alpha / power, -level.sigma / power


def _score(level: NoiseLevel) -> tuple[Any, Any]:
    _require_signal(level, "score")
    return 1 / level.alpha, level.sigma**2 / level.alpha


def _flow(level: NoiseLevel) -> tuple[Any, Any]:
    total = level.alpha + level.sigma
    return 1 / total, -level.sigma / total


def _flow_to_data(level: NoiseLevel) -> tuple[Any, Any]:
    a, b = _flow(level)
    return a, -b


PREDICTIONS: Mapping[str, Callable[[NoiseLevel], tuple[Any, Any]]] = MappingProxyType(
    {
        "x0": lambda level: (0.0, 1.0),  # noqa: ARG005
        "eps": _eps,
        "v": _v,
        "score": _score,
        "velocity": _flow,
        "velocity-to-data": _flow_to_data,
        "flow": _flow,
    }
)
"""What a network predicts: ``x0``, ``eps``, ``v = alpha eps - sigma x0``, the score, rectified
flow's ``velocity`` from data to noise ``eps - x0`` (``flow`` is an older name), or its negative;
each maps a level to ``(a, b)`` with ``D = a x + b output``."""


@dataclass(frozen=True)
class Converted:
    """A denoiser made of a network's prediction; see :func:`convert`."""

    output: Callable[[Array, NoiseLevel], Array]
    prediction: str

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise ValueError(
                f"prediction must be one of {', '.join(PREDICTIONS)}, got {self.prediction}"
            )

    def __call__(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``a x + b output(x)``."""
        require_fit(level, np.shape(x))
        output = self.output(x, level)
        if np.shape(output) != np.shape(x):
            raise ValueError(
                f"output must have the shape of its states, {tuple(np.shape(x))}, "
                f"got {tuple(np.shape(output))}"
            )
        return self._affine(x, level, output)

    def _affine(self, x: Array, level: NoiseLevel, output: Array) -> Array:
        a, b = PREDICTIONS[self.prediction](level)
        return a * x + b * output


class _ConvertedJvp(Converted):
    output: Any

    def jvp(self, x: Array, level: NoiseLevel, tangent: Array) -> Array:
        """Return ``a v + b output'(x) v``."""
        return self._affine(tangent, level, self.output.jvp(x, level, tangent))


class _ConvertedJvpVjp(_ConvertedJvp):
    def vjp(self, x: Array, level: NoiseLevel, cotangent: Array) -> Array:
        """Return ``a v + b output'(x)' v``."""
        return self._affine(cotangent, level, self.output.vjp(x, level, cotangent))


def convert(output: Callable[[Array, NoiseLevel], Array], prediction: str) -> Converted:
    """Return the denoiser ``D = a x + b output`` of a prediction, with the derivatives it offers.

    Parameters
    ----------
    output : callable
        ``(x, level) -> prediction``, optionally with ``jvp``, or ``jvp`` and ``vjp``.
    prediction : str
        A key of :data:`PREDICTIONS`.

    Examples
    --------
    >>> def net(x, level):                                   # predicts eps for data at 3
    ...     return (x - 3.0) / level.sigma
    >>> convert(net, "eps")(5.0, NoiseLevel(1.0, 2.0))
    3.0
    """
    if not isinstance(output, HasJvp):
        return Converted(output, prediction)
    if not isinstance(output, HasVjp):
        return _ConvertedJvp(output, prediction)
    return _ConvertedJvpVjp(output, prediction)
