"""Spaces of runs picked from lists: a solver, a process, a grid, a number of steps, a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from steinlab.falsify.spaces import SEEDS, Parameter, RowSpace, Space, index
from steinlab.verdicts import Cases, Claim

Lists = Mapping[str, Sequence[Any]]


def _picked(
    check: str,
    drawn: int,
    lists: Lists,
    make: Callable[..., Cases],
    *numbers: Parameter,
) -> Space:
    """Return a space of choices from lists and further numbers, all handed to ``make`` by name."""

    def row(of: Mapping[str, float]) -> Cases:
        chosen = {name: options[int(of[name])] for name, options in lists.items()}
        return make(**chosen, **{p.name: of[p.name] for p in numbers})

    parameters = (*(index(name, len(options)) for name, options in lists.items()), *numbers)
    name = ", ".join(f"{len(options)} {name}" for name, options in lists.items())
    return RowSpace(check, name, drawn, parameters, row)


ORDER_DRAWN = 48
"""Orders are dear: runs of up to 256 steps."""


def order_spaces(claim: Claim) -> list[Space]:
    """Spaces of the orders: each solver that a check observes, on every process and grid."""
    from steinlab.claims.convergence import PROCESS_NAMES, SPACINGS, Convergence
    from steinlab.examine import effort_for

    out = []
    for check in claim.checks:
        batches: Any = check.draw(effort_for(claim.id, check.name, "full", 0))
        solvers, (kind,) = sorted({b.solver for b in batches}), {b.kind for b in batches}
        lists = {"solver": solvers, "process": PROCESS_NAMES, "grid": tuple(SPACINGS)}

        def make(solver: str, process: str, grid: str, kind: str = kind) -> Cases:
            return Convergence(solver, process, grid, kind)

        out.append(_picked(check.name, ORDER_DRAWN, lists, make))
    return out


def equivalence_spaces(claim: Claim) -> list[Space]:  # noqa: ARG001
    """Spaces of the equivalences: each pair, its processes and uneven grids."""
    from steinlab.claims.solver_equivalences import PAIRS, PairCase

    def space(pair: str) -> Space:
        def make(process: str, seed: float) -> Cases:
            return PairCase(pair, process, int(seed))

        found = _picked("pairs", 512, {"process": PAIRS[pair][2]}, make, SEEDS)
        assert isinstance(found, RowSpace)
        return RowSpace("pairs", pair, found.drawn, found.parameters, found.make)

    return [space(pair) for pair in PAIRS]


def decomposition_spaces(claim: Claim) -> list[Space]:  # noqa: ARG001
    """Spaces of the split error: runs of any length on laws off by any share."""
    from steinlab.claims.integration_error_decomposition import SOLVERS, Run

    def make(solver: str, process: str, steps: float, error: float) -> Cases:
        return Run(solver, process, int(steps), error)

    lists = {"solver": SOLVERS, "process": ("edm", "vp-linear", "flow")}
    numbers = (Parameter("steps", 2, 21), Parameter("error", 1e-3, 0.2, True))
    return [_picked("split", 32, lists, make, *numbers)]


def shift_spaces(claim: Claim) -> list[Space]:  # noqa: ARG001
    """Spaces of the shift: laws by their seed, moved by any amount."""
    from steinlab.claims.foreign import Shifts
    from steinlab.claims.shift_adaptation import FAMILIES, SOLVER_NAMES

    def make(family: str, solver: str, seed: float, size: float) -> Cases:
        return Shifts(family, solver, int(seed), (size,))

    lists = {"family": FAMILIES, "solver": SOLVER_NAMES}
    return [_picked("shifts", 384, lists, make, SEEDS, Parameter("size", 1e-3, 2.0, True))]


def cost_spaces(claim: Claim) -> list[Space]:
    """Spaces of the counts: solvers, estimators and numbers of steps."""
    from steinlab.claims.counting import ESTIMATORS, NONLINEAR_ESTIMATORS, Run, split_solvers

    def make(solver: str, estimator: str, process: str, steps: float) -> Cases:
        return Run(solver, estimator, process, int(steps))

    single, several = split_solvers()
    out = []
    for check in claim.checks:
        many = check.name == "through every evaluation"
        lists = {
            "solver": several if many else single,
            "estimator": NONLINEAR_ESTIMATORS if many else tuple(ESTIMATORS),
            "process": ("edm", "vp-linear", "flow"),
        }
        out.append(_picked(check.name, 256, lists, make, Parameter("steps", 1, 13)))
    return out


def cell_spaces(claim: Claim) -> list[Space]:
    """Space of the corrected runs' single cells, of the design and its rules, with other starts.

    The means are no matter of a case.
    """
    from steinlab.claims.design import Setup
    from steinlab.claims.gains import DESIGN_GRIDS, EVALUATIONS, SOLVERS, Cells
    from steinlab.claims.problems import PROBLEMS
    from steinlab.examine import effort_for

    check = next(c for c in claim.checks if c.name == "cells")
    first: Any = check.draw(effort_for(claim.id, check.name, "quick", 0))[0]

    def make(rule: str, seed: float, **names: Any) -> Cases:
        process, states = first.setup.process, first.setup.states
        return Cells(Setup(process=process, states=states, seed=int(seed), **names), (rule,))

    lists = {
        "problem": tuple(PROBLEMS),
        "solver": SOLVERS,
        "grid": DESIGN_GRIDS,
        "evaluations": EVALUATIONS,
        "rule": first.rules,
    }
    return [_picked("cells", 32, lists, make, Parameter("seed", 0, 4))]
