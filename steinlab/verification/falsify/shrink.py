"""From the worst case found to one that a person can read: fewer components, plainer numbers."""

from itertools import groupby
from operator import itemgetter

import numpy as np

from steinlab.verification.claim import Claim
from steinlab.verification.falsify.search import Found, evaluate
from steinlab.verification.falsify.spaces import Space

DIGITS = (1, 2, 3, 4)
"""Significant digits tried, in turn."""

KEPT, WIDER = 0.9, 1.5
"""A simpler case keeps this part of the score, its distance from the limit grows by this factor at
most, and a violation stays one."""


def shrink(claim: Claim, found: Found) -> tuple[Found, int]:
    """Return a simpler case nearly as bad, and how many cases were tried.

    Leaves out components, then takes the parameters one by one to 0, to 1 or to few digits; a case
    that violates the claim stays a violation.
    """
    check = next(c for c in claim.checks if c.name == found.space.check)
    best, tried = found, 0

    def first(candidates: list[tuple[Space, np.ndarray, int]]) -> bool:
        nonlocal best, tried
        for space, same in groupby(candidates, key=itemgetter(0)):  # neighbours in one stack
            rows = list(same)
            values, seeds = np.stack([v for _, v, _ in rows]), np.array([s for *_, s in rows])
            scores = evaluate(check, claim.formula, space, values, seeds)
            tried += len(rows)
            for i, score in enumerate(scores.score):
                new = Found(space, values[i], int(seeds[i]), bool(scores.violated[i]), float(score))
                if _keeps(new, found):
                    best = new
                    return True
        return False

    while first([(s, v, best.seed) for s, v in best.space.simpler(best.values)]):
        pass
    if best.seed:
        first([(best.space, best.values, 0)])
    for index in range(len(best.values)):
        first([(best.space, v, best.seed) for v in _rounded(best, index)])
    return best, tried


def _keeps(new: Found, old: Found) -> bool:
    if old.violated:
        return new.violated
    if old.score >= 1 or not np.isfinite(new.score):
        return new.score >= old.score
    return new.score >= KEPT * old.score and 1 - new.score <= WIDER * (1 - old.score) + 1e-9


def _rounded(found: Found, index: int) -> list[np.ndarray]:
    """The values with one of them at 0, at 1 or at ever more digits, within its limits."""
    parameter, value = found.space.parameters[index], found.values[index]
    out = []
    for rounded in (0.0, 1.0, *(float(f"{value:.{digits - 1}e}") for digits in DIGITS)):
        if parameter.low <= rounded <= parameter.high and rounded != value:
            values = found.values.copy()
            values[index] = rounded
            out.append(values)
    return out
