r"""The optimal coefficient of a perfect one-step generator ends in the posterior mean.

Theorem 4.7 holds for every map ``T``, so also for the exact flow ``Phi`` from a level to the data,
which a perfect one-step model computes. On ``N(m, c^2 I)`` in EDM it has the gain ``g = c /
sqrt(c^2 + sigma^2)``, and with ``u = x - Phi``

    gamma* = E<u, x - x_star> / E|u|^2 = (1 - g^2)(1 - g) / (1 - g)^2 = 1 + g,

so that ``x - gamma* u = m + g^2 (x - m) = D(x)``. The model's output has the law's variance; the
corrected one keeps ``g^2`` of it. From far noise ``gamma*`` is near 1 for every law, and still
removes from the output what is linear in the noise: on the line a share ``corr(x, Phi)^2``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.rectified import DATA
from steinlab.claims.instruments.ranges import Ranges
from steinlab.claims.instruments.two_modes import MODES, TwoModes, moved, rule
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.processes import PROCESSES
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.falsify.spaces import Parameter
from steinlab.verification.quantities import Number

THEOREM, COLLAPSE, MIXED = "Theorem 4.7", "one scale", "two modes"
FAR, EXAMPLE = 80.0, TwoModes(0.4, 2.5, 0.3, 0.5)


@dataclass(frozen=True)
class Generator(TwoModes):
    """The exact map from a level of a process, by its ratio, to the data of a law."""

    process: str
    ratio: float


class Terms(NamedTuple):
    """Expectations of the residual ``u = x - Phi(x)``, the level, the exact gain, the rounding."""

    reference: float  # E<u, x - x_star>
    with_state: float  # E<u, x>
    divergence: float  # E u'
    power: float  # E u^2
    kept: float  # Var(x - gamma* u) / Var(x_star)
    level: NoiseLevel
    gain: float
    error: float


def terms(law: GaussianMixture, level: NoiseLevel, nodes: int) -> np.ndarray:
    """Integrate over the data, from where the flow leads up to the level."""
    ends, weights = rule(law, DATA, nodes)
    x = moved(law, ends, DATA, level)
    u, mean = x - ends, np.asarray(law(x[:, None], level))[:, 0]
    logs = [np.asarray(law.log_prob(at[:, None], one)) for at, one in ((x, level), (ends, DATA))]
    slope = 1 - np.exp(logs[0] - logs[1])
    reference, power = weights @ (u * (x - mean)), weights @ u**2
    corrected = x - reference / power * u
    kept = weights @ (corrected - weights @ corrected) ** 2 / law.variance()
    return np.array([reference, weights @ (u * x), weights @ slope, power, float(kept)])


def measure(case: Generator) -> Terms:
    """Integrate with two rules."""
    law, level = case.law, PROCESSES[case.process].level_at(case.ratio)
    coarse, fine = (terms(law, level, nodes) for nodes in (8, 12))
    gain = math.sqrt(float(law.variance()) / (float(law.variance()) + case.ratio**2))
    weight = np.array([1, abs(1 - 1 / level.alpha), level.sigma**2 / level.alpha, 1])
    size = float((weight * np.abs(fine[:4])).sum()) + level.sigma**2 / level.alpha
    error = 2 * float((weight * np.abs(fine - coarse)[:4]).sum()) + 64 * ROUNDING * EPS * size
    reference, with_state, divergence, power, kept = map(float, fine)
    error /= power
    return Terms(reference, with_state, divergence, power, kept, level, gain, error)


class Formula(NamedTuple):
    """The numerator of ``gamma*``, and ``gamma*`` on one scale by the exact gain."""

    numerator: Callable[[Terms], float]
    collapse: Callable[[float], float] = lambda g: 1 + g


def stein(t: Terms) -> float:
    """``(1 - 1/alpha) E<u, x> + (sigma^2/alpha) E div u``."""
    alpha, sigma = t.level.alpha, t.level.sigma
    return float((1 - 1 / alpha) * t.with_state + sigma**2 / alpha * t.divergence)


def compare(data: Terms, formula: Formula) -> Comparison:
    """Compare the coefficient by reference with Theorem 4.7's."""
    return single(data.reference / data.power, formula.numerator(data) / data.power, data.error)


