"""Norms of a step's Jacobian and of the denoiser's, state by state and over a line."""

from typing import Any, NamedTuple

import numpy as np

from analytic import NoiseLevel
from analytic.quadrature import mixture_breaks
from steinlab.claims.instruments.random_steps import StepCases
from steinlab.claims.instruments.step_checks import couple, past_states
from steinlab.coefficient.forward_mode import Dual, on_duals
from steinlab.coefficient.rounding import step_sizes
from steinlab.coefficient.step_terms import Problem, take_step
from steinlab.solvers import EULER, first_order
from steinlab.solvers.step import Step

STATES = 16


class Slopes(NamedTuple):
    """Spectral norms of ``C`` steps at ``N`` states, ``(C, N)``; levels and ``beta`` ``(C, 1)``.

    ``step`` is ``|T'|``, ``denoiser`` is ``|D'|`` at ``s`` and ``later`` at the Euler state and
    ``t``. ``beta`` is the step's coefficient of ``D(x)``, and ``rounding`` the size, in ``eps``, of
    the sums that form ``step``.
    """

    s: tuple[np.ndarray, np.ndarray]
    t: tuple[np.ndarray, np.ndarray]
    step: np.ndarray
    denoiser: np.ndarray
    later: np.ndarray
    beta: np.ndarray
    rounding: np.ndarray


def residual_jacobian(step: Step) -> np.ndarray:
    """Return ``u'`` at every state, ``(C, N, d, d)``, by carrying tangents through the step."""
    dim = step.dim
    unit = np.broadcast_to(np.eye(dim)[:, None, None, :], (dim, *step.x.shape)).copy()
    denoise = on_duals(step.denoiser)  # type: ignore[arg-type]
    tangent = step.residual(Dual(step.x, unit), denoise).tangent
    return np.asarray(np.moveaxis(np.asarray(tangent), 0, -1))


def step_jacobian(step: Step) -> np.ndarray:
    """Return ``T' = I - u'`` at every state."""
    return np.asarray(np.eye(step.dim) - residual_jacobian(step))


def drive_size(step: Step) -> np.ndarray:
    """Return the size of the sums in ``T' - kappa I``, ``(C, N)``.

    ``beta (1 + c/beta (1 + |D'_hat| (1 + beta |D'|))) |D'|``: Heun's terms, which also bound those
    of other steps of at most two evaluations.
    """
    denoiser: Any = step.denoiser
    euler = EULER.step(step.denoiser, step.x, step.s, step.t, ())
    norm = spectral_norm(np.asarray(denoiser.jacobian(step.x, step.s)))
    own = first_order(step.s, step.t).betas[0][..., 0]
    linear = step.candidate.linear
    beta = np.abs(linear.betas[0][..., 0] if linear else own)
    later = spectral_norm(np.asarray(denoiser.jacobian(euler.state, step.t)))
    bend = 0.0 if linear else _heun_bend(step.s, step.t)
    return np.asarray(beta * (1 + bend * (1 + later * (1 + norm * own))) * norm)


class Bent:
    """A negative control: ``D(x) + R x`` with one random matrix ``R`` per case, ``(C, d, d)``.

    Its Jacobian is neither symmetric nor positive semidefinite, as an exact denoiser's is.
    """

    def __init__(self, law: Any, part: np.ndarray) -> None:
        self.law, self.part = law, part

    def __call__(self, x: Any, level: NoiseLevel) -> Any:
        """Denoise."""
        return self.law(x, level) + x @ np.swapaxes(self.part, -1, -2)

    def jvp(self, x: Any, level: NoiseLevel, tangent: Any) -> Any:
        """Return ``D' v``."""
        return self.law.jvp(x, level, tangent) + tangent @ np.swapaxes(self.part, -1, -2)

    def jacobian(self, x: Any, level: NoiseLevel) -> Any:
        """Return ``D'``."""
        return self.law.jacobian(x, level) + self.part[:, None]


def _bent(cases: StepCases) -> Bent:
    law = cases.problem.law
    draws = [
        np.random.default_rng([seed, 4]).standard_normal((law.dim,) * 2) for seed in cases.seeds
    ]
    size = np.sqrt((1 + law.second_moment()) / law.dim)[:, None, None]
    return Bent(law, np.stack(draws) * size)


