"""The falsifier: it searches laws, levels, solvers and steps for the worst case of a claim."""

from steinlab.falsify.attack import ATTACK_BUDGET, attack
from steinlab.falsify.registry import searchable, spaces_of
from steinlab.falsify.search import Found, Search, score_of
from steinlab.falsify.shrink import shrink
from steinlab.falsify.spaces import Parameter, Space

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
