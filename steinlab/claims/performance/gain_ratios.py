r"""Summarise the ratios, corrected over plain error, of a design of runs.

A *cell* is one setup (data law, process, solver, grid, evaluations) run with one rule. The
logarithms of the ratios of ``n`` cells have mean ``m`` and deviation ``s``; their geometric mean is
``exp(m)`` with the interval ``exp(m -+ t s / sqrt n)``, ``t`` the quantile of Student's law at
95 %. The interval takes cells as independent. Cells of one data law are alike, so a second
interval takes one value per law.

**Criterion.** A rule *reduces* a quantity if (i) the interval's upper end is at most 1 and (ii) no
cell's ratio exceeds ``WORST`` by more than its states' sampling error, at the family-wise level.
The parts are checks of their own. Runs that break off, and ratios beyond ``CAP``, count as ``CAP``.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from steinlab.claims.instruments.paired_runs import (
    BEST,
    CAP,
    EXPANSIVE,
    MEASURES,
    STACKS,
    WORSE,
    Outcome,
    Setup,
    cancels,
    outcome_of,
    run,
    stack_of,
)
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.laws import PROBLEMS
from steinlab.estimates import geometric_mean
from steinlab.metrics import METRICS
from steinlab.verification.cases import Cases
from steinlab.verification.claim import COUNTS_AS, Check, Claim, Effort, Results
from steinlab.verification.comparison import Comparison
from steinlab.verification.falsify.spaces import Parameter, Space, picked
from steinlab.verification.quantities import Number
from steinlab.verification.significance import critical

SOLVERS = ("euler", "heun", "dpmpp-2m", "dpmpp-3m", "unipc-2", "ipndm-3")
DESIGN_GRIDS = ("karras", "logsnr")
EVALUATIONS = (4, 6, 8, 10)
WORST = 10.0
"""A cell made worse than so many times is a failure whatever the mean."""

QUICK_STATES, STATES, FULL_STATES = 128, 64, 1000
"""States of the quick profile for rules that need a divergence, and for the others, where the
scatter between setups makes the interval, not theirs; states of the full profile."""
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
    solvers: tuple[str, ...] = SOLVERS
    problems: tuple[str, ...] = tuple(PROBLEMS)

    def setups(self) -> list[Setup]:
        """Return the setups, in order."""
        kept = []
        for p, name in enumerate(PROBLEMS):
            for s, solver in enumerate(SOLVERS):
                if name not in self.problems or solver not in self.solvers:
                    continue
                for g, grid in enumerate(DESIGN_GRIDS):
                    for e, budget in enumerate(self.evaluations):
                        if (s + 3 * g + p + self.spread * e) % self.fraction == 0:
                            names = name, self.process, solver, grid
                            kept.append(Setup(*names, budget, self.states, self.seed))
        return kept


LISTS = ("evaluations", "solvers", "problems")
"""Fields of a design that hold several; a stored case of all solvers and problems may lack them."""


@dataclass(frozen=True)
class Whole:
    """A design as one batch; one case per rule."""

    dataset: ClassVar[str | None] = "digits"

    design: Design
    rules: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of rules."""
        return len(self.rules)

    def describe(self, index: int) -> dict[str, Any]:
        """Return one case as JSON."""
        lists = {name: list(getattr(self.design, name)) for name in LISTS}
        return {"rule": self.rules[index], **asdict(self.design), **lists}

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read a case back; its whole design is run again."""
        fields = {key: case[key] for key in Design.__dataclass_fields__ if key in case}
        fields |= {key: tuple(fields[key]) for key in LISTS if key in fields}
        return cls(Design(**fields), (case["rule"],))


@dataclass(frozen=True)
class Cells:
    """One setup; one case per rule."""

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


def measure_unwatched(whole: Whole) -> Runs:
    """Run every setup of a design, where nobody asks whether a step expands."""
    stack = stack_of(whole.rules[0])
    return Runs([run(setup, stack) for setup in whole.design.setups()], whole.rules)


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


def summary(ratios: np.ndarray, laws: Sequence[str] = ()) -> Summary:
    """Return the geometric mean with its interval, the share below 1, the extremes.

    ``laws``, if given, names each cell's law for the interval of one value per law.
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
    """Summarise a row of the outcomes that have it, with both intervals."""
    return summary(ratios_of(outcomes, name, metric), laws_of(outcomes, name))


