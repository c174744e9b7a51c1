r"""The energy distance between the exact law of an iterate and a mixture, in the plane.

With characteristic functions ``phi`` and unit vectors ``e(theta)`` (Szekely and Rizzo, 2013)

    2 E|Y-Z| - E|Y-Y'| - E|Z-Z'| = (1/2 pi) int d theta int_0^inf |phi_q - phi_p|^2(r e) / r^2 dr.

The inner integrand is even and entire in ``r``, so the trapezoidal rule of step ``2 pi / L`` is
exact for laws within a width ``L`` (Poisson); the outer one is periodic. What is left is the
nodes' error in ``phi_q``, the directions', and the tail beyond the last radius.
"""

import math
from typing import NamedTuple

import numpy as np

from analytic.iterates.distances import ROUNDING, Distance
from analytic.iterates.space import SpaceIterate
from analytic.levels import NoiseLevel
from analytic.mixtures import GaussianMixture
from analytic.quadrature import marginal_variances

REACH = 8.5
"""Deviations of a mixture's components that count for its width: beyond lies a mass of 2e-17."""

DIRECTIONS = (16, 32, 64, 128, 256, 512)
ROOTS = (8, 16, 24, 32)
"""Directions tried in turn, and roots of the numbers of radii."""

TRIAL, FEWEST = 4, 8
"""Directions on which radii are tried, and the least number of radii."""

TOLERANCE = 1e-8
"""Part of the distance at which neither radii nor directions are added."""

CHUNK = 2**13
"""Nodes whose powers are held at once, so that they stay in cache."""


class Ideal(NamedTuple):
    """A mixture at a level."""

    law: GaussianMixture
    level: NoiseLevel


class Cloud(NamedTuple):
    """Nodes of a rule as a discrete law: weights ``(N,)`` and states ``(N, 2)``."""

    weights: np.ndarray
    states: np.ndarray


def require_plane(law: SpaceIterate, target: GaussianMixture) -> None:
    """Refuse what is not one law in two dimensions."""
    for name, dim in (("law", law.base.dim), ("target", target.dim)):
        if dim != 2:
            raise ValueError(f"{name} must be two-dimensional, got {dim} dimensions")


def energy(law: SpaceIterate, target: GaussianMixture, level: NoiseLevel) -> Distance:
    """Return ``2 E|Y-Z| - E|Y-Y'| - E|Z-Z'|`` for ``Y ~ q`` and ``Z ~ p``.

    Folds do no harm. The error adds what the finer nodes and the last doubling of the directions
    moved, four times what the flow's error moves the states, and a tail: the mean of the last
    quarter's ``|phi_q - phi_p|^2`` over the last radius, a bound unless it grows again.

    Raises
    ------
    ValueError
        If either law is not two-dimensional.

    Examples
    --------
    A shift by 4 of ``N(0, I)``: ``2 E|N(4 e, 2 I)| - 2 E|N(0, 2 I)|``.

    >>> from analytic.iterates.jets import identity
    >>> normal, level = GaussianMixture([1.0], [[0.0, 0.0]], 0.5), NoiseLevel(1.0, 0.5**0.5)
    >>> shifted = SpaceIterate(normal, level, lambda x: identity(x) + np.array([4.0, 0.0]))
    >>> found = energy(shifted, normal, level)
    >>> round(found.value, 9), found.error < 1e-9
    (4.975698987, True)

    References
    ----------
    Szekely and Rizzo, "Energy statistics", J. Stat. Plan. Inference 143, 2013.
    """
    require_plane(law, target)
    clouds, slack = [], 0.0
    for nodes in law.nodes:
        start = law.starts(level, nodes)
        at = law.jet(start.x)
        clouds.append(Cloud(start.weights, at.value))
        slack = 4 * float(start.weights @ (np.linalg.norm(at.first, axis=(1, 2)) * start.error))
    ideal = Ideal(target, level)
    step = 2 * np.pi / _width(clouds, ideal)
    count = _radii(clouds, ideal, step)
    values, tails = (np.zeros((len(clouds), 0)) for _ in range(2))
    before = np.inf
    for directions in DIRECTIONS:
        angles = np.pi * np.arange(directions) / directions
        fresh = angles[1::2] if values.size else angles
        new = [[_line(c, ideal, a, step, count) for a in fresh] for c in clouds]
        ends = np.array([[(line.values[-1], line.tails[-1]) for line in row] for row in new])
        values, tails = (
            np.concatenate((v, ends[..., i]), axis=1) for i, v in enumerate((values, tails))
        )
        value = float(values[-1].mean())
        moved, before = abs(value - before), value
        if moved <= TOLERANCE * value:
            break
    nodes_moved = abs(value - float(values[0].mean()))
    rest = slack + float(tails[-1].mean()) + ROUNDING * float(np.sqrt(value / step))
    return Distance(value, float(nodes_moved + moved + rest))


