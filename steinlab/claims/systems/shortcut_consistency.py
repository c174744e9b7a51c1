r"""A shortcut model bootstrapped from Euler's step is Euler's run, at every step size.

A shortcut ``s(x, t, d)`` is the direction of a step of length ``d`` in the time of rectified flow,
here from noise at 1 to data at 0. It is trained on the velocity at the least length ``d_0`` and on

    s(x, t, 2d) = [s(x, t, d) + s(x - d s(x, t, d), t - d, d)] / 2.

The exact displacement ``(x - Phi)/d`` satisfies this. With no error left the model is Euler's run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from steinlab.claims.instruments.directions import displacement, euler_run, shortcut_error, slope
from steinlab.claims.instruments.ranges import between
from steinlab.claims.instruments.two_modes import STATE, TwoModes, on_flow, on_modes
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.solvers.one_step import Direction, Double, doubled, spanning
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number

EXACT, BOOTSTRAP = "exact displacement", "bootstrapped"


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
    units: int


def measure(case: Shortcut, below: float = 0.0) -> Measured:
    """Follow the flow over the whole step and over halves, from states clipped ``below`` a time."""
    x, top = case.at(on_flow(case.top), case.state), case.top
    wanted = float(displacement(case.law)(x, top, top)[0])
    return Measured(wanted, displacement(case.law, below), x, case, 64)


def measure_run(case: Shortcut) -> Measured:
    """Run Euler on the base grid; the doubling starts from the velocity."""
    x = case.at(on_flow(case.top), case.state)
    wanted = float(euler_run(case.law, x, case.top, case.parts)[0])
    return Measured(wanted, slope(case.law), x, case, 4 * case.parts)


def compare(data: Measured, double: Double) -> Comparison:
    """Double the direction until it spans the step."""
    case, size = data.case, abs(data.x[0])
    found = spanning(data.start, case.parts, double)(data.x, case.top, case.top)
    rounding = data.units * ROUNDING * EPS * (1 + size + case.apart) / case.top
    return single(float(found[0]), data.wanted, rounding, scale=np.array([abs(data.wanted) + size]))


NUMBERS = STATE, *between(top=(0.1, 0.99))
WHOLE = on_modes(Shortcut, *NUMBERS, parts=(2,))
CLIPPED = WHOLE.check(
    "clipped", 8, lambda case: measure(case, case.top), compare, top=0.99, state=10.0
)
STEPS = on_modes(Shortcut, *NUMBERS, parts=(4, 8, 32))  # the authors take 128


def _numbers(results: Results) -> list[Number]:
    data = results[BOOTSTRAP].data[:4]
    errors = np.array([[shortcut_error(d.case.law, n) for n in (64, 128)] for d in data])
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
    checks=(WHOLE.check(EXACT, 24, measure, compare),
            STEPS.check(BOOTSTRAP, 12, measure_run, compare)),
    controls=(
        NegativeControl("both halves from one state", lambda s, x, t, d: s(x, t, d)),
        NegativeControl("the second half not moved on",
                        lambda s, x, t, d: 0.5 * (s(x, t, d) + s(x, t - d, d))),
        NegativeControl("the second half alone", lambda s, x, t, d: s(x - d * s(x, t, d), t - d, d))
    ),
    dropped=(Dropped("no clip: states clipped at 4", CLIPPED),),
    headline="Bootstraps Euler: one long step errs as the run of 128 short ones, with order "
    "{p:.0f} in the base.",
    numbers=_numbers,
    finding="Self-consistency adds no error of its own and removes none: every length inherits the "
    "base step's. A shorter base, or a base of order two, is what lowers the error, not more "
    "lengths. The authors clip states and targets at 4, which biases the target wherever the state "
    "is larger.",
    search=lambda _: [WHOLE.space(EXACT), STEPS.space(BOOTSTRAP)],
)  # fmt: skip
