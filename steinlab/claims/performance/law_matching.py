r"""The identity that law matching solves, and that a state of the wrong scale violates it.

Under the forward coupling at a level, with ``m = alpha E x_star`` and the exact denoiser,

    E<y - m, y - alpha D(y)> = sigma^2 d,

Stein's identity for ``f(y) = y - m`` after the tower property, ``E[x_star | y] = D(y)``. In one
dimension both sides are integrated over the law of ``y``; ``D`` is evaluated, not ``x_star`` drawn.

Besides: how far the matched batch is moved
(:mod:`steinlab.claims.performance.law_matching_change`), that the correction as written reaches the
identity, and what the sampling of a batch makes of its root
(:mod:`steinlab.claims.performance.law_matching_batches`).
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from analytic import NoiseLevel
from analytic.quadrature import integrate, mixture_breaks
from steinlab.claims.instruments.random_steps import StepCases, drawing
from steinlab.claims.instruments.step_checks import on_field
from steinlab.claims.performance import law_matching_batches as batches
from steinlab.claims.performance import law_matching_change as change
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.verification.claim import Check, Claim, Dropped, NegativeControl, Results
from steinlab.verification.comparison import Comparison
from steinlab.verification.quantities import Number

SCALE = 1.02
"""By which the states of the control are off."""

Formula = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""``(alpha, sigma) -> right side`` of one dimension."""


class Sides(NamedTuple):
    """The left side of each case with the size of its terms and the quadrature's error."""

    alpha: np.ndarray
    sigma: np.ndarray
    left: np.ndarray
    size: np.ndarray
    error: np.ndarray


