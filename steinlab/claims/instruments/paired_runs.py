r"""Runs of a declared design: corrections of the paper's form beside the plain solver.

A *setup* is one data law, process, solver, grid and budget of evaluations; with a *rule*, which
says how the coefficient is found, clipped and applied, it makes a *cell*. Rules are run as rows of
one stack from the same start states, the plain solver first. A rule's coefficient is, by *route*,

    stein    E[(1 - 1/alpha) <u, x> + (sigma^2/alpha) div u] / E|u|^2: Theorem 4.7 with the
             divergence of x alone, also for multistep candidates, whose past shares x's noise
    tweedie  E<u, x - D> / E|u|^2: the definition E<u, x - x_star> / E|u|^2 for an exact denoiser
    flow     E<u, x - y> / E|u|^2, y the exact trajectory from the same start at the step's end: the
             scalar that brings each step nearest to it in mean square (laws on the line, where the
             trajectory costs little)
    ahead    E<u, x - D'(T)> / E|u|^2, D' the denoiser at the candidate, one level on; T itself
             where no noise is left there (:mod:`steinlab.corrections.lookahead`)
    consistent
             E<u, x - y> / E|u|^2, y the first-order step with (D + D'(T)) / 2 for its denoiser
    fixed    1, so that equal limits fix it

clipped to the rule's limits, and the corrected state is ``x - gamma u``. With ``vp`` both are taken
in VP coordinates, ``y = x / r`` with ``r = sqrt(alpha^2 + sigma^2)`` at the level ``(alpha, sigma)
/ r``. The same candidate is ``T / r'`` there, ``r'`` at the step's end, and with
``w = r' u_y = (r'/r) x - T = u + (r'/r - 1) x``

    gamma = E<u_y, y - D> / E|u_y|^2 = r' E<w, x/r - D> / E|w|^2
    x_next = r' (y - gamma u_y) = (r'/r) x - gamma w

which is the candidate at gamma = 1 and the formulas above where ``r = r' = 1``; at other gamma the
coordinates matter (:mod:`steinlab.claims.coordinates.coordinate_dependence`).

The flow error of a run is the root mean square distance of its end states to the end points of the
exact flow from the same starts; its energy distance is taken to those end points too.
"""

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from analytic import NoiseLevel
from analytic.flow.exact import exact_flow
from analytic.memory import remembering
from steinlab.coefficient.formulas import stein_numerator, tweedie_numerator
from steinlab.coefficient.forward_mode import Dual, on_duals
from steinlab.coefficient.step_terms import sampled_divergence
from steinlab.diffusion.grids import Grid
from steinlab.diffusion.laws import problem
from steinlab.diffusion.processes import PROCESSES
from steinlab.errors import one_of
from steinlab.estimates import Estimate
from steinlab.experiments.bench import Bench, Measured, Subject, Target, played
from steinlab.metrics import Truth
from steinlab.solvers import Plan, first_order, get_solver
from steinlab.solvers.loop import steps
from steinlab.solvers.plans import run_within
from steinlab.solvers.scalars import has_noise
from steinlab.solvers.step import Diagnostics, Step, inner

Array = np.ndarray

FLOW_RTOL = 1e-5
"""Tolerance of the exact flow; the smallest flow errors met are about 1e-2."""

CAP = 1e3
"""Ratios beyond it, and runs that left the finite numbers, count as this much."""

MEASURES = ("flow_error", "paired_energy")
"""Metrics of a run."""


class Rule(NamedTuple):
    """How a row finds its coefficient, between which limits, and in which coordinates."""

    route: str
    low: float
    high: float
    vp: bool = False


PLAIN, WORSE, BEST = "plain", "overshoot", "oracle"
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        PLAIN: Rule("fixed", 1.0, 1.0),
        "from 0.1": Rule("stein", 0.1, math.inf),
        "from 0.5": Rule("stein", 0.5, math.inf),
        "0.1 to 2": Rule("stein", 0.1, 2.0),
        "0.5 to 2": Rule("stein", 0.5, 2.0),
        "0.1 to 1": Rule("stein", 0.1, 1.0),
        "0.5 to 1": Rule("stein", 0.5, 1.0),
        WORSE: Rule("fixed", 1.5, 1.5),
        BEST: Rule("flow", -math.inf, math.inf),
        "tweedie 0.1 to 1": Rule("tweedie", 0.1, 1.0),
        "tweedie 0.5 to 1": Rule("tweedie", 0.5, 1.0),
        "tweedie 0.9 to 1": Rule("tweedie", 0.9, 1.0),
        "tweedie 0.1 to 1, VP": Rule("tweedie", 0.1, 1.0, vp=True),
        "tweedie 0.5 to 1, VP": Rule("tweedie", 0.5, 1.0, vp=True),
        "tweedie 0.9 to 1, VP": Rule("tweedie", 0.9, 1.0, vp=True),
        "tweedie from 0.1": Rule("tweedie", 0.1, math.inf),
        "tweedie 0.1 to 1.1": Rule("tweedie", 0.1, 1.1),
        "gamma 0.9": Rule("fixed", 0.9, 0.9),
        "ahead from 0.1": Rule("ahead", 0.1, math.inf),
        "ahead 0.1 to 1": Rule("ahead", 0.1, 1.0),
        "ahead 0.1 to 1, VP": Rule("ahead", 0.1, 1.0, vp=True),
        "consistent from 0.1": Rule("consistent", 0.1, math.inf),
        "consistent 0.1 to 1": Rule("consistent", 0.1, 1.0),
    }
)
"""Every rule by its name in a stored case. A correction that worsens on purpose is among them."""

