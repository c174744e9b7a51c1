r"""How many dimensions a sampling trajectory needs.

Every solver combines states and outputs, and so does the flow. For ``K`` isotropic modes of one
width, ``D - m`` lies in the span of the modes' differences and ``x - m``; the trajectory is then in
``m + span{m_i - m_1} + R (x_0 - m)``, of ``K`` affine dimensions. For Gaussian data of ``q``
distinct variances ``x`` is a sum of ``q`` fixed vectors with moving coefficients: ``q`` dimensions.
Both are independent of the dimension of the data. Neither bounds other data: digits, or modes of
several widths.

The dimension is the number of singular values of a trajectory's states, less the last, that
rounding does not explain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from analytic import EmpiricalMixture, GaussianMixture
from steinlab.claims.instruments.ranges import Ranges
from steinlab.coefficient.rounding import EPS
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


class Spread(NamedTuple):
    """Of a trajectory's states less the last: singular values over the root of their squares' sum.

    ``parts`` is what their number should be at most, ``length`` that root over the last state's
    norm.
    """

    parts: int
    values: np.ndarray
    length: float

    @property
    def dimension(self) -> int:
        """Singular values that rounding does not explain."""
        return int((self.values > LEAST).sum())

    @property
    def beyond(self) -> float:
        """Root mean square share beyond three dimensions."""
        return float(np.linalg.norm(self.values[PUBLISHED:]))


def measure(case: Path) -> Spread:
    """Follow a trajectory."""
    law, grid = case.law(), make_grid("edm", "karras", STEPS)
    rng = np.random.default_rng([case.seed, 1])
    x = grid[0].noised(law.sample(1, rng), rng)
    path = np.concatenate(solve(law, x, grid, SOLVER, keep_trajectory=True).trajectory)
    found = np.linalg.svd(path[:-1] - path[-1], compute_uv=False)
    size = float(np.linalg.norm(found))
    return Spread(case.parts, found / size, size / float(np.linalg.norm(path[-1])))


LEAST = 2**12 * EPS
"""Singular values above it are counted: states are sums of up to that many roundings."""


def compare(data: Spread, formula: Any) -> Comparison:
    """Bound the dimension by the number of modes or variances."""
    return single(float(data.dimension), formula(data.parts), 0.0, upper=True)


def compare_published(data: Spread, formula: Any) -> Comparison:  # noqa: ARG001
    """Bound it by three."""
    return compare(data, lambda _: PUBLISHED)


PATHS = Ranges(Path, {"parts": range(1, PUBLISHED + 1), "kind": (MODES, SCALES)})
MORE = Ranges(Path, {"parts": range(4, 7), "kind": (MODES, SCALES)})


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    found = results[DIGITS].data
    shares = [one.beyond for one in found], [one.beyond * one.length for one in found]
    return [
        Number("dimensions of a digit's trajectory, 24 steps", found[0].dimension, key="digits"),
        Number(
            "its part beyond rank 3, over its length",
            float(np.mean(shares[0])),
            unit="%",
            key="beyond",
        ),
        Number("the same over the digit's size", float(np.mean(shares[1])), unit="%"),
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
        Dropped(
            "at most three modes or variances",
            MORE.check("four to six", 6, measure, compare_published),
            unstated=True,
        ),
        Dropped(
            "few modes: digits",
            MORE.check(DIGITS, 4, measure, compare_published, kind=DIGITS, parts=PUBLISHED),
            unstated=True,
        ),
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
