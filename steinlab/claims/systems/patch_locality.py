r"""Denoisers of patches make the denoiser of the whole where the patches are independent.

A denoiser that sees a patch alone is ``E[x_star_P | x_P]`` at best. Put together, the patches'
denoisers ``D_l`` are ``D`` for a product law, and for no other: their excess loss is the slope, in
``g = (alpha/sigma)^2``, of what a level's patches tell of each other,

    KL(p_g, prod_P p_g,P) = 1/2 int_0^g E|D - D_l|^2 dg,

by the I-MMSE relation for the whole and for each patch. Noise makes no dependent patches
independent, so that the integral vanishes, at any level, for product laws only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from steinlab.claims.instruments.patches import DIGITS, PAIRS, PRODUCT, Patches, excess_loss
from steinlab.claims.instruments.ranges import Ranges, between
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number

EXCESS, SIGMAS = "excess loss", (0.3, 3.0)


class Measured(NamedTuple):
    """What is predicted of what was integrated, and the error of both."""

    value: float
    integral: float
    error: float


def measure_loss(case: Patches) -> Measured:
    """Return the denoising losses of the whole and of its patches."""
    whole, patches = case.losses()
    return Measured(whole, patches, ROUNDING * EPS * 2**8 * max(whole, patches))


def measure_excess(case: Patches) -> Measured:
    """Integrate what the patches tell of each other, and the excess loss up to there."""
    law, patches = case.laws()
    coarse, fine = (excess_loss(law, patches, case.sigma, nodes) for nodes in (6, 9))
    return Measured(case.told(), fine, abs(fine - coarse) + ROUNDING * EPS * 2**8)


def compare_loss(data: Measured, formula: Callable[[float], float]) -> Comparison:
    """Compare the losses of the whole and of patches that tell nothing of each other."""
    return single(data.value, data.integral + formula(0.0), data.error)


def compare_excess(data: Measured, formula: Callable[[float], float]) -> Comparison:
    """Compare the divergence with half the integral."""
    return single(data.value, formula(data.integral), data.error)


LEVELS = between(log=True, sigma=SIGMAS)
INDEPENDENT = Ranges(Patches, {"kind": (PRODUCT,), "components": (1, 2, 3)}, LEVELS)
DEPENDENT = Ranges(Patches, {"kind": (PAIRS,), "components": (1, 2)}, LEVELS)


def _numbers(results: Results) -> list[Number]:
    rises = np.array([one.integral / one.value - 1 for one in results[DIGITS].data])
    error = float(rises.std(ddof=1) / len(rises) ** 0.5) if len(rises) > 1 else 0.0
    what = "halves of digits raise the loss at sigma = 0.3 by"
    told = max(one.value for one in results[EXCESS].data)
    return [
        Number(what, float(rises.mean()), error, unit="%", key="rise"),
        Number("what pairs tell of each other, at most", told, unit="nats"),
        Number("half the excess loss misses it by", results[EXCESS].comparison.excess.max()),
    ]


CLAIM = Claim(
    id="patch-locality",
    title="Scores of patches",
    statement="denoisers that see one patch each make the denoiser of the whole if and only if the "
    "patches are independent: half their excess loss, over (alpha/sigma)^2, is what the patches of "
    "a level tell of each other",
    latex=(
        r"\mathrm{KL}\Big(p_g \,\|\, \prod_P p_{g,P}\Big) = \tfrac12 \int_0^g "
        r"\mathbb{E}\|D - D_{\text{patches}}\|^2\, dg, \qquad g = \alpha^2/\sigma^2",
    ),
    source="patch priors (PaDIS: Hu et al., 2024); the I-MMSE relation of Guo, Shamai and Verdu "
    "(2005)",
    kind="identity",
    owner="laboratory",
    conditions=("exact denoisers of the patches' own laws", "patches that do not overlap"),
    formula=lambda integral: integral / 2,
    checks=(
        INDEPENDENT.check(PRODUCT, 9, measure_loss, compare_loss),
        DEPENDENT.check(EXCESS, 3, measure_excess, compare_excess),
    ),
    controls=(
        NegativeControl("0.01 more", lambda integral: integral / 2 + 0.01),
        NegativeControl("the whole integral", float, (EXCESS,)),
        NegativeControl("1 % less", lambda integral: 0.99 * integral / 2, (EXCESS,)),
    ),
    dropped=(
        Dropped("independence: pairs", DEPENDENT.check(PAIRS, 4, measure_loss, compare_loss)),
        Dropped("independence: digits", DEPENDENT.check(
            DIGITS, 3, measure_loss, compare_loss, kind=DIGITS, components=1, sigma=SIGMAS[0])),
    ),
    headline="Scores of patches are exact for independent patches only; halves of digits raise the "
    "loss by {rise}.",
    numbers=_numbers,
    finding="The loss of locality is information that patches share, nat for nat: at large noise "
    "it vanishes like the square of (alpha/sigma)^2, so that the first steps can be taken patch by "
    "patch and the last ones not. Overlaps, shifts of the partition and patches seen in context "
    "give back some of it; no training of a local network does.",
    search=lambda _: [INDEPENDENT.space(PRODUCT), DEPENDENT.space(EXCESS)],
)  # fmt: skip
