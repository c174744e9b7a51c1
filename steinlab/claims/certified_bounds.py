r"""Checks by proof of two bounds: the perturbation bound and the Lipschitz constant of a step.

For the claims to add: ``certified_check(PERTURBATION_CASES, measure=measure_perturbations,
compare=lambda data, bounds: compare_perturbations(data, bounds.coefficient))``, likewise
``certified_check(LIPSCHITZ_CASES, measure=measure_lipschitz, compare=lambda data, formula:
compare_lipschitz(data, formula.first))``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from analytic.certified import Enclosure
from analytic.certified_lipschitz import lipschitz
from analytic.certified_perturbation import PerturbationBound, perturbation_bound
from analytic.certified_steps import ExactStep
from steinlab.claims.certified_checks import CertifiedCases, law_of, listed
from steinlab.verdicts import EPS, ROUNDING, Comparison

PERTURBATION_CASES = (
    listed("euler", "4/5 3/5", "12/13 5/13", "modes", states={
        "weights": ["3/5", "2/5"], "means": [["-2"], ["12/5"]], "variances": ["13/25", "2/5"],
    }),
    listed("heun", "1 2", "1 1", "two", states={
        "weights": ["1/2", "1/2"], "means": [["-1"], ["2"]], "variances": ["4", "9/2"],
    }),
    {
        "data": {"weights": ["1"], "means": [["0"]], "variances": ["1"]},
        "states": {"weights": ["1"], "means": [["0"]], "variances": ["3"]},
        "from": ["1", "1"], "to": ["1", "1/2"], "solver": "euler",
    },
)  # fmt: skip
"""The last is centred Gaussians, where the bound is an equality."""


class PerturbedEnds(NamedTuple):
    """What a bound's formula reads, ``(C,)``: ends of the enclosures in doubles.

    ``fisher`` is an upper end and ``power`` a lower one, so that a formula that grows with the one
    and falls with the other is at its most generous.
    """

    alpha: np.ndarray
    sigma: np.ndarray
    fisher: np.ndarray
    power: np.ndarray


class Perturbations(NamedTuple):
    """Enclosures of the perturbation bound, and the ends that formulas are evaluated at."""

    found: Sequence[PerturbationBound]
    ends: PerturbedEnds


def measure_perturbations(cases: CertifiedCases) -> Perturbations:
    """Enclose both sides of the perturbation bound for every case."""
    steps = cases.steps()
    found = [
        perturbation_bound(law, law_of(case["states"]), step, bits=bits)
        for case, (law, step, bits) in zip(cases.cases, steps, strict=True)
    ]
    columns = zip(
        *(
            (*step.s, b.fisher.upper, b.power.lower)
            for b, (_, step, _) in zip(found, steps, strict=True)
        ),
        strict=True,
    )
    return Perturbations(found, PerturbedEnds(*(np.array(list(map(float, c))) for c in columns)))


def compare_perturbations(
    data: Perturbations, coefficient_bound: Callable[[Any], np.ndarray]
) -> Comparison:
    """Check ``|gamma_tilde - gamma_q|`` against a formula of :class:`PerturbedEnds`.

    ``measured`` is the lower end of the deviation, so a violation is proved.
    """
    off = [max(abs(b.by_scores.mid) - b.by_scores.radius, Fraction(0)) for b in data.found]
    bound = np.asarray(coefficient_bound(data.ends))
    measured = np.array([float(value) for value in off])
    return Comparison(measured, bound, ROUNDING * EPS * (measured + np.abs(bound)), upper=True)


LIPSCHITZ_CASES = (
    listed("euler", "1 1", "1 1/2"),
    listed("euler", "4/5 3/5", "12/13 5/13"),
    listed("euler", "1 2", "1 1", "modes"),
    listed("euler", "1 2", "1 1", "space"),
)
LIPSCHITZ_WIDTH = 2e-4


class Constants(NamedTuple):
    """Enclosed Lipschitz constants of steps and of their denoisers."""

    steps: Sequence[ExactStep]
    step: Sequence[Enclosure]
    denoiser: Sequence[Enclosure]


class ConstantEnds(NamedTuple):
    """What a bound's formula reads, ``(C, 1)``: levels and the denoiser's constant."""

    s: tuple[np.ndarray, np.ndarray]
    t: tuple[np.ndarray, np.ndarray]
    denoiser: np.ndarray


def measure_lipschitz(cases: CertifiedCases) -> Constants:
    """Enclose ``L_T``, and ``L_D`` as the constant of Euler's step to ``(1, 0)``, ``T = D``."""
    steps, found, denoisers = [], [], []
    for law, step, _ in cases.steps():
        onto = ExactStep.of("euler", step.s, (1, 0))
        steps.append(step)
        found.append(lipschitz(law, step, tolerance=LIPSCHITZ_WIDTH).value)
        denoisers.append(lipschitz(law, onto, tolerance=LIPSCHITZ_WIDTH).value)
    return Constants(steps, found, denoisers)


def compare_lipschitz(data: Constants, bound: Callable[[Any], np.ndarray]) -> Comparison:
    """Compare ``L_T`` with a formula of :class:`ConstantEnds` as an identity.

    The formula is evaluated at both ends of ``L_D``; it must be monotone in it.
    """
    own = np.array([value.double() for value in data.step])
    ends = [
        np.asarray(bound(_constant_ends(data.steps, [getattr(d, end) for d in data.denoiser])))
        for end in ("lower", "upper")
    ]
    predicted = 0.5 * (ends[0] + ends[1])[:, 0]
    half = 0.5 * np.abs(ends[1] - ends[0])[:, 0]
    tolerance = own[:, 1] + half + ROUNDING * EPS * (np.abs(predicted) + own[:, 0])
    return Comparison(own[:, 0], predicted, tolerance, grade=1e-2)


def _constant_ends(steps: Sequence[ExactStep], values: Sequence[Fraction]) -> ConstantEnds:
    def column(entries: Sequence[Any]) -> np.ndarray:
        return np.array([[float(entry)] for entry in entries])

    s = (column([step.s[0] for step in steps]), column([step.s[1] for step in steps]))
    t = (column([step.t[0] for step in steps]), column([step.t[1] for step in steps]))
    return ConstantEnds(s, t, column(values))
