r"""``epsilon-scale``: the noise prediction over ``lambda``, by the batch's variance or given.

Ning et al. (2024) divide the noise prediction by ``lambda`` at every evaluation. In ``z = x /
alpha`` and ``S = sigma / alpha`` a step is a sum of noise predictions, ``T_z = z + sum_j C_j
eps_j``, so that

    z' = z + (T_z - z) / lambda

does that to each of them: exactly for Euler and for the Adams methods, and for other solvers it is
what takes its place here. On data ``N(m, c^2 I)`` a step has a gain ``E``, the exact flow
``X = sqrt((c^2 + S'^2) / (c^2 + S^2))``, and the corrected step is exact for

    lambda = (1 - E) / (1 - X).

For Euler ``E = (c^2 + S S') / (c^2 + S^2)``, and ``1 / lambda`` lies in (1/2, 1): it is the step of
``unit-speed-1``, which keeps mean and variance of every law if ``c^2`` is what the level sees
(:mod:`steinlab.diffusion.spread`). The paper's ``gamma = 1 / (1 - k) > 1`` corrects the other way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.diffusion.spread import LEAST_STATES, seen_variance
from steinlab.solvers.base import Evaluation, couples_batch
from steinlab.solvers.scalars import has_signal
from steinlab.solvers.step import Diagnostics, Step

LARGEST = 2.0
"""Largest ``lambda`` and ``1 / lambda`` of the batch's: Euler's lies in (1, 2)."""


@dataclass(frozen=True)
class EpsilonScale:
    r"""Divide a step's move in ``z`` by ``lambda``: of the batch's variance, or ``k S + b``.

    Without ``b``, ``c^2`` is the batch's ``l`` at the step's beginning and ``E`` the gain of the
    step's own solver on ``N(0, c^2)``, its past on the exact flow. ``lambda`` is 1 for an exact
    step on such data, and ``lambda - 1 = O(h^p)`` for a solver of order ``p``: the order is kept.
    One number serves all directions, so directions of other variance than ``c^2`` are over- or
    under-corrected. Equivariant under rotation, shift and scaling of the data. Costs no
    evaluation.

    With given ``k, b``, the published form with ``t = S``, the order is lost unless ``k = 0`` and
    ``b = 1``.

    It declines where the step begins at ``alpha = 0``; and without ``b`` where fewer than two
    states show ``c^2``, where ``lambda`` is not within a factor of :data:`LARGEST`, as after a long
    step that overshoots (``E`` near 1 or above), and on solvers that take their own numbers from
    the batch.

    Parameters
    ----------
    k, b : float
        ``lambda = k S + b``; by default from the batch.
    """

    k: float = 0.0
    b: float | None = None
    name: str = "epsilon-scale"

    def __post_init__(self) -> None:
        if self.b is None and self.k:
            raise ValueError(f"b must be given with k, got k = {self.k:g} alone")
        if self.b is not None and not (self.b > 0 and self.k >= 0):
            raise ValueError(f"b must be > 0 and k >= 0, got {self.b:g} and {self.k:g}")

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:  # noqa: ARG002
        """Return ``alpha_t (z + (T_z - z) / lambda)``, or the candidate with the reason."""
        if not has_signal(step.s):
            return _left(step, "nothing of the data is left at alpha = 0")
        if self.b is not None:
            scale = self.k * step.s.ratio + self.b
        elif why := self._declined(step):
            return _left(step, why)
        else:
            scale = exact_scale(step, float(seen_variance(step.x, step.candidate.denoised, step.s)))
        if self.b is None and not 1 / LARGEST <= scale <= LARGEST:
            return _left(step, f"lambda is {scale:.4g}: the step errs by more than its move")
        gamma = 1.0 / float(scale)
        drift = (step.t.alpha - step.s.alpha) / step.s.alpha
        back = step.candidate.residual + drift * step.x if drift else step.candidate.residual
        move = {} if drift else {"residual": 1.0 - gamma}
        return step.candidate.state + (1.0 - gamma) * back, Diagnostics(gamma, move=move)

    def _declined(self, step: Step) -> str:
        if couples_batch(step.solver):
            return f"{step.solver.name} takes its own numbers from the batch"
        if step.states < LEAST_STATES:
            return f"states must number at least {LEAST_STATES}"
        return ""


def _left(step: Step, why: str) -> tuple[Array, Diagnostics]:
    return step.candidate.state, Diagnostics(1.0, note=f"declined: {why}")


def exact_scale(step: Step, variance: float) -> float:
    """Return ``(1 - E) / (1 - X)`` of a step's solver on ``N(0, variance)``; 1 at variance 0.

    Examples
    --------
    Euler from ``S = 1`` to 0, ``c = 1``: ``(1 - 1/2) / (1 - 1/sqrt 2)``.

    >>> from steinlab.solvers import EULER
    >>> levels = NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.0)
    >>> step = Step.take(lambda x, level: x / 2, EULER, np.ones((1, 1)), *levels)
    >>> round(exact_scale(step, 1.0), 4)
    1.7071
    """
    if variance == 0:
        return 1.0

    def power(level: NoiseLevel) -> float:
        return float(variance + level.ratio**2)

    def denoiser(x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        return np.asarray(x / level.alpha * (variance / power(level)))

    start = power(step.s)

    def on_flow(entry: Evaluation) -> Evaluation:
        state = np.full((1, 1), entry.level.alpha * math.sqrt(power(entry.level) / start))
        return replace(entry, state=state, denoised=denoiser(state, entry.level))

    x = np.full((1, 1), float(step.s.alpha))
    past = tuple(on_flow(entry) for entry in step.history if has_signal(entry.level))
    end = step.solver.step(denoiser, x, step.s, step.t, past).state
    gain = float(end[0, 0]) / float(step.t.alpha)
    before, after = float(step.s.ratio), float(step.t.ratio)
    exact = (before - after) * (before + after) / (start + math.sqrt(start * power(step.t)))
    return (1.0 - gain) / exact
