r"""Running error analysis of a solver's step, in units of the machine epsilon.

A pair (value, size) passed through a step in one dimension becomes the result and its size, with
``|result - exact| <= c eps size`` and a small ``c`` that counts operations. A product with a scalar
adds ``|result|``, and a sum adds sizes. The denoiser passes on an error of its argument by its
derivative, and adds its own (:attr:`analytic.posterior.Posterior.rounding`):

    size(D(x)) = |D'| size(x) + own,        size(D'(x)) = |D''| size(x) + own'.

The step's scalars count as exact: an identity for every step holds for the step with these scalars.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from analytic import NoiseLevel
from analytic.arrays import Linear
from steinlab.coefficient.forward_mode import Dual
from steinlab.solvers.step import Step


@dataclass(frozen=True, eq=False)
class Sized(Linear):
    """A value and the size of its rounding error in units of ``eps``."""

    value: np.ndarray
    size: np.ndarray

    def __add__(self, other: Any) -> Sized:
        if isinstance(other, Sized):
            return Sized(self.value + other.value, self.size + other.size)
        return Sized(self.value + other, self.size + np.abs(other))

    def __neg__(self) -> Sized:
        return Sized(-self.value, self.size)

    def __mul__(self, scale: Any) -> Sized:
        value = self.value * scale
        return Sized(value, self.size * np.abs(scale) + np.abs(value))

    def __truediv__(self, scale: Any) -> Sized:
        value = self.value / scale
        return Sized(value, self.size / np.abs(scale) + np.abs(value))


class HasRounding(Protocol):
    """An exact denoiser in one dimension that bounds its own rounding."""

    def moments(self, x: np.ndarray, level: NoiseLevel, /) -> tuple[np.ndarray, ...]:
        """Return ``D``, ``div D`` and ``V``."""

    def rounding(self, x: np.ndarray, level: NoiseLevel, /) -> tuple[np.ndarray, ...]:
        """Return sizes, in ``eps``, of the rounding of ``D`` and ``D'``, and ``|D''|``."""


def on_sizes(law: HasRounding) -> Callable[[Sized, NoiseLevel], Sized]:
    """Return the denoiser extended to :class:`Sized` states."""

    def denoise(x: Sized, level: NoiseLevel) -> Sized:
        denoised, slope, _ = law.moments(x.value, level)
        own, _, _ = law.rounding(x.value, level)
        return Sized(denoised, np.abs(slope)[..., None] * x.size + own)

    return denoise


def on_slopes(law: HasRounding) -> Callable[[Dual, NoiseLevel], Dual]:
    """Return the denoiser extended to :class:`Dual` states whose parts are :class:`Sized`."""

    def denoise(x: Dual, level: NoiseLevel) -> Dual:
        at, along = x.value, x.tangent
        slope = law.moments(at.value, level)[1][..., None]
        _, own, bend = law.rounding(at.value, level)
        own = own + bend * at.size
        tangent = Sized(slope * along.value, np.abs(slope) * along.size + own * np.abs(along.value))
        return Dual(on_sizes(law)(at, level), tangent)

    return denoise


def step_sizes(step: Step) -> tuple[np.ndarray, np.ndarray]:
    """Return the sizes of the residual ``u`` and of its derivative, shape of ``x``.

    States must be one-dimensional, ``(..., N, 1)``, and the denoiser exact.
    """
    zero, one = np.zeros_like(step.x), np.ones_like(step.x)
    start: Any = Dual(Sized(step.x, zero), Sized(one, zero))
    law: Any = step.denoiser
    end = step.residual(start, on_slopes(law))
    return end.value.size, end.tangent.size


EPS = float(np.finfo(float).eps)

ROUNDING = 8.0
"""Factor ``c`` of the bound ``c eps size`` of rounding errors.

Running error analysis counts every product and sum once; the factor covers exponentials and
quadrature weights. The ledger's ``worst_over_tolerance`` says how much of it each check uses: at
most 0.13 over 300 seeds of the quick profile where terms are integrated."""
