"""What a data law is, and laws by name: ours, other packages', and those of the declared design.

A package registers a law by one line of the entry-point group ``steinlab.laws``,
``name = "package.module:law"``: a law, or a function of no arguments that returns one.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np

from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel
from analytic.arrays import Array
from analytic.laws import Box, Circle, Segment, student
from steinlab import plugins
from steinlab.errors import CRASHES, InputError, one_of, quote


@runtime_checkable
class Law(Protocol):
    """A data law with its exact denoiser: what a stranger's law must offer.

    ``law(x, level)`` is ``E[x_star | x]`` for ``x = alpha x_star + sigma eps``, states ``(N, d)``.
    What else it knows is used where it is there, each as a mixture has it:
    ``divergence(x, level)`` and ``jvp(x, level, tangent)`` (exact coefficients),
    ``log_prob(x, level)`` and ``score(x, level)``, ``mean()``, ``second_moment()``,
    ``variance()``, ``covariance()``, and ``smallest_variance``, a variance below which the law has
    no structure (0 without a density). ``steinlab.check_law`` tries all of it.
    """

    @property
    def dim(self) -> int:
        """Dimension ``d`` of the states."""
        ...

    def __call__(self, x: Array, level: NoiseLevel, /) -> Array:
        """Denoise."""
        ...

    def sample(self, n: int, rng: np.random.Generator, /) -> np.ndarray:
        """Draw ``n`` states, shape ``(n, d)``."""
        ...


@dataclass(frozen=True)
class Completed:
    """A law with what the exact flow asks for, made of its denoiser and samples where it lacks it.

    The score is ``(alpha D - x) / sigma^2``. Mean and second moment, where they are not stated, are
    those of :data:`SAMPLES` samples: they scale the integrator's variable and no result.
    """

    law: Law

    @property
    def dim(self) -> int:
        """The law's."""
        return self.law.dim

    @property
    def smallest_variance(self) -> float:
        """The law's, or 0."""
        return float(getattr(self.law, "smallest_variance", 0.0))

    def __call__(self, x: Array, level: NoiseLevel) -> Array:
        """Denoise."""
        return self.law(x, level)

    def score(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``(alpha D - x) / sigma^2``."""
        return (level.alpha * self(x, level) - x) / level.sigma**2

    @functools.cached_property
    def _samples(self) -> np.ndarray:
        return self.law.sample(SAMPLES, np.random.default_rng(0))

    def mean(self) -> np.ndarray:
        """Return the mean, or that of samples."""
        known = getattr(self.law, "mean", lambda: self._samples.mean(axis=0))
        return np.asarray(known())

    def second_moment(self) -> np.ndarray:
        """Return ``E|x_star|^2``, or that of samples."""
        known = getattr(self.law, "second_moment", lambda: (self._samples**2).sum(axis=1).mean())
        return np.asarray(known())


SAMPLES = 10_000


def completed(law: Any) -> Any:
    """Return the law if it knows what the exact flow asks for, else :class:`Completed`."""
    asked = ("score", "mean", "second_moment", "smallest_variance")
    return law if all(hasattr(law, name) for name in asked) else Completed(law)


def load_digits() -> np.ndarray:
    """Return scikit-learn's 1797 handwritten digits of 8 x 8 pixels, in [0, 1].

    Reference: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.

    Examples
    --------
    >>> digits = load_digits()
    >>> digits.shape, float(digits.max())
    ((1797, 64), 1.0)
    """
    from sklearn.datasets import load_digits as load

    return np.asarray(load().data, dtype=np.float64) / 16


DATASETS: Mapping[str, Callable[[], np.ndarray]] = MappingProxyType({"digits": load_digits})
"""Every data set by name."""


def _two() -> GaussianMixture:
    return GaussianMixture(np.array([0.3, 0.7]), np.array([-2.0, 2.0]), np.array([0.05, 0.2]))


def _three() -> GaussianMixture:
    means, widths = np.array([-3.0, 0.0, 1.5]), np.array([0.01, 0.3, 0.05])
    return GaussianMixture(np.array([0.1, 0.6, 0.3]), means, widths)


def _ring() -> GaussianMixture:
    turn = 2 * math.pi * np.arange(8) / 8
    return GaussianMixture(np.full(8, 1 / 8), 3 * np.c_[np.cos(turn), np.sin(turn)], 0.04)


def _grid25() -> GaussianMixture:
    means = np.array(list(itertools.product([-4.0, -2.0, 0.0, 2.0, 4.0], repeat=2)))
    return GaussianMixture(np.full(25, 1 / 25), means, 0.01)


def _random(dim: int, modes: int, seed: int) -> GaussianMixture:
    """Unequal weights, widths that differ by mode and coordinate; entries of order one."""
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((modes, dim))
    widths = rng.uniform(0.02, 0.2, (modes, 1)) * rng.uniform(0.3, 1.0, (1, dim))
    return GaussianMixture(rng.dirichlet(np.full(modes, 2.0)), means, widths)


_LAWS: dict[str, Callable[[], GaussianMixture]] = {
    "two-1": _two,
    "three-1": _three,
    "ring-2": _ring,
    "grid25-2": _grid25,
    "few-8": functools.partial(_random, 8, 3, 1),
    "many-8": functools.partial(_random, 8, 20, 2),
    "few-64": functools.partial(_random, 64, 3, 3),
    "many-64": functools.partial(_random, 64, 16, 4),
    "few-512": functools.partial(_random, 512, 4, 5),
}


LAWS: Mapping[str, Callable[[], GaussianMixture]] = MappingProxyType(_LAWS)
"""Exact laws; the number at the end is the dimension."""


def _atoms() -> EmpiricalMixture:
    return EmpiricalMixture(np.array([[-2.0, 0.0], [0.0, 1.0], [1.0, -1.0], [1.5, 1.0]]))


OTHER_LAWS: Mapping[str, Callable[[], Law]] = MappingProxyType(
    {
        "box-2": lambda: Box(np.array([-1.0, -0.5]), np.array([1.0, 1.5])),
        "circle-2": lambda: Circle(1.5, (0.5, 0.0)),
        "segment-3": lambda: Segment(np.array([-1.0, 0.0, 0.5]), np.array([1.0, 1.0, -0.5])),
        "atoms-2": _atoms,
        "student-1": lambda: student(5.0),
    }
)
"""Exact laws that are no mixtures of a few Gaussians: bounded, on a manifold, discrete,
heavy-tailed. The number at the end is the dimension."""

GROUP = "steinlab.laws"
"""The entry-point group of other packages' laws."""


def load_law(name: str, field: str = "law") -> Law:
    """Return the law of that name, of this package or of another that registers it.

    Raises
    ------
    InputError
        For an unknown name, one that two packages register, or what is no :class:`Law`.

    Examples
    --------
    >>> load_law("student-1").dim
    1
    """
    if name in LAWS:
        return LAWS[name]()
    if name in OTHER_LAWS:
        return OTHER_LAWS[name]()
    entries = plugins.registered(GROUP, [*LAWS, *OTHER_LAWS])
    entry = entries[one_of(field, name, [*LAWS, *OTHER_LAWS, *entries])]
    found: Any = plugins.loaded(entry, field)
    return as_law(found, f"{field} {name} of the package {plugins.package_of(entry)}")


def as_law(found: Any, what: str) -> Law:
    """Return a law, or what a function of no arguments returns if that is one.

    Raises
    ------
    InputError
        If it lacks a member of :class:`Law`, naming the first.
    """
    if isinstance(found, type) or (callable(found) and not hasattr(found, "sample")):
        try:
            found = found()
        except CRASHES as error:
            raise InputError(
                f"{what} must be made without arguments, got {type(error).__name__}: {quote(error)}"
            ) from None
    for name in ("dim", "sample", "__call__"):
        if not hasattr(found, name):
            raise InputError(f"{what} must be a law with {name}, got {type(found).__name__}")
    law: Law = found
    return law


Mixture = GaussianMixture | EmpiricalMixture


DIGITS_ROWS = 100


DIGITS_BANDWIDTH = 0.2


def _equal(means: np.ndarray, std: float) -> GaussianMixture:
    count = len(means)
    return GaussianMixture(np.full(count, 1 / count), means, std**2)


def _two_modes() -> Mixture:
    return _equal(np.array([-1.0, 1.0]), 0.2)


def _three_modes() -> Mixture:
    means, stds = np.array([-2.0, 0.0, 1.5]), np.array([0.2, 0.4, 0.1])
    return GaussianMixture(np.array([0.2, 0.3, 0.5]), means, stds**2)


def _grid_25() -> Mixture:
    axis = np.linspace(-2.0, 2.0, 5)
    return _equal(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2), 0.15)


