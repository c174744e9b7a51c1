"""Search spaces of the claims whose cases are more than steps on a line, by id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from steinlab.falsify import choices, laws
from steinlab.falsify.spaces import Space
from steinlab.falsify.steps import step_spaces, steps_of
from steinlab.verdicts import Check, Claim

SEARCHES: Mapping[str, Callable[[Claim], Sequence[Space]]] = MappingProxyType(
    {
        "algorithm-cost": choices.cost_spaces,
        "clipped-gain": choices.cell_spaces,
        "clipped-gain-flow": choices.cell_spaces,
        "hutchinson-estimator": laws.probe_spaces,
        "integration-error": choices.cell_spaces,
        "integration-error-decomposition": choices.decomposition_spaces,
        "multistep-hypothesis": laws.history_spaces,
        "perturbation-bound": laws.pair_spaces,
        "perturbation-bound-in-trap": laws.trap_spaces,
        "shift-adaptation": choices.shift_spaces,
        "solver-equivalences": choices.equivalence_spaces,
        "solver-order": choices.order_spaces,
        "third-order-as-published": choices.order_spaces,
    }
)
"""A claim of another package brings its own, ``Claim.search``."""

STATISTICAL = ("monte-carlo", "neural", "symbolic")


def searchable(claim: Claim) -> bool:
    """Whether a claim can be attacked, without the draws that tell where."""
    if claim.search is not None:
        return bool(claim.search(claim))
    return claim.id in SEARCHES or any(steps_of(claim, check) for check in _deterministic(claim))


def spaces_of(claim: Claim, profile: str = "full") -> list[Space]:
    """Return the spaces in which a claim can be attacked; empty where none is known.

    A claim's own ``search`` gives them, or :data:`SEARCHES`; otherwise
    they are read off the draws, in the profile, of the checks whose cases are steps on
    one-dimensional laws.
    """
    if claim.search is not None:
        return list(claim.search(claim))
    if claim.id in SEARCHES:
        return list(SEARCHES[claim.id](claim))
    return [s for check in _deterministic(claim) for s in step_spaces(claim, check, profile)]


def _deterministic(claim: Claim) -> list[Check]:
    """Leave out the checks whose tolerance is statistical: a search would fish for noise."""
    return [
        check
        for check in claim.checks
        if check.method not in STATISTICAL and check.pool is None and not check.missing()
    ]
