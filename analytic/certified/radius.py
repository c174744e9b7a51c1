r"""The terms of a step for several variances on one line in space: line times radius.

Across the line the law is radial in each component, ``rho = |w|`` with density
``2 rho^(n-1) exp(-rho^2 / 2v) / ((2v)^(n/2) Gamma(n/2))``, ``n = d - 1``, and the terms are double
integrals over ``(y, rho)``. A box is integrated by the product Gauss-Legendre rule; for ``f``
analytic and at most ``M`` on the Bernstein ellipse ``r`` of one side and on the other side itself,

    |I - Q| <= area (32/15) M / ((1 - r^-2) r^(2 N - 2))

per direction with ``N`` nodes (Trefethen, SIAM Review 2008, theorem 4.5; the weights are positive),
with ``M`` from one ball evaluation; boxes where that is too much are halved. What lies outside all
boxes is bounded by Cauchy and Schwarz: ``sqrt(P(outside) E growth^2)``.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from analytic.certified.balls import Ball, around, ball, power, reach, widened
from analytic.certified.steps import BallStep, upper

NAMES = ("u_ref", "u_x", "div", "u_u")
ELLIPSE = 3
MOST = 40_000
"""Most boxes examined."""


class Side(NamedTuple):
    """One side of a box: centre and half-width, exact."""

    center: Fraction
    half: Fraction


class Radial:
    """Integrands over ``(y, rho)`` and bounds of what is outside."""

    def __init__(self, step: BallStep, bits: int) -> None:
        self.step, self.level, self.bits = step, step.start, bits
        self.n = step.line.law.dim - 1
        gamma = (ball(self.n) / 2).gamma()
        self.heights = [
            2 * height / (((2 * v) ** self.n).sqrt() * gamma)
            for height, v in zip(self.level.heights, self.level.widths, strict=True)
        ]

    def values(self, y: Ball, rho: Ball) -> list[Ball]:
        """All four integrands at complex or real balls."""
        level, radius2 = self.level, rho * rho
        u = self.step.residual(y, radius2)
        surface = power(rho, self.n - 1)
        mass = along = across = ball(0)
        for k, height in enumerate(self.heights):
            off = y - level.centers[k]
            part = height * surface * ((off * off + radius2) * level.rates[k]).exp()
            mass += part
            along += part * (y - level.own(k, y))
            across += part * (1 - level.gains[k])
        turned = u.gain * radius2
        return [
            u.along * along + turned * across,
            mass * (u.along * y + turned),
            mass * (u.slope + self.n * u.gain + u.radial),
            mass * (u.along * u.along + u.gain * turned),
        ]

    def growth(self) -> list[Any]:
        """Polynomials in ``t = |y| + rho`` that bound the integrands per unit of density."""
        from flint import arb_poly

        step, level = self.step, self.level
        t = arb_poly([0, 1])
        g = upper(level.gains)
        u, slope = step.growth()
        wide = _half_spread(level.gains)
        squares = t * t * (level.precision * wide * wide)  # of rho dG/drho
        gain, radial = abs(step.slack) + abs(step.drive) * g, squares * abs(step.drive)
        if step.end is not None:
            c, q, later = abs(step.bend), step.end.precision, upper(step.end.gains)
            stretch = step.kappa + abs(step.beta) * g
            gain = gain + c * (later * stretch + g)
            width = _half_spread(step.end.gains)
            spread = t * wide + _half_spread(level.bases)
            state = _reach(step, t)
            moved = (state * width + _half_spread(step.end.bases)) * width  # of mu_g there
            cross = spread * (abs(step.beta) * level.precision * wide)
            slope = slope + moved * cross * t * t * (c * q * stretch)
            turn = moved * cross + (squares * abs(step.beta) + stretch) * (width * width * stretch)
            turn = turn * t * t * (q * stretch)
            radial = radial + (turn + squares * (later * abs(step.beta) + 1)) * c
        own = t * (1 + g) + upper(level.bases)
        square = t * t * gain
        return [
            u * own + square,
            u * t + square,
            slope + radial + self.n * gain,
            u * u + square * gain,
        ]

    def outside(self, z: int, most: Ball) -> list[Ball]:
        """Bounds of the integrals over ``|y - alpha m_k| > z sqrt(v_k)`` or ``rho > most``."""
        from flint import arb

        total = [ball(0)] * len(NAMES)
        growth = [g * g for g in self.growth()]
        for k, weight in enumerate(self.level.weights):
            v = self.level.widths[k]
            lost = (arb(z) / arb(2).sqrt()).erfc()
            lost += (most * most / (2 * v)).gamma_upper(ball(self.n) / 2, regularized=1)
            degree = max(g.degree() for g in growth)
            moments = [self._moment(k, m) for m in range(degree + 1)]
            for i, g in enumerate(growth):
                square = sum((abs(c) * moments[m] for m, c in enumerate(g.coeffs())), ball(0))
                total[i] = total[i] + weight * (lost * square).sqrt()
        return total

    def _moment(self, k: int, m: int) -> Ball:
        """Bound of ``E (|y| + rho)^m`` in component ``k``: ``3^m`` times the sum of three parts."""
        v, n = self.level.widths[k], ball(self.n)
        root = power((2 * v).sqrt(), m)
        center = power(abs(self.level.centers[k]), m)
        normal = root * (ball(m + 1) / 2).gamma() / (ball(1) / 2).gamma()
        radial = root * ((n + m) / 2).gamma() / (n / 2).gamma()
        return 3**m * (center + normal + radial)


def _half_spread(values: Sequence[Ball]) -> Ball:
    return upper([a - b for a in values for b in values]) / 2


def _reach(step: BallStep, t: Any) -> Any:
    """Bound of the Euler state's size along the line."""
    mean = t * upper(step.start.gains) + upper(step.start.bases)
    return t * step.kappa + mean * abs(step.beta)


