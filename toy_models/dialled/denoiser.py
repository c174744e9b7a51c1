r"""Add a smooth error of a set size under the data law to an exact denoiser.

    D_model = D + c(level) e,     c = size(level) / sqrt(E_p|e|^2),

so that at every level ``sqrt(E_p|D_model - D|^2)`` is the L2 size asked for, or, since
``s_model - s = (alpha / sigma^2)(D_model - D)``, the score's Fisher size
``sqrt(E_p|s_model - s|^2)`` is. All derivatives are exact.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as attribute
from typing import Any, NamedTuple, Self

import numpy as np

from analytic import NoiseLevel
from analytic.arrays import Array, like
from steinlab.errors import one_of
from toy_models.dialled.fields import Field, Law, Size

Amount = float | np.ndarray | Callable[[NoiseLevel], Any]
"""A size: one for all levels, one per case ``(C, 1, 1)``, or a function of the level."""

UNITS = ("l2", "fisher", "relative", "field")


class Target(NamedTuple):
    """A size and its unit.

    ``l2`` is that of ``D``, ``fisher`` that of the score, ``relative`` the Fisher size times
    ``sigma`` (about 1 is an error as large as the score), ``field`` a multiple of the field itself.
    """

    amount: Amount
    unit: str = "relative"


@dataclass(frozen=True, eq=False)
class Dialled:
    r"""A law's exact denoiser with an error of a set size.

    Parameters
    ----------
    law : GaussianMixture or EmpiricalMixture
        A stack of mixtures too, with levels ``(C, 1, 1)``.
    field : Field
        :func:`~toy_models.dialled.fields.fourier`, ``bias``, ``ripple``, ``smoothing``, or your
        own.
    target : Target

    Raises
    ------
    ValueError
        When evaluated, if the size asked for is negative or the field vanishes at the level.

    Examples
    --------
    >>> from analytic import GaussianMixture
    >>> from toy_models.dialled.fields import bias
    >>> law = GaussianMixture([1.0], [[0.0, 0.0]], 1.0)
    >>> model = Dialled(law, bias([1.0, 0.0]), Target(0.5, "l2"))
    >>> level = NoiseLevel(1.0, 2.0)
    >>> model(np.zeros((1, 2)), level)
    array([[0.5, 0. ]])
    >>> float(model.l2(level).value), float(model.fisher(level).value)
    (0.5, 0.125)
    """

    law: Law
    field: Field
    target: Target
    sizes: dict[tuple[bytes, bytes], Size] = attribute(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        one_of("unit", self.target.unit, UNITS)

    @property
    def dim(self) -> int:
        """Dimension of the states."""
        return int(self.law.dim)

    def __call__(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``D(x) + c e(x)``."""
        return self.law(x, level) + self._gain(x, level) * self.field(x, level)

    def divergence(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``div D + c div e``."""
        gain = _narrow(self._gain(x, level))
        return self.law.divergence(x, level) + gain * self.field.divergence(x, level)

    def jvp(self, x: Array, level: NoiseLevel, tangent: Array) -> Array:
        """Return ``D' v + c e' v``."""
        exact = self.law.jvp(x, level, tangent)
        return exact + self._gain(x, level) * self.field.jvp(x, level, tangent)

    def vjp(self, x: Array, level: NoiseLevel, cotangent: Array) -> Array:
        """Return ``D' v + c (e')' v``, ``D'`` being symmetric and ``e'`` transposed."""
        exact = self.law.jvp(x, level, cotangent)
        return exact + self._gain(x, level) * self.field.vjp(x, level, cotangent)

    def score(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``s + c (alpha / sigma^2) e``."""
        rate = level.alpha / level.sigma**2
        rate = like(rate, x) if np.ndim(rate) else float(rate)
        return self.law.score(x, level) + rate * self._gain(x, level) * self.field(x, level)

    def moments(self, x: Array, level: NoiseLevel) -> tuple[Array, Array, Array]:
        """Return ``D_model``, its divergence, and ``V = tr Cov(x_star | x)`` of the law."""
        return self(x, level), self.divergence(x, level), self.law.posterior_variance(x, level)

    def rounding(self, x: Array, level: NoiseLevel) -> tuple[Array, ...]:
        """Return the law's sizes and the field's, of a model on a line: see :class:`Posterior`."""
        gain = abs(self._gain(x, level))
        value, slope, bend = self.field.rounding(x, level)
        slope = slope + abs(self.field.divergence(x, level))[..., None]
        own = self.law.rounding(x, level)
        return tuple(a + gain * b for a, b in zip(own, (value, slope, bend), strict=True))

    def take(self, index: Any) -> Self:
        """Return the cases ``index`` of a stack."""
        amount = self.target.amount
        if isinstance(amount, np.ndarray):
            amount = amount[index]
        target = Target(amount, self.target.unit)
        return type(self)(self.law.take(index), self.field.take(index), target)

    def l2(self, level: NoiseLevel) -> Size:
        """Return ``sqrt(E_p|D_model - D|^2)`` and its error, shape of the stack."""
        own = self._own(level)
        root = np.sqrt(own.value)
        gain = _flat(self.gain(level))
        return Size(gain * root, gain * 0.5 * own.error / np.where(root > 0, root, 1.0))

    def fisher(self, level: NoiseLevel) -> Size:
        """Return ``sqrt(E_p|s_model - s|^2)`` with its error: ``alpha / sigma^2`` times the L2."""
        value, error = self.l2(level)
        rate = _flat(level.alpha / level.sigma**2)
        return Size(rate * value, rate * error)

    def gain(self, level: NoiseLevel) -> Any:
        """Return ``c``, a number, or ``(C, 1, 1)`` for a stack."""
        given = self.target.amount
        amount = given(level) if callable(given) else given
        if not np.all(np.asarray(amount) >= 0):
            raise ValueError(f"amount must be >= 0, got {amount}")
        if self.target.unit == "field":
            return amount
        alpha, sigma = level.alpha, level.sigma
        unit = {"l2": 1.0, "fisher": sigma**2 / alpha, "relative": sigma / alpha}
        own = np.asarray(self._own(level).value)
        if not np.all(own > 0):
            raise ValueError(f"field must not vanish under the law, got E|e|^2 = {own.min()}")
        root = np.sqrt(own[..., None, None]) if own.ndim else math.sqrt(own)
        return amount * unit[self.target.unit] / root

    def _own(self, level: NoiseLevel) -> Size:
        """``E|e|^2``, kept by level."""
        key = (np.asarray(level.alpha).tobytes(), np.asarray(level.sigma).tobytes())
        if key not in self.sizes:
            self.sizes[key] = self.field.mean_square(self.law, level)
        return self.sizes[key]

    def _gain(self, x: Array, level: NoiseLevel) -> Any:
        gain = self.gain(level)
        return like(gain, x) if np.ndim(gain) else float(gain)


def _flat(value: Any) -> Any:
    """Drop the two trailing axes of a level array ``(C, 1, 1)``."""
    return value[..., 0, 0] if np.ndim(value) else value


def _narrow(value: Any) -> Any:
    """Drop the coordinate axis of ``(C, 1, 1)``: it meets ``(C, N)``."""
    return value[..., 0] if getattr(value, "ndim", 0) else value
