"""Every estimator of the coefficient of one step on a known law, side by side."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.quadrature import expect
from steinlab.coefficient.formulas import (
    LawScalars,
    reference_route,
    stein_route,
    three_scalar_moments,
    tweedie_route,
)
from steinlab.coefficient.rounding import EPS, ROUNDING, Sized
from steinlab.coefficient.step_terms import (
    Integrated,
    Problem,
    quadrature_terms,
    sampled_divergence,
    take_step,
)
from steinlab.diffusion.grids import require_step
from steinlab.estimates import Estimate
from steinlab.solvers import Evaluation, LinearStep, Solver

COUPLING = (
    "each past evaluation is taken at x_prev = alpha_prev x_star + sigma_prev eps with the very "
    "x_star and eps of x: history shares the noise, as along a trajectory"
)
"""How :func:`coefficients` couples history."""


def coefficients(
    law: GaussianMixture,
    s: NoiseLevel,
    t: NoiseLevel,
    solver: Solver,
    *,
    history: tuple[NoiseLevel, ...] = (),
    samples: int = 200_000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return ``gamma*`` by every route that applies.

    In one dimension without history the routes are integrated, ``reference`` over
    ``(x_star, eps)``, and errors bound rounding and quadrature; otherwise they are sampled, all on
    the same states, and errors are standard errors.

    Parameters
    ----------
    law : GaussianMixture
    s, t : NoiseLevel
        The step.
    solver : Solver
    history : tuple of NoiseLevel
        Levels passed before ``s``, newest first; see :data:`COUPLING`.
    samples, seed : int
        For the sampled routes.

    Returns
    -------
    dict
        ``reference``, ``stein``, ``tweedie``, and ``three_scalar`` for first-order steps.

    Examples
    --------
    >>> from steinlab.solvers import EULER
    >>> law = GaussianMixture([0.3, 0.7], [-1.0, 1.5], [0.16, 0.49])
    >>> gammas = coefficients(law, NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.5), EULER)
    >>> {name: round(gamma.value, 12) for name, gamma in gammas.items()}
    {'reference': 2.0, 'stein': 2.0, 'tweedie': 2.0, 'three_scalar': 2.0}
    """
    require_step(s, t)
    history = history[: solver.depth]
    if law.dim == 1 and not history:
        return _integrated(law, s, t, solver)
    return _sampled(law, s, t, solver, history, samples=samples, seed=seed)


def _integrated(
    law: GaussianMixture, s: NoiseLevel, t: NoiseLevel, solver: Solver
) -> dict[str, Estimate]:
    stack = GaussianMixture(law.weights[None], law.means[None], law.spectra[None, :, 0])
    wide = [NoiseLevel(*(np.full((1, 1, 1), v) for v in (a.alpha, a.sigma))) for a in (s, t)]
    terms = quadrature_terms(Problem(stack, wide[0], wide[1], solver, None))
    weights = {
        "reference": {"u_ref": 1.0},
        "stein": {"u_x": 1 - 1 / s.alpha, "div": s.sigma**2 / s.alpha},
        "tweedie": {"u_tweedie": 1.0},
    }
    out = {name: _ratio(terms, form) for name, form in weights.items()}
    linear = solver.step(law, np.zeros((1, 1)), s, t, ()).linear
    if linear is not None and len(linear.betas) == 1:
        integral = expect(lambda x: law.posterior_variance(x, s)[:, None], law, s)
        value, size, error = (
            float(part[0, 0]) for part in (integral.value, integral.size, integral.error)
        )
        bound = error + ROUNDING * EPS * size
        out["three_scalar"] = _from_scalars(law, s, linear, Mean(value, bound, 0.0))
    return out


def _range(law: GaussianMixture, s: NoiseLevel) -> float:
    """Return how far ``V`` may rise: its range over the components, and the spread of their means.

    Where modes lie apart it rises on the few states between them. A set of states that ``n`` draws
    miss has a mass of at most ``3 / n`` (at 95 %), and the scatter of the draws knows nothing of
    it. A component has the posterior variances ``l sigma^2 / v``; their means differ by those of
    the data times ``sigma^2 / v`` at the most.
    """
    spectra = np.broadcast_to(law.spectra, law.means.shape)[law.weights > 0]
    away = ((law.means - law.mean()) ** 2).sum(axis=-1)[law.weights > 0]
    noise = s.sigma**2 / (s.alpha**2 * spectra + s.sigma**2)
    within = (spectra * noise).sum(axis=-1)
    return float((away * noise.max() ** 2 + within).max() - within.min())


