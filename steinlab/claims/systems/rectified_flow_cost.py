r"""What rectifying a coupling saves: straightness and crossings, to the last digit.

For the interpolation of independent ends ``X_0, X_1`` and the flow ``Z`` of its velocity ``v``,

    E|X_1 - X_0|^2 - E|Z_1 - Z_0|^2 = S(Z) + V(X),
    S(Z) = int E|Z_1 - Z_0 - dZ_t/dt|^2 dt,   V(X) = int E Var(X_1 - X_0 | X_t) dt.

Proof: ``E|X_1 - X_0|^2 = V + int E|v(X_t, t)|^2 dt``; ``Z_t`` has the law of ``X_t``; and ``int
E|dZ_t/dt|^2 dt = S + E|Z_1 - Z_0|^2``. Liu et al. (2023) have the inequality, for every convex cost
of the difference by Jensen. ``S`` is measured along the exact flow, ``V = int E Var(X_0 | X_t)/t^2
dt`` under the interpolation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from analytic import NoiseLevel
from analytic.flow.line import Line, line_flow
from analytic.flow.rectified import DATA, NOISE, velocity
from analytic.quadrature import gauss_legendre
from steinlab.claims.instruments.ranges import Ranges
from steinlab.claims.instruments.two_modes import MODES, TwoModes, moved, on_flow, rule
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number

EQUALITY, COSTS = "equality", "convex costs"
TIMES = (9, 12)
"""Gauss nodes in time of the coarser integral, which shows the error, and of the finer."""

FEW = 5
"""Gauss nodes per panel in space: their error is below the one in time."""

FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exponential": lambda d: np.exp(0.05 * d),
    "size": np.abs,
    "fourth power": lambda d: d**4,
    "beyond 1": lambda d: np.maximum(d - 1, 0),
    "minus the size": lambda d: -np.abs(d),
}
"""Costs of the difference; the last one is concave."""


@dataclass(frozen=True)
class Costed(TwoModes):
    """A law, and the cost that is compared on it."""

    cost: str


class Measured(NamedTuple):
    """Cost of the ends before and after, straightness, crossings and the integrals' error."""

    before: float
    after: float
    straightness: float
    crossings: float
    error: float


def measure(case: Costed) -> Measured:
    """Integrate over data and time: the flow leads each state of the data up to noise."""
    law, (ends, weights) = case.law, rule(case.law, DATA, FEW)
    way = moved(law, ends, DATA, NOISE) - ends
    found = [_integrals(law, ends, weights, way, n) for n in TIMES]
    before, after = 1 + float(law.second_moment()), float(weights @ way**2)
    error = 2 * float(np.abs(found[1] - found[0]).max()) + 1e-10 * before
    straightness, crossings = map(float, found[1])
    return Measured(before, after, straightness, crossings, error)


def _integrals(
    law: Any, ends: np.ndarray, weights: np.ndarray, way: np.ndarray, count: int
) -> np.ndarray:
    """Return straightness and crossings by so many nodes in time."""
    nodes, shares = gauss_legendre(count)
    times = 0.5 * (1 + nodes)
    t = np.repeat(times, len(ends))[:, None]
    x, _ = line_flow(Line.of(law), np.tile(ends, count), DATA, NoiseLevel(1 - t, t))
    left = (way - velocity(law, x[:, None], t)[:, 0].reshape(count, -1)) ** 2 @ weights
    crossed = []
    for time in times.tolist():  # under the interpolation: not where the flow leads
        states, density = rule(law, on_flow(time))
        variance = np.asarray(law.posterior_variance(states[:, None], on_flow(time)))
        crossed.append(density @ variance.ravel() / time**2)
    return np.array([0.5 * shares @ left, 0.5 * shares @ np.array(crossed)])


Formula = Callable[[Measured], float]


def compare(data: Measured, formula: Formula) -> Comparison:
    """Compare what the square cost falls by with a formula."""
    return single(data.before - data.after, formula(data), data.error, grade=1e-5)


