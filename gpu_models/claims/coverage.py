"""Which solvers, grids and budgets the gain covers, and whether the samples cover the data.

The paper reports gains with 2M, 3M, UniPC and Heun on EDM's and logSNR grids at 3 to 20
evaluations, and less mode collapse. Here a *setup* is one of those solvers on one grid over all its
budgets; mode collapse shows in recall (Kynkaanniemi et al. 2019), and precision is watched too.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from gpu_models.claims import gains
from gpu_models.study.design import FAIR
from gpu_models.study.pairs import RULE, SHARES, Pair, Summary, pairs_of, summary
from steinlab.verification.claim import Check, NegativeControl, Results
from steinlab.verification.comparison import Comparison
from steinlab.verification.quantities import Number

REPORTED = ("dpmpp-2m", "dpmpp-3m", "unipc-2", "heun")
"""The solvers that the paper reports gains with."""

DISTANCE = "FD-classifier"
QUANTITIES = {DISTANCE: DISTANCE, "recall": "recall", "precision": "precision"}


class Places(gains.Asked):
    """A case is a reported solver on a grid, over all its budgets."""

    names = ("solver", "grid", "rule")

    def describe(self, index: int) -> dict[str, Any]:
        """Return a case as JSON; the published rule goes without saying."""
        case = super().describe(index)
        return {k: v for k, v in case.items() if (k, v) != ("rule", RULE)}

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read a case back."""
        return super().restore({"rule": RULE, **case})


def within(pairs: Sequence[Pair], solver: str, grid: str) -> list[Pair]:
    """Return a solver's pairs on a grid."""
    return [p for p in pairs if (p.cell.solver, p.cell.grid) == (solver, grid)]


def summaries(pairs: Sequence[Pair]) -> dict[tuple[str, str], Summary]:
    """Return the reported solvers and grids that have enough budgets, each over its budgets."""
    places = itertools.product(REPORTED, gains.study().size.grids)
    found = {place: summary(within(pairs, *place), DISTANCE) for place in places}
    return {place: s for place, s in found.items() if s}


def compare_places(data: gains.Judged, reading: gains.Reading) -> Comparison:
    """The upper end of each solver's mean ratio on a grid against 1."""
    ends = [
        gains.high(
            within(data.pairs[reading.family or rule], solver, grid), DISTANCE, reading.exchanged
        )
        for solver, grid, rule in data.asked
    ]
    return gains.at_most_one(np.array(ends))


def places_check(name: str, rules: Sequence[str]) -> Check:
    """Return the check of the rules by reported solver and grid."""

    def places() -> Places:
        return Places(
            tuple((*p, rule) for rule in rules for p in summaries(pairs_of(gains.study(), rule)))
        )

    def missing() -> str:
        reason = gains.needs(rules, (DISTANCE,))()
        if reason or len(places()):
            return reason
        return (
            f"the stored study has no mean for {', '.join(REPORTED)} with {gains.LABELS[rules[0]]}"
        )

    return gains.study_check(name, places, compare_places, missing, restore=Places.restore)


def _place_rows(pairs: gains.Pairs) -> list[list[str]]:
    return [
        gains.line(f"{gains.LABELS[RULE]}, {solver} on {grid}", DISTANCE, s)
        for (solver, grid), s in summaries(pairs[RULE]).items()
    ]


def _numbers(results: Results) -> list[Number]:
    data = results["mean"].data[0]
    lowered, places = _gains(data, RULE)
    return [
        Number("solvers on grids", places),
        Number(f"of these, {DISTANCE} lowered by the rule", lowered, better="higher"),
        *gains.judged(data.pairs, "recall", "recall"),
        *gains.fair_span(data.pairs, "recall"),
        *gains.ratios(data.pairs, {"precision": "precision"}, (RULE,)),
    ]


def _finding(results: Results) -> str:
    data = results["mean"].data[0]
    asked = len(REPORTED) * len(gains.study().size.grids)
    lowered, places = _gains(data, RULE)
    fair = {gains.LABELS[rule]: _gains(data, rule) for rule in FAIR}
    met = ", ".join(f"{label} {n} of {m}" for label, (n, m) in fair.items() if n)
    beside = f", by {met or 'none of the fair rules'}" if any(m for _, m in fair.values()) else ""
    shares = {name: name for name in SHARES}
    return (
        f"fashion-edm, {gains.scope(gains.study())}; "
        f"{places} of {asked} solvers on grids in the record. "
        f"{DISTANCE} is lowered by the rule in {lowered}{beside}"
        f"{gains.counted(data.pairs, shares)}{gains.absent(data.pairs, shares)}"
    )


def _gains(data: gains.Judged, rule: str) -> tuple[int, int]:
    """Return in how many places a rule lowers the distance, and how many it has."""
    found = summaries(data.pairs[rule]).values()
    return sum(s.mean_gains for s in found), len(found)


CLAIM = gains.gain_claim(
    id="coverage",
    title="What the gains cover, and mode coverage",
    statement=(
        "the gains cover 2M, 3M, UniPC and Heun on both grids at 3 to 20 evaluations, and the "
        "samples collapse less onto modes"
    ),
    latex=(
        r"\mathrm{FD}(\hat\gamma) < \mathrm{FD}(1) \text{ for every solver and grid}, \qquad "
        r"\mathrm{recall}(\hat\gamma) \ge \mathrm{recall}(1)",
    ),
    expected="not-reproduced",
    headline="On a Fashion U-Net the coefficient, published or clipped, on average lowers no "
    "Frechet distance and raises no recall.",
    numbers=_numbers,
    source="conference page, abstract ('mode collapse'), not in arXiv v1; Section 5",
    conditions=(
        gains.WHERE,
        gains.WHOSE,
        f"covers: in {DISTANCE} the geometric mean over budgets lies below 1 with its 95 % "
        "interval, for every reported solver and grid of the record",
        gains.COUNTED,
        "collapse less: neither recall nor precision falls beyond its joint error in any cell; a "
        "run that leaves the finite numbers covers nothing",
    ),
    checks=gains.checks(
        (DISTANCE,),
        SHARES,
        places_check("solvers and grids", (RULE,)),
        places_check("fair solvers and grids", tuple(FAIR)),
    ),
    controls=(
        *gains.FAIR_CONTROLS,
        NegativeControl("the same, by solver and grid", gains.FEWER, ("solvers and grids",)),
        NegativeControl(
            "the same, fair rules by solver and grid", gains.FEWER, ("fair solvers and grids",)
        ),
    ),
    finding=_finding,
    table=gains.table(QUANTITIES, _place_rows),
)
