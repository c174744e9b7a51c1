r"""Runge-Kutta methods in a process's own time, on the flow's velocity.

In the time ``t`` of a process, ``x = alpha x_star + sigma eps``, the flow is ``dx/dt = v`` with

    v = alpha' D + sigma' (x - alpha D) / sigma,

which in rectified flow, ``alpha = 1 - t`` and ``sigma = t``, is the velocity
``E[eps - x_star | x]`` that networks of flow matching predict. With the tableau ``(a, b, c)`` a
step of length ``h < 0`` is

    k_i = v(x + h sum_j a_ij k_j, t + c_i h),   T = x + h sum_i b_i k_i.

On other processes it is not the method of the same name in ``sigma / alpha``: it does not follow
one-point data exactly. In a step to zero noise ``v`` is not defined at a stage at the end, so that
step is of first order, ``T = D``, as for the other solvers with stages.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.processes import Process
from steinlab.solvers.base import Candidate, History
from steinlab.solvers.euler import EULER
from steinlab.solvers.scalars import has_noise, plain

Row = tuple[float, ...]


@dataclass(frozen=True)
class Tableau:
    """An explicit Runge-Kutta method: ``c_i`` and ``a_ij`` of the later stages, weights ``b``."""

    order: int
    stages: tuple[tuple[float, Row], ...]
    weights: Row


TABLEAUX = {
    "rk-midpoint": Tableau(2, ((1 / 2, (1 / 2,)),), (0.0, 1.0)),
    "rk-heun": Tableau(2, ((1.0, (1.0,)),), (1 / 2, 1 / 2)),
    "rk-4": Tableau(
        4,
        ((1 / 2, (1 / 2,)), (1 / 2, (0.0, 1 / 2)), (1.0, (0.0, 0.0, 1.0))),
        (1 / 6, 1 / 3, 1 / 3, 1 / 6),
    ),
    "rk-4-38": Tableau(
        4,
        ((1 / 3, (1 / 3,)), (2 / 3, (-1 / 3, 1.0)), (1.0, (1.0, -1.0, 1.0))),
        (1 / 8, 3 / 8, 3 / 8, 1 / 8),
    ),
}
"""The midpoint rule, Heun's method, Kutta's method of order four and his 3/8 rule (1901), which
torchdiffeq calls ``rk4``."""


@dataclass(frozen=True)
class RungeKutta:
    """A Runge-Kutta solver on the velocity of a process, which must have ``rates``."""

    name: str
    tableau: Tableau
    process: Process
    depth: int = 0
    ends_at_zero: bool = True

    @property
    def order(self) -> int:
        """The tableau's."""
        return self.tableau.order

    def evaluations(self, t: NoiseLevel) -> int:
        """One per stage; one in a step to zero noise if a stage lies at its end."""
        return 1 + len(self.tableau.stages) if self._has_stages(t) else 1

    def _has_stages(self, t: NoiseLevel) -> bool:
        if has_noise(t):
            return True
        inside = all(c < 1 for c, _ in self.tableau.stages)
        with np.errstate(divide="ignore"):
            return inside and bool(np.isfinite(self.process.time(0.0)))

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Return the step and its residual, ``-h sum_i b_i k_i``."""
        if not self._has_stages(t):
            return EULER.step(denoiser, x, s, t, history)
        start = self.process.time(s.ratio)
        h = plain(self.process.time(t.ratio) - start)
        denoised = denoiser(x, s)
        slopes = [_velocity(x, denoised, s, self._rates(start, s))]
        for c, row in self.tableau.stages:
            moved = x + h * _combined(row, slopes)
            time = start + c * h
            level = t if c == 1 else self.process.level_at(plain(self.process.ratio(time)))
            slopes.append(_velocity(moved, denoiser(moved, level), level, self._rates(time, level)))
        change = h * _combined(self.tableau.weights, slopes)
        return Candidate(x + change, -change, denoised, None, len(slopes))

    def _rates(self, time: Any, level: NoiseLevel) -> tuple[Any, Any]:
        if self.process.rates is None:
            raise ValueError(
                f"process {self.process.name} must give the rates of alpha and sigma for "
                f"{self.name}, which integrates in its time"
            )
        alpha, sigma = self.process.rates(time, level)
        return plain(alpha), plain(sigma)


def _velocity(x: Array, denoised: Array, level: NoiseLevel, rates: tuple[Any, Any]) -> Array:
    alpha, sigma = rates
    share = sigma / level.sigma
    return share * x + (alpha - share * level.alpha) * denoised


def _combined(row: Row, slopes: list[Array]) -> Array:
    terms = [a * k for a, k in zip(row, slopes, strict=True) if a]
    return sum(terms[1:], terms[0])


def runge_kutta(name: str, process: Process) -> RungeKutta:
    """Return a method of :data:`TABLEAUX` on a process.

    Examples
    --------
    >>> from steinlab.diffusion.processes import FLOW
    >>> runge_kutta("rk-4", FLOW).evaluations(FLOW.level(0.5))
    4
    """
    return RungeKutta(name, TABLEAUX[name], process)
