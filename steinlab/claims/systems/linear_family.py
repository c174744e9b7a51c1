r"""The linear family: every solver of one evaluation per step is in it, and what its fit reaches.

The fit is by least squares to the exact flow, step by step. On centred Gaussian data of ``q``
distinct variances a step has as many equations as variances, and step ``i`` has ``i + 2`` numbers:
``n`` steps end on the flow if ``q <= n + 1``, unless the outputs are dependent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analytic.flow.exact import gaussian_gain
from steinlab.claims.instruments.gaussian_data import law_of
from steinlab.claims.instruments.ranges import Ranges, between
from steinlab.claims.instruments.table_points import POINTS, altered, point_check, shortened
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.grids import make_grid
from steinlab.solvers.gaussian_runs import gaussian_run
from steinlab.solvers.linear_family import fit_table
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Result
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number

POINT, ISOTROPIC, SEVERAL = "points of the family", "isotropic", "as many numbers as variances"


@dataclass(frozen=True)
class Fit(SingleCase):
    """A table fitted on a Gaussian whose axes have deviations even in the logarithm."""

    variances: int
    steps: int
    low: float
    mean: float = 0.0


def measure_fit(case: Fit) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the fitted run's gains, the flow's, and the rounding."""
    law = law_of(np.geomspace(case.low, 2.0, case.variances), case.mean)
    grid = make_grid("edm", "karras", case.steps)
    start = law.means + grid[0].sigma * np.array([[1.0], [-1.0]])
    gains = [np.asarray(gaussian_gain(law.spectra[0], grid[0], level)) for level in grid[1:]]
    targets = [law.means + gain * (start - law.means) for gain in gains]
    table = fit_table(law, start, grid, targets)
    found = gaussian_run(law, table, grid).gains[-1]
    growth = max(abs(number) for row in table.rows for number in row)
    return found, gains[-1], ROUNDING * EPS * growth * case.steps * 2**10


def compare_fit(data: tuple[np.ndarray, np.ndarray, float], formula: Any) -> Comparison:  # noqa: ARG001
    """Compare gains of all axes with the flow's: equal ones are W2 = 0."""
    found, exact, slack = data
    worst = int(np.argmax(np.abs(found / exact - 1)))
    return single(float(found[worst]), float(exact[worst]), slack * float(exact[worst]))


NUMBERS = (*between(log=True, low=(0.05, 1.0)), *between(mean=(-3.0, 3.0)))
FITS = Ranges(Fit, {"variances": (1,), "steps": range(1, 9)}, NUMBERS, seeded=False)
WIDTH = between(log=True, low=(0.05, 0.5))
SEVERALS = Ranges(Fit, {"variances": (2, 3, 4), "steps": (3, 5)}, WIDTH, seeded=False)
MORE = Ranges(Fit, {"variances": (4,), "steps": (2,)}, WIDTH, seeded=False)
TOO_MANY = MORE.check("too many", 3, measure_fit, compare_fit)


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    off, more = (
        [abs(found / exact - 1).max() for found, exact, _ in results[name].data]
        for name in (SEVERAL, TOO_MANY.name)
    )
    return [
        Number("solvers of one evaluation per step", len(POINTS.lists["solver"]), key="solvers"),
        Number("largest relative error of a fitted gain", max(off)),
        Number("the same with more variances than numbers", min(more)),
    ]


CLAIM = Claim(
    id="linear-family",
    title="One family holds every solver of one evaluation per step",
    statement="every linear solver here with one evaluation per step is, on a grid, x_(i+1) = "
    "kappa_i x_i + sum b_ij D_j; on isotropic Gaussians two numbers per step follow the exact "
    "flow, and n steps end on it for centred Gaussians of at most n + 1 distinct variances",
    latex=(
        r"x_{i+1} = \kappa_i x_i + \sum_{j \le i} b_{ij} D_j, \qquad "
        r"\min_{\kappa, b} W_2 = 0 \text{ for } q \le n + 1",
    ),
    source="DDSS and GGDM (Watson et al., 2022), bespoke non-stationary solvers (Shaul et al., "
    "2024), S4S (2025)",
    kind="identity",
    owner="peer",
    conditions=(
        "each state alone, deterministic",
        "fits: exact flow, Karras grid to zero noise",
        "no more distinct variances than numbers in the last step",
    ),
    formula=altered(0.0),
    checks=(
        point_check(POINT, 72),
        FITS.check(ISOTROPIC, 8, measure_fit, compare_fit),
        SEVERALS.check(SEVERAL, 6, measure_fit, compare_fit),
    ),
    controls=(
        NegativeControl("newest number off by 1e-6", altered(1e-6), (POINT,)),
        NegativeControl("oldest output left out", shortened, (POINT,)),
    ),
    dropped=(Dropped("no more variances than numbers", TOO_MANY),),
    headline="All {solvers} solvers of one evaluation per step are points of one family, whose fit "
    "is exact on few-scale Gaussians.",
    numbers=_numbers,
    finding="Euler, DPM-Solver++, UniPC, DEIS and iPNDM differ only in the numbers of one table "
    "per grid. Fitted to the exact flow, step by step, that table ends on it where the data have "
    "no more variances than its last step has numbers; with more it cannot. The fit's price is "
    "counted beside the run's.",
    search=lambda _: [POINTS.space(POINT), FITS.space(ISOTROPIC)],
)
