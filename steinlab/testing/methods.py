r"""Name a method: step by step against every solver here, from the subject's own states and past.

Each step of a subject is a row of coefficients (:mod:`steinlab.testing.reading`). Every registered
solver is given the *subject's* states, levels and past outputs, and must answer the subject's next
row: so a method is named whatever its start and its finish are, and a step that none takes stands
out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import Any

import numpy as np

from analytic import NoiseLevel
from steinlab.solvers import SOLVER_IDS, Solver, get_solver
from steinlab.solvers.base import Evaluation, LinearMultistep
from steinlab.solvers.scalars import has_noise
from steinlab.testing.bench import Bench
from steinlab.testing.reading import Reading, same

TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
"""Largest relative gap between two rows of one method: their rounding, with two digits to spare for
coefficients formed by cancellation at twelve steps."""


@dataclass(frozen=True, eq=False)
class Identity:
    """What a subject's steps are.

    Attributes
    ----------
    name : str
        Of the method that takes most of its steps; the nearest where none takes any.
    steps : tuple of str
        The solver of every step, empty where none takes it.
    distance : float
        Median relative gap between its rows and the named method's.
    gaps : tuple of float
        Of each step.
    """

    name: str
    steps: tuple[str, ...]
    distance: float
    gaps: tuple[float, ...]
    tolerance: float

    @property
    def known(self) -> bool:
        """Whether some registered method takes every step."""
        return all(self.steps)

    @property
    def strangers(self) -> tuple[int, ...]:
        """Numbers of the steps, from 1, that no registered solver takes."""
        return tuple(i + 1 for i, name in enumerate(self.steps) if not name)

    @property
    def mostly(self) -> bool:
        """Whether the method named takes more than half of the steps but not all are known."""
        return not self.known and sum(one == self.name for one in self.steps) > len(self.steps) / 2

    def __str__(self) -> str:
        """Say it in one line."""
        if self.known:
            others = [
                f"{name} in step{'s' * (len(at) > 1)} {_span(at)}"
                for name in dict.fromkeys(self.steps)
                if name != self.name
                for at in [[i + 1 for i, one in enumerate(self.steps) if one == name]]
            ]
            return self.name + (f" ({', '.join(others)})" if others else "")
        if self.mostly:
            steps = "steps" if len(self.strangers) > 1 else "step"
            return f"{self.name}, but not in {steps} {_span(list(self.strangers))}"
        return f"none known; the nearest is {self.name}, {self.distance:.1e} away"


def _span(numbers: list[int]) -> str:
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def identify(target: Any, *, kind: str | None = None) -> Identity | None:
    """Name the method of a sampler, or the nearest and how far its coefficients are.

    Returns ``None`` where coefficients cannot be read: it draws noise, clips, or adapts its steps.

    Examples
    --------
    >>> def mine(model, x, sigmas):
    ...     for s, t in zip(sigmas[:-1], sigmas[1:]):
    ...         x = t / s * x + (1 - t / s) * model(x, s)
    ...     return x
    >>> str(identify(mine))
    'euler'
    """
    from steinlab.testing.adapters import as_subject

    bench = Bench(as_subject(target, kind))
    return identity_of(bench, bench.reading)


@lru_cache(maxsize=4)  # several checks ask about one reading
def identity_of(bench: Bench, reading: Reading | None) -> Identity | None:
    """Name the method of a reading."""
    if reading is None or not reading.linear:
        return None
    firsts = reading.first_calls()
    if firsts is None:
        return None
    assert bench.process is not None
    single = "float32" if bench.eps > 1e-12 else "float64"
    steps, tolerance = _Steps(reading, firsts), TOLERANCE[single]
    solvers = {name: get_solver(name, bench.process) for name in SOLVER_IDS}
    for name, solver in solvers.items():
        own = list(takewhile(lambda gap: gap <= tolerance, steps.own(solver)))
        if len(own) == len(firsts):  # of methods that are one here, the first registered
            distance = float(np.median(own[1:-1] or own))
            return Identity(name, (name,) * len(own), distance, tuple(own), tolerance)
    return _named({name: steps.gaps(solver) for name, solver in solvers.items()}, tolerance)


def _named(gaps: dict[str, list[dict[str, float]]], tolerance: float) -> Identity:
    """Choose the method where none takes every step in full.

    The one of most steps in full, then of most in lower order, then the nearest.
    """

    def rank(name: str) -> tuple[int, int, float]:
        full = sum(one[name] <= tolerance for one in gaps[name])
        any_ = sum(min(one.values()) <= tolerance for one in gaps[name])
        middle = gaps[name][1:-1] or gaps[name]
        # of methods that are one here, such as heun and rk-heun on EDM, the first registered
        return -full, -any_, max(float(np.median([one[name] for one in middle])), tolerance)

    best = min(gaps, key=rank)
    if not any(min(one.values()) <= tolerance for one in gaps[best]):
        best = min(gaps, key=lambda name: rank(name)[2])
    order = [best, *(name for name in gaps if name != best)]
    steps = []
    for i in range(len(gaps[best])):
        takers = [
            label
            for name in order
            for label, gap in sorted(gaps[name][i].items(), key=lambda pair: pair[0] != name)
            if gap <= tolerance
        ]
        steps.append(takers[0] if takers else "")
    middle = gaps[best][1:-1] or gaps[best]
    nearest = tuple(min(min(gaps[name][i].values()) for name in gaps) for i in range(len(steps)))
    return Identity(
        best, tuple(steps), float(np.median([one[best] for one in middle])), nearest, tolerance
    )


@dataclass(frozen=True, eq=False)
class _Steps:
    """A reading cut into steps."""

    reading: Reading
    firsts: list[int]

    def own(self, solver: Solver) -> Iterator[float]:
        """Yield, per step, the relative gap to what a solver answers after its own start."""
        starters = getattr(solver, "starters", ())
        for i in range(len(self.firsts)):
            yield self._gap(i, starters[i] if i < len(starters) else solver, solver)

    def gaps(self, solver: Solver) -> list[dict[str, float]]:
        """Return, per step, the relative gap to what a solver and its lower orders answer."""
        variants: list[LinearMultistep] = []
        if isinstance(solver, LinearMultistep):
            variants = [solver.narrowed(n) for n in range(solver.width - 1, 0, -1)]
        out = []
        for i, gap in enumerate(self.own(solver)):
            each = {solver.name: gap}
            for one in variants:
                label = "euler" if one.width == 1 else f"{solver.name} of {one.width}"
                each[label] = self._gap(i, one, solver)
            out.append(each)
        return out

    def predicted(self, i: int, one: Solver, solver: Solver) -> np.ndarray | None:
        """Return the row that a solver answers for step ``i``, or nothing where it cannot."""
        rows, levels, firsts = self.reading.rows, self.reading.levels, self.firsts
        unit = np.eye(rows.shape[1])
        s, t = levels[i], levels[i + 1]
        if not (one.ends_at_zero or has_noise(t)):
            return None
        history = tuple(
            Evaluation(
                levels[j], rows[None, firsts[j]], unit[None, firsts[j] + 1], self._linear(solver, j)
            )
            for j in range(i - 1, max(i - 1 - one.depth, -1), -1)
        )
        stage = _Stages(self.reading, firsts[i])
        try:
            found = one.step(stage, rows[None, firsts[i]], s, t, history).state[0]
        except (ValueError, ZeroDivisionError, OverflowError):
            return None
        return np.asarray(found) if stage.fits and np.all(np.isfinite(found)) else None

    def _gap(self, i: int, one: Solver, solver: Solver) -> float:
        target = self.target(i)
        found = self.predicted(i, one, solver)
        if found is None:
            return float("inf")
        return float(np.max(np.abs(found - target)) / np.max(np.abs(target)))

    def target(self, i: int) -> np.ndarray:
        """Return the subject's row after step ``i``."""
        after = self.firsts[i + 1] if i + 1 < len(self.firsts) else len(self.reading.rows) - 1
        return np.asarray(self.reading.rows[after])

    def _linear(self, solver: Solver, j: int) -> Any:
        """Coefficients of the step before, whose corrector the next step adds."""
        if not isinstance(solver, LinearMultistep) or solver.depth != solver.width:
            return None
        levels = self.reading.levels
        seen = levels[max(0, j - solver.width + 1) : j + 1][::-1]
        return solver.weights(tuple(seen), levels[j + 1])


