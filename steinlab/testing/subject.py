"""What is judged, whatever it was: a run of a denoiser over levels, every call recorded."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from analytic import NoiseLevel
from steinlab.diffusion.grids import Grid
from steinlab.diffusion.processes import Process
from steinlab.errors import InputError, quote

Denoise = Callable[[np.ndarray, NoiseLevel], np.ndarray]
"""``(x, level) -> x0``, states ``(N, d)`` in NumPy."""

LEAST = 1e-6
"""Least noise at which a velocity is defined."""

KINDS = ("step", "loop", "scheduler", "velocity", "solver", "correction", "denoiser", "law")
"""What a subject may have been."""


class SubjectError(InputError):
    """A subject that cannot be judged: which call, what was expected, what came."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of the denoiser: the level asked, the states given, and what it answered."""

    level: NoiseLevel
    state: np.ndarray
    output: np.ndarray


@dataclass(frozen=True, eq=False)
class Run:
    """The end of a run ``(N, d)`` in float64, its calls, and the dtype that came back."""

    end: np.ndarray
    calls: tuple[Call, ...]
    dtype: str


Levels = Sequence[NoiseLevel]
"""A run's levels, the noisiest first."""


class Own(tuple[NoiseLevel, ...]):
    """A grid that a scheduler made itself, for a number of steps, begun at one of them."""

    steps: int
    begin: int

    @classmethod
    def of(cls, levels: Levels, steps: int, begin: int = 0) -> Own:
        """Return the levels from the one numbered ``begin`` on."""
        grid = cls(levels[begin:])
        grid.steps, grid.begin = steps, begin
        return grid


class Subject(Protocol):
    """Anything that carries states along levels by calls of a denoiser.

    Attributes
    ----------
    name, kind : str
    processes : tuple of Process
        The coordinates that it works in, the customary one first.
    """

    @property
    def name(self) -> str:
        """What the report calls it."""

    @property
    def kind(self) -> str:
        """One of :data:`KINDS`."""

    @property
    def processes(self) -> tuple[Process, ...]:
        """Coordinates."""

    def run(
        self, denoiser: Denoise, x: np.ndarray, levels: Levels, *, dtype: str = "float64"
    ) -> Run:
        """Carry ``x`` at ``levels[0]`` to ``levels[-1]``."""

    def own_grid(self, steps: int) -> Grid | None:
        """Return the grid that it makes itself for so many steps, if it makes any."""


class Recorder:
    """A denoiser that writes down its calls, between a subject's arrays and NumPy.

    Parameters
    ----------
    denoiser : callable
    shape : tuple
        ``(N, d)`` of the run's states.
    """

    def __init__(self, denoiser: Denoise, shape: tuple[int, ...]):
        # not called shape: the loop takes a denoiser's shape for that of one picture
        self.denoiser, self.given = denoiser, shape
        self.calls: list[Call] = []

    def __call__(self, x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        """Denoise, in the dtype of the states."""
        if x.size != math.prod(self.given):
            raise SubjectError(
                f"call {len(self.calls) + 1} of the denoiser must get states of shape "
                f"{self.given}, got {tuple(x.shape)}"
            )
        state = np.array(x, dtype=np.float64).reshape(self.given)
        output = self.denoiser(state, level)
        self.calls.append(Call(level, state, output))
        return output.astype(x.dtype).reshape(x.shape)  # a copy: it may be worked on in place


@dataclass(frozen=True)
class Bridge:
    """NumPy states as a subject wants them: a library, a dtype, axes appended."""

    library: str
    dtype: str = "float64"
    axes: int = 0

    def give(self, x: Any) -> Any:
        """Return a fresh array of the subject's kind."""
        x = np.array(x, dtype=self.dtype)
        if x.ndim == 2:
            x = x.reshape(*x.shape, *(1,) * self.axes)
        if self.library == "numpy":
            return x
        import torch

        return torch.from_numpy(x)

    def take(self, x: Any) -> np.ndarray:
        """Return an array of the subject's as NumPy, its dtype kept."""
        if hasattr(x, "detach"):
            x = x.detach().cpu()
            if str(x.dtype) == "torch.bfloat16":
                x = x.float()
            return np.asarray(x.numpy())
        return np.asarray(x)


def finish(
    what: str, end: Any, calls: Sequence[Call], bridge: Bridge, shape: tuple[int, ...]
) -> Run:
    """Return the run that ended so; refuse what is no array of the states' shape."""
    kind = type(end).__name__
    if kind in ("coroutine", "generator"):
        end.close()  # else Python complains that nobody awaited it
    if isinstance(end, tuple | list | dict) or end is None or not hasattr(end, "dtype"):
        raise SubjectError(f"{what} must return the states, an array, got {kind}")
    wanted = (*shape, *(1,) * bridge.axes)
    if tuple(end.shape) != wanted:
        raise SubjectError(f"{what} must return states of shape {wanted}, got {tuple(end.shape)}")
    array = bridge.take(end)
    if array.dtype.kind != "f":
        raise SubjectError(f"{what} must return real floating states, got {array.dtype}")
    return Run(array.astype(np.float64).reshape(shape), tuple(calls), str(array.dtype))


def called(what: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a stranger's code; what it raises becomes one line that names the call.

    What it prints is dropped: it is run a hundred times, and standard output is the report's.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return function(*args, **kwargs)
    except SubjectError:
        raise
    except (Exception, SystemExit) as error:
        raise SubjectError(
            f"{what} must run, got {type(error).__name__}: {quote(error)}"
        ) from error


def shaped(what: str, shape: tuple[int, ...], function: Any, *args: Any) -> np.ndarray:
    """Call what a subject offers; refuse a result of another shape, naming both."""
    out = called(what, function, *args)
    if tuple(np.shape(out)) != shape:
        raise SubjectError(f"{what} must return the shape {shape}, got {tuple(np.shape(out))}")
    return np.asarray(out)
