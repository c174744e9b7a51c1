r"""The optimal coefficient of a perfect one-step generator ends in the posterior mean.

Theorem 4.7 holds for every map ``T``, so also for the exact flow ``Phi`` from a level to the data,
which a perfect one-step model computes. On ``N(m, c^2 I)`` in EDM it has the gain ``g = c /
sqrt(c^2 + sigma^2)``, and with ``u = x - Phi``

    gamma* = E<u, x - x_star> / E|u|^2 = (1 - g^2)(1 - g) / (1 - g)^2 = 1 + g,

so that ``x - gamma* u = m + g^2 (x - m) = D(x)``, which keeps ``g^2`` of the law's variance. From
far noise it removes what is linear in the noise: on the line a share ``corr(x, Phi)^2``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from steinlab.claims.instruments.exact_maps import Terms, map_terms
from steinlab.claims.instruments.ranges import Ranges, between
from steinlab.claims.instruments.two_modes import EXAMPLE, MODES, TwoModes, on_modes
from steinlab.diffusion.processes import PROCESSES
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number

THEOREM, COLLAPSE, MIXED = "Theorem 4.7", "one scale", "two modes"
FAR = 80.0


@dataclass(frozen=True)
class Generator(TwoModes):
    """The exact map from a level of a process, by its ratio, to the data of a law."""

    process: str
    ratio: float


def measure(case: Generator) -> Terms:
    """Integrate over the data."""
    return map_terms(case.law, PROCESSES[case.process].level_at(case.ratio))


class Formula(NamedTuple):
    """The numerator of ``gamma*``, and ``gamma*`` on one scale by the exact gain."""

    numerator: Callable[[Terms], float]
    collapse: Callable[[float], float] = lambda g: 1 + g


def stein(t: Terms) -> float:
    """``(1 - 1/alpha) E<u, x> + (sigma^2/alpha) E div u``."""
    return float((1 - 1 / t.level.alpha) * t.with_state + t.noise * t.divergence)


def compare(data: Terms, formula: Formula) -> Comparison:
    """Compare the coefficient by reference with Theorem 4.7's."""
    return single(data.reference / data.power, formula.numerator(data) / data.power, data.error)


def compare_collapse(data: Terms, formula: Formula) -> Comparison:
    """Compare the coefficient by reference with the exact gain's."""
    return single(data.reference / data.power, formula.collapse(data.gain), data.error)


RATIO = between(log=True, ratio=(0.2, FAR))
MAPS = on_modes(Generator, *RATIO, process=("flow", "vp-linear", "edm"))
ALONE = {"process": ("edm",), "apart": (0.0,), "first": (0.5,), "second": (0.5,)}
ONE = Ranges(Generator, ALONE, (MODES[0], *RATIO), seeded=False)


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
        NegativeControl("drift dropped", Formula(lambda t: t.noise * t.divergence), (THEOREM,)),
        NegativeControl("div u without the map's", Formula(lambda t: t.noise), (THEOREM,)),
        NegativeControl("1: a perfect map needs no correction",
                        Formula(stein, lambda _: 1.0), (COLLAPSE,)),
        NegativeControl("1 + g^2", Formula(stein, lambda g: 1 + g**2), (COLLAPSE,)),
    ),
    dropped=(Dropped("one scale: two modes", MAPS.check(
        MIXED, 2, measure, compare_collapse, process="edm")),),
    headline="Lengthens a perfect one-step generator's step by {longer}, which leaves {kept} of a "
    "Gaussian's variance.",
    numbers=_numbers,
    finding="The theorem is about the mean square towards x_star, which the posterior mean "
    "minimises; a generator's aim is the law. The more exact the one-step map, the more the "
    "optimum destroys: a coefficient within one per cent of 1 removes what of the output is linear "
    "in the noise. Do not correct distilled models by it; clipped at 1 it leaves Gaussians alone.",
    search=lambda _: [MAPS.space(THEOREM), ONE.space(COLLAPSE)],
)  # fmt: skip
