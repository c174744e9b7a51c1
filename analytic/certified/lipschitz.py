r"""The Lipschitz constant of a step over the whole space, enclosed by branch and bound.

``L_T = sup_x |T'(x)|`` in the spectral norm. A disc of radius ``R`` about the middle of the means
is cut into boxes: the norm at a box's centre is a lower bound, the norm of the enclosed Jacobian an
upper bound there, and the box with the largest upper bound is halved along its longest side until
the two meet. Outside the disc :mod:`analytic.certified.far` bounds the Jacobian.

The constant does not change when the data are moved, so they are centred first; means on a line
with one shared variance reduce any dimension to one, since across the line the step is the
linear map that it tends to at infinity along it.
"""

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from analytic.certified.balls import Ball, Enclosure, around, ball, precision
from analytic.certified.far import far_bound
from analytic.certified.laws import ExactMixture, Line
from analytic.certified.plane import Point, StepField, norm_lower, norm_upper
from analytic.certified.steps import ExactStep

ARCS, MOST_ARCS, DOUBLINGS = 16, 1500, 5
BITS = 64
GRID, REFINEMENTS = (128, 24), 16

Box = list[tuple[Fraction, Fraction]]


@dataclass(frozen=True)
class LipschitzEnclosure:
    """A proved interval for ``sup |T'|``, and how it came about.

    Attributes
    ----------
    value : Enclosure
    far : Fraction
        Proved bound outside the disc.
    radius : Fraction
        The disc, about the middle of the noised means.
    boxes : int
        Boxes examined inside.
    """

    value: Enclosure
    far: Fraction
    radius: Fraction
    boxes: int

    @property
    def width(self) -> float:
        """Relative width ``(upper - lower) / upper``."""
        return float((self.value.upper - self.value.lower) / self.value.upper)


def lipschitz(
    law: ExactMixture,
    step: ExactStep,
    *,
    tolerance: float = 1e-3,
    boxes: int = 20_000,
    bits: int = BITS,
) -> LipschitzEnclosure:
    """Enclose the Lipschitz constant of an Euler or Heun step.

    The interval always contains the constant. It is narrower than ``tolerance`` (relative) unless
    ``boxes`` are spent, or the far bound is above what the disc holds: for Heun in the plane with
    several components of one variance, strips between them reach to infinity and their bound
    there is the product of the two Jacobians' bounds, not the bound of the product.

    Parameters
    ----------
    law : ExactMixture
        In one or two dimensions, or means on a line with one shared variance in any.
    step : ExactStep
        Without a frozen past.
    tolerance : float
        Target, > 0.
    boxes : int
        Most boxes to examine.
    bits : int
        Working precision.

    Raises
    ------
    ValueError
        Naming the field, its value and the requirement.

    Examples
    --------
    Far from both modes the slope of an Euler step from 2 to 1 is ``(1 + s^2 / v) / 2``:

    >>> law = ExactMixture.of([1, 1], [-3, 3], ["1/4", "1/4"])
    >>> found = lipschitz(law, ExactStep.of("euler", (1, 2), (1, 1)))
    >>> round(float(found.far), 3), round(float(found.value.mid), 2), found.width < 1e-3
    (0.529, 1.53, True)
    """
    if step.past is not None:
        raise ValueError("step must use no past: its Jacobian is that of another first-order step")
    if tolerance <= 0 or boxes < 1:
        raise ValueError(f"tolerance and boxes must be > 0, got {tolerance} and {boxes}")
    with precision(bits):
        means = _reduced(law)
        field = StepField(step, law, means)
        size = _extent(field, means, step)
        best = _start(field, size)
        far, size = _far(field, size, best, tolerance)
        inside = _Boxes(field, size, best)
        upper = Enclosure.of(inside.run(far, tolerance, boxes).max(far).upper())
        lower = Enclosure.of(inside.best)
        value = Enclosure.between(lower.lower, upper.upper)
        return LipschitzEnclosure(value, Enclosure.of(far).upper, size, inside.examined)


def _reduced(law: ExactMixture) -> list[Point]:
    """Centred means, along their line where that is the whole problem."""
    if law.dim > 1 and law.shared:
        try:
            line = Line.through(law)
        except ValueError:
            line = None
        if line is not None:
            middle = (min(line.along) + max(line.along)) / 2
            root = ball(line.norm2).sqrt()
            return [[ball(t - middle) / root] for t in line.along]
    if law.dim > 2:
        raise ValueError(
            f"law must be in 1 or 2 dimensions, or on a line with one variance, got {law.dim}"
        )
    columns = list(zip(*law.means, strict=True))
    middle_point = [(min(column) + max(column)) / 2 for column in columns]
    return [[ball(a - b) for a, b in zip(mean, middle_point, strict=True)] for mean in law.means]


