"""What the claims on the stored study say: conditions that they share, sentences and tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from gpu_models.models import FASHION_WEIGHTS
from gpu_models.study.design import FAIR, SIZES, Clip
from gpu_models.study.pairs import CALIBRATED, CLIPPED, LARGEST, MORE, RULE, Pair, Summary, summary
from gpu_models.study.stored import Stored
from steinlab.verification.claim import Result, Table

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


def phrase(s: Summary) -> str:
    """Return a summary in words."""
    stopped = f" ({s.stopped} not finite)" if s.stopped else ""
    same = f" ({s.unchanged} unchanged)" if s.unchanged else ""
    best = f"best {s.best.ratio:.3g} in {s.best.name}, " if s.improved else ""
    return (
        f"{s.mean:.3g} ({s.low:.3g} to {s.high:.3g}; of {s.cells} cells {s.improved} improved, "
        f"{s.worsened} worsened{stopped}, {s.undecided} undecided{same}; {best}"
        f"worst {s.worst.ratio:.3g} in {s.worst.name})"
    )


def sentence(pairs: Mapping[str, Sequence[Pair]], quantities: Mapping[str, str]) -> str:
    """Say what every correction does to some quantities, and which have not run."""
    parts, absent = [], []
    for family, label in LABELS.items():
        if family == MORE or family in FAIR:
            continue
        found = {words: summary(pairs[family], q) for q, words in quantities.items()}
        said = [f"{words} {phrase(s)}" for words, s in found.items() if s]
        if said:
            parts.append(f"{label}: {'; '.join(said)}")
        else:
            absent.append(label)
    fair = outcomes(pairs, quantities)
    (parts if fair else absent).append(f"{FAIR_WORDS} {fair}" if fair else FAIR_WORDS)
    rest = f". Not in the record: {', '.join(absent)}" if absent else ""
    return f"{'. '.join(parts)}{rest}"


def outcomes(pairs: Mapping[str, Sequence[Pair]], quantities: Mapping[str, str]) -> str:
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


def rows(pairs: Mapping[str, Sequence[Pair]], quantities: Mapping[str, str]) -> list[list[str]]:
    """Return a table's row a family and quantity."""
    return [
        [
            LABELS[family],
            words,
            str(s.cells),
            f"{s.mean:.3g}",
            f"{s.low:.3g} to {s.high:.3g}",
            *(str(n) for n in (s.improved, s.worsened, s.undecided, s.unchanged, s.stopped)),
            f"{s.best.ratio:.3g}",
            f"{s.worst.ratio:.3g}",
            *("yes" if met else "no" for met in (s.mean_gains, s.harmless)),
        ]
        for family in LABELS
        for q, words in quantities.items()
        if (s := summary(pairs[family], q))
    ]


def table(quantities: Mapping[str, str]) -> Callable[[Mapping[str, Result]], Table]:
    """Return the function that makes a claim's table."""

    def made(results: Mapping[str, Result]) -> Table:
        title = "Corrected over plain: geometric mean over setups, cells decided one by one"
        return Table(title, COLUMNS, rows(results["mean"].data[0].pairs, quantities))

    return made


def scope(found: Stored) -> str:
    """Say how much of the study there is and where it ran."""
    return f"{len(found.runs)} of {len(found.design)} runs on {', '.join(found.devices)}"
