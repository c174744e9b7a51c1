r"""One step of a student that was distilled without error: a few Euler steps of its teacher.

A student learns to do in one step what two of its teacher's do. With no error left, ``k`` rounds
give the teacher's ``2^k`` steps of Euler (DDIM), whatever the loss is written in:

    distilled@K   progressive distillation (Salimans and Ho, 2022), and to zero noise consistency
                  distillation with Euler's step (Song et al., 2023); the ``K`` steps are even in
                  ``(sigma / alpha)^(1/7)``, as Karras's levels
    shortcut@K    shortcut models (Frans et al., 2025); even in the flow's time ``S / (1 + S)``

No student is trained here: its step is computed by its teacher and costs ``K`` evaluations, which
``compare`` counts. A trained student spends one, after its training. Guarantee (tight): of order
one in the step, with an error of one ``K``-th of Euler's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from analytic import NoiseLevel
from analytic.arrays import Array
from analytic.levels import Scalar
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.processes import Process
from steinlab.solvers.base import Candidate, History, require_signal
from steinlab.solvers.euler import EULER
from steinlab.solvers.scalars import has_signal

Spacing = tuple[Callable[[Scalar], Scalar], Callable[[Scalar], Scalar]]
"""What of ``sigma / alpha`` the teacher's steps are even in, and its inverse."""

Direction = Callable[[Any, float, float], Any]
"""``s(x, t, d)``: of a step of length ``d`` down from ``t``."""

Double = Callable[[Direction, Any, float, float], Any]
"""What a direction of length ``d`` makes of one of length ``2 d``."""

Target = Callable[[Any, Any, NoiseLevel, NoiseLevel], Any]
"""``(x, x'', from, to) -> output``."""

SPACINGS: Mapping[str, Spacing] = {
    "distilled": (lambda ratio: ratio ** (1 / 7), lambda v: v**7),
    "shortcut": (lambda ratio: ratio / (1 + ratio), lambda v: v / (1 - v)),
}
"""By family."""

MOST = 8192
"""Most steps of a teacher: the first one's of Salimans and Ho on CIFAR-10."""


@dataclass(frozen=True)
class Student:
    """A student's step.

    Parameters
    ----------
    name : str
    parts : int
        The teacher's steps in one of the student's.
    spacing : Spacing
    process : Process, optional
        Where the teacher's levels lie; by default ``log alpha`` is interpolated, which is the same
        for an exact denoiser.
    """

    name: str
    parts: int
    spacing: Spacing
    process: Process | None = None
    order: int = 1
    depth: int = 0
    ends_at_zero: bool = True

    def on(self, process: Process) -> Self:
        """Return the student with its teacher's levels on a process."""
        return replace(self, process=process)

    def evaluations(self, t: NoiseLevel) -> int:
        """One per step of the teacher; up the noise to zero signal one."""
        return self.parts if has_signal(t) else 1

    def levels(self, s: NoiseLevel, t: NoiseLevel) -> tuple[NoiseLevel, ...]:
        """Return the teacher's levels from ``s`` to ``t``, both included."""
        forward, back = self.spacing
        first, last = forward(s.ratio), forward(t.ratio)

        def at(c: float) -> NoiseLevel:
            ratio = back((1 - c) * first + c * last)
            if self.process is not None:
                return self.process.level_at(ratio)
            alpha = s.alpha ** (1 - c) * t.alpha**c
            return NoiseLevel(alpha, alpha * ratio)

        return (s, *(at(i / self.parts) for i in range(1, self.parts)), t)

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Return the end of the teacher's steps; the residual is the sum of theirs."""
        if not has_signal(t):
            return EULER.step(denoiser, x, s, t, history)
        require_signal(self.name, s)
        state, residual, denoised = x, 0 * x, None
        for a, b in itertools.pairwise(self.levels(s, t)):
            taken = EULER.step(denoiser, state, a, b, ())
            state, residual = taken.state, residual + taken.residual
            denoised = taken.denoised if denoised is None else denoised
        return Candidate(state, residual, denoised, None, self.parts)


