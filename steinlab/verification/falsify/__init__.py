"""The falsifier: it searches laws, levels, solvers and steps for the worst case of a claim."""

from steinlab.verification.falsify.attack import ATTACK_BUDGET, attack, searchable, spaces_of
from steinlab.verification.falsify.search import Found, Search, score_of
from steinlab.verification.falsify.shrink import shrink
from steinlab.verification.falsify.spaces import Parameter, Space

__all__ = [
    "ATTACK_BUDGET",
    "Found",
    "Parameter",
    "Search",
    "Space",
    "attack",
    "score_of",
    "searchable",
    "shrink",
    "spaces_of",
]
