"""Spaces that hold a mixture, or two, and a step or a run between noise levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from steinlab.falsify.spaces import Parameter, RowSpace, Space
from steinlab.falsify.steps import LIGHTEST
from steinlab.processes import PROCESSES
from steinlab.solvers import SOLVERS
from steinlab.terms import Problem
from steinlab.verdicts import Cases, Claim

FAMILIES = ("edm", "vp-linear", "flow")
MEAN, STD = 8.0, (0.05, 2.0)
"""Ranges of means and deviations, those of the random laws."""


def law_parameters(components: int, prefix: str = "") -> list[Parameter]:
    """Return weights, means and deviations of a one-dimensional mixture."""
    k = range(components)
    return [
        *(Parameter(f"{prefix}weight {i}", LIGHTEST, 1.0, True) for i in k),
        *(Parameter(f"{prefix}mean {i}", -MEAN, MEAN) for i in k),
        *(Parameter(f"{prefix}std {i}", *STD, True) for i in k),
    ]


def mixtures(values: np.ndarray) -> GaussianMixture:
    """Return a stack of mixtures of parameters ``(C, 3 k)``."""
    weights, means, stds = np.split(values, 3, axis=1)
    weights = weights / weights.sum(axis=1, keepdims=True)
    return GaussianMixture(weights, means[..., None], stds**2)


def levels_at(family: str, ratios: Sequence[np.ndarray]) -> list[NoiseLevel]:
    """Return stacks of levels of a process at noise-to-signal ratios ``(C,)`` each."""
    out = []
    for ratio in ratios:
        level, zero = PROCESSES[family].level_at(ratio[:, None, None]), np.zeros((len(ratio), 1, 1))
        out.append(NoiseLevel(level.alpha + zero, level.sigma + zero))
    return out


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
        from steinlab.claims.perturbation import PairCases

        width = 3 * self.components
        p, q = mixtures(values[:, :width]), mixtures(values[:, width : 2 * width])
        ratio, h = values[:, -2], values[:, -1]
        s, t = levels_at(self.family, (ratio, ratio * np.exp(-h)))
        return PairCases(Problem(p, s, t, SOLVERS[self.solver], None), q)

    def simpler(self, values: np.ndarray) -> Sequence[tuple[Space, np.ndarray]]:
        """Leave out one component of each law."""
        k = self.components
        if k == 1:
            return []
        smaller = replace(self, components=k - 1)
        part = np.arange(3) * k
        return [
            (smaller, np.delete(values, np.concatenate((part + i, 3 * k + part + j))))
            for i in range(k)
            for j in range(k)
        ]


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
        from steinlab.claims.iterate_cases import IterateCases

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


def history_spaces(claim: Claim) -> list[Space]:  # noqa: ARG001
    """Spaces of multistep steps, with frozen past states or with past that shares the noise."""
    from steinlab.claims.histories import MULTISTEP

    return [
        _history_space(check, solver, family, components)
        for check in ("independent history", "bias")
        for i, solver in enumerate(MULTISTEP)
        for j, family in enumerate(FAMILIES)
        for components in (1 + (i + j) % 3,)
    ]


def _history_space(check: str, solver: str, family: str, components: int) -> Space:
    from steinlab.claims.histories import HistoryCase

    depth, law, frozen = SOLVERS[solver].depth, law_parameters(components), check != "bias"
    steps = [Parameter(f"h {i}", 0.1, 1.5, True) for i in range(1 + depth)]
    past = [Parameter(f"past {i}", -3.0, 3.0) for i in range(depth)] if frozen else []

    def make(of: Mapping[str, float]) -> Cases:
        mixture = mixtures(np.array([[of[p.name] for p in law]])).take(0)
        first, *earlier = (of[p.name] for p in steps)
        ratios = of["ratio"] * np.exp([-first, 0.0, *np.cumsum(earlier)])
        levels = [PROCESSES[family].level_at(float(r)) for r in ratios]
        data = {
            "weights": mixture.weights.tolist(),
            "means": mixture.means[:, 0].tolist(),
            "variances": mixture.spectra[:, 0].tolist(),
        }
        states = [of[p.name] * a.sigma for p, a in zip(past, levels[2:], strict=False)]
        pairs = tuple((float(a.alpha), float(a.sigma)) for a in levels)
        return HistoryCase(data, pairs, solver, tuple(states) if frozen else None)

    name = f"{solver}, {family}, {components} components"
    numbers = (*law, Parameter("ratio", 0.3, 30.0, True), *steps, *past)
    return RowSpace(check, name, 480, numbers, make)


def probe_spaces(claim: Claim) -> list[Space]:
    """Spaces of Hutchinson's estimator: tilted laws in the plane."""
    checks = [check.name for check in claim.checks if check.method == "property"]
    return [
        TiltedSpace(check, solver, family, k)
        for check in checks
        for solver in ("euler", "heun")
        for family in FAMILIES[:2]
        for k in (1, 2)
    ]


@dataclass(frozen=True)
class TiltedSpace:
    """Steps on mixtures in the plane, every component with two deviations and an angle."""

    check: str
    solver: str
    family: str
    components: int
    drawn: int = 1920

    @property
    def name(self) -> str:
        """Solver, family, number of components."""
        return f"{self.solver}, {self.family}, {self.components} components, 2-d"

    @property
    def parameters(self) -> Sequence[Parameter]:
        """Six numbers a component, and the step."""
        each = (
            ("weight", LIGHTEST, 1.0, True),
            ("x", -MEAN, MEAN, False),
            ("y", -MEAN, MEAN, False),
            ("long", STD[0], STD[1], True),
            ("short", STD[0], STD[1], True),
            ("angle", 0.0, np.pi, False),
        )
        k = range(self.components)
        law = [Parameter(f"{n} {i}", a, b, log) for n, a, b, log in each for i in k]
        ratio = Parameter("ratio", 1e-2, 1e2, True)
        return [*law, ratio, Parameter("h", 0.01, 2.0, True)]

    def build(self, values: np.ndarray, seeds: np.ndarray) -> Cases:
        """Return the steps of values ``(P, n)``."""
        from steinlab.claims.draws import StepCases

        weights, x, y, long, short, angle = np.split(values[:, :-2], 6, axis=1)
        turn = np.stack((np.cos(angle), np.sin(angle)), axis=-1)
        across = np.stack((-turn[..., 1], turn[..., 0]), axis=-1)
        parts = ((long, turn), (short, across))
        spread = sum(v[..., None, None] ** 2 * e[..., :, None] * e[..., None, :] for v, e in parts)
        law = GaussianMixture(
            weights / weights.sum(axis=1, keepdims=True), np.stack((x, y), axis=-1), spread
        )
        ratio, h = values[:, -2], values[:, -1]
        s, t = levels_at(self.family, (ratio, ratio * np.exp(-h)))
        problem = Problem(law, s, t, SOLVERS[self.solver], None)
        return StepCases(problem, seeds, np.full(len(values), 2))

    def simpler(self, values: np.ndarray) -> Sequence[tuple[Space, np.ndarray]]:
        """Leave out one component."""
        k = self.components
        if k == 1:
            return []
        smaller = replace(self, components=k - 1)
        return [(smaller, np.delete(values, np.arange(6) * k + i)) for i in range(k)]