class Cost(NamedTuple):
    """A mean cost after and before, the rule's error, and what is left of the square cost."""

    after: float
    before: float
    error: float
    left: float


def measure_cost(case: Costed) -> Cost:
    """Integrate with two rules."""
    law, of, found = case.law, FUNCTIONS[case.cost], []
    for nodes in (FEW, 8):
        ends, weights = rule(law, DATA, nodes)
        way = moved(law, ends, DATA, NOISE) - ends
        after, left = weights @ of(way), weights @ way**2 / (1 + law.second_moment())
        minus, weights = rule(law, NoiseLevel(1.0, 1.0), nodes)  # X_0 - X_1
        found.append((float(after), float(weights @ of(-minus))))
    error = 2 * float(np.abs(np.diff(found, axis=0)).max()) + 1e-10 * abs(found[1][1])
    return Cost(*found[1], error, float(left))


def compare_cost(data: Cost, formula: Formula) -> Comparison:  # noqa: ARG001
    """Bound the cost after by the cost before."""
    return single(data.after, data.before, data.error, upper=True, sampled=True)


CONVEX = tuple(FUNCTIONS)[:-1]
LAWS = Ranges(Costed, {"cost": ("square",)}, MODES, seeded=False)
KINDS = Ranges(Costed, {"cost": CONVEX}, MODES, seeded=False)


def _numbers(results: Results) -> list[Number]:
    share = [d.crossings / (d.before - d.after) for d in results[EQUALITY].data]
    left = [d.left for d in results[COSTS].data]
    return [
        Number("largest departure from the equality", results[EQUALITY].comparison.excess.max()),
        Number("of the square cost saved, by crossings", np.mean(share), unit="%"),
        Number("square cost left, median over laws", np.median(left), unit="%", key="left"),
    ]


CLAIM = Claim(
    id="rectified-flow-cost",
    title="What rectifying a coupling saves",
    statement="the square cost falls by the flow's straightness and the interpolation's crossings: "
    "E|X1 - X0|^2 - E|Z1 - Z0|^2 = S(Z) + V(X); every convex cost falls",
    latex=(
        r"\mathbb{E}|X_1 - X_0|^2 - \mathbb{E}|Z_1 - Z_0|^2 = \int \mathbb{E}|Z_1 - Z_0 - "
        r"\dot Z_t|^2\, dt + \int \mathbb{E} \operatorname{Var}(X_1 - X_0 \mid X_t)\, dt",
    ),
    source="rectified flow (Liu et al., 2023), theorem 3.5 for convex costs; the equality is this "
    "laboratory's",
    kind="identity",
    owner="peer",
    conditions=("the exact velocity", "a cost that is convex in the difference"),
    formula=lambda d: d.straightness + d.crossings,
    checks=(LAWS.check(EQUALITY, 2, measure, compare),
            KINDS.check(COSTS, 8, measure_cost, compare_cost)),
    controls=(
        NegativeControl("crossings alone", lambda d: d.crossings, (EQUALITY,)),
        NegativeControl("straightness alone", lambda d: d.straightness, (EQUALITY,)),
        NegativeControl(
            "1 % of the straightness more",
            lambda d: 1.01 * d.straightness + d.crossings,
            (EQUALITY,),
        ),
    ),
    dropped=(
        Dropped("convex: minus the size",
                KINDS.check("concave", 4, measure_cost, compare_cost, cost="minus the size")),
    ),
    headline="Saves exactly what crossed and what still bends; {left} of the square cost is left.",
    numbers=_numbers,
    finding="The gain of one rectification is known exactly: most of it is what the lines crossed, "
    "the rest what the flow still bends. The bend is no cost that another reflow would save: on "
    "the line the flow's ends are the monotone map, which no coupling beats for a convex cost, and "
    "a reflow straightens the way alone.",
    search=lambda _: [LAWS.space(EQUALITY)],
)  # fmt: skip