def measure(cases: StepCases, *, bend: bool = False) -> Slopes:
    """Return the norms at states under the law of the step's first level.

    With ``bend`` the denoiser is the negative control :class:`Bent`.
    """
    p = cases.problem
    x = p.s.noised(*couple(cases, STATES))
    taken = take_step(p, x, past_states(cases))
    denoiser: Any = _bent(cases) if bend else p.law
    if bend:
        taken = Step.take(denoiser, p.solver, x, p.s, p.t)
    euler = EULER.step(denoiser, x, p.s, p.t, ())
    norm, later = (
        spectral_norm(np.asarray(denoiser.jacobian(y, level)))
        for y, level in ((x, p.s), (euler.state, p.t))
    )
    linear = taken.candidate.linear or first_order(p.s, p.t)
    beta = np.broadcast_to(linear.betas[0], (len(cases), 1, 1))[..., 0]
    kappa = np.asarray(p.t.sigma / p.s.sigma)[..., 0]
    rounding = x.shape[-1] * (1 + kappa + drive_size(taken))  # of the singular values
    pairs = [tuple(np.asarray(v)[..., 0] for v in (a.alpha, a.sigma)) for a in (p.s, p.t)]
    step = spectral_norm(step_jacobian(taken))
    return Slopes(pairs[0], pairs[1], step, norm, later, beta, rounding)  # type: ignore[arg-type]


def _heun_bend(s: NoiseLevel, t: NoiseLevel) -> Any:
    """Heun's ``c / beta = alpha' / (2 alpha kappa)``, ``(C, 1)``."""
    return (0.5 * (t.alpha / s.alpha) * (s.sigma / t.sigma))[..., 0]


def spectral_norm(jacobian: np.ndarray) -> np.ndarray:
    """Spectral norm, ``(C, N)``."""
    return np.asarray(np.linalg.svd(jacobian, compute_uv=False)[..., 0])


GRID = 2001
"""States of a component's reach that are searched for the supremum of ``D'``."""

ROUNDS = 18
"""Halvings of the cell around the best state; its width falls to 1e-8 of a panel."""


def supremum(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Return where ``D'`` is largest within ten deviations and its value, ``(C, 1)`` each."""
    breaks = mixture_breaks(problem.law, problem.s)
    fractions = np.linspace(0, 1, GRID)
    span = breaks[:, :1] + (breaks[:, -1:] - breaks[:, :1]) * fractions
    fine = np.sort(np.concatenate((span, _refined(breaks)), axis=1), axis=1)
    values = problem.law.divergence(fine[..., None], problem.s)
    best = np.argmax(values, axis=1)[:, None]
    last = fine.shape[1] - 1
    low = np.take_along_axis(fine, np.maximum(best - 1, 0), axis=1)
    high = np.take_along_axis(fine, np.minimum(best + 1, last), axis=1)
    for _ in range(ROUNDS):
        inner = low + (high - low) * np.linspace(0, 1, 9)
        slopes = problem.law.divergence(inner[..., None], problem.s)
        at = np.argmax(slopes, axis=1)[:, None]
        low = np.take_along_axis(inner, np.maximum(at - 1, 0), axis=1)
        high = np.take_along_axis(inner, np.minimum(at + 1, 8), axis=1)
    x = 0.5 * (low + high)
    return x, problem.law.divergence(x[..., None], problem.s)


def _refined(breaks: np.ndarray) -> np.ndarray:
    """States inside every panel."""
    width = np.diff(breaks, axis=1)[..., None]
    return np.asarray(
        (breaks[:, :-1, None] + width * np.linspace(0, 1, 40)).reshape(len(breaks), -1)
    )


def measure_secants(cases: StepCases) -> Slopes:
    """Return the steepest secant of ``T`` through states of the law and about ``D'``'s peak."""
    p = cases.problem
    x = p.s.noised(*couple(cases, 4 * STATES))[..., 0]
    peak, largest = supremum(p)
    breaks = mixture_breaks(p.law, p.s)
    scale = 1 + np.abs(p.law.means[..., 0]).max(axis=-1, keepdims=True)
    width = p.s.sigma[..., 0] ** 2 / (p.s.alpha[..., 0] * scale)
    width = np.minimum(width, 0.25 * (breaks[:, -1:] - breaks[:, :1]))
    half = 0.5 * width * np.geomspace(1e-4, 1, 9)
    middle = np.clip(peak, breaks[:, :1] + half, breaks[:, -1:] - half)
    near = (middle - half, middle + half)
    left = np.concatenate((x[:, ::2], near[0]), axis=1)
    right = np.concatenate((x[:, 1::2], near[1]), axis=1)
    ends = [take_step(p, v[..., None], None) for v in (left, right)]
    gap = right - left
    state = [e.candidate.state[..., 0] for e in ends]
    beta = first_order(p.s, p.t).betas[0][..., 0]
    size = sum(step_sizes(e)[0][..., 0] + np.abs(e.x[..., 0]) for e in ends)
    steepest = np.abs((state[1] - state[0]) / gap)
    tolerance = size / np.abs(gap)
    shape = steepest.shape
    pairs = [tuple(np.asarray(v)[..., 0] for v in (a.alpha, a.sigma)) for a in (p.s, p.t)]
    norm = np.broadcast_to(largest, shape)
    return Slopes(pairs[0], pairs[1], steepest, norm, norm, beta, tolerance)  # type: ignore[arg-type]
