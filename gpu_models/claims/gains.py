r"""Whether a correction reduces a quantity of the stored runs, on average and cell by cell.

**Criterion**, that of :mod:`steinlab.claims.performance.gain_ratios` on exact laws: the geometric
mean ratio's 95 % interval lies below 1 (check ``mean``), and no cell is made worse beyond its joint
error at the family-wise level (check ``cells``). Both judge the rules that the claim is about.
Where that is the paper's, clipped from below only, ``fair mean`` and ``fair cells`` may judge
beside it the definition's coefficient with a clip on both sides, in own and VP coordinates. Two
more checks ask the same mean of what should pass, so that the criterion is seen to be one that can
be met: the plain solver with ``more evaluations``, and the ``calibrated`` table, which is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from gpu_models.claims.words import LABELS
from gpu_models.study.design import FAIR
from gpu_models.study.pairs import (
    CALIBRATED,
    FAMILY,
    FEWEST,
    LARGEST,
    MORE,
    RULE,
    SHARES,
    Pair,
    pairs_of,
    summary,
)
from gpu_models.study.stored import Stored, stored
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.verification.claim import COUNTS_AS, Check, Effort, NegativeControl
from steinlab.verification.comparison import Comparison
from steinlab.verification.significance import critical

DATA = "fashion-mnist"
JUDGED = (RULE, *FAIR)
"""The rules whose single runs are judged: the published one, and the definition's clipped."""
GRADE = 0.99
"""The graded controls claim a reduction to a hundredth on average, which nothing reaches."""


class Reading(NamedTuple):
    """How the record is read: a family in place of the one named, plain and judged exchanged."""

    family: str | None = None
    exchanged: bool = False


AS_STATED = Reading()
FEWER = Reading(MORE, exchanged=True)
"""The plain solver on its next smaller budget in place of the correction: what does not help."""


class Judged(NamedTuple):
    """What was asked of a batch, and the pairs of every family."""

    asked: tuple[tuple[str, ...], ...]
    pairs: Mapping[str, Sequence[Pair]]


def study() -> Stored:
    """Return the stored study, which is there: :func:`needs` keeps checks from running else."""
    found = stored()
    assert found is not None
    return found


def everything() -> dict[str, list[Pair]]:
    """Return the pairs of every family."""
    return {family: pairs_of(study(), family) for family in LABELS}


@dataclass(frozen=True)
class Groups:
    """One batch; a case is a family's mean in a quantity."""

    dataset: ClassVar[str | None] = DATA

    asked: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.asked)

    def describe(self, index: int) -> dict[str, Any]:
        """Return a case as JSON."""
        family, quantity = self.asked[index]
        return {"family": family, "quantity": quantity}

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read a case back."""
        return cls(((case["family"], case["quantity"]),))

    def measure(self) -> Judged:
        """Read the record."""
        return Judged(self.asked, everything())


@dataclass(frozen=True)
class Runs:
    """One batch; a case is a run of the rule in a quantity."""

    dataset: ClassVar[str | None] = DATA

    asked: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.asked)

    def describe(self, index: int) -> dict[str, Any]:
        """Return a case as JSON."""
        run, quantity = self.asked[index]
        return {"run": run, "quantity": quantity}

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read a case back; it must be a run of the record."""
        if case["run"] not in study().found:
            raise ValueError(f"run must be one of the record, got {case['run']}")
        return cls(((case["run"], case["quantity"]),))

    def measure(self) -> Judged:
        """Read the record."""
        return Judged(self.asked, everything())


def usable(pairs: Sequence[Pair], quantity: str) -> list[Pair]:
    """Return the pairs that have the quantity."""
    return [pair for pair in pairs if pair.has(quantity)]


def _exchange(pair: Pair) -> Pair:
    return Pair(pair.cell, pair.other, pair.plain, pair.least)


def high(pairs: Sequence[Pair], quantity: str, exchanged: bool) -> float:
    """Return the upper end of the mean's interval; ``LARGEST`` where there are too few setups."""
    found = summary(pairs, quantity)
    if found is None:
        return LARGEST
    return 1 / found.low if exchanged else found.high


def compare_mean(data: Judged, reading: Reading) -> Comparison:
    """The interval's upper end against 1."""
    ends = [high(data.pairs[reading.family or f], q, reading.exchanged) for f, q in data.asked]
    return at_most_one(np.array(ends))


def at_most_one(values: np.ndarray) -> Comparison:
    """Check that upper ends of intervals are at most 1."""
    tolerance = ROUNDING * EPS * values
    return Comparison(values, np.ones_like(values), tolerance, True, sampled=True, grade=GRADE)


