r"""Distance to the exact flow's end, split exactly into discretisation and denoiser error.

A solver runs on a wrong denoiser ``D~``, itself the exact denoiser of a wrong law, so that both
flows are known. With ``x_k`` the solver's states, ``Phi`` the flow of the law and ``Phi~`` that of
the wrong one,

    x_N - Phi(x_0) = sum_k [ Phi~_{N,k+1}(x_{k+1}) - Phi~_{N,k}(x_k) ]          discretisation
                   + int Phi~'_{end,s}(y_s) (D - D~)(y_s) d(log s)              denoiser

with ``y_s`` the exact trajectory in ``y = x/alpha, s = sigma/alpha``: the local errors, each
carried to the end by the flow (Lady Windermere's fan), and the formula of Alekseev and Groebner. In
one dimension ``Phi~'`` is the ratio of densities ``p~_s(y) / p~_end(Phi~(y))``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.exact import exact_flow
from analytic.flow.line import Line, line_flow
from analytic.quadrature import gauss_legendre
from steinlab.claims.instruments.observed_order import LAW, STATES, PerState
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.grids import given_grid
from steinlab.diffusion.processes import EDM, PROCESSES
from steinlab.solvers import get_solver
from steinlab.solvers.loop import solve
from steinlab.verification.claim import Check, Claim, Effort, NegativeControl, Results
from steinlab.verification.comparison import Comparison
from steinlab.verification.falsify.spaces import Parameter, Space, picked
from steinlab.verification.quantities import Number, Table

RANGE = (10.0, 0.1)
"""Noise-to-signal ratios of the runs."""

PANELS = 6
NODES = 16
SOLVERS = ("euler", "heun", "dpmpp-2m", "unipc-2", "ipndm-4")


@dataclass(frozen=True)
class Run(PerState):
    """A run on a wrong denoiser; one case per state.

    The wrong law is the true one with means moved by ``error`` and deviations stretched by
    ``1 + error``; ``error = 0`` leaves the discretisation alone.
    """

    solver: str
    process: str
    steps: int
    error: float


def wrong_law(error: float) -> GaussianMixture:
    """Return the law whose denoiser the solver is given."""
    stretched = LAW.spectra[:, 0] * (1 + error) ** 2
    return GaussianMixture(LAW.weights, LAW.means + error, stretched)


class Parts(NamedTuple):
    """The distance to the exact end and its parts, ``(N,)`` each, in data coordinates.

    ``local`` holds the fan's terms ``(steps, N)``, ``bare`` the same local errors before they are
    carried to the end, ``uncarried`` the denoiser integral without the flow's derivative, and
    ``error`` what the exact flows state as theirs.
    """

    run: Run
    total: np.ndarray
    local: np.ndarray
    bare: np.ndarray
    denoiser: np.ndarray
    uncarried: np.ndarray
    error: np.ndarray


def measure(run: Run) -> Parts:
    """Run the solver and compute both parts."""
    process = PROCESSES[run.process]
    grid = given_grid(process, list(np.geomspace(*RANGE, run.steps + 1)))
    wrong = wrong_law(run.error)
    x = grid[0].alpha * STATES * RANGE[0]
    solver = get_solver(run.solver, process)
    path = solve(wrong, x, grid, solver, keep_trajectory=True).trajectory
    scale = 1 / grid[-1].alpha
    exact = exact_flow(LAW, x, grid[0], grid[-1])
    line, states = Line.of(wrong), np.stack(path)[..., 0]
    starts, ends = stacked(grid[:-1]), stacked(grid[1:])
    flows, errors = line_flow(line, states[:-1], starts, grid[-1])
    carried = scale * np.concatenate((flows, states[-1:]))
    bare = (states[1:] - line_flow(line, states[:-1], starts, ends)[0]) / ends.alpha[..., 0]
    denoiser, uncarried = _alekseev_groebner(run.error)
    return Parts(
        run,
        carried[-1] - scale * exact.state[:, 0],
        np.diff(carried, axis=0),
        bare,
        denoiser,
        uncarried,
        scale * (exact.error + errors.sum(axis=0)),
    )


@lru_cache(maxsize=8)
def _alekseev_groebner(error: float) -> tuple[np.ndarray, np.ndarray]:
    """Integrate ``Phi~' (D - D~)`` along the exact trajectories, and ``D - D~`` alone.

    The same for every process and solver: a function of ``y`` and ``s``.
    """
    wrong, y = wrong_law(error), STATES[:, 0] * RANGE[0]
    start, end = (NoiseLevel(1.0, ratio) for ratio in RANGE)
    edges = np.linspace(np.log(RANGE[0]), np.log(RANGE[1]), PANELS + 1)
    nodes, half = (array[:, None] for array in gauss_legendre(NODES))
    middle, reach = 0.5 * (edges[:-1] + edges[1:]), 0.5 * np.diff(edges)
    levels = stacked([NoiseLevel(1.0, float(e)) for e in np.exp(middle + reach * nodes).T.flat])
    weights = (reach * half).T.reshape(-1, 1)
    begun = np.broadcast_to(y, (len(weights), len(y)))
    states, _ = line_flow(Line.of(LAW), begun, start, levels)
    arrivals, _ = line_flow(Line.of(wrong), states, levels, end)
    state, arrival = states[..., None], arrivals[..., None]
    slope = np.exp(wrong.log_prob(state, levels) - wrong.log_prob(arrival, end))
    gap = (LAW(state, levels) - wrong(state, levels))[..., 0]
    return (weights * slope * gap).sum(axis=0), (weights * gap).sum(axis=0)


def stacked(levels: Sequence[NoiseLevel]) -> NoiseLevel:
    """Return the levels as one stack, ``(C, 1, 1)``."""
    pairs = np.array([(level.alpha, level.sigma) for level in levels])
    return NoiseLevel(pairs[:, 0, None, None], pairs[:, 1, None, None])


Formula = Callable[[Parts], np.ndarray]


def split(parts: Parts) -> np.ndarray:
    """Discretisation plus denoiser error."""
    return np.asarray(parts.local.sum(axis=0) + parts.denoiser)


DENSITY = 16.0
"""Size of the logarithms whose exponentials are the flow's derivative, relative to 1."""


