r"""AMED and EPD: slopes inside the step, each reached by Euler from its beginning.

In ``y = x / alpha``, ``S = sigma / alpha`` the slope is ``e = (y - D) / S``. With stages at the
fractions ``r_k`` of the step in ``lam``, ``S_k = S^(1 - r_k) S'^(r_k)``, and weights ``w_k``,

    y_k = y + (S_k - S) e,   e_k = (y_k - D_k) / S_k,   y' = y + (S' - S) sum_k w_k e_k.

One stage is AMED-Solver (Zhou et al., 2024), several are EPD-Solver (Zhu et al., 2025); ``w_k``
is their weight times their scale of the direction. There a network or a table learns the numbers.
Their scale of the time that the network is told is left out: it belongs to the network.

Guarantee (tight): of order two at most, whatever the stages and weights. Every stage starts from
the one Euler slope, so that with the Butcher coefficients ``sum_kj b_k a_kj c_j = 0``, where order
three needs 1/6. Numbers that do not depend on the step reach order two if and only if
``sum w_k = 1`` and ``sum w_k r_k = 1/2``, order one if the first holds alone.
``amed@1/2`` is ``dpm-2``. Since ``e_k - e = (D - D_k) / S_k``, the step is

    T = Euler + alpha' (S - S') [sum_k (w_k / S_k)(D_k - D) - (sum w_k - 1) e].

At ``sigma_t = 0`` and, up the noise, at ``alpha_t = 0`` the step is Euler's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.diffusion.denoisers import Denoiser
from steinlab.solvers.base import Candidate, History, require_signal
from steinlab.solvers.euler import EULER
from steinlab.solvers.scalars import has_both
from steinlab.solvers.single import Between, fraction_of, geometric


@dataclass(frozen=True)
class Parallel:
    """A step of several slopes that do not wait for each other.

    Parameters
    ----------
    name : str
    stages : tuple of (float, float)
        Fraction ``r_k`` in (0, 1) and weight ``w_k`` of each.
    between : callable
        Places the stages.
    """

    name: str
    stages: tuple[tuple[float, float], ...]
    between: Between = geometric
    depth: int = 0
    ends_at_zero: bool = True

    @property
    def order(self) -> int:
        """Two if the weights integrate a line, else one; zero where they do not sum to one."""
        if not math.isclose(sum(w for _, w in self.stages), 1, rel_tol=1e-12):
            return 0
        mean = sum(w * r for r, w in self.stages)
        return 1 + math.isclose(mean, 0.5, rel_tol=1e-12)

    def evaluations(self, t: NoiseLevel) -> int:
        """One at the beginning and one per stage, or one at zero noise or zero signal."""
        return 1 + len(self.stages) if has_both(t) else 1

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Return the step and its residual."""
        euler = EULER.step(denoiser, x, s, t, history)
        if not has_both(t):
            return euler
        require_signal(self.name, s)
        first = euler.denoised
        length = t.alpha * (s.ratio - t.ratio)
        extra = length * (1 - sum(w for _, w in self.stages)) / s.sigma
        bend = extra * x - (extra * s.alpha) * first
        for fraction, weight in self.stages:
            level = self.between(s, t, fraction)
            state = EULER.step(lambda *_: first, x, s, level, ()).state
            bend = bend + (length * weight / level.ratio) * (denoiser(state, level) - first)
        count = 1 + len(self.stages)
        return Candidate(euler.state + bend, euler.residual - bend, first, None, count)


def amed(name: str) -> Parallel:
    """Return AMED with its stage at the fraction that ``amed@R`` names.

    Examples
    --------
    >>> amed("amed@1/2").order, amed("amed@0.6").order
    (2, 1)
    """
    return Parallel(name, ((fraction_of(name), 1.0),))


_OFF = 0.5 / math.sqrt(3)

EPD_2 = Parallel("epd-2", ((0.5 - _OFF, 0.5), (0.5 + _OFF, 0.5)))
"""EPD with two stages at Gauss's nodes in ``lam``: what it is before anything is learned."""
