"""Spaces that hold a mixture, or two, and a step or a run between noise levels."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steinlab.claims.instruments.step_spaces import (
    FAMILIES,
    law_parameters,
    levels_at,
    mixtures,
    one_less,
)
from steinlab.coefficient.step_terms import Problem
from steinlab.solvers import SOLVERS
from steinlab.verification.cases import Cases
from steinlab.verification.claim import Claim
from steinlab.verification.falsify.spaces import Parameter, RowSpace, Space


@dataclass(frozen=True)
class PairSpace:
    """A step of a model with one mixture at states of another, for the perturbation bound."""

    check: str
    solver: str
    family: str
    components: int
    drawn: int

    @property
    def name(self) -> str:
        """Solver, family, number of components of each law."""
        return f"{self.solver}, {self.family}, twice {self.components} components"

    @property
    def parameters(self) -> Sequence[Parameter]:
        """The model's law, that of the states, and the step."""
        return [
            *law_parameters(self.components),
            *law_parameters(self.components, "states' "),
            Parameter("ratio", 1e-2, 1e2, True),
            Parameter("h", 0.01, 3.0, True),
        ]

    def build(self, values: np.ndarray, seeds: np.ndarray) -> Cases:  # noqa: ARG002
        """Return the pairs of values ``(P, n)``."""
        from steinlab.claims.error_bounds.perturbation import PairCases

        width = 3 * self.components
        p, q = mixtures(values[:, :width]), mixtures(values[:, width : 2 * width])
        ratio, h = values[:, -2], values[:, -1]
        s, t = levels_at(self.family, (ratio, ratio * np.exp(-h)))
        return PairCases(Problem(p, s, t, SOLVERS[self.solver], None), q)

    def simpler(self, values: np.ndarray) -> Sequence[tuple[Space, np.ndarray]]:
        """Leave out one component of each law."""
        k = self.components
        part, pairs = np.arange(3) * k, itertools.product(range(k), repeat=2)
        gone = (np.concatenate((part + i, 3 * k + part + j)) for i, j in pairs)
        return one_less(self, values, gone)


def pair_spaces(claim: Claim) -> list[Space]:  # noqa: ARG001
    """Spaces of the perturbation bound: pairs of laws, and exact iterates."""
    pairs: list[Space] = [
        PairSpace("pairs", solver, family, k, 960)
        for solver in ("euler", "heun")
        for family in FAMILIES
        for k in (1, 2, 3)
    ]
    return [*pairs, *run_spaces("iterates", 1)]


LONGEST = 2.0
"""Longest steps of a run, in ``log(sigma / alpha)``."""


def run_spaces(check: str, least: int) -> list[Space]:
    """Spaces of runs that do not fold, each before one more step, of laws of ``least`` modes."""
    return [
        RowSpace(
            check,
            f"{solver}, {family}, {k} components, {steps} steps",
            RUN_DRAWN,
            (
                *law_parameters(k),
                Parameter("top", 2.0, 30.0, True),
                Parameter("h", 0.2, LONGEST, True),
            ),
            _run_maker(solver, family, k, steps),
        )
        for solver, family, k, steps in RUN_KINDS
        if k >= least
    ]


RUN_KINDS = (
    ("euler", "vp-linear", 1, 2),
    ("euler", "edm", 2, 2),
    ("heun", "flow", 2, 2),
    ("dpmpp-2m", "vp-linear", 2, 3),
    ("heun", "edm", 3, 3),
    ("euler", "flow", 3, 4),
)
"""Solver, process, components and steps of the runs."""

RUN_DRAWN = 64
"""Runs are dear: tenths of a second each."""


def _run_maker(solver: str, family: str, components: int, steps: int) -> Any:
    def make(of: Mapping[str, float]) -> Cases:
        from steinlab.claims.error_bounds.iterate_cases import IterateCases

        values = np.array([[of[p.name] for p in law_parameters(components)]])
        length = of["h"]
        while True:
            ratios = [np.array([of["top"] * np.exp(-length * i)]) for i in range(steps + 1)]
            levels = tuple(levels_at(family, ratios))
            cases = IterateCases.marked(mixtures(values), levels, solver)
            if cases.folds[0] == 0:
                return cases
            length *= 0.7  # the bound's condition: no step has folded space

    return make


def trap_spaces(claim: Claim) -> list[Space]:  # noqa: ARG001
    """Spaces of the bound in the trap: exact iterates of laws with several modes."""
    return run_spaces("expansive", 1)
