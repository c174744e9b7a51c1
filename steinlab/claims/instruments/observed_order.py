r"""Observed orders of solvers against the exact flow of a two-mode mixture in one dimension.

Global: runs of ``n`` and ``2 n`` steps between two levels. Local: one step of length ``h`` and
``h / 2`` from exact states with an exact past. The order is the slope in base 2; its confidence is
how far it moves when both lengths are halved once more.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from typing import Any, NamedTuple, Self

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.arrays import Array
from analytic.flow.exact import exact_flow
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.grids import Grid, given_grid
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import (
    Evaluation,
    LinearMultistep,
    LinearStep,
    Plan,
    Solver,
    get_solver,
    make_plan,
    matching_start,
)
from steinlab.solvers.base import Candidate, History, OneEvaluation, combined, corrected
from steinlab.solvers.loop import solve
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Check, Claim, Effort, Result
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.falsify.spaces import Space, picked
from steinlab.verification.quantities import Number

ORDER_TOLERANCE = 0.2
"""Distance from the declared order at which a solver fails, as usual for convergence tests."""

LAW = GaussianMixture(np.array([0.4, 0.6]), np.array([-1.0, 1.5]), np.array([0.3, 0.5]))
STATES = np.linspace(-2.0, 2.0, 9)[:, None]

TOP, BOTTOM, MIDDLE = 1.0, 0.3, 0.55
"""Noise-to-signal ratios of the runs, and where single steps begin."""

STEPS = (64, 128, 256)
LENGTHS = (0.02, 0.01, 0.005)
"""Steps of the global runs; lengths of the single steps in the grid's variable."""

HALF = (32, 64, 128)
"""Steps of runs whose steps are dear."""

FEWER = 4
"""How many times fewer steps, and longer, show the order of a single-step method of order four:
in the others' it errs no more than the reference."""

SPACINGS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "karras": (lambda r: 7 * r ** (1 / 7), lambda v: (v / 7) ** 7),
    "logsnr": (np.log, np.exp),
}
"""The variable in which a grid is uniform, and its inverse; both have slope 1 at ratio 1."""

PROCESS_NAMES = ("vp-linear", "flow", "edm")

Alter = Callable[[Solver], Solver]


def unaltered(solver: Solver) -> Solver:
    """Leave a solver as it is."""
    return solver


@dataclass(frozen=True)
class Convergence(SingleCase):
    """One solver on one process and grid: a case of an order check.

    ``kind`` is ``own`` (global, started by itself), ``matching`` (global, started by single steps
    of matching order) or ``local``.
    """

    solver: str
    process: str
    grid: str
    kind: str


