r"""What a solver is: a pure step from one level to the next, the same text on every array library.

All solvers step ``x`` at level ``s`` to a candidate ``T(x)`` at the less noisy level ``t``, or, by
the same formulas with ``h < 0``, at a noisier one. With

    kappa = sigma_t / sigma_s,   beta = alpha_t - kappa alpha_s,   h = lam_t - lam_s,

the first-order step is ``T = kappa x + beta D(x)``. The residual ``u = x - T(x)`` is formed from
``1 - kappa = (sigma_s - sigma_t) / sigma_s``, never as a difference of nearly equal states.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np

from analytic import NoiseLevel
from analytic.arrays import Array
from analytic.levels import Scalar
from steinlab.diffusion.denoisers import Denoiser
from steinlab.errors import InputError
from steinlab.solvers.scalars import has_noise, has_signal, log_ratio


@dataclass(frozen=True)
class LinearStep:
    r"""A step linear in the denoiser and in the past.

        T = kappa x + betas[0] D(x) + sum_{j>=1} betas[j] D_j + sum_{j>=1} zetas[j-1] x_j

    ``D_j`` are frozen outputs at the earlier states ``x_j``, newest first, so
    ``div u = (1 - kappa) d - betas[0] div D``.

    Attributes
    ----------
    kappa, one_minus_kappa : float or array
    betas : tuple
        Coefficients of ``D(x), D_1, D_2, ...``.
    zetas : tuple
        Coefficients of ``x_1, x_2, ...``; empty for solvers in data form.
    corrector : tuple
        Coefficients of ``D(T), D(x), D_1, ...`` in what the next step adds to its own state, once
        ``D(T)`` is known. Empty for solvers without a corrector.
    corrector_states : tuple
        Coefficients of ``T, x, x_1, ...`` in the same sum, for solvers in noise form, which combine
        ``(x_j - alpha_j D_j) / sigma_j``. Empty in data form.
    carry : float or array, optional
        The factor by which the step passes on what its predecessor's corrector adds to ``x``:
        ``kappa`` in data form (the default), ``alpha_t / alpha_s`` in noise form.
    """

    kappa: Scalar
    one_minus_kappa: Scalar
    betas: tuple[Scalar, ...]
    zetas: tuple[Scalar, ...] = ()
    corrector: tuple[Scalar, ...] = ()
    corrector_states: tuple[Scalar, ...] = ()
    carry: Scalar | None = None


@dataclass(frozen=True)
class Evaluation:
    """One past evaluation of the denoiser: its level, its state and its output.

    ``linear`` holds the coefficients of the solver's step from there, if it was linear.
    """

    level: NoiseLevel
    state: Array
    denoised: Array
    linear: LinearStep | None = None


History = tuple[Evaluation, ...]
"""Past evaluations, newest first, without the one of the step being taken."""

Noise = tuple[Array, ...]
"""The standard normals of one step, each of the states' shape."""


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

    One whose step draws says by ``noises`` how many arrays of standard normals it wants; its step
    takes them as the keyword ``noise`` and stays pure, and its ``order`` is a weak one.
    """

    @property
    def name(self) -> str:
        """Its id on the command line."""

    @property
    def order(self) -> int:
        """Its global order of convergence, run on its own from the first step."""

    @property
    def depth(self) -> int:
        """Number of past evaluations that the loop must keep for it."""

    @property
    def ends_at_zero(self) -> bool:
        """Whether it can step to ``sigma = 0``."""

    def evaluations(self, t: NoiseLevel) -> int:
        """Return the denoiser evaluations of one step that ends at ``t``."""

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Propose the state at ``t`` from ``x`` at ``s``. Pure."""


Weights = Callable[[tuple[NoiseLevel, ...], NoiseLevel], LinearStep]
"""``(s, earlier levels..., newest first), t -> LinearStep`` with one beta per level."""


class OneEvaluation:
    """What asks once per step."""

    def evaluations(self, t: NoiseLevel) -> int:  # noqa: ARG002
        """One, wherever the step ends."""
        return 1


