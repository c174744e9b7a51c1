r"""What a solver is: a pure step from one level to the next, the same text on every array library.

All solvers step ``x`` at level ``s`` to a candidate ``T(x)`` at the less noisy level ``t``. With

    kappa = sigma_t / sigma_s,   beta = alpha_t - kappa alpha_s,   h = lam_t - lam_s,

the first-order step is ``T = kappa x + beta D(x)``. The residual ``u = x - T(x)`` is formed from
``1 - kappa = (sigma_s - sigma_t) / sigma_s``, never as a difference of nearly equal states.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from analytic import NoiseLevel
from analytic.arrays import Array
from analytic.levels import Scalar
from steinlab.denoisers import Denoiser


@dataclass(frozen=True)
class Evaluation:
    """One past evaluation of the denoiser: where, at which state, and what it returned."""

    level: NoiseLevel
    state: Array
    denoised: Array


History = tuple[Evaluation, ...]
"""Past evaluations, newest first; never the one of the step being taken."""


@dataclass(frozen=True)
class LinearStep:
    """A step linear in the denoiser: ``T = kappa x + betas[0] D(x) + sum_j betas[j] D_j``.

    ``D_j`` are frozen outputs of earlier levels, so ``div u = (1 - kappa) d - betas[0] div D``.
    """

    kappa: Scalar
    one_minus_kappa: Scalar
    betas: tuple[Scalar, ...]


@dataclass(frozen=True)
class Candidate:
    """What a solver proposes.

    Attributes
    ----------
    state : array
        ``T(x)``, shape of ``x``.
    residual : array
        ``u = x - T(x)``, without cancellation.
    denoised : array
        ``D(x)`` at the level where the step began.
    linear : LinearStep or None
        The step's coefficients when it is linear in ``D(x)``.
    evaluations : int
        Denoiser evaluations spent.
    """

    state: Array
    residual: Array
    denoised: Array
    linear: LinearStep | None
    evaluations: int


class Solver(Protocol):
    """A diffusion-ODE solver.

    Attributes
    ----------
    name : str
        Its id on the command line.
    order : int
        Its global order of convergence.
    depth : int
        How many past evaluations it looks at.
    """

    @property
    def name(self) -> str:
        """Id."""
        ...

    @property
    def order(self) -> int:
        """Global order."""
        ...

    @property
    def depth(self) -> int:
        """Past evaluations used."""
        ...

    def evaluations(self, t: NoiseLevel) -> int:
        """Denoiser evaluations of one step that ends at ``t``."""
        ...

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Propose the state at ``t`` from ``x`` at ``s``. Pure."""
        ...


Weights = Callable[[tuple[NoiseLevel, ...], NoiseLevel], LinearStep]
"""``(s, earlier levels..., newest first), t -> LinearStep`` with one beta a level."""


@dataclass(frozen=True)
class LinearMultistep:
    """Any solver that evaluates the denoiser once a step and combines past outputs linearly.

    A family of such solvers is one function from levels to coefficients. While the history is
    shorter than ``depth``, the function receives fewer levels and answers at lower order.
    """

    name: str
    order: int
    depth: int
    weights: Weights

    def evaluations(self, t: NoiseLevel) -> int:  # noqa: ARG002
        """One, wherever the step ends."""
        return 1

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Return ``kappa x + beta_0 D(x) + sum_j beta_j D_j`` and its residual."""
        past = history[: self.depth]
        linear = self.weights((s, *(entry.level for entry in past)), t)
        denoised = denoiser(x, s)
        drive = linear.betas[0] * denoised
        for beta, entry in zip(linear.betas[1:], past, strict=False):
            drive = drive + beta * entry.denoised
        state = linear.kappa * x + drive
        residual = linear.one_minus_kappa * x - drive
        return Candidate(state, residual, denoised, linear, 1)


def first_order(s: NoiseLevel, t: NoiseLevel) -> LinearStep:
    """Coefficients of the first-order step (DDIM), exact for a constant denoiser.

    ``beta = (alpha_t - alpha_s) + alpha_s (1 - kappa)``: both terms are >= 0 where signal does
    not decrease and noise does not increase, so nothing cancels.
    """
    kappa, slack = t.sigma / s.sigma, (s.sigma - t.sigma) / s.sigma
    return LinearStep(kappa, slack, ((t.alpha - s.alpha) + s.alpha * slack,))


def log_snr_step(s: NoiseLevel, t: NoiseLevel) -> Any:
    """``h = lam_t - lam_s`` by ``log1p`` of exact differences; infinite at ``sigma_t = 0``."""
    with np.errstate(divide="ignore"):
        h = np.log1p((t.alpha - s.alpha) / s.alpha) - np.log1p((t.sigma - s.sigma) / s.sigma)
    return h if np.ndim(h) else float(h)