class Mean(NamedTuple):
    """``V`` of a law at a level with a bound of its error, rounding apart, and a standard error."""

    value: float
    bound: float
    spread: float


def _from_scalars(
    law: GaussianMixture, s: NoiseLevel, step: LinearStep, variance: Mean
) -> Estimate:
    r"""Return ``three_scalar`` with its error: a bound of rounding, and what is unknown of ``V``.

    ``M``, ``V`` and the formula are followed by running error analysis (:class:`Sized`), so every
    term counts in absolute value: of means far out and of small steps little is left of them. A sum
    of ``K`` products carries ``(K + 2) eps / 2``. ``V`` is a mean of ``|mu_k - D|^2``, differences
    of numbers of mean square at most ``M``, hence off by ``2 eps sqrt(M V)`` (Cauchy and Schwarz).
    A standard error ``e`` of ``V`` moves numerator and power together, in full by

        |gamma(V + e) - gamma(V)| = |beta (1 - beta gamma) e| / |E|u|^2 - beta^2 e|,

    which is zero in EDM, where no ``V`` matters.
    """
    m, (v, bound, spread) = float(law.second_moment()), variance
    unit, beta = ROUNDING * EPS, step.betas[0]
    moment = Sized(np.array(m), np.array(m * (1 + law.weights.size / ROUNDING)))
    known = Sized(np.array(v), np.array(v + 2 * math.sqrt(m * v) + bound / unit))
    _, _, *parts = three_scalar_moments(LawScalars(moment, known, law.dim), s, step)
    (power, below), cross = ((float(part.value), unit * float(part.size)) for part in parts)
    found, left = _quotient(cross, (power, below)), power - below - beta**2 * spread
    moved = abs(beta * (1 - beta * found.value)) * spread
    return Estimate(found.value, found.error + moved / left if left > 0 else math.inf)


def _ratio(terms: Integrated, form: dict[str, float]) -> Estimate:
    """Return the ratio with ``E|u|^2`` and its error from rounding and quadrature."""
    value, size, error = terms
    numerator = sum(c * getattr(value, name)[0] for name, c in form.items())
    slack = sum(
        abs(c) * (ROUNDING * EPS * getattr(size, name)[0] + getattr(error, name)[0])
        for name, c in form.items()
    )
    below = ROUNDING * EPS * size.u_u[0] + error.u_u[0]
    return _quotient((float(numerator), float(slack)), (float(value.u_u[0]), float(below)))


def _quotient(numerator: tuple[float, float], power: tuple[float, float]) -> Estimate:
    """Return ``p / q`` of numbers known within ``a`` and ``b``, with a bound of its error.

    ``|p/q - p*/q*| <= (a + |p/q| b) / (q - b)``; infinite where ``q <= b`` and ``q*`` may be 0.
    """
    (p, a), (q, b) = numerator, power
    gamma = p / q if q else math.nan
    return Estimate(gamma, (a + abs(gamma) * b) / (q - b) if q > b else math.inf)


def _sampled(
    law: GaussianMixture,
    s: NoiseLevel,
    t: NoiseLevel,
    solver: Solver,
    history: tuple[NoiseLevel, ...],
    *,
    samples: int,
    seed: int,
) -> dict[str, Estimate]:
    rng = np.random.default_rng(seed)
    x_star = law.sample(samples, rng)
    eps = rng.standard_normal(x_star.shape)
    x = s.noised(x_star, eps)
    past: list[Evaluation] = []
    for level in history:
        state = level.noised(x_star, eps)
        past.append(Evaluation(level, state, law(state, level)))
    step = take_step(Problem(law, s, t, solver, None), x, None, tuple(past))
    out = {
        "reference": reference_route(step, x_star),
        "stein": stein_route(step, sampled_divergence(step)(step, rng)),
        "tweedie": tweedie_route(step),
    }
    linear = step.candidate.linear
    if linear is not None and len(linear.betas) == 1:
        v = law.posterior_variance(x, s)
        spread = math.hypot(v.std(ddof=1) / math.sqrt(samples), 3 * _range(law, s) / samples)
        out["three_scalar"] = _from_scalars(law, s, linear, Mean(float(v.mean()), 0.0, spread))
    return out