def compare_collapse(data: Terms, formula: Formula) -> Comparison:
    """Compare the coefficient by reference with the exact gain's."""
    return single(data.reference / data.power, formula.collapse(data.gain), data.error)


RATIO = Parameter("ratio", 0.2, FAR, True)
MAPS = Ranges(Generator, {"process": ("flow", "vp-linear", "edm")}, (*MODES, RATIO), seeded=False)
ONE = Ranges(
    Generator, {"process": ("edm",), "apart": (0.0,), "first": (0.5,), "second": (0.5,)},
    (MODES[0], RATIO), seeded=False,
)  # fmt: skip
SPREAD = Ranges(Generator, {"process": ("edm",)}, (*MODES, RATIO), seeded=False)


def _numbers(results: Results) -> list[Number]:
    gain = 0.5 / math.hypot(0.5, FAR)
    two = measure(Generator(**vars(EXAMPLE), process="edm", ratio=FAR))
    return [
        Number("largest departure from Theorem 4.7", results[THEOREM].comparison.excess.max()),
        Number("gamma* - 1, from sigma 80 on N(0, 1/4)", gain, unit="%", key="longer"),
        Number("variance that it leaves", gain**2, unit="%", key="kept"),
        Number("gamma* - 1, from sigma 80 on two modes", two.reference / two.power - 1, unit="%"),
        Number("variance that it leaves there", two.kept, unit="%"),
    ]


CLAIM = Claim(
    id="one-step-coefficient",
    title="The coefficient of a one-step generator",
    statement="Theorem 4.7 holds for the exact one-step map; on N(m, c^2 I) in EDM its optimum is "
    "1 + g with the exact gain g, and the corrected output is D(x)",
    latex=(
        r"T = \Phi,\; g = \frac{c}{\sqrt{c^2 + \sigma^2}}: \qquad \gamma^{\star} = 1 + g, \qquad "
        r"x - \gamma^{\star}(x - \Phi(x)) = \mathbb{E}[x_\star \mid x]",
    ),
    source="Theorem 4.7 for MeanFlow's, shortcut's and consistency models' map without error",
    kind="identity",
    owner="laboratory",
    conditions=("the exact map to the data", "x under the forward coupling",
                "for 1 + g: Gaussian data of one scale, EDM"),
    formula=Formula(stein),
    checks=(MAPS.check(THEOREM, 6, measure, compare),
            ONE.check(COLLAPSE, 4, measure, compare_collapse)),
    controls=(
        NegativeControl("drift dropped", Formula(
            lambda t: t.level.sigma**2 / t.level.alpha * t.divergence), (THEOREM,)),
        NegativeControl("div u without the map's",
                        Formula(lambda t: t.level.sigma**2 / t.level.alpha), (THEOREM,)),
        NegativeControl("1: a perfect map needs no correction",
                        Formula(stein, lambda _: 1.0), (COLLAPSE,)),
        NegativeControl("1 + g^2", Formula(stein, lambda g: 1 + g**2), (COLLAPSE,)),
    ),
    dropped=(Dropped("one scale: two modes", SPREAD.check(MIXED, 2, measure, compare_collapse)),),
    headline="Lengthens a perfect one-step generator's step by {longer}, which leaves {kept} of a "
    "Gaussian's variance.",
    numbers=_numbers,
    finding="The theorem is about the mean square towards x_star, which the posterior mean "
    "minimises; a generator's aim is the law. The more exact the one-step map, the more the "
    "optimum destroys: a coefficient within one per cent of 1 removes what of the output is linear "
    "in the noise. Do not correct distilled models by it; clipped at 1 it leaves Gaussians alone.",
    search=lambda _: [MAPS.space(THEOREM), ONE.space(COLLAPSE)],
)  # fmt: skip
