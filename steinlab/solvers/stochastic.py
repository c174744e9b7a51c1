r"""Solvers of the reverse SDE, whose steps draw standard normals: judged by law, not by path.

With ``q = e^-h = S_t / S_s`` for ``S = sigma / alpha``, the SDE that keeps the forward laws moves

    x_t = kappa q x_s + alpha_t int_0^1 2h e^(-2h (1-theta)) D dtheta + sigma_t w_1,
    w_c = sqrt(1 - e^(-2ch)) times a standard normal,   Cov(w_b, w_c) = e^(-(c-b)h) Var w_b

(``b < c``): the flow's formula with ``2h`` for ``h``, and noise.

**SEEDS** (Gonzalez et al., 2023; stages as in ComfyUI) takes the stages of DPM-Solver++'s single
steps on it. A stage at the fraction ``c`` of the step in ``lam`` has the noise ``sigma_c w_c``; one
normal per part between stages builds every ``w``, so that stages and end share theirs. Weak order:

    seeds-1   1
    seeds-2   2: ``Cov(W_1, int W) = 1/2`` is met by the noise that the stage shares, at the middle
    seeds-3   2: ``Var int W = 1/3`` is not, by ``sum b_i b_j min(c_i, c_j) = 3/8``

``seeds-1`` has three names: it is SDE-DPM-Solver++(1), and k-diffusion's Euler ancestral step with
``eta = 1``, since ``(sigma_down / sigma)_t = q^2``; DDIM with ``eta = 1`` too.

**SDE-DPM-Solver++(2M)** (Lu et al., 2022) extrapolates ``D`` through the output before by
``0.5 (1 - q^2) (D_0 - D_1) / r``, ``r`` the last step over this one in ``lam``. Its weak order is 2
without noise inside the step: what the extrapolation misses of a step's noise, it adds in the next.

At ``sigma_t = 0`` the step returns ``alpha_t D``, at one evaluation; from ``alpha_s = 0`` solvers
without stages draw ``x_t`` around ``alpha_t D``.

**Churn** (Karras et al., 2022, algorithm 2) adds noise up to ``S^ = (1 + g) S`` and takes Euler's
step from there. Theirs is ``g = min(churn / steps, sqrt(2) - 1)``; here, where a step does not know
their number, ``g = min(q^-c - 1, sqrt(2) - 1)``: it climbs ``c`` of what the step descends.

**Posterior noise** (Bao et al., 2022) is Euler's step with a draw about ``D``,

    x_t = kappa x_s + beta (D + sqrt(V) z),   V = E|x_star - D|^2 / d = S^2 l / (l + S^2).

Guarantee (tight): from the forward law at ``s`` it reaches mean and total variance of that at
``t``, for every law and every step. Proof: ``D + sqrt(V) z`` has the mean, and by the law of total
variance the trace, that ``x_star`` has jointly with ``x_s``. On ``N(m, c^2 I)`` the law is exact.
``l`` comes from the batch (``couples_batch``) or from a stored curve, as in
:mod:`steinlab.solvers.unit_speed`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

from analytic import NoiseLevel
from analytic.arrays import Array
from analytic.levels import Scalar
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.processes import Process
from steinlab.solvers.base import (
    Candidate,
    History,
    Noise,
    OneEvaluation,
    first_order,
    log_snr_step,
    require_noise,
    require_signal,
)
from steinlab.solvers.euler import EULER
from steinlab.solvers.exponential import Moments, midpoint, nodes_of
from steinlab.solvers.phi import decaying_moments, interpolatory
from steinlab.solvers.scalars import exp, expm1, has_both, has_noise, has_signal
from steinlab.solvers.single import Between, along, geometric
from steinlab.solvers.unit_speed import Curve, Seeing

MOST_CHURN = math.sqrt(2) - 1
"""Largest relative climb of one step (Karras et al., 2022)."""


@dataclass(frozen=True)
class ReverseSde:
    """An exponential solver of the reverse SDE, in data form.

    Parameters
    ----------
    name : str
    order : int
        Weak order.
    fractions : tuple of float
        The inner stages, increasing in (0, 1); stage 0 is the step's beginning.
    combined : tuple of int
        The stages whose outputs the last combination interpolates.
    depth : int
        Past outputs that it interpolates besides.
    moments : callable
        Of the measure that the interpolant is integrated against.
    between : callable
        Places the stages; :func:`~steinlab.solvers.single.geometric`, or ``along`` a process.
    """

    name: str
    order: int
    fractions: tuple[float, ...] = ()
    combined: tuple[int, ...] = (0,)
    depth: int = 0
    moments: Moments = decaying_moments
    between: Between = geometric
    ends_at_zero: bool = True

    @property
    def noises(self) -> int:
        """One normal per part of the step between stages."""
        return 1 + len(self.fractions)

    def evaluations(self, t: NoiseLevel) -> int:
        """One per stage, or one at zero noise."""
        return 1 + len(self.fractions) if has_both(t) else 1

    def step(
        self,
        denoiser: Denoiser,
        x: Array,
        s: NoiseLevel,
        t: NoiseLevel,
        history: History,
        *,
        noise: Noise = (),
    ) -> Candidate:
        """Return the step and its residual."""
        require_noise(self, noise)
        if not has_noise(t):
            return replace(EULER.step(denoiser, x, s, t, history), linear=None)
        if self.fractions:
            require_signal(self.name, s)
        h, inner, path = log_snr_step(s, t), (0.0, *self.fractions), 0.0 * x
        outputs = [denoiser(x, s)]
        for i, (b, c) in enumerate(itertools.pairwise((*inner, 1.0))):
            path = exp(-(c - b) * h) * path + _spread((c - b) * h) * noise[i]
            if c < 1:
                level = self.between(s, t, c)
                nodes: list[Scalar] = [stage / c for stage in inner[: i + 1]]
                drive = _drive(level, nodes, decaying_moments(2 * c * h, i + 1), outputs)
                kappa = (level.sigma / s.sigma) * exp(-c * h)
                outputs.append(denoiser(kappa * x + drive + level.sigma * path, level))
        past = history[: self.depth]
        nodes = [inner[i] for i in self.combined]
        nodes += nodes_of((s, *(one.level for one in past)), h)[1:]
        combined = [*(outputs[i] for i in self.combined), *(one.denoised for one in past)]
        drive = _drive(t, nodes, self.moments(2 * h, len(nodes)), combined) + t.sigma * path
        plain = first_order(s, t)
        slack = plain.one_minus_kappa - plain.kappa * expm1(-h)
        state = plain.kappa * exp(-h) * x + drive
        return Candidate(state, slack * x - drive, outputs[0], None, len(outputs))


def _spread(h: Scalar) -> Scalar:
    """``sqrt(1 - e^(-2h))``."""
    return (-expm1(-2 * h)) ** 0.5


def _drive(
    level: NoiseLevel, nodes: list[Scalar], moments: list[Scalar], outputs: list[Array]
) -> Array:
    weights = interpolatory(nodes, moments)
    total = (level.alpha * weights[0]) * outputs[0]
    for weight, output in zip(weights[1:], outputs[1:], strict=True):
        total = total + (level.alpha * weight) * output
    return total


@dataclass(frozen=True)
class Churn(OneEvaluation):
    """Euler's step from a noisier level, reached by fresh noise.

    Parameters
    ----------
    name : str
    climb : float
        ``c``, the part of the step's descent that it climbs before, > 0.
    process : Process, optional
        Where the noisier level lies; it is then none beyond the process's own. By default
        ``alpha`` stays, which is the process's level on EDM and VE.
    """

    name: str = "euler-churn"
    climb: float = 1.0
    process: Process | None = None
    order: int = 1
    depth: int = 0
    noises: int = 1
    ends_at_zero: bool = True

    def step(
        self,
        denoiser: Denoiser,
        x: Array,
        s: NoiseLevel,
        t: NoiseLevel,
        history: History,
        *,
        noise: Noise = (),
    ) -> Candidate:
        """Return the step and its residual; Euler's where there is no noisier level."""
        require_noise(self, noise)
        g = self._climbs(s, t)
        if not g:
            return EULER.step(denoiser, x, s, t, history)
        top = NoiseLevel(s.alpha, (1 + g) * s.sigma)
        if self.process is not None:
            top = self.process.level_at((1 + g) * s.ratio)
        fresh = (top.alpha * s.ratio * (g * (2 + g)) ** 0.5) * noise[0]
        moved = ((top.alpha - s.alpha) / s.alpha) * x + fresh
        euler = EULER.step(denoiser, x + moved, top, t, history)
        return replace(euler, residual=euler.residual - moved, linear=None)

    def _climbs(self, s: NoiseLevel, t: NoiseLevel) -> float:
        if not has_signal(s):
            return 0.0
        full = min(self.climb * float(log_snr_step(s, t)), math.log1p(MOST_CHURN))
        g = math.expm1(full)
        beyond = self.process is not None and (1 + g) * s.ratio > self.process.ratio_max
        return 0.0 if beyond else g


