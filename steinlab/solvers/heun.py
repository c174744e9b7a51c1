r"""Heun's method in EDM coordinates (Karras et al., 2022, algorithm 1).

On ``y = x / alpha`` and ``s = sigma / alpha`` the flow is ``dy/ds = (y - D) / s``. After the Euler
step to ``x_hat``, the trapezoid rule simplifies, since ``(y_hat - D)/s' = (y - D)/s``, to

    T = kappa x + beta D(x) + c (D(x_hat) - D(x)),   c = alpha_t (s - s') / (2 s').

At ``sigma_t = 0`` and, up the noise, at ``alpha_t = 0`` the step is Euler's; from ``alpha_s = 0``
it has no limit.
"""

from dataclasses import dataclass

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.diffusion.denoisers import Denoiser
from steinlab.solvers.base import Candidate, History, first_order, require_signal
from steinlab.solvers.euler import EULER
from steinlab.solvers.scalars import has_both


@dataclass(frozen=True)
class Heun:
    """Heun's method; two evaluations per step, one in a step to zero noise."""

    name: str = "heun"
    order: int = 2
    depth: int = 0
    ends_at_zero: bool = True

    def evaluations(self, t: NoiseLevel) -> int:
        """Two, or one at zero noise or zero signal."""
        return 2 if has_both(t) else 1

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Return the trapezoid step and its residual."""
        euler = EULER.step(denoiser, x, s, t, history)
        if self.evaluations(t) == 1:
            return euler
        require_signal(self.name, s)
        # s - s' = beta / (kappa alpha_s) * s': no difference of ratios is formed
        linear = first_order(s, t)
        c = 0.5 * (t.alpha / s.alpha) * (linear.betas[0] / linear.kappa)
        bend = c * (denoiser(euler.state, t) - euler.denoised)
        return Candidate(euler.state + bend, euler.residual - bend, euler.denoised, None, 2)


HEUN = Heun()
