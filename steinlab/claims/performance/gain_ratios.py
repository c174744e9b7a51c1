r"""What a design of runs says: ratios corrected over plain, summed up with their uncertainty.

The logarithms of the ratios of ``n`` cells have mean ``m`` and deviation ``s``; their geometric
mean is ``exp(m)`` with the interval ``exp(m -+ t s / sqrt n)``, ``t`` the quantile of Student's law
at 95 %. It says how the mean would scatter over cells like these; cells of one data law have more
in common than the interval knows.

**Criterion.** A rule *reduces* a quantity if (i) the interval's upper end is at most 1 and (ii) no
cell's ratio exceeds ``WORST`` by more than its states' sampling error, at the family-wise level.
The parts are checks of their own. Runs that break off, and ratios beyond ``CAP``, count as ``CAP``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from steinlab.claims.instruments.paired_runs import (
    BEST,
    CAP,
    MEASURES,
    STACKS,
    WORSE,
    Outcome,
    Setup,
    cancels,
    outcome_of,
)
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.laws import PROBLEMS
from steinlab.estimates import geometric_mean
from steinlab.metrics import METRICS
from steinlab.verification.claim import COUNTS_AS, Cases, Check, Claim, Effort
from steinlab.verification.comparison import Comparison
from steinlab.verification.falsify.spaces import Parameter, Space, picked
from steinlab.verification.significance import critical

SOLVERS = ("euler", "heun", "dpmpp-2m", "dpmpp-3m", "unipc-2", "ipndm-3")
DESIGN_GRIDS = ("karras", "logsnr")
EVALUATIONS = (4, 6, 8, 10)
WORST = 10.0
"""A cell made worse than so many times is a failure whatever the mean."""

QUICK_STATES, FULL_STATES = 128, 1000
GRADE = 0.9
"""The graded controls claim a reduction to a tenth, which no rule and no oracle shows."""


@dataclass(frozen=True)
class Design:
    """Problems x solvers x grids x evaluations, or one setup in ``fraction`` of them.

    The fraction keeps the setups whose indices obey ``solver + 3 grid + problem + spread
    evaluations = 0`` modulo ``fraction``: with ``spread = 0`` all evaluations of what it keeps.
    """

    process: str
    evaluations: tuple[int, ...]
    fraction: int
    spread: int
    states: int
    seed: int

    def setups(self) -> list[Setup]:
        """Return the setups, in order."""
        kept = []
        for p, name in enumerate(PROBLEMS):
            for s, solver in enumerate(SOLVERS):
                for g, grid in enumerate(DESIGN_GRIDS):
                    for e, budget in enumerate(self.evaluations):
                        if (s + 3 * g + p + self.spread * e) % self.fraction == 0:
                            names = name, self.process, solver, grid
                            kept.append(Setup(*names, budget, self.states, self.seed))
        return kept


@dataclass(frozen=True)
class Whole:
    """A design as one batch; a case a rule."""

    dataset: ClassVar[str | None] = "digits"

    design: Design
    rules: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of rules."""
        return len(self.rules)

    def describe(self, index: int) -> dict[str, Any]:
        """Return one case as JSON."""
        evaluations = list(self.design.evaluations)
        return {"rule": self.rules[index], **asdict(self.design), "evaluations": evaluations}

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read a case back; its whole design is run again."""
        fields = {key: case[key] for key in Design.__dataclass_fields__}
        fields["evaluations"] = tuple(fields["evaluations"])
        return cls(Design(**fields), (case["rule"],))


@dataclass(frozen=True)
class Cells:
    """One setup; a case a rule."""

    setup: Setup
    rules: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of rules."""
        return len(self.rules)

    @property
    def dataset(self) -> str | None:
        """The data set, or None for a mixture."""
        return "digits" if self.setup.problem.startswith("digits") else None

    def describe(self, index: int) -> dict[str, Any]:
        """Return one cell as JSON."""
        return {"rule": self.rules[index], **asdict(self.setup)}

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read a cell back."""
        fields = {key: case[key] for key in Setup.__dataclass_fields__}
        return cls(Setup(**fields), (case["rule"],))


class Runs(NamedTuple):
    """The outcomes of a batch, of one stack of rules, and the rules asked for."""

    outcomes: Sequence[Outcome]
    rules: tuple[str, ...]


def measure_whole(whole: Whole) -> Runs:
    """Run every setup of a design."""
    return Runs([outcome_of(setup, whole.rules[0]) for setup in whole.design.setups()], whole.rules)


def measure_cells(cells: Cells) -> Runs:
    """Run one setup."""
    return Runs([outcome_of(cells.setup, cells.rules[0])], cells.rules)


class Summary(NamedTuple):
    """Ratios of some cells in brief.

    ``low`` and ``high`` take cells as independent; ``law_low`` and ``law_high`` take one value a
    law, the mean of its cells, and are nan where fewer than two laws are known.
    """

    cells: int
    mean: float
    low: float
    high: float
    improved: float
    best: float
    worst: float
    capped: int
    beyond: int
    law_low: float
    law_high: float

    @property
    def by_law(self) -> str:
        """The interval by law in words."""
        return f"{self.law_low:.3g} to {self.law_high:.3g}"

    @property
    def span(self) -> str:
        """Both intervals in words; where the one by law holds 1, it says so."""
        holds = ", which holds 1" if self.law_low <= 1 <= self.law_high else ""
        by_law = "" if np.isnan(self.law_low) else f"; by law {self.by_law}{holds}"
        return f"{self.low:.3g} to {self.high:.3g}{by_law}"


def summary(ratios: np.ndarray, laws: Sequence[str] = ()) -> Summary:
    """Return the geometric mean with its interval, the share below 1, the extremes.

    ``laws``, if given, names each cell's law for the interval by law.
    """
    n, logs = len(ratios), np.log(ratios)
    mean, low, high = geometric_mean(logs)
    names = np.array(laws)
    means = np.array([logs[names == name].mean() for name in sorted(set(laws))])
    _, law_low, law_high = geometric_mean(means) if len(means) > 1 else (0.0, np.nan, np.nan)
    return Summary(
        n,
        float(mean),
        float(low),
        float(high),
        float(np.mean(ratios < 1)),
        float(ratios.min()),
        float(ratios.max()),
        int(np.sum(ratios >= CAP)),
        int(np.sum(ratios > WORST)),
        float(law_low),
        float(law_high),
    )


def ratios_of(outcomes: Sequence[Outcome], name: str, metric: str = "flow_error") -> np.ndarray:
    """Return the ratios of the outcomes that have such a row."""
    return np.array([o.ratio(name, metric) for o in outcomes if name in o.names])


def laws_of(outcomes: Sequence[Outcome], name: str) -> list[str]:
    """Return the laws of the outcomes that have such a row, in the order of their ratios."""
    return [o.setup.problem for o in outcomes if name in o.names]


def over(outcomes: Sequence[Outcome], name: str, metric: str = "flow_error") -> Summary:
    """Summarise a row of the outcomes that have it, by cell and by law."""
    return summary(ratios_of(outcomes, name, metric), laws_of(outcomes, name))


CLUSTERED = (
    "the 95 % interval takes one value a cell, and cells of one law have more in common than the "
    "interval knows: the interval by law (one value a law, Student's over laws) stands beside it "
    "in the finding and the table and is not judged"
)
CHOSEN = (
    "VP coordinates, the clips and the regime were chosen after seeing these setups; a new seed "
    "draws other states, not other laws"
)
"""Conditions of what the design shows."""

EXPANSIVE = 1.001
"""A step counts as expansive when a tangent grows by more than this."""


def expansive(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes whose plain run has a step with ``L_T > 1``."""
    return [o for o in outcomes if is_expansive(o)]


