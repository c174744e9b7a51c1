r"""Forward-mode derivatives of any solver's step, on any array library.

A solver only adds, subtracts, multiplies by scalars and calls the denoiser. A pair (value,
tangents) passed through its step therefore becomes the step and its Jacobian-vector products. The
leading axis of tangents ``(P, *value.shape)`` counts probes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from analytic import NoiseLevel
from analytic.arrays import Array, Linear
from analytic.levels import Scalar
from steinlab.diffusion.denoisers import HasJvp


@dataclass(frozen=True, eq=False)
class Dual(Linear):
    """A value and its tangents along ``P`` directions."""

    value: Array
    tangent: Array

    def __add__(self, other: Dual | Array) -> Dual:
        if isinstance(other, Dual):
            return Dual(self.value + other.value, self.tangent + other.tangent)
        return Dual(self.value + other, self.tangent)

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.tangent)

    def __mul__(self, scale: Scalar) -> Dual:
        return Dual(self.value * scale, self.tangent * scale)

    def __matmul__(self, matrix: Array) -> Dual:
        return Dual(self.value @ matrix, self.tangent @ matrix)

    def __truediv__(self, scale: Scalar) -> Dual:
        return Dual(self.value / scale, self.tangent / scale)


def on_duals(denoiser: HasJvp) -> Callable[[Dual | Array, NoiseLevel], Dual | Array]:
    """Return the denoiser extended to :class:`Dual` states by its Jacobian-vector product."""

    def denoise(x: Dual | Array, level: NoiseLevel) -> Dual | Array:
        if not isinstance(x, Dual):
            return denoiser(x, level)  # type: ignore[operator]
        return Dual(
            denoiser(x.value, level),  # type: ignore[operator]
            denoiser.jvp(x.value, level, x.tangent),
        )

    return denoise
