"""Derivations as evidence of a claim: one case per step, and the controls."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from steinlab.claims.derivations.derivations import DERIVATIONS, Derivation
from steinlab.verification.claim import Check, Effort, NegativeControl
from steinlab.verification.comparison import Comparison


@dataclass(frozen=True)
class StepCases:
    """The steps of one derivation."""

    dataset: ClassVar[str | None] = None

    derivation: Derivation

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.derivation.proof().steps)

    def describe(self, index: int) -> dict[str, Any]:
        """Return one step as JSON: the text of both sides and what it uses."""
        return {
            "derivation": self.derivation.name,
            "index": index,
            **self.derivation.proof().steps[index].text(),
        }

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Return all steps of the case's derivation."""
        return cls(DERIVATIONS[case["derivation"]])


class Checked(NamedTuple):
    """A derivation and, a step, 0.0 if it holds and 1.0 if it has a gap."""

    derivation: Derivation
    gaps: np.ndarray


@dataclass(frozen=True)
class Corruption:
    """A control: every step's right side times ``factor``, one step at a time."""

    factor: int


def measure(cases: StepCases) -> Checked:
    """Check every step."""
    from steinlab.claims.derivations.proofs import gap

    proof = cases.derivation.proof()
    gaps = [float(bool(gap(proof, i))) for i in range(len(proof.steps))]
    return Checked(cases.derivation, np.array(gaps))


def undetected(derivation: Derivation, factor: int) -> list[str]:
    """Return the names of steps that still pass with one side multiplied by ``factor``."""
    from steinlab.claims.derivations.proofs import corrupted, gap

    proof = derivation.proof()
    pairs = enumerate(proof.steps)
    return [s.name for i, s in pairs if not gap(proof, i, corrupted(s, factor))]


def compare(data: Checked, formula: Any) -> Comparison:
    """Compare every step's gap with 0; a :class:`Corruption` is rejected if no step survives it.

    Any other formula of the claim leaves the derivation as it is.
    """
    gaps = data.gaps
    if isinstance(formula, Corruption):
        survivors = undetected(data.derivation, formula.factor)
        gaps = np.full(len(gaps), float(not survivors))
    zero = np.zeros(len(gaps))
    return Comparison(gaps, zero, zero)


def symbolic_check(derivation: Derivation, *, covers: bool) -> Check:
    """Return the check of a derivation, one case per step.

    Parameters
    ----------
    derivation : Derivation
        One of :data:`~steinlab.claims.derivations.DERIVATIONS`.
    covers : bool
        Whether it decides the claim's whole statement under the claim's conditions.
    """

    def draw(effort: Effort) -> list[StepCases]:  # noqa: ARG001
        return [StepCases(derivation)]

    def notes() -> dict[str, Any]:
        return {
            "derives": derivation.statement,
            "axioms": derivation.words(),
            "steps": len(derivation.proof().steps),
        }

    return Check(
        f"derivation {derivation.name}",
        "symbolic",
        StepCases,
        draw=draw,
        measure=measure,
        compare=compare,
        covers=covers,
        notes=notes,
    )


def symbolic_controls(derivation: Derivation) -> tuple[NegativeControl, ...]:
    """Return the controls of a derivation's check: each step corrupted, one at a time."""
    check = (f"derivation {derivation.name}",)
    return (
        NegativeControl("each step of the derivation with a wrong sign", Corruption(-1), check),
        NegativeControl("each step of the derivation off by a factor 2", Corruption(2), check),
    )
