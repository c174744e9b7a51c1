"""What the claims on the stored study say: conditions that they share, sentences and tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence

from gpu_models.models import FASHION_WEIGHTS
from gpu_models.study.design import FAIR, SIZES, Clip
from gpu_models.study.pairs import (
    CALIBRATED,
    CLIPPED,
    LARGEST,
    MORE,
    RULE,
    SHARES,
    Pair,
    Summary,
    summary,
)
from gpu_models.study.stored import Stored
from steinlab.verification.claim import Number, Result, Table

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


def counted(pairs: Pairs, quantities: Mapping[str, str]) -> str:
    """Count the fair rules that meet each part of the criterion, by quantity; empty without any."""
    said = []
    for q, words in quantities.items():
        if found := [s for rule in FAIR if (s := summary(pairs[rule], q))]:
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
    found = [s for rule in FAIR if (s := summary(pairs[rule], quantity))]
    better = "higher" if quantity in SHARES else "lower"
    return [
        Number(f"the same, tweedie clipped, {which} of {len(found)}", value, better=better)
        for which, value in (
            ("least", min((s.mean for s in found), default=0.0)),
            ("largest", max((s.mean for s in found), default=0.0)),
        )
        if found
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
        found = {LABELS[rule]: s for rule in FAIR if (s := summary(pairs[rule], q))}
        if found:
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
    """Return a table's row a family and quantity."""
    return [
        line(LABELS[family], words, s)
        for family in LABELS
        for q, words in quantities.items()
        if (s := summary(pairs[family], q))
    ]


def table(
    quantities: Mapping[str, str],
    more: Callable[[Pairs], list[list[str]]] = lambda _: [],
) -> Callable[[Mapping[str, Result]], Table]:
    """Return the function that makes a claim's table, with ``more`` rows below."""

    def made(results: Mapping[str, Result]) -> Table:
        title = "Corrected over plain: geometric mean over setups, cells decided one by one"
        pairs = results["mean"].data[0].pairs
        return Table(title, COLUMNS, [*rows(pairs, quantities), *more(pairs)])

    return made


def scope(found: Stored) -> str:
    """Say how much of the study there is and where it ran."""
    return f"{len(found.runs)} of {len(found.design)} runs on {', '.join(found.devices)}"