def measure(cases: StepCases, scale: float = 1.0) -> Sides:
    """Integrate ``(y - m)(y - alpha D(y)) p(x)`` over ``x``, ``y = m + scale (x - m)``."""
    law, s = cases.problem.law, cases.problem.s
    alpha, sigma = s.alpha[:, 0, 0], s.sigma[:, 0, 0]
    mean = alpha * law.mean()[:, 0]

    def integrand(case: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        part = law.take(case)
        level = NoiseLevel(s.alpha[case], s.sigma[case])
        centre = mean[case][:, None]
        y = centre + scale * (x - centre)
        density = np.exp(part.log_prob(x[..., None], level))
        clean = alpha[case][:, None] * part(y[..., None], level)[..., 0]
        size = np.abs(y - centre) * (np.abs(y) + np.abs(clean)) * density
        return ((y - centre) * (y - clean) * density)[..., None], size[..., None]

    breaks = mixture_breaks(law, s)
    out = integrate(integrand, breaks)
    return Sides(alpha, sigma, out.value[:, 0], out.size[:, 0], out.error[:, 0])


class Formulas(NamedTuple):
    """The identity's right side, the least slope, the defect left over its error, the variance."""

    right: Formula
    slope: change.Slope
    left: float
    variance: batches.Variance


def compare(data: Sides, formula: Formulas) -> Comparison:
    """Compare with the right side, within rounding and the quadrature's error."""
    predicted = formula.right(data.alpha, data.sigma)
    tolerance = ROUNDING * EPS * (data.size + np.abs(predicted)) + data.error
    return Comparison(data.left, predicted, tolerance)


def right(alpha: np.ndarray, sigma: np.ndarray) -> np.ndarray:  # noqa: ARG001
    """``sigma^2``."""
    return np.asarray(sigma**2)


IDENTITY = Check(
    "identity",
    "quadrature",
    StepCases,
    draw=drawing(400, solvers=("euler",)),
    measure=measure,
    compare=compare,
)


def _numbers(results: Results) -> list[Number]:
    exact, bound = (results[name].comparison for name in ("identity", "change"))
    share = (bound.measured / bound.predicted)[bound.decided]
    roots = results["roots"].data
    spread = [float(np.mean(one.roots**2)) / batches.variance(one) for one in roots]
    moved = [one for one in results["solved"].data if one.moved]
    told = [batches.reported(one) for one in roots]
    off = results["scaled"].comparison
    return [
        Number("identity: cases", len(exact.measured)),
        Number("identity: largest error", np.max(exact.excess / np.abs(exact.predicted))),
        Number("move over its bound, median", np.median(share)),
        Number("move over its bound, largest", share.max()),
        Number("defect left, in standard errors", max(abs(one.after) for one in moved)),
        Number("variance on right samples over the formula's, least", min(spread)),
        Number("variance on right samples over the formula's, largest", max(spread)),
        Number("error reported over the formula's, least", min(told)),
        Number("error reported over the formula's, largest", max(told)),
        Number("batches of a long step", len(results["solved"].data)),
        Number("of these, moved", len(moved)),
        Number("states 2 % too wide that violate it", off.violated[off.decided].mean(), unit="%"),
    ]


FORMULAS = Formulas(right, change.slope, 1.0, batches.variance)


def _sampled(name: str, measured: Callable[[Any], Any], compared: Any, field: str) -> Check:
    check = Check(
        name, "monte-carlo", batches.Sampled, draw=batches.draw, measure=measured, compare=compared
    )
    return on_field(check, field)


def _moved_by(factor: float) -> Check:
    """Return the check of a batch moved by some factor of what law matching calls for."""
    measured = functools.partial(batches.measure_solved, factor=factor)
    return _sampled(f"moved by {factor:g}", measured, batches.compare_solved, "left")


def _no_slope(data: change.Change) -> np.ndarray:
    return np.ones_like(data.share)


def _one_mode(data: change.Change) -> np.ndarray:
    """``sigma^2 / v``: what the spread of the modes takes away is left out."""
    return np.asarray(1 - data.share)


def _half_spread(data: change.Change) -> np.ndarray:
    """Half of what the spread of the modes takes away."""
    return np.asarray((1 - data.share) * (1 - data.spread / 2))


def _flat(data: batches.Roots) -> float:
    """``Var(f) / n``: the slope is forgotten."""
    return data.terms / batches.STATES


def _unit(data: batches.Roots) -> float:
    """``Var(f) / (n (F'/2)^2)``: one of the two factors that move."""
    return 4 * batches.variance(data)


def _half(data: batches.Roots) -> float:
    return batches.variance(data) / 2


CLAIM = Claim(
    id="law-matching",
    title="Law matching: its identity, its bound, its variance",
    statement="E<y - m, y - alpha D(y)> = sigma^2 d for states y under the forward coupling; a "
    "batch scaled about its mean until this holds is moved by E|z|^2 |s^2 - 1| <= |defect| / nu, "
    "nu the least slope of y - alpha D(y); the scale of n states of the law itself is 1 with "
    "variance Var(f) / (n F'^2)",
    latex=(
        r"\mathbb{E}\langle y - m, y - \alpha D(y)\rangle = \sigma^2 d",
        r"\mathbb{E}\|z\|^2\, |s^{\star 2} - 1| \le \frac{|\Delta|}{\nu}, \qquad \Delta = "
        r"\mathbb{E}\langle z, y - \alpha D(y)\rangle - \sigma^2 d, \qquad \nu = "
        r"\frac{\sigma^2}{v}\Big(1 - \frac{\alpha^2 R^2}{4 v}\Big)",
        r"\operatorname{Var}(\hat s) \approx \frac{\operatorname{Var}(f)}{n\, F'^2}, \qquad f "
        r"= \frac{\langle z, y - \alpha D(y)\rangle}{\sigma^2 d}",
    ),
    headline="Rescaling a batch to meet Stein's identity moves it within a bound, and right "
    "samples only by sampling noise.",
    numbers=_numbers,
    source="ours; Stein's identity for f(y) = y - m",
    kind="identity",
    owner="laboratory",
    conditions=(
        "the exact denoiser, states under the forward coupling of its law; sigma > 0",
        "one necessary condition: laws that satisfy it need not be the right one",
        "the bound: a batch of any law, the model's noised law log-concave (nu > 0); where modes "
        "are farther apart there may be several roots and nothing is promised",
        "the variance: to first order in 1/n",
    ),
    formula=FORMULAS,
    checks=(
        IDENTITY,
        on_field(
            Check(
                "change",
                "quadrature",
                change.Batches,
                draw=change.draw,
                measure=change.measure,
                compare=change.compare,
            ),
            "slope",
        ),
        _sampled("solved", batches.measure_solved, batches.compare_solved, "left"),
        _sampled("roots", batches.measure_roots, batches.compare_roots, "variance"),
    ),
    controls=(
        NegativeControl(
            "sigma in place of sigma^2", FORMULAS._replace(right=lambda _alpha, sigma: sigma)
        ),
        NegativeControl(
            "alpha^2 sigma^2", FORMULAS._replace(right=lambda alpha, sigma: alpha**2 * sigma**2)
        ),
        NegativeControl("the defect alone", FORMULAS._replace(slope=_no_slope), ("change",)),
        NegativeControl("the slope of one mode", FORMULAS._replace(slope=_one_mode), ("change",)),
        NegativeControl(
            "half of the modes' spread", FORMULAS._replace(slope=_half_spread), ("change",)
        ),
        NegativeControl("the root of Var(f) / n", FORMULAS._replace(variance=_flat), ("roots",)),
        NegativeControl(
            "the slope of the first factor alone", FORMULAS._replace(variance=_unit), ("roots",)
        ),
        NegativeControl("half the variance", FORMULAS._replace(variance=_half), ("roots",)),
    ),
    dropped=(
        Dropped(
            "states two per cent too wide",
            replace(
                IDENTITY,
                name="scaled",
                draw=drawing(64, solvers=("euler",)),
                measure=functools.partial(measure, scale=SCALE),
            ),
        ),
        Dropped("the plain step's batch", _moved_by(0.0)),
        Dropped("twice the move", _moved_by(2.0)),
    ),
    finding="A batch of the right law meets the identity but for sampling noise, and stays where "
    "it is. A batch after a long step is moved until it meets the identity, no farther than its "
    "defect over the least slope. That bound needs a log-concave noised law: where modes lie "
    "farther apart there may be several roots, so do not match laws there.",
)
