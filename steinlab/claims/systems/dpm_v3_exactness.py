r"""DPM-Solver-v3's first-order step is the exact flow of every Gaussian with diagonal covariance.

There ``D`` has the Jacobian ``1 - l`` with ``l_i = S^2 / (v_i + S^2)``, which the statistics hold,
and ``f = -l m`` is the same for every state, so that ``b = f'`` absorbs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.exact import exact_flow
from steinlab.claims.instruments.ranges import Ranges, between
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers.dpm_v3 import Statistics, dpm_v3, of_gaussian
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Result
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number

NAMES = ("vp-linear", "flow", "edm")
START = np.array([1.0, -0.5])


@dataclass(frozen=True)
class OneStep(SingleCase):
    """One step of order one on a Gaussian in the plane, turned by an angle in degrees."""

    process: str
    mean: float
    first: float
    second: float
    ratio: float
    left: float
    angle: float


class Moved(NamedTuple):
    """The levels, the law and the variances of its coordinates, the start and the exact end."""

    levels: tuple[NoiseLevel, NoiseLevel]
    law: GaussianMixture
    variances: np.ndarray
    start: np.ndarray
    end: np.ndarray


def measure(case: OneStep) -> Moved:
    """Follow the exact flow."""
    turn = np.deg2rad(case.angle)
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    covariance = axes @ np.diag([case.first, case.second]) @ axes.T
    mean = np.array([[case.mean, -case.mean]])
    law = GaussianMixture(np.ones(1), mean, covariance[None])
    process = PROCESSES[case.process]
    s, t = process.level_at(case.ratio), process.level_at(case.left * case.ratio)
    start = s.alpha * mean + s.sigma * START
    return Moved((s, t), law, np.diag(covariance), start, exact_flow(law, start, s, t).state)


def compare(data: Moved, formula: Callable[[np.ndarray, np.ndarray], Statistics]) -> Comparison:
    """Compare the first coordinate, by the statistics of a mean and variances, with the flow's."""
    solver = dpm_v3(1, formula(data.law.means[0], data.variances))
    found = float(solver.step(data.law, data.start, *data.levels, ()).state[0, 0])
    # what drives the step is a difference of terms as large as the state where it begins
    scale = float(np.abs(data.start).max() + np.abs(data.law.means).max())
    return single(found, data.end[0, 0], 4 * ROUNDING * EPS * scale, scale=np.array([scale]))


FOUND = between(mean=(-2.0, 2.0), first=(0.05, 4.0), second=(0.05, 4.0), left=(0.02, 0.9))
FOUND += between(log=True, ratio=(0.1, 20.0))
STEPS = Ranges(OneStep, {"process": NAMES}, FOUND, seeded=False, together=True)
"""Mean of the first coordinate (the second's is its opposite), variances, ``S'/S`` and ``S``."""
DIAGONAL = STEPS.check("diagonal", 24, measure, compare, angle=0.0)
TURNED = STEPS.check("turned", 24, measure, compare, angle=45.0)


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    turned = results["turned"].comparison
    return [
        Number("largest distance to the exact flow", results["diagonal"].comparison.excess.max()),
        Number("turned by 45 degrees, median error", np.median(turned.excess), key="turned"),
    ]


CLAIM = Claim(
    id="dpm-v3-exactness",
    title="DPM-Solver-v3 on Gaussian data",
    statement="one first-order step of DPM-Solver-v3 with exact statistics is the exact flow of "
    "N(m, diag(v)), however long it is",
    latex=(
        r"l_i = \frac{S^2}{v_i + S^2}, \; s_i = 0, \; b_i = 2\, l_i (1 - l_i)\, m_i: \qquad "
        r"x_t = \text{exact flow for } \mathcal N(m, \operatorname{diag} v)",
    ),
    headline="One step is exact on Gaussians with diagonal covariance; turned by 45 degrees it is "
    "not.",
    numbers=_numbers,
    source="DPM-Solver-v3 (Zheng et al., 2023), first-order step, equation 11",
    kind="identity",
    owner="peer",
    conditions=("Gaussian data", "diagonal covariance", "exact statistics"),
    formula=of_gaussian,
    checks=(DIAGONAL,),
    controls=(
        NegativeControl("l = 1, the data form", lambda m, v: of_gaussian(m, 0 * v)),
        NegativeControl("b left out", lambda _, v: of_gaussian(0.0, v)),
    ),
    dropped=(Dropped("diagonal: the axes turned by 45 degrees", TURNED),),
    finding="Statistics per coordinate are all that a diagonal Gaussian has, and b holds its mean. "
    "Pixels are correlated: what the statistics miss is the Jacobian off the diagonal. They belong "
    "to one model; another's are as wrong as another Gaussian's.",
    search=lambda _: [STEPS.space("diagonal", 192, angle=0.0)],
)