class _Stages:
    """The subject's outputs in the order of its calls, while a solver asks what it asked."""

    def __init__(self, reading: Reading, first: int):
        self.reading, self.at, self.fits = reading, first, True

    def __call__(self, x: Any, level: NoiseLevel) -> np.ndarray:
        rows, k = self.reading.rows, self.at
        self.at += 1
        if k >= len(self.reading.asked):
            self.fits = False
            return np.zeros_like(x)
        near = np.max(np.abs(x[0] - rows[k])) <= 1e-4 * np.max(np.abs(rows[k]))
        ratio_same = abs(self.reading.asked[k].ratio - level.ratio) <= 1e-4 * level.ratio
        self.fits = self.fits and bool(near and (ratio_same or same(self.reading.asked[k], level)))
        return np.eye(rows.shape[1])[None, k + 1]


def local_order(coarse: Reading, fine: Reading, step: int) -> float:
    r"""Return the order of a step's defect where the denoiser is linear in ``lam``.

    Between readings of ``n`` and ``2 n`` steps; ``step`` counts from 1, or from -1 at the end. With
    ``D = lam - lam_s`` the flow adds ``alpha_t (h - 1 + e^-h)``: the defect of an Euler step is of
    order two, that of any step of a second-order method of order three.
    """
    return float(np.log2(abs(_defect(coarse, step)) / max(abs(_defect(fine, step)), 1e-300)))


def _defect(reading: Reading, step: int) -> float:
    firsts = reading.first_calls() or []
    i = step - 1 if step > 0 else len(firsts) + step
    s, t = reading.levels[i], reading.levels[i + 1]
    values = np.array([0.0, *(level.lam - s.lam for level in reading.asked)])
    h = t.lam - s.lam
    after = _Steps(reading, firsts).target(i) @ values
    before = t.sigma / s.sigma * (reading.rows[firsts[i]] @ values)
    return float(after - before - t.alpha * (h + np.expm1(-h)))
