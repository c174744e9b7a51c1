r"""DC-Solver (Zhao et al., 2024): the newest output moved along the last three, by one number.

Before a step a multistep method's newest output ``D_i`` is replaced by the parabola through the
last three at the time ``t_rho``, ``rho`` of the way from the last level to this one, or beyond:

    D~_i = P(t_(i-1) + rho_i (t_i - t_(i-1))),   P through D_i, D~_(i-1), D~_(i-2).

``rho = 1`` is the method itself. The first two outputs stay as they are. The base is
DPM-Solver++(2M) here, a predictor and corrector (UniPC) with the authors; the time is that of the
process, without one ``sigma / alpha``.

Guarantee (tight): a constant ``rho`` other than 1 makes any base a method of order one, since
``D~_i - D_i = (rho - 1)(t_i - t_(i-1)) dD/dt + O(h^2)``; ``rho = 1 + O(h^(p-1))`` keeps order
``p``. On an isotropic Gaussian every output is a number times the state, so that one number per
step can lead to the exact flow.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.processes import Process
from steinlab.solvers.base import (
    Candidate,
    Evaluation,
    History,
    LinearMultistep,
    OneEvaluation,
    combined,
    require_end,
)
from steinlab.solvers.exponential import DPMPP_2M
from steinlab.solvers.phi import interpolatory
from steinlab.solvers.single import fraction_of

FAR = 16
"""Past outputs that are read back, more than a run of few steps has; older ones do not count."""


def in_ratio(level: NoiseLevel) -> Any:
    """Return ``sigma / alpha``: EDM's time."""
    return level.ratio


@dataclass(frozen=True)
class Compensated(OneEvaluation):
    """A multistep method whose newest output is moved.

    Parameters
    ----------
    name : str
    rho : callable
        ``level -> rho`` of the step that begins there.
    order : int
    base : LinearMultistep
    time : callable
        ``level -> t``.
    """

    name: str
    rho: Callable[[NoiseLevel], float]
    order: int = 1
    base: LinearMultistep = DPMPP_2M
    time: Callable[[NoiseLevel], Any] = in_ratio
    depth: int = FAR

    @property
    def ends_at_zero(self) -> bool:
        """Whether the base can."""
        return self.base.ends_at_zero

    def on(self, process: Process) -> Self:
        """Return the solver in the time of a process."""
        return replace(self, time=lambda level: process.time(level.ratio))

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Return the base's step from the moved outputs, and its residual."""
        require_end(self, t)
        denoised = denoiser(x, s)
        moved: tuple[Evaluation, ...] = ()
        for entry in (*reversed(history), Evaluation(s, x, denoised)):
            moved = (self._moved(entry, moved), *moved)
        seen = tuple(entry.level for entry in moved[: self.base.width])
        found = combined(self.base.weights(seen, t), x, moved[0].denoised, moved[1:])
        return Candidate(found.state, found.residual, denoised, None, 1)

    def _moved(self, entry: Evaluation, before: tuple[Evaluation, ...]) -> Evaluation:
        rho = self.rho(entry.level)
        if len(before) < 2 or rho == 1:
            return entry
        three = (entry, *before[:2])
        times = [self.time(one.level) for one in three]
        nodes = [(time - times[1]) / (times[0] - times[1]) for time in times]
        weights = interpolatory(nodes, [1.0, rho, rho * rho])  # infinite where it is too large
        total = sum((w * one.denoised for w, one in zip(weights, three, strict=True)), 0.0)
        return replace(entry, denoised=total)


def fitted(
    denoiser: Denoiser, x: np.ndarray, levels: Sequence[NoiseLevel], goals: Sequence[float]
) -> Compensated:
    """Return DC-Solver whose steps lead the first state's first coordinate to given values.

    A step's end is a parabola in its ratio, and the root nearest 1 is taken. The first two steps
    have no ratio.

    Parameters
    ----------
    denoiser : Denoiser
    x : array (N, d)
        States at the first level.
    levels : sequence of NoiseLevel
    goals : sequence of float
        One per step, for its end.

    Examples
    --------
    >>> from analytic import GaussianMixture
    >>> from steinlab.solvers.loop import solve
    >>> levels = [NoiseLevel(1.0, sigma) for sigma in (8.0, 4.0, 2.0, 1.0)]
    >>> law, x = GaussianMixture([1.0], [0.0], 1.0), np.array([[1.0]])
    >>> solver = fitted(law, x, levels, [0.5, 0.3, 0.17])
    >>> [round(solver.rho(level), 2) for level in levels[:3]]
    [1.0, 1.0, 1.02]
    >>> round(float(solve(law, x, levels, solver).state[0, 0]), 12)
    0.17
    """
    rhos: dict[NoiseLevel, float] = {}
    solver = Compensated("dc", lambda level: rhos.get(level, 1.0))
    history: History = ()
    for (s, t), goal in zip(itertools.pairwise(levels), goals, strict=True):
        ends = []
        for rho in (0.5, 1.0, 1.5):
            rhos[s] = rho
            ends.append(solver.step(denoiser, x, s, t, history).state[0, 0] - goal)
        found = np.roots(np.polyfit((-0.5, 0.0, 0.5), ends, 2)) + 1 if len(history) > 1 else 1
        real = np.real(np.atleast_1d(found))
        rhos[s] = float(real[np.argmin(np.abs(real - 1))])
        step = solver.step(denoiser, x, s, t, history)
        history, x = (Evaluation(s, x, step.denoised), *history), step.state
    return solver


def dc(name: str) -> Compensated:
    """Return DC-Solver with the constant ratio of ``dc@R``, at most 2.

    Examples
    --------
    >>> dc("dc@1").order, dc("dc@1.1").order
    (2, 1)
    """
    rho = fraction_of(name, most=2)
    return Compensated(name, lambda _: rho, order=DPMPP_2M.order if rho == 1 else 1)
