r"""Posterior noise: the first two moments of every law, exact in one step.

The step ``x' = kappa x + beta (D + sqrt(V) z)``, ``V = E|x_star - D|^2 / d``, replaces ``x_star``
in ``kappa x + beta x_star`` by a draw with its conditional mean and, in total, its conditional
variance. Mean and total variance of ``x'`` are therefore those of the forward law at the step's
end (Analytic-DPM: Bao et al., 2022). They are read off ``E(x' - b)^2`` at several ``b``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers.base import first_order
from steinlab.solvers.stochastic import PosteriorNoise
from steinlab.solvers.unit_speed import Curve
from steinlab.verification import laws
from steinlab.verification.arguments import numbers, steps
from steinlab.verification.claim import Result
from steinlab.verification.expectation import E
from steinlab.verification.quantities import Number
from steinlab.verification.short import CHECK, claim

STEP, LAW, CENTRE = steps(tuple(PROCESSES), "euler"), laws.mixtures(), numbers(-3.0, 3.0)
SMALLEST = 1e-12
"""Least ``w = 1 - V/S^2``: below, ``V`` is the noise's own variance to rounding."""


def solver_for(variance: float, ratio: float) -> PosteriorNoise:
    """Return the solver that is told ``V`` at a level."""
    share = max(1 - variance / ratio**2, SMALLEST)
    return PosteriorNoise(curve=Curve("law", 1, (ratio / 2, ratio, 2 * ratio), (share,) * 3))


def posterior_variance(law: Any, step: Any) -> Any:
    """Return ``V``."""
    return E(lambda x: law.posterior_variance(x, step.s), law, step.s)


def moment(law: Any, step: Any, b: float, variance: Any) -> Any:
    """Return ``E(x' - b)^2`` of a step of the solver; the normal takes its moments at 1 and -1."""
    solver = solver_for(variance.value, float(step.s.ratio))

    def squares(x: Any) -> Any:
        ends = (
            solver.step(law, x, step.s, step.t, (), noise=(sign + 0 * x,)).state
            for sign in (1.0, -1.0)
        )
        return sum((end - b) ** 2 for end in ends) / 2

    (beta,) = first_order(step.s, step.t).betas
    return E(squares, law, step.s) + beta**2 * (variance - variance.value)


def forward(law: Any, step: Any, b: float) -> float:
    """Return ``E(x' - b)^2`` under the forward law."""
    t = step.t
    return float((t.alpha * law.mean().item() - b) ** 2 + t.alpha**2 * law.variance() + t.sigma**2)


def _less(part: float) -> Any:
    """Return the right side were this part of ``V`` missing."""

    def side(law: Any, step: Any, b: float) -> Any:
        lost = first_order(step.s, step.t).betas[0] ** 2 * posterior_variance(law, step)
        return forward(law, step, b) - part * lost

    return side


@claim(
    "E(x' - b)^2 = (alpha' m - b)^2 + alpha'^2 v + sigma'^2",
    controls={
        "DDIM: no noise": _less(1.0),
        "half the noise's variance": _less(0.5),
        "one per cent less of V": _less(0.01),
    },
    conditions=["x under the forward coupling", "V of the level, an exact denoiser"],
    source="Analytic-DPM (Bao et al., 2022), its optimal reverse variance",
    owner="peer",
    cases=48,
)
def analytic_variance(law: Any = LAW, step: Any = STEP, b: Any = CENTRE) -> Any:
    """Posterior noise keeps two moments of every law."""
    return moment(law, step, b, posterior_variance(law, step)) == forward(law, step, b)


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    c, missed = results[CHECK].comparison, []
    for row in (row for data in results[CHECK].data for row in data.rows):
        law, step = LAW.read(row["law"]), STEP.read(row["step"])
        lost = first_order(step.s, step.t).betas[0] ** 2 * posterior_variance(law, step).value
        missed.append(lost / (step.t.alpha**2 * law.variance() + step.t.sigma**2))
    return [
        Number("largest relative error", np.abs(c.measured / c.predicted - 1).max(), key="off"),
        Number("variance that DDIM's step loses, median", np.median(missed), unit="%"),
        Number("variance that DDIM's step loses, most", max(missed), unit="%", key="lost"),
        Number("steps", len(missed)),
    ]


CLAIM = replace(
    analytic_variance,
    latex=(
        r"x' = \kappa x + \beta\,(D + \sqrt{V}\,z), \quad "
        r"V = \tfrac1d\,\mathbb{E}\|x_\star - D\|^2:"
        r" \qquad \mathbb{E}x' = \alpha' m, \quad \operatorname{tr}\operatorname{Cov} x' = "
        r"\alpha'^2 \operatorname{tr} C + \sigma'^2 d",
    ),
    numbers=_numbers,
    headline="Posterior noise keeps mean and variance of every law in one step; DDIM loses up to "
    "{lost}.",
    finding="From the forward law one step of any length ends with its mean and total variance on "
    "every process. V is the level's denoising loss: no fit, no evaluation more. Single directions "
    "and higher moments are not kept, so that several steps are exact on isotropic Gaussians only.",
)