def _ring_8() -> Mixture:
    angle = 2 * np.pi * np.arange(8) / 8
    return _equal(2 * np.stack((np.cos(angle), np.sin(angle)), axis=-1), 0.2)


def _random_64() -> Mixture:
    rng = np.random.default_rng(64)
    means, stds = rng.standard_normal((5, 64)), rng.uniform(0.2, 0.6, 5)
    return GaussianMixture(np.array([0.1, 0.15, 0.2, 0.25, 0.3]), means, stds**2)


def _gaussian() -> Mixture:
    return GaussianMixture(np.ones(1), np.array([[0.5, -0.5]]), np.array([[1.0, 0.04]]))


def _digits() -> Mixture:
    return EmpiricalMixture(load_digits()[:DIGITS_ROWS], DIGITS_BANDWIDTH)


PROBLEMS: Mapping[str, Callable[[], Mixture]] = MappingProxyType(
    {
        "two modes, 1-D": _two_modes,
        "three modes, 1-D": _three_modes,
        "25-mode grid, 2-D": _grid_25,
        "ring, 2-D": _ring_8,
        "five modes, 64-D": _random_64,
        "digits, 64-D": _digits,
        "Gaussian, 2-D": _gaussian,
    }
)
"""Data laws by name. All but the Gaussian separate modes, where the exact flow is expansive."""


MULTIMODAL = tuple(name for name in PROBLEMS if name != "Gaussian, 2-D")


@cache
def problem(name: str) -> Mixture:
    """Return a data law by name."""
    return PROBLEMS[name]()
