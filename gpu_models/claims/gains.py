r"""Whether a correction reduces a quantity of the stored runs, on average and cell by cell.

**Criterion**, that of :mod:`steinlab.claims.performance.gain_ratios` on exact laws: the geometric
mean ratio's 95 % interval lies below 1 (check ``mean``), and no cell is made worse beyond its joint
error at the family-wise level (check ``cells``). Both judge the rules that the claim is about.
Where that is the paper's, clipped from below only, ``fair mean`` and ``fair cells`` may judge
beside it the definition's coefficient with a clip on both sides, in own and VP coordinates. Two
more checks show that the mean's criterion can be met: by the plain solver with ``more
evaluations``, and by the ``calibrated`` table, which is ours.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from gpu_models.models import FASHION_WEIGHTS
from gpu_models.study.design import FAIR, SIZES, Clip
from gpu_models.study.pairs import (
    CALIBRATED,
    CLIPPED,
    FAMILY,
    FEWEST,
    LARGEST,
    MORE,
    RULE,
    SHARES,
    Pair,
    Summary,
    pairs_of,
    summary,
)
from gpu_models.study.stored import Stored, stored
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.verification.claim import COUNTS_AS, Check, Claim, NegativeControl, Results
from steinlab.verification.comparison import Comparison
from steinlab.verification.quantities import Number, Table
from steinlab.verification.significance import critical

WHERE = "fashion-edm, EDM; the stored study: its configuration and device stand in the evidence"
WHOSE = (
    "two readings, each with checks of its own: the published rule, Theorem 4.7 clipped from below "
    "at 0.1 only; and the definition's coefficient (Tweedie's) clipped to [0.1, 1], [0.5, 1] and "
    "[0.9, 1], in the process's own and in VP coordinates, a clip that the paper does not state. "
    "The calibrated table is ours and shows that the criterion can be met"
)
PUBLISHED = (
    "the published rule, Theorem 4.7 clipped from below at 0.1 only; the definition's coefficient "
    "clipped on both sides is shown beside it and has a claim of its own, neural-clipped-gain. The "
    "calibrated table is ours and shows that the criterion can be met"
)
COUNTED = (
    "in the mean, ratios beyond a cap, and runs that leave the finite numbers, count as the cap, "
    f"{LARGEST:g}"
)
"""Conditions that the claims share."""


def fair_label(clip: Clip) -> str:
    """Return the words for a clip of Tweedie's coefficient.

    Examples
    --------
    >>> fair_label(Clip(0.5, "vp"))
    'tweedie, 0.5 to 1, VP'
    """
    return f"tweedie, {clip.low:g} to 1" + (", VP" if clip.coordinates == "vp" else "")


LABELS = {
    RULE: "the rule, from below",
    CLIPPED: "clipped to [0.1, 1]",
    CALIBRATED: "calibrated table",
    **{rule: fair_label(clip) for rule, clip in FAIR.items()},
    MORE: "plain, next budget",
}
"""Families by the name that findings use."""

FAIR_WORDS = "the definition's coefficient, clipped"
"""The fair rules together."""


def tried() -> str:
    """Say what the paper's experiments were tried on here: network, training, cells, rules."""
    facts = json.loads(FASHION_WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))
    size = SIZES["full"]
    return (
        f"fashion-edm: a U-Net of {facts['parameters'] / 1e6:.1f} million parameters, trained here "
        f"for {facts['seconds'] / 60:.0f} minutes on {facts['device']} on Fashion-MNIST (28 x 28, "
        f"grey). {', '.join(size.solvers)} on {' and '.join(size.grids)} grids at "
        f"{', '.join(map(str, size.evaluations))} evaluations, {size.samples:,} samples a run. "
        f"Rules: Theorem 4.7 clipped from below; Tweedie's coefficient in {len(FAIR)} clips and "
        "coordinates. Measures: distance to the network's own flow, artifact rate, FD-classifier, "
        "FD-EffLite0, precision, recall. Not the paper's networks, data, FID or gamma_min: figures "
        "measured on those are untouched"
    )


Pairs = Mapping[str, Sequence[Pair]]
"""Runs beside their plain ones, by family."""


def absent(pairs: Pairs, quantities: Iterable[str]) -> str:
    """Name the corrections of which the record has no mean, in a sentence; empty if of none."""

    def seen(*families: str) -> bool:
        return any(summary(pairs[family], q) for family in families for q in quantities)

    missing = [LABELS[family] for family in (RULE, CLIPPED, CALIBRATED) if not seen(family)]
    missing += [] if seen(*FAIR) else [FAIR_WORDS]
    return f". Not in the record: {', '.join(missing)}" if missing else ""


def fair(pairs: Pairs, quantity: str) -> dict[str, Summary]:
    """Return the fair rules that the record has, by label."""
    return {LABELS[rule]: s for rule in FAIR if (s := summary(pairs[rule], quantity))}


