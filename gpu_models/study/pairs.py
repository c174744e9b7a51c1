r"""Compare corrected runs with plain ones from the same start states, by cell and on average.

**A cell** is decided by ``z = (b - a) / sqrt(e_a^2 + e_b^2)`` beyond the normal quantile at the
family-wise level ``CELL_LEVEL`` over ``FAMILY`` comparisons, however many have run. The two runs
share their start states, so their errors are positively correlated as a rule. The record keeps
marginal errors alone; the joint error used here is then too large and leaves cells undecided. A run
that left the finite numbers counts against the correction.

**The mean** is geometric: seeds of a setup are averaged first, then the logarithms over setups,
with Student's interval at 95 %, which measures the scatter over setups like these. Ratios beyond
``LARGEST``, and runs that left the finite numbers, count as ``LARGEST``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev
from typing import NamedTuple

from scipy.special import stdtrit

from gpu_models.study.design import Cell
from gpu_models.study.stored import Record, Stored
from steinlab.claims.instruments import paired_runs as exact_laws
from steinlab.estimates import Estimate
from steinlab.verification.significance import critical

CELL_LEVEL, FAMILY = 1e-3, 1000
"""The level at which pages call cells better or worse, and comparisons that share it: more than
the design has of one quantity. Claims are judged at the ledger's."""

LARGEST = exact_laws.CAP
"""Ratios beyond it count as this much, as on exact laws."""

LEVEL = 0.95
FEWEST = 3
"""Setups below which no interval is given."""

RULE, CLIPPED, CALIBRATED = "stein-from-below", "stein-clipped", "calibrated"
MORE = "more evaluations"
"""The plain solver on its next larger budget, taken as a correction that is sure to help."""

ERRORS = ("flow_error", "artifacts", "FD-classifier", "FD-EffLite0")
"""Quantities of a run that are better when smaller."""
SHARES = ("precision", "recall")
"""Those better when larger."""


@dataclass(frozen=True)
class Pair:
    """A run, and the plain one that it is compared with.

    ``least`` is half a sample's share, the least that a rate of samples counts.
    """

    cell: Cell
    plain: Record
    other: Record
    least: float

    @property
    def setup(self) -> tuple[str, int, str]:
        """Solver, evaluations and grid."""
        return (self.cell.solver, self.cell.evaluations, self.cell.grid)

    @property
    def stopped(self) -> bool:
        """Whether the run left the finite numbers."""
        return "stopped" in self.other

    def has(self, quantity: str) -> bool:
        """Whether the quantity can be compared."""
        return quantity in self.plain and (self.stopped or quantity in self.other)

    def values(self, quantity: str) -> tuple[Estimate, Estimate]:
        """Return plain and other; a run that stopped has ``LARGEST`` times the error, share 0."""
        plain = self._value(self.plain[quantity])
        if self.stopped:
            return plain, Estimate(LARGEST * plain.value if quantity in ERRORS else 0.0, 0.0)
        return plain, self._value(self.other[quantity])

    def _value(self, record: Record) -> Estimate:
        return Estimate(max(record["value"], self.least), record["error"])

    def ratio(self, quantity: str) -> float:
        """Return other over plain."""
        plain, other = self.values(quantity)
        return float(other.value / plain.value)

    def z(self, quantity: str) -> float:
        """Return the difference in standard errors, positive where the other is larger.

        Joint errors, or where both records keep groups of the same start states, the paired one.
        """
        plain, other = self.values(quantity)
        error = math.hypot(plain.error, other.error)
        groups = [one.get(quantity, {}).get("groups") for one in (self.plain, self.other)]
        if all(groups):
            gaps = [b - a for a, b in zip(*groups, strict=True)]
            error = stdev(gaps) / math.sqrt(len(gaps))
        return float(other.value - plain.value) / max(error, 1e-300)

    @property
    def name(self) -> str:
        """The setup in words."""
        solver, evaluations, grid = self.setup
        return f"{solver}, {grid}, {evaluations} evaluations"


@lru_cache(maxsize=64)
def pairs_of(study: Stored, family: str) -> list[Pair]:
    """Return a correction's runs with their plain twins, or ``MORE`` for plain ones.

    Budgets that a solver spends alike (Heun at 3 and 4) are one run, kept once.
    """
    if family == MORE:
        return _next_budgets(study)
    runs, least = study.runs, 0.5 / study.size.samples
    out: dict[tuple[str, str, int, int], Pair] = {}
    for cell, record in runs.items():
        plain = runs.get(Cell(cell.solver, cell.evaluations, cell.grid, "none", cell.seed))
        if cell.correction == family and plain is not None and "stopped" not in plain:
            key = (cell.solver, cell.grid, cell.seed, record["spent"])
            out.setdefault(key, Pair(cell, plain, record, least))
    return list(out.values())


