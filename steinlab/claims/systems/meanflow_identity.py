r"""MeanFlow's identity is the transport equation of the flow map.

In rectified flow the average velocity from ``t`` down to ``r`` is ``u(z, r, t) = (z - Phi)/(t -
r)``, ``Phi`` the flow's state at ``r``. Differentiating ``(t - r) u`` along ``(v, 1)`` gives

    u = v - (t - r)(v du/dz + du/dt),   that is   v dPhi/dz + dPhi/dt = 0.

On the line both derivatives of ``Phi`` are known: ``F_r(Phi) = F_t(z)`` for the distribution
functions, so ``dPhi/dz = f_t(z)/f_r(Phi)`` and ``dPhi/dt = (dF_t/dt)(z)/f_r(Phi)``; ``v`` comes
from the denoiser. A network is trained with the velocity ``e - x`` of a single pair in both places:
the target is linear in it, its mean is ``u`` and its variance ``(dPhi/dz)^2 Var(e - x | z)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analytic.flow.rectified import DATA, NOISE
from steinlab.claims.instruments.ranges import Ranges
from steinlab.claims.instruments.two_modes import MODES, TwoModes, moved, on_flow, rule
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.verification.claim import Claim, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.falsify.spaces import Parameter
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


Formula = Callable[[Known], float]


def measure(case: Average) -> Known:
    """Take ``u`` from the exact flow, and its derivatives from the distribution functions."""
    law, t = case.law, case.time
    r, level = case.part * t, on_flow(t)
    z = case.at(level, case.state)
    phi = moved(law, z, level, on_flow(r))
    v = float((z - law(z, level))[0] / t)
    logs = [float(np.asarray(law.log_prob(x[:, None], at))[0]) for x, at in
            ((z, level), (phi, on_flow(r)))]  # fmt: skip
    means, variances = law.means[:, 0], law.spectra[:, 0]
    stds = np.sqrt((1 - t) ** 2 * variances + t**2)
    a = (z - (1 - t) * means) / stds
    rate = means / stds - a * (t - (1 - t) * variances) / stds**2
    below = float((law.weights * np.exp(-0.5 * a**2) * rate).sum() / np.sqrt(2 * np.pi))
    slope, change = np.exp(logs[0] - logs[1]), below / np.exp(logs[1])
    span = t - r
    u = float((z - phi)[0] / span)
    terms = abs(z[0]) + abs(phi[0]) + case.apart
    sizes = (abs(v) * slope + abs(change)) * (1 + sum(map(abs, logs)) + (a**2).max())
    rounding = ROUNDING * EPS * (terms * (1 + slope) / span + sizes)
    return Known(u, v, (1 - slope) / span, -(change + u) / span, span, float(rounding))


def target(k: Known) -> float:
    """``v - (t - r)(v du/dz + du/dt)``."""
    return k.v - k.span * (k.v * k.along + k.partial)


def compare(data: Known, formula: Formula) -> Comparison:
    """Compare the average velocity with a target."""
    return single(data.u, formula(data), data.rounding, scale=np.array([abs(data.u) + abs(data.v)]))


DRAWN = Ranges(
    Average,
    numbers=(*MODES, Parameter("state", -3.0, 3.0), Parameter("time", 0.05, 1.0),
             Parameter("part", 0.0, 0.95)),
    seeded=False,
)  # fmt: skip


def noise_floor(case: TwoModes) -> float:
    """Return the least loss from noise to data over flow matching's least, on one law."""
    law, (ends, weights) = case.law, rule(case.law, DATA)
    z = moved(law, ends, DATA, NOISE)
    density = np.exp(np.asarray(law.log_prob(ends[:, None], DATA)))
    slope = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) / density
    return float(weights @ slope**2)


def _numbers(results: Results) -> list[Number]:
    floors = [noise_floor(case) for case in results[IDENTITY].batches[:12]]  # type: ignore[arg-type]
    c = results[IDENTITY].comparison
    return [
        Number("largest departure from the identity", c.excess.max()),
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