@dataclass(frozen=True)
class PosteriorNoise(Seeing):
    """Euler's step about a draw with the mean and the total variance of the posterior.

    Parameters
    ----------
    curve : Curve, optional
        Where ``l`` comes from; by default from the batch.
    """

    name: str = "posterior-noise"
    curve: Curve | None = None
    order: int = 1
    depth: int = 0
    noises: int = 1
    ends_at_zero: bool = True

    def step(
        self,
        denoiser: Denoiser,
        x: Array,
        s: NoiseLevel,
        t: NoiseLevel,
        history: History,
        *,
        noise: Noise = (),
    ) -> Candidate:
        """Return the step and its residual.

        Raises
        ------
        ValueError
            If ``alpha_s = 0``, or a batch of one state is to show its spread.
        """
        require_noise(self, noise)
        require_signal(self.name, s)
        euler = EULER.step(denoiser, x, s, t, history)
        seen = self.seen(x, euler.denoised, s)
        deviation = s.ratio * (seen / (seen + s.ratio**2)) ** 0.5
        fresh = (first_order(s, t).betas[0] * deviation) * noise[0]
        return Candidate(euler.state + fresh, euler.residual - fresh, euler.denoised, None, 1)


SEEDS_1 = ReverseSde("seeds-1", 1)
SEEDS_2 = ReverseSde("seeds-2", 2, fractions=(0.5,), combined=(1,))
SEEDS_3 = ReverseSde("seeds-3", 2, fractions=(1 / 3, 2 / 3), combined=(0, 2))
SDE_DPMPP_2M = ReverseSde("sde-dpmpp-2m", 2, depth=1, moments=midpoint)

STOCHASTIC = (SEEDS_1, SEEDS_2, SEEDS_3, SDE_DPMPP_2M, Churn(), PosteriorNoise())
"""The solvers of this file."""


def stochastic_on(solver: Any, process: Process) -> Any:
    """Return the solver with its inner levels on a process."""
    if isinstance(solver, ReverseSde):
        return replace(solver, between=along(process))
    return replace(solver, process=process) if isinstance(solver, Churn) else solver
