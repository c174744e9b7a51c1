r"""The scalar terms of one step from which claims about the coefficient are built.

With ``u = x - T(x)`` and the forward coupling ``x = alpha x_star + sigma eps``, the terms are sums
over coordinates: those of a product law are the sums of its factors' terms. They are given per
state from samples (:func:`sampled_terms`) or integrated by quadrature (:func:`quadrature_terms`),
which also gives their absolute integrals and its own error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.memory import remembering
from analytic.quadrature import Sizes, columns, integrate, mixture_breaks
from steinlab.coefficient.divergence import Divergence, Exact, Hutchinson
from steinlab.coefficient.rounding import step_sizes
from steinlab.solvers import Evaluation, History, Solver
from steinlab.solvers.step import Step, inner


@dataclass(frozen=True)
class Terms:
    """Terms of ``C`` cases, shape ``(C,)`` when integrated, ``(C, N)`` per state.

    Attributes
    ----------
    u_x, div, u_u : array
        ``<u, x>``, ``div u``, ``|u|^2``.
    u_ref, u_tweedie : array
        ``<u, x - x_star>`` and ``<u, x - D>``.
    err, gap, mirror : array
        ``|x - x_star|^2``, ``|T - x_star|^2`` and ``|x + u - x_star|^2``: the objective
        ``J(gamma) = E|x - gamma u - x_star|^2`` at 0, 1 and -1.
    x_x : array
        ``|x|^2``.
    """

    u_x: np.ndarray
    div: np.ndarray
    u_u: np.ndarray
    u_ref: np.ndarray
    u_tweedie: np.ndarray
    err: np.ndarray
    gap: np.ndarray
    mirror: np.ndarray
    x_x: np.ndarray

    @staticmethod
    def names() -> tuple[str, ...]:
        """Return the names of the terms, in order."""
        return tuple(f.name for f in fields(Terms))

    def __add__(self, other: Terms) -> Terms:
        return Terms(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def scaled(self, factor: np.ndarray | float) -> Terms:
        """Return every term times ``factor``."""
        return Terms(*(getattr(self, f.name) * factor for f in fields(self)))

    def absolute(self) -> Terms:
        """Return the absolute value of every term."""
        return Terms(*(np.abs(getattr(self, f.name)) for f in fields(self)))

    def mean(self) -> Terms:
        """Average over states."""
        return Terms(*(getattr(self, f.name).mean(axis=-1) for f in fields(self)))


class Problem(NamedTuple):
    """``C`` steps of one solver on a stack of ``C`` laws; levels have shape ``(C, 1, 1)``.

    ``earlier`` is the level of the one past evaluation that a multistep solver uses, or None.
    """

    law: GaussianMixture
    s: NoiseLevel
    t: NoiseLevel
    solver: Solver
    earlier: NoiseLevel | None

    def take(self, index: Any) -> Self:
        """Return the cases ``index``."""
        s, t, earlier = (at(level, index) for level in (self.s, self.t, self.earlier))
        assert s is not None
        assert t is not None
        return type(self)(self.law.take(index), s, t, self.solver, earlier)


def at(level: NoiseLevel | None, index: Any) -> NoiseLevel | None:
    """Return a stack of levels at ``index``."""
    return level and NoiseLevel(level.alpha[index], level.sigma[index])


def terms_at(
    step: Step, x_star: np.ndarray, divergence: Divergence, rng: np.random.Generator
) -> Terms:
    """Return the terms of a step at states coupled to ``x_star``."""
    x, u = step.x, step.candidate.residual
    off = x - x_star
    return Terms(
        u_x=inner(x, u),
        div=np.asarray(divergence(step, rng)),
        u_u=inner(u, u),
        u_ref=inner(off, u),
        u_tweedie=inner(x - step.candidate.denoised, u),
        err=inner(off, off),
        gap=inner(step.candidate.state - x_star, step.candidate.state - x_star),
        mirror=inner(off + u, off + u),
        x_x=inner(x, x),
    )


def take_step(
    problem: Problem, x: np.ndarray, past: np.ndarray | None, history: History = ()
) -> Step:
    """Take the solver's step from ``x``, with the past evaluation at the state ``past``.

    The step's denoiser caches its posterior, which divergence and rounding need again.
    """
    law = remembering(problem.law)
    if problem.earlier is not None and past is not None:
        denoised = law(past, problem.earlier)
        history = (Evaluation(problem.earlier, past, denoised),)
    return Step.take(law, problem.solver, x, problem.s, problem.t, history=history)


EXACT_TRACE_DIM = 8
"""Above this dimension a nonlinear step's divergence is estimated: its exact trace costs ``d``."""