PUBLISHED = ("from 0.1", "from 0.5")
"""The paper's algorithm, which clips from below only and does not say where."""

CLIPPED = tuple(name for name, r in RULES.items() if r.route == "tweedie" and r.high == 1)
"""The definition's coefficient clipped from both sides, in either coordinates."""

AHEAD = tuple(name for name, r in RULES.items() if r.route in ("ahead", "consistent"))
"""Readings of the self-consistency variant, clipped from below only and from both sides."""

STACKS = (
    (PLAIN, *PUBLISHED, "0.1 to 1", "0.5 to 1", WORSE, BEST),
    (PLAIN, *CLIPPED, "tweedie from 0.1", "tweedie 0.1 to 1.1", "gamma 0.9", WORSE),
    (PLAIN, "0.1 to 2", "0.5 to 2"),
    (PLAIN, *AHEAD, WORSE),
)
"""Rules that are run together. Those up to 2 are of stored cases only."""


def stack_of(rule: str) -> tuple[str, ...]:
    """Return the first stack that holds a rule.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    return next(stack for stack in STACKS if one_of("rule", rule, RULES) in stack)


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

    def planned(self) -> tuple[Plan, Grid]:
        """Return the run that the budget pays for."""
        return planned(self.process, self.solver, self.grid, self.evaluations)

    def bench(self) -> Bench:
        """Return the start states and the exact flow's end points."""
        return bench_of(self.problem, self.process, self.states, self.seed)


@lru_cache(maxsize=1024)
def planned(process: str, solver: str, grid: str, evaluations: int) -> tuple[Plan, Grid]:
    """Return the run that a budget pays for: laws, numbers of states and seeds share it."""
    forward = PROCESSES[process]
    return run_within(get_solver(solver, forward), forward, grid, evaluations)


@lru_cache(maxsize=64)
def bench_of(name: str, process: str, states: int, seed: int) -> Bench:
    """Draw start states at the process's noisiest level and follow the exact flow to the end."""
    subject = Subject.of_law(problem(name), PROCESSES[process], name)
    rng = np.random.default_rng([seed, zlib.crc32(f"{name}/{process}".encode())])
    noisy = subject.process.level_at(subject.process.ratio_max)
    x = subject.start(noisy, states, rng)
    ends = exact_flow(problem(name), x, noisy, NoiseLevel(1.0, 0.0), rtol=FLOW_RTOL).state
    return Bench(subject, x, Target(Truth(ends), {}), ends, metrics=MEASURES)


@lru_cache(maxsize=256)
def exact_at(name: str, process: str, states: int, seed: int, level: NoiseLevel) -> Array:
    """Return the exact trajectory from a problem's start states at a level: solvers share it."""
    forward = PROCESSES[process]
    x = bench_of(name, process, states, seed).start
    return exact_flow(problem(name), x, forward.level_at(forward.ratio_max), level).state


@dataclass(frozen=True)
class Swept:
    """Rules at once, on states ``(R, N, d)``: one coefficient per row of the stack.

    ``track`` gives the exact trajectory by level, for the route ``flow``.
    """

    rules: tuple[Rule, ...]
    track: Callable[[NoiseLevel], Array]
    name: str = "swept"

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:
        """Return the corrected states row by row; a vanishing residual leaves nothing to scale."""
        x, u = step.x, step.candidate.residual
        r, r_next = (
            np.array([math.hypot(at.alpha, at.sigma) if rule.vp else 1.0 for rule in self.rules])
            for at in (step.s, step.t)
        )
        shrink = (r_next / r)[:, None, None]
        move = u + (shrink - 1) * x
        power = np.maximum(inner(move, move).mean(axis=-1), np.finfo(float).tiny)

        def towards(clean: Array) -> Array:
            top = tweedie_numerator(x / r[:, None, None], move, clean)
            return np.asarray(r_next[:, None] * top)

        routes: Mapping[str, Callable[[], Array]] = {
            "stein": lambda: stein_numerator(x, u, sampled_divergence(step)(step, rng), step.s),
            "tweedie": lambda: towards(step.candidate.denoised),
            "ahead": lambda: towards(ahead(step)),
            "consistent": lambda: inner(x - retaken(step), u),
            "flow": lambda: inner(x - self.track(step.t), u),
        }
        gamma = np.ones(len(self.rules))
        for route in {rule.route for rule in self.rules} & set(routes):
            at = [rule.route == route for rule in self.rules]
            gamma[at] = (routes[route]().mean(axis=-1) / power)[at]
        gamma = np.clip(
            gamma, [rule.low for rule in self.rules], [rule.high for rule in self.rules]
        )
        return shrink * x - gamma[:, None, None] * move, Diagnostics(float(gamma[0]))


