r"""Checks by proof of two bounds: the perturbation bound and the Lipschitz constant of a step.

Both sides are enclosed. A formula is evaluated at the ends of the enclosures that favour it, so a
violation is proved; where a bound is proved to hold, a number says on how many cases.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from analytic import NoiseLevel
from analytic.certified.balls import Enclosure
from analytic.certified.lipschitz import lipschitz
from analytic.certified.perturbation import PerturbationBound, perturbation_bound
from analytic.certified.steps import ExactStep
from steinlab.claims.instruments.enclosures import CertifiedCases, certified_check, law_of, listed
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.verification.claim import Check, Results
from steinlab.verification.comparison import Comparison
from steinlab.verification.quantities import Number

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

MORE_PERTURBATIONS = (
    listed("euler", "1 2", "1 1", "modes", states={
        "weights": ["3/5", "2/5"], "means": [["-3"], ["2"]], "variances": ["17/4", "17/4"],
    }),
    listed("heun", "4/5 3/5", "12/13 5/13", states={
        "weights": ["1/5", "4/5"], "means": [["-1"], ["1"]], "variances": ["1/2", "3/4"],
    }),
    listed("heun", "1/2 1/2", "3/4 1/4", states={
        "weights": ["2/5", "3/5"], "means": [["-1/2"], ["1"]], "variances": ["3/10", "2/5"],
    }),
)  # fmt: skip
"""Cases of the full profile: apart modes, and steps of VP and rectified flow."""

TRAPPED_CASES = (
    listed("euler", "1 2", "1 1", "modes", states={
        "weights": ["3/5", "2/5"], "means": [["-3"], ["2"]], "variances": ["17/4", "17/4"],
    }),
    {
        "data": {"weights": ["1"], "means": [["0"]], "variances": ["5"]},
        "states": {"weights": ["1"], "means": [["0"]], "variances": ["3"]},
        "from": ["4/5", "3/5"], "to": ["12/13", "5/13"], "solver": "euler",
    },
)  # fmt: skip
"""Steps that expand, the last with equality in the bound: a wide Gaussian in VP."""


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
        for case, (law, step, bits) in zip(cases.rows, steps, strict=True)
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


class TrappedPerturbations(NamedTuple):
    """Enclosures of the bound, and lower ends of the steps' Lipschitz constants, ``(C,)``."""

    bounds: Perturbations
    lipschitz: np.ndarray


def measure_trapped(cases: CertifiedCases) -> TrappedPerturbations:
    """Enclose both sides of the bound, and how much the steps expand."""
    lower = [
        float(lipschitz(law, step, tolerance=LIPSCHITZ_WIDTH).value.lower)
        for law, step, _ in cases.steps()
    ]
    return TrappedPerturbations(measure_perturbations(cases), np.array(lower))


def expanding(comparison: Comparison, data: TrappedPerturbations) -> Comparison:
    """Leave a case undecided unless its step is proved to expand."""
    tolerance = np.where(data.lipschitz > 1, comparison.tolerance, np.inf)
    return replace(comparison, tolerance=tolerance)


LIPSCHITZ_CASES = (
    listed("euler", "1 1", "1 1/2"),
    listed("euler", "4/5 3/5", "12/13 5/13"),
    listed("euler", "1 2", "1 1", "modes"),
    listed("euler", "1 2", "1 1", "space"),
)
MORE_CONSTANTS = (
    listed("euler", "1/2 1/2", "3/4 1/4"),
    listed("euler", "3/5 4/5", "12/13 5/13", "modes"),
    listed("euler", "4/5 3/5", "12/13 5/13", "space"),
    listed("euler", "1 80", "1 1/100", "modes"),
)
"""Cases of the full profile: rectified flow, VP, and one step over the whole of EDM's range."""

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


