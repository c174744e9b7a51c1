r"""The coefficient of one step by every route, on a law or on a model.

States are ``x = alpha x_star + sigma eps``. On a law, ``x_star`` follows it and the denoiser is
exact. On a network, ``x_star`` follows the law of its data if that is known, and ``reference`` is
the optimum towards the data. Otherwise ``x_star`` are ends of the network's own long runs
(:mod:`steinlab.solvers.reference_flow`), and ``reference`` is the optimum towards what the network
generates. Theorem 4.7 holds for every denoiser under either coupling, so ``stein`` and
``reference`` agree within their errors; ``tweedie`` differs by the score error along ``u``.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.memory import remembering
from analytic.quadrature import expect
from steinlab.coefficient.divergence import Exact, Hutchinson
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
)
from steinlab.diffusion.denoisers import Denoiser, HasDivergence, HasJvp
from steinlab.diffusion.grids import require_step
from steinlab.diffusion.laws import Law
from steinlab.diffusion.models import Model, load_model
from steinlab.errors import InputError, one_of
from steinlab.estimates import Estimate
from steinlab.solvers import Evaluation, LinearStep, Solver, get_solver
from steinlab.solvers.reference_flow import Progress, long_run
from steinlab.solvers.step import Step

COUPLING = (
    "each past evaluation is taken at x_prev = alpha_prev x_star + sigma_prev eps with the very "
    "x_star and eps of x: history shares the noise, as along a trajectory"
)
"""How :func:`coefficients` couples history."""

LAW_SAMPLES, MODEL_SAMPLES = 200_000, 1024

TRACE_PRODUCTS = 2**13
"""Jacobian-vector products that the exact traces of a network may take: ``dim`` per state."""

CERTIFIED = "certified"
"""The route of a proof, computed only if asked for by name."""


@dataclass(frozen=True)
class Coefficients(Mapping[str, Estimate]):
    """Estimates of ``gamma`` by route, the items of this mapping."""

    gamma: Mapping[str, Estimate]
    counts: Mapping[str, int]  # states that a sampled route is averaged over
    states: str = ""  # source of a model's states

    def __getitem__(self, route: str) -> Estimate:
        return self.gamma[route]

    def __iter__(self) -> Iterator[str]:
        return iter(self.gamma)

    def __len__(self) -> int:
        return len(self.gamma)


def coefficients(
    law: Law | Model | str,
    s: NoiseLevel,
    t: NoiseLevel,
    solver: Solver | str,
    *,
    history: Sequence[NoiseLevel] = (),
    routes: Sequence[str] | None = None,
    samples: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Coefficients:
    """Return ``gamma*`` by every route that applies, or by those asked for.

    On a mixture in one dimension without history the routes are integrated, and errors bound
    rounding and quadrature. Otherwise all are sampled on the same states, and errors are standard
    errors.

    Parameters
    ----------
    law : law, Model or str
        A data law with its exact denoiser (:class:`~steinlab.diffusion.laws.Law`), or a model or
        its name. Of a law that offers neither ``divergence`` nor ``jvp`` there is no route
        ``stein``.
    s, t : NoiseLevel
        The step.
    solver : Solver or str
    history : sequence of NoiseLevel
        Levels passed before ``s``, newest first; see :data:`COUPLING`.
    routes : sequence of str, optional
        ``reference``; ``stein``, on a network by exact traces on the first states, within
        :data:`TRACE_PRODUCTS`, and not from ``alpha = 0``, where it divides by alpha; ``tweedie``;
        ``three_scalar`` for first-order steps on a mixture; ``stein_hutchinson``, by one Rademacher
        probe per state, for a model with Jacobian products. By default all that apply.
        ``certified`` only if named: an enclosure of ``reference`` proved in ball arithmetic, for
        the binary values of the mixture and the levels.
    samples : int, optional
        For the sampled routes: 200,000 on a law, 1024 on a model.
    seed : int
    progress : callable, optional
        Called with the fraction done of a network's long run, where one is needed.

    Raises
    ------
    InputError
        If a route does not apply, or a model is not made for the noise of a level.

    Examples
    --------
    >>> law = GaussianMixture([0.3, 0.7], [-1.0, 1.5], [0.16, 0.49])
    >>> gammas = coefficients(law, NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.5), "euler")
    >>> {name: round(gamma.value, 12) for name, gamma in gammas.items()}
    {'reference': 2.0, 'stein': 2.0, 'tweedie': 2.0, 'three_scalar': 2.0}
    """
    require_step(s, t)
    solver = get_solver(solver)
    past = tuple(history[: solver.depth])
    if isinstance(law, Model | str):
        model, n = load_model(law) if isinstance(law, str) else law, samples or MODEL_SAMPLES
        found = _of_model(model, solver, (s, t, past), samples=n, seed=seed, progress=progress)
    elif isinstance(law, GaussianMixture) and law.dim == 1 and not past:
        found = Coefficients(_integrated(law, s, t, solver), {})
    else:
        found = _of_law(law, solver, (s, t, past), samples=samples or LAW_SAMPLES, seed=seed)
    if routes is None:
        return found
    gamma = dict(found.gamma)
    if CERTIFIED in routes and isinstance(law, GaussianMixture) and not past:
        gamma[CERTIFIED] = _certified(law, s, t, solver)
    known = {one_of("routes", route, gamma): None for route in routes}
    counts = {route: found.counts[route] for route in known if route in found.counts}
    return Coefficients({route: gamma[route] for route in known}, counts, found.states)


def _certified(law: GaussianMixture, s: NoiseLevel, t: NoiseLevel, solver: Solver) -> Estimate:
    from analytic.certified.balls import missing
    from analytic.certified.steps import ExactStep
    from steinlab.coefficient.certified import certified_gamma, exact_mixture

    if reason := missing():
        raise InputError(f"routes: {CERTIFIED}: {reason}")
    step = ExactStep.of(solver.name, (s.alpha, s.sigma), (t.alpha, t.sigma))
    proved = certified_gamma(exact_mixture(law), step)
    value = float(proved.mid)
    return Estimate(value, float(proved.radius) + EPS * abs(value))


Levels = tuple[NoiseLevel, NoiseLevel, tuple[NoiseLevel, ...]]
"""Where a step begins and ends, and what it passed before, newest first."""


def coupled_step(
    denoiser: Denoiser, solver: Solver, levels: Levels, x_star: np.ndarray, rng: np.random.Generator
) -> Step:
    """Take a step ``(s, t, past)`` at ``x_star`` and fresh noise, coupled by :data:`COUPLING`."""
    (s, t, past), eps = levels, rng.standard_normal(x_star.shape)
    states = [(level, level.noised(x_star, eps)) for level in past]
    history = tuple(Evaluation(level, state, denoiser(state, level)) for level, state in states)
    return Step.take(denoiser, solver, s.noised(x_star, eps), s, t, history=history)


def _integrated(
    law: GaussianMixture, s: NoiseLevel, t: NoiseLevel, solver: Solver
) -> dict[str, Estimate]:
    stack = GaussianMixture(law.weights[None], law.means[None], law.spectra[None, :, 0])
    wide = [NoiseLevel(*(np.full((1, 1, 1), v) for v in (a.alpha, a.sigma))) for a in (s, t)]
    terms = quadrature_terms(Problem(stack, wide[0], wide[1], solver, None))
    weights = {"reference": {"u_ref": 1.0}}
    if s.alpha:
        weights["stein"] = {"u_x": 1 - 1 / s.alpha, "div": s.sigma**2 / s.alpha}
    weights["tweedie"] = {"u_tweedie": 1.0}
    out = {name: _ratio(terms, form) for name, form in weights.items()}
    linear = solver.step(law, np.zeros((1, 1)), s, t, ()).linear
    if linear is not None and len(linear.betas) == 1:
        value, size, error = expect(lambda x: law.posterior_variance(x, s)[:, None], law, s).single
        bound = error + ROUNDING * EPS * size
        out["three_scalar"] = _from_scalars(law, s, linear, Mean(value, bound, 0.0))
    return out


def _range(law: GaussianMixture, s: NoiseLevel) -> float:
    """Return a bound of the range of ``V(x)``.

    ``n`` draws may miss a set of states of mass ``3 / n`` (at 95 %), such as those between modes,
    where ``V`` is large; their scatter does not show it. Component variances are ``l sigma^2 / v``,
    and posterior means differ by at most ``sigma^2 / v`` times the distance of the data's means.
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

    Running error analysis (:class:`Sized`) follows ``M``, ``V`` and the formula, whose terms cancel
    for means far out and small steps. A sum of ``K`` products carries ``(K + 2) eps / 2``. ``V`` is
    a mean of ``|mu_k - D|^2``, differences of numbers of mean square at most ``M``, hence off by
    ``2 eps sqrt(M V)`` (Cauchy and Schwarz). An error ``e`` of ``V`` changes the ratio by

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


