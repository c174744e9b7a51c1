"""A search of fixed size: the falsifier's part in a profile."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from steinlab.examine import rerun
from steinlab.falsify.registry import spaces_of
from steinlab.falsify.search import Found, Search
from steinlab.falsify.shrink import shrink
from steinlab.falsify.spaces import Rows, Space
from steinlab.units import Attack, Outcome
from steinlab.verdicts import Claim, Comparison

ATTACK_BUDGET = 1024
"""Cases of the attack in the full profile: seconds, not minutes. Where the checks themselves draw
fewer, because a case is dear, the attack spends as many."""

BRIEF = 64
"""Cases of the full profile's attack for one in the quick: that of all claims takes seconds."""


def budget_of(spaces: Sequence[Space], profile: str) -> int:
    """Return the cases that an attack on these spaces may spend, at least one."""
    full = min(ATTACK_BUDGET, sum({space.check: space.drawn for space in spaces}.values()))
    return full if profile == "full" else max(1, full // BRIEF)


def attack(
    claim: Claim, seed: int, budget: int | None = None, *, profile: str = "full"
) -> Outcome | None:
    """Attack a claim and return its worst case as an outcome; None where no case was decided.

    The numbers are those of the case alone, as ``replay`` computes them; they depend on the seed
    and the profile.
    """
    spaces = spaces_of(claim, profile)
    search = Search(claim, spaces, seed)
    for _ in search.run(budget_of(spaces, profile) if budget is None else budget):
        pass
    found = search.best()
    if found is None:
        return None
    if found.violated:
        found, _ = shrink(claim, found)
    case = describe(claim, found)
    comparison = rerun(claim, found.space.check, case)
    return Outcome(
        comparison,
        None,
        {},
        case,
        (),
        0,
        None,
        Attack(found.space.check, search.spent, found.score),
    )


def describe(claim: Claim, found: Found) -> dict[str, Any]:
    """Return a found case as JSON: of a row that holds several, the worst."""
    cases: Any = found.space.build(found.values[None], np.array([found.seed]))
    if isinstance(cases, Rows):
        (cases,) = cases
    check = next(c for c in claim.checks if c.name == found.space.check)
    with np.errstate(all="ignore"):
        worst = check.compare(check.measure(cases), claim.formula).worst()
    case: dict[str, Any] = json.loads(json.dumps(cases.describe(worst)))
    return case


def stored(claim: Claim, found: Found, comparison: Comparison, case: Any) -> dict[str, Any]:
    """Return the file's content for a found case, in the format of ``verify --out``."""
    violated = bool(comparison.violated[0])
    return {
        "claim": claim.id,
        "verdict": claim.failure if violated else "holds",
        "measured": float(comparison.measured[0]),
        "bound": float(comparison.predicted[0]),
        "tolerance": float(comparison.tolerance[0]),
        "check": found.space.check,
        "case": case,
    }
