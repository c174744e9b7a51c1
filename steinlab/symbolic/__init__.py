"""Derivations checked by sympy, step by step, and how claims use them as evidence."""

from steinlab.symbolic.derivations import AXIOMS, DERIVATIONS, Derivation
from steinlab.symbolic.evidence import symbolic_check, symbolic_twins

__all__ = ["AXIOMS", "DERIVATIONS", "Derivation", "symbolic_check", "symbolic_twins"]
