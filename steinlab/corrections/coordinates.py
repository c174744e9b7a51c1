r"""A scalar correction in other coordinates than the process's own.

The coefficient depends on them: the paper's ``gamma`` weighs a step against the straight line from
``x`` to ``x_star``, and that line is another one once the states are scaled level by level. With
``r = sqrt(alpha^2 + sigma^2)`` every process becomes variance preserving, ``y = x / r``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analytic import NoiseLevel
from analytic.arrays import Array
from analytic.levels import Scalar
from steinlab.corrections.scalar import ScalarCorrection
from steinlab.solvers.step import Diagnostics, Step


@dataclass(frozen=True)
class InVP:
    r"""A scalar correction computed and applied in VP coordinates.

        y = x / r_s,   T_y = T / r_t,   v = y - T_y = (u + x (r_t - r_s) / r_s) / r_t,
        gamma = clip(E<v, y - D> / E|v|^2),   x_next = r_t (y - gamma v)
              = (1 - gamma) (r_t / r_s) x + gamma T.

    ``gamma = 1`` leaves the step. In a variance preserving process ``r = 1`` and it is the
    correction itself. At the end of the data, ``alpha = 1, sigma = 0``, ``r = 1`` too.

    Parameters
    ----------
    correction : ScalarCorrection
        Its numerator may use ``x``, ``u`` and ``D`` alone: levels, denoiser and history stay in
        the process's own coordinates.
    """

    correction: ScalarCorrection

    @property
    def name(self) -> str:
        """Id."""
        return f"{self.correction.name}, VP coordinates"

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:
        """Return the corrected state; the move is along no direction that a table knows."""
        y = vp_step(step)
        state, done = self.correction(y, rng)
        if done.estimate is None:
            return step.candidate.state, done
        return _radius(step.t) * state, replace(done, move={})


def vp_step(step: Step) -> Step:
    """Return the step with ``y``, ``T_y`` and ``v`` in the place of ``x``, ``T`` and ``u``."""
    before, after = _radius(step.s), _radius(step.t)
    residual = step.candidate.residual + step.x * (_gap(step.s, step.t) / before)
    candidate = replace(
        step.candidate, state=step.candidate.state / after, residual=residual / after, linear=None
    )
    return replace(step, x=step.x / before, candidate=candidate)


def _radius(level: NoiseLevel) -> Scalar:
    radius: Scalar = (level.alpha * level.alpha + level.sigma * level.sigma) ** 0.5
    return radius


def _gap(s: NoiseLevel, t: NoiseLevel) -> Scalar:
    """``r_t - r_s`` without the cancellation of nearly equal levels."""
    squares = (t.alpha - s.alpha) * (t.alpha + s.alpha) + (t.sigma - s.sigma) * (t.sigma + s.sigma)
    gap: Scalar = squares / (_radius(s) + _radius(t))
    return gap
