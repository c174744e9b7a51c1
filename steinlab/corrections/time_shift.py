r"""``time-shift``: the level that the batch's variance says, in the place of the grid's.

Li et al. (2024) choose after a step the time ``t_s`` whose forward law has the variance of the
state, and go on from there. In ``z = x / alpha`` and ``S = sigma / alpha``, with the data's
variance ``c^2`` per coordinate and ``v = E|T_z - mean|^2 / d`` of the batch,

    S_s = sqrt(v - c^2),      z' = T_z + (S' - S_s) eps(T, S_s).

The grid here is fixed, so the state is carried from ``S_s`` to the grid's ``S'`` by a first-order
step. On ``N(m, c^2 I)`` every solver's candidate is a scaled state and lies exactly on the law of
``S_s``; what is left is the short step's ``cos(a(S_s) - a(S'))``, ``a(S) = arctan(S / c)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from array_api_compat import array_namespace

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.diffusion.spread import data_deviation
from steinlab.solvers.loop import Run
from steinlab.solvers.scalars import has_noise, has_signal
from steinlab.solvers.step import Diagnostics, Step, inner

WINDOW = 2.0
"""Largest ratio of the level chosen and the grid's, as published a window about the time."""


@dataclass(frozen=True)
class TimeShift:
    r"""Carry the candidate from the level of its variance to the grid's.

    ``c^2`` is the variance that the first level of the run shows (``prepare``), or given. An exact
    step from exact states has ``S_s = S'`` up to the sampling error of the batch's variance, on
    which it acts: a batch that is off by chance is moved by about its standard error however fine
    the grid, so the order is lost. Equivariant under rotation, shift and scaling of the data.
    Costs one evaluation per step above zero noise, which the published form shares with the next
    step, and one before the first.

    It declines at zero noise, where ``v <= c^2``, where the level lies outside the window, and
    where fewer than two states, or a first level without signal, show no variance.

    Parameters
    ----------
    deviation : float
        ``c``; 0, the default, takes it from the first level.
    window : float
        Largest ratio of ``S_s`` and ``S'``.
    price : float
        Evaluations per state that the first step reports.
    """

    deviation: float = 0.0
    window: float = WINDOW
    price: float = 0.0
    name: str = "time-shift"
    depth: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.deviation < math.inf:
            raise ValueError(f"deviation must be >= 0, got {self.deviation}")
        if not self.window > 1:
            raise ValueError(f"window must be > 1, got {self.window}")

    def prepare(self, run: Run) -> TimeShift:
        """Return the correction with the data's deviation, from the run's first level."""
        if self.deviation or not has_signal(run.grid[0]):
            return self
        try:
            found = data_deviation(run.denoiser, run.x, run.grid[0])
        except ValueError:  # one state, or states without spread: every step declines
            return self
        return replace(self, deviation=found, price=1.0)

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:  # noqa: ARG002
        """Return the shifted candidate, or the candidate with the reason."""
        state = step.candidate.state
        first = self.price if not step.history else 0.0

        def declined(why: str) -> tuple[Array, Diagnostics]:
            return state, Diagnostics(1.0, note=f"declined: {why}", evaluations=first)

        if not has_noise(step.t):
            return declined("zero noise")
        if not self.deviation:
            return declined("no deviation of the data is known")
        if step.states < 2:
            return declined("states must number at least 2")
        centred = state - array_namespace(state).mean(state, axis=0, keepdims=True)
        mean = float(array_namespace(state).mean(inner(centred, centred)))
        square = mean / (step.dim * float(step.t.alpha) ** 2) - self.deviation**2
        there = float(step.t.ratio)
        if not square > 0:
            return declined("the batch's variance is below the data's")
        share = math.sqrt(square) / there
        if not 1 / self.window <= share <= self.window:
            return declined(f"the level is {share:.3g} times the grid's")
        level = NoiseLevel(step.t.alpha, share * step.t.sigma)
        noise = state / step.t.alpha - step.denoiser(state, level)
        moved = state + step.t.alpha * (1.0 / share - 1.0) * noise
        note = f"level {share:.4g} times the grid's"
        return moved, Diagnostics(1.0, note=note, evaluations=1.0 + first)
