r"""Solvers as their papers print them, typed anew: what ours are compared with.

Nothing here is shared with :mod:`steinlab.solvers` but the interface. Data-form solvers are written
with ``phi_1 = expm1(-h)``, ``phi_2 = phi_1/h + 1``, ``phi_3 = phi_2/h - 1/2`` and differences of
outputs; the Adams family by numerical quadrature of its Lagrange basis.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analytic import NoiseLevel
from analytic.quadrature import gauss_legendre
from steinlab.solvers import Candidate, History, LinearMultistep, LinearStep

Formula = Callable[[float, Sequence[float]], Sequence[float]]
"""``(h, [lam_0 - lam_1, lam_1 - lam_2, ...] / h) -> coefficients of m_0, m_1, ...`` in VE form."""


def in_data_form(formula: Formula, nodes: int, name: str = "published") -> LinearMultistep:
    """Return the solver ``x_t = kappa x + alpha_t sum c_j m_j`` of a printed formula."""

    def weights(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> LinearStep:
        lam = [math.log(level.alpha / level.sigma) for level in (t, *levels)]
        h = lam[0] - lam[1]
        gaps = [(newer - older) / h for newer, older in itertools.pairwise(lam[1:])]
        kappa = t.sigma / levels[0].sigma
        betas = tuple(t.alpha * c for c in formula(h, gaps))
        return LinearStep(kappa, 1 - kappa, betas)

    return LinearMultistep(name, nodes, nodes - 1, weights)


def _phis(h: float) -> tuple[float, float, float]:
    phi_1 = math.expm1(-h)
    phi_2 = phi_1 / h + 1
    return phi_1, phi_2, phi_2 / h - 0.5


def dpmpp_2m(h: float, gaps: Sequence[float]) -> Sequence[float]:
    """``- phi_1 m_0 - (1/2) phi_1 D_10``, ``D_10 = (m_0 - m_1) / r_0``."""
    phi_1, _, _ = _phis(h)
    if not gaps:
        return (-phi_1,)
    d = -0.5 * phi_1 / gaps[0]
    return (-phi_1 + d, -d)


def dpmpp_2m_heun(h: float, gaps: Sequence[float]) -> Sequence[float]:
    """``- phi_1 m_0 + phi_2 D_10``."""
    phi_1, phi_2, _ = _phis(h)
    if not gaps:
        return (-phi_1,)
    d = phi_2 / gaps[0]
    return (-phi_1 + d, -d)


def dpmpp_3m(c: float, second: Formula) -> Formula:
    """``- phi_1 m_0 + phi_2 D_1 - c phi_3 D_2``, with another formula in the second step."""

    def formula(h: float, gaps: Sequence[float]) -> Sequence[float]:
        if len(gaps) < 2:
            return second(h, gaps)
        phi_1, phi_2, phi_3 = _phis(h)
        r0, r1 = gaps
        d10, d11 = np.array([1, -1, 0]) / r0, np.array([0, 1, -1]) / r1
        d1 = d10 + r0 / (r0 + r1) * (d10 - d11)
        d2 = (d10 - d11) / (r0 + r1)
        total = -phi_1 * np.array([1, 0, 0]) + phi_2 * d1 - c * phi_3 * d2
        return tuple(float(v) for v in total)

    return formula


def unip(variant: str, *, solved: bool) -> Formula:
    """UniP-p of the UniPC paper: ``R rho = b / B``; ``rho = 1/2`` at ``p = 2`` unless solved."""

    def formula(h: float, gaps: Sequence[float]) -> Sequence[float]:
        hh, p = -h, len(gaps) + 1
        b_h = math.expm1(hh) if variant == "bh2" else hh
        c = np.zeros(p)
        c[0] = -math.expm1(hh)
        if p > 1:
            r = -np.cumsum(gaps)
            psi, rows, right = math.expm1(hh) / hh - 1, [], []
            for k in range(1, p):
                rows.append(r ** (k - 1))
                right.append(math.factorial(k) * psi / b_h)
                psi = psi / hh - 1 / math.factorial(k + 1)
            rho = np.linalg.solve(np.array(rows), np.array(right))
            if p == 2 and not solved:
                rho = np.array([0.5])
            c[1:] = -b_h * rho / r
            c[0] += float((b_h * rho / r).sum())
        return tuple(float(v) for v in c)

    return formula


@dataclass(frozen=True)
class Adams:
    """``y_t = y + sum_j C_j d_j`` with ``d = (y - D) / s`` in ``y = x/alpha``, ``s = sigma/alpha``.

    ``C_j`` integrates ``ds`` times the Lagrange basis in a variable of ``s``.
    """

    nodes: int
    variable: Callable[[Any], Any]
    inverse: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    name: str = "adams"
    order: int = 1
    ends_at_zero: bool = False

    @property
    def depth(self) -> int:
        """Past evaluations used."""
        return self.nodes - 1

    def evaluations(self, t: NoiseLevel) -> int:  # noqa: ARG002
        """One."""
        return 1

    def step(
        self, denoiser: Any, x: Any, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Return the step."""
        denoised = denoiser(x, s)
        seen = [(s, x, denoised), *((e.level, e.state, e.denoised) for e in history)][: self.nodes]
        y = (1 / s.alpha) * x
        for c, (level, state, output) in zip(self._coefficients(seen, t), seen, strict=True):
            y = y + (c / level.ratio) * ((1 / level.alpha) * state - output)
        state = t.alpha * y
        return Candidate(state, x - state, denoised, None, 1)

    def _coefficients(self, seen: Sequence[Any], t: NoiseLevel) -> list[float]:
        at = np.array([self.variable(level.ratio) for level, _, _ in seen])
        nodes, weights = gauss_legendre(24)
        a, b = at[0], self.variable(t.ratio)
        v = 0.5 * (a + b) + 0.5 * (b - a) * nodes
        measure = 0.5 * (b - a) * weights * self.slope(v)
        out = []
        for j in range(len(at)):
            others = np.delete(at, j)
            basis = np.prod((v[:, None] - others) / (at[j] - others), axis=1)
            out.append(float((measure * basis).sum()))
        return out