def _extent(field: StepField, means: Sequence[Point], step: ExactStep) -> Fraction:
    """A radius that holds the modes with some deviations to spare."""
    alpha = float(step.s[0])
    reach = max(
        alpha * sum(float(c.mid()) ** 2 for c in mean) ** 0.5 + 4 * float(v) ** 0.5
        for mean, v in zip(means, field.start.variances, strict=True)
    )
    return Fraction(reach).limit_denominator(1000) + 1


def _start(field: StepField, size: Fraction) -> Ball:
    """A first lower bound: the best of a grid of states, then of a pattern search from there."""
    zero = [ball(0)] * field.dim

    def value(point: Sequence[Fraction]) -> Ball:
        return norm_lower(field.jacobian([ball(c) for c in point], zero))

    count = GRID[field.dim - 1]
    ticks = [size * (2 * i - count) / count for i in range(count + 1)]
    at = max(itertools.product(ticks, repeat=field.dim), key=lambda point: float(value(point)))
    best, reach = value(at), 2 * size / count
    for _ in range(REFINEMENTS):
        moves = itertools.product((-reach, Fraction(0), reach), repeat=field.dim)
        near = [tuple(a + m for a, m in zip(at, move, strict=True)) for move in moves]
        at = max(near, key=lambda point: float(value(point)))
        best, reach = best.max(value(at)).lower(), reach / 2
    return best


def _far(field: StepField, size: Fraction, best: Ball, tolerance: float) -> tuple[Ball, Fraction]:
    """Double the disc until the bound outside is below what was found, or stops falling."""
    goal = best * ball(1 + Fraction(tolerance))
    found: list[tuple[Ball, Fraction]] = []
    for i in range(DOUBLINGS):
        radius = size * 2**i
        bound = _outside(field, ball(radius), goal)
        if bound is not None:
            found.append((bound, radius))
            if bound <= goal:
                break
    if not found:
        raise ArithmeticError(f"no bound holds outside the radius {float(radius):g}")
    return min(found, key=lambda pair: float(pair[0]))


def _outside(field: StepField, radius: Ball, goal: Ball) -> Ball | None:
    """Largest far bound over all directions; arcs above the goal are halved."""
    from flint import arb

    if field.dim == 1:
        bounds = [far_bound(field, [ball(sign)], radius) for sign in (-1, 1)]
        known = [bound for bound in bounds if bound is not None]
        return known[0].max(known[1]) if len(known) == len(bounds) else None
    queue: list[tuple[float, int, Fraction, Fraction, Any]] = []
    count = itertools.count()

    def push(a: Fraction, b: Fraction) -> None:
        middle, half = (a + b) / 2, (b - a) / 2
        angle = arb.pi() * (ball(middle) + around(half))
        bound = far_bound(field, [angle.cos(), angle.sin()], radius)
        key = -float("inf") if bound is None else -float(bound)
        heapq.heappush(queue, (key, next(count), a, b, bound))

    for i in range(ARCS):
        push(Fraction(2 * i, ARCS), Fraction(2 * i + 2, ARCS))
    while len(queue) < MOST_ARCS and (queue[0][4] is None or queue[0][4] > goal):
        _, _, a, b, _ = heapq.heappop(queue)
        push(a, (a + b) / 2)
        push((a + b) / 2, b)
    return queue[0][4]


class _Boxes:
    """The square around the disc, as boxes ordered by their upper bounds."""

    def __init__(self, field: StepField, size: Fraction, best: Ball) -> None:
        self.field, self.best, self.examined = field, best, 0
        self.queue: list[tuple[float, int, Box, Ball]] = []
        self.push([(-size, size)] * field.dim)

    def push(self, box: Box) -> None:
        """Bound the norm on a box from both sides; keep it unless it cannot matter."""
        self.examined += 1
        center = [ball((a + b) / 2) for a, b in box]
        zero = [ball(0)] * self.field.dim
        self.best = self.best.max(norm_lower(self.field.jacobian(center, zero))).lower()
        off = [around((b - a) / 2) for a, b in box]
        bound = norm_upper(self.field.jacobian(center, off))
        if not bound < self.best:
            key = -float(bound) if bound.is_finite() else -float("inf")
            heapq.heappush(self.queue, (key, self.examined, box, bound))

    def run(self, far: Ball, tolerance: float, most: int) -> Ball:
        """Halve boxes until the bounds meet; return the upper bound over the square."""
        slack = ball(1 + Fraction(tolerance))
        while self.queue and self.examined < most:
            top = self.queue[0][3]
            if top <= self.best * slack or top <= far:
                break
            _, _, box, _ = heapq.heappop(self.queue)
            axis = max(range(self.field.dim), key=lambda i: box[i][1] - box[i][0])
            a, b = box[axis]
            for part in ((a, (a + b) / 2), ((a + b) / 2, b)):
                self.push([*box[:axis], part, *box[axis + 1 :]])
        upper = self.best
        for *_, bound in self.queue:
            upper = upper.max(bound)
        return upper
