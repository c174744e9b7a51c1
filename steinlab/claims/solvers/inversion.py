r"""Every solver up the noise, and what a round trip tells of it.

Up: the error to the exact flow at the noisy end. Round trip: up and down the same levels with the
same solver, the distance to where it began. Why even orders gain one there stands in
:mod:`steinlab.solvers.inversion`; it is claimed of single steps, whose step down mirrors the step
up, and not of multistep methods, which start each way at lower order.

The same is looked at on the trained network ``fashion-flow``, where it is installed, on two states
of 784 coordinates in double precision; its flow is followed by a finer run of order four.

A run that begins at zero noise holds ``y`` fixed up to the first level, of ratio ``e``: off by
``e^2 |score| / 2``, of order two in ``e`` whatever the solver.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from analytic import NoiseLevel
from analytic.flow.exact import exact_flow
from steinlab.claims.instruments.flow_network import network, network_missing
from steinlab.claims.instruments.observed_order import (
    FEWER,
    LAW,
    ORDER_DRAWN,
    PROCESS_NAMES,
    SPACINGS,
    STATES,
    Alter,
    Convergence,
    Observed,
    compare_orders,
    declared,
    distance,
    planned,
    slope_of,
    unaltered,
)
from steinlab.claims.solvers.broken_solvers import falsify
from steinlab.diffusion.grids import Grid, given_grid
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import SOLVER_IDS, get_solver
from steinlab.solvers.inversion import invert, round_trip
from steinlab.solvers.loop import solve
from steinlab.verification.claim import Check, Claim, Dropped, Effort, NegativeControl, Results
from steinlab.verification.comparison import Comparison
from steinlab.verification.falsify.spaces import Space, picked
from steinlab.verification.quantities import Number, Table


class Span(NamedTuple):
    """The ratios between which runs go, and their numbers of steps."""

    top: float
    bottom: float
    steps: tuple[int, ...]


SHORT = Span(1.0, 0.6, (12, 24, 48))
LONG = Span(50.0, 0.02, (2, 4, 8))
"""As far as an image's noise in a few steps."""
NETWORK = Span(1.0, 0.6, (3, 6, 12))
FINE = 12
"""Steps of the run that stands for the network's flow."""

FIRST = (0.02, 0.01, 0.005)
"""Ratios of the first level of noise."""

GRID, TRIP = "karras", "round trip"
NETWORK_UP, NETWORK_TRIP = "network, up", "network, round trip"


def _gains(name: str) -> bool:
    """Whether a matching start raises a solver's order."""
    solver = get_solver(name, PROCESSES["flow"])
    return declared(solver, "matching") > declared(solver, "own")


SINGLE = tuple(name for name in SOLVER_IDS if get_solver(name, PROCESSES["flow"]).depth == 0)
STARTED = tuple(name for name in SOLVER_IDS if _gains(name))


class Rule(NamedTuple):
    """What is added to the declared order: everywhere, and to even ones in a round trip."""

    shift: int
    gain: int


class Flow(NamedTuple):
    """A denoiser, states where runs begin, where its flow leads them, and the error of that."""

    denoiser: Any
    start: np.ndarray
    end: np.ndarray
    floor: float


@lru_cache(maxsize=8)
def _exact(process: str, span: Span) -> Flow:
    low, high = (PROCESSES[process].level_at(ratio) for ratio in (span.bottom, span.top))
    x = low.alpha * STATES
    flow = exact_flow(LAW, x, low, high)
    return Flow(LAW, x, flow.state, float(np.max(flow.error)))