def radial_terms(step: BallStep, bits: int) -> dict[str, Ball]:
    """Enclose ``u_ref``, ``u_x``, ``div``, ``u_u``; see the module's docstring."""
    problem = Radial(step, bits)
    z = 2 * reach(bits) // 3 * 2  # a square root is taken of what is lost
    most = upper([v.sqrt() for v in problem.level.widths])
    extent = most * (z + ball(problem.n).sqrt().upper())
    outside = problem.outside(z, extent)
    low = high = problem.level.centers[0]
    for c, v in zip(problem.level.centers, problem.level.widths, strict=True):
        low, high = low.min(c - z * v.sqrt()), high.max(c + z * v.sqrt())
    sides = [Fraction(int(float(x)) + o) for x, o in ((low, -1), (high, 1), (extent, 1))]
    box = (
        Side((sides[0] + sides[1]) / 2, (sides[1] - sides[0]) / 2),
        Side(sides[2] / 2, sides[2] / 2),
    )
    inside = _integrate(problem, box)
    constants = _constants(step)
    return {
        name: widened(value, lost) + constants[name]
        for name, value, lost in zip(NAMES, inside, outside, strict=True)
    }


def _constants(step: BallStep) -> dict[str, Ball]:
    """What the constant part of ``u`` across the line adds."""
    alpha = ball(step.step.s[0])
    pairs = zip(step.shift, step.line.across, strict=True)
    meet = sum((s * ball(b) for s, b in pairs), ball(0))
    square = sum((s * s for s in step.shift), ball(0))
    return {"u_ref": (alpha - 1) * meet, "u_x": alpha * meet, "div": ball(0), "u_u": square}


class Plan(NamedTuple):
    """For a box: ``nodes`` nodes per side with the bound ``error``, or the ``axis`` to halve."""

    nodes: int
    error: Ball
    axis: int


