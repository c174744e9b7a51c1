r"""RX-DPM (Choi et al., 2025): fine Euler steps and a coarse one, extrapolated to no step at all.

In ``y = x / alpha``, ``S = sigma / alpha``, ``K`` steps of Euler at even parts of the step in
``lam`` lead to ``y_fine``, one from the same first slope to ``y_coarse``. With ``h_j`` the fine
steps' lengths in ``S`` and ``H`` their sum,

    y' = (y_fine - r y_coarse) / (1 - r),   r = sum_j (h_j / H)^2.

The local errors are ``(y''/2) sum_j h_j^2`` and ``(y''/2) H^2``: they cancel. Guarantee (tight):
of order two for every ``K``, at ``K`` evaluations per step; of order three on Gaussian data, where
with ``z' = a z``, ``a = S/(v + S^2)``, the next term has ``a'' + 6 a a' + 4 a^3 = 0``.

``K = 2`` is the two-stage Runge-Kutta method with ``c_2 = h_1/H`` and ``b_2 = 1/(2 c_2)``, for
uneven halves too: ``1 - r = 2 c_2 (1 - c_2)``, and the fine run adds ``(1 - c_2) H (e_1 - e_0)`` to
the coarse. The fine run's distance ``b_j`` from the line of the first slope follows ``b_(j+1) = b_j
+ h_(j+1) (D_0 - D_j + b_j) / S_j``, and ``T = Euler + alpha' b_K / (1 - r)``.

At ``sigma_t = 0`` and, up the noise, at ``alpha_t = 0`` the step is Euler's.
"""

from __future__ import annotations

from dataclasses import dataclass

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.diffusion.denoisers import Denoiser
from steinlab.solvers.base import Candidate, History, require_signal
from steinlab.solvers.euler import EULER
from steinlab.solvers.scalars import has_both
from steinlab.solvers.single import Between, geometric


@dataclass(frozen=True)
class Richardson:
    """Euler, extrapolated from ``parts`` steps and one.

    Parameters
    ----------
    name : str
    parts : int
        At least 2.
    between : callable
        Places the levels inside the step.
    """

    name: str
    parts: int
    between: Between = geometric
    order: int = 2
    depth: int = 0
    ends_at_zero: bool = True

    def evaluations(self, t: NoiseLevel) -> int:
        """One per fine step, or one at zero noise or zero signal."""
        return self.parts if has_both(t) else 1

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Return the step and its residual."""
        euler = EULER.step(denoiser, x, s, t, history)
        if not has_both(t):
            return euler
        require_signal(self.name, s)
        first = euler.denoised
        inner = [self.between(s, t, j / self.parts) for j in range(1, self.parts)]
        bend, share = 0 * first, ((s.ratio - inner[0].ratio) / (s.ratio - t.ratio)) ** 2
        for level, after in zip(inner, [*inner[1:], t], strict=True):
            line = EULER.step(lambda *_: first, x, s, level, ()).state
            gap = first - denoiser(line + level.alpha * bend, level) + bend
            bend = bend + ((after.ratio - level.ratio) / level.ratio) * gap
            share = share + ((level.ratio - after.ratio) / (s.ratio - t.ratio)) ** 2
        bend = (t.alpha / (1 - share)) * bend
        return Candidate(euler.state + bend, euler.residual - bend, first, None, self.parts)


RX = (Richardson("rx-2", 2), Richardson("rx-3", 3))
"""Two and three fine steps per coarse one."""