@dataclass(frozen=True)
class LinearMultistep(OneEvaluation):
    """Any solver that evaluates the denoiser once per step and combines past outputs linearly.

    A family of such solvers is one function from levels to coefficients. While the history is
    shorter than ``nodes - 1``, the function receives fewer levels and returns a lower order.

    Parameters
    ----------
    name : str
    order : int
        Global order when it starts by itself, at lower order.
    depth : int
        Past evaluations that the loop keeps: ``nodes - 1``, one more with a corrector.
    weights : callable
    full_order : int, optional
        Global order if its first steps are accurate enough (see
        :func:`~steinlab.solvers.plans.matching_start`); by default ``order``.
    nodes : int, optional
        Denoiser outputs that ``weights`` combines, the present one included; by default
        ``depth + 1``.
    ends_at_zero : bool
        Whether ``weights`` are defined at ``sigma_t = 0``.
    starters : tuple of Solver
        Take the first steps of a method that has a start of its own, as PNDM does.
    """

    name: str
    order: int
    depth: int
    weights: Weights
    full_order: int | None = None
    nodes: int | None = None
    ends_at_zero: bool = True
    starters: tuple[Solver, ...] = ()

    @property
    def width(self) -> int:
        """Denoiser outputs that a step combines once the history is long enough."""
        return self.depth + 1 if self.nodes is None else self.nodes

    def narrowed(self, nodes: int) -> Self:
        """Return the same solver with at most ``nodes`` outputs per step, so of lower order.

        Raises
        ------
        ValueError
            If the solver combines fewer.
        """
        if not 1 <= nodes <= self.width:
            raise ValueError(f"nodes must be in 1 to {self.width} for {self.name}, got {nodes}")
        if nodes == self.width:
            return self
        return replace(
            self,
            nodes=nodes,
            order=min(self.order, nodes),
            full_order=min(self.full_order or self.order, nodes),
            ends_at_zero=self.ends_at_zero or nodes == 1,
        )

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Return ``kappa x + beta_0 D(x) + sum_j (beta_j D_j + zeta_j x_j)`` and its residual.

        Up the noise, a step that ends at ``alpha_t = 0`` is of first order, ``(sigma_t / sigma_s)
        (x - alpha_s D(x))``: ``lam`` ends at minus infinity, where no polynomial is followed.

        Raises
        ------
        ValueError
            If the step ends at zero noise and the solver cannot.
        """
        require_end(self, t)
        seen = (entry.level for entry in history[: self.width - 1])
        linear = self.weights((s, *seen), t) if has_signal(t) else first_order(s, t)
        if history and history[0].linear and history[0].linear.corrector:
            linear = corrected(linear, history[0].linear)
        return combined(linear, x, denoiser(x, s), history)


def combined(linear: LinearStep, x: Array, denoised: Array, history: History) -> Candidate:
    """Return ``kappa x + beta_0 D(x) + sum_j (beta_j D_j + zeta_j x_j)``, one evaluation spent."""
    drive = linear.betas[0] * denoised
    for beta, entry in zip(linear.betas[1:], history, strict=False):
        drive = drive + beta * entry.denoised
    for zeta, entry in zip(linear.zetas, history, strict=False):
        drive = drive + zeta * entry.state
    state = linear.kappa * x + drive
    residual = linear.one_minus_kappa * x - drive
    return Candidate(state, residual, denoised, linear, 1)


def corrected(linear: LinearStep, last: LinearStep) -> LinearStep:
    """Return the step from the state that ``last`` corrects, as a step from ``x``."""
    carry = linear.kappa if linear.carry is None else linear.carry
    pairs = itertools.zip_longest(linear.betas, last.corrector, fillvalue=0.0)
    linear = replace(linear, betas=tuple(beta + carry * c for beta, c in pairs))
    if not last.corrector_states:
        return linear
    own, *past = last.corrector_states
    states = itertools.zip_longest(linear.zetas, past, fillvalue=0.0)
    return replace(
        linear,
        kappa=linear.kappa + carry * own,
        one_minus_kappa=linear.one_minus_kappa - carry * own,
        zetas=tuple(zeta + carry * c for zeta, c in states),
    )


def couples_batch(solver: Any) -> bool:
    """Whether the step of one state depends on the others of its batch, as the solver says.

    A solver that takes numbers from the batch declares ``couples_batch = True``. What is read off
    single states, or assumes that states are independent, does not apply to it.
    """
    solvers = getattr(solver, "solvers", (solver,))
    return any(bool(getattr(one, "couples_batch", False)) for one in solvers)


def require_alone(solver: Any, what: str) -> None:
    """Raise ``InputError`` where something needs a solver that takes each state alone."""
    if couples_batch(solver):
        raise InputError(
            f"solver must take each state alone for {what}, got {solver.name}, whose step depends "
            "on the whole batch"
        )


def noises(solver: Any) -> int:
    """Return how many arrays of standard normals a step wants, 0 for a deterministic solver."""
    solvers = getattr(solver, "solvers", (solver,))
    return max(int(getattr(one, "noises", 0)) for one in solvers)


def require_noise(solver: Any, noise: Noise) -> None:
    """Raise ``ValueError`` unless a step got its normals."""
    if len(noise) != solver.noises:
        raise ValueError(
            f"noise must hold {solver.noises} arrays for {solver.name}, got {len(noise)}"
        )


def require_path(solver: Any, what: str) -> None:
    """Raise ``InputError`` where something needs a solver that draws no noise."""
    if noises(solver):
        raise InputError(
            f"solver must draw no noise for {what}, got {solver.name}, which is judged by law"
        )


def require_end(solver: Solver, t: NoiseLevel) -> None:
    """Raise ``ValueError`` if ``t`` is zero noise and the solver cannot end there."""
    if not solver.ends_at_zero and not has_noise(t):
        raise ValueError(
            f"to: sigma must be > 0 for {solver.name}, got {t.sigma}; "
            "end the grid above zero noise, or finish with another solver (euler)"
        )


def require_signal(name: str, s: NoiseLevel) -> None:
    """Raise ``ValueError`` if a step from ``alpha = 0`` has no limit for the solver of that name.

    At ``alpha = 0``, ``D = E[x_star]`` for every state, and ``lam`` is minus infinity. Solvers that
    combine outputs in data form take the first-order step. Solvers that divide by ``alpha_s`` would
    need the denoiser's derivative in ``alpha``, which no output gives.
    """
    if not has_signal(s):
        raise ValueError(
            f"from: alpha must be > 0 for {name}, whose step has no limit at alpha = 0, "
            f"got {s.alpha}; start above it, or take the first step with another solver (euler)"
        )


def first_order(s: NoiseLevel, t: NoiseLevel) -> LinearStep:
    """Return the coefficients of the first-order step (DDIM), exact for a constant denoiser.

    ``beta = (alpha_t - alpha_s) + alpha_s (1 - kappa)``. Nothing cancels: both terms are >= 0 if
    ``alpha`` does not decrease and ``sigma`` does not increase, and <= 0 the other way.
    """
    kappa, slack = t.sigma / s.sigma, (s.sigma - t.sigma) / s.sigma
    return LinearStep(kappa, slack, ((t.alpha - s.alpha) + s.alpha * slack,))


def log_snr_step(s: NoiseLevel, t: NoiseLevel) -> Any:
    """Return ``h = lam_t - lam_s``: negative up the noise, infinite at zero noise or signal."""
    if not has_noise(t) and isinstance(t.sigma, float):
        return float("inf")
    if not has_signal(s):
        if not getattr(s.alpha, "ndim", 0):
            return float("inf")
        with np.errstate(divide="ignore", invalid="ignore"):
            h = log_ratio(t.alpha, s.alpha) - log_ratio(t.sigma, s.sigma)
        return np.where(np.asarray(s.alpha) == 0, np.inf, h)
    return log_ratio(t.alpha, s.alpha) - log_ratio(t.sigma, s.sigma)
