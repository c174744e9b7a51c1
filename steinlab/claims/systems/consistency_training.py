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
from typing import NamedTuple

import numpy as np

from steinlab.claims.instruments.consistency import Ends, Trained, errors, spread, trained
from steinlab.claims.instruments.ranges import Ranges
from steinlab.claims.instruments.two_modes import STATE, on_modes
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number, Table

GAUSSIAN, SPREAD, MIXED = "Gaussian data", "total variance", "two modes"
LEVELS = (4, 8, 16)
SLACK = 1e-5
"""Relative error of the tabulated means: nine times the largest seen, over 66 laws."""


class Formula(NamedTuple):
    """What the fixed point's end and its variance are said to be."""

    end: Callable[[Ends], np.ndarray] = lambda data: data.cd
    variance: Callable[[Ends], float] = lambda data: data.whole - data.lost


def compare(data: Ends, formula: Formula) -> Comparison:
    """Compare CT's end from a state with what it is said to be."""
    scale = np.array([np.sqrt(data.whole)])
    return single(data.ct[0], formula.end(data)[0], 1e-9 * scale[0], scale=scale)


def compare_spread(data: Ends, formula: Formula) -> Comparison:
    """Compare the variance at the end; tabulated means have an error."""
    return single(spread(data, data.ct), formula.variance(data), SLACK * data.whole, sampled=True)


def measure(case: Trained) -> Ends:
    """Train on the law, and follow one state."""
    return trained(case, case.steps, case.state)


ALONE = {"apart": (0.0,), "second": (0.5,), "first": (0.5,), "weight": (0.5,)}
ONE_MODE = Ranges(Trained, {"steps": LEVELS, **ALONE}, (STATE,), seeded=False)
TWO = on_modes(Trained, STATE, steps=LEVELS)


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
            TWO.check(SPREAD, 3, lambda case: trained(case, case.steps), compare_spread)),
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
