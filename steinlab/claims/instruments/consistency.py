"""Consistency models without error on two modes: their ends beside distillation's and the flow's.

Consistency training (CT) regresses on pairs (:mod:`analytic.flow.consistency`), distillation (CD)
on steps of Euler.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from analytic.flow.consistency import fixed_point
from steinlab.claims.instruments.two_modes import EXAMPLE, TwoModes, moved, rule
from steinlab.diffusion.grids import make_grid
from steinlab.solvers.loop import solve


@dataclass(frozen=True)
class Trained(TwoModes):
    """A law, a number of steps of EDM's levels, and a state at the noisiest in deviations."""

    steps: int
    state: float


class Ends(NamedTuple):
    """Where CT, CD and the flow lead states ``x``, and the law at the noisiest level."""

    ct: np.ndarray
    cd: np.ndarray
    flow: np.ndarray
    weights: np.ndarray
    whole: float  # variance at the least level
    lost: float  # sum_n E Var(f_n(x_n) | x_(n+1))


def trained(case: TwoModes, steps: int, state: float | None = None) -> Ends:
    """Train on the law; follow one state, in deviations, or the whole law at the noisiest level."""
    law, grid = case.law, make_grid("edm", "karras", steps, final_zero=False)
    model, (x, weights) = fixed_point(law, grid), rule(law, grid[0])
    if state is not None:
        x, weights = case.at(grid[0], state), np.ones(1)
    cd = solve(law, x[:, None], grid, "euler").state[:, 0]
    flow, whole = moved(law, x, grid[0], grid[-1]), float(law.variance()) + grid[-1].sigma ** 2
    return Ends(model.ends(x), np.asarray(cd), flow, weights, whole, model.lost)


def spread(data: Ends, ends: np.ndarray) -> float:
    """Return the variance of ends."""
    return float(data.weights @ (ends - data.weights @ ends) ** 2)


@cache
def errors(steps: int) -> tuple[float, float, float, float]:
    """Return errors of CT and CD against the flow, root mean square, and their shares of spread."""
    data = trained(EXAMPLE, steps)
    ct, cd = (float(np.sqrt(data.weights @ (e - data.flow) ** 2)) for e in (data.ct, data.cd))
    kept = (float(np.sqrt(spread(data, e) / data.whole)) for e in (data.ct, data.cd))
    return ct, cd, next(kept), next(kept)
