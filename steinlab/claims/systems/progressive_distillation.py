r"""Progressive distillation without error is DDIM with the teacher's steps.

The student's target at ``z`` is the output with which one step of DDIM from ``(alpha, sigma)`` to
``(alpha'', sigma'')`` ends where two of its teacher's do, ``z''``:

    x~ = (z'' - k z) / (alpha'' - k alpha),   k = sigma''/sigma.

A student that meets its target at every state is the teacher's run; after ``k`` rounds it is the
run of ``2^k`` times as many steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from steinlab.claims.instruments.ranges import between
from steinlab.claims.instruments.two_modes import STATE, TwoModes, on_modes
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import EULER
from steinlab.solvers.loop import solve
from steinlab.solvers.one_step import Target, distilled, growth, student, target
from steinlab.verification.claim import Claim, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number

ROUNDS = "rounds of halving"


@dataclass(frozen=True)
class Rounds(TwoModes):
    """One step of a student after ``log2(parts)`` rounds, from a ratio to a part of it."""

    process: str
    parts: int
    state: float
    ratio: float
    left: float


class Measured(NamedTuple):
    """The law, the teacher's levels and end, the start, and the size of the rounding."""

    law: GaussianMixture
    levels: tuple[NoiseLevel, ...]
    end: float
    start: np.ndarray
    rounding: float


def measure(case: Rounds) -> Measured:
    """Run the base: DDIM on all the levels."""
    law, process = case.law, PROCESSES[case.process]
    s, t = process.level_at(case.ratio), process.level_at(case.left * case.ratio)
    levels = student(f"distilled@{case.parts}").on(process).levels(s, t)
    start = case.at(s, case.state)[None]
    end = float(solve(law, start, levels, "euler").state[0, 0])
    size = (abs(start[0, 0]) + abs(end) + case.apart) * (1 + growth(levels))
    return Measured(law, levels, end, start, 4 * case.parts * ROUNDING * EPS * size)


def compare(data: Measured, formula: Target) -> Comparison:
    """Compare the end of the student's single step with the base run's."""
    ends = data.levels[0], data.levels[-1]
    output = distilled(data.law, data.levels, formula)
    found = float(EULER.step(output, data.start, *ends, ()).state[0, 0])
    scale = np.array([abs(found) + abs(data.start[0, 0])])
    return single(found, data.end, data.rounding, scale=scale)


RATIOS = *between(log=True, ratio=(0.1, 50.0)), *between(left=(0.0, 0.9))
DRAWN = on_modes(Rounds, STATE, *RATIOS, process=("vp-linear", "flow", "edm"), parts=(2, 4, 8, 16))


def _numbers(results: Results) -> list[Number]:
    away = []
    for law, levels, end, start, _ in (d for d in results[ROUNDS].data if len(d.levels) == 3):
        mean = float(np.asarray(law(start, levels[0])).item())
        found = target(start[0, 0], end, levels[0], levels[-1])
        away.append(abs(found - mean) / float(np.sqrt(law.variance())))
    what = "target's distance to the posterior mean, median, in deviations"
    return [
        Number("largest distance to DDIM's end", results[ROUNDS].comparison.excess.max()),
        Number(what, np.median(away), key="away"),
    ]


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
