r"""Collinear mixtures in any dimension by a line times a radius.

Isotropic components with means on the first axis are symmetric about it, and so is every step on
them: with ``r`` the distance from the axis the integrands depend on ``(x_1, r)`` alone. States lie
on the half-plane ``x = (x_1, r, 0, ..., 0)``, the solver runs in all ``d`` dimensions, and

    E f = sum_k w_k int int f N(x_1; alpha m_k, v_k) chi_{d-1}(r; v_k) dx_1 dr.

Unlike laws with one shared variance, these do not factorise: the responsibilities depend on ``r``.
"""

from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from scipy.special import gammaln

from analytic import GaussianMixture
from analytic.quadrature import composite_rule
from steinlab.claims.instruments.linear_forms import Identity, combine
from steinlab.claims.instruments.random_steps import StepCases, draw_levels, level_of, log_uniform
from steinlab.coefficient.divergence import Exact
from steinlab.coefficient.step_terms import Problem, Terms, take_step
from steinlab.solvers import SOLVERS
from steinlab.solvers.step import inner
from steinlab.verification.claim import Check, Effort
from steinlab.verification.comparison import Comparison

NODES = (10, 14)
"""Gauss-Legendre nodes per panel of the coarse and the fine rule; their difference is the error."""

REACH = np.array([0.0, 1.5, 3.0, 4.5, 6.5, 9.0])
"""Breaks about a centre in standard deviations; a mass of 2e-19 lies beyond the last."""

SMOOTHING = 1e-12
"""Rounding of the sums over some ten thousand nodes, relative to the absolute integrals. Levels
are kept moderate (ratio within 0.05 to 20), where nothing cancels further."""

ELEMENTS = 2**17
"""Coordinates of the nodes that are evaluated at a time: temporaries then fit in a cache."""

STEPS = (
    ("euler", 3), ("euler", 64), ("heun", 3), ("heun", 8), ("dpmpp-2m", 3), ("dpmpp-2m", 8),
)  # fmt: skip
"""Solvers and dimensions; the exact trace of Heun's step costs ``d`` tangents per node."""

FAMILIES = ("edm", "vp-linear", "flow")


class MeridianCases(StepCases):
    """One step on a collinear mixture with a variance of its own for each component."""


def draw(effort: Effort) -> list[MeridianCases]:
    """Draw a case for every solver and dimension, on each geometry in turn."""
    return [
        _draw_one(effort.rng, name, dim, FAMILIES[repeat % len(FAMILIES)])
        for repeat in range(effort.count(1))
        for name, dim in STEPS
    ]


def _draw_one(rng: np.random.Generator, name: str, dim: int, family: str) -> MeridianCases:
    s, t, earlier = draw_levels(rng, 1, family, final_zero=False, longest=2.0, ratios=(0.05, 20.0))
    count = 2 if dim > 8 else int(rng.integers(2, 4))
    weights = rng.dirichlet(np.ones(count), 1)
    means = np.zeros((1, count, dim))
    means[..., 0] = 2 * rng.standard_normal((1, count))
    law = GaussianMixture(
        weights / weights.sum(), means, log_uniform(rng, 0.3, 2.0, (1, count)) ** 2
    )
    solver = SOLVERS[name]
    problem = Problem(law, s, t, solver, earlier if solver.depth else None)
    return MeridianCases(problem, rng.integers(2**32, size=1), np.array([dim]))


def measure(cases: MeridianCases) -> tuple[Any, Terms, Terms, Terms]:
    """Integrate the terms by the fine rule; return the levels, values, absolute values, errors."""
    coarse, fine = (_integrate(cases, nodes) for nodes in NODES)
    error = Terms(*(np.abs(getattr(fine[0], n) - getattr(coarse[0], n)) for n in Terms.names()))
    s = cases.problem.s
    return (s.alpha[:, 0, 0], s.sigma[:, 0, 0]), fine[0], fine[1], error


