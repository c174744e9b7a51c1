r"""What rectifying a coupling saves: straightness and crossings, to the last digit.

For the interpolation of independent ends ``X_0, X_1`` and the flow ``Z`` of its velocity ``v``,

    E|X_1 - X_0|^2 - E|Z_1 - Z_0|^2 = S(Z) + V(X),
    S(Z) = int E|Z_1 - Z_0 - dZ_t/dt|^2 dt,   V(X) = int E Var(X_1 - X_0 | X_t) dt.

Proof: ``E|X_1 - X_0|^2 = V + int E|v(X_t, t)|^2 dt``; ``Z_t`` has the law of ``X_t``; and ``int
E|dZ_t/dt|^2 dt = S + E|Z_1 - Z_0|^2``. Liu et al. (2023) have the inequality, for every convex cost
of the difference by Jensen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from steinlab.claims.instruments.coupling_costs import (
    FUNCTIONS,
    Cost,
    SquareCost,
    mean_cost,
    square_cost,
)
from steinlab.claims.instruments.two_modes import TwoModes, on_modes
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number

EQUALITY, COSTS = "equality", "convex costs"


@dataclass(frozen=True)
class Costed(TwoModes):
    """A law, and the cost that is compared on it."""

    cost: str


def measure(case: Costed) -> SquareCost:
    """Integrate over data and time."""
    return square_cost(case.law)


def measure_cost(case: Costed) -> Cost:
    """Integrate the case's cost over the data."""
    return mean_cost(case.law, case.cost)


def compare(data: SquareCost, formula: Callable[[SquareCost], float]) -> Comparison:
    """Compare what the square cost falls by with a formula."""
    return single(data.before - data.after, formula(data), data.error, grade=1e-5)


def compare_cost(data: Cost, formula: object) -> Comparison:  # noqa: ARG001
    """Bound the cost after by the cost before."""
    return single(data.after, data.before, data.error, upper=True, sampled=True)


CONVEX = tuple(FUNCTIONS)[:-1]
LAWS = on_modes(Costed, cost=("square",))
KINDS = on_modes(Costed, cost=CONVEX)


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