def ahead(step: Step) -> Array:
    """Return the denoiser's output at the candidate; the candidate itself at zero noise."""
    there = step.candidate.state
    return np.asarray(step.denoiser(there, step.t) if has_noise(step.t) else there)


def retaken(step: Step) -> Array:
    """Return the first-order step with the mean of the denoiser's outputs at both of its ends."""
    linear = first_order(step.s, step.t)
    clean = 0.5 * (step.candidate.denoised + ahead(step))
    return np.asarray((1 - linear.one_minus_kappa) * step.x + linear.betas[0] * clean)


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
    """A finished setup, one entry per rule of its stack.

    ``noise`` is the standard error of the logarithm of the flow error's ratio to the plain run's,
    from the states' squared distances. ``expansion`` is the largest ``|T' v| / |v|`` met on the
    plain run up to its first expansive step, where it was watched.
    """

    setup: Setup
    names: tuple[str, ...]
    measured: tuple[Measured, ...]
    noise: Array
    expansion: float = math.nan

    def value(self, name: str, metric: str = "flow_error") -> float:
        """Return a metric of a row; one that can be 0 or below is at least its standard error."""
        found = self.measured[self.names.index(name)][metric]
        if found is None:
            return math.nan
        return float(found.value if metric == "flow_error" else np.fmax(found.value, found.error))

    def ratio(self, name: str, metric: str = "flow_error") -> float:
        """Return corrected over plain, in ``[1/CAP, CAP]``; ``CAP`` for a run that broke off."""
        own, plain = (self.value(row, metric) for row in (name, self.names[0]))
        ratio = own / plain if plain else math.inf
        return float(np.clip(ratio, 1 / CAP, CAP)) if np.isfinite(ratio) else CAP


@lru_cache(maxsize=4096)
def run(setup: Setup, stack: tuple[str, ...]) -> Outcome:
    """Run the rules of a stack together; where that leaves the finite numbers, one by one."""
    bench = setup.bench()
    names = tuple(name for name in stack if name != BEST or bench.subject.dim == 1)
    ends = _ends(setup, tuple(RULES[name] for name in names))
    squares = [np.sum((end - bench.ends) ** 2, axis=1) for end in ends]
    noise = np.array([_noise(own, squares[0]) for own in squares])
    broken = dict.fromkeys(bench.metrics, Estimate(math.inf, 0.0))
    found = (bench.measured(end) if np.isfinite(end).all() else broken for end in ends)
    return Outcome(setup, names, tuple(found), noise)


def outcome_of(setup: Setup, rule: str) -> Outcome:
    """Return the outcome of a rule's stack; the published rule's says what its plain run expands.

    Theirs is the statement about expansive steps.
    """
    stack = stack_of(rule)
    outcome = run(setup, stack)
    return outcome._replace(expansion=_expansion(setup)) if stack is STACKS[0] else outcome


@lru_cache(maxsize=4096)
def _expansion(setup: Setup) -> float:
    rng = np.random.default_rng(0)
    (plan, grid), bench = setup.planned(), setup.bench()
    largest = 0.0
    for taken in steps(bench.subject.denoiser, bench.start, grid, plan):
        gain = largest_gain(taken.step, rng)
        largest = max(largest, gain)
        if not gain <= EXPANSIVE:
            break
    return largest


EXPANSIVE = 1.001
"""A step counts as expansive when a tangent grows by more than this."""


CANCELS = 0.5
"""A plain run's errors cancel where it has less than this part of the error that the same solver
has with two evaluations more."""


@lru_cache(maxsize=4096)
def cancels(setup: Setup) -> bool:
    """Whether the plain run's errors cancel: then a ratio to its error says little."""
    own, more = (
        run(replace(setup, evaluations=setup.evaluations + extra), (PLAIN,)).value(PLAIN)
        for extra in (0, 2)
    )
    return own < CANCELS * more


def _ends(setup: Setup, rules: tuple[Rule, ...]) -> list[Array]:
    """End states rule by rule, infinite for one that left the finite numbers."""
    (plan, grid), x = setup.planned(), setup.bench().start
    track = partial(exact_at, setup.problem, setup.process, setup.states, setup.seed)
    stack = np.broadcast_to(x, (len(rules), *x.shape)).copy()
    law, rng = remembering(problem(setup.problem)), np.random.default_rng(setup.seed)
    done, stop = played(law, stack, grid, plan, correction=Swept(rules, track), rng=rng)
    if stop is None:
        return list(np.asarray(done.state))
    if len(rules) == 1:
        return [np.full_like(x, math.inf)]
    return [_ends(setup, (rule,))[0] for rule in rules]


def _noise(squares: Array, plain: Array) -> float:
    """Standard error of ``log sqrt(mean(squares) / mean(plain))`` by the delta method, paired.

    A run that broke off has none: it counts as ``CAP``.
    """
    if not np.isfinite(squares.mean()):
        return 0.0
    parts = squares / squares.mean() - plain / plain.mean()
    return float(0.5 * parts.std(ddof=1) / math.sqrt(len(parts)))