def compare_threshold(data: Constants, threshold: Callable[[Any], np.ndarray]) -> Comparison:
    """Compare ``L_D + (1 - L_T) / beta``, the ``L_D`` at which a step stops contracting.

    ``threshold`` reads the levels ``s`` and ``t`` of the steps, ``(C, 1, 1)``.
    """
    found = []
    for step, own, inner in zip(data.steps, data.step, data.denoiser, strict=True):
        kappa = step.t[1] / step.s[1]
        beta = step.t[0] - kappa * step.s[0]
        found.append(inner.plus(Enclosure.point(1).plus(own.times(-1)).times(1 / beta)).double())
    measured = np.array(found)
    levels = (
        NoiseLevel(*(np.array([[[float(pair[k])]] for pair in pairs]) for k in (0, 1)))
        for pairs in ([step.s for step in data.steps], [step.t for step in data.steps])
    )
    predicted = np.asarray(threshold(Levels(*levels)))
    tolerance = measured[:, 1] + ROUNDING * EPS * (np.abs(predicted) + measured[:, 0])
    return Comparison(measured[:, 0], predicted, tolerance, grade=1e-2)


class Levels(NamedTuple):
    """Both levels of steps, ``(C, 1, 1)``."""

    s: NoiseLevel
    t: NoiseLevel


def _constant_ends(steps: Sequence[ExactStep], values: Sequence[Fraction]) -> ConstantEnds:
    def column(entries: Sequence[Any]) -> np.ndarray:
        return np.array([[float(entry)] for entry in entries])

    s = (column([step.s[0] for step in steps]), column([step.s[1] for step in steps]))
    t = (column([step.t[0] for step in steps]), column([step.t[1] for step in steps]))
    return ConstantEnds(s, t, column(values))


def proved_perturbations(read: Callable[[Any], Any]) -> Check:
    """Check the perturbation bound; ``read`` finds its coefficient form in a claim's formula."""
    return certified_check(
        PERTURBATION_CASES,
        more=MORE_PERTURBATIONS,
        measure=measure_perturbations,
        compare=lambda data, formula: compare_perturbations(data, read(formula)),
    )


def proved_trapped(read: Callable[[Any], tuple[Any, Any]]) -> Check:
    """Check it on steps that are proved to expand; ``read`` finds the form and a factor of L_T."""

    def compare(data: TrappedPerturbations, formula: Any) -> Comparison:
        bound, factor = read(formula)
        scale = factor(data.lipschitz)
        return expanding(compare_perturbations(data.bounds, lambda d: bound(d) * scale), data)

    return certified_check(TRAPPED_CASES, measure=measure_trapped, compare=compare)


def proved_constants(
    read: Callable[[Any], Any], compare: Callable[[Constants, Any], Comparison] = compare_lipschitz
) -> Check:
    """Check constants of steps; ``read`` finds what they are compared with in a claim's formula."""
    return certified_check(
        LIPSCHITZ_CASES,
        more=MORE_CONSTANTS,
        measure=measure_lipschitz,
        compare=lambda data, formula: compare(data, read(formula)),
    )


def proved_bound(results: Results) -> list[Number]:
    """Return on how many listed cases the perturbation bound is proved; none where none ran."""
    if "certified" not in results:
        return []
    found = [b for part in results["certified"].data for b in getattr(part, "bounds", part).found]
    proved = [b for b in found if b.state.upper <= b.state_bound.lower]
    met = [float(b.state_bound.radius / b.state_bound.mid) for b in found if b not in proved]
    attained = [Number("cases that attain it, gap at most", max(met))] if met else []
    return [Number("listed cases with a proof", len(proved)), *attained]


def enclosed_constants(results: Results) -> list[Number]:
    """Return how tightly Lipschitz constants were enclosed; nothing where none was."""
    if "certified" not in results:
        return []
    steps = [value for part in results["certified"].data for value in part.step]
    radius = max(float(value.radius / value.mid) for value in steps)
    return [Number("relative radius of the enclosed L_T and L_D, largest", radius)]
