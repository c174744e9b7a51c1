r"""DC-Solver's ratio costs an order where it stays, and leads to the exact flow where it is free.

``D~ - D = (rho - 1)(t_i - t_(i-1)) dD/dt + O(h^2)`` enters the step times ``O(h)``: a local error
of ``O(h^2)`` for a constant ``rho`` other than 1, whatever the base, and of ``O(h^(p+1))`` for
``rho - 1 = O(h^(p-1))``. On ``N(0, c^2 I)`` a step's end is a parabola in ``rho`` times the state.
Where that takes the exact flow's value one number leads there; with two variances none does.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from analytic import GaussianMixture
from analytic.flow.exact import gaussian_gain
from steinlab.claims.instruments.observed_order import (
    HALF,
    check_of,
    observing,
    order_number,
    order_spaces,
    stated_check,
)
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.grids import make_grid
from steinlab.solvers.compensated import Compensated, fitted
from steinlab.solvers.loop import solve
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Check, Claim, Dropped, Effort, NegativeControl, Result
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number

CONSTANT, ITSELF, TENDING = "rho constant, not 1", "rho = 1", "rho = 1 + 2/N"
GRIDS, STEPS = ("karras", "logsnr"), (5, 8)


@dataclass(frozen=True)
class Fitted(SingleCase):
    """A run in EDM on variances ``c^2`` and ``apart c^2`` whose ratios are fitted to the first."""

    deviation: float
    apart: float
    grid: str
    steps: int

    def gains(self) -> np.ndarray:
        """Return the run's gains over the exact ones, one per variance."""
        variances = self.deviation**2 * np.array([1.0, self.apart])
        law = GaussianMixture(np.ones(1), np.zeros((1, 2)), np.diag(variances)[None])
        levels, x = make_grid("edm", self.grid, self.steps), np.ones((1, 2))
        exact = [gaussian_gain(variances, levels[0], t) for t in levels[1:]]
        solver = fitted(law, x, levels, [gain[0] for gain in exact])
        return np.asarray(solve(law, x, levels, solver).state[0] / exact[-1])


def _compare(gain: float, shift: int) -> Comparison:  # noqa: ARG001
    """Compare a gain over the exact one with 1."""
    return single(gain, 1.0, 100 * ROUNDING * EPS)


def _fit(name: str, which: int, apart: float) -> Check:
    def draw(effort: Effort) -> list[Fitted]:
        chosen = itertools.product(effort.rng.uniform(0.2, 2.0, 2), GRIDS, STEPS)
        return [Fitted(float(c), apart, grid, steps) for c, grid, steps in chosen]

    return check_of(name, draw, lambda case: float(case.gains()[which]), _compare, Fitted.restore)


def _tending(_: object, n: int) -> Compensated:
    return Compensated("dc", lambda _: 1 + 2 / n)


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    missed = np.abs(np.array(results["the second of two variances"].data) - 1)
    apart = results["one variance"].comparison.excess.max()
    return [
        order_number(results, CONSTANT, "order for rho = 0.9 and 1.1", "constant"),
        order_number(results, TENDING, "order for rho = 1 + 2/N", "tending"),
        Number("one variance, distance to the exact gain", apart),
        Number("a variance four times as large is missed by, median", np.median(missed), unit="%"),
    ]


CLAIM = Claim(
    id="dc-solver-order",
    title="What DC-Solver's ratio does to the order",
    statement="a constant ratio other than 1 makes 2M of order 1, 1 + O(h) keeps order 2; one "
    "ratio per step leads to the exact flow of N(0, c^2 I)",
    latex=(
        r"\tilde D_i = P(t_{i-1} + \rho\,(t_i - t_{i-1})): \qquad "
        r"\tilde D_i - D_i = (\rho - 1)(t_i - t_{i-1})\, \dot D + O(h^2)",
    ),
    headline="Has order {constant:.0f} with a constant ratio; one that tends to unity keeps order "
    "{tending:.0f}.",
    numbers=_numbers,
    source="DC-Solver (Zhao et al., 2024), dynamic compensation with three outputs",
    kind="order",
    owner="peer",
    conditions=("a smooth denoiser", "one variance, for the exact flow"),
    formula=0,
    checks=(
        stated_check(CONSTANT, ("dc@0.9", "dc@1.1"), 1),
        stated_check(ITSELF, ("dc@1",), 2),
        stated_check(TENDING, ("dc@1",), 2, observing(_tending, 2, HALF)),
        _fit("one variance", 0, 1.0),
    ),
    controls=(NegativeControl("orders one higher", 1), NegativeControl("orders one lower", -1)),
    dropped=(
        Dropped("one variance: two, four apart", _fit("the second of two variances", 1, 4.0)),
    ),
    finding="One number per step fitted to a few large ones: a table for one model and one grid. "
    "It makes up for one scale exactly and trades scales where there are several. Carried to a "
    "finer grid unchanged it costs an order.",
    search=lambda claim: order_spaces(replace(claim, checks=claim.checks[:3])),
)
