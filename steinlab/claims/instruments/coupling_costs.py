r"""What a coupling on the line costs before and after it is rectified.

Straightness ``S = int E|Z_1 - Z_0 - dZ_t/dt|^2 dt`` is integrated along the exact flow, crossings
``V = int E Var(X_0 | X_t)/t^2 dt`` under the interpolation of independent ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.line import Line, line_flow
from analytic.flow.rectified import DATA, NOISE, velocity
from analytic.quadrature import gauss_legendre
from steinlab.claims.instruments.two_modes import moved, on_flow, rule

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


class SquareCost(NamedTuple):
    """Cost of the ends before and after, straightness, crossings and the integrals' error."""

    before: float
    after: float
    straightness: float
    crossings: float
    error: float


def square_cost(law: GaussianMixture) -> SquareCost:
    """Integrate over data and time: the flow leads each state of the data up to noise."""
    ends, weights = rule(law, DATA, FEW)
    way = moved(law, ends, DATA, NOISE) - ends
    found = [_integrals(law, ends, weights, way, n) for n in TIMES]
    before, after = 1 + float(law.second_moment()), float(weights @ way**2)
    error = 2 * float(np.abs(found[1] - found[0]).max()) + 1e-10 * before
    straightness, crossings = map(float, found[1])
    return SquareCost(before, after, straightness, crossings, error)


def _integrals(
    law: GaussianMixture, ends: np.ndarray, weights: np.ndarray, way: np.ndarray, count: int
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


class Cost(NamedTuple):
    """A mean cost after and before, the rule's error, and what is left of the square cost."""

    after: float
    before: float
    error: float
    left: float


def mean_cost(law: GaussianMixture, cost: str) -> Cost:
    """Integrate one of the costs with two rules."""
    of, found = FUNCTIONS[cost], []
    for nodes in (FEW, 8):
        ends, weights = rule(law, DATA, nodes)
        way = moved(law, ends, DATA, NOISE) - ends
        after, left = weights @ of(way), weights @ way**2 / (1 + law.second_moment())
        minus, weights = rule(law, NoiseLevel(1.0, 1.0), nodes)  # X_0 - X_1
        found.append((float(after), float(weights @ of(-minus))))
    error = 2 * float(np.abs(np.diff(found, axis=0)).max()) + 1e-10 * abs(found[1][1])
    return Cost(*found[1], error, float(left))