def _integrate(problem: Radial, box: tuple[Side, Side]) -> list[Ball]:
    """Integrate over a box: halve until few enough nodes bring the error below the goal."""
    total = [ball(0)] * len(NAMES)
    stack = [box]
    for _ in range(MOST):
        if not stack:
            return total
        y, rho = stack.pop()
        plan = _plan(problem, (y, rho))
        if plan.axis < 0:
            values = _rule(problem, (y, rho), plan.nodes)
            total = [a + widened(b, plan.error) for a, b in zip(total, values, strict=True)]
        elif plan.axis == 0:
            stack += [(part, rho) for part in _halves(y)]
        else:
            stack += [(y, part) for part in _halves(rho)]
    raise ArithmeticError(f"{MOST} boxes do not suffice at {problem.bits} bits")


def _halves(side: Side) -> list[Side]:
    half = side.half / 2
    return [Side(side.center - half, half), Side(side.center + half, half)]


def _plan(problem: Radial, box: tuple[Side, Side]) -> Plan:
    """Choose the fewest nodes that meet the goal; none where the integrand itself is below it."""
    from flint import arb

    y, rho = box
    area = 4 * ball(y.half) * ball(rho.half)
    goal = arb(2) ** -(problem.bits - 8)
    most = problem.bits // 3
    longer = int(rho.half > y.half)
    flat = _size(problem.values(_segment(y), _segment(rho)))
    if flat.is_finite() and flat <= goal / 256:
        return Plan(0, (flat * area).upper(), -1)
    r = ball(ELLIPSE)
    factor = area * ball(Fraction(32, 15)) * r * r / (1 - 1 / (r * r))
    first = _size(problem.values(_ellipse(y), _segment(rho))) * factor
    second = _size(problem.values(_segment(y), _ellipse(rho))) * factor
    finite = first.is_finite(), second.is_finite()
    if not all(finite):
        return Plan(0, ball(0), longer if finite == (False, False) else int(finite[0]))
    error = first + second
    need = float((error / goal).log().upper()) / (2 * math.log(ELLIPSE))
    nodes = max(2, math.ceil(need))
    if nodes > most:
        return Plan(0, ball(0), int(second > first))
    return Plan(nodes, (error / r ** (2 * nodes)).upper(), -1)


def _size(values: Sequence[Ball]) -> Ball:
    largest = values[0].abs_upper()
    for value in values[1:]:
        largest = largest.max(value.abs_upper())
    return largest


def _segment(side: Side) -> Ball:
    return ball(side.center) + around(side.half)


def _ellipse(side: Side) -> Ball:
    """The rectangle around the Bernstein ellipse of a side."""
    from flint import acb, arb

    half, r = ball(side.half), ball(ELLIPSE)
    width, height = half * (r + 1 / r) / 2, half * (r - 1 / r) / 2
    return acb(ball(side.center) + arb(0, width.upper()), arb(0, height.upper()))


def _rule(problem: Radial, box: tuple[Side, Side], nodes: int) -> list[Ball]:
    """The product Gauss-Legendre rule; 0 without nodes."""
    points = _legendre(nodes, problem.bits)
    y, rho = box
    total = [ball(0)] * len(NAMES)
    for a, wa in points:
        at = ball(y.center) + ball(y.half) * a
        for b, wb in points:
            values = problem.values(at, ball(rho.center) + ball(rho.half) * b)
            total = [t + wa * wb * value for t, value in zip(total, values, strict=True)]
    scale = ball(y.half) * ball(rho.half)
    return [t * scale for t in total]


@lru_cache(maxsize=128)
def _legendre(nodes: int, bits: int) -> list[tuple[Ball, Ball]]:
    """Nodes and weights as balls; ``bits`` is the precision now set."""
    from flint import arb

    assert bits >= 24
    return [arb.legendre_p_root(nodes, i, weight=True) for i in range(nodes)]
