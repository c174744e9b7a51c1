"""Which solvers, grids and budgets the gain covers, and whether the samples cover the data.

The paper reports gains with 2M, 3M, UniPC and Heun on EDM's and logSNR grids at 3 to 20
evaluations, and less mode collapse. Here a *setup* is one of those solvers on one grid over all its
budgets; mode collapse shows in recall (Kynkaanniemi et al. 2019), and precision is watched too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from gpu_models.claims.gains import (
    AS_STATED,
    DATA,
    FEWER,
    TWINS,
    Judged,
    Reading,
    at_most_one,
    cells_check,
    everything,
    high,
    mean_check,
    needs,
    notes,
    study,
)
from gpu_models.claims.words import COUNTED, LABELS, WHERE, WHOSE, scope, sentence, table
from gpu_models.study.pairs import CALIBRATED, MORE, RULE, SHARES, Pair, pairs_of, summary
from steinlab.verdicts import Check, Claim, Comparison, Effort, Result, Twin

REPORTED = ("dpmpp-2m", "dpmpp-3m", "unipc-2", "heun")
"""The solvers that the paper reports gains with."""

DISTANCE = "FD-classifier"
QUANTITIES = {DISTANCE: DISTANCE, "recall": "recall", "precision": "precision"}

Place = tuple[str, str]
"""Solver and grid."""


@dataclass(frozen=True)
class Places:
    """One batch; a case is a reported solver on a grid, over all its budgets."""

    dataset: ClassVar[str | None] = DATA

    asked: tuple[Place, ...]

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.asked)

    def describe(self, index: int) -> dict[str, Any]:
        """Return a case as JSON."""
        return dict(zip(("solver", "grid"), self.asked[index], strict=True))

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read a case back."""
        return cls(((case["solver"], case["grid"]),))

    def measure(self) -> Judged:
        """Read the record."""
        return Judged(self.asked, everything())


def within(pairs: Sequence[Pair], place: Place) -> list[Pair]:
    """Return a solver's pairs on a grid."""
    return [p for p in pairs if (p.cell.solver, p.cell.grid) == place]


def present(pairs: Sequence[Pair]) -> tuple[Place, ...]:
    """Return the reported solvers and grids that have enough budgets."""
    places = ((solver, grid) for solver in REPORTED for grid in study().size.grids)
    return tuple(place for place in places if summary(within(pairs, place), DISTANCE))


def compare_places(data: Judged, reading: Reading) -> Comparison:
    """The upper end of each solver's mean ratio on a grid against 1."""
    pairs = data.pairs[reading.family or RULE]
    ends = [high(within(pairs, place), DISTANCE, reading.exchanged) for place in data.asked]
    return at_most_one(np.array(ends))


def _missing() -> str:
    reason = needs(RULE, (DISTANCE,))()
    if reason or present(pairs_of(study(), RULE)):
        return reason
    return f"the stored study has no mean for {', '.join(REPORTED)} with {LABELS[RULE]}"


def _draw(effort: Effort) -> Sequence[Places]:  # noqa: ARG001
    return [Places(present(pairs_of(study(), RULE)))]


def _finding(results: Mapping[str, Result]) -> str:
    data = results["mean"].data[0]
    pairs = data.pairs[RULE]
    asked = len(REPORTED) * len(study().size.grids)
    found = {place: summary(within(pairs, place), DISTANCE) for place in present(pairs)}
    gains = sum(s.high <= 1 for s in found.values() if s)
    words = "; ".join(
        f"{solver} on {grid} {s.mean:.3g} ({s.low:.3g} to {s.high:.3g})"
        for (solver, grid), s in found.items()
        if s
    )
    shares = {name: name for name in SHARES}
    return (
        f"fashion-edm, {scope(study())}; the paper's setups in the record: {len(found)} of {asked} "
        f"solvers on grids, of which the rule lowers {DISTANCE} in {gains}: {words or '-'}. "
        f"Recall and precision, corrected over plain: {sentence(data.pairs, shares)}"
    )


CLAIM = Claim(
    id="coverage",
    title="What the gains cover, and mode coverage",
    statement=(
        "the gains cover 2M, 3M, UniPC and Heun on both grids at 3 to 20 evaluations, and the "
        "samples collapse less onto modes"
    ),
    source="Section 5; mode collapse: abstract of the conference page, not of arXiv v1",
    kind="empirical",
    owner="paper",
    conditions=(
        WHERE,
        WHOSE,
        f"covers: in {DISTANCE} the geometric mean over budgets lies below 1 with its 95 % "
        "interval, for every reported solver and grid of the record",
        COUNTED,
        "collapse less: neither recall nor precision falls beyond its joint error in any cell; a "
        "run that leaves the finite numbers covers nothing",
    ),
    formula=AS_STATED,
    checks=(
        mean_check("mean", RULE, (DISTANCE,)),
        Check(
            "solvers and grids",
            "neural",
            _draw,
            Places.measure,
            compare_places,
            Places.restore,
            available=_missing,
            notes=notes,
        ),
        cells_check("cells", SHARES),
        mean_check(MORE, MORE, (DISTANCE,)),
        mean_check(CALIBRATED, CALIBRATED, (DISTANCE,)),
    ),
    twins=(*TWINS, Twin("the same, by solver and grid", FEWER, ("solvers and grids",))),
    dropped=(),
    finding=_finding,
    table=table(QUANTITIES),
    search=lambda _claim: [],
)