@dataclass(frozen=True)
class PerState(SingleCase):
    """A run of :data:`STATES`, one case per state."""

    def __len__(self) -> int:
        """Return the number of states."""
        return len(STATES)

    def describe(self, index: int) -> dict[str, Any]:
        """Return the case as JSON."""
        return {**super().describe(index), "state": index}

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read the case back; all its states are run again."""
        return cls(**{f.name: case[f.name] for f in fields(cls)})


class Observed(NamedTuple):
    """An observed order with its confidence, the declared one, and the finest error."""

    case: Convergence
    order: float
    confidence: float
    declared: int
    error: float


def observe(case: Convergence, alter: Alter = unaltered, among: tuple[str, ...] = ()) -> Observed:
    """Measure the order of a case; ``alter`` replaces the solver by a falsified one.

    ``among`` are solvers observed besides, whose runs are taken together with the case's.
    """
    solver = get_solver(case.solver, PROCESSES[case.process])
    order = declared(solver, case.kind)
    if case.kind == "local":
        wrong, fewer = alter(solver), _fewer(solver)
        return slope_of(case, [_local_error(case, wrong, fewer * h) for h in LENGTHS], order)
    found = _global_errors(case.solver, case.process, case.kind, alter, among)
    return slope_of(case, found[case.grid], order)


def _fewer(solver: Solver) -> int:
    return FEWER if solver.depth == 0 and solver.order >= 4 else 1


@lru_cache(maxsize=512)
def _global_errors(
    name: str, process: str, kind: str, alter: Alter, among: tuple[str, ...]
) -> Mapping[str, list[float]]:
    """Return the errors of runs of every number of steps, by grid."""
    solver = get_solver(name, PROCESSES[process])
    wrong = alter(solver)
    if isinstance(wrong, LinearMultistep) and not wrong.starters:
        row = (wrong, matching_start(solver) if kind == "matching" else ())
        rows = _linear_rows(process, among)
        rows = rows if row in rows else (row,)
        at = rows.index(row)
        return _by_grid(process, [ends[at] for ends in _linear_ends(process, rows)])
    steps = [n // _fewer(solver) for n in STEPS]
    return errors_by_grid(process, lambda n: planned(solver, wrong, kind, n), steps)


def errors_by_grid(
    process: str, run: Callable[[int], Solver | Plan], steps: Sequence[int]
) -> Mapping[str, list[float]]:
    """Return, by grid, the errors of the runs that ``run`` gives: the grids are side by side.

    So are the runs of one solver without a past, for as many steps as each of them has; ``steps``
    increase.
    """
    taken = [run(n) for n in steps]
    grids = [_grids(process, n) for n in steps]
    x = np.stack([_exact_end(process)[0]] * len(SPACINGS))
    if any(one.depth or one != taken[0] for one in taken):
        found = [solve(LAW, x, grid, one).state for grid, one in zip(grids, taken, strict=True)]
        return _by_grid(process, found)
    ends, x = [], np.concatenate([x] * len(steps))
    for k, (first, last) in enumerate(itertools.pairwise((0, *steps))):
        levels = zip(*(grid[first : last + 1] for grid in grids[k:]), strict=True)
        x = solve(LAW, x, tuple(map(_joined, levels)), taken[0]).state
        ends.append(x[: len(SPACINGS)])
        x = x[len(SPACINGS) :]
    return _by_grid(process, ends)


def _joined(levels: Sequence[NoiseLevel]) -> NoiseLevel:
    """Put stacks of levels one after the other."""
    pairs = zip(*((level.alpha, level.sigma) for level in levels), strict=True)
    return NoiseLevel(*map(np.concatenate, pairs))


def _by_grid(process: str, ends: Sequence[np.ndarray]) -> Mapping[str, list[float]]:
    _, exact, floor = _exact_end(process)
    return {g: [distance(end[i], exact, floor) for end in ends] for i, g in enumerate(SPACINGS)}


Started = tuple[LinearMultistep, tuple[Solver, ...]]
"""A linear multistep solver and the solvers of its first steps, none if it starts by itself."""


def _linear_rows(process: str, names: Sequence[str]) -> tuple[Started, ...]:
    """Return the linear multistep solvers, with their own start and with a matching one."""
    found = [get_solver(name, PROCESSES[process]) for name in names]
    alone = [one for one in found if isinstance(one, LinearMultistep) and not one.starters]
    started = [(one, start) for one in alone if (start := matching_start(one))]
    return (*((one, ()) for one in alone), *started)


@lru_cache(maxsize=4)
def _linear_ends(process: str, rows: tuple[Started, ...]) -> list[np.ndarray]:
    """Return where all of them end, ``(S, G, N, 1)``, from runs of every number of steps."""
    x = np.broadcast_to(_exact_end(process)[0], (len(rows), len(SPACINGS), *STATES.shape)).copy()
    grids = [_grids(process, n, axes=4) for n in STEPS]
    return [solve(LAW, x, grid, side_by_side(rows, grid)).state for grid in grids]


def side_by_side(rows: Sequence[Started], grid: Grid) -> Plan:
    """Return the plan that takes states ``(S, G, N, d)``, the first axis by one solver each.

    Levels are ``(1, G, 1, 1)``. Each state is what its own solver alone makes of it, up to
    rounding: what a solver lacks has the coefficient 0. The denoiser is evaluated once for all of
    them. A solver's coefficients are computed at once for all steps that combine as many outputs,
    and once for a solver that stands there twice, with two starts.
    """
    count = len(grid) - 1
    alpha, sigma = (
        np.concatenate([getattr(level, name)[0, :, :, 0].T for level in grid])
        for name in ("alpha", "sigma")
    )  # (n + 1, G)

    def between(first: int, last: int) -> NoiseLevel:
        return NoiseLevel(alpha[first:last], sigma[first:last])

    columns: dict[tuple[str, int], np.ndarray] = defaultdict(
        lambda: np.zeros((count, len(rows), alpha.shape[1], 1, 1))
    )
    for solver in dict.fromkeys(solver for solver, _ in rows):
        at = [row for row, (one, _) in enumerate(rows) if one is solver]
        for first in range(min(solver.width, count)):
            last = first + 1 if first + 1 < solver.width else count
            seen = tuple(between(first - j, last - j) for j in range(first + 1))
            linear = solver.weights(seen, between(first + 1, last + 1))
            carry = linear.kappa if linear.carry is None else linear.carry
            own = {"kappa": [linear.kappa], "one_minus_kappa": [linear.one_minus_kappa]}
            several = {name: getattr(linear, name) for name in SEVERAL}
            for name, values in {**own, "carry": [carry], **several}.items():
                for k, value in enumerate(values):
                    for row in at:
                        columns[name, k][first:last, row, :, 0, 0] = value
    for row, (_, start) in enumerate(rows):  # no corrector follows a step of a starter
        for (name, _), values in columns.items():
            if name.startswith("corrector"):
                values[: len(start), row] = 0.0

    def step(i: int) -> Together:
        one = {name: columns[name, 0][i] for name in ("kappa", "one_minus_kappa", "carry")}
        several = {
            name: tuple(columns[key][i] for key in sorted(columns) if key[0] == name)
            for name in SEVERAL
        }
        starting = tuple(start[i] if i < len(start) else None for _, start in rows)
        return Together(LinearStep(**one, **several), starting, max(s.depth for s, _ in rows))

    return Plan("side by side", 1, tuple(map(step, range(count))))


SEVERAL = ("betas", "zetas", "corrector", "corrector_states")
"""Coefficients of a step that are one per output or state."""


@dataclass(frozen=True)
class Together(OneEvaluation):
    """One step of :func:`side_by_side`, by coefficients ``(S, G, 1, 1)`` or by a row's starter."""

    linear: LinearStep
    starting: tuple[Solver | None, ...]
    depth: int
    name: str = "side by side"
    order: int = 1
    ends_at_zero: bool = False

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Return the step and its residual; the past is as long as the steps that were taken."""
        linear = self.linear
        if history and history[0].linear:
            linear = corrected(linear, history[0].linear)
        found = combined(linear, x, denoiser(x, s), history)
        for starter in {one for one in self.starting if one}:
            at = [one is starter for one in self.starting]
            for g in range(x.shape[1]):
                ends = (_one(s, g), _one(t, g))
                found.state[at, g] = starter.step(denoiser, x[at, g], *ends, ()).state
        return found


def _one(level: NoiseLevel, grid: int) -> NoiseLevel:
    return NoiseLevel(*(float(value[0, grid, 0, 0]) for value in (level.alpha, level.sigma)))


def observing(
    run: Callable[[Convergence, int], Solver | Plan], order: int, steps: Sequence[int] = STEPS
) -> Callable[[Convergence], Observed]:
    """Return what measures the global order of the runs of a case, given a number of steps."""

    @lru_cache(maxsize=64)
    def errors(solver: str, process: str, kind: str) -> Mapping[str, list[float]]:
        return errors_by_grid(process, partial(run, Convergence(solver, process, "", kind)), steps)

    def observed(case: Convergence) -> Observed:
        found = errors(case.solver, case.process, case.kind)
        return slope_of(case, found[case.grid], order)

    return observed


def global_errors(case: Convergence, steps: Sequence[int]) -> list[float]:
    """Return the error of runs of every number of steps, global cases only."""
    solver = get_solver(case.solver, PROCESSES[case.process])
    found = errors_by_grid(case.process, lambda n: planned(solver, solver, case.kind, n), steps)
    return found[case.grid]


def slope_of(case: Convergence, errors: Sequence[float], order: int) -> Observed:
    """Read the order off the errors of runs with steps halved twice."""
    slopes = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    confidence = float(abs(slopes[-1] - slopes[-2]))
    return Observed(case, float(slopes[-1]), confidence, order, errors[-1])


def declared(solver: Solver, kind: str) -> int:
    """Return the order that a solver declares.

    A step of a solver of order ``p`` has a local error of order ``p + 1``; UniPC-p gains its last
    order from the corrector, which acts in the next step, so its candidate's is ``p + 1`` too.
    """
    if not isinstance(solver, LinearMultistep):
        return solver.order + (kind == "local")
    full = solver.full_order or solver.order
    if kind == "own":
        return solver.order
    if kind == "matching":
        return full
    return solver.width + 1 if solver.depth == solver.width else full + 1


def planned(solver: Solver, wrong: Solver, kind: str, steps: int) -> Solver | Plan:
    """Return ``wrong`` started as ``solver`` is in a case of that kind."""
    if kind == "own":
        return wrong
    return make_plan(wrong, steps, start=matching_start(solver))


def _exact_end(process: str) -> tuple[np.ndarray, np.ndarray, float]:
    start, end = (PROCESSES[process].level_at(r) for r in (TOP, BOTTOM))
    return start.alpha * STATES, *_led(start, end)


@lru_cache(maxsize=512)
def _led(s: NoiseLevel, t: NoiseLevel) -> tuple[np.ndarray, float]:
    """Return where the exact flow leads the states from ``s`` to ``t``, and its largest error."""
    flow = exact_flow(LAW, s.alpha * STATES, s, t)
    return flow.state, float(np.max(flow.error))


@lru_cache(maxsize=32)
def _grids(process: str, steps: int, axes: int = 3) -> Grid:
    """Return a stack of levels per step, one per grid, on the axis before the states'."""
    stacks = []
    for to, back in SPACINGS.values():
        levels = given_grid(PROCESSES[process], back(np.linspace(to(TOP), to(BOTTOM), steps + 1)))
        stacks.append([(level.alpha, level.sigma) for level in levels])
    shape = (*(1,) * (axes - 3), -1, 1, 1)
    pairs: np.ndarray = np.array(stacks).transpose(1, 2, 0)
    return tuple(NoiseLevel(*(value.reshape(shape) for value in pair)) for pair in pairs)


