r"""Checks by proof: enclosures of listed cases, compared with a claim's formula.

An enclosure contains its number with certainty, so an identity is violated exactly where two
enclosures are disjoint and a bound exactly where its sides are proved out of order. Cases are
listed, in exact fractions; nothing is drawn. The ledger's doubles limit what a comparison resolves
to ``2^-53``; the radii themselves are in :attr:`Enclosed.radius`.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from analytic.certified.balls import Enclosure, missing
from analytic.certified.coefficient import step_terms
from analytic.certified.laws import ExactMixture
from analytic.certified.steps import ExactStep
from steinlab.claims.instruments.linear_forms import Form, Identity
from steinlab.verification.cases import JsonCases
from steinlab.verification.claim import Check, Effort, Results
from steinlab.verification.comparison import Comparison
from steinlab.verification.quantities import Number

BITS = 53
"""Working precision of listed cases in the quick profile; 128 in the full."""


class CertifiedCases(JsonCases):
    """Listed steps in exact fractions, each a JSON object.

    Keys: ``data`` (and ``states``, the law of ``x`` itself, for the perturbation bound) with
    ``weights``, ``means``, ``variances``; ``from``, ``to``; ``solver``; ``past``, if any, a level
    and a state; ``bits``. Numbers are strings such as ``"3/5"``.
    """

    def steps(self) -> list[tuple[ExactMixture, ExactStep, int]]:
        """Return law, step and precision of every case."""
        return [
            (
                law_of(case["data"]),
                ExactStep.of(case["solver"], case["from"], case["to"], _past(case)),
                int(case.get("bits", BITS)),
            )
            for case in self.rows
        ]


def law_of(data: Mapping[str, Any]) -> ExactMixture:
    """Return the exact law of a case's ``data``."""
    return ExactMixture.of(data["weights"], data["means"], data["variances"])


def _past(case: Mapping[str, Any]) -> tuple[Sequence[str], Sequence[str]] | None:
    past = case.get("past")
    return None if past is None else (past[0], past[1])


def listed(solver: str, start: str, end: str, data: str = "two", **more: Any) -> dict[str, Any]:
    """Return a case; levels are written ``"alpha sigma"``, laws by their name in :data:`LAWS`."""
    case = {"data": LAWS[data], "from": start.split(), "to": end.split(), "solver": solver}
    return {**case, **more}


LAWS: Mapping[str, Mapping[str, Any]] = {
    "two": {
        "weights": ["3/10", "7/10"],
        "means": [["-1"], ["3/2"]],
        "variances": ["4/25", "49/100"],
    },
    "modes": {"weights": ["1/2", "1/2"], "means": [["-3"], ["3"]], "variances": ["1/4", "1/4"]},
    "space": {
        "weights": ["1/4", "3/4"],
        "means": [["1", "2", *["0"] * 62], ["4", "-2", *["0"] * 62]],
        "variances": ["1/4", "1/4"],
    },
}

EDM_CASES = (
    listed("heun", "1 1", "1 1/2"),
    listed("euler", "1 2", "1 1", "space"),
    listed("dpmpp-2m", "1 1", "1 1/2", past=[["1", "2"], ["7/10"]]),
)
COEFFICIENT_CASES = (
    listed("heun", "4/5 3/5", "12/13 5/13"),
    listed("euler", "4/5 3/5", "12/13 5/13", "space"),
    listed("dpmpp-2m", "4/5 3/5", "12/13 5/13", past=[["3/5", "4/5"], ["7/10"]]),
)


class Enclosed(NamedTuple):
    """Enclosures of the cases with their levels."""

    levels: Sequence[tuple[Fraction, Fraction]]
    values: Sequence[Any]

    @property
    def radius(self) -> Fraction:
        """Largest relative radius of any term, to its case's ``E|u|^2``."""
        relative: list[Fraction] = [
            max(term.radius for term in terms.values()) / terms["u_u"].lower
            for terms in self.values
        ]
        return max(relative)


def measure_terms(cases: CertifiedCases) -> Enclosed:
    """Enclose the terms of every case."""
    steps = cases.steps()
    values = [step_terms(law, step, bits=bits) for law, step, bits in steps]
    return Enclosed([step.s for _, step, _ in steps], values)


def combine(form: Form, alpha: Fraction, sigma: Fraction, terms: Mapping[str, Enclosure]) -> Any:
    """Enclose a form of the terms, per unit of ``E|u|^2``."""
    total = Enclosure.point(0)
    for name, c in form(alpha, sigma).items():
        total = total.plus(terms[name].times(c))
    return total.over(terms["u_u"])


def compare_terms(data: Enclosed, identity: Identity) -> Comparison:
    """Compare both sides of an identity: violated where proved disjoint."""
    sides = [
        [combine(form, *level, terms).double() for form in identity]
        for level, terms in zip(data.levels, data.values, strict=True)
    ]
    left, right = (np.array([side[i] for side in sides]) for i in (0, 1))
    return Comparison(left[:, 0], right[:, 0], np.nextafter(left[:, 1] + right[:, 1], np.inf))


def certified_check(
    cases: Sequence[Mapping[str, Any]],
    *,
    more: Sequence[Mapping[str, Any]] = (),
    name: str = "certified",
    measure: Callable[[CertifiedCases], Any] = measure_terms,
    compare: Callable[[Any, Any], Comparison] = compare_terms,
    covers: bool = False,
) -> Check:
    """Return a check by proof on listed cases; it says why where python-flint is missing.

    Parameters
    ----------
    cases : sequence of JSON objects
        See :class:`CertifiedCases`.
    more : sequence of JSON objects
        Cases of the full profile alone.
    name : str
    measure : callable
        ``cases -> enclosures``; by default the terms of the coefficient.
    compare : callable
        ``(enclosures, formula) -> Comparison``; by default for an
        :class:`~steinlab.claims.instruments.linear_forms.Identity`.
    covers : bool
        Whether these cases are the whole statement.
    """

    def draw(effort: Effort) -> list[CertifiedCases]:
        full = effort.profile == "full"
        chosen = (*cases, *more) if full else cases
        bits = 128 if full else BITS
        return [CertifiedCases(tuple({"bits": bits, **case} for case in chosen))]

    return Check(
        name,
        "certified",
        CertifiedCases,
        draw=draw,
        measure=measure,
        compare=compare,
        covers=covers,
        available=missing,
    )


def proof_radius(results: Results) -> list[Number]:
    """Return the numbers of a coefficient's check by proof; none where it did not run."""
    if "certified" not in results:
        return []
    data = results["certified"].data
    return [
        Number("listed cases with a proof", sum(len(part.values) for part in data)),
        Number("radius of the proofs over E|u|^2", float(max(part.radius for part in data))),
    ]