def lms(nodes: int) -> Adams:
    """Linear multistep in ``s`` itself (rho-AB)."""
    return Adams(nodes, lambda s: s, lambda v: v, np.ones_like)


def log_adams(nodes: int) -> Adams:
    """Linear multistep in ``log s``."""
    return Adams(nodes, np.log, np.exp, np.exp)


@dataclass(frozen=True)
class OneSlope:
    """Euler in a given clock: ``step`` from ``(x, D, s, t)`` to the next state."""

    advance: Callable[[Any, Any, NoiseLevel, NoiseLevel], Any]
    name: str = "euler"
    order: int = 1
    depth: int = 0
    ends_at_zero: bool = True

    def evaluations(self, t: NoiseLevel) -> int:  # noqa: ARG002
        """One."""
        return 1

    def step(
        self,
        denoiser: Any,
        x: Any,
        s: NoiseLevel,
        t: NoiseLevel,
        history: History,  # noqa: ARG002
    ) -> Candidate:
        """Return the step."""
        denoised = denoiser(x, s)
        state = self.advance(x, denoised, s, t)
        return Candidate(state, x - state, denoised, None, 1)


@dataclass(frozen=True)
class TwoStages:
    """The two-stage Runge-Kutta method of order two in ``s``, its stage at ``sqrt(s s')``.

    ``y' = y + (s' - s) ((1 - 1/(2c)) d + d_m / (2c))`` with ``c = (s_m - s) / (s' - s)``.
    """

    name: str = "two stages"
    order: int = 2
    depth: int = 0
    ends_at_zero: bool = False

    def evaluations(self, t: NoiseLevel) -> int:  # noqa: ARG002
        """Two."""
        return 2

    def step(
        self,
        denoiser: Any,
        x: Any,
        s: NoiseLevel,
        t: NoiseLevel,
        history: History,  # noqa: ARG002
    ) -> Candidate:
        """Return the step."""
        middle = NoiseLevel(math.sqrt(s.alpha * t.alpha), math.sqrt(s.sigma * t.sigma))
        denoised = denoiser(x, s)
        y = (1 / s.alpha) * x
        d = (1 / s.ratio) * (y - denoised)
        y_m = y + (middle.ratio - s.ratio) * d
        d_m = (1 / middle.ratio) * (y_m - denoiser(middle.alpha * y_m, middle))
        half = 0.5 * (t.ratio - s.ratio) / (middle.ratio - s.ratio)
        state = t.alpha * (y + (t.ratio - s.ratio) * ((1 - half) * d + half * d_m))
        return Candidate(state, x - state, denoised, None, 2)


def _scaled(x: Any, d: Any, s: NoiseLevel, t: NoiseLevel) -> Any:
    y = (1 / s.alpha) * x
    return t.alpha * (y + ((t.ratio - s.ratio) / s.ratio) * (y - d))


def _velocity(x: Any, d: Any, s: NoiseLevel, t: NoiseLevel) -> Any:
    return x + ((t.sigma - s.sigma) / s.sigma) * (x - d)


SCALED_EULER = OneSlope(_scaled)
"""Euler in ``sigma / alpha`` on ``x / alpha``."""

VELOCITY_EULER = OneSlope(_velocity)
"""Euler in time on the velocity ``eps - x0 = (x - D) / t`` of rectified flow."""
