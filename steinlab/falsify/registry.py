"""Search spaces of the claims whose cases are more than steps on a line, by id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from steinlab.falsify import choices, laws
from steinlab.falsify.spaces import Space
from steinlab.verdicts import Claim

SEARCHES: Mapping[str, Callable[[Claim], Sequence[Space]]] = MappingProxyType(
    {
        "algorithm-cost": choices.cost_spaces,
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
