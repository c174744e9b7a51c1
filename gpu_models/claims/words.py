"""What the claims on the stored study say: conditions that they share, sentences and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gpu_models.study.pairs import CALIBRATED, CLIPPED, LARGEST, MORE, RULE, Pair, Summary, summary
from gpu_models.study.stored import Stored
from steinlab.verdicts import Result, Table

WHERE = "fashion-edm, EDM; the stored study: its configuration and device stand in the evidence"
WHOSE = (
    "the paper's rule, clipped from below at 0.1 only; the calibrated table is ours and has a "
    "check of its own"
)
COUNTED = (
    "in the mean, ratios beyond a cap, and runs that leave the finite numbers, count as the cap, "
    f"{LARGEST:g}"
)
"""Conditions that the claims share."""

LABELS = {
    RULE: "the rule, from below",
    CLIPPED: "clipped to [0.1, 1]",
    CALIBRATED: "calibrated table",
    MORE: "plain, next budget",
}
"""Families by the name that findings use."""


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
        if family == MORE:
            continue
        found = {words: summary(pairs[family], q) for q, words in quantities.items()}
        said = [f"{words} {phrase(s)}" for words, s in found.items() if s]
        if said:
            parts.append(f"{label}: {'; '.join(said)}")
        else:
            absent.append(label)
    rest = f". Not in the record: {', '.join(absent)}" if absent else ""
    return f"{'. '.join(parts)}{rest}"


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