def compare(parts: Parts, formula: Formula) -> Comparison:
    """Compare the distance to the exact end with the sum of its parts."""
    predicted = formula(parts)
    size = 1 + np.abs(parts.local).sum(axis=0) + np.abs(parts.denoiser)
    tolerance = 2 * np.ravel(parts.error) + ROUNDING * EPS * DENSITY * size
    return Comparison(parts.total, predicted, tolerance, scale=size)


def _draw(effort: Effort) -> Sequence[Run]:
    steps = (3, 5, 8, 20) if effort.profile == "full" else (5, 20)
    errors = (0.0, 0.01, 0.1) if effort.profile == "full" else (0.0, 0.05)
    processes = (EDM.name, "vp-linear", "flow") if effort.profile == "full" else (EDM.name, "flow")
    return [
        Run(solver, process, n, error)
        for solver in SOLVERS
        for process in processes
        for n in steps
        for error in errors
    ]


def _shares(results: Results) -> list[Parts]:
    runs = results["split"].data
    return [p for p in runs if p.run.process == EDM.name and p.run.error > 0]


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _table(results: Results) -> Table:
    rows = []
    for p in _shares(results):
        sizes = (_rms(v) for v in (p.total, p.local.sum(axis=0), p.denoiser))
        run = [p.run.solver, str(p.run.steps), f"{p.run.error:g}"]
        rows.append([*run, *(f"{size:.3g}" for size in sizes)])
    columns = ["solver", "steps", "law error", "total", "discretisation", "denoiser"]
    return Table("Root mean square parts of the end's error, EDM", columns, rows)


def _numbers(results: Results) -> list[Number]:
    parts = {(p.run.solver, p.run.steps): p for p in _shares(results)}
    steps = sorted(n for name, n in parts if name == "dpmpp-2m")
    shown = [
        Number(
            f"{label}: discretisation over the denoiser's part at {n} steps",
            _rms(parts[name, n].local.sum(axis=0)) / _rms(parts[name, n].denoiser),
        )
        for n in (steps[0], steps[-1])
        for name, label in (("euler", "Euler"), ("dpmpp-2m", "2M"))
    ]
    off = Number("law off by", _shares(results)[-1].run.error, unit="%", key="off")
    apart = float(np.max(results["split"].comparison.excess))
    fine = Number("steps of a fine run", steps[-1], key="fine")
    return [off, fine, *shown, Number("distance of the sum from the whole, largest", apart)]


def decomposition_spaces(claim: Claim) -> list[Space]:  # noqa: ARG001
    """Spaces of the split error: runs of any length on laws off by any share."""
    lists = {"solver": SOLVERS, "process": ("edm", "vp-linear", "flow")}
    numbers = (Parameter("steps", 2, 21, whole=True), Parameter("error", 1e-3, 0.2, True))
    return [picked("split", 32, lists, Run, *numbers)]


CLAIM = Claim(
    id="integration-error-decomposition",
    title="Discretisation and denoiser error",
    statement="the distance to the exact flow's end is the sum of the local errors carried by the "
    "model's flow and of the denoiser's error carried along the exact trajectory",
    latex=(
        r"x_0 - \Phi(x_N) = \sum_k \big[\text{local error}_k\big]_{\text{carried}} + "
        r"\big[\text{denoiser's error}\big]_{\text{carried}}",
    ),
    headline="Sampler error is exactly discretisation plus denoiser error; with a law {off} "
    "off the latter dominates 2M at {fine} steps.",
    numbers=_numbers,
    source="Hairer, Norsett, Wanner, Solving ODEs I, theorem I.14.5",
    kind="identity",
    owner="laboratory",
    conditions=("the model's flow is differentiable in its start",),
    formula=split,
    checks=(Check("split", "quadrature", Run, draw=_draw, measure=measure, compare=compare),),
    controls=(
        NegativeControl("local errors not carried", lambda p: p.bare.sum(axis=0) + p.denoiser),
        NegativeControl(
            "denoiser's error not carried", lambda p: p.local.sum(axis=0) + p.uncarried
        ),
        NegativeControl("denoiser's part dropped", lambda p: p.local.sum(axis=0)),
        NegativeControl(
            "last local error dropped", lambda p: p.local[:-1].sum(axis=0) + p.denoiser
        ),
    ),
    finding="Both parts, each carried to the end by the flow, add up to the whole distance. More "
    "steps shrink the first part alone: once the denoiser's part leads, a better denoiser helps "
    "and a finer grid does not. Two modes in one dimension, where the flow's derivative is known.",
    table=_table,
    search=decomposition_spaces,
)
