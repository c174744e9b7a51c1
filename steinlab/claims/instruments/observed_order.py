r"""Observed orders of solvers against the exact flow of a two-mode mixture in one dimension.

Global: runs of ``n`` and ``2 n`` steps between two levels. Local: one step of length ``h`` and
``h / 2`` from exact states with an exact past. The order is the slope in base 2; its confidence is
how far it moves when both lengths are halved once more.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from typing import Any, NamedTuple, Self

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.exact import exact_flow
from steinlab.diffusion.grids import Grid, given_grid
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import (
    SOLVER_IDS,
    Evaluation,
    LinearMultistep,
    LinearStep,
    Plan,
    Solver,
    get_solver,
    make_plan,
    matching_start,
)
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


def observe(case: Convergence, alter: Alter = unaltered) -> Observed:
    """Measure the order of a case; ``alter`` replaces the solver by a falsified one."""
    solver = get_solver(case.solver, PROCESSES[case.process])
    wrong = alter(solver)
    order = declared(solver, case.kind)
    fewer = FEWER if solver.depth == 0 and solver.order >= 4 else 1
    if case.kind == "local":
        return slope_of(case, [_local_error(case, wrong, fewer * h) for h in LENGTHS], order)
    if wrong is solver and (companions := _companions(case, solver)):
        start = matching_start(solver) if case.kind == "matching" else ()
        ends = _ends(case.process, case.grid, start, companions)
        _, exact, floor = _exact_end(case.process)
        own = companions.index(solver)
        return slope_of(case, [distance(end[own], exact, floor) for end in ends], order)
    steps = [n // fewer for n in STEPS]
    errors = errors_of(case, lambda n: planned(solver, wrong, case.kind, n), steps)
    return slope_of(case, errors, order)


def _companions(case: Convergence, solver: Solver) -> tuple[LinearMultistep, ...]:
    """Return the linear multistep solvers that start as this one does, itself among them."""
    process = PROCESSES[case.process]
    found = [get_solver(name, process) for name in SOLVER_IDS]
    same = tuple(
        one
        for one in found
        if isinstance(one, LinearMultistep)
        and not one.starters
        and (case.kind == "own" or matching_start(one) == matching_start(solver))
    )
    return same if solver in same else ()


@lru_cache(maxsize=32)
def _ends(
    process: str, grid: str, start: tuple[Solver, ...], solvers: tuple[LinearMultistep, ...]
) -> list[np.ndarray]:
    """Return where runs of every number of steps end, ``(S, N, 1)``, the solvers side by side."""
    x = PROCESSES[process].level_at(TOP).alpha * STATES
    states, stack = np.stack([x] * len(solvers)), side_by_side(solvers)
    plans = {n: make_plan(stack, n, start=start) for n in STEPS}
    return [solve(LAW, states, _grid(process, grid, n), plan).state for n, plan in plans.items()]


def side_by_side(solvers: Sequence[LinearMultistep]) -> LinearMultistep:
    """Return the solver that takes states ``(S, N, d)``, the first axis by one solver each.

    Each state is what its own solver alone makes of it, to the last bit: what a solver lacks has
    the coefficient 0. The denoiser is evaluated once for all of them.
    """

    def weights(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> LinearStep:
        steps = [solver.weights(levels[: solver.width], t) for solver in solvers]

        def columns(parts: Sequence[Sequence[Any]]) -> tuple[np.ndarray, ...]:
            return tuple(map(_column, itertools.zip_longest(*parts, fillvalue=0.0)))

        return LinearStep(
            _column([step.kappa for step in steps]),
            _column([step.one_minus_kappa for step in steps]),
            columns([step.betas for step in steps]),
            columns([step.zetas for step in steps]),
            columns([step.corrector for step in steps]),
            columns([step.corrector_states for step in steps]),
            _column([step.kappa if step.carry is None else step.carry for step in steps]),
        )

    return LinearMultistep(
        ", ".join(solver.name for solver in solvers),
        order=min(solver.order for solver in solvers),
        depth=max(solver.depth for solver in solvers),
        weights=weights,
        nodes=max(solver.width for solver in solvers),
    )


def _column(values: Sequence[float]) -> np.ndarray:
    return np.array(values)[:, None, None]


def observe_runs(
    case: Convergence,
    run: Callable[[int], Solver | Plan],
    order: int,
    steps: Sequence[int] = STEPS,
) -> Observed:
    """Measure the global order of the runs that ``run`` gives for a number of steps."""
    return slope_of(case, errors_of(case, run, steps), order)


def global_errors(case: Convergence, steps: Sequence[int]) -> list[float]:
    """Return the error of runs of every number of steps, global cases only."""
    solver = get_solver(case.solver, PROCESSES[case.process])
    return [_global_error(case, planned(solver, solver, case.kind, n), n) for n in steps]


def errors_of(
    case: Convergence, run: Callable[[int], Solver | Plan], steps: Sequence[int]
) -> list[float]:
    """Return the same for the runs that ``run`` gives for a number of steps."""
    return [_global_error(case, run(n), n) for n in steps]


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


def _grid(process: str, grid: str, steps: int) -> Grid:
    to, back = SPACINGS[grid]
    return given_grid(PROCESSES[process], back(np.linspace(to(TOP), to(BOTTOM), steps + 1)))


def _global_error(case: Convergence, run: Solver | Plan, steps: int) -> float:
    x, exact, floor = _exact_end(case.process)
    grid = _grid(case.process, case.grid, steps)
    return distance(solve(LAW, x, grid, run).state, exact, floor)


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
