r"""Derivations as data, and the checker.

A step states ``left = right`` or ``left <= right`` and carries a certificate: terms, each a
multiplier and the names of facts (axioms, or steps before it). With ``F`` the difference
``right - left`` of a fact, the step holds if

    right - left - sum_k multiplier_k prod_j F_kj

simplifies to zero, no denominator can vanish, and each term proves what it should: a product with
an equation is zero whatever its multiplier; a product of inequalities alone supports ``<=`` only,
with a multiplier that sympy knows to be nonnegative.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import sympy as sp
from sympy.polys.fields import sfield

from steinlab.claims.derivations.algebra import Algebra

EQUAL, AT_MOST = "=", "<="


@dataclass(frozen=True)
class Premise:
    """An axiom as a formula; ``axiom`` names it in words."""

    name: str
    axiom: str
    left: Any
    right: Any
    relation: str = EQUAL


@dataclass(frozen=True)
class Step:
    """One step of a derivation.

    Attributes
    ----------
    left, right, relation
        What is stated.
    terms : tuple of (multiplier, fact, ...)
        The certificate.
    given : mapping
        Special values under which the step is stated; facts are specialised alike.
    at : mapping
        A point to which the difference is continued after cancelling: a limit.
    squared : bool
        Whether the certificate proves ``left^2 <= right^2``, with ``right >= 0`` by its signs.
    by : tuple of str
        Axioms used beside the premises named in ``terms``.
    """

    name: str
    left: Any
    right: Any
    terms: tuple[tuple[Any, ...], ...] = ()
    relation: str = EQUAL
    given: Mapping[Any, Any] = field(default_factory=dict)
    at: Mapping[Any, Any] = field(default_factory=dict)
    squared: bool = False
    by: tuple[str, ...] = ()

    def text(self) -> dict[str, str]:
        """Return the step in words and formulas."""
        out = {
            "step": self.name,
            "left": str(self.left),
            "relation": self.relation,
            "right": str(self.right),
        }
        facts = dict.fromkeys(name for term in self.terms for name in term[1:])
        if facts:
            out["using"] = ", ".join(facts)
        for key, values in (("given", self.given), ("at", self.at)):
            if values:
                out[key] = ", ".join(f"{name} = {value}" for name, value in values.items())
        return out


@dataclass(frozen=True)
class Proof:
    """Premises and steps; ``positive`` lists expressions that the axioms make positive."""

    algebra: Algebra
    steps: tuple[Step, ...]
    premises: tuple[Premise, ...] = ()
    positive: tuple[Any, ...] = ()


class Gap(Exception):
    """Why a step does not hold."""


def gap(proof: Proof, index: int, step: Step | None = None) -> str:
    """Return why step ``index``, or another one in its place, does not hold; empty if it does."""
    step = step or proof.steps[index]
    facts: dict[str, Premise | Step] = {p.name: p for p in proof.premises}
    facts |= {s.name: s for s in proof.steps[:index]}
    try:
        _check(proof, step, facts)
    except Gap as reason:
        return str(reason)
    return ""


def _check(proof: Proof, step: Step, facts: Mapping[str, Premise | Step]) -> None:
    def resolve(expression: Any, given: Mapping[Any, Any]) -> Any:
        out = proof.algebra.resolve(expression, given)
        _require_defined(proof, out)
        return out

    left, right = resolve(step.left, step.given), resolve(step.right, step.given)
    if step.squared:
        _require_nonnegative(right)
        left, right = left**2, right**2
    residual = right - left
    for multiplier, *names in step.terms:
        used = [_fact(facts, name) for name in names]
        factor = resolve(multiplier, step.given)
        if all(fact.relation == AT_MOST for fact in used):
            if step.relation != AT_MOST:
                raise Gap(f"inequalities {names} do not prove an equation")
            _require_nonnegative(factor)
        for fact in used:
            own = fact.given if isinstance(fact, Step) else {}
            difference = sp.sympify(fact.right - fact.left)
            factor = factor * resolve(proof.algebra.special(difference, own), step.given)
        residual -= factor
    rest = continued(residual, step.at) if step.at else residual
    if not vanishes(rest):
        raise Gap("the difference does not simplify to zero")


def _fact(facts: Mapping[str, Premise | Step], name: str) -> Premise | Step:
    fact = facts.get(name)
    if fact is None:
        raise Gap(f"{name} is no axiom and no earlier step")
    if isinstance(fact, Step) and fact.at:
        raise Gap(f"{name} is a limit and no fact")
    return fact


def vanishes(expression: Any) -> bool:
    """Whether an expression is the zero of the field of fractions in what it is made of.

    Roots and exponentials in it are generators of their own: a relation among them that powers do
    not show is missed, and then a true step has a gap, never a false one none.
    """
    expression = sp.sympify(expression)
    if expression.has(sp.exp):
        expression = sp.expand(expression)  # into products of exp(monomial), each unique
    return bool(expression == 0 or sfield(expression)[1] == 0)


def continued(expression: Any, at: Mapping[Any, Any]) -> Any:
    """Cancel common factors and evaluate at a point; a pole there is a gap."""
    fraction = sfield(sp.sympify(expression))[1]
    bottom = sp.expand(fraction.denom.as_expr().subs(at))
    if bottom == 0:
        raise Gap("the limit does not exist")
    return fraction.numer.as_expr().subs(at) / bottom


def _require_nonnegative(expression: Any) -> None:
    if not (expression.is_nonnegative or sp.factor(expression).is_nonnegative):
        raise Gap(f"{expression} is not known to be nonnegative")


def _require_defined(proof: Proof, expression: Any) -> None:
    """Each factor of the denominator is positive by its symbols, or by an axiom."""
    for bottom in _denominators(expression):
        for factor, _ in sp.factor_list(bottom)[1]:
            if not (factor.is_nonzero or _is_positive(proof, factor)):
                raise Gap(f"division by {factor}, which may vanish")


def _denominators(expression: Any) -> Iterator[Any]:
    for power in expression.atoms(sp.Pow):
        if power.exp.is_negative and power.base.free_symbols:
            yield sp.fraction(sp.together(power.base))[0]


def _is_positive(proof: Proof, factor: Any) -> bool:
    known = (proof.algebra.resolve(expression) for expression in proof.positive)
    return any(sp.expand(e - factor) == 0 or sp.expand(e + factor) == 0 for e in known)


def corrupted(step: Step, factor: int) -> Step:
    """Return the step with its right side, or its left if that is zero, times ``factor``."""
    if sp.sympify(step.right) == 0:
        return replace(step, left=factor * step.left)
    return replace(step, right=factor * step.right)
