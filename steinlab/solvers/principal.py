r"""PAS (Wang et al., 2025): Euler's direction replaced by fixed coordinates in a few directions.

In ``z = x / alpha``, ``S = sigma / alpha`` let ``e = (z - D) / S``, and let the buffer hold the
first state and every direction taken so far, ``e`` last. The basis of a state is ``u_1 = e / |e|``
and the buffer's first principal directions about its mean, made orthonormal in turn, each with the
sign that ``z - z_T`` has along it. The step takes coordinates that all states share:

    z' = z + (S' - S) sum_k c_k u_k.

A step without coordinates is Euler's. With few outputs the buffer has fewer directions; ``c_k``
beyond them are not used. ``c_1`` replaces the length ``|e|`` of each state by one number. On
Gaussian data with ``q`` distinct variances the needed direction lies in the basis once the buffer
holds ``q`` vectors; its coordinates scatter over the states by ``O(d^-1/2)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from analytic import NoiseLevel
from analytic.arrays import Array, like
from steinlab.diffusion.denoisers import Denoiser
from steinlab.errors import InputError
from steinlab.solvers.base import Candidate, History, OneEvaluation, require_signal
from steinlab.solvers.euler import EULER

FAR = 32
"""Past states that are read back; the oldest stands for the first."""

ROUNDED = 64
"""Roundings that a direction must exceed: what is smaller has no direction, and none is taken."""

DIRECTIONS = 4
"""Vectors of the basis, as published."""

Coordinates = Callable[[NoiseLevel], Sequence[float] | None]
"""``level -> c``, or None where the step that begins there is Euler's."""


@dataclass(frozen=True)
class Principal(OneEvaluation):
    """Euler's step with shared coordinates.

    Parameters
    ----------
    name : str
    coordinates : callable
    directions : int
        At most so many vectors in a basis.
    """

    name: str
    coordinates: Coordinates
    directions: int = DIRECTIONS
    order: int = 1
    depth: int = FAR
    ends_at_zero: bool = True

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Return the step and its residual.

        Raises
        ------
        InputError
            For dual numbers: a basis has no derivative here, and the step no divergence.
        """
        chosen = self.coordinates(s)
        plain = EULER.step(denoiser, x, s, t, ())
        if chosen is None:
            return plain
        if hasattr(x, "tangent"):
            raise InputError(
                f"correction must need no divergence for {self.name}, whose directions have none"
            )
        require_signal(self.name, s)
        basis = self.basis(x, s, plain.denoised, history)
        xp = array_namespace(basis)
        c = like([*chosen][: basis.shape[-2]], basis)
        if len(c) < basis.shape[-2]:
            raise InputError(
                f"row of {self.name} must hold {basis.shape[-2]} numbers, got {len(c)}"
            )
        move = xp.sum(c[:, None] * basis, axis=-2).reshape(x.shape)
        move = (t.alpha * (t.ratio - s.ratio)) * move
        share = (t.alpha - s.alpha) / s.alpha
        return Candidate(x + share * x + move, -share * x - move, plain.denoised, None, 1)

    def basis(self, x: Array, s: NoiseLevel, denoised: Array, history: History) -> Array:
        """Return the orthonormal directions of each state, ``(..., N, K, d)``."""
        z = _flat(x / s.alpha)
        xp = array_namespace(z)
        path = [_flat(one.state / one.level.alpha) for one in reversed(history)] + [z]
        ratios = [one.level.ratio for one in reversed(history)] + [s.ratio]
        taken = [(path[i + 1] - path[i]) / (ratios[i + 1] - ratios[i]) for i in range(len(history))]
        own = (z - _flat(denoised)) / s.ratio
        buffer = xp.stack([path[0], *taken, own], axis=-2)
        centred = buffer - xp.mean(buffer, axis=-2, keepdims=True)
        count = min(self.directions - 1, len(history) + 1, z.shape[-1])
        _, sizes, principal = xp.linalg.svd(centred, full_matrices=False)
        basis = [_unit(own, 0 * sizes[..., :1], xp)]
        for k in range(count):
            v = principal[..., k, :]
            for _ in range(2):  # twice is enough
                for u in basis:
                    v = v - xp.sum(u * v, axis=-1, keepdims=True) * u
            size = sizes[..., k : k + 1]
            # a principal direction is known to eps times the largest size over its own
            doubt = ROUNDED * float(xp.finfo(v.dtype).eps) * sizes[..., :1]
            v = xp.where(size > doubt, v, 0 * v)
            v = _unit(v, doubt / xp.where(size > doubt, size, xp.ones_like(size)), xp)
            ahead = xp.sum((z - path[0]) * v, axis=-1, keepdims=True)
            basis.append(xp.where(ahead > 0, v, -v))
        return xp.stack(basis, axis=-2)


def _unit(v: Array, least: Array, xp: Any) -> Array:
    """Scale to length one; what is no longer than ``least`` leaves no direction."""
    size = xp.linalg.vector_norm(v, axis=-1, keepdims=True)
    return xp.where(size > least, v, 0 * v) / xp.where(size > least, size, xp.ones_like(size))


def _flat(x: Array) -> Array:
    return x if x.ndim <= 3 else x.reshape(x.shape[0], -1)
