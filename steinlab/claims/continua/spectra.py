r"""The gain of a whole run on Gaussian data, for every standard deviation and number of steps.

Data ``N(0, c^2)``, EDM. A run from 80 to 0.002 and on to zero noise multiplies its start by a gain
``g``, the exact flow by ``c / sqrt(c^2 + 80^2)``; ``rho`` is their ratio, and the statement

    f = 0.01 - |rho - 1| > 0

says that the run's deviation is right to 1 %. An axis of any Gaussian is such a run, so the range
of ``c`` covers every spectrum within it. Where the statement is proved for all numbers of steps
from ``N`` on, the error has come to stay below 1 %. The solver's own step runs on affine forms in
``c``, its coefficients taken as the doubles that they are.

Euler's ratio is the product of ``cos(a_i - a_{i+1})``, ``a_i = arctan(sigma_i / c)``
(:mod:`steinlab.claims.causes.cosine_law`); the last step alone leaves ``cos(arctan(0.002 / c))``.
"""

import itertools
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.certified.affine import Form, bounds, reciprocal, sides, sqrt, square
from steinlab.claims.continua import second_runs
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import EDM
from steinlab.solvers import get_solver
from steinlab.solvers.base import Evaluation, Solver
from steinlab.solvers.gaussian_runs import flow_output, gaussian_run
from steinlab.verification.continuum.statement import Control, Enclosed, Parameter, Statement

TOLERANCE = 0.01
STEPS = Parameter.of("steps", "of the run", ("3", "100"), ("1", "1000"), whole=True)
STD = Parameter.of("std", "standard deviation of the data", ("0.05", "2"), ("0.001", "100"))

Levels = tuple[NoiseLevel, ...]


@cache
def levels(grid: str, steps: int) -> Levels:
    """Return the grid of a run."""
    return make_grid(EDM, grid, steps)


def gain(solver: Solver, grid: Levels, std: Any, shrink: Any) -> Any:
    """Run the solver on a form or series ``std``; ``shrink(std, sigma)`` is ``D(x)/x``."""

    def denoiser(x: Any, level: NoiseLevel) -> Any:
        return x * shrink(std, float(level.sigma))

    x = std * 0.0 + 1.0
    history: tuple[Evaluation, ...] = ()
    for s, t in itertools.pairwise(grid):
        found = solver.step(denoiser, x, s, t, history)
        evaluation = Evaluation(s, x, found.denoised, found.linear)
        history, x = (evaluation, *history)[: solver.depth], found.state
    return x


def shrink(std: Form, sigma: float) -> Form:
    """``c^2 / (c^2 + sigma^2)``, as ``1 / (1 + (sigma/c)^2)``."""
    return reciprocal(1 + square(sigma * reciprocal(std)))


def evaluate(name: str, grid: str, low: np.ndarray, high: np.ndarray) -> Enclosed:
    """Enclose ``f``; boxes of several numbers of steps are cut there."""
    lower, upper = np.full(len(low), -np.inf), np.full(len(low), np.inf)
    effects = np.zeros(low.shape)
    solver = get_solver(name, EDM)
    single = low[:, 0] == high[:, 0]
    effects[:, 0], effects[:, 1] = ~single, single
    for steps in np.unique(low[single, 0]).astype(int).tolist():
        rows = single & (low[:, 0] == steps)
        [std] = sides(low[rows, 1:], high[rows, 1:])
        run = levels(grid, steps)
        exact = sqrt(1 + square(float(run[0].sigma) * reciprocal(std)))
        least, most = bounds(gain(solver, run, std, shrink) * exact - 1)
        lower[rows] = TOLERANCE - np.maximum(np.abs(least), np.abs(most))
        upper[rows] = TOLERANCE - np.maximum(np.maximum(least, -most), 0)
    return Enclosed(lower - 1e-15, upper + 1e-15, effects)


def measure(name: str, grid: str, point: Mapping[str, float]) -> float:
    """Return ``f`` by the laboratory's own run on a Gaussian."""
    law = GaussianMixture(np.ones(1), np.zeros((1, 1)), point["std"] ** 2)
    run = levels(grid, int(point["steps"]))
    found = gaussian_run(law, get_solver(name, EDM), run).output.deviations[0]
    exact = flow_output(law, run[0], run[-1]).deviations[0]
    return TOLERANCE - abs(float(found / exact) - 1)


def _always(name: str, grid: str, low: np.ndarray, high: np.ndarray) -> Enclosed:
    """Say that the error is below one in a million."""
    found = evaluate(name, grid, low, high)
    shift = 1e-6 - TOLERANCE
    return Enclosed(found.lower + shift, found.upper + shift, found.effects)


def gains(solver: str, grid: str) -> Statement:
    """Return the statement of a solver on a grid."""
    given = (solver, grid)
    return Statement(
        id=f"gain-{solver}-{grid}",
        title=f"Where {solver} on the {grid} grid keeps a Gaussian's deviation to 1 %",
        says="the gain of the run is right to 1 %",
        fails="the gain of the run is off by more than 1 %",
        latex=r"0.01 - |g / g_{\text{exact}} - 1|",
        parameters=(STEPS, STD),
        evaluate=partial(evaluate, *given),
        second=partial(second_runs.gain, *given),
        measure=partial(measure, *given),
        controls=(Control("the error is below one in a million", partial(_always, *given)),),
        claim="cosine-law",
    )


EULER_KARRAS, EULER_LOGSNR, EULER_TANGENT = (
    gains("euler", grid) for grid in ("karras", "logsnr", "tangent")
)
HEUN_KARRAS, HEUN_LOGSNR, HEUN_TANGENT = (
    gains("heun", grid) for grid in ("karras", "logsnr", "tangent")
)
DPMPP_2M_KARRAS, DPMPP_2M_LOGSNR, DPMPP_2M_TANGENT = (
    gains("dpmpp-2m", grid) for grid in ("karras", "logsnr", "tangent")
)
DPMPP_3M_KARRAS, DPMPP_3M_LOGSNR, DPMPP_3M_TANGENT = (
    gains("dpmpp-3m", grid) for grid in ("karras", "logsnr", "tangent")
)
IPNDM_KARRAS, IPNDM_LOGSNR, IPNDM_TANGENT = (
    gains("ipndm-3", grid) for grid in ("karras", "logsnr", "tangent")
)