CLUSTERED = (
    "the 95 % interval takes one value per run of a rule, and runs on one law have more in common "
    "than it knows: an interval of one value per law stands beside it in the table, not judged"
)
CHOSEN = (
    "VP coordinates, the clips and the regime were chosen after seeing these setups; a new seed "
    "draws other states, not other laws"
)
"""Conditions of what the design shows."""


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


def at_most_one(measured: Sequence[float]) -> Comparison:
    """Check that upper ends of intervals are at most 1."""
    values = np.array(measured)
    return Comparison(
        values, np.ones_like(values), ROUNDING * EPS * values, upper=True, grade=GRADE
    )


def compare_mean(runs: Runs, formula: Judged) -> Comparison:
    """The interval's upper end over the expansive setups, one case per rule."""
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
    """Return part (i) of the criterion, one case per rule."""

    def whole(effort: Effort) -> Sequence[Whole]:
        return [Whole(draw(effort), rules)]

    return Check(
        name,
        "property",
        Whole,
        draw=whole,
        measure=measure_whole,
        compare=compare_mean,
        seconds=3.0,
    )


def cells_check(
    name: str,
    draw: Callable[[Effort], Sequence[Setup]],
    rules: tuple[str, ...],
    compare: Callable[[Runs, Judged], Comparison] = compare_cells,
) -> Check:
    """Return part (ii), one case per setup and rule."""

    def cells(effort: Effort) -> Sequence[Cells]:
        return [Cells(setup, rules) for setup in draw(effort)]

    return Check(
        name,
        "property",
        Cells,
        draw=cells,
        measure=measure_cells,
        compare=compare,
        notes=lambda: {COUNTS_AS: CAP / WORST},
    )


def design_of(
    effort: Effort,
    process: str,
    *,
    evaluations: tuple[int, ...] = EVALUATIONS,
    fraction: int = 1,
    spread: int = 0,
    states: int = STATES,
) -> Design:
    """Return every setup in the full profile, one in ``fraction`` of them in the quick."""
    if effort.profile == "full":
        fraction, states = 1, FULL_STATES
    return Design(process, evaluations, fraction, spread, states, seed_of(effort))


def outcomes_of(results: Results, check: str) -> list[Outcome]:
    """Return the outcomes of a check on one design."""
    return list(results[check].data[0].outcomes)


def interval_numbers(low: float, high: float, unit: str = "") -> list[Number]:
    """Return the ends of the interval of the number named before."""
    return [
        Number("its 95 % interval, from", low, unit=unit),
        Number("its 95 % interval, to", high, unit=unit),
    ]


def cut_number(name: str, outcomes: Sequence[Outcome], rule: str, key: str = "") -> Number:
    """Return the part of the flow error that a rule takes away, in the geometric mean."""
    return Number(name, 1 - over(outcomes, rule).mean, unit="%", better="higher", key=key)


def seed_of(effort: Effort) -> int:
    """Return the run's seed: the checks of a claim share one design, so that it is run once."""
    return int(np.ravel(getattr(effort.rng.bit_generator.seed_seq, "entropy", 0))[0])


COLUMNS = [
    "rule", "quantity", "runs", "mean", "95 %", "95 %, one value per law", "improved", "best",
    "worst", "at 1,000 or broken off", "(i) below 1", "(ii) beyond 10",
]  # fmt: skip


def rows(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """Return one row per rule and quantity of a stack."""
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
    mean, best, worst = (f"{v:.3g}" for v in (s.mean, s.best, s.worst))
    spans = (f"{low:.3g} to {high:.3g}" for low, high in (s[2:4], s[-2:]))
    return [str(s.cells), mean, *spans, f"{s.improved:.0%}", best, worst, str(s.capped)]


def solver_rows(outcomes: Sequence[Outcome], rules: Sequence[str]) -> list[list[str]]:
    """Return one table row per rule and solver, of the flow error."""
    return [
        [f"{rule}, {solver}", "flow error", *parts_of(over(own, rule))]
        for rule in rules
        for solver in SOLVERS
        if len(own := [o for o in outcomes if o.setup.solver == solver]) > 1
    ]


def cell_spaces(claim: Claim) -> list[Space]:
    """Space of the corrected runs' single cells, of the design and its rules, with other starts.

    The means are no matter of a case.
    """
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