def counted(pairs: Pairs, quantities: Mapping[str, str]) -> str:
    """Count the fair rules that meet each part of the criterion, by quantity; empty without any."""
    said = []
    for q, words in quantities.items():
        if found := fair(pairs, q).values():
            gains, safe = sum(s.mean_gains for s in found), sum(s.harmless for s in found)
            said.append(
                f"{words}, the mean gains in {gains} of {len(found)}, no cell is worse in {safe}"
            )
    return f". {FAIR_WORDS[:1].upper()}{FAIR_WORDS[1:]}: {'; '.join(said)}" if said else ""


def ratios(pairs: Pairs, quantities: Mapping[str, str], families: Iterable[str]) -> list[Number]:
    """Return mean ratios to the plain run, those that the record has."""
    return [
        Number(
            f"{words} over plain, {LABELS[family]}, mean",
            s.mean,
            better="higher" if s.shares else "lower",
        )
        for family in families
        for q, words in quantities.items()
        if (s := summary(pairs[family], q))
    ]


def fair_span(pairs: Pairs, quantity: str) -> list[Number]:
    """Return the least and the largest mean ratio of the fair rules, if the record has any."""
    means = [s.mean for s in fair(pairs, quantity).values()]
    better = "higher" if quantity in SHARES else "lower"
    return [
        Number(f"the same, tweedie clipped, {which} of {len(means)}", end(means), better=better)
        for which, end in (("least", min), ("largest", max))
        if means
    ]


def judged(pairs: Pairs, quantity: str, words: str) -> list[Number]:
    """Return what the published rule does to a quantity, its mean under the key ``rule``."""
    if (s := summary(pairs[RULE], quantity)) is None:
        return []
    better = "higher" if s.shares else "lower"
    return [
        Number(f"{words} over plain, {LABELS[RULE]}, mean", s.mean, better=better, key="rule"),
        Number("its 95 % interval, from", s.low),
        Number("its 95 % interval, to", s.high),
    ]


def outcomes(pairs: Pairs, quantities: Mapping[str, str]) -> str:
    """Say which fair rules meet which part of the criterion, quantity by quantity.

    The parts: the mean's interval lies on the better side of 1; no cell is worse beyond its error.
    """
    said, shown = [], []
    for q, words in quantities.items():
        if found := fair(pairs, q):
            shown = list(found)
            means = ", ".join(f"{s.mean:.3g}" for s in found.values())
            gains = _met({label: s.mean_gains for label, s in found.items()})
            safe = _met({label: s.harmless for label, s in found.items()})
            head = f"{words[:1].upper()}{words[1:]} {means}"
            said.append(f"{head}: the mean gains in {gains}, no cell is worse in {safe}")
    return f"({'; '.join(shown)}, in this order): {'. '.join(said)}" if said else ""


def _met(rules: Mapping[str, bool]) -> str:
    """Count the rules that meet a part, naming the fewer of those that do and that do not."""
    yes, no = ([label for label, met in rules.items() if met is way] for way in (True, False))
    few, word = (no, "not ") if len(no) < len(yes) else (yes, "")
    named = f" ({word}{'; '.join(few)})" if few else ""
    return f"{len(yes)} of {len(rules)}{named}"


COLUMNS = [
    "correction",
    "quantity",
    "cells",
    "mean",
    "95 %",
    "improved",
    "worsened",
    "undecided",
    "unchanged",
    "not finite",
    "best",
    "worst finite",
    "(i) mean gains",
    "(ii) no cell worse",
]


def line(label: str, words: str, s: Summary) -> list[str]:
    """Return a table's row."""
    return [
        label,
        words,
        str(s.cells),
        f"{s.mean:.3g}",
        f"{s.low:.3g} to {s.high:.3g}",
        *(str(n) for n in (s.improved, s.worsened, s.undecided, s.unchanged, s.stopped)),
        *(f"{end.ratio:.3g} ({end.name})" for end in (s.best, s.worst)),
        *("yes" if met else "no" for met in (s.mean_gains, s.harmless)),
    ]


def rows(pairs: Pairs, quantities: Mapping[str, str]) -> list[list[str]]:
    """Return a table's row per family and quantity."""
    return [
        line(LABELS[family], words, s)
        for family in LABELS
        for q, words in quantities.items()
        if (s := summary(pairs[family], q))
    ]


def table(
    quantities: Mapping[str, str], more: Callable[[Pairs], list[list[str]]] = lambda _: []
) -> Callable[[Results], Table]:
    """Return the function that makes a claim's table, with ``more`` rows below."""

    def made(results: Results) -> Table:
        title = "Corrected over plain: geometric mean over setups, cells decided one by one"
        pairs = results["mean"].data[0].pairs
        return Table(title, COLUMNS, [*rows(pairs, quantities), *more(pairs)])

    return made


