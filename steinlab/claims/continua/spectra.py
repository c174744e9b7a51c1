r"""The gain of a whole run on Gaussian data, for every standard deviation and number of steps.

Data ``N(0, c^2)``, EDM. A run from 80 to 0.002 and on to zero noise multiplies its start by a gain
``g``, the exact flow by ``c / sqrt(c^2 + 80^2)``; ``rho`` is their ratio, and the statement

    f = 0.01 - |rho - 1| > 0

says that the run's deviation is right to 1 %. An axis of any Gaussian is such a run, so the range
of ``c`` covers every spectrum within it. Where the statement is proved for all numbers of steps
from ``N`` on, the error has come to stay below 1 %. The solver's own step is run, its coefficients
taken as the doubles that they are.

Every step is linear and ``D(x)/x = c^2/(c^2 + sigma^2)``, so in ``v = log c`` the ratio is analytic
in the strip ``|Im v| <= pi/4``, where ``|D(x)/x| <= 1``: a run of absolute values bounds it there.
On a piece of ``v`` it is its Chebyshev interpolant then, to within ``4 M r^(1-n)/(r - 1)`` and the
rounding of ``n`` runs (Trefethen, Approximation Theory and Approximation Practice, 2013, theorem
8.2): ``M`` may be large, its effect falls as ``r^-n``. No error is carried from step to step.

Euler's ratio is the product of ``cos(a_i - a_{i+1})``, ``a_i = arctan(sigma_i / c)``
(:mod:`steinlab.claims.causes.cosine_law`); the last step alone leaves ``cos(arctan(0.002 / c))``.
"""

import itertools
from collections.abc import Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial.chebyshev import chebder, chebval

from analytic import GaussianMixture, NoiseLevel
from analytic.certified.affine import Form, reciprocal, sqrt, square
from analytic.certified.balls import precision
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


class Size:
    """An absolute value through a linear map: what cancels is added."""

    __array_ufunc__ = None

    def __init__(self, value: float) -> None:
        self.value = value

    def __mul__(self, other: float) -> "Size":
        return Size(self.value * abs(float(other)))

    __rmul__ = __mul__

    def __truediv__(self, other: float) -> "Size":
        return Size(self.value / abs(float(other)))

    def __add__(self, other: "Size | float") -> "Size":
        return Size(self.value + (other.value if isinstance(other, Size) else abs(float(other))))

    __radd__ = __sub__ = __rsub__ = __add__

    def __neg__(self) -> "Size":
        return self


def largest(name: str, grid: str, steps: int) -> float:
    """Bound the gain's absolute value where ``|D(x)/x| <= 1``."""
    found: Size = gain(get_solver(name, EDM), levels(grid, steps), Size(1.0), lambda *_: 1.0)
    return 1.001 * found.value


PIECE, NODES, BLOCK = 0.9, 40, 6
"""Length of a piece of ``log std``, nodes of its interpolant, and pieces that are run together."""

STEEP, MORE_NODES, BITS = 1e9, 72, 192
"""From which bound on the gain on there are more nodes, run with balls of so many bits: the
rounding of a run grows as that bound does, by histories of four to 1e16 within 100 steps."""

TALL = 0.25 * np.pi / (0.5 * PIECE)
WIDE = np.sqrt(1 + TALL**2)
DECAY = WIDE + TALL
"""The ellipse about a piece that fits the strip: its half axes and their sum ``r``."""

LEBESGUE = 3.8
"""By how much interpolation may enlarge an error at its nodes."""


class Interpolant(NamedTuple):
    """``rho`` on a piece, as a Chebyshev series in ``[-1, 1]``, and by how much it may be off."""

    series: np.ndarray
    off: float


@cache
def interpolants(name: str, grid: str, steps: int, block: int) -> list[Interpolant]:
    """Interpolate ``rho`` on the pieces of a block; block 0 ends at 0.9."""
    centres = (block * BLOCK - BLOCK + 1.5 + np.arange(BLOCK)) * PIECE
    bound = largest(name, grid, steps)
    count, runs = (MORE_NODES, _by_balls) if bound > STEEP else (NODES, _by_forms)
    order = np.arange(count)
    angle = np.pi * (order + 0.5) / count
    first = float(levels(grid, steps)[0].sigma)
    centre, radius = runs(
        name, levels(grid, steps), np.exp(centres[:, None] + 0.5 * PIECE * np.cos(angle))
    )
    every = 2 / count * centre @ np.cos(np.outer(angle, order))
    every[:, 0] *= 0.5
    smallest = np.exp(centres - 0.5 * PIECE * WIDE)
    most = bound * np.hypot(1, first / smallest)
    moved = 1e-14 * (1 + (np.abs(every) * order**2).sum(axis=1))  # a node is a double
    slip = 1e-15 * count * np.abs(centre).max(axis=1)
    nodes = radius.max(axis=1) + slip + moved
    off = LEBESGUE * nodes + 4.01 * most * DECAY ** (1 - count) / (DECAY - 1)
    return [Interpolant(*one) for one in zip(every, off.tolist(), strict=True)]


