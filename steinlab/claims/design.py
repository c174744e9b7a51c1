r"""Runs of a declared design: the paper's correction beside the plain solver, cell by cell.

A *setup* is one data law, process, solver, grid and budget of evaluations; with a *rule*, the
limits between which the estimated coefficient is clipped, it makes a *cell*. All rules of a setup
are run as one stack from the same start states, beside the plain solver and two references:

    overshoot   gamma = 1.5 at every step: a correction that worsens on purpose
    oracle      gamma = E<u, x - y> / E|u|^2, y the exact trajectory from the same start at the
                step's end: the scalar that brings each step nearest to it in mean square (laws on
                the line, where the trajectory costs little)

The flow error of a run is the root mean square distance of its end states to the end points of the
exact flow from the same starts; its energy distance is taken to those end points too.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from analytic import NoiseLevel
from analytic.flow import exact_flow
from steinlab.budget import run_within
from steinlab.claims.problems import problem
from steinlab.coefficient import stein_numerator
from steinlab.corrections import Diagnostics
from steinlab.divergence import Step, inner
from steinlab.dual import Dual, on_duals
from steinlab.grids import Grid
from steinlab.metrics import energy_distance_of_pairs, rms_distance
from steinlab.processes import PROCESSES
from steinlab.sampling import NonFiniteStateError, solve
from steinlab.solvers import EULER, Plan, Solver, get_solver, make_plan
from steinlab.terms import sampled_divergence

Array = np.ndarray

GAMMA_MINS = (0.1, 0.5)
GAMMA_MAXS = (math.inf, 2.0, 1.0)
RULES = tuple((low, high) for high in GAMMA_MAXS for low in GAMMA_MINS)
"""Limits swept: the paper clips from below only and does not say where."""

OVERSHOOT = 1.5
PLAIN, WORSE, BEST = "plain", "overshoot", "oracle"
FLOW_RTOL = 1e-5
"""Tolerance of the exact flow; the smallest flow errors met are about 1e-2."""

CAP = 1e3
"""Ratios beyond it, and runs that left the finite numbers, count as this much."""


def label(rule: tuple[float, float]) -> str:
    """Return a rule's name."""
    return f"{rule[0]:g} to {rule[1]:g}" if math.isfinite(rule[1]) else f"from {rule[0]:g}"


RULE_LABELS = tuple(label(rule) for rule in RULES)


@dataclass(frozen=True)
class Setup:
    """One data law, process, solver, grid and budget, with the number of states and the seed."""

    problem: str
    process: str
    solver: str
    grid: str
    evaluations: int
    states: int
    seed: int

    def levels(self) -> Grid:
        """Return the grid that the budget pays for."""
        process = PROCESSES[self.process]
        solver = get_solver(self.solver, process)
        finish = () if solver.ends_at_zero else (EULER,)
        return run_within(solver, process, self.grid, self.evaluations, finish=finish)[1]

    def plan(self) -> Solver | Plan:
        """Return the solver, with an Euler step where it cannot end at zero noise."""
        solver = get_solver(self.solver, PROCESSES[self.process])
        if solver.ends_at_zero:
            return solver
        return make_plan(solver, len(self.levels()) - 1, finish=(EULER,))

    def start(self) -> Start:
        """Return the start states and the exact flow's end points."""
        return start_of(self.problem, self.process, self.states, self.seed)


class Start(NamedTuple):
    """Start states of a problem and the end points of the exact flow from them."""

    x: Array
    ends: Array


@lru_cache(maxsize=64)
def start_of(name: str, process: str, states: int, seed: int) -> Start:
    """Draw start states at the process's noisiest level and follow the exact flow to the end."""
    law, key = problem(name), zlib.crc32(f"{name}/{process}".encode())
    rng = np.random.default_rng([seed, key])
    noisy, clean = PROCESSES[process].level_at(PROCESSES[process].ratio_max), NoiseLevel(1.0, 0.0)
    data = law.sample(states, rng)
    x = noisy.alpha * data + noisy.sigma * rng.standard_normal(data.shape)
    return Start(x, exact_flow(law, x, noisy, clean, rtol=FLOW_RTOL).state)


@dataclass(frozen=True)
class Swept:
    """Every rule at once: states ``(R, N, d)``, one coefficient a row of the stack.

    ``lows`` and ``highs`` clip the estimate of Theorem 4.7; equal limits fix the coefficient. With
    ``track``, the exact trajectory by level, the last row takes the oracle's. ``raw`` keeps the
    estimates, step by step.
    """

    lows: Array
    highs: Array
    track: Callable[[NoiseLevel], Array] | None = None
    raw: list[Array] = field(default_factory=list)
    name: str = "stein, swept"

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:
        """Return ``x - gamma u`` row by row; a vanishing residual leaves nothing to scale."""
        u = step.candidate.residual
        power = np.maximum(inner(u, u).mean(axis=-1), np.finfo(float).tiny)
        numerator = stein_numerator(step.x, u, sampled_divergence(step)(step, rng), step.s)
        raw = numerator.mean(axis=-1) / power
        self.raw.append(raw)
        gamma = np.clip(raw, self.lows, self.highs)
        if self.track is not None:
            gamma[-1] = inner(step.x[-1] - self.track(step.t), u[-1]).mean() / power[-1]
        return step.x - gamma[:, None, None] * u, Diagnostics(float(gamma[0]))


