r"""A scalar correction in variance preserving coordinates, ``y = x / sqrt(alpha^2 + sigma^2)``.

The coefficient depends on the coordinates: the paper's ``gamma`` compares a step with the straight
line from ``x`` to ``x_star``, and scaling the states level by level changes that line.
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

    with ``r = sqrt(alpha^2 + sigma^2)``. ``gamma = 1`` leaves the step as it is. In a variance
    preserving process ``r = 1``, and the result is that of the correction itself.

    Parameters
    ----------
    correction : ScalarCorrection
        Its numerator may use only ``x``, ``u`` and ``D``: levels, denoiser and history stay in
        the process's own coordinates.
    """

    correction: ScalarCorrection

    @property
    def name(self) -> str:
        """Id."""
        return f"{self.correction.name}, VP coordinates"

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:
        """Return the corrected state; the diagnostics hold no move, so no table can store it."""
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
    return (level.alpha * level.alpha + level.sigma * level.sigma) ** 0.5


def _gap(s: NoiseLevel, t: NoiseLevel) -> Scalar:
    """``r_t - r_s`` without the cancellation of nearly equal levels."""
    squares = (t.alpha - s.alpha) * (t.alpha + s.alpha) + (t.sigma - s.sigma) * (t.sigma + s.sigma)
    return squares / (_radius(s) + _radius(t))
