"""What a data law is, and laws by name: ours, other packages', and those of the declared design.

A package registers a law by one line of the entry-point group ``steinlab.laws``,
``name = "package.module:law"``: a law, or a function of no arguments that returns one.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
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

    def __call__(self, x: Array, level: NoiseLevel, /) -> Array:
        """Denoise."""

    def sample(self, n: int, rng: np.random.Generator, /) -> np.ndarray:
        """Draw ``n`` states, shape ``(n, d)``."""


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

    @cached_property
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


Mixture = GaussianMixture | EmpiricalMixture


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
"""Data sets by name: functions that return rows ``(n, d)`` in float64."""


def _mixture(weights: list[float], means: Any, variances: Any) -> GaussianMixture:
    return GaussianMixture(np.array(weights), np.array(means), np.array(variances))


def _equal(means: np.ndarray, variance: float) -> GaussianMixture:
    return GaussianMixture(np.full(len(means), 1 / len(means)), means, variance)


def _ring(radius: float, variance: float) -> GaussianMixture:
    """Eight modes on a circle."""
    turn = 2 * math.pi * np.arange(8) / 8
    return _equal(radius * np.stack((np.cos(turn), np.sin(turn)), axis=-1), variance)


def _random(dim: int, modes: int, seed: int) -> GaussianMixture:
    """Unequal weights, widths that differ by mode and coordinate; entries of order one."""
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((modes, dim))
    widths = rng.uniform(0.02, 0.2, (modes, 1)) * rng.uniform(0.3, 1.0, (1, dim))
    return GaussianMixture(rng.dirichlet(np.full(modes, 2.0)), means, widths)


def _spectrum(dim: int, modes: int, seed: int) -> GaussianMixture:
    """Means that fall as ``1 / k``, variances as ``1 / k^2`` along axes of each mode's own."""
    rng = np.random.default_rng(seed)
    k = np.arange(1, dim + 1)
    axes = [np.linalg.qr(rng.standard_normal((dim, dim)))[0] for _ in range(modes)]
    covariances = np.array([(q / k**2) @ q.T for q in axes])
    means = rng.standard_normal((modes, dim)) / k
    return GaussianMixture(rng.dirichlet(np.ones(modes)), means, covariances)


def _five_modes() -> GaussianMixture:
    rng = np.random.default_rng(64)
    means, stds = rng.standard_normal((5, 64)), rng.uniform(0.2, 0.6, 5)
    return _mixture([0.1, 0.15, 0.2, 0.25, 0.3], means, stds**2)


LAWS: Mapping[str, Callable[[], GaussianMixture]] = MappingProxyType(
    {
        "two-1": lambda: _mixture([0.3, 0.7], [-2.0, 2.0], [0.05, 0.2]),
        "three-1": lambda: _mixture([0.1, 0.6, 0.3], [-3.0, 0.0, 1.5], [0.01, 0.3, 0.05]),
        "ring-2": partial(_ring, 3.0, 0.04),
        "grid25-2": lambda: _equal(
            np.array(list(itertools.product([-4.0, -2.0, 0.0, 2.0, 4.0], repeat=2))), 0.01
        ),
        "few-8": partial(_random, 8, 3, 1),
        "many-8": partial(_random, 8, 20, 2),
        "few-64": partial(_random, 64, 3, 3),
        "many-64": partial(_random, 64, 16, 4),
        "few-512": partial(_random, 512, 4, 5),
    }
)
"""Laws of the tournament; the number at the end of a name is the dimension."""

FRESH_LAWS: Mapping[str, Callable[[], GaussianMixture]] = MappingProxyType(
    {
        "wide-3": lambda: _mixture(
            [0.03, 0.07, 0.15, 0.2, 0.25, 0.3],
            [[4, 0, 0], [0, -3, 1], [-2, 2, 2], [1, 1, -3], [-1, -1, 0], [1, 0, 1]],
            np.square([0.03, 0.6, 0.1, 0.05, 0.3, 0.15]),
        ),
        "spectrum-32": partial(_spectrum, 32, 6, 7),
    }
)
"""Laws of the tournament's second edition, on which no constant of a correction was chosen."""


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
    own: Mapping[str, Callable[[], Law]] = {**LAWS, **FRESH_LAWS, **OTHER_LAWS}
    if name in own:
        return own[name]()
    entries = plugins.registered(GROUP, own)
    entry = entries[one_of(field, name, [*own, *entries])]
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


DIGITS_ROWS, DIGITS_BANDWIDTH = 100, 0.2

PROBLEMS: Mapping[str, Callable[[], Mixture]] = MappingProxyType(
    {
        "two modes, 1-D": lambda: _equal(np.array([-1.0, 1.0]), 0.2**2),
        "three modes, 1-D": lambda: _mixture(
            [0.2, 0.3, 0.5], [-2.0, 0.0, 1.5], [0.2**2, 0.4**2, 0.1**2]
        ),
        "25-mode grid, 2-D": lambda: _equal(
            np.stack(np.meshgrid(*[np.linspace(-2.0, 2.0, 5)] * 2), axis=-1).reshape(-1, 2), 0.15**2
        ),
        "ring, 2-D": partial(_ring, 2.0, 0.2**2),
        "five modes, 64-D": _five_modes,
        "digits, 64-D": lambda: EmpiricalMixture(load_digits()[:DIGITS_ROWS], DIGITS_BANDWIDTH),
        "Gaussian, 2-D": lambda: _mixture([1.0], [[0.5, -0.5]], [[1.0, 0.04]]),
    }
)
"""Laws of the claims. All but the Gaussian separate modes, where the exact flow is expansive."""


@cache
def problem(name: str) -> Mixture:
    """Return a law of :data:`PROBLEMS`."""
    return PROBLEMS[name]()
