r"""Consistency training's fixed point is too narrow at every number of levels.

Consistency training (CT) without error leaves ``f_(n+1)(y) = E[f_n(x_n) | x_(n+1) = y]``
(:mod:`analytic.flow.consistency`), the mean end of a chain that draws ``x_star`` from its posterior
and keeps every level's law. By the law of total variance

    Var f_N(x_N) = Var x_0 - sum_n E Var(f_n(x_n) | x_(n+1)):

it is too narrow on every law. Distillation with Euler's step (CD) puts ``D`` for ``x_star``: the
same where ``f_n`` is linear, on Gaussian data. Elsewhere CT smooths ``f_n`` by the posterior's
spread: of first order, too, once that is narrower than the bends of ``f_n``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from analytic.flow.consistency import fixed_point
from steinlab.claims.instruments.ranges import Ranges
from steinlab.claims.instruments.two_modes import MODES, TwoModes, moved, rule
from steinlab.diffusion.grids import make_grid
from steinlab.solvers.loop import solve
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.falsify.spaces import Parameter
from steinlab.verification.quantities import Number, Table

GAUSSIAN, SPREAD, MIXED = "Gaussian data", "total variance", "two modes"
LEVELS = (4, 8, 16)
SLACK = 1e-5
"""Relative error of the tabulated means: nine times the largest seen, over 66 laws."""
EXAMPLE = TwoModes(0.4, 2.5, 0.3, 0.5)


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
    lost: float


def ends(case: TwoModes, steps: int, state: float | None = None) -> Ends:
    """Train on the law; follow one state, in deviations, or the whole law at the noisiest level."""
    law, grid = case.law, make_grid("edm", "karras", steps, final_zero=False)
    model, (x, weights) = fixed_point(law, grid), rule(law, grid[0])
    if state is not None:
        x, weights = case.at(grid[0], state), np.ones(1)
    cd = solve(law, x[:, None], grid, "euler").state[:, 0]
    flow, whole = moved(law, x, grid[0], grid[-1]), float(law.variance()) + grid[-1].sigma ** 2
    return Ends(model.ends(x), np.asarray(cd), flow, weights, whole, model.lost)


class Formula(NamedTuple):
    """What the fixed point's end and its variance are said to be."""

    end: Callable[[Ends], np.ndarray] = lambda data: data.cd
    variance: Callable[[Ends], float] = lambda data: data.whole - data.lost


def compare(data: Ends, formula: Formula) -> Comparison:
    """Compare CT's end from a state with what it is said to be."""
    scale = np.array([np.sqrt(data.whole)])
    return single(data.ct[0], formula.end(data)[0], 1e-9 * scale[0], scale=scale)


def spread(data: Ends, ends: np.ndarray) -> float:
    """Return the variance of ends."""
    return float(data.weights @ (ends - data.weights @ ends) ** 2)


def compare_spread(data: Ends, formula: Formula) -> Comparison:
    """Compare the variance at the end; tabulated means have an error."""
    return single(spread(data, data.ct), formula.variance(data), SLACK * data.whole, sampled=True)


def measure(case: Trained) -> Ends:
    """Train on the law, and follow one state."""
    return ends(case, case.steps, case.state)


STATE = Parameter("state", -3.0, 3.0)
ONE_MODE = Ranges(
    Trained,
    {"steps": LEVELS, "apart": (0.0,), "second": (0.5,), "first": (0.5,), "weight": (0.5,)},
    (STATE,),
    seeded=False,
)
TWO = Ranges(Trained, {"steps": LEVELS}, (*MODES, STATE), seeded=False)


@cache
def errors(steps: int) -> tuple[float, float, float, float]:
    """Return errors of CT and CD against the flow, root mean square, and their shares of spread."""
    data = ends(EXAMPLE, steps)
    ct, cd = (float(np.sqrt(data.weights @ (e - data.flow) ** 2)) for e in (data.ct, data.cd))
    kept = (float(np.sqrt(spread(data, e) / data.whole)) for e in (data.ct, data.cd))
    return ct, cd, next(kept), next(kept)


def _numbers(results: Results) -> list[Number]:  # noqa: ARG001
    few, many = errors(10), errors(40)
    return [
        Number("CT's error over CD's, 10 levels, two modes", few[0] / few[1], key="few"),
        Number("the same, 40 levels", many[0] / many[1], key="many"),
        Number("CT's order between them", np.log(few[0] / many[0]) / np.log(4)),
        Number("CD's order between them", np.log(few[1] / many[1]) / np.log(4)),
        Number("spread that CT keeps, 10 levels", few[2], unit="%", key="kept"),
    ]


def _table(results: Results) -> Table:  # noqa: ARG001
    rows = [[n, *(f"{v:.4f}" for v in errors(n))] for n in (5, 10, 20, 40)]
    columns = ["levels", "CT: error", "CD: error", "CT: deviation over the law's", "CD's"]
    return Table("Two modes: error to the flow's end, root mean square", columns, rows)


CLAIM = Claim(
    id="consistency-training",
    title="What consistency training converges to",
    statement="consistency training without a teacher has the fixed point of distillation with "
    "Euler's step; its variance is the law's less what each level averages away",
    latex=(
        r"f_{n+1}(y) = \mathbb{E}\left[f_n(x_{t_n}) \mid x_{t_{n+1}} = y\right], \qquad "
        r"\operatorname{Var} f_N = \operatorname{Var} x_0 - \sum_n \mathbb{E} "
        r"\operatorname{Var}(f_n(x_{t_n}) \mid x_{t_{n+1}})",
    ),
    expected="conditional",
    source="consistency models (Song et al., 2023), theorem 2 read at a given number of levels",
    kind="identity",
    owner="peer",
    conditions=(
        "EDM's levels",
        "the square loss",
        "no training error",
        "unstated: Gaussian data, for the same fixed point",
    ),
    formula=Formula(),
    checks=(ONE_MODE.check(GAUSSIAN, 3, measure, compare),
            TWO.check(SPREAD, 3, lambda case: ends(case, case.steps), compare_spread)),
    controls=(
        NegativeControl("the flow's end", Formula(end=lambda d: d.flow), (GAUSSIAN,)),
        NegativeControl("variance kept", Formula(variance=lambda d: d.whole), (SPREAD,)),
        NegativeControl("1 % less lost", Formula(variance=lambda d: d.whole - 0.99 * d.lost),
                        (SPREAD,)),
    ),
    dropped=(
        Dropped("Gaussian data: two modes", TWO.check(MIXED, 2, measure, compare), unstated=True),
    ),
    headline="Trains a model that keeps {kept} of the spread at ten levels; it errs {few} times as "
    "distillation.",
    numbers=_numbers,
    table=_table,
    finding="On Gaussian data training equals distillation with Euler's step. Elsewhere each level "
    "averages over the posterior: the ends are too narrow on every law, and the error falls more "
    "slowly than distillation's over common numbers of levels. The loss at the fixed point is not "
    "zero; more levels, not longer training, lower the bias.",
    search=lambda _: [TWO.space(SPREAD)],
)  # fmt: skip