@lru_cache(maxsize=1)
def _of_network(process: str, span: Span) -> Flow:
    import torch

    denoiser = network().in_dtype(torch.float64)
    noise = np.random.default_rng(0).standard_normal((2, denoiser.dim))
    down = given_grid(PROCESSES[process], [np.inf, 4 * span.top, 2 * span.top, span.bottom])
    x = solve(denoiser, noise, down, "euler").state
    solver = get_solver("rk-4", PROCESSES[process])
    fine, half = (
        invert(denoiser, x, _spaced(process, GRID, span, n), solver).state
        for n in (FINE, FINE // 2)
    )
    return Flow(denoiser, x, fine, float(np.abs(fine - half).max()))


def observe(
    case: Convergence,
    alter: Alter = unaltered,
    span: Span = SHORT,
    flow: Callable[[str, Span], Flow] = _exact,
) -> Observed:
    """Measure the order of runs up, or of round trips."""
    solver = get_solver(case.solver, PROCESSES[case.process])
    wrong, kind = alter(solver), "own" if case.kind == TRIP else case.kind
    fewer = FEWER if solver.depth == 0 and solver.order >= 4 else 1
    denoiser, x, exact, floor = flow(case.process, span)
    errors = []
    for n in (max(1, count // fewer) for count in span.steps):
        run, grid = planned(solver, wrong, kind, n), _spaced(case.process, case.grid, span, n)
        if case.kind == TRIP:
            errors.append(round_trip(denoiser, x, grid, run).value)
        else:
            errors.append(distance(invert(denoiser, x, grid, run).state, exact, floor))
    return slope_of(case, errors, declared(solver, kind))


def _spaced(process: str, grid: str, span: Span, steps: int) -> Grid:
    to, back = SPACINGS[grid]
    ratios = back(np.linspace(to(span.top), to(span.bottom), steps + 1))
    return given_grid(PROCESSES[process], list(ratios))


def observe_first(case: Convergence) -> Observed:
    """Measure the order, in the first level's ratio, of what holding ``y`` fixed errs by."""
    errors = []
    for ratio in FIRST:
        first = PROCESSES[case.process].level_at(ratio)
        flow = exact_flow(LAW, STATES, NoiseLevel(1.0, 0.0), first)
        errors.append(distance(first.alpha * STATES, flow.state, float(np.max(flow.error))))
    return slope_of(case, errors, 2)


def compare(data: Observed, rule: Rule) -> Comparison:
    """Compare an observed order with the one that is expected."""
    gain = rule.gain if data.case.kind == TRIP and data.declared % 2 == 0 else 0
    return compare_orders(data, gain + rule.shift)


def _check(
    name: str,
    solvers: Sequence[str],
    kind: str,
    measure: Callable[[Convergence], Observed] = observe,
) -> Check:
    def draw(effort: Effort) -> list[Convergence]:
        processes = PROCESS_NAMES if effort.profile == "full" else ("flow",)
        return [Convergence(one, process, GRID, kind) for one in solvers for process in processes]

    return Check(name, "quadrature", Convergence, draw=draw, measure=measure, compare=compare)


def _network_check(name: str, solvers: Sequence[str], kind: str) -> Check:
    return replace(
        _check(name, solvers, kind, partial(observe, span=NETWORK, flow=_of_network)),
        method="neural",
        draw=lambda _: [Convergence(one, "flow", GRID, kind) for one in solvers],
        available=network_missing,
        seconds=5.0,
    )


def _spaces(claim: Claim) -> list[Space]:
    """Spaces of the orders: the solvers of a check, on every process."""

    def space(check: str, solvers: Sequence[str], kind: str) -> Space:
        lists: dict[str, Any] = {"solver": solvers, "process": PROCESS_NAMES}
        return picked(check, ORDER_DRAWN, lists, partial(Convergence, grid=GRID, kind=kind))

    names = {check.name for check in claim.checks}
    spaces = [space("up", SOLVER_IDS, "own"), space(TRIP, SINGLE, TRIP)]
    return [one for one in spaces if one.check in names]


def _seen(results: Results, name: str) -> dict[str, Observed]:
    return {data.case.solver: data for data in results[name].data}


def _flattered(results: Results) -> float:
    """How many times smaller Heun's error is in a round trip than one way."""
    up, trip = (_seen(results, name)["heun"].error for name in ("up", TRIP))
    return up / trip


def _numbers(results: Results) -> list[Number]:
    kinds = ("up", "up, matching start", TRIP)
    worst = max(results[name].comparison.excess.max() for name in kinds)
    first = max(data.error for data in results["first level"].data)
    on_network = [results[name] for name in (NETWORK_UP, NETWORK_TRIP) if name in results]
    found = [
        Number("solvers", len(_seen(results, "up"))),
        Number("of these, in a round trip", len(_seen(results, TRIP)), key="tripped"),
        Number("largest distance to the expected order", worst, better="lower"),
        Number("Heun's error one way over that of a round trip", _flattered(results), key="times"),
        Number(f"error of holding the state up to e = {FIRST[-1]}", first, key="first"),
    ]
    if on_network:
        most = max(result.comparison.excess.max() for result in on_network)
        found.append(Number("distance to the order on a network", most, better="lower"))
    return found


def _table(results: Results) -> Table:
    up, trip = _seen(results, "up"), _seen(results, TRIP)
    rows = []
    for name, seen in up.items():
        row = [name, str(seen.declared), f"{seen.order:.2f}", f"{seen.error:.1e}"]
        back = trip.get(name)
        rows.append([*row, *([f"{back.order:.2f}", f"{back.error:.1e}"] if back else ["", ""])])
    columns = ["solver", "declared", "up", "error", TRIP, "its error"]
    title = f"Orders up the noise and there and back; errors at {SHORT.steps[-1]} steps"
    return Table(title, columns, rows)


CLAIM = Claim(
    id="inversion",
    title="Inversion",
    statement="up the noise a solver of order p errs by O(h^p); a round trip of single steps by "
    "O(h^p) for odd p and O(h^(p+1)) for even p; holding the state from zero noise to ratio e by "
    "O(e^2)",
    latex=(
        r"x_{\text{up}} - x_{\text{flow}} = O(h^p), \qquad x_{\text{round}} - x = "
        r"O(h^{p + [p \text{ even}]})",
    ),
    headline="All {solvers} solvers keep their order up the noise; a round trip shows even orders "
    "one too high.",
    numbers=_numbers,
    source="steinlab/solvers/inversion.py; Song, Meng and Ermon (2021), section 4.3",
    kind="order",
    owner="laboratory",
    conditions=("a smooth denoiser", "steps short against the denoiser's scale"),
    formula=Rule(0, 1),
    checks=(
        _check("up", SOLVER_IDS, "own"),
        _check("up, matching start", STARTED, "matching"),
        _check(TRIP, SINGLE, TRIP),
        _check("first level", ("euler",), "own", observe_first),
        _network_check(NETWORK_UP, ("euler", "heun", "dpmpp-2m"), "matching"),
        _network_check(NETWORK_TRIP, ("euler", "heun"), TRIP),
    ),
    controls=(
        NegativeControl("orders one higher", Rule(1, 1)),
        NegativeControl("orders one lower", Rule(-1, 1)),
        NegativeControl("no gain of even orders", Rule(0, 0), (TRIP,)),
        NegativeControl("orders one higher, on a network", Rule(1, 1), (NETWORK_UP,)),
        NegativeControl("no gain of even orders, on a network", Rule(0, 0), (NETWORK_TRIP,)),
    ),
    dropped=(
        *(
            Dropped(
                f"a coefficient 5 % off: {name}",
                _check(f"falsified {name}", (name,), kind, partial(observe, alter=falsify)),
            )
            for name, kind in (("heun", "own"), ("dpmpp-2m", "matching"), ("unipc-3", "matching"))
        ),
        Dropped(
            "short steps",
            _check("long steps", ("heun", "dpmpp-3s"), "own", partial(observe, span=LONG)),
        ),
    ),
    finding="Started by single steps of matching order, multistep solvers reach their full order "
    "upwards too. A round trip hides part of the error of single steps of even order: measure the "
    "way up against the exact flow. A start at zero noise errs by the square of the first level's "
    "ratio, and a few long steps show no order.",
    table=_table,
    search=_spaces,
)
