r"""One direction of the trajectory reaches a step's end where its velocity stays in a plane.

For data ``N(0, diag(l))`` in EDM the trajectories are ``x_k(t) = g_k sqrt(l_k + t^2)``. Cauchy's
mean value theorem for two coordinates gives one ``s`` in ``(t', t)`` with

    x(t') - x(t) = c (t' - t) x'(s),   s^2 = (l_2 - R l_1) / (R - 1),
    R = [(sqrt(l_2 + t'^2) + sqrt(l_2 + t^2)) / (sqrt(l_1 + t'^2) + sqrt(l_1 + t^2))]^2.

A third eigenvalue asks the same of the same ``s``: one equation too many. The ``s`` of the first
two then misses the third coordinate. The direction is the one *on* the trajectory; a solver asks
where Euler's step leads it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.exact import gaussian_gain
from steinlab.claims.instruments.ranges import Ranges, between
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Result
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number

Place = Callable[[float, float, float, float], float]
"""``(l_1, l_2, t, t') -> s``."""


def mean_value(a: float, b: float, t: float, u: float) -> float:
    """Return the ``s`` of the first two coordinates, kept within the step."""
    sums = [math.hypot(math.sqrt(v), u) + math.hypot(math.sqrt(v), t) for v in (a, b)]
    ratio = (sums[1] / sums[0]) ** 2
    return min(max(math.sqrt((b - ratio * a) / (ratio - 1)), u), t)


@dataclass(frozen=True)
class Planar(SingleCase):
    """A step along the flow of ``N(0, diag(l, r l, r^2 l))``, and the coordinate compared."""

    eigenvalue: float
    apart: float
    sigma: float
    left: float
    coordinate: int

    def at(self, sigma: float) -> tuple[np.ndarray, np.ndarray]:
        """Return where the exact flow from 1 is at a level, and its velocity, ``(x - D) / s``."""
        values, level = self.eigenvalue * self.apart ** np.arange(3.0), NoiseLevel(1.0, sigma)
        law = GaussianMixture(np.ones(1), np.zeros((1, 3)), np.diag(values)[None])
        x = gaussian_gain(values, NoiseLevel(1.0, self.sigma), level)
        return x, np.asarray((x - law(x[None], level)[0]) / sigma)


def measure(case: Planar) -> tuple[Planar, np.ndarray]:
    """Return the case, and each coordinate's way along the exact flow from 1."""
    return case, case.at(case.left * case.sigma)[0] - 1


def compare(data: tuple[Planar, np.ndarray], place: Place) -> Comparison:
    """Compare a coordinate's way with the one that the first coordinate's way and ``s`` predict."""
    case, moved = data
    a, b, k = case.eigenvalue, case.eigenvalue * case.apart, case.coordinate
    _, velocity = case.at(place(a, b, case.sigma, case.left * case.sigma))
    predicted = moved[0] * velocity[k] / velocity[0]
    slack = ROUNDING * EPS * (1 + abs(predicted)) / (1 - case.left)
    return single(moved[k], predicted, slack)


FOUND = between(eigenvalue=(1e-2, 4.0), apart=(1.5, 10.0), sigma=(0.1, 20.0), left=(0.1, 0.9))
STEPS = Ranges(Planar, {}, FOUND, seeded=False, together=True)
"""The least eigenvalue, the ratio of one to the next, ``t`` and ``t'/t``."""
PLANE = STEPS.check("plane", 40, measure, compare, coordinate=1)
THIRD = STEPS.check("a third eigenvalue", 40, measure, compare, coordinate=2)


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    c = results[THIRD.name].comparison
    missed = np.median(c.excess / np.abs(c.measured))
    return [
        Number("two eigenvalues, largest miss", results[PLANE.name].comparison.excess.max()),
        Number("a third one misses its way by, median", missed, unit="%", key="missed"),
    ]


CLAIM = Claim(
    id="mean-value-direction",
    title="One direction on the way suffices in a plane",
    statement="where a trajectory's velocity stays in a plane there are s in (t', t) and c with "
    "x(t') - x(t) = c (t' - t) x'(s)",
    latex=(
        r"\dot x \in \text{a plane} \;\Rightarrow\; \exists\, s \in (t', t),\, c: \quad "
        r"x(t') - x(t) = c\,(t' - t)\, \dot x(s)",
    ),
    headline="One direction reaches the end exactly in a plane; a third variance is missed by "
    "{missed}.",
    numbers=_numbers,
    source="AMED-Solver (Zhou et al., 2024), the mean value argument; Cauchy's theorem",
    kind="identity",
    owner="peer",
    conditions=("the velocity stays in a plane", "one of its two coordinates has no zero"),
    formula=mean_value,
    checks=(PLANE,),
    controls=(
        NegativeControl("s the geometric middle", lambda _a, _b, t, u: math.sqrt(t * u)),
        NegativeControl("s the step's beginning", lambda _a, _b, t, _u: t),
    ),
    dropped=(Dropped("a plane: three distinct variances", THIRD),),
    finding="Cauchy's mean value theorem makes the argument exact for two coordinates; with three "
    "distinct variances one direction and one length cannot meet all. The best pair for all three "
    "misses far less still. It is the direction on the trajectory: a solver asks at Euler's point, "
    "off it.",
    search=lambda _: [STEPS.space("plane", 320, coordinate=1)],
)
