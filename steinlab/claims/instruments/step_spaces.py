"""Spaces read off a check's own draws: steps of a solver on one-dimensional mixtures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from steinlab.coefficient.step_terms import Problem
from steinlab.diffusion.processes import PROCESSES
from steinlab.verification.cases import Cases
from steinlab.verification.claim import FULL_FACTOR, Check, Effort
from steinlab.verification.falsify.spaces import Parameter, Space

LIGHTEST = math.exp(-8)
"""Lightest unnormalised weight of a component."""


@dataclass(frozen=True)
class StepSpace:
    """One-dimensional mixtures of ``components`` and steps of one solver in one level family.

    The limits are those of the check's own draws, so the search stays inside the conditions.
    ``make`` turns problem, seeds and dims into the check's type of cases; ``family`` names a
    process or is empty where ``alpha`` is free at every level.
    """

    check: str
    make: Callable[[Problem, np.ndarray, np.ndarray], Cases]
    solver: Any
    family: str
    components: int
    shared: bool
    dims: int
    final_zero: bool
    drawn: int
    limits: Limits

    @property
    def name(self) -> str:
        """Solver, family, number of components, dimension."""
        end = ", to zero noise" if self.final_zero else ""
        return (
            f"{self.solver.name}, {self.family or 'free'}, {self.components} components, "
            f"{self.dims}-d{end}"
        )

    @property
    def parameters(self) -> Sequence[Parameter]:
        """Weights, means, deviations, then the levels."""
        k, limits = self.components, self.limits
        out = [Parameter(f"weight {i}", LIGHTEST, 1.0, True) for i in range(k)]
        out += [Parameter(f"mean {i}", -limits.mean, limits.mean) for i in range(k)]
        stds = 1 if self.shared else k
        out += [Parameter(f"std {i}", *limits.std, True) for i in range(stds)]
        out.append(Parameter("ratio", *limits.ratio, True))
        if not self.final_zero:
            out.append(Parameter("h", *limits.step, True))
        if self.solver.depth:
            out.append(Parameter("h before", *limits.before, True))
        if not self.family:
            levels = 3 if self.solver.depth else 2
            out += [Parameter(f"alpha {i}", *limits.alpha, True) for i in range(levels)]
        return out

    def build(self, values: np.ndarray, seeds: np.ndarray) -> Cases:
        """Return the steps of values ``(P, n)``."""
        k, count = self.components, len(values)
        columns = iter(values.T)

        def take(number: int) -> np.ndarray:
            return np.stack([next(columns) for _ in range(number)], axis=1)

        weights, means = take(k), take(k)
        std = np.broadcast_to(take(1 if self.shared else k), (count, k))
        ratio = next(columns)
        finer = np.zeros(count) if self.final_zero else ratio * np.exp(-next(columns))
        ratios = [ratio, finer]
        if self.solver.depth:
            ratios.append(ratio * np.exp(next(columns)))
        levels = [self._level(r, columns) for r in ratios]
        law = GaussianMixture(
            weights / weights.sum(axis=1, keepdims=True), means[..., None], std**2
        )
        earlier = levels[2] if self.solver.depth else None
        problem = Problem(law, levels[0], levels[1], self.solver, earlier)
        return self.make(problem, seeds, np.full(count, self.dims))

    def _level(self, ratio: np.ndarray, columns: Iterator[np.ndarray]) -> NoiseLevel:
        column = ratio[:, None, None]
        if self.family:
            level = PROCESSES[self.family].level_at(column)
            shape = np.zeros_like(column)
            return NoiseLevel(level.alpha + shape, level.sigma + shape)
        alpha = next(columns)[:, None, None]
        return NoiseLevel(alpha, alpha * column)

    def simpler(self, values: np.ndarray) -> Sequence[tuple[Space, np.ndarray]]:
        """Leave out one component."""
        k, parts = self.components, 2 if self.shared else 3
        return one_less(self, values, (np.arange(parts) * k + i for i in range(k)))


def one_less(
    space: Any, values: np.ndarray, places: Iterable[np.ndarray]
) -> list[tuple[Space, np.ndarray]]:
    """Return a space of one component less with the values left there; none of one component.

    ``places`` holds where the values of what may be left out stand.
    """
    if space.components == 1:
        return []
    smaller = replace(space, components=space.components - 1)
    return [(smaller, np.delete(values, gone)) for gone in places]


@dataclass(frozen=True)
class Limits:
    """Ranges that a check draws from."""

    mean: float
    std: tuple[float, float]
    ratio: tuple[float, float]
    step: tuple[float, float]
    before: tuple[float, float]
    alpha: tuple[float, float]


def step_spaces(check: Check, effort: Effort) -> list[Space]:
    """Return a space for every solver, family and dimension that a check draws steps of."""
    batches: Any = check.draw(effort)
    drawn = sum(len(b.seeds) for b in batches) * (1 if effort.profile == "full" else FULL_FACTOR)
    most = max(b.problem.law.weights.shape[-1] for b in batches)
    families = [_family(b.problem) for b in batches]
    seen: dict[Any, Space] = {}
    for batch, family in zip(batches, families, strict=True):
        shared = _shared(batch.problem.law)
        components = 1 + len(seen) % most
        final_zero = not batch.problem.t.sigma.any()
        solver, dims = batch.problem.solver, int(batch.dims[0])
        key = (type(batch), solver.name, family, shared, dims, final_zero)
        if key in seen:
            continue
        same = [
            b
            for b, f in zip(batches, families, strict=True)
            if f == family and b.problem.solver is solver
        ]
        seen[key] = StepSpace(
            check.name, type(batch), solver, family, components, shared, dims, final_zero,
            drawn, _limits(batches, same),
        )  # fmt: skip
    return list(seen.values())


def _family(problem: Problem) -> str:
    """Return the process whose levels these are, empty for levels of none."""
    for name, process in PROCESSES.items():
        levels = [level for level in (problem.s, problem.t) if level.sigma.all()]
        if all(_on(process, level) for level in levels):
            return name
    return ""


def _on(process: Any, level: NoiseLevel) -> bool:
    expected = process.level_at(level.sigma / level.alpha)
    return bool(np.allclose(expected.alpha, level.alpha, rtol=1e-9, atol=0))


def _shared(law: GaussianMixture) -> bool:
    spread = law.spectra[..., 0]
    return spread.shape[-1] > 1 and bool(np.all(spread == spread[..., :1]))


def _limits(batches: Sequence[Any], same: Sequence[Any]) -> Limits:
    """Ranges of the laws over all batches, of the levels over those of one solver and family."""
    laws = [b.problem.law for b in batches]
    std = np.sqrt(np.concatenate([law.spectra.ravel() for law in laws]))
    problems = [b.problem for b in same]
    ratio = np.concatenate([_ratio(p.s) for p in problems])
    steps = [np.log(_ratio(p.s) / _ratio(p.t)) for p in problems if p.t.sigma.all()]
    before = [np.log(_ratio(p.earlier) / _ratio(p.s)) for p in problems if p.earlier is not None]
    alphas = [level.alpha.ravel() for p in problems for level in (p.s, p.t)]
    return Limits(
        float(max(np.abs(law.means).max() for law in laws)),
        _range(std),
        _range(ratio),
        _range(np.concatenate(steps)) if steps else (0.01, 1.0),
        _range(np.concatenate(before)) if before else (0.01, 1.0),
        _range(np.concatenate(alphas)),
    )


def _ratio(level: NoiseLevel) -> np.ndarray:
    return np.asarray((level.sigma / level.alpha).ravel())


def _range(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


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
