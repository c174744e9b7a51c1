"""Every estimator of the coefficient of one step on a known law, side by side."""

from __future__ import annotations

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.quadrature import expect
from steinlab.coefficient import (
    LawScalars,
    estimate,
    reference_numerator,
    stein_numerator,
    three_scalar,
    tweedie_numerator,
)
from steinlab.estimates import Estimate
from steinlab.grids import require_step
from steinlab.solvers import Evaluation, Solver
from steinlab.terms import (
    Integrated,
    Problem,
    quadrature_terms,
    sampled_divergence,
    take_step,
)
from steinlab.verdicts import EPS, ROUNDING

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
        scalars = LawScalars(float(law.second_moment()), float(integral.value[0, 0]), law.dim)
        gamma = three_scalar(scalars, s, linear)
        size = (integral.error + ROUNDING * EPS * integral.size)[0, 0] * linear.betas[0] ** 2
        rounding = ROUNDING * EPS * float(terms.size.u_u[0])
        spread = (size + rounding) / float(terms.value.u_u[0])
        out["three_scalar"] = Estimate(gamma, (1 + abs(gamma)) * spread)
    return out


def _ratio(terms: Integrated, form: dict[str, float]) -> Estimate:
    """Return the ratio with ``E|u|^2`` and its error from rounding and quadrature."""
    value, size, error = terms
    numerator = sum(c * getattr(value, name)[0] for name, c in form.items())
    slack = sum(
        abs(c) * (ROUNDING * EPS * getattr(size, name)[0] + getattr(error, name)[0])
        for name, c in form.items()
    )
    power = float(value.u_u[0])
    gamma = float(numerator) / power
    below = ROUNDING * EPS * float(size.u_u[0]) + float(error.u_u[0])
    return Estimate(gamma, (float(slack) + abs(gamma) * below) / power)


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
    x = s.alpha * x_star + s.sigma * eps
    past: list[Evaluation] = []
    for level in history:
        state = level.alpha * x_star + level.sigma * eps
        past.append(Evaluation(level, state, law(state, level)))
    step = take_step(Problem(law, s, t, solver, None), x, None, tuple(past))
    u = step.candidate.residual
    div = sampled_divergence(step)(step, rng)
    out = {
        "reference": estimate(reference_numerator(x, u, x_star), u),
        "stein": estimate(stein_numerator(x, u, div, s), u),
        "tweedie": estimate(tweedie_numerator(x, u, step.candidate.denoised), u),
    }
    linear = step.candidate.linear
    if linear is not None and len(linear.betas) == 1:
        variance = law.posterior_variance(x, s)
        mean, error = float(variance.mean()), float(variance.std() / np.sqrt(samples))
        moment = float(law.second_moment())
        values = [
            three_scalar(LawScalars(moment, v, law.dim), s, linear) for v in (mean, mean + error)
        ]
        out["three_scalar"] = Estimate(values[0], abs(values[1] - values[0]))
    return out