def _next_budgets(study: Stored) -> list[Pair]:
    ladders: dict[tuple[str, str, int], dict[int, tuple[Cell, Record]]] = {}
    for cell, record in study.runs.items():
        if cell.correction == "none" and "stopped" not in record:
            ladder = ladders.setdefault((cell.solver, cell.grid, cell.seed), {})
            ladder.setdefault(record["spent"], (cell, record))
    least = 0.5 / study.size.samples
    return [
        Pair(ladder[a][0], ladder[a][1], ladder[b][1], least)
        for ladder in ladders.values()
        for a, b in itertools.pairwise(sorted(ladder))
    ]


class Extreme(NamedTuple):
    """A cell's ratio and its setup."""

    ratio: float
    name: str


class Summary(NamedTuple):
    """The pairs of a family in one quantity; the extremes are of runs that stayed finite."""

    cells: int
    setups: int
    mean: float
    low: float
    high: float
    improved: int
    worsened: int
    unchanged: int
    stopped: int
    best: Extreme
    worst: Extreme
    shares: bool = False

    @property
    def mean_gains(self) -> bool:
        """The criterion's first part: the interval lies on the better side of 1."""
        return self.low > 1 if self.shares else self.high < 1

    @property
    def harmless(self) -> bool:
        """The criterion's second part: no cell is worse beyond its joint error."""
        return not self.worsened

    @property
    def undecided(self) -> int:
        """Cells whose difference lies within the errors, the unchanged ones among them."""
        return self.cells - self.improved - self.worsened


def summary(pairs: Sequence[Pair], quantity: str) -> Summary | None:
    """Return ratios in brief; None where fewer than ``FEWEST`` setups have the quantity."""
    usable = [pair for pair in pairs if pair.has(quantity)]
    setups: dict[tuple[str, int, str], list[float]] = {}
    for pair in usable:
        ratio = min(max(pair.ratio(quantity), 1 / LARGEST), LARGEST)
        setups.setdefault(pair.setup, []).append(math.log(ratio))
    if len(setups) < FEWEST:
        return None
    logs = [fmean(seeds) for seeds in setups.values()]
    half = float(stdtrit(len(logs) - 1, 0.5 + LEVEL / 2)) * stdev(logs) / math.sqrt(len(logs))
    mean, unit = fmean(logs), critical(FAMILY, level=CELL_LEVEL)
    sign = -1 if quantity in SHARES else 1
    scores = [sign * pair.z(quantity) for pair in usable]
    finite = [pair for pair in usable if not pair.stopped] or usable
    order = sorted(finite, key=lambda p: sign * p.ratio(quantity))
    best, worst = (Extreme(p.ratio(quantity), p.name) for p in (order[0], order[-1]))
    return Summary(
        cells=len(usable),
        setups=len(setups),
        mean=math.exp(mean),
        low=math.exp(mean - half),
        high=math.exp(mean + half),
        improved=sum(z < -unit for z in scores),
        worsened=sum(z > unit for z in scores),
        unchanged=sum(z == 0 for z in scores),
        stopped=sum(pair.stopped for pair in usable),
        best=best,
        worst=worst,
        shares=quantity in SHARES,
    )


class Spread(NamedTuple):
    """A setup's runs over seeds: mean, their standard deviation, and the mean error of a run."""

    cell: Cell
    seeds: int
    mean: float
    between: float
    within: float


def spreads(study: Stored, quantity: str) -> list[Spread]:
    """Return means over seeds where a setup has two runs or more with the quantity."""
    found: dict[Cell, list[Record]] = {}
    for cell, record in study.runs.items():
        if quantity in record:
            first = Cell(cell.solver, cell.evaluations, cell.grid, cell.correction, 0)
            found.setdefault(first, []).append(record[quantity])
    return [
        Spread(
            cell,
            len(rows),
            fmean(row["value"] for row in rows),
            stdev([row["value"] for row in rows]),
            fmean(row["error"] for row in rows),
        )
        for cell, rows in found.items()
        if len(rows) > 1
    ]
