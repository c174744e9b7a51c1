r"""Running error analysis of a solver's step, in units of the machine epsilon.

A pair (value, size) passed through a step comes out with the size of everything that was added up
on the way: ``|result - exact| <= c eps size`` with a small ``c`` counting operations. A product
with a scalar adds ``|result|``, sums add sizes, and the denoiser hands on an error in its argument
through its Jacobian: ``size(D(x)) = |D'| size(x) + |D| + sqrt V``, the last term for the rounding
of responsibilities. This is what makes tolerances follow from conditioning. One dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from analytic import NoiseLevel
from steinlab.coefficient.forward_mode import Dual
from steinlab.solvers.step import Step


@dataclass(frozen=True, eq=False)
class Sized:
    """A value and the size of its rounding error in units of ``eps``."""

    value: np.ndarray
    size: np.ndarray
    __array_ufunc__ = None  # NumPy scalars on the left leave the product to __rmul__

    def __add__(self, other: Any) -> Sized:
        if isinstance(other, Sized):
            return Sized(self.value + other.value, self.size + other.size)
        return Sized(self.value + other, self.size + np.abs(other))

    __radd__ = __add__

    def __neg__(self) -> Sized:
        return Sized(-self.value, self.size)

    def __sub__(self, other: Any) -> Sized:
        return self.__add__(-other)

    def __rsub__(self, other: Any) -> Sized:
        return self.__neg__().__add__(other)

    def __mul__(self, scale: Any) -> Sized:
        value = self.value * scale
        return Sized(value, self.size * np.abs(scale) + np.abs(value))

    __rmul__ = __mul__

    def __truediv__(self, scale: Any) -> Sized:
        value = self.value / scale
        return Sized(value, self.size / np.abs(scale) + np.abs(value))


@runtime_checkable
class HasRounding(Protocol):
    """A denoiser that is not a mixture's, and knows what else is added up in it."""

    def rounding(self, x: np.ndarray, level: NoiseLevel, /) -> tuple[np.ndarray, np.ndarray]:
        """Return sizes, in ``eps``, that ``D`` and ``D'`` have beyond those of a mixture."""
        ...


def on_sizes(law: Any) -> Callable[[Any, NoiseLevel], Any]:
    """Return an exact one-dimensional denoiser extended to :class:`Sized` states."""

    def denoise(x: Any, level: NoiseLevel) -> Any:
        if not isinstance(x, Sized):
            return law(x, level)
        denoised, slope, variance = law.moments(x.value, level)
        own = np.abs(denoised) + np.sqrt(variance)[..., None]
        if isinstance(law, HasRounding):
            own = own + law.rounding(x.value, level)[0]
        return Sized(denoised, np.abs(slope)[..., None] * x.size + own)

    return denoise


def on_slopes(law: Any) -> Callable[[Any, NoiseLevel], Any]:
    """Return it extended to derivatives: :class:`Dual` states whose tangent is :class:`Sized`."""

    def denoise(x: Any, level: NoiseLevel) -> Any:
        if not isinstance(x, Dual):
            return law(x, level)
        slope = law.divergence(x.value, level)[..., None]
        t = x.tangent
        own = np.abs(slope)
        if isinstance(law, HasRounding):
            own = own + law.rounding(x.value, level)[1]
        tangent = Sized(slope * t.value, np.abs(slope) * t.size + own * np.abs(t.value))
        return Dual(law(x.value, level), tangent)

    return denoise


def step_sizes(step: Step) -> tuple[np.ndarray, np.ndarray]:
    """Return the sizes of the residual ``u`` and of its derivative, shape of ``x``.

    States must be one-dimensional, ``(..., N, 1)``, and the denoiser exact.
    """
    zero, one = np.zeros_like(step.x), np.ones_like(step.x)
    value = step.residual(Sized(step.x, zero), on_sizes(step.denoiser))
    slope = step.residual(Dual(step.x, Sized(one, zero)), on_slopes(step.denoiser)).tangent
    return value.size, slope.size


EPS = float(np.finfo(float).eps)


ROUNDING = 8.0
"""Rounding errors are bounded by this many ``eps`` times the size from running error analysis,
which counts products and sums once; the factor covers exponentials, quadrature weights and
responsibilities. In the quick profile the worst random case takes 0.16 of this tolerance where
terms are integrated (``edm-drift-vanishes``) and 0.42 among all identities checked to rounding
(``hutchinson-estimator``): 1.3 and 3.3 ``eps`` times the size. The ledger's
``worst_over_tolerance`` tells for every check."""
