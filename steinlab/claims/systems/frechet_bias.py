r"""The Frechet distance of few states is too large; the energy distance is not, at any number.

Mean and covariance of ``n`` states of ``N(m, C)`` are independent, ``N(m, C/n)`` and a Wishart
matrix over ``n - 1``. The mean adds ``tr C / n``. The trace of a root is concave: with ``s`` the
singular values of ``C'^(1/2) C^(1/2)``, ``C'`` the truth's covariance, its second derivative gives

    E F_n - F = b/n + O(n^-2),   b = tr C + 1/2 sum_ij s_i s_j/(s_i + s_j) + 1/4 sum_i s_i,

``d (d + 5)/4`` for ``N(0, I)`` against itself. As ``b`` grows with the model's variance, ``n``
decides which of two models is nearer. The energy distance's means over distinct pairs are unbiased.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from steinlab.claims.instruments.frechet import Atoms, Gaussians, bias, equal
from steinlab.claims.instruments.ranges import Ranges
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number

LINE, SPACE, FEW, ENERGY = "on the line", "in several dimensions", "few states", "energy distance"


class Biases(NamedTuple):
    """The Frechet distance's bias times ``n``; the energy distance's, by ``E|X-X'|`` and ``n``."""

    frechet: Callable[[np.ndarray, np.ndarray], float] = bias
    energy: Callable[[float, int], float] = lambda _within, _n: 0.0


class Mean(NamedTuple):
    """An expectation, the error of its computation, and what is predicted by the biases."""

    value: float
    error: float
    predicted: Callable[[Biases], float]


def measure(case: Gaussians) -> Mean:
    """Return the bias times ``n``."""
    covariances = [one.covariance for one in case.moments()]
    return Mean(*case.bias(), lambda told: told.frechet(*covariances))


def measure_energy(case: Atoms) -> Mean:
    """Average over all samples there are, and for the laws."""
    mean, error, distance, within = case.energy()
    return Mean(mean, error, lambda told: distance + told.energy(within, case.states))


def compare(data: Mean, formula: Biases) -> Comparison:
    """Compare the expectation with the predicted one."""
    return single(data.value, data.predicted(formula), data.error)


ON_LINE = Ranges(Gaussians, {"dim": (1,), "states": (0,)})
IN_SPACE = Ranges(Gaussians, {"dim": (2, 3, 5), "states": (0,)})
FEWER = Ranges(Gaussians, {"dim": (1,), "states": range(3, 13)})
SAMPLES = Ranges(Atoms, {"states": (2, 3)})

FEATURES, WIDE, NARROW = 2048, 1.05, 0.94
"""Features of the FID, and two models' deviations, the truth's 1: the wide model is nearer."""


def _numbers(results: Results) -> list[Number]:
    few, energy, d = results[FEW].comparison, results[ENERGY].comparison, FEATURES
    nearer = d * ((1 - NARROW) ** 2 - (1 - WIDE) ** 2)
    flip = (equal(d, WIDE) - equal(d, NARROW)) / nearer
    off = float(np.abs(few.measured / few.predicted - 1).max())
    return [
        Number("states below which the farther of two models seems nearer", flip, key="flip"),
        Number("b/n of the truth itself, 50,000 states", equal(d, 1.0) / 50_000),
        Number("b/n off with 3 to 12 states, at most", off, unit="%"),
        Number("energy distance, largest bias", energy.excess.max()),
    ]


CLAIM = Claim(
    id="frechet-bias",
    title="Frechet distance of few states",
    statement="the Frechet distance of n states of a Gaussian to known moments exceeds the laws' "
    "by b/n in the mean, b growing with the model's variance; the energy distance of two samples "
    "is unbiased",
    latex=(
        r"\mathbb{E} F_n - F = \frac{b}{n}, \qquad b = \operatorname{tr} C + \tfrac12 \sum_{i,j} "
        r"\frac{s_i s_j}{s_i + s_j} + \tfrac14 \sum_i s_i, \qquad "
        r"s = \operatorname{sv}\!\left(C'^{1/2} C^{1/2}\right)",
    ),
    expected="conditional",
    source="Chong and Forsyth, Effectively unbiased FID and Inception score (2020), here with b; "
    "Szekely and Rizzo, Energy statistics (2013)",
    kind="limit",
    owner="peer",
    conditions=("Gaussian features", "the truth's moments known", "unstated: n far above d"),
    formula=Biases(),
    checks=(ON_LINE.check(LINE, 8, measure, compare),
            IN_SPACE.check(SPACE, 6, measure, compare),
            SAMPLES.check(ENERGY, 4, measure_energy, compare)),
    controls=(
        NegativeControl("no bias", Biases(lambda _c, _t: 0.0)),
        NegativeControl("the mean's part alone", Biases(lambda c, _t: float(np.trace(c)))),
        NegativeControl("1 % less", Biases(lambda c, t: 0.99 * bias(c, t))),
        NegativeControl("pairs of a state with itself", Biases(energy=lambda far, n: far / n)),
    ),
    dropped=(Dropped("n far above d", FEWER.check(FEW, 10, measure, compare), unstated=True),),
    headline="Below {flip} states, 2048 features can rank the farther model first; the energy "
    "distance has no bias.",
    numbers=_numbers,
    finding="Half the bias comes from the root's concavity and grows like d^2/(4n), the wider the "
    "model the more: compare models at equal n only, and not even then where distances differ by "
    "less than their biases. A line in 1/n (frechet_infinity) removes b/n; with n near d a rest of "
    "order n^-2 stays. The number is for equal deviations; features with few large directions need "
    "fewer states.",
    search=lambda _: [ON_LINE.space(LINE), IN_SPACE.space(SPACE), SAMPLES.space(ENERGY)],
)  # fmt: skip