def student(name: str) -> Student:
    """Return the student that ``distilled@K`` or ``shortcut@K`` names.

    Examples
    --------
    >>> student("distilled@4").evaluations(NoiseLevel(1.0, 0.0))
    4
    """
    family, _, text = name.partition("@")
    parts = int(text) if text.isascii() and text.isdigit() else 0
    if not 2 <= parts <= MOST:
        raise ValueError(f"K must be a whole number in 2 to {MOST} for {family}@K, got {text}")
    return Student(name, parts, SPACINGS[family])


def target(x: Any, end: Any, s: NoiseLevel, t: NoiseLevel) -> Any:
    r"""Return the output with which one Euler step from ``x`` ends where the teacher did.

    ``(x'' - k x) / (alpha'' - k alpha)``, ``k = sigma''/sigma``: the regression target of
    progressive distillation.

    Parameters
    ----------
    x, end : array
        The state at ``s`` and where the teacher's steps lead at ``t``.
    s, t : NoiseLevel

    Examples
    --------
    >>> float(target(2.0, 1.5, NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.5)))
    1.0
    """
    k = t.sigma / s.sigma
    beta = (t.alpha - s.alpha) + s.alpha * ((s.sigma - t.sigma) / s.sigma)
    return (end - k * x) / beta


def distilled(
    teacher: Denoiser, levels: Sequence[NoiseLevel], formula: Target = target
) -> Denoiser:
    """Return a student's output for one step over all levels, made by rounds of halving.

    Parameters
    ----------
    teacher : denoiser
        The first one, which takes a step from every level to the next.
    levels : sequence of NoiseLevel
        ``2^k + 1`` of them for ``k`` rounds.
    formula : callable
        What each round regresses on, of the teacher's two steps.

    Examples
    --------
    One step of the student ends where two of the teacher's do.

    >>> levels = [NoiseLevel(1.0, 4.0), NoiseLevel(1.0, 2.0), NoiseLevel(1.0, 0.0)]
    >>> output = distilled(lambda x, level: x / (1 + level.sigma**2), levels)
    >>> float(output(17.0, levels[0])), (17 / 2 + 1 / 2) / (1 + 4)
    (1.8, 1.8)
    """
    if len(levels) == 2:
        return teacher
    middle = len(levels) // 2
    halves = [levels[: middle + 1], levels[middle:]]

    def output(x: Any, level: NoiseLevel) -> Any:
        z = x
        for half in halves:
            student = distilled(teacher, half, formula)
            z = EULER.step(student, z, half[0], half[-1], ()).state
        return formula(x, z, level, levels[-1])

    return output


def growth(levels: Sequence[NoiseLevel]) -> float:
    """Return by what a round of halving multiplies rounding, at most.

    Its target divides by ``alpha'' - k alpha``, a step multiplies by it.
    """
    factors = [
        (s.alpha + s.sigma) / (t.alpha - t.sigma / s.sigma * s.alpha)
        for s, t in itertools.pairwise(levels)
    ]
    return float(max(factors))


def doubled(s: Direction, x: Any, t: float, d: float) -> Any:
    """Return the mean of two directions of length ``d``, one after the other.

    The regression target of a shortcut model for ``2 d``.
    """
    first = s(x, t, d)
    return 0.5 * (first + s(x - d * first, t - d, d))


def spanning(s: Direction, parts: int, double: Double = doubled) -> Direction:
    """Return the direction of a step that is made of ``parts``, a power of two, by doubling.

    Examples
    --------
    Two steps of Euler along ``dx/dt = x``.

    >>> spanning(lambda x, t, d: x, 2)(1.0, 1.0, 1.0)
    0.75
    """
    if parts == 1:
        return s
    half = spanning(s, parts // 2, double)
    return lambda x, t, d: double(half, x, t, d / 2)
