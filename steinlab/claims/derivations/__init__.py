"""Derivations checked by sympy, step by step, and how claims use them as evidence."""

from steinlab.claims.derivations.derivations import AXIOMS, DERIVATIONS, Derivation
from steinlab.claims.derivations.evidence import symbolic_check, symbolic_controls

__all__ = ["AXIOMS", "DERIVATIONS", "Derivation", "symbolic_check", "symbolic_controls"]
