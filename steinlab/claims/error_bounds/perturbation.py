r"""Both sides of the perturbation bound, integrated under another law ``q`` than the model's ``p``.

Under ``q``, with the model's denoiser ``D``, its score ``s = (alpha D - x) / sigma^2`` and a step's
residual ``u``,

    gamma_tilde = [(1 - 1/alpha) E_q<u,x> + (sigma^2/alpha) E_q div u] / E_q|u|^2,
    gamma_q = E_q<u, x - D> / E_q|u|^2,      F = E_q|s - s_q|^2.

Stein's identity under ``q`` gives ``gamma_tilde - gamma_q = (sigma^2/alpha) E_q<u, s - s_q> /
E_q|u|^2``; the left side is computed from ``div u``, without ``s_q``.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.memory import remembering
from analytic.quadrature import Sizes, columns, integrate, mixture_breaks
from steinlab.claims.instruments.random_steps import StepCases, draw_law, draw_levels
from steinlab.claims.instruments.step_spaces import FAMILIES
from steinlab.coefficient.divergence import Exact
from steinlab.coefficient.rounding import EPS, ROUNDING, step_sizes
from steinlab.coefficient.step_terms import Problem, quadrature_terms, take_step
from steinlab.solvers import SOLVERS
from steinlab.verification.claim import Effort
from steinlab.verification.comparison import Comparison

FORMS = ("coefficient", "state")


@dataclass(frozen=True)
class PairCases:
    """Steps of a model with the law ``p``, taken at states of another mixture ``q``.

    Two cases each: the bound's coefficient form and its state form.
    """

    dataset: ClassVar[str | None] = None

    problem: Problem
    other: GaussianMixture

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(FORMS) * len(self.other.weights)

    def describe(self, index: int) -> dict[str, Any]:
        """Return one case as JSON."""
        pair, form = divmod(index, len(FORMS))
        count = len(self.other.weights)
        model = StepCases(self.problem, np.zeros(count, dtype=int), np.ones(count, dtype=int))
        case = model.describe(pair)
        model_only = StepCases(self.problem._replace(law=self.other), model.seeds, model.dims)
        return {**case, "states": model_only.describe(pair)["data"], "form": FORMS[form]}

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read the case back; both of its forms are computed again."""
        model = StepCases.restore(case)
        states = StepCases.restore({**case, "data": case["states"]})
        return cls(model.problem, states.problem.law)


class Perturbed(NamedTuple):
    """Integrals of ``C`` steps, ``(C,)`` each, with bounds of their errors.

    ``tilde`` and ``tweedie`` are the numerators of both coefficients, ``power`` is ``E_q|u|^2``,
    ``fisher`` is ``F``; ``optimum`` is ``gamma*`` under ``p`` where it was asked for.
    """

    alpha: np.ndarray
    sigma: np.ndarray
    tilde: np.ndarray
    tweedie: np.ndarray
    power: np.ndarray
    fisher: np.ndarray
    error: np.ndarray  # of tilde - tweedie
    power_error: np.ndarray
    fisher_error: np.ndarray
    optimum: np.ndarray
    optimum_error: np.ndarray

    @property
    def gap(self) -> np.ndarray:
        """``|gamma_tilde - gamma_q|``."""
        return np.asarray(np.abs(self.tilde - self.tweedie) / self.power)


class Bounds(NamedTuple):
    """The bound in both forms: ``Perturbed -> (C,)``."""

    coefficient: Callable[[Perturbed], np.ndarray]
    state: Callable[[Perturbed], np.ndarray]


def coefficient_bound(data: Perturbed) -> np.ndarray:
    """``sigma^2 / (alpha |u|_{L2(q)}) sqrt F``."""
    return np.asarray(data.sigma**2 / data.alpha * np.sqrt(data.fisher / data.power))


def state_bound(data: Perturbed) -> np.ndarray:
    """``(sigma^2 / alpha) sqrt F``."""
    return np.asarray(data.sigma**2 / data.alpha * np.sqrt(data.fisher))


BOUNDS = Bounds(coefficient_bound, state_bound)