def _local_error(case: Convergence, solver: Solver, h: float) -> float:
    """Return the error of one step of length ``h``, past states on the exact trajectory."""
    to, back = SPACINGS[case.grid]
    process = PROCESSES[case.process]
    levels = [
        process.level_at(float(back(to(MIDDLE) + k * h))) for k in range(-1, solver.depth + 1)
    ]
    t, s, *earlier = levels
    x = s.alpha * STATES
    past = tuple(_visited(level, s) for level in earlier)
    return distance(solver.step(LAW, x, s, t, past).state, *_led(s, t))


@lru_cache(maxsize=512)
def _visited(level: NoiseLevel, s: NoiseLevel) -> Evaluation:
    state, _ = _led(s, level)
    return Evaluation(level, state, LAW(state, level))


def distance(state: np.ndarray, exact: np.ndarray, floor: float) -> float:
    """Return the root mean square error of a coordinate, clear of the reference's."""
    error = float(np.sqrt(np.mean((state - exact) ** 2)))
    if not error > 10 * floor:
        raise RuntimeError(f"error {error} does not stand clear of the reference's {floor}")
    return error


def compare_orders(data: Observed, shift: int) -> Comparison:
    """Compare an observed order with the declared one plus ``shift`` (0 for the claim)."""
    expected = data.declared + shift
    return single(data.order, expected, ORDER_TOLERANCE, sampled=True, grade=0.3)


