r"""Progressive distillation without error is DDIM with the teacher's steps.

The student's target at ``z`` is the output with which one step of DDIM from ``(alpha, sigma)`` to
``(alpha'', sigma'')`` ends where two of its teacher's do, ``z''``:

    x~ = (z'' - k z) / (alpha'' - k alpha),   k = sigma''/sigma.

A student that meets its target at every state is the teacher's run; after ``k`` rounds it is the
run of ``2^k`` times as many steps, and errs as that. Its output is no posterior mean any more.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from analytic import NoiseLevel
from steinlab.claims.instruments.ranges import Ranges
from steinlab.claims.instruments.two_modes import MODES, TwoModes
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import EULER, get_solver
from steinlab.solvers.loop import solve
from steinlab.solvers.one_step import Student, target
from steinlab.verification.claim import Claim, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.falsify.spaces import Parameter
from steinlab.verification.quantities import Number

ROUNDS = "rounds of halving"

Target = Callable[[Any, Any, NoiseLevel, NoiseLevel], Any]
"""``(z, z'', from, to) -> x~``."""


@dataclass(frozen=True)
class Rounds(TwoModes):
    """One step of a student after ``log2(parts)`` rounds, from a ratio to a part of it."""

    process: str
    parts: int
    state: float
    ratio: float
    left: float


class Measured(NamedTuple):
    """The teacher's levels and end, where it starts, the law and the size of the rounding."""

    levels: tuple[NoiseLevel, ...]
    end: float
    start: np.ndarray
    law: Denoiser
    rounding: float


def measure(case: Rounds) -> Measured:
    """Run the base: DDIM on all the levels."""
    law, process = case.law, PROCESSES[case.process]
    s, t = process.level_at(case.ratio), process.level_at(case.left * case.ratio)
    solver = get_solver(f"distilled@{case.parts}", process)
    assert isinstance(solver, Student)
    levels = solver.levels(s, t)
    start = case.at(s, case.state)[None]
    end = float(solve(law, start, levels, "euler").state[0, 0])
    # each round divides by beta and each step multiplies by it
    worst = max(
        (a.alpha + a.sigma) / (b.alpha - b.sigma / a.sigma * a.alpha)
        for a, b in itertools.pairwise(levels)
    )
    size = (abs(start[0, 0]) + abs(end) + case.apart) * (1 + worst)
    return Measured(levels, end, start, law, 4 * case.parts * ROUNDING * EPS * size)


def distilled(law: Denoiser, levels: tuple[NoiseLevel, ...], formula: Target) -> Denoiser:
    """Return the student's output for one step over all levels, made round by round."""
    if len(levels) == 2:
        return law
    middle = len(levels) // 2
    halves = [levels[: middle + 1], levels[middle:]]

    def output(x: Any, level: NoiseLevel) -> Any:
        z = x
        for half in halves:
            teacher = distilled(law, half, formula)
            z = EULER.step(teacher, z, half[0], half[-1], ()).state
        return formula(x, z, level, levels[-1])

    return output


def compare(data: Measured, formula: Target) -> Comparison:
    """Compare the end of the student's single step with the base run's."""
    ends = data.levels[0], data.levels[-1]
    student = distilled(data.law, data.levels, formula)
    found = float(EULER.step(student, data.start, *ends, ()).state[0, 0])
    scale = np.array([abs(found) + abs(data.start[0, 0])])
    return single(found, data.end, data.rounding, scale=scale)


DRAWN = Ranges(
    Rounds,
    {"process": ("vp-linear", "flow", "edm"), "parts": (2, 4, 8, 16)},
    (*MODES, Parameter("state", -3.0, 3.0), Parameter("ratio", 0.1, 50.0, True),
     Parameter("left", 0.0, 0.9)),
    seeded=False,
)  # fmt: skip


def _numbers(results: Results) -> list[Number]:
    away = []
    for case, data in zip(results[ROUNDS].batches, results[ROUNDS].data, strict=True):
        if getattr(case, "parts", 0) == 2:
            s, t = data.levels[0], data.levels[-1]
            mean = float(np.asarray(data.law(data.start, s)).item())
            spread = float(np.sqrt(data.law.variance()))
            away.append(abs(target(data.start[0, 0], data.end, s, t) - mean) / spread)
    return [
        Number("largest distance to DDIM's end", results[ROUNDS].comparison.excess.max()),
        Number("target's distance to the posterior mean, median, in deviations", np.median(away),
               key="away"),
    ]  # fmt: skip


CLAIM = Claim(
    id="progressive-distillation",
    title="What progressive distillation keeps",
    statement="one DDIM step with the target is two of the teacher's; after k rounds without error "
    "the student is DDIM with 2^k times as many steps",
    latex=(
        r"\tilde x = \frac{z'' - k z}{\alpha'' - k \alpha}, \quad k = \sigma''/\sigma: \qquad "
        r"k z + (\alpha'' - k \alpha)\, \tilde x = z''",
    ),
    source="progressive distillation (Salimans and Ho, 2022), equation 8",
    kind="identity",
    owner="peer",
    conditions=("no training error", "a deterministic teacher", "nested levels"),
    formula=target,
    checks=(DRAWN.check(ROUNDS, 60, measure, compare),),
    controls=(
        NegativeControl("k = 0", lambda _x, end, _s, t: end / t.alpha),
        NegativeControl("k squared", lambda x, end, s, t: target(
            x, end, NoiseLevel(s.alpha, s.sigma**2), NoiseLevel(t.alpha, t.sigma**2))),
        NegativeControl("off by 1e-5", lambda *a: (1 + 1e-5) * target(*a)),
    ),
    headline="Keeps the teacher's error whole: a perfect one-step student errs as the DDIM run "
    "that it replaces.",
    numbers=_numbers,
    finding="Halving adds no error and removes none: whatever DDIM errs with the first teacher's "
    "steps the last student errs. Its output is no posterior mean: corrections and estimators that "
    "take it for E[x_star | x] do not apply to a distilled network.",
    search=lambda _: [DRAWN.space(ROUNDS)],
)  # fmt: skip