FALSE_BOUNDS: Mapping[str, Bounds] = {
    "constant lowered by 10 %": Bounds(
        lambda d: 0.9 * coefficient_bound(d), lambda d: 0.9 * state_bound(d)
    ),
    "sigma instead of sigma^2": Bounds(
        lambda d: coefficient_bound(d) / d.sigma, lambda d: state_bound(d) / d.sigma
    ),
    "1/alpha dropped": Bounds(
        lambda d: coefficient_bound(d) * d.alpha, lambda d: state_bound(d) * d.alpha
    ),
    "F instead of its root": Bounds(
        lambda d: coefficient_bound(d) * np.sqrt(d.fisher),
        lambda d: state_bound(d) * np.sqrt(d.fisher),
    ),
    "|u|^2 instead of |u|": Bounds(lambda d: coefficient_bound(d) / np.sqrt(d.power), state_bound),
}
"""Formulas that the checks must reject."""


def compare_bounds(data: Perturbed, bounds: Bounds) -> Comparison:
    """Compare ``|gamma_tilde - gamma_q|`` with the bound, and times ``|u|`` with the other form."""
    return _interleave(data, data.gap, data.error / data.power, bounds)


def compare_optimum(data: Perturbed, bounds: Bounds) -> Comparison:
    """Compare with the other reading, ``|gamma_tilde - gamma*|`` for the optimum under ``p``."""
    gap = np.abs(data.tilde / data.power - data.optimum)
    return _interleave(data, gap, data.error / data.power + data.optimum_error, bounds)