def sampled_terms(
    problem: Problem,
    x_star: np.ndarray,
    eps: np.ndarray,
    past: np.ndarray | None,
    *,
    rng: np.random.Generator,
    divergence: Divergence | None = None,
) -> Terms:
    """Return the terms per state, ``(C, N)``, of states ``(C, N, d)`` coupled to ``x_star``."""
    step = take_step(problem, problem.s.noised(x_star, eps), past)
    return terms_at(step, x_star, divergence or sampled_divergence(step), rng)


def sampled_divergence(step: Step) -> Divergence:
    """Return the exact divergence for linear steps and up to 8 dimensions, else one probe's."""
    probed = step.candidate.linear is None and step.dim > EXACT_TRACE_DIM
    return Hutchinson() if probed else Exact()


class Integrated(NamedTuple):
    """Integrated terms, the sizes of what was added up in them, and the quadrature's own error."""

    value: Terms
    size: Terms
    error: Terms

    def plus(self, other: Integrated, copies: np.ndarray) -> Integrated:
        """Add ``copies`` independent parts."""
        pairs = zip(self, other, strict=True)
        return Integrated(*(a + b.scaled(copies) for a, b in pairs))


GAUSS_HERMITE_3 = (np.array([-math.sqrt(3), 0.0, math.sqrt(3)]), np.array([1 / 6, 2 / 3, 1 / 6]))
"""Exact for the polynomials of degree at most 5 under the standard normal law."""


def quadrature_terms(
    problem: Problem,
    past: np.ndarray | None = None,
    *,
    breaks: np.ndarray | None = None,
    coupling: NoiseLevel | None = None,
) -> Integrated:
    r"""Integrate the terms of ``C`` one-dimensional cases over ``(x_star, eps)``.

    In component ``k`` the Gaussian measure of ``((x_star - m)/s, eps)`` is rotated so that one axis
    is ``x``: ``x_star = m + (alpha s^2 / v)(x - alpha m) + (s sigma / sqrt v) z``,
    ``v = alpha^2 s^2 + sigma^2``. The terms are at most quadratic in ``z``, which its first two
    moments integrate exactly; ``x`` is integrated adaptively. Terms with ``x_star`` contain neither
    responsibilities nor the denoiser, but for ``u``.

    Parameters
    ----------
    problem : Problem
        One-dimensional laws.
    past : array (C, 1, 1), optional
        The frozen state of the past evaluation.
    breaks : array (C, B), optional
        Where the step is not smooth.
    coupling : NoiseLevel, optional
        The level whose ``alpha x_star + sigma eps`` the states follow, if it is not the step's:
        then the forward coupling does not hold.
    """
    law, s = problem.law, coupling or problem.s
    variance = law.spectra[..., 0]
    alpha, sigma = s.alpha[..., 0], s.sigma[..., 0]
    v = alpha**2 * variance + sigma**2
    center = alpha * law.means[..., 0]

    gain, blur = alpha * variance / v, np.sqrt(variance / v) * sigma
    height = law.weights / np.sqrt(2 * math.pi * v)
    parts = [by_component(a) for a in (center, v, height, law.means[..., 0], gain, blur**2)]

    def integrand(case: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Sizes]:
        step = take_step(problem.take(case), x[..., None], None if past is None else past[case])
        middle, width, top, mean, slope, spread = (part[:, case] for part in parts)
        offset = x - middle  # (K, P, n)
        density = top * np.exp(-0.5 * offset**2 / width)
        return _integrands(step, Star(density, mean + slope * offset, spread, middle, width))

    marks = mixture_breaks(law, s)
    if breaks is not None:
        inside = np.clip(breaks, marks[:, :1], marks[:, -1:])
        marks = np.sort(np.concatenate((marks, inside), axis=1), axis=1)
    integral = integrate(integrand, marks, watched=Terms.names().index("div"))
    return Integrated(*(Terms(*part.T) for part in (integral.value, integral.size, integral.error)))


