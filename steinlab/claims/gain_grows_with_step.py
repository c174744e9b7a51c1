"""Whether the correction gains most at the largest steps (EDM).

For each data law, solver and grid the run of 4 evaluations, the largest steps, stands beside that
of 10. The statement is that there is a *gain* at the largest steps (the geometric mean of corrected
over plain flow error lies below 1 with its interval) and that it is the *largest* there (so does
the mean of the ratio at 4 over the ratio at 10). All clipping rules are judged on both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from steinlab.claims.design import BEST, RULE_LABELS, Outcome
from steinlab.claims.gains import (
    AS_STATED,
    EVALUATIONS,
    FULL_STATES,
    OVERSHOT,
    QUICK_STATES,
    Design,
    Judged,
    Runs,
    Whole,
    at_most_one,
    cells_of,
    measure_whole,
    name_of,
    phrase,
    ratios_of,
    seed_of,
    summary,
    tally,
)
from steinlab.processes import EDM
from steinlab.verdicts import Check, Claim, Comparison, Effort, Result, Table, Twin

LARGE, SMALL = EVALUATIONS[0], EVALUATIONS[-1]
"""Evaluations at the largest and at the smallest steps."""

FRACTION = 3


def design(effort: Effort) -> Design:
    """Return every law, solver and grid in the full profile, one in three in the quick."""
    if effort.profile == "full":
        return Design(EDM.name, EVALUATIONS, 1, 0, FULL_STATES, seed_of(effort))
    return Design(EDM.name, (LARGE, SMALL), FRACTION, 0, QUICK_STATES, seed_of(effort))


def at_budget(outcomes: Sequence[Outcome], evaluations: int) -> list[Outcome]:
    """Return the outcomes of one budget, in the design's order."""
    return [o for o in outcomes if o.setup.evaluations == evaluations]


def ratios_at(outcomes: Sequence[Outcome], name: str, evaluations: int) -> np.ndarray:
    """Return corrected over plain flow error at one budget."""
    return ratios_of(at_budget(outcomes, evaluations), name)


def trend_of(outcomes: Sequence[Outcome], name: str) -> np.ndarray:
    """Return the ratio at the largest steps over the ratio at the smallest, a number a pair."""
    return np.asarray(ratios_at(outcomes, name, LARGE) / ratios_at(outcomes, name, SMALL))


@dataclass(frozen=True)
class Formula:
    """Which row is judged, and how the trend is formed of the ratios at two budgets."""

    judged: Judged = AS_STATED
    trend: Callable[[Sequence[Outcome], str], np.ndarray] = trend_of


def compare_gain(runs: Runs, formula: Formula) -> Comparison:
    """The interval's upper end at the largest steps, a case a rule."""
    found = [ratios_at(runs.outcomes, formula.judged.rule(r), LARGE) for r in runs.rules]
    return at_most_one([summary(ratios).high for ratios in found])


def compare_trend(runs: Runs, formula: Formula) -> Comparison:
    """The interval's upper end of the ratio of ratios, a case a rule."""
    found = [formula.trend(runs.outcomes, formula.judged.rule(r)) for r in runs.rules]
    return at_most_one([summary(ratios).high for ratios in found])


def compare_oracle(runs: Runs, formula: Formula) -> Comparison:
    """The gain of the oracle at the largest steps, which shows that the check can be passed."""
    return at_most_one([summary(ratios_at(runs.outcomes, formula.judged.best, LARGE)).high])


def _draw(rules: tuple[str, ...]) -> Callable[[Effort], Sequence[Whole]]:
    def draw(effort: Effort) -> Sequence[Whole]:
        return [Whole(design(effort), rules)]

    return draw


def _check(name: str, compare: Callable[[Runs, Formula], Comparison]) -> Check:
    rules = (BEST,) if compare is compare_oracle else RULE_LABELS
    return Check(name, "property", _draw(rules), measure_whole, compare, Whole.restore)


def _outcomes(results: Mapping[str, Result]) -> list[Outcome]:
    (runs,) = (data for data in results["gain"].data if isinstance(data, Runs))
    return list(runs.outcomes)


def _table(results: Mapping[str, Result]) -> Table:
    outcomes = _outcomes(results)
    budgets = sorted({o.setup.evaluations for o in outcomes})
    rows = []
    for rule in (*RULE_LABELS, BEST):
        for budget in budgets:
            found = summary(ratios_at(outcomes, rule, budget))
            rows.append([rule, f"{budget} evaluations", *cells_of(found)])
        rows.append([rule, f"{LARGE} over {SMALL}", *cells_of(summary(trend_of(outcomes, rule)))])
    columns = ["rule", "steps", "cells", "mean", "95 %", "improved", "best", "worst", "capped"]
    return Table("Corrected over plain flow error by evaluations", columns, rows)


def _finding(results: Mapping[str, Result]) -> str:
    outcomes = _outcomes(results)
    large = [summary(ratios_at(outcomes, rule, LARGE)) for rule in RULE_LABELS]
    trend = [summary(trend_of(outcomes, rule)) for rule in RULE_LABELS]
    small = [summary(ratios_at(outcomes, rule, SMALL)).mean for rule in RULE_LABELS]
    kept = at_budget(outcomes, LARGE)
    best, rule, where = min(
        ((o.ratio(rule), rule, o) for o in kept for rule in RULE_LABELS), key=lambda c: c[0]
    )
    means = ", ".join(f"{label} {phrase(s)}" for label, s in zip(RULE_LABELS, large, strict=True))
    return (
        f"corrected over plain flow error (1 is neither gain nor loss) at {LARGE} evaluations: "
        f"{means}; {tally(large)}. At {SMALL} evaluations it is {min(small):.3g} to "
        f"{max(small):.3g} by rule, and the ratio at {LARGE} over that at {SMALL} is "
        f"{min(s.mean for s in trend):.2g} to {max(s.mean for s in trend):.2g} ({tally(trend)}). "
        f"Best cell at {LARGE}: {best:.2g} ({name_of(where)}, {rule})"
    )


def _reversed(outcomes: Sequence[Outcome], name: str) -> np.ndarray:
    return 1 / trend_of(outcomes, name)


CLAIM = Claim(
    id="gain-grows-with-step",
    title="Gain at the largest steps",
    statement="the correction gains, and most at the largest steps",
    source="Section 5",
    kind="empirical",
    owner="paper",
    conditions=(
        "an exact denoiser; laws, solvers and grids of integration-error, EDM",
        "gain: the geometric mean ratio at 4 evaluations lies below 1 with its 95 % interval; "
        "most: so does the ratio at 4 over the ratio at 10",
    ),
    formula=Formula(),
    checks=(
        _check("gain", compare_gain),
        _check("trend", compare_trend),
        _check("oracle", compare_oracle),
    ),
    twins=(
        Twin("gamma = 1.5 instead of the rule", Formula(OVERSHOT), ("gain",)),
        Twin("gamma = 1.5 instead of the rule: the trend", Formula(OVERSHOT), ("trend",)),
        Twin("gamma = 1.5 instead of the oracle", Formula(OVERSHOT), ("oracle",)),
        Twin("most at the smallest steps", Formula(trend=_reversed), ("trend",)),
    ),
    dropped=(),
    finding=_finding,
    table=_table,
)
