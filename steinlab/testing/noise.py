r"""Draws of a stochastic subject, answered with what is asked for: exact probes or seeded numbers.

While a source is open, ``torch.randn``, ``torch.randn_like``, ``Tensor.normal_``,
``numpy.random``'s global functions and the generators that ``numpy.random.default_rng`` makes
answer from it, and loops that take a ``noise_sampler`` get one.
A ``noise_sampler(sigma, sigma_next)`` answers increments of one Brownian motion in sigma, scaled to
unit variance: overlapping intervals share what they have in common, as a Brownian tree's do.

The real source is drawn from too. Where it repeats itself, seeded anew at every step, so does the
answer.
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

    def draw(self, real: np.ndarray) -> np.ndarray:
        """Return standard normals in place of real ones, the same where these are."""

    def between(self, shape: tuple[int, ...], start: float, end: float) -> np.ndarray:
        """Return the Brownian increment of an interval, over the root of its length."""


_OPEN: ContextVar[Source | None] = ContextVar("source", default=None)


def sampler(bridge: Bridge, shape: tuple[int, ...]) -> Callable[[Any, Any], Any]:
    """Return ``noise_sampler(sigma, sigma_next)`` of the open source, or of a fresh one."""
    source = _OPEN.get() or Seeded(None)

    def between(sigma: Any, sigma_next: Any) -> Any:
        return bridge.give(source.between(shape, float(sigma), float(sigma_next)))

    return between


class Seeded:
    """Pseudo-random draws; overlapping intervals share their parts by bridges drawn once."""

    def __init__(self, seed: int | None):
        self.rng = np.random.default_rng(seed)
        self.path: dict[float, np.ndarray] = {}
        self.drawn: dict[bytes, np.ndarray] = {}

    def draw(self, real: np.ndarray) -> np.ndarray:
        """Return pseudo-random numbers."""
        key = real.tobytes()
        if key not in self.drawn:
            self.drawn[key] = self.rng.standard_normal(real.shape)
        return self.drawn[key]

    def _at(self, time: float, shape: tuple[int, ...]) -> np.ndarray:
        if time not in self.path:
            known = sorted(self.path)
            below = [t for t in known if t < time]
            above = [t for t in known if t > time]
            z = self.rng.standard_normal(shape)
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
        self.drawn: dict[bytes, int] = {}
        self.times: set[float] = set()
        self.learnt = learnt

    @property
    def size(self) -> int:
        """Coordinates that the draws take."""
        return len(self.drawn) + max(len(self.times) - 1, 0)

    def draw(self, real: np.ndarray) -> np.ndarray:
        """Return the next unit vector in every row."""
        answer = np.zeros(real.shape)
        at = self.first + self.drawn.setdefault(real.tobytes(), len(self.drawn))
        if self.learnt is not None:
            answer.reshape(len(real), -1)[:, at] = 1.0
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
                flat[:, self.first + len(self.learnt.drawn) + k] = (
                    sign * ((b - a) / (high - low)) ** 0.5
                )
        return answer


def probed(subject: Any, denoiser: Any, start: np.ndarray, levels: Any) -> Any:
    """Run a subject with every draw a coordinate of its own, after those of ``start`` ``(N, c)``.

    Whatever is linear in states, outputs and draws then ends as its row of coefficients: the
    variance of the end is a sum of squares, and nothing is sampled. The denoiser must act alike on
    every coordinate, up to what it does to the first ``c``.
    """
    rows, first = start.shape
    learnt = Probes(first)
    with answered(learnt):
        subject.run(denoiser, start, levels)
    wide = np.concatenate([start, np.zeros((rows, max(learnt.size, 1)))], axis=1)
    with answered(Probes(first, learnt)):
        return subject.run(denoiser, wide, levels)


@contextmanager
def answered(source: Source) -> Iterator[None]:
    """Answer every draw from a source while it is open."""
    import sys

    with ExitStack() as stack:
        stack.callback(_OPEN.reset, _OPEN.set(source))
        for name in ("randn", "standard_normal", "normal"):
            stack.enter_context(mock.patch.object(np.random, name, _numpy(source, name)))
        made = _generators(source, np.random.default_rng)
        stack.enter_context(mock.patch.object(np.random, "default_rng", made))
        if "torch" in sys.modules:
            import torch

            for name in ("randn", "randn_like"):
                answer = _torch(source, getattr(torch, name))
                stack.enter_context(mock.patch.object(torch, name, answer))
            answer = _normal(source, torch.Tensor.normal_)
            stack.enter_context(mock.patch.object(torch.Tensor, "normal_", answer))
        yield


def _numpy(source: Source, name: str) -> Callable[..., Any]:
    real = getattr(np.random, name)

    def answer(*args: Any, **kwargs: Any) -> Any:
        if name != "normal":
            return source.draw(np.asarray(real(*args, **kwargs)))
        loc, scale, size = (*args, *(None,) * 3)[:3]
        loc, scale = (
            kwargs.get("loc", loc or 0.0),
            kwargs.get("scale", 1.0 if scale is None else scale),
        )
        return loc + scale * source.draw(np.asarray(real(size=kwargs.get("size", size))))

    return answer


def _generators(source: Source, real: Callable[..., Any]) -> Callable[..., Any]:
    """Make generators whose normals are answered."""

    class Answered(np.random.Generator):
        def standard_normal(
            self, size: Any = None, dtype: Any = np.float64, out: Any = None
        ) -> Any:
            drawn = source.draw(np.asarray(super().standard_normal(size, dtype, out)))
            if out is None:
                return drawn.astype(dtype)
            out[...] = drawn
            return out

        def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
            return loc + scale * self.standard_normal(size)

    return lambda *args, **kwargs: Answered(real(*args, **kwargs).bit_generator)


def _torch(source: Source, real: Callable[..., Any]) -> Callable[..., Any]:
    """Answer ``torch.randn`` and ``torch.randn_like``."""

    def answer(*args: Any, **kwargs: Any) -> Any:
        import torch

        drawn = real(*args, **kwargs)
        return torch.from_numpy(source.draw(drawn.cpu().numpy())).to(drawn)

    return answer


def _normal(source: Source, real: Callable[..., Any]) -> Callable[..., Any]:
    def answer(x: Any, mean: float = 0.0, std: float = 1.0, **kwargs: Any) -> Any:
        import torch

        drawn = torch.from_numpy(source.draw(real(x, **kwargs).cpu().numpy()))
        return x.copy_(mean + std * drawn)

    return answer