def compare_cells(data: Judged, reading: Reading) -> Comparison:
    """Each run's quantity against its plain twin's, within the joint error at the family level.

    Shares (precision, recall) must not fall, the rest must not grow.
    """
    if reading.family:  # a negative control: all cells of the other family
        quantities = dict.fromkeys(q for _, q in data.asked)
        chosen = [(p, q) for q in quantities for p in usable(data.pairs[reading.family], q)]
    else:
        by_key = {pair.cell.key: pair for rule in JUDGED for pair in data.pairs[rule]}
        chosen = [(by_key[run], q) for run, q in data.asked]
    rows = []
    for pair, quantity in chosen:
        if reading.exchanged:
            pair = _exchange(pair)  # noqa: PLW2901
        plain, other = pair.values(quantity)
        worse, better = (plain, other) if quantity in SHARES else (other, plain)
        rows.append((worse.value, better.value, float(np.hypot(plain.error, other.error))))
    measured, predicted, errors = np.array(rows).T
    return Comparison(
        measured, predicted, critical(FAMILY) * errors, True, sampled=True, grade=GRADE
    )


def needs(
    families: Sequence[str], quantities: Sequence[str], about: Sequence[str] = (RULE,)
) -> Callable[[], str]:
    """Return a function that says why no family's mean can be judged here, empty if one can.

    What shows that the criterion can be met says nothing of the rules that a claim is ``about``:
    without runs of any no check runs.
    """

    def reason() -> str:
        found = stored()
        if found is None:
            return "no stored study: run steinlab study"
        for wanted in (about, families):
            pairs = [pairs_of(found, family) for family in wanted]
            if not any(summary(own, quantity) for own in pairs for quantity in quantities):
                return (
                    f"the stored study has too few runs of {LABELS[wanted[0]]}: "
                    f"{max(map(len, pairs))} of the {FEWEST} setups that a mean takes"
                )
        return ""

    return reason


def groups(
    families: Sequence[str], quantities: Sequence[str]
) -> Callable[[Effort], Sequence[Groups]]:
    """Return the draw of the families' means, in the quantities that enough setups have."""

    def draw(effort: Effort) -> Sequence[Groups]:  # noqa: ARG001
        pairs = {family: pairs_of(study(), family) for family in families}
        return [Groups(tuple((f, q) for f in families for q in quantities if summary(pairs[f], q)))]

    return draw


def cells(families: Sequence[str], quantities: Sequence[str]) -> Callable[[Effort], Sequence[Runs]]:
    """Return the draw of every run of the families, in every quantity that it has."""

    def draw(effort: Effort) -> Sequence[Runs]:  # noqa: ARG001
        pairs = [p for family in families for p in pairs_of(study(), family)]
        return [Runs(tuple((p.cell.key, q) for q in quantities for p in usable(pairs, q)))]

    return draw


def notes() -> Mapping[str, Any]:
    """Return the study's configuration and device."""
    return study().notes()


def cell_notes() -> Mapping[str, Any]:
    """Return the same, and as which ratio a run counts that left the finite numbers."""
    return {**notes(), COUNTS_AS: LARGEST}


def mean_check(
    name: str,
    families: Sequence[str],
    quantities: Sequence[str],
    about: Sequence[str] = (RULE,),
) -> Check:
    """Return the check of the families' means."""
    return Check(
        name,
        method="neural",
        draw=groups(families, quantities),
        measure=Groups.measure,
        compare=compare_mean,
        restore=Groups.restore,
        available=needs(families, quantities, about),
        notes=notes,
    )


def cells_check(
    name: str,
    families: Sequence[str],
    quantities: Sequence[str],
    about: Sequence[str] = (RULE,),
) -> Check:
    """Return the check of the families' single runs."""
    return Check(
        name,
        method="neural",
        draw=cells(families, quantities),
        measure=Runs.measure,
        compare=compare_cells,
        restore=Runs.restore,
        available=needs(families, quantities, about),
        notes=cell_notes,
    )


def checks(means: Sequence[str], cells: Sequence[str], *more: Check) -> tuple[Check, ...]:
    """Return the checks of a claim that both readings gain: quantities by part, and others."""
    return (
        mean_check("mean", (RULE,), means),
        *more,
        cells_check("cells", (RULE,), cells),
        mean_check("fair mean", tuple(FAIR), means),
        cells_check("fair cells", tuple(FAIR), cells),
        *attainable(means),
    )


def attainable(means: Sequence[str], about: Sequence[str] = (RULE,)) -> tuple[Check, Check]:
    """Return the checks that show that the criterion's mean can be met."""
    more, calibrated = (mean_check(name, (name,), means, about) for name in (MORE, CALIBRATED))
    return more, calibrated


CONTROLS = (
    NegativeControl(
        "the plain solver with fewer evaluations instead of the rule", FEWER, ("mean",)
    ),
    NegativeControl("the same, cell by cell", FEWER, ("cells",)),
    NegativeControl("a budget and the next larger one exchanged", Reading(exchanged=True), (MORE,)),
    NegativeControl(
        "the plain solver with fewer evaluations instead of the table", FEWER, (CALIBRATED,)
    ),
)
"""Of a claim about one reading."""

FAIR_CONTROLS = (
    *CONTROLS,
    NegativeControl("the same, instead of the fair rules", FEWER, ("fair mean",)),
    NegativeControl("the same, instead of the fair rules, cell by cell", FEWER, ("fair cells",)),
)
"""Of a claim that judges both readings."""