def _integrate(cases: MeridianCases, nodes: int) -> tuple[Terms, Terms]:
    p = cases.problem
    law, s = p.law.take(0), level_of(p.s)
    dim = law.dim
    variance = s.alpha**2 * law.spectra[:, 0] + s.sigma**2
    line, line_weights = composite_rule(_breaks(s.alpha * law.means[:, 0], variance), nodes)
    middle = np.sqrt(np.maximum(dim - 1.5, 0.5) * variance)
    radius, radius_weights = composite_rule(
        np.clip(_breaks(middle, 0.6 * variance), 0.0, None), nodes
    )
    x = np.zeros((len(line) * len(radius), dim))
    x[:, 0], x[:, 1] = np.repeat(line, len(radius)), np.tile(radius, len(line))
    offset = x[:, :1] - s.alpha * law.means[:, 0]
    r = x[:, 1:2]
    log_density = -0.5 * (offset**2 + r**2) / variance - 0.5 * dim * np.log(variance)
    log_density += (dim - 2) * np.log(r) - 0.5 * np.log(2 * np.pi)
    log_density -= 0.5 * (dim - 3) * np.log(2.0) + gammaln(0.5 * (dim - 1))
    weights = (line_weights[:, None] * radius_weights).reshape(-1, 1)
    mass = law.weights * np.exp(log_density) * weights
    starts = range(0, len(x), max(1, ELEMENTS // dim))
    parts = [_terms(cases, x[i : i + starts.step], mass[i : i + starts.step]) for i in starts]
    value, absolute = (reduce(add, terms) for terms in zip(*parts, strict=True))
    return value, absolute


def _terms(cases: MeridianCases, x: np.ndarray, mass: np.ndarray) -> tuple[Terms, Terms]:
    """Sum the terms over nodes ``(n, d)`` with masses ``(n, K)``, and their absolute values."""
    p = cases.problem
    law, s, t = p.law.take(0), level_of(p.s), level_of(p.t)
    plain = Problem(law, s, t, p.solver, None if p.earlier is None else level_of(p.earlier))
    step = take_step(plain, x, _past(cases, x))
    u = step.candidate.residual
    div = np.asarray(Exact()(step, np.random.default_rng(0)))
    gain = s.alpha * law.spectra[:, 0] / (s.alpha**2 * law.spectra[:, 0] + s.sigma**2)
    means, half_plane = law.means[:, :2], x[:, None, :2]  # x_star is 0 beyond, on average
    star = means + gain[:, None] * (half_plane - s.alpha * means)  # (n, K, 2)
    reference = (u[:, None, :2] * (half_plane - star)).sum(axis=-1)
    zero = np.zeros((len(x), 1))
    own = [v[:, None] for v in (inner(x, u), div, inner(u, u))]
    tweedie = inner(x - step.candidate.denoised, u)[:, None]
    values = [*own, reference, tweedie, zero, zero, zero, zero]
    return (
        Terms(*(np.array([(mass * v).sum()]) for v in values)),
        Terms(*(np.array([(mass * np.abs(v)).sum()]) for v in values)),
    )


def _past(cases: MeridianCases, x: np.ndarray) -> np.ndarray | None:
    """Return a frozen past state on the axis, so that the symmetry holds."""
    earlier = cases.problem.earlier
    if earlier is None:
        return None
    rng = np.random.default_rng([int(cases.seeds[0]), 1])
    state = np.zeros_like(x)
    state[:, 0] = float(earlier.sigma[0, 0, 0]) * rng.standard_normal()
    return state


def _breaks(centers: np.ndarray, variance: np.ndarray) -> np.ndarray:
    steps = np.concatenate((-REACH[:0:-1], REACH))
    return np.sort((centers[:, None] + np.sqrt(variance)[:, None] * steps).ravel())


def compare(data: tuple[Any, Terms, Terms, Terms], identity: Identity) -> Comparison:
    """Compare two forms per unit of ``E|u|^2``, within quadrature error and rounding."""
    (alpha, sigma), value, absolute, error = data
    sides = [combine(form, value, alpha, sigma) for form in identity]
    tolerance = np.zeros_like(alpha)
    for form in identity:
        for name, c in form(alpha, sigma).items():
            tolerance = tolerance + np.abs(c) * (
                getattr(error, name) + SMOOTHING * getattr(absolute, name)
            )
    power = value.u_u
    return Comparison(sides[0] / power, sides[1] / power, tolerance / power)


def restore(case: Mapping[str, Any]) -> MeridianCases:
    """Read one case back."""
    plain = StepCases.restore(case)
    return MeridianCases(plain.problem, plain.seeds, plain.dims)


MERIDIAN = Check(
    "line times radius",
    "quadrature",
    restore,
    draw=draw,
    measure=measure,
    compare=compare,
    seconds=8,
)
"""Collinear mixtures in 3, 8 and 64 dimensions."""
