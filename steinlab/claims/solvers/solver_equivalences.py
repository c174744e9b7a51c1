r"""Solvers that are one method under two names.

Ours against formulas typed anew from the papers
(:mod:`steinlab.claims.solvers.published_formulas`), so that no identity compares code with itself.
Each pair runs over an uneven grid of each process on a two-mode mixture in one dimension. The
tolerance is the running rounding error of both runs: every step's own, carried on by the later ones
(:class:`steinlab.coefficient.rounding.Sized`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from steinlab.claims.instruments.observed_order import PerState
from steinlab.claims.instruments.sized_runs import run_sized, uneven_grid
from steinlab.claims.solvers.published_formulas import (
    SCALED_EULER,
    VELOCITY_EULER,
    TwoStages,
    dpmpp_2m,
    dpmpp_2m_heun,
    dpmpp_3m,
    in_data_form,
    lms,
    log_adams,
    unip,
)
from steinlab.coefficient.rounding import EPS, ROUNDING, Sized
from steinlab.diffusion.grids import Grid
from steinlab.diffusion.processes import EDM, FLOW, PROCESSES, VE
from steinlab.solvers import Solver, get_solver
from steinlab.verification.claim import Check, Claim, Effort, NegativeControl, Results
from steinlab.verification.comparison import Comparison
from steinlab.verification.falsify.spaces import SEEDS, RowSpace, Space, picked
from steinlab.verification.quantities import Number

Pair = tuple[Solver, str, tuple[str, ...]]
"""A solver typed from its paper, the id of ours that equals it, and the processes where."""

EVERY = tuple(PROCESSES)

_MIDPOINT, _SOLVED = (partial(unip, "bh2", solved=solved) for solved in (False, True))

PAIRS: Mapping[str, Pair] = {
    "DDIM is Euler in sigma/alpha on x/alpha": (SCALED_EULER, "euler", EVERY),
    "DDIM is Euler on the velocity of rectified flow": (VELOCITY_EULER, "euler", (FLOW.name,)),
    "UniP-1 is DDIM": (in_data_form(_MIDPOINT(), 1), "euler", EVERY),
    "2M midpoint as printed": (in_data_form(dpmpp_2m, 2), "dpmpp-2m", EVERY),
    "2M heun as printed": (in_data_form(dpmpp_2m_heun, 2), "dpmpp-2m-heun", EVERY),
    "UniP-2, bh2, rho = 1/2 is 2M midpoint": (in_data_form(_MIDPOINT(), 2), "dpmpp-2m", EVERY),
    "UniP-2 with the solved rho is 2M heun": (in_data_form(_SOLVED(), 2), "dpmpp-2m-heun", EVERY),
    "3M as printed": (in_data_form(dpmpp_3m(1, dpmpp_2m), 3), "dpmpp-3m", EVERY),
    "3M with c = 2": (in_data_form(dpmpp_3m(2, dpmpp_2m_heun), 3), "dpmpp-3m-exact", EVERY),
    "UniP-3, bh2 is 3M with c = 2": (in_data_form(_SOLVED(), 3), "dpmpp-3m-exact", EVERY),
    "UniP-3, bh1 is 3M with c = 2": (
        in_data_form(unip("bh1", solved=True), 3),
        "dpmpp-3m-exact",
        EVERY,
    ),
    "LMS-2 is iPNDM-v-2": (lms(2), "ipndm-v-2", EVERY),
    "LMS-3 is DEIS-rho-3": (lms(3), "deis-rho-3", EVERY),
    "LMS-4 is iPNDM-v-4": (lms(4), "ipndm-v-4", EVERY),
    "log-Adams-3 is DEIS-log-3": (log_adams(3), "deis-log-3", EVERY),
    "LMS-3 is DEIS-tab-3 in the time of EDM": (lms(3), "deis-tab-3", (EDM.name,)),
    "log-Adams-3 is DEIS-tab-3 in the time of VE": (log_adams(3), "deis-tab-3", (VE.name,)),
    "RX-2 is Runge-Kutta with two stages": (TwoStages(), "rx-2", EVERY),
}
"""Identities. The typed formula is the one that controls falsify."""

STEPS = 6


@dataclass(frozen=True)
class PairCase(PerState):
    """A pair on an uneven grid of a process; one case per state."""

    pair: str
    process: str
    seed: int

    def grid(self) -> Grid:
        """Return its grid."""
        return uneven_grid(self.process, self.seed, STEPS)


class Ends(NamedTuple):
    """End states of a pair, ours first, with their running errors."""

    case: PairCase
    first: Sized
    second: Sized


def measure(case: PairCase) -> Ends:
    """Run both methods of a pair."""
    printed, ours, _ = PAIRS[case.pair]
    grid = case.grid()
    solver = get_solver(ours, PROCESSES[case.process])
    return Ends(case, run_sized(solver, grid), run_sized(printed, grid))


def compare(data: Ends, error: float) -> Comparison:
    """Compare the end states, the typed solver's steps longer by ``error`` (0 for the claim)."""
    second = data.second
    if error in ERRORS:
        ends = _stretched_ends(data.case)
        second = Sized(*(part[ERRORS.index(error)] for part in (ends.value, ends.size)))
    elif error:
        second = run_sized(_Stretched(PAIRS[data.case.pair][0], error), data.case.grid())
    size = data.first.size + second.size
    return Comparison(
        data.first.value.ravel(),
        second.value.ravel(),
        (ROUNDING * EPS * size).ravel(),
        scale=np.maximum(np.abs(second.value), 0.1).ravel(),
    )


