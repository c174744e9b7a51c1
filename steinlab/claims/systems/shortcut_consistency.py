r"""A shortcut model bootstrapped from Euler's step is Euler's run, at every step size.

A shortcut ``s(x, t, d)`` is the direction of a step of length ``d`` in the time of rectified flow,
here from noise at 1 to data at 0. It is trained on the velocity at the least length ``d_0`` and on

    s(x, t, 2d) = [s(x, t, d) + s(x - d s(x, t, d), t - d, d)] / 2.

The exact displacement ``(x - Phi)/d`` satisfies this for every ``d``. The velocity is not the exact
displacement of ``d_0``: with no error left the model is the run of ``1/d_0`` steps of Euler, and
the error of one long step is that run's, of order one in ``d_0``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from steinlab.claims.instruments.ranges import Ranges
from steinlab.claims.instruments.two_modes import MODES, TwoModes, moved, on_flow
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.solvers import get_solver
from steinlab.solvers.loop import solve
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.falsify.spaces import Parameter
from steinlab.verification.quantities import Number

EXACT, BOOTSTRAP, CLIP = "exact displacement", "bootstrapped", 4.0
LENGTHS = (4, 8, 32)
"""Steps of Euler that a bootstrapped shortcut stands for; the authors take 128."""

Direction = Callable[[np.ndarray, float, float], np.ndarray]
"""``s(x, t, d)``."""
Double = Callable[[Direction, np.ndarray, float, float], np.ndarray]
"""What a direction of length ``d`` makes of one of length ``2 d``."""


def doubled(s: Direction, x: np.ndarray, t: float, d: float) -> np.ndarray:
    """Return the mean of two directions, one after the other."""
    first = s(x, t, d)
    return 0.5 * (first + s(x - d * first, t - d, d))


@dataclass(frozen=True)
class Shortcut(TwoModes):
    """A step of the flow from time ``top``, and the parts that it is made of."""

    state: float
    top: float
    parts: int


class Measured(NamedTuple):
    """The direction that the doubling should give, what it starts from, where, and the rounding."""

    wanted: float
    start: Direction
    x: np.ndarray
    case: Shortcut
    rounding: float


def displacement(case: Shortcut, clip: float = math.inf) -> Direction:
    """Return the exact flow's direction, from states inside the step clipped, if told to."""

    def s(x: np.ndarray, t: float, d: float) -> np.ndarray:
        x = np.clip(x, -clip, clip) if t < case.top else x
        return np.asarray(x - moved(case.law, x, on_flow(t), on_flow(max(t - d, 0.0)))) / d

    return s


def measure(case: Shortcut, clip: float = math.inf) -> Measured:
    """Follow the flow over the whole step; the parts are two halves."""
    x = case.at(on_flow(case.top), case.state)
    wanted = displacement(case)(x, case.top, case.top)
    slack = 64 * ROUNDING * EPS * (1 + abs(x[0]) + case.apart) / case.top
    return Measured(float(wanted[0]), displacement(case, clip), x, case, slack)


def measure_run(case: Shortcut) -> Measured:
    """Run Euler on the base grid, a solver's run; the doubling starts from the velocity."""
    grid = [on_flow(t) for t in np.linspace(case.top, 0, case.parts + 1)]
    x = case.at(grid[0], case.state)
    end = solve(case.law, x[:, None], grid, "euler").state[:, 0]

    def velocity(x: np.ndarray, t: float, d: float) -> np.ndarray:  # noqa: ARG001
        return np.asarray((x - case.law(x[:, None], on_flow(t))[:, 0]) / t)

    slack = 4 * case.parts * ROUNDING * EPS * (1 + abs(x[0]) + case.apart) / case.top
    return Measured(float(((x - end) / case.top)[0]), velocity, x, case, slack)


