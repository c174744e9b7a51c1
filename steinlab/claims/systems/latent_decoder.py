r"""What a coefficient of latent diffusion says of the decoded picture.

A linear decoder ``x = A z`` carries a step's residual ``u`` to ``A u`` and its error ``z - z_star``
to ``A (z - z_star)``. The picture's optimum is therefore, with ``M = A'A``,

    gamma_x = E<u, M (z - z_star)> / E<u, M u>.

Orthonormal columns, up to one factor, have ``M = I``: coefficient, decay ``rho`` and the bound
``(sigma^2/alpha) |s - s_q| = |D - D_q|`` are the latent's. Other decoders weigh directions, and
with them a step that treats directions unequally has another optimum. Euler's in EDM does not: ``u
= (1 - k)(z - D)``, so that ``gamma_x = 1/(1 - k)`` for every decoder and every law.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from steinlab.claims.instruments.decoders import (
    BLIND,
    COEFFICIENT,
    FAMILIES,
    KEPT,
    LATENTS,
    OTHER,
    PIXELS,
    QUANTITIES,
    Decoded,
    Measured,
    measure,
)
from steinlab.claims.instruments.ranges import Ranges, between
from steinlab.coefficient.rounding import EPS
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number


class Formula(NamedTuple):
    """What weighs the latents, by the decoder; the coefficient of Euler's step in EDM, by ``k``."""

    metric: Callable[[np.ndarray], np.ndarray] = lambda _: np.eye(LATENTS)
    euler: Callable[[float], float] = lambda k: 1 / (1 - k)


def compare(data: Measured, formula: Formula) -> Comparison:
    """Compare the picture's value with the latent's; Euler's in EDM with its own."""
    what, blind = data.case.what, data.case.kind == BLIND
    value = data.picture.value(what, np.eye(PIXELS))
    predicted = data.latent.value(what, formula.metric(data.decoder))
    _, power, err = data.latent.of(np.eye(LATENTS))
    size = max(abs(value), abs(predicted), (err / power) ** 0.5 if what == COEFFICIENT else 1)
    told = formula.euler(data.case.left) if blind else predicted
    return single(value, told, 2**13 * EPS * size)


STEPS = *between(log=True, ratio=(0.3, 10.0)), *between(left=(0.05, 0.9))
ALL = {"what": QUANTITIES, "family": FAMILIES, "solver": ("euler", "heun")}
ONE = {"what": (COEFFICIENT,)}
ALWAYS = Ranges(Decoded, {"kind": (KEPT,), **ALL}, STEPS)
EULER = Ranges(Decoded, {"kind": (BLIND,), **ONE, "family": ("edm",), "solver": ("euler",)}, STEPS)
UNEQUAL = Ranges(Decoded, {"kind": (OTHER,), **ONE, "family": FAMILIES, "solver": ("heun",)}, STEPS)


def _numbers(results: Results) -> list[Number]:
    c, worse = results[OTHER].comparison, []
    for gamma, data in zip(c.predicted, results[OTHER].data, strict=True):
        along, power, _ = data.picture.of(np.eye(PIXELS))
        worse.append((gamma**2 - 1) * power > 2 * (gamma - 1) * along)
    off, rest = np.abs(c.predicted / c.measured - 1), float(np.mean(worse))
    return [
        Number("latent's coefficient off, median", float(np.median(off)), unit="%"),
        Number("steps off by more than a tenth", float((off > 0.1).mean()), unit="%", key="off"),
        Number("steps that it leaves farther from the picture than no correction", rest, unit="%"),
    ]


CLAIM = Claim(
    id="latent-decoder",
    title="Latent coefficients of decoded pictures",
    statement="through a linear decoder the optimal coefficient of a latent step, the decay of its "
    "error and the perturbation bound are those of the decoded step",
    latex=(
        r"\gamma_x = \frac{\mathbb{E}\langle u, M (z - z_\star)\rangle}"
        r"{\mathbb{E}\langle u, M u\rangle}, \quad M = A^{\top} A: \qquad "
        r"M = c I \;\Rightarrow\; \gamma_x = \gamma_z",
    ),
    expected="conditional",
    source="Theorems 4.7 and 4.8 in the latents of Rombach et al. (2022)",
    kind="identity",
    owner="laboratory",
    conditions=("a linear decoder", "noise in the latents alone", "unstated: orthonormal columns "
                "up to one factor, or a step of Euler in EDM coordinates"),
    formula=Formula(),
    checks=(ALWAYS.check(KEPT, 36, measure, compare),
            EULER.check(BLIND, 12, measure, compare)),
    controls=(
        NegativeControl("the first latent alone", Formula(lambda _: np.diag([1.0, 0, 0])), (KEPT,)),
        NegativeControl("1 % more of one", Formula(lambda _: np.diag([1.01, 1, 1])), (KEPT,)),
        NegativeControl("to first order in k", Formula(euler=lambda k: 1 + k), (BLIND,)),
    ),
    dropped=(
        Dropped("orthonormal columns", UNEQUAL.check(OTHER, 48, measure, compare), unstated=True),
        Dropped("EDM coordinates", UNEQUAL.check(
            "Euler in VP", 6, measure, compare, family="vp-linear", solver="euler"), unstated=True),
    ),
    headline="A latent's coefficient is the picture's if decoders keep lengths; else {off} of "
    "Heun's steps miss it by a tenth.",
    numbers=_numbers,
    finding="A decoder of orthonormal columns keeps every inner product: the step taken in pixels "
    "with the decoded law's denoiser is the decoded step. One that stretches directions, here four "
    "to one, weighs them, and steps that treat directions unequally, Heun's, or Euler's in VP, "
    "then have another optimum. Weigh u and the error by the decoder's Jacobian, one product per "
    "state, to serve the picture.",
    search=lambda _: [ALWAYS.space(KEPT), EULER.space(BLIND)],
)  # fmt: skip
