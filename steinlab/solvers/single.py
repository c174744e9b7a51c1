r"""Single-step solvers with stages inside the step, placed in ``lam``.

A stage at the fraction ``c`` of the step, ``lam = lam_s + c h``, integrates the polynomial through
the outputs before it, from ``x``. The step's end integrates the polynomial through the outputs at
chosen stages (:mod:`steinlab.solvers.exponential`). At ``sigma_t = 0`` and, up the noise, at
``alpha_t = 0`` the step is Euler's, one evaluation. From ``alpha_s = 0`` every stage lies at ``s``:
in data form the step is Euler's too, in noise form it has no limit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypeVar

from analytic import NoiseLevel
from analytic.arrays import Array
from analytic.levels import Scalar
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.processes import Process
from steinlab.solvers.base import (
    Candidate,
    History,
    LinearStep,
    first_order,
    log_snr_step,
    require_signal,
)
from steinlab.solvers.euler import EULER
from steinlab.solvers.exponential import integrate
from steinlab.solvers.phi import decaying_moments
from steinlab.solvers.scalars import exp, has_both

Between = Callable[[NoiseLevel, NoiseLevel, float], NoiseLevel]
"""``(s, t, c) -> level`` with ``lam = lam_s + c (lam_t - lam_s)``."""

Staged = TypeVar("Staged", bound=Any)
"""A solver with a field ``between``, by which it places its stages."""


def geometric(s: NoiseLevel, t: NoiseLevel, c: float) -> NoiseLevel:
    """Interpolate ``log alpha`` and ``log sigma``.

    On VE and EDM that is a level of the process, on others it has only the ratio of one. A denoiser
    that depends on ``x / alpha`` and ``sigma / alpha`` alone gives the same; for others see
    :func:`along`.
    """
    return NoiseLevel(s.alpha ** (1 - c) * t.alpha**c, s.sigma ** (1 - c) * t.sigma**c)


def along(process: Process) -> Between:
    """Interpolate ``lam`` along a process."""

    def between(s: NoiseLevel, t: NoiseLevel, c: float) -> NoiseLevel:
        return process.level_at(s.ratio ** (1 - c) * t.ratio**c)

    return between


def fraction_of(name: str, most: int = 1) -> float:
    """Return the ``R`` of ``NAME@R``, as ``0.3`` or ``1/3``; ``ValueError`` outside (0, most]."""
    family, _, text = name.partition("@")
    try:
        fraction = float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        fraction = 0.0
    if not 0 < fraction <= most:
        raise ValueError(f"R must be in (0, {most}] for {family}@R, got {text}")
    return fraction


@dataclass(frozen=True)
class SingleStep:
    """A single-step exponential solver in data form.

    Parameters
    ----------
    name : str
    order : int
    fractions : tuple of float
        The inner stages, increasing in (0, 1); stage 0 is the step's beginning.
    combined : tuple of int
        The stages whose outputs the last combination interpolates.
    between : callable
        Places the stages; :func:`geometric`, or :func:`along` a process.
    """

    name: str
    order: int
    fractions: tuple[float, ...]
    combined: tuple[int, ...]
    between: Between = geometric
    depth: int = 0
    ends_at_zero: bool = True

    def evaluations(self, t: NoiseLevel) -> int:
        """One per stage, or one at zero noise or zero signal."""
        return 1 + len(self.fractions) if has_both(t) else 1

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Return the step and its residual."""
        if not has_both(t):
            return EULER.step(denoiser, x, s, t, history)
        stages = (0.0, *self.fractions)
        h = log_snr_step(s, t)
        outputs = [denoiser(x, s)]
        for i, c in enumerate(self.fractions, start=1):
            level = self.between(s, t, c)
            inner = first_order(s, level)
            drive = _drive(inner, level, c * h, [stage / c for stage in stages[:i]], outputs)
            outputs.append(denoiser(inner.kappa * x + drive, level))
        nodes = [stages[i] for i in self.combined]
        step = first_order(s, t)
        drive = _drive(step, t, h, nodes, [outputs[i] for i in self.combined])
        state, residual = step.kappa * x + drive, step.one_minus_kappa * x - drive
        return Candidate(state, residual, outputs[0], None, len(outputs))


def _drive(
    step: LinearStep, t: NoiseLevel, h: Scalar, nodes: list[Scalar], outputs: list[Array]
) -> Array:
    betas = integrate(step, t, nodes, decaying_moments(h, len(nodes)))
    total = betas[0] * outputs[0]
    for beta, output in zip(betas[1:], outputs[1:], strict=True):
        total = total + beta * output
    return total