def _interleave(data: Perturbed, gap: np.ndarray, error: np.ndarray, bounds: Bounds) -> Comparison:
    root = np.sqrt(data.power)
    measured = np.stack((gap, gap * root), axis=-1)
    predicted = np.stack((bounds.coefficient(data), bounds.state(data)), axis=-1)
    relative = data.power_error / data.power
    slack = np.stack((error, error * root), axis=-1) + measured * relative[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        bend = np.where(data.fisher > 0, data.fisher_error / data.fisher, np.inf) + relative
    tolerance = slack + predicted * np.minimum(bend, 1.0)[:, None]
    return Comparison(measured.ravel(), predicted.ravel(), tolerance.ravel(), upper=True)


class States(NamedTuple):
    """States of ``q`` at nodes ``(P, n)`` of an integral: their mass and the score ``s_q``.

    ``size`` and ``score_size`` are what the rounding of both is relative to.
    """

    y: np.ndarray
    mass: np.ndarray
    score: np.ndarray
    size: np.ndarray
    score_size: np.ndarray


Sampler = Callable[[np.ndarray, np.ndarray], States]
"""``(case (P,), x (P, n)) -> States``."""


def integrate_perturbed(problem: Problem, states: Sampler, breaks: np.ndarray) -> Perturbed:
    """Integrate both sides over the nodes ``x`` that parametrise the law ``q``."""

    def integrand(case: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Sizes]:
        return _integrands(problem.take(case), states(case, x))

    out = integrate(integrand, breaks)
    alpha, sigma = problem.s.alpha[:, 0, 0], problem.s.sigma[:, 0, 0]
    error = ROUNDING * EPS * out.size + out.error
    value = out.value
    weights = (np.abs(1 - 1 / alpha), sigma**2 / alpha)
    return Perturbed(
        alpha,
        sigma,
        (1 - 1 / alpha) * value[:, 0] + weights[1] * value[:, 1],
        value[:, 3],
        value[:, 2],
        value[:, 4],
        weights[0] * error[:, 0] + weights[1] * error[:, 1] + error[:, 3],
        error[:, 2],
        error[:, 4],
        np.full_like(alpha, np.nan),
        np.full_like(alpha, np.nan),
    )


def _integrands(problem: Problem, states: States) -> tuple[np.ndarray, Sizes]:
    """``u y, div u, u^2, u (y - D), (s - s_q)^2`` with their sizes, ``(P, n, 5)``."""
    y = states.y
    step = take_step(problem, y[..., None], None)
    u, denoised = step.candidate.residual[..., 0], step.candidate.denoised[..., 0]
    div = np.asarray(Exact()(step, np.random.default_rng(0)))
    law: Any = step.denoiser
    model = law.score(y[..., None], problem.s)[..., 0]
    off, gap = y - denoised, model - states.score
    values = (u * y, div, u**2, u * off, gap**2)

    def sizes() -> np.ndarray:
        size_u, size_div = (size[..., 0] for size in step_sizes(step))
        size_u = size_u + np.abs(div) * states.size
        parts = (
            size_u * np.abs(y) + np.abs(u) * states.size,
            size_div,
            2 * np.abs(u) * size_u,
            size_u * np.abs(off) + np.abs(u) * (states.size + np.abs(denoised)),
            2 * np.abs(gap) * (states.score_size + np.abs(model)),
        )
        return columns([states.mass * v for v in parts])

    return columns([states.mass * v for v in values]), sizes


def pair_states(cases: PairCases) -> tuple[Sampler, np.ndarray]:
    """Return the states of ``q`` at the nodes, and where the integrands change."""
    problem, other = cases.problem, cases.other

    def states(case: np.ndarray, x: np.ndarray) -> States:
        law, level = (
            remembering(other.take(case)),
            NoiseLevel(problem.s.alpha[case], problem.s.sigma[case]),
        )
        score = law.score(x[..., None], level)[..., 0]
        mass = np.exp(law.log_prob(x[..., None], level))
        return States(x, mass, score, np.abs(x), np.abs(score))

    own = mixture_breaks(other, problem.s)
    model = np.clip(mixture_breaks(problem.law, problem.s), own[:, :1], own[:, -1:])
    return states, np.sort(np.concatenate((own, model), axis=1), axis=1)


def draw_pairs(effort: Effort, *, count: int, components: Sequence[int]) -> list[PairCases]:
    """Draw pairs of mixtures with as many components, and steps up to 3 in ``log(sigma/alpha)``."""
    rng, out = effort.rng, []
    blocks = list(itertools.product(("euler", "heun"), FAMILIES, components))
    size = -(-effort.count(count) // len(blocks))
    for name, family, k in blocks:
        s, t, _ = draw_levels(rng, size, family, final_zero=False, longest=3.0)
        laws = [draw_law(rng, size, k, 1, "scalar") for _ in range(2)]
        out.append(PairCases(Problem(laws[0], s, t, SOLVERS[name], None), laws[1]))
    return out


def measure_pairs(cases: PairCases) -> Perturbed:
    """Integrate a stack of pairs, and ``gamma*`` under ``p``."""
    problem = cases.problem
    data = integrate_perturbed(problem, *pair_states(cases))
    value, size, error = quadrature_terms(problem)
    optimum = value.u_ref / value.u_u
    slack = ROUNDING * EPS * (size.u_ref + np.abs(optimum) * size.u_u)
    slack = (slack + error.u_ref + np.abs(optimum) * error.u_u) / value.u_u
    return data._replace(optimum=optimum, optimum_error=slack)


def measure_uniform(cases: PairCases) -> Perturbed:
    """Integrate under a uniform law about ``q``'s mean: its score is 0 almost everywhere."""
    problem, other = cases.problem, cases.other
    alpha = problem.s.alpha[:, 0, 0]
    center = alpha * other.mean()[:, 0]
    reach = np.sqrt(3 * (alpha**2 * other.second_moment() + problem.s.sigma[:, 0, 0] ** 2))

    def states(case: np.ndarray, x: np.ndarray) -> States:
        mass = np.broadcast_to(0.5 / reach[case][:, None], x.shape)
        return States(x, mass, np.zeros_like(x), np.abs(x), np.zeros_like(x))

    breaks = center[:, None] + reach[:, None] * np.linspace(-1, 1, 33)
    return integrate_perturbed(problem, states, breaks)


def ratios(data: Perturbed) -> np.ndarray:
    """Return ``|gamma_tilde - gamma_q|`` over its bound, ``(C,)``."""
    return np.asarray(data.gap / coefficient_bound(data))


def vp_step(alpha: float, end: float, count: int) -> tuple[NoiseLevel, NoiseLevel]:
    """Return a VP step as stacks of ``count``."""
    pair = (np.full((count, 1, 1), a) for a in (alpha, end))
    first, second = (NoiseLevel(a, np.sqrt((1 - a) * (1 + a))) for a in pair)
    return first, second


def quiet(value: float) -> float:
    """Return ``value`` with three digits, for tables."""
    return float(f"{value:.3g}") if math.isfinite(value) else value