def _of_law(law: Any, solver: Solver, levels: Levels, *, samples: int, seed: int) -> Coefficients:
    s, rng = levels[0], np.random.default_rng(seed)
    x_star = law.sample(samples, rng)
    step = coupled_step(remembering(law), solver, levels, x_star, rng)
    gamma = {"reference": reference_route(step, x_star)}
    known = isinstance(law, HasDivergence) and step.candidate.linear is not None
    if s.alpha and (known or isinstance(law, HasJvp)):
        gamma["stein"] = stein_route(step, sampled_divergence(step)(step, rng))
    gamma["tweedie"] = tweedie_route(step)
    linear = step.candidate.linear
    if isinstance(law, GaussianMixture) and linear is not None and len(linear.betas) == 1:
        v = law.posterior_variance(step.x, s)
        spread = math.hypot(v.std(ddof=1) / math.sqrt(samples), 3 * _range(law, s) / samples)
        mean = Mean(float(v.mean()), 0.0, spread)
        gamma["three_scalar"] = _from_scalars(law, s, linear, mean)
    return Coefficients(gamma, dict.fromkeys(gamma, samples))


def clean_states(
    model: Model, n: int, rng: np.random.Generator, progress: Progress | None = None
) -> tuple[np.ndarray, str]:
    """Return ``n`` states ``(n, d)`` without noise, and a phrase that names their source."""
    if model.exact_law is not None:
        return model.exact_law.sample(n, rng), "the model's exact law, noised forward"
    if model.data_law is not None:
        return model.data_law().sample(n, rng), "the law of the model's data, noised forward"
    process = model.process()
    x = model.start(process.level_at(process.ratio_max), n, rng)
    run = long_run(model.denoiser, x, process, estimate_error=False, progress=progress)
    return run.state, "the network's own long run, noised forward"