def _by_forms(name: str, run: Levels, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``rho`` at nodes and its radius, in doubles."""
    form = Form(std)
    exact = sqrt(1 + square(float(run[0].sigma) * reciprocal(form)))
    found = gain(get_solver(name, EDM), run, form, shrink) * exact
    return found.centre, np.asarray(found.radius)


def _by_balls(name: str, run: Levels, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the same by arrays of balls; a double times a ball is exact to ``BITS`` bits."""
    with precision(BITS) as flint:
        ball = np.vectorize(flint.arb, otypes=[object])(std)
        root = np.vectorize(lambda x: x.sqrt(), otypes=[object])
        found = gain(
            get_solver(name, EDM), run, ball, lambda c, sigma: 1 / (1 + (sigma / c) * (sigma / c))
        )
        tangent = float(run[0].sigma) / ball
        rho = found * root(1 + tangent * tangent)
        middle = np.vectorize(lambda x: float(x.mid()), otypes=[float])(rho)
        radius = np.vectorize(lambda x: float(x.rad()), otypes=[float])(rho)
    return middle, radius * (1 + 1e-9) + 1e-15 * np.abs(middle)


def interpolant(name: str, grid: str, steps: int, piece: int) -> Interpolant:
    """Return ``rho`` on the piece of ``log std`` from ``piece`` times 0.9 on."""
    block, index = divmod(piece + BLOCK - 1, BLOCK)
    return interpolants(name, grid, steps, block)[index]


def ratio(
    name: str, grid: str, steps: int, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Enclose ``rho`` on ranges of standard deviations, ``(B,)``."""
    lower, upper = np.full(len(low), np.inf), np.full(len(low), -np.inf)
    first, last = (
        np.floor(np.log(end) / PIECE + slip) for end, slip in ((low, -1e-9), (high, 1e-9))
    )
    for piece in range(int(first.min()), int(last.max()) + 1):
        rows = (first <= piece) & (last >= piece)
        ends = [2 * (np.log(end[rows]) / PIECE - piece) - 1 for end in (low, high)]
        a, b = (np.clip(end, -1, 1) for end in ends)
        least, most = within(interpolant(name, grid, steps, piece), a, b)
        lower[rows], upper[rows] = np.minimum(lower[rows], least), np.maximum(upper[rows], most)
    return lower, upper


def within(one: Interpolant, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Enclose an interpolant between ``a`` and ``b``: its tangent, its curvature, its size."""
    order, middle, half = np.arange(len(one.series)), 0.5 * (a + b), 0.5 * (b - a) + 1e-13
    bend = (np.abs(one.series) * order**2 * (order**2 - 1)).sum() / 3
    value, slope = chebval(middle, one.series), chebval(middle, chebder(one.series))
    r = np.abs(slope) * half + 0.5 * bend * half**2
    size = np.abs(one.series).sum()
    r = np.minimum(r, np.abs(value - one.series[0]) + size - abs(one.series[0]))
    r = r + one.off + 1e-13 * size
    return value - r, value + r


def evaluate(name: str, grid: str, low: np.ndarray, high: np.ndarray) -> Enclosed:
    """Enclose ``f``; boxes of several numbers of steps are cut there."""
    lower, upper = np.full(len(low), -np.inf), np.full(len(low), np.inf)
    effects = np.zeros(low.shape)
    single = low[:, 0] == high[:, 0]
    effects[:, 0], effects[:, 1] = ~single, single
    for steps in np.unique(low[single, 0]).astype(int).tolist():
        rows = single & (low[:, 0] == steps)
        least, most = (end - 1 for end in ratio(name, grid, steps, low[rows, 1], high[rows, 1]))
        lower[rows] = TOLERANCE - np.maximum(np.abs(least), np.abs(most))
        upper[rows] = TOLERANCE - np.maximum(np.maximum(least, -most), 0)
    return Enclosed(lower - 1e-15, upper + 1e-15, effects)


class Spectrum(NamedTuple):
    """The largest ``|rho - 1|`` over all standard deviations of a range, between two bounds."""

    least: float
    most: float
    worst: float
    """A standard deviation with an error of at least ``least``."""


PARTS = 400
"""Parts of a range of standard deviations, by equal ratios."""


def spectrum(name: str, grid: str, steps: int, low: float = 0.05, high: float = 2.0) -> Spectrum:
    """Enclose the error of a run on every Gaussian whose deviations lie in a range."""
    edges = np.geomspace(low, high, PARTS + 1)
    edges[[0, -1]] = low, high
    least, most = ratio(name, grid, steps, edges[:-1], edges[1:])
    inner, outer = ratio(name, grid, steps, edges, edges)
    sure = np.maximum(np.maximum(inner - 1, 1 - outer), 0)
    at = int(sure.argmax())
    bound = float(np.maximum(np.abs(least - 1), np.abs(most - 1)).max())
    return Spectrum(float(sure[at]), bound, float(edges[at]))


def stays(name: str, grid: str, last: int = 100) -> int | None:
    """Return the number of steps from which the error stays below 1 % up to ``last``; or None."""
    found = None
    for steps in range(last, STEPS.low.numerator - 1, -1):
        if spectrum(name, grid, steps).most >= TOLERANCE:
            break
        found = steps
    return found


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
IPNDM_4_KARRAS, IPNDM_4_LOGSNR, IPNDM_4_TANGENT = (
    gains("ipndm-4", grid) for grid in ("karras", "logsnr", "tangent")
)
IPNDM_KARRAS, IPNDM_LOGSNR, IPNDM_TANGENT = (
    gains("ipndm-3", grid) for grid in ("karras", "logsnr", "tangent")
)