def compare(data: Measured, double: Double) -> Comparison:
    """Double the direction until it spans the step."""
    s, top = data.start, data.case.top

    def grown(s: Direction) -> Direction:
        return lambda x, t, d: double(s, x, t, d / 2)

    for _ in range(data.case.parts.bit_length() - 1):
        s = grown(s)
    scale = np.array([abs(data.wanted) + abs(data.x[0])])
    return single(float(s(data.x, top, top)[0]), data.wanted, data.rounding, scale=scale)


NUMBERS = (*MODES, Parameter("state", -3.0, 3.0), Parameter("top", 0.1, 0.99))
RANGES = {
    EXACT: Ranges(Shortcut, {"parts": (2,)}, NUMBERS, seeded=False),
    BOOTSTRAP: Ranges(Shortcut, {"parts": LENGTHS}, NUMBERS, seeded=False),
}


def flow_error(case: TwoModes, parts: int) -> float:
    """Return how far one step of a shortcut of so many parts ends from the flow, in the mean."""
    law, x, s = case.law, np.linspace(-2.0, 2.0, 81), on_flow(0.99)
    found = get_solver(f"shortcut@{parts}", "flow").step(law, x[:, None], s, on_flow(0.0), ())
    return float(np.sqrt(np.mean((found.state[:, 0] - moved(law, x, s, on_flow(0.0))) ** 2)))


def _numbers(results: Results) -> list[Number]:
    batches: Any = results[BOOTSTRAP].batches[:4]
    errors = np.array([[flow_error(case, n) for n in (64, 128)] for case in batches])
    return [
        Number("largest distance to Euler's run", results[BOOTSTRAP].comparison.excess.max()),
        Number("error of one step bootstrapped from 1/128, median", np.median(errors[:, 1])),
        Number("order in the base step", np.median(np.log2(errors[:, 0] / errors[:, 1])), key="p"),
    ]


CLAIM = Claim(
    id="shortcut-consistency",
    title="What a shortcut model learns",
    statement="the flow's displacement is self-consistent at every length; a shortcut bootstrapped "
    "from the velocity at d_0 is Euler's run with steps d_0, at every length",
    latex=(
        r"s(x, t, 2d) = \tfrac12\left[s(x, t, d) + s(x - d\,s, t - d, d)\right], \quad s(x, t, d_0)"
        r" = v(x, t): \qquad x - d\, s(x, t, d) = \text{Euler in } d/d_0 \text{ steps}",
    ),
    source="shortcut models (Frans et al., 2025), their targets without error",
    kind="identity",
    owner="peer",
    conditions=("rectified flow", "no training error", "no clip of states or targets"),
    formula=doubled,
    checks=(
        RANGES[EXACT].check(EXACT, 24, measure, compare),
        RANGES[BOOTSTRAP].check(BOOTSTRAP, 12, measure_run, compare),
    ),
    controls=(
        NegativeControl("both halves from one state", lambda s, x, t, d: s(x, t, d)),
        NegativeControl(
            "the second half not moved on",
            lambda s, x, t, d: 0.5 * (s(x, t, d) + s(x, t - d, d)),
        ),
        NegativeControl(
            "the second half alone", lambda s, x, t, d: s(x - d * s(x, t, d), t - d, d)
        ),
    ),
    dropped=(
        Dropped(
            "no clip: states clipped at 4",
            RANGES[EXACT].check(
                "clipped", 8, lambda case: measure(case, CLIP), compare, top=0.99, state=10.0
            ),
        ),
    ),
    headline="Bootstraps Euler: one long step errs as the run of 128 short ones, with order "
    "{p:.0f} in the base.",
    numbers=_numbers,
    finding="Self-consistency adds no error of its own and removes none: every length inherits the "
    "base step's. A shorter base, or a base of order two, is what lowers the error, not more "
    "lengths. The authors clip states and targets at 4, which biases the target wherever the state "
    "is larger.",
    search=lambda _: [ranges.space(name) for name, ranges in RANGES.items()],
)