def is_expansive(outcome: Outcome) -> bool:
    """Whether the plain run has such a step; one that was not watched counts."""
    return not outcome.expansion <= EXPANSIVE


@dataclass(frozen=True)
class Judged:
    """Which row is judged: the rule itself and the oracle, or a falsified stand-in for them."""

    rule: Callable[[str], str] = str
    best: str = BEST


AS_STATED = Judged()
OVERSHOT = Judged(lambda _: WORSE, WORSE)
"""Gamma 1.5 at every step in place of the rule and of the oracle."""


def tally(found: Sequence[Summary]) -> str:
    """Say how many of some summaries lie below 1 with their interval, above it, or neither."""

    def words(ends: Sequence[tuple[float, float]]) -> str:
        below, above = sum(high < 1 for _, high in ends), sum(low > 1 for low, _ in ends)
        neither = len(ends) - below - above
        return f"{below} of {len(ends)} rules below 1, {above} above, {neither} undecided"

    by_law = words([(s.law_low, s.law_high) for s in found])
    return f"{words([(s.low, s.high) for s in found])}; by law {by_law}"


def at_most_one(measured: Sequence[float]) -> Comparison:
    """Check that upper ends of intervals are at most 1."""
    values = np.array(measured)
    return Comparison(
        values, np.ones_like(values), ROUNDING * EPS * values, upper=True, grade=GRADE
    )


def compare_mean(runs: Runs, formula: Judged) -> Comparison:
    """The interval's upper end over the expansive setups, a case a rule."""
    kept = expansive(runs.outcomes)
    return at_most_one([summary(ratios_of(kept, formula.rule(r))).high for r in runs.rules])


def compare_oracle(runs: Runs, formula: Judged) -> Comparison:
    """The same for the oracle, which shows that the check can be passed."""
    kept = [o for o in expansive(runs.outcomes) if BEST in o.names]
    return at_most_one([summary(ratios_of(kept, formula.best)).high])


CELLS = 2016
"""Cells that share the family-wise level: six rules on the whole of a design."""