ERRORS = (0.05, 1e-6, 1e-10)
"""Relative errors of the steps in the controls."""


@lru_cache(maxsize=1024)
def _stretched_ends(case: PairCase) -> Sized:
    """Return the typed solver's ends with each of the errors, ``(E, N, 1)``, by one run."""
    solver = _Stretched(PAIRS[case.pair][0], np.array(ERRORS)[:, None, None])
    return run_sized(solver, case.grid())


@dataclass(frozen=True)
class _Stretched:
    """A solver whose increment over the Euler step is off by a relative error."""

    inner: Any
    error: Any

    def step(self, denoiser: Any, x: Any, s: Any, t: Any, history: Any) -> Any:
        right = self.inner.step(denoiser, x, s, t, history)
        return replace(right, state=right.state + self.error * (right.state - x))

    @property
    def depth(self) -> int:
        return int(self.inner.depth)


def _draw(effort: Effort) -> Sequence[PairCase]:
    return [
        PairCase(pair, process, int(effort.rng.integers(2**32)))
        for pair, (_, _, processes) in PAIRS.items()
        for process in processes
        for _ in range(effort.count(2))
    ]


def _numbers(results: Results) -> list[Number]:
    c = results["pairs"].comparison
    return [
        Number("identities", len(PAIRS)),
        Number("largest distance of the ends", np.max(c.excess / np.asarray(c.scale))),
        Number("relative error that would show", c.detects()),
    ]


def equivalence_spaces(claim: Claim) -> list[Space]:  # noqa: ARG001
    """Spaces of the equivalences: each pair, its processes and uneven grids."""

    def space(pair: str) -> Space:
        lists = {"process": PAIRS[pair][2]}
        found = picked("pairs", 512, lists, partial(PairCase, pair), SEEDS)
        assert isinstance(found, RowSpace)
        return RowSpace("pairs", pair, found.drawn, found.parameters, found.make)

    return [space(pair) for pair in PAIRS]


CLAIM = Claim(
    id="solver-equivalences",
    title="One method, two names",
    statement="the identities between solver families: " + "; ".join(PAIRS),
    latex=(
        r"\text{DDIM} = \text{Euler in } \sigma/\alpha, \quad \text{UniP-2} = \text{2M}, "
        r"\quad \text{UniP-3} = \text{3M with } c = 2, \; \dots",
    ),
    headline="DDIM is Euler, UniP-2 is 2M: all {identities} identities between solver families "
    "hold to rounding.",
    numbers=_numbers,
    source="UniPC (2023), DPM-Solver++ (2022), DEIS (2023), RX-DPM (2025); docs/solvers.md",
    kind="identity",
    owner="peer",
    conditions=("the same start and the same rule at the end",),
    formula=0.0,
    checks=(Check("pairs", "property", PairCase, draw=_draw, measure=measure, compare=compare),),
    controls=(
        NegativeControl("increments 5 % too long", 0.05),
        NegativeControl("increments off by 1e-6", 1e-6),
        NegativeControl("increments off by 1e-10", 1e-10),
    ),
    finding="Each pair agrees within the running rounding error, on every process that it names "
    "and on uneven grids. The formulas are typed anew from the papers; two modes in one "
    "dimension. Take either name: they are one method.",
    search=equivalence_spaces,
)
