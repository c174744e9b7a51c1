r"""MeanFlow's identity is the transport equation of the flow map.

In rectified flow the average velocity from ``t`` down to ``r`` is ``u(z, r, t) = (z - Phi)/(t -
r)``, ``Phi`` the flow's state at ``r``. Differentiating ``(t - r) u`` along ``(v, 1)`` gives

    u = v - (t - r)(v du/dz + du/dt),   that is   v dPhi/dz + dPhi/dt = 0.

On the line both derivatives of ``Phi`` are known. A network is trained with the velocity ``e - x``
of a single pair in both places: the target is linear in it, its mean is ``u`` and its variance
``(dPhi/dz)^2 Var(e - x | z)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from analytic.flow.rectified import derivatives
from steinlab.claims.instruments.ranges import between
from steinlab.claims.instruments.two_modes import STATE, TwoModes, moved, on_flow, on_modes
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.verification.claim import Claim, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number

IDENTITY = "two modes"


@dataclass(frozen=True)
class Average(TwoModes):
    """A state at a time, in deviations of the law there, and ``r`` as a part of the time."""

    state: float
    time: float
    part: float


class Known(NamedTuple):
    """The average velocity, what its right side is made of, and the size of the rounding."""

    u: float
    v: float
    along: float
    partial: float
    span: float
    rounding: float


def measure(case: Average) -> Known:
    """Take ``u`` from the exact flow, and its derivatives from the distribution functions."""
    law, t = case.law, case.time
    r, level = case.part * t, on_flow(t)
    z = case.at(level, case.state)
    end = moved(law, z, level, on_flow(r))
    v = float((z - law(z, level))[0] / t)
    slope, change, size = derivatives(law, float(z[0]), float(end[0]), t, r)
    span = t - r
    u = float((z - end)[0] / span)
    terms = (abs(z[0]) + abs(end[0]) + case.apart) * (1 + slope) / span
    rounding = ROUNDING * EPS * (terms + (abs(v) * slope + abs(change)) * size)
    return Known(u, v, (1 - slope) / span, -(change + u) / span, span, float(rounding))


def target(k: Known) -> float:
    """``v - (t - r)(v du/dz + du/dt)``."""
    return k.v - k.span * (k.v * k.along + k.partial)


def compare(data: Known, formula: Callable[[Known], float]) -> Comparison:
    """Compare the average velocity with a target."""
    return single(data.u, formula(data), data.rounding, scale=np.array([abs(data.u) + abs(data.v)]))


DRAWN = on_modes(Average, STATE, *between(time=(0.05, 1.0), part=(0.0, 0.95)))


def _numbers(results: Results) -> list[Number]:
    cases: Any = results[IDENTITY].batches[:12]
    floors = [case.squared_slope() for case in cases]
    return [
        Number("largest departure from the identity", results[IDENTITY].comparison.excess.max()),
        Number("least loss over flow matching's, noise to data, median", np.median(floors)),
        Number("the same, largest", max(floors), key="floor"),
    ]


CLAIM = Claim(
    id="meanflow-identity",
    title="MeanFlow's identity",
    statement="the average velocity of the flow satisfies u = v - (t - r)(v du/dz + du/dt)",
    latex=(
        r"u(z, r, t) = \frac{z - \Phi_{t \to r}(z)}{t - r} = v - (t - r)\left(v\, \partial_z u + "
        r"\partial_t u\right) \iff v\, \partial_z \Phi + \partial_t \Phi = 0",
    ),
    source="MeanFlow (Geng et al., 2025), equation 6",
    kind="identity",
    owner="peer",
    conditions=("rectified flow", "the flow's own velocity"),
    formula=target,
    checks=(DRAWN.check(IDENTITY, 96, measure, compare),),
    controls=(
        NegativeControl("du/dt left out", lambda k: k.v - k.span * k.v * k.along),
        NegativeControl("v du/dz left out", lambda k: k.v - k.span * k.partial),
        NegativeControl("Euler: the velocity for its average", lambda k: k.v),
    ),
    headline="Holds to rounding, but trains on a noisy target: its least loss is up to {floor} "
    "times flow matching's.",
    numbers=_numbers,
    finding="The identity is the flow map's transport equation, for every law. Training puts one "
    "pair's velocity in both places: the mean is right, and the variance is flow matching's times "
    "the squared slope of the flow map. Where one step separates modes that slope is steep, and "
    "the loss cannot fall below it: its value does not say how good the map is.",
    search=lambda _: [DRAWN.space(IDENTITY)],
)