@dataclass(frozen=True)
class Watch:
    """Leave every step alone and record how far it spreads tangents."""

    seen: list[float] = field(default_factory=list)
    name: str = "none"

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:
        """Return the candidate."""
        self.seen.append(largest_gain(step, rng))
        return step.candidate.state, Diagnostics(1.0)


def largest_gain(step: Step, rng: np.random.Generator, iterations: int = 3) -> float:
    """Return a lower bound of ``L_T``: the largest ``|T' v| / |v|`` at the step's states.

    By power iteration; the history is held fixed, as in the paper's bound.
    """
    v = rng.standard_normal((1, *step.x.shape))
    gain = np.zeros(1)
    for _ in range(iterations):
        moved = v - step.residual(Dual(step.x, v), on_duals(step.denoiser)).tangent  # type: ignore[arg-type]
        size = np.linalg.norm(moved, axis=-1, keepdims=True)
        gain = size / np.linalg.norm(v, axis=-1, keepdims=True)
        v = moved / np.maximum(size, np.finfo(float).tiny)
    return float(gain.max())


class Outcome(NamedTuple):
    """A finished setup, one entry a row: plain, the rules, overshoot and, on the line, the oracle.

    ``raw`` holds the unclipped estimates ``(steps, rows)``; ``expansion`` is the largest
    ``|T' v| / |v|`` met on the plain run.
    """

    setup: Setup
    names: tuple[str, ...]
    flow_error: Array
    energy: Array
    floor: Array
    raw: Array
    expansion: float

    def ratio(self, name: str, metric: str = "flow_error") -> float:
        """Return corrected over plain, in ``[1/CAP, CAP]``; ``CAP`` for a run that broke off.

        Energy distances below their standard error count as that error, in both runs.
        """
        values = np.asarray(getattr(self, metric))
        if metric == "energy":
            values = np.maximum(values, self.floor)
        ratio = values[self.names.index(name)] / values[0]
        return float(np.clip(ratio, 1 / CAP, CAP)) if np.isfinite(ratio) else CAP


@lru_cache(maxsize=4096)
def run(setup: Setup) -> Outcome:
    """Run a setup's rows as one stack; where that leaves the finite numbers, row by row."""
    law, start = problem(setup.problem), setup.start()
    names = (PLAIN, *RULE_LABELS, WORSE, *((BEST,) if law.dim == 1 else ()))
    limits = ((1.0, 1.0), *RULES, (OVERSHOOT, OVERSHOOT), (1.0, 1.0))[: len(names)]
    lows, highs = np.array(limits).T

    def track(level: NoiseLevel) -> Array:
        return exact_flow(law, start.x, setup.levels()[0], level).state

    correction = Swept(lows, highs, track if law.dim == 1 else None)
    ends = _ends(setup, correction)
    flow_error, energy, floor = np.array([_distances(end, start.ends) for end in ends]).T
    watch, grid = Watch(), setup.levels()
    solve(law, start.x, grid, setup.plan(), correction=watch)
    raw = np.array(correction.raw).reshape(-1, len(names))
    return Outcome(setup, names, flow_error, energy, floor, raw, max(watch.seen))


def _ends(setup: Setup, correction: Swept) -> list[Array | None]:
    """End states row by row, None for a row that left the finite numbers."""
    try:
        return list(_solve(setup, correction))
    except NonFiniteStateError:
        correction.raw.clear()
    out: list[Array | None] = []
    for i, limits in enumerate(zip(correction.lows, correction.highs, strict=True)):
        track = correction.track if i == len(correction.lows) - 1 else None
        low, high = (np.array([limit]) for limit in limits)
        try:
            out.append(_solve(setup, Swept(low, high, track))[0])
        except NonFiniteStateError:
            out.append(None)
    return out


def _solve(setup: Setup, correction: Swept) -> Array:
    x = setup.start().x
    stack = np.broadcast_to(x, (len(correction.lows), *x.shape)).copy()
    rng = np.random.default_rng(setup.seed)
    with np.errstate(over="ignore", invalid="ignore"):  # the loop stops where a state overflows
        law = problem(setup.problem)
        run = solve(law, stack, setup.levels(), setup.plan(), correction=correction, rng=rng)
    return np.asarray(run.state)


def _distances(end: Array | None, truth: Array) -> tuple[float, float, float]:
    if end is None:
        return math.inf, math.inf, 0.0
    near = energy_distance_of_pairs(end, truth)
    return rms_distance(end, truth).value, near.value, near.error