def compare_cells(runs: Runs, formula: Judged, count: int = CELLS) -> Comparison:
    """No expansive cell is made more than ``WORST`` times worse, beyond its sampling error.

    ``count`` cells share the family-wise level.
    """
    pairs = [(o, formula.rule(r)) for o, r in itertools.product(runs.outcomes, runs.rules)]
    values = np.array([o.ratio(rule) if is_expansive(o) else 0.0 for o, rule in pairs])
    noise = critical(count) * np.array([o.noise[o.names.index(rule)] for o, rule in pairs])
    bound = np.full_like(values, WORST)
    return Comparison(values, bound, bound * np.expm1(noise), upper=True, sampled=True, grade=GRADE)


def compare_uncancelled(runs: Runs, formula: Judged) -> Comparison:
    """The same where the plain run's errors do not cancel; elsewhere a cell counts as 0."""
    found = compare_cells(runs, formula)
    off = [cancels(o.setup) for o in runs.outcomes for _ in runs.rules]
    return replace(found, measured=np.where(off, 0.0, found.measured))


def mean_check(name: str, draw: Callable[[Effort], Design], rules: tuple[str, ...]) -> Check:
    """Return part (i) of the criterion, a case a rule."""

    def whole(effort: Effort) -> Sequence[Whole]:
        return [Whole(draw(effort), rules)]

    return Check(
        name,
        method="property",
        draw=whole,
        measure=measure_whole,
        compare=compare_mean,
        restore=Whole.restore,
    )


def cells_check(
    name: str,
    draw: Callable[[Effort], Sequence[Setup]],
    rules: tuple[str, ...],
    compare: Callable[[Runs, Judged], Comparison] = compare_cells,
) -> Check:
    """Return part (ii), a case a setup and rule."""

    def cells(effort: Effort) -> Sequence[Cells]:
        return [Cells(setup, rules) for setup in draw(effort)]

    return Check(
        name,
        method="property",
        draw=cells,
        measure=measure_cells,
        compare=compare,
        restore=Cells.restore,
        notes=lambda: {COUNTS_AS: CAP / WORST},
    )


def seed_of(effort: Effort) -> int:
    """Return the run's seed: the checks of a claim share one design, so that it is run once."""
    return int(np.ravel(getattr(effort.rng.bit_generator.seed_seq, "entropy", 0))[0])


COLUMNS = [
    "rule", "quantity", "cells", "mean", "95 %", "95 % by law", "improved", "best", "worst",
    "capped", "(i) below 1", "(ii) beyond 10",
]  # fmt: skip


def rows(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """Return one row a rule and quantity of a stack."""
    names = next(stack for stack in STACKS if stack[1] in outcomes[0].names)[1:]
    return [
        [name, METRICS[metric].title, *parts_of(over(outcomes, name, metric))]
        for metric in MEASURES
        for name in names
        if len(ratios_of(outcomes, name, metric)) > 1
    ]


def parts_of(s: Summary) -> list[str]:
    """Return a summary's table cells with both parts of the criterion."""
    return [*cells_of(s), "yes" if s.high < 1 else "no", str(s.beyond)]


def cells_of(s: Summary) -> list[str]:
    """Return a summary's table cells."""
    return [
        str(s.cells),
        f"{s.mean:.3g}",
        f"{s.low:.3g} to {s.high:.3g}",
        s.by_law,
        f"{s.improved:.0%}",
        f"{s.best:.3g}",
        f"{s.worst:.3g}",
        str(s.capped),
    ]


def of_solver(outcomes: Sequence[Outcome], solver: str) -> list[Outcome]:
    """Return the outcomes of one solver."""
    return [o for o in outcomes if o.setup.solver == solver]


def solver_rows(outcomes: Sequence[Outcome], rules: Sequence[str]) -> list[list[str]]:
    """Return one table row a rule and solver, of the flow error."""
    return [
        [f"{rule}, {solver}", "flow error", *parts_of(over(own, rule))]
        for rule in rules
        for solver in SOLVERS
        if len(own := of_solver(outcomes, solver)) > 1
    ]


def name_of(outcome: Outcome) -> str:
    """Return a setup in words."""
    s = outcome.setup
    return f"{s.problem}, {s.solver}, {s.grid}, {s.evaluations} evaluations"


def cell_spaces(claim: Claim) -> list[Space]:
    """Space of the corrected runs' single cells, of the design and its rules, with other starts.

    The means are no matter of a case.
    """
    from steinlab.claims.instruments.paired_runs import Setup
    from steinlab.diffusion.laws import PROBLEMS
    from steinlab.verification.judge import effort_for

    check = next(c for c in claim.checks if c.name == "cells")
    first: Any = check.draw(effort_for(claim.id, check.name, "quick", 0))[0]

    def make(rule: str, seed: float, **names: Any) -> Cases:
        process, states = first.setup.process, first.setup.states
        return Cells(Setup(process=process, states=states, seed=int(seed), **names), (rule,))

    lists = {
        "problem": tuple(PROBLEMS),
        "solver": SOLVERS,
        "grid": DESIGN_GRIDS,
        "evaluations": EVALUATIONS,
        "rule": first.rules,
    }
    return [picked("cells", 32, lists, make, Parameter("seed", 0, 4))]
