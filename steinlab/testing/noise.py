r"""Draws of a stochastic subject, answered with what is asked for: exact probes or seeded numbers.

While a source is open, ``torch.randn``, ``torch.randn_like``, ``Tensor.normal_`` and
``numpy.random``'s global functions answer from it, and loops that take a ``noise_sampler`` get one.
A ``noise_sampler(sigma, sigma_next)`` answers increments of one Brownian motion in sigma, scaled to
unit variance: overlapping intervals share what they have in common, as a Brownian tree's do.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, Protocol
from unittest import mock

import numpy as np

from steinlab.testing.subject import Bridge


class Source(Protocol):
    """What answers draws."""

    def draw(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return fresh standard normals."""
        ...

    def between(self, shape: tuple[int, ...], start: float, end: float) -> np.ndarray:
        """Return the Brownian increment of an interval, over the root of its length."""
        ...


_OPEN: ContextVar[Source | None] = ContextVar("source", default=None)


def sampler(bridge: Bridge) -> Callable[[Any, Any], Any] | None:
    """Return ``noise_sampler(sigma, sigma_next)`` of the open source, none where none is open."""
    source = _OPEN.get()
    if source is None:
        return None

    def between(sigma: Any, sigma_next: Any) -> Any:
        shape = _SHAPE.get()
        return bridge.give(source.between(shape, float(sigma), float(sigma_next)))

    return between


_SHAPE: ContextVar[tuple[int, ...]] = ContextVar("shape", default=())


class Seeded:
    """Pseudo-random draws; overlapping intervals share their parts by bridges drawn once."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.path: dict[float, np.ndarray] = {}

    def draw(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return fresh standard normals."""
        return self.rng.standard_normal(shape)

    def _at(self, time: float, shape: tuple[int, ...]) -> np.ndarray:
        if time not in self.path:
            known = sorted(self.path)
            below = [t for t in known if t < time]
            above = [t for t in known if t > time]
            z = self.draw(shape)
            if not known:
                self.path[time] = np.zeros(shape)
            elif below and above:
                a, b = below[-1], above[0]
                share = (time - a) / (b - a)
                middle = (1 - share) * self.path[a] + share * self.path[b]
                self.path[time] = middle + z * ((time - a) * (b - time) / (b - a)) ** 0.5
            else:
                near = below[-1] if below else above[0]
                self.path[time] = self.path[near] + z * abs(time - near) ** 0.5
        return self.path[time]

    def between(self, shape: tuple[int, ...], start: float, end: float) -> np.ndarray:
        """Return the scaled increment."""
        if start == end:
            return np.zeros(shape)
        gap = self._at(end, shape) - self._at(start, shape)
        return np.asarray(gap / abs(end - start) ** 0.5)


class Probes:
    """Draws answered with unit vectors: the ``k``-th independent normal is coordinate ``k``.

    Run once with ``size = 0`` to learn how many normals a run draws and which intervals it asks
    for, then with the size learnt.
    """

    def __init__(self, first: int, learnt: Probes | None = None):
        self.first = first
        self.draws = 0
        self.times: set[float] = set()
        self.learnt = learnt

    @property
    def size(self) -> int:
        """Coordinates that the draws take."""
        return self.draws + max(len(self.times) - 1, 0)

    def draw(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return the next unit vector in every row."""
        answer = np.zeros(shape)
        flat = answer.reshape(shape[0], -1)
        at = self.first + self.draws
        self.draws += 1
        if self.learnt is not None:
            flat[:, at] = 1.0
        return answer

    def between(self, shape: tuple[int, ...], start: float, end: float) -> np.ndarray:
        """Return the increment in the coordinates of the elementary intervals."""
        self.times |= {start, end}
        answer = np.zeros(shape)
        if self.learnt is None or start == end:
            return answer
        low, high = min(start, end), max(start, end)
        sign = 1.0 if end > start else -1.0
        flat = answer.reshape(shape[0], -1)
        for k, (a, b) in enumerate(itertools.pairwise(sorted(self.learnt.times))):
            if low <= a and b <= high:
                flat[:, self.first + self.learnt.draws + k] = sign * ((b - a) / (high - low)) ** 0.5
        return answer


def probed(subject: Any, denoiser: Any, start: np.ndarray, levels: Any) -> Any:
    """Run a subject with every draw a coordinate of its own, after those of ``start`` ``(N, c)``.

    Whatever is linear in states, outputs and draws then ends as its row of coefficients: the
    variance of the end is a sum of squares, and nothing is sampled. The denoiser must act alike on
    every coordinate, up to what it does to the first ``c``.
    """
    rows, first = start.shape
    learnt = Probes(first)
    with answered(learnt, start.shape):
        subject.run(denoiser, start, levels)
    wide = np.concatenate([start, np.zeros((rows, max(learnt.size, 1)))], axis=1)
    with answered(Probes(first, learnt), wide.shape):
        return subject.run(denoiser, wide, levels)


@contextmanager
def answered(source: Source, shape: tuple[int, ...]) -> Iterator[None]:
    """Answer every draw from a source while open; ``shape`` is that of the states."""
    import sys

    with ExitStack() as stack:
        stack.callback(_OPEN.reset, _OPEN.set(source))
        stack.callback(_SHAPE.reset, _SHAPE.set(shape))
        for name in ("randn", "standard_normal", "normal"):
            stack.enter_context(mock.patch.object(np.random, name, _numpy(source, name)))
        if "torch" in sys.modules:
            import torch

            stack.enter_context(mock.patch.object(torch, "randn", _randn(source)))
            stack.enter_context(mock.patch.object(torch, "randn_like", _randn_like(source)))
            stack.enter_context(mock.patch.object(torch.Tensor, "normal_", _normal(source)))
        yield


def _numpy(source: Source, name: str) -> Callable[..., Any]:
    def answer(*args: Any, **kwargs: Any) -> Any:
        if name == "randn":
            return source.draw(tuple(args))
        size = kwargs.get("size", args[-1] if args else ())
        shape = tuple(np.atleast_1d(size).astype(int)) if np.size(size) else ()
        drawn = source.draw(shape)
        if name == "normal":
            loc, scale = (*args, 0.0, 1.0)[:2] if len(args) >= 2 else (0.0, 1.0)
            return kwargs.get("loc", loc) + kwargs.get("scale", scale) * drawn
        return drawn

    return answer


def _randn(source: Source) -> Callable[..., Any]:
    def answer(*size: Any, dtype: Any = None, **_: Any) -> Any:
        import torch

        first = size[0] if size else _["size"]
        shape = tuple(first) if isinstance(first, tuple | list | torch.Size) else tuple(size)
        return torch.from_numpy(source.draw(tuple(int(n) for n in shape))).to(
            dtype or torch.float64
        )

    return answer


def _randn_like(source: Source) -> Callable[..., Any]:
    def answer(x: Any, *, dtype: Any = None, **_: Any) -> Any:
        import torch

        return torch.from_numpy(source.draw(tuple(x.shape))).to(dtype or x.dtype)

    return answer


def _normal(source: Source) -> Callable[..., Any]:
    def answer(x: Any, mean: float = 0.0, std: float = 1.0, **_: Any) -> Any:
        import torch

        return x.copy_(mean + std * torch.from_numpy(source.draw(tuple(x.shape))))

    return answer