def cases(
    solvers: Sequence[str], kind: str, processes: Sequence[str] = PROCESS_NAMES[:2]
) -> list[Convergence]:
    """Return one case per solver, process and grid."""
    return [Convergence(n, p, g, kind) for n in solvers for p in processes for g in SPACINGS]


def check_of(name: str, draw: Any, measure: Any, compare: Any, restore: Any) -> Check:
    """Return a check whose cases are enumerated and whose evidence is deterministic."""
    return Check(
        name, method="quadrature", draw=draw, measure=measure, compare=compare, restore=restore
    )


def stated_check(
    name: str,
    solvers: Sequence[str],
    order: int,
    measure: Callable[[Convergence], Observed] = observe,
) -> Check:
    """Compare the global orders of solvers, each started by itself, with a stated one."""

    def draw(effort: Effort) -> list[Convergence]:
        processes = PROCESS_NAMES if effort.profile == "full" else PROCESS_NAMES[:1]
        return cases(solvers, "own", processes)

    def compare(data: Observed, shift: int) -> Comparison:
        return compare_orders(data._replace(declared=order), shift)

    return check_of(name, draw, measure, compare, Convergence.restore)


def order_number(results: Mapping[str, Result], check: str, label: str, key: str) -> Number:
    """Return the mean of a check's observed orders, with the largest error or spread."""
    seen = results[check].data
    mean = float(np.mean([data.order for data in seen]))
    error = max(abs(data.order - mean) + data.confidence for data in seen)
    return Number(label, mean, error, better="higher", key=key)


ORDER_DRAWN = 48
"""Orders are dear: runs of up to 256 steps."""


def order_spaces(claim: Claim) -> list[Space]:
    """Spaces of the orders: each solver that a check observes, on every process and grid."""
    from steinlab.verification.judge import effort_for

    out = []
    for check in claim.checks:
        batches: Any = check.draw(effort_for(claim.id, check.name, "full", 0))
        solvers, (kind,) = sorted({b.solver for b in batches}), {b.kind for b in batches}
        lists = {"solver": solvers, "process": PROCESS_NAMES, "grid": tuple(SPACINGS)}
        out.append(picked(check.name, ORDER_DRAWN, lists, partial(Convergence, kind=kind)))
    return out