def _width(clouds: list[Cloud], ideal: Ideal) -> float:
    """Diagonal of a box about both laws."""
    target, level = ideal
    spread = REACH * np.sqrt(level.alpha**2 * marginal_variances(target) + level.sigma**2)
    center = level.alpha * target.means
    states = np.concatenate([c.states for c in clouds] + [center - spread, center + spread])
    return float(np.linalg.norm(np.ptp(states, axis=0)))


def _radii(clouds: list[Cloud], ideal: Ideal, step: float) -> int:
    """Return the number of radii at which the tail and what the finer nodes move are least.

    Further out the nodes no longer resolve the waves.
    """
    angles = np.pi * (np.arange(TRIAL) + 0.3) / TRIAL
    for root in ROOTS:
        lines = [[_line(c, ideal, a, step, root**2) for a in angles] for c in clouds]
        values = np.array([[line.values for line in row] for row in lines]).mean(axis=1)
        tails = np.mean([line.tails for line in lines[-1]], axis=0)
        errors = np.abs(values[-1] - values[0]) + tails
        best = FEWEST + int(np.argmin(errors[FEWEST:]))
        if best + 1 < root**2 or errors[best] <= TOLERANCE * values[-1][best]:
            break
    return best + 1


class Line(NamedTuple):
    """An integral over a ray up to each radius, and a bound of what lies beyond, ``(R,)`` each."""

    values: np.ndarray
    tails: np.ndarray


def _line(cloud: Cloud, ideal: Ideal, angle: float, step: float, count: int) -> Line:
    """Integrate ``|phi_q - phi_p|^2 / r^2`` over a ray, by the trapezoidal rule."""
    target, level = ideal
    direction = np.array([np.cos(angle), np.sin(angle)])
    s = cloud.states @ direction
    r = step * np.arange(1, count + 1)
    own = _powers(s, cloud.weights, step, math.isqrt(count - 1) + 1)[:count]
    squares = np.abs(own - _characteristic(ideal, direction, r)) ** 2
    shift = float(cloud.weights @ s - level.alpha * target.weights @ (target.means @ direction))
    values = step * (0.5 * shift**2 + np.cumsum(squares / r**2))
    total = np.concatenate(([0.0], np.cumsum(squares)))
    index = np.arange(1, count + 1)
    start = (3 * index) // 4
    return Line(values, (total[index] - total[start]) / (index - start) / r)


def _powers(s: np.ndarray, weights: np.ndarray, step: float, root: int) -> np.ndarray:
    """Return ``sum w exp(i r s)`` at ``root^2`` equispaced radii: products of ``root`` powers."""
    total = np.zeros((root, root), dtype=complex)
    for start in range(0, len(s), CHUNK):
        part = slice(start, start + CHUNK)
        unit = np.exp(1j * step * s[part])
        small = np.cumprod(np.broadcast_to(unit, (root, len(unit))), axis=0)
        large = np.ones_like(small)
        large[1:] = np.cumprod(np.broadcast_to(small[-1], (root - 1, len(unit))), axis=0)
        total += (large * weights[part]) @ small.T
    return total.ravel()


def _characteristic(ideal: Ideal, direction: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Return the characteristic function of a mixture at a level along a direction, ``(R,)``."""
    law, level = ideal
    if law.basis is None:
        data = (np.broadcast_to(law.spectra, law.means.shape) * direction**2).sum(axis=-1)
    else:
        data = (law.spectra * (np.swapaxes(law.basis, -1, -2) @ direction) ** 2).sum(axis=-1)
    variance = level.alpha**2 * data + level.sigma**2
    mean = level.alpha * law.means @ direction
    waves = np.exp(1j * np.multiply.outer(r, mean) - 0.5 * np.multiply.outer(r**2, variance))
    return np.asarray(waves @ law.weights)