@dataclass(frozen=True)
class Dpm2:
    r"""DPM-Solver-2 (Lu et al., 2022): the midpoint in ``lam`` in noise form.

    ``T = (alpha_t/alpha_s) x - sigma_t (e^h - 1) eps_m`` with ``eps_m = (x_m - alpha_m D_m) /
    sigma_m`` at ``x_m = kappa_m x + beta_m D(x)``, which is, without a difference of large terms,

        T = kappa x + c (alpha_m D_m - beta_m D(x)),   c = sigma_t (e^h - 1) / sigma_m.
    """

    name: str = "dpm-2"
    order: int = 2
    between: Between = geometric
    depth: int = 0
    ends_at_zero: bool = True

    def evaluations(self, t: NoiseLevel) -> int:
        """Two, or one at zero noise or zero signal."""
        return 2 if has_both(t) else 1

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Return the step and its residual."""
        if not has_both(t):
            return EULER.step(denoiser, x, s, t, history)
        require_signal(self.name, s)
        middle = self.between(s, t, 0.5)
        inner = EULER.step(denoiser, x, s, middle, history)
        (beta,) = first_order(s, middle).betas
        # sigma_t (e^h - 1) = sigma_t e^h (1 - e^-h)
        h = log_snr_step(s, t)
        (j0,) = decaying_moments(h, 1)
        c = t.sigma * exp(h) * j0 / middle.sigma
        drive = (c * middle.alpha) * denoiser(inner.state, middle) - (c * beta) * inner.denoised
        step = first_order(s, t)
        state, residual = step.kappa * x + drive, step.one_minus_kappa * x - drive
        return Candidate(state, residual, inner.denoised, None, 2)


@dataclass(frozen=True)
class TwoStage:
    r"""A single step of order two with its stage at any fraction ``R`` of the step in ``lam``.

    With ``D_m`` at the Euler step to ``lam_s + R h``, level ``(alpha_m, sigma_m)``,

        T = kappa x + beta D + w (D_m - D),   w = beta / (2 R)                    dpmpp-2s@R
        w = sigma_t (e^h - 1) alpha_m / (2 R sigma_m)                             dpm-2@R

    These are the midpoint variants of DPM-Solver++(2S) and DPM-Solver-2 (Lu et al., 2022,
    algorithms 4 and 1, their ``r_1``); the second is ``- sigma_t (e^h - 1) (eps + (eps_m - eps) /
    (2 R))`` in noise form. ``R = 1/2`` is ``dpmpp-2s`` and ``dpm-2``.
    """

    name: str
    fraction: float
    between: Between = geometric
    order: int = 2
    depth: int = 0
    ends_at_zero: bool = True

    @classmethod
    def of(cls, name: str) -> TwoStage:
        """Return the solver that ``dpm-2@R`` or ``dpmpp-2s@R`` names, ``R`` as ``0.3`` or ``1/3``.

        Examples
        --------
        >>> TwoStage.of("dpm-2@1/4").fraction
        0.25
        """
        return cls(name, fraction_of(name))

    def evaluations(self, t: NoiseLevel) -> int:
        """Two, or one at zero noise or zero signal."""
        return 2 if has_both(t) else 1

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Return the step and its residual."""
        euler = EULER.step(denoiser, x, s, t, history)
        if not has_both(t):
            return euler
        linear = first_order(s, t)
        middle = t if self.fraction == 1 else self.between(s, t, self.fraction)
        inner = first_order(s, middle)
        weight = linear.betas[0]
        if self.name.startswith("dpm-2"):
            require_signal(self.name, s)
            h = log_snr_step(s, t)
            weight = t.sigma * exp(h) * decaying_moments(h, 1)[0] * (middle.alpha / middle.sigma)
        output = denoiser(inner.kappa * x + inner.betas[0] * euler.denoised, middle)
        bend = (weight / (2 * self.fraction)) * (output - euler.denoised)
        return Candidate(euler.state + bend, euler.residual - bend, euler.denoised, None, 2)


DPM_2 = Dpm2()

DPMPP_2S = SingleStep("dpmpp-2s", order=2, fractions=(0.5,), combined=(1,))
"""DPM-Solver++(2S): ``T = kappa x + beta D_m`` with ``D_m`` at the midpoint in ``lam``."""

DPMPP_3S = SingleStep("dpmpp-3s", order=3, fractions=(1 / 3, 2 / 3), combined=(0, 2))
"""Single-step DPM-Solver++ of order three, the default form of the authors' code:
``T = kappa x + alpha_t (J_0 D_0 + (3/2) J_1 (D_2 - D_0))``, stages at 1/3 and 2/3."""

DPMPP_3S_TAYLOR = SingleStep(
    "dpmpp-3s-taylor", order=3, fractions=(1 / 3, 2 / 3), combined=(0, 1, 2)
)
"""The same with the parabola through all three outputs, their ``taylor`` form."""

SINGLE = (DPM_2, DPMPP_2S, DPMPP_3S, DPMPP_3S_TAYLOR)
"""The solvers of this file."""


def on_process(solver: Staged, process: Process) -> Staged:
    """Return the solver with its stages on a process."""
    return replace(solver, between=along(process))
