r"""How many dimensions a sampling trajectory needs.

Every solver combines states and outputs, and so does the flow. For ``K`` isotropic modes of one
width, ``D - m`` lies in the span of the modes' differences and ``x - m``; the trajectory is then in
``m + span{m_i - m_1} + R (x_0 - m)``, of ``K`` affine dimensions. For Gaussian data of ``q``
distinct variances ``x`` is a sum of ``q`` fixed vectors with moving coefficients: ``q`` dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analytic import EmpiricalMixture, GaussianMixture
from steinlab.claims.instruments.ranges import Ranges
from steinlab.claims.instruments.trajectory_span import Span, span_of
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.laws import load_digits
from steinlab.solvers.loop import solve
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Result
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number

MODES, SCALES, DIGITS = "modes of one width", "variances", "digits"
DIM, STEPS, SOLVER = 12, 24, "dpmpp-2m"
PUBLISHED = 3
"""Dimensions in which trajectories are said to lie."""


@dataclass(frozen=True)
class Path(SingleCase):
    """One trajectory of a law of ``parts`` modes or variances, or of the digits."""

    kind: str
    parts: int
    seed: int

    def law(self) -> Any:
        """Return the law."""
        rng = np.random.default_rng(self.seed)
        if self.kind == DIGITS:
            return EmpiricalMixture(load_digits(), 0.1)
        if self.kind == MODES:
            means = rng.standard_normal((self.parts, DIM))
            return GaussianMixture(rng.dirichlet(np.full(self.parts, 5.0)), means, 0.04)
        deviations = np.geomspace(0.2, 2.0, self.parts)[np.arange(DIM) % self.parts]
        return GaussianMixture(np.ones(1), rng.standard_normal((1, DIM)), deviations[None] ** 2)


def measure(case: Path) -> tuple[int, Span]:
    """Follow a trajectory; return the number of modes or variances, and what it spans."""
    law, grid = case.law(), make_grid("edm", "karras", STEPS)
    rng = np.random.default_rng([case.seed, 1])
    x = grid[0].noised(law.sample(1, rng), rng)
    path = np.concatenate(solve(law, x, grid, SOLVER, keep_trajectory=True).trajectory)
    return case.parts, span_of(path)


def compare(data: tuple[int, Span], formula: Any) -> Comparison:
    """Bound the dimension by the number of modes or variances."""
    return single(float(data[1].dimension), formula(data[0]), 0.0, upper=True)


def compare_published(data: tuple[int, Span], formula: Any) -> Comparison:  # noqa: ARG001
    """Bound it by three."""
    return compare(data, lambda _: PUBLISHED)


PATHS = Ranges(Path, {"parts": range(1, PUBLISHED + 1), "kind": (MODES, SCALES)})
MORE = Ranges(Path, {"parts": range(4, 7), "kind": (MODES, SCALES)})
FOUR = MORE.check("four to six", 6, measure, compare_published)
PICTURES = MORE.check(DIGITS, 4, measure, compare_published, kind=DIGITS, parts=PUBLISHED)


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    found = [span for _, span in results[DIGITS].data]
    beyond = [span.beyond(PUBLISHED) for span in found]
    sizes = [share * span.length for share, span in zip(beyond, found, strict=True)]
    return [
        Number("dimensions of a digit's trajectory, 24 steps", found[0].dimension, key="digits"),
        Number("its part beyond rank 3, over its length", np.mean(beyond), unit="%", key="beyond"),
        Number("the same over the digit's size", np.mean(sizes), unit="%"),
    ]


CLAIM = Claim(
    id="trajectory-dimension",
    title="Trajectories lie in three dimensions",
    statement="a sampling trajectory lies in an affine space of at most three dimensions, whatever "
    "the dimension of the data: K for K isotropic modes of one width, q for q distinct variances "
    "of Gaussian data",
    latex=(r"\dim \operatorname{aff}\{x_t\} \le K, \qquad \dim \operatorname{aff}\{x_t\} \le q",),
    expected="conditional",
    source="Chen et al., On the trajectory regularity of ODE-based diffusion sampling (2024)",
    kind="upper",
    owner="peer",
    conditions=(
        "the exact denoiser, any solver that combines states and outputs",
        "unstated: at most three modes of one width, or three variances",
    ),
    formula=float,
    checks=(PATHS.check("up to three", 18, measure, compare),),
    controls=(NegativeControl("one dimension less", lambda parts: parts - 1.0),),
    dropped=(
        Dropped("at most three modes or variances", FOUR, unstated=True),
        Dropped("few modes: digits", PICTURES, unstated=True),
    ),
    headline="One dimension per mode of one width or per variance; digits need {digits}, though "
    "three hold all but {beyond}.",
    numbers=_numbers,
    finding="A trajectory needs one dimension per mode of equal width, or per distinct variance, "
    "and no more, in any dimension of the data. Three are enough where the data have three; digits "
    "need nearly all that the steps span. Little of the way lies beyond the third, but the way is "
    "mostly noise: of the picture it is a visible part.",
    search=lambda _: [PATHS.space("up to three")],
)