def _of_model(
    model: Model,
    solver: Solver,
    levels: Levels,
    *,
    samples: int,
    seed: int,
    progress: Progress | None,
) -> Coefficients:
    _require_range(model, (levels[0], *levels[2]))
    rng = np.random.default_rng(seed)
    x_star, words = clean_states(model, samples, rng, progress)
    step = coupled_step(model.denoiser, solver, levels, x_star, rng)
    exact = step.candidate.linear is not None and isinstance(step.denoiser, HasDivergence)
    first = step.head(samples if exact else max(2, TRACE_PRODUCTS // model.dim))
    gamma = {"reference": reference_route(step, x_star)}
    if levels[0].alpha:
        gamma["stein"] = stein_route(first, Exact()(first, rng))
    if levels[0].alpha and isinstance(model.denoiser, HasJvp):
        gamma["stein_hutchinson"] = stein_route(step, Hutchinson()(step, rng))
    gamma["tweedie"] = tweedie_route(step)
    counts = dict.fromkeys(gamma, samples) | ({"stein": first.states} if "stein" in gamma else {})
    return Coefficients(gamma, counts, words)


def _require_range(model: Model, levels: tuple[NoiseLevel, ...]) -> None:
    if model.sigma_range is None:
        return
    low, high = model.sigma_range
    for level in levels:
        if not low * (1 - 1e-9) <= level.ratio <= high * (1 + 1e-9):
            raise InputError(
                f"sigma/alpha must be in {low:.4g} to {high:.4g} for {model.name}, "
                f"got {level.ratio:.6g}"
            )
