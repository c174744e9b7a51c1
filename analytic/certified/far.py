r"""A proved bound of a step's Jacobian outside a disc: the unbounded region.

Along ``x = rho e``, ``rho >= R``, a component ``k`` is *suppressed* if for some ``j`` the log ratio
``l_k - l_j = a + b rho + C rho^2`` falls so fast that ``r_k |mu_k - mu_j|^2`` decreases in ``rho``;
its value at ``R`` then bounds it throughout. The others are *active*; where they share one
variance their posterior means differ by constants, and by Popoviciu's inequality in every direction

    D' = g I + N,   0 <= |N| <= n = (alpha/sigma^2) ((diam of the active mu / 2)^2 + suppressed).

The Euler state is ``(kappa + beta g) x + e`` with ``e`` in a known box, so the same argument bounds
the Jacobian there, and ``T' = a0 I + a1 N + a2 N' + c beta N' N`` is at most
``|a0| + |a1| n + |a2| n' + c beta n n'``. Directions are covered by arcs.
"""

from typing import NamedTuple

from analytic.certified.balls import Ball, ball
from analytic.certified.plane import Field, Point, StepField
from analytic.certified.steps import upper

CERTAIN = -3
"""Log ratio at the disc's edge below which a component may count as suppressed."""


class Ray(NamedTuple):
    """States ``scale rho e + shift``, ``rho >= radius``."""

    direction: Point
    scale: Ball
    shift: Point
    radius: Ball


class Remote(NamedTuple):
    """On a ray: the common gain, the bound ``n``, and the box of ``D - g x``."""

    gain: Ball
    spread: Ball
    offset: Point


def far_bound(step: StepField, direction: Point, radius: Ball) -> Ball | None:
    """Return an upper bound of ``|T'|`` on the rays of a ball of directions, or None."""
    zero = [ball(0)] * step.dim
    near = remote(step.start, Ray(direction, ball(1), zero, radius))
    if near is None:
        return None
    stretch = step.kappa + step.beta * near.gain
    if step.end is None:
        return (abs(stretch) + abs(step.beta) * near.spread).upper()
    shift = [step.beta * offset for offset in near.offset]
    after = remote(step.end, Ray(direction, stretch, shift, radius))
    if after is None:
        return None
    c = step.bend
    a0 = stretch + c * (after.gain * stretch - near.gain)
    a1 = step.beta - c + c * after.gain * step.beta
    bound = abs(a0) + abs(a1) * near.spread + abs(c * stretch) * after.spread
    return (bound + abs(c * step.beta) * near.spread * after.spread).upper()


def remote(field: Field, ray: Ray) -> Remote | None:
    """Sort the components into active and suppressed ones along a ray."""
    kept, mass, drift = [], ball(0), ball(0)
    for k in range(field.count):
        best = _suppressed(field, k, ray)
        if best is None:
            kept.append(k)
        else:
            drift, mass = drift + best[0], mass + best[1]
    if not kept or len({field.variances[k] for k in kept}) > 1:
        return None
    first = kept[0]
    diameter = ball(0)
    for k in kept:
        for j in kept:
            gap = sum((b * b for b in field.pairs[k][j].base), ball(0))
            diameter = diameter.max(gap.upper())
    spread = field.rate * (diameter / 4 + mass)
    offset = []
    for i in range(field.dim):
        low = high = field.bases[first][i]
        for k in kept[1:]:
            low, high = low.min(field.bases[k][i]), high.max(field.bases[k][i])
        size = drift.abs_upper()
        offset.append((low - size).lower().union((high + size).upper()))
    return Remote(field.gains[first], spread.upper(), offset)


def _suppressed(field: Field, k: int, ray: Ray) -> tuple[Ball, Ball] | None:
    """Bounds of ``r_k m`` and ``r_k m^2``, ``m = max_j |mu_k - mu_j|``, along the ray, or None.

    With ``m <= P + W rho`` the product ``exp(a + b rho + C rho^2) (P + W rho)^2`` decreases from
    ``R`` on if ``C <= 0`` and ``2 W + (b + 2 C R) (P + W R) < 0``.
    """
    others = [pair for j, pair in enumerate(field.pairs[k]) if j != k]
    if not others:
        return None
    size = _length(ray.shift)
    near = upper([_length(pair.base) for pair in others])
    far = upper([pair.gain for pair in others])
    p, w, r = near + far * size, far * abs(ray.scale), ray.radius
    found = []
    for pair in others:
        a = pair.constant + _dot(pair.slope, ray.shift) + pair.curve * _dot(ray.shift, ray.shift)
        b = ray.scale * (
            _dot(pair.slope, ray.direction) + 2 * pair.curve * _dot(ray.direction, ray.shift)
        )
        c = pair.curve * ray.scale * ray.scale
        value = a + b * r + c * r * r
        falls = 2 * w + (b + 2 * c * r) * (p + w * r) < 0
        if c <= 0 and falls and value < CERTAIN:
            found.append(value.upper())
    if not found:
        return None
    least = found[0]
    for value in found[1:]:
        least = least.min(value)
    mass = least.exp() * (p + w * r)
    return mass.upper(), (mass * (p + w * r)).upper()


def _dot(a: Point, b: Point) -> Ball:
    return sum((p * q for p, q in zip(a, b, strict=True)), ball(0))


def _length(a: Point) -> Ball:
    return sum((p.abs_upper() * p.abs_upper() for p in a), ball(0)).sqrt()
