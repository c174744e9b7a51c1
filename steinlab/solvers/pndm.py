r"""PNDM (Liu et al., 2022): fixed Adams-Bashforth weights after three pseudo Runge-Kutta steps.

All steps are transfers along noise predictions, ``y_t = y + (s_t - s_0) d`` in ``y = x / alpha``,
``s = sigma / alpha``. After the start ``d`` is the four-step Adams-Bashforth combination with the
weights of an even grid, ``(55 d_0 - 59 d_1 + 37 d_2 - 9 d_3) / 24``: the method ``ipndm-4``. In
each of the first three steps it is Kutta's,

    d = (d_0 + 2 d_a + 2 d_b + d_c) / 6,

with ``d_a`` and ``d_b`` at the middle of the step in the *process's time*, reached by transfers
along ``d_0`` and ``d_a``, and ``d_c`` at its end, reached along ``d_b``. The middle in time is not
the middle in ``s``, so the start is of order two. So are the later steps on uneven grids.
"""

from dataclasses import dataclass, replace

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.processes import Process
from steinlab.solvers.adams import IPNDM
from steinlab.solvers.base import Candidate, History, LinearMultistep, first_order, require_signal
from steinlab.solvers.euler import EULER
from steinlab.solvers.scalars import has_both, plain


@dataclass(frozen=True)
class PseudoRungeKutta:
    """A step of PNDM's start; four evaluations, one in a step to zero noise or signal."""

    process: Process
    name: str = "pndm-start"
    order: int = 2
    depth: int = 0
    ends_at_zero: bool = True

    def evaluations(self, t: NoiseLevel) -> int:
        """Four, or one at zero noise or zero signal."""
        return 4 if has_both(t) else 1

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Return the step and its residual."""
        if not has_both(t):
            return EULER.step(denoiser, x, s, t, history)
        require_signal("pndm", s)
        begin, end = (self.process.time(level.ratio) for level in (s, t))
        half = begin + 0.5 * (end - begin)
        middle = self.process.level_at(plain(self.process.ratio(half)))
        denoised = denoiser(x, s)
        first = _slope(x, denoised, s)
        outputs, moved = [first], x
        for level in (middle, middle, t):
            moved = _transfer(x, s, level, outputs[-1])
            outputs.append(_slope(moved, denoiser(moved, level), level))
        _, a, b, c = outputs
        combined = 2 * (a - first) + 2 * (b - first) + (c - first)
        bend = (t.alpha * (t.ratio - s.ratio) / 6) * combined  # added to the first-order step
        linear = first_order(s, t)
        drive = linear.betas[0] * denoised + bend
        state, residual = linear.kappa * x + drive, linear.one_minus_kappa * x - drive
        return Candidate(state, residual, denoised, None, 4)


def _slope(x: Array, denoised: Array, level: NoiseLevel) -> Array:
    return (x - level.alpha * denoised) * (1 / level.sigma)


def _transfer(x: Array, s: NoiseLevel, t: NoiseLevel, slope: Array) -> Array:
    return (t.alpha / s.alpha) * x + (t.alpha * (t.ratio - s.ratio)) * slope


def pndm(process: Process) -> LinearMultistep:
    """Return PNDM with its own start, whose evaluations count.

    Examples
    --------
    >>> from steinlab.diffusion.grids import make_grid
    >>> from steinlab.diffusion.processes import VP_LINEAR
    >>> from steinlab.solvers import evaluations_on
    >>> evaluations_on(pndm(VP_LINEAR), make_grid(VP_LINEAR, "time-uniform", 10))
    19
    """
    return replace(IPNDM[3], name="pndm", starters=(PseudoRungeKutta(process),) * 3)