class Star(NamedTuple):
    """``x_star`` given ``x`` in each component: its mass, mean and variance, ``(K, P, n or 1)``.

    ``center`` and ``width`` are the component's mean and variance at the level, ``(K, P, 1)``.
    """

    density: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    center: np.ndarray
    width: np.ndarray


def by_component(values: np.ndarray) -> np.ndarray:
    """Return ``(C, K)`` as ``(K, C, 1)``, so that sums over components add whole arrays."""
    return np.ascontiguousarray(values.T)[..., None]


def _integrands(step: Step, star: Star) -> tuple[np.ndarray, Sizes]:
    """Return the terms times the density ``p`` and their sizes, each ``(P, n, 11)``.

    The last two, ``(u p)' = div u p + u p'`` and ``u p``, watch the divergence
    (:func:`analytic.quadrature.integrate`); their sizes include the effect of rounding in ``x`` and
    in the centres on ``p``. A size ``E|a b|`` is bounded by Cauchy and Schwarz.
    """
    x, u = step.x[..., 0], step.candidate.residual[..., 0]
    state, denoised = step.candidate.state[..., 0], step.candidate.denoised[..., 0]
    div = np.asarray(Exact()(step, np.random.default_rng(0)))
    mass, tweedie, total = star.density, x - denoised, star.density.sum(axis=0)
    squares = [(value - star.mean) ** 2 + star.spread for value in (x, state, x + u)]
    tilt = (x - star.center) / star.width
    pull = mass * tilt
    values = [
        *(total * v for v in (u * x, div, u * u)),
        u * (mass * (x - star.mean)).sum(axis=0),
        total * (u * tweedie),
        *((mass * square).sum(axis=0) for square in squares),
        total * x**2,
        total * div - u * pull.sum(axis=0),
        total * u,
    ]

    def sizes() -> np.ndarray:
        size_u, size_div = (size[..., 0] for size in step_sizes(step))
        reach = np.sqrt(star.mean**2 + star.spread)
        offs = [mass * np.sqrt(square) for square in squares]
        own = (np.abs(x), np.abs(x) + size_u, np.abs(x) + size_u)
        input_size = np.abs(x) * total + (mass * reach).sum(axis=0)
        off_size = size_u * np.abs(tweedie) + np.abs(u) * (np.abs(x) + np.abs(denoised))
        steep, bend = np.abs(pull).sum(axis=0), (pull * tilt + mass / star.width).sum(axis=0)
        shift = np.abs(x) + np.abs(star.center).max(axis=0)
        return columns(
            [
                *(total * v for v in (size_u * np.abs(x), size_div, 2 * np.abs(u) * size_u)),
                size_u * offs[0].sum(axis=0) + np.abs(u) * input_size,
                total * off_size,
                *(2 * (o * (size + reach)).sum(axis=0) for o, size in zip(offs, own, strict=True)),
                total * x**2,
                total * size_div + size_u * steep + np.abs(u) * bend * shift,
                total * size_u + np.abs(u) * steep * shift,
            ]
        )

    return columns(values), sizes
