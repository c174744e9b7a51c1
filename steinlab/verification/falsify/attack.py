"""A search of fixed size: the falsifier's part in a profile."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from steinlab.verification.claim import Check, Claim, Effort
from steinlab.verification.comparison import Comparison
from steinlab.verification.falsify.search import Found, Search
from steinlab.verification.falsify.shrink import shrink
from steinlab.verification.falsify.spaces import Rows, Searchable, Space
from steinlab.verification.judge import effort_for, rerun
from steinlab.verification.outcome import Attack, Outcome

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
    how = Attack(found.space.check, search.spent, found.score)
    return Outcome(comparison, None, {}, case, (), 0, None, how)


def describe(claim: Claim, found: Found) -> dict[str, Any]:
    """Return a found case as JSON: of a row that holds several, the worst."""
    cases: Any = found.space.build(found.values[None], np.array([found.seed]))
    if isinstance(cases, Rows):
        (cases,) = cases
    worst = 0
    if len(cases) > 1:
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
        "shrunk": violated,
    }


STATISTICAL = ("monte-carlo", "neural", "symbolic")


def searchable(claim: Claim) -> bool:
    """Whether a claim can be attacked, without the draws that tell where."""
    if claim.search is not None:
        return bool(claim.search(claim))
    efforts = ((check, _searching(claim, check, "full")) for check in _deterministic(claim))
    return any(_offering(check, effort) is not None for check, effort in efforts)


def spaces_of(claim: Claim, profile: str = "full") -> list[Space]:
    """Return the spaces in which a claim can be attacked; empty where none is known.

    A claim's own ``search`` gives them; otherwise they are read off the draws, in the profile, of
    the checks whose cases are steps on one-dimensional laws.
    """
    if claim.search is not None:
        return list(claim.search(claim))
    out: list[Space] = []
    for check in _deterministic(claim):
        effort = _searching(claim, check, profile)
        first = _offering(check, effort)
        out += [] if first is None else first.spaces(check, effort)
    return out


def _deterministic(claim: Claim) -> list[Check]:
    """Leave out the checks whose tolerance is statistical: a search would fish for noise."""
    return [
        check
        for check in claim.checks
        if check.method not in STATISTICAL and check.pool is None and not check.missing()
    ]


class _Few(Effort):
    """One case a batch: enough to see what a check's cases are, where drawing them is dear."""

    def count(self, quick: int) -> int:  # noqa: ARG002
        return 1


def _searching(claim: Claim, check: Check, profile: str) -> Effort:
    return effort_for(claim.id, f"{check.name}, searched", profile, 0)


def _offering(check: Check, effort: Effort) -> Searchable | None:
    """Return cases of a check that say where more are found; None where some do not."""
    try:
        few: Any = check.draw(_Few("quick", effort.rng))
    except ValueError:  # its draws need more: such a claim gives its own search
        return None
    offers = few and all(isinstance(batch, Searchable) and batch.searchable for batch in few)
    return few[0] if offers else None