def scope(found: Stored) -> str:
    """Say how much of the study there is and where it ran."""
    return f"{len(found.runs)} of {len(found.design)} runs on {', '.join(found.devices)}"


DATA = "fashion-mnist"
NO_STUDY = "no stored study: run steinlab study"
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
    """What was asked of a batch: the record itself is not handed on."""

    asked: tuple[tuple[str, ...], ...]

    @property
    def pairs(self) -> Mapping[str, Sequence[Pair]]:
        """The record's pairs of every family."""
        found = study()
        return {family: pairs_of(found, family) for family in LABELS}


def study() -> Stored:
    """Return the stored study; :func:`needs` keeps checks from running without it."""
    found = stored()
    assert found is not None
    return found


@dataclass(frozen=True)
class Asked:
    """One batch: rows of the record, each named by the ``names`` of its case."""

    dataset: ClassVar[str | None] = DATA
    names: ClassVar[tuple[str, ...]]

    asked: tuple[tuple[Any, ...], ...]

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.asked)

    def describe(self, index: int) -> dict[str, Any]:
        """Return a case as JSON."""
        return dict(zip(self.names, self.asked[index], strict=True))

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read a case back."""
        return cls((tuple(case[name] for name in cls.names),))


class Groups(Asked):
    """A case is a family's mean in a quantity."""

    names = ("family", "quantity")


class Runs(Asked):
    """A case is a run of the rule in a quantity."""

    names = ("run", "quantity")

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read a case back; it must be a run of the record."""
        if case["run"] not in study().found:
            raise ValueError(f"run must be one of the record, got {case['run']}")
        return super().restore(case)


def measure(batch: Asked) -> Judged:
    """Return what is asked of the record."""
    return Judged(batch.asked)


def study_check(
    name: str,
    batch: Callable[[], Asked],
    compare: Callable[[Any, Any], Comparison],
    missing: Callable[[], str],
    **changed: Any,
) -> Check:
    """Return a check of the stored study, whose cases are one ``batch``."""
    options: dict[str, Any] = {"restore": Groups.restore, "measure": measure, "notes": notes}
    return Check(
        name,
        method="neural",
        draw=lambda _effort: [batch()],
        compare=compare,
        available=missing,
        **options | changed,
    )


def usable(pairs: Sequence[Pair], quantity: str) -> list[Pair]:
    """Return the pairs that have the quantity."""
    return [pair for pair in pairs if pair.has(quantity)]


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
            pair = replace(pair, plain=pair.other, other=pair.plain)  # noqa: PLW2901
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

    No check runs without runs of a rule that the claim is ``about``.
    """

    def reason() -> str:
        found = stored()
        if found is None:
            return NO_STUDY
        for wanted in (about, families):
            pairs = [pairs_of(found, family) for family in wanted]
            if not any(summary(own, quantity) for own in pairs for quantity in quantities):
                return (
                    f"the stored study has too few runs of {LABELS[wanted[0]]}: "
                    f"{max(map(len, pairs))} of the {FEWEST} setups that a mean takes"
                )
        return ""

    return reason


def missing(piece: str) -> str:
    """Return why a piece cannot be judged here, empty if it can."""
    found = stored()
    if found is None:
        return NO_STUDY
    return "" if found.rows(piece) else f"the stored study has no piece `{piece}`: resume it"


def notes() -> Mapping[str, Any]:
    """Return the study's configuration and device."""
    return study().notes()


def mean_check(
    name: str, families: Sequence[str], quantities: Sequence[str], about: Sequence[str] = (RULE,)
) -> Check:
    """Return the check of the families' means, in the quantities that enough setups have."""

    def means() -> Groups:
        pairs = {family: pairs_of(study(), family) for family in families}
        return Groups(tuple((f, q) for f in families for q in quantities if summary(pairs[f], q)))

    return study_check(name, means, compare_mean, needs(families, quantities, about))


def cells_check(
    name: str, families: Sequence[str], quantities: Sequence[str], about: Sequence[str] = (RULE,)
) -> Check:
    """Return the check of every run of the families, in every quantity that it has."""

    def cells() -> Runs:
        pairs = [p for family in families for p in pairs_of(study(), family)]
        return Runs(tuple((p.cell.key, q) for q in quantities for p in usable(pairs, q)))

    return study_check(
        name,
        cells,
        compare_cells,
        needs(families, quantities, about),
        restore=Runs.restore,
        notes=lambda: {**notes(), COUNTS_AS: LARGEST},
    )


def checks(means: Sequence[str], cells: Sequence[str], *more: Check) -> tuple[Check, ...]:
    """Return the checks that both readings gain: quantities of the means, of the cells, others."""
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

gain_claim = partial(
    Claim,
    kind="empirical",
    owner="paper",
    tried=tried(),
    formula=AS_STATED,
    search=lambda _claim: [],
)
"""A claim of the paper that a correction reduces a quantity of the stored runs."""
