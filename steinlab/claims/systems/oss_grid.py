r"""OSS keeps one state per cell: whether its grid is the best choice of the candidates.

Dynamic programming is exact where the rest of a path does not depend on how a cell was reached.
Here it does: of all ways to take ``k`` steps to a candidate the search keeps the one nearest the
teacher there, and the errors of the steps after it may cancel those of another. On a Gaussian every
run is a product of gains, and all choices of a few candidates can be tried.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from analytic import NoiseLevel
from steinlab.claims.instruments.gaussian_data import law_of
from steinlab.claims.instruments.ranges import Ranges
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import EDM
from steinlab.solvers import get_solver, make_plan
from steinlab.solvers.gaussian_runs import forward_law
from steinlab.solvers.loop import solve
from steinlab.solvers.searched_grids import Task, followed, oss
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Result
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.falsify.spaces import Parameter
from steinlab.verification.quantities import Number

EULER, MULTISTEP, FOUND = "Euler", "multistep", "found by search"
CANDIDATES = 12
TEACHER = "euler"
"""The authors' teacher: the student's own step at every candidate."""


@dataclass(frozen=True)
class Choice(SingleCase):
    """A student of a few steps on a centred Gaussian of three deviations."""

    steps: int
    first: float
    second: float
    third: float
    solver: str = "euler"


class Ends(NamedTuple):
    """Distances of the ends to the teacher's: the search's, the best's, and the rounding."""

    searched: float
    best: float
    rounding: float


def measure(case: Choice) -> Ends:
    """Search, and try every choice."""
    law = law_of(np.array([case.first, case.second, case.third]))
    x = forward_law(law, NoiseLevel(1.0, EDM.ratio_max)).deviations[None]
    levels = make_grid(EDM, "karras", CANDIDATES - 1, final_zero=False)
    plan = make_plan(get_solver(case.solver), case.steps)
    goal = followed(task := Task(law, x, EDM, levels, plan), TEACHER).states[-1]

    def distance(grid: Any) -> float:
        return float(np.linalg.norm(solve(law, x, grid, plan).state - goal))

    inner = itertools.combinations(levels[1:-1], case.steps - 1)
    best = min(distance((levels[0], *chosen, levels[-1])) for chosen in inner)
    size = ROUNDING * EPS * case.steps * float(np.linalg.norm(goal))
    return Ends(distance(oss(task, teacher=TEACHER)), best, size)


def compare(data: Ends, formula: Callable[[float], float]) -> Comparison:
    """Bound the search's distance by the least."""
    return single(data.searched, formula(data.best), data.rounding, upper=True)


DEVIATIONS = tuple(Parameter(name, 0.2, 6.0, True) for name in ("first", "second", "third"))
CHOICES = Ranges(Choice, {"steps": (2, 3, 4)}, DEVIATIONS, seeded=False)
WORST = {"steps": 5, "first": 5.27162001, "second": 0.69606245, "third": 1.38194706}
"""The largest loss among 24,000 random Gaussians, each with students of two to five steps."""


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    over = {name: [d.searched / d.best - 1 for d in results[name].data] for name in results}
    return [
        Number("loss of the case found, Euler", over[FOUND][0], unit="%", key="loss"),
        Number("largest loss of drawn cases, Euler", max(over[EULER]), unit="%"),
        Number("median loss, 2M", np.median(over[MULTISTEP]), unit="%"),
    ]


CLAIM = Claim(
    id="oss-grid",
    title="OSS finds the best grid of its candidates",
    statement="the search over the student's own states with one state per cell ends as near the "
    "teacher as any choice of as many candidates",
    latex=(
        r"\lVert x_n(\text{OSS}) - x^{\text{teacher}} \rVert = "
        r"\min_{i_1 < \dots < i_{n-1}} \lVert x_n(i) - x^{\text{teacher}} \rVert",
    ),
    expected="refuted",
    source="Pei et al., Optimal stepsize for diffusion sampling (2025)",
    kind="upper",
    owner="peer",
    conditions=(
        "a student without a past",
        "Gaussian data of three scales",
        "EDM",
        "12 candidates of Karras's grid",
    ),
    formula=float,
    checks=(
        CHOICES.check(EULER, 12, measure, compare),
        CHOICES.check(FOUND, 1, measure, compare, **WORST),
    ),
    controls=(NegativeControl("10 % less than the least", lambda best: 0.9 * best, (EULER,)),),
    dropped=(
        Dropped(
            "a student without a past",
            CHOICES.check(MULTISTEP, 6, measure, compare, solver="dpmpp-2m", steps=3),
        ),
    ),
    headline="With Euler nearly always the best grid, {loss} off in the worst case found; far off "
    "with 2M.",
    numbers=_numbers,
    finding="With Euler on Gaussians the search misses the best grid in one of 240 cases of three "
    "steps, of 1,700 of four or five, and is near it there: the state kept per cell is the wrong "
    "one where later errors cancel. A multistep student is not the authors' case: its next step "
    "depends on a past that was not kept, and the loss is common.",
    search=lambda _: [CHOICES.space(EULER)],
)
