"""One step of a multistep solver in one dimension, integrated over ``(x_star, eps)``."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.memory import remembering
from analytic.quadrature import expect, gauss_legendre
from steinlab.claims.instruments.random_steps import draw_law, log_uniform
from steinlab.claims.instruments.step_spaces import FAMILIES, law_parameters, mixtures
from steinlab.coefficient.divergence import Exact
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import SOLVERS, Evaluation
from steinlab.solvers.step import Step
from steinlab.verification.cases import Cases, SingleCase
from steinlab.verification.claim import Claim, Effort
from steinlab.verification.falsify.spaces import Parameter, RowSpace, Space

MULTISTEP = ("dpmpp-2m", "dpmpp-2m-heun", "dpmpp-3m", "ipndm-2", "ipndm-3")

PANELS = np.linspace(-8.5, 8.5, 13)
"""Panels of a standard normal variable; 2e-17 of its mass lies beyond."""

RULES = (9, 12)
"""Gauss-Legendre nodes per panel; the distance of the two rules is the stated error."""


@dataclass(frozen=True)
class HistoryCase(SingleCase):
    """One step of a multistep solver on a one-dimensional law, with the levels passed before.

    ``levels`` are ``(alpha, sigma)`` of the step's end, its beginning and the past, newest first;
    ``past`` holds frozen past states, or is None where they share the noise of ``x``.
    """

    data: Mapping[str, Any]
    levels: tuple[tuple[float, float], ...]
    solver: str
    past: tuple[float, ...] | None

    def law(self) -> GaussianMixture:
        """Return the data law."""
        return GaussianMixture(*(np.array(self.data[k]) for k in ("weights", "means", "variances")))


class Biased(NamedTuple):
    """Both coefficients of a case with their error; the history's levels, weights and ``V``."""

    solver: str
    reference: float
    stein: float
    power: float
    error: float
    start: NoiseLevel
    past: tuple[NoiseLevel, ...]
    betas: tuple[float, ...]
    zetas: tuple[float, ...]
    variances: tuple[float, ...]


@lru_cache(maxsize=4)
def _normal_rule(n: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = gauss_legendre(n)
    half = 0.5 * np.diff(PANELS)[:, None]
    z = (0.5 * (PANELS[:-1] + PANELS[1:])[:, None] + half * nodes).ravel()
    return z, (half * weights).ravel() * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)


def integrate_case(case: HistoryCase) -> Biased:
    """Integrate both coefficients over ``(x_star, eps)``, in two dimensions."""
    coarse, fine = (_integrals(case, n) for n in RULES)
    ours, stein_sum, power, size, power_size = fine
    s = NoiseLevel(*case.levels[1])
    slip = ROUNDING * EPS
    error = abs(ours - coarse[0]) + abs(stein_sum - coarse[1]) + slip * size
    below = abs(power - coarse[2]) + slip * power_size
    gamma = max(abs(ours), abs(stein_sum)) / power
    law = case.law()
    past = tuple(NoiseLevel(*pair) for pair in case.levels[2:])
    linear = _step(case, law, np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1))).candidate.linear
    assert linear is not None
    shared = case.past is None
    return Biased(
        case.solver,
        ours / power,
        stein_sum / power,
        power,
        (error + gamma * below) / power,
        s,
        past if shared else (),
        tuple(float(b) for b in linear.betas[1:]),
        tuple(float(z) for z in (*linear.zetas, *(0.0,) * len(past))[: len(past)]),
        tuple(_variance(law, level) for level in past) if shared else (),
    )


def _variance(law: GaussianMixture, level: NoiseLevel) -> float:
    """``V = E|x_star - D|^2``."""
    return float(
        expect(lambda x: law.posterior_variance(x, level)[:, None], law, level).value[0, 0]
    )


def _step(
    case: HistoryCase, law: GaussianMixture, x: np.ndarray, x_star: np.ndarray, eps: np.ndarray
) -> Step:
    t, s, *past = (NoiseLevel(*pair) for pair in case.levels)
    states = (
        [level.noised(x_star, eps) for level in past]
        if case.past is None
        else [np.full((1, 1), value) for value in case.past]
    )
    history = tuple(
        Evaluation(level, state, law(state, level))
        for level, state in zip(past, states, strict=True)
    )
    return Step.take(law, SOLVERS[case.solver], x, s, t, history=history)


def _integrals(case: HistoryCase, n: int) -> tuple[float, ...]:
    """Numerators by reference and by Theorem 4.7, ``E|u|^2``, and the sizes of their sums."""
    law, s = remembering(case.law()), NoiseLevel(*case.levels[1])
    z, w = _normal_rule(n)
    eps, mass = np.tile(z, len(z))[:, None], np.multiply.outer(w, w).ravel()
    drift, gain = 1 - 1 / s.alpha, s.sigma**2 / s.alpha
    total = np.zeros(5)
    parts = zip(law.weights, law.means[:, 0], law.spectra[:, 0], strict=True)
    for weight, mean, variance in parts:
        x_star = mean + np.sqrt(variance) * np.repeat(z, len(z))[:, None]
        x = s.noised(x_star, eps)
        step = _step(case, law, x, x_star, eps)
        candidate = step.candidate
        u, linear = candidate.residual[:, 0], candidate.linear
        assert linear is not None
        div = np.asarray(Exact()(step, np.random.default_rng(0)))
        x, star = x[:, 0], x_star[:, 0]
        size_u = (
            np.abs(x)
            + np.abs(linear.kappa * x)
            + np.abs(linear.betas[0] * candidate.denoised[:, 0])
        )
        for entry, beta in zip(step.history, linear.betas[1:], strict=True):
            size_u = size_u + np.abs(beta * entry.denoised[:, 0])
        for entry, zeta in zip(step.history, linear.zetas, strict=False):
            size_u = size_u + np.abs(zeta * entry.state[:, 0])
        reach = np.abs(x) + np.abs(star)
        size = 2 * size_u * reach * (1 + abs(drift)) + gain * (1 + np.abs(div))
        values = (u * (x - star), drift * u * x + gain * div, u * u, size, 2 * size_u**2)
        total += weight * np.array([float(mass @ value) for value in values])
    return tuple(total)


def draw_histories(effort: Effort, *, shared: bool) -> list[HistoryCase]:
    """Draw steps on random laws, with past states that share the noise of ``x`` or are frozen."""
    rng = effort.rng
    return [
        _draw_case(rng, family, solver, shared=shared)
        for solver in MULTISTEP
        for family in ("edm", "vp-linear", "flow")
        for _ in range(effort.count(4))
    ]


def _draw_case(rng: np.random.Generator, family: str, solver: str, *, shared: bool) -> HistoryCase:
    law = draw_law(rng, 1, 1 + int(rng.integers(3)), 1, "scalar").take(0)
    depth = SOLVERS[solver].depth
    ratio = float(log_uniform(rng, 0.3, 30.0))
    steps = log_uniform(rng, 0.1, 1.5, 1 + depth)
    ratios = [ratio * np.exp(-steps[0]), *ratio * np.exp(np.cumsum([0, *steps[1:]]))]
    levels = [PROCESSES[family].level_at(float(r)) for r in ratios]
    past = None if shared else tuple(float(a.sigma * rng.standard_normal()) for a in levels[2:])
    data = {
        "weights": law.weights.tolist(),
        "means": law.means[:, 0].tolist(),
        "variances": law.spectra[:, 0].tolist(),
    }
    return HistoryCase(data, tuple((a.alpha, a.sigma) for a in levels), solver, past)


def history_spaces(claim: Claim) -> list[Space]:  # noqa: ARG001
    """Spaces of multistep steps, with frozen past states or with past that shares the noise."""
    return [
        _history_space(check, solver, family, components)
        for check in ("independent history", "bias")
        for i, solver in enumerate(MULTISTEP)
        for j, family in enumerate(FAMILIES)
        for components in (1 + (i + j) % 3,)
    ]


def _history_space(check: str, solver: str, family: str, components: int) -> Space:

    depth, law, frozen = SOLVERS[solver].depth, law_parameters(components), check != "bias"
    steps = [Parameter(f"h {i}", 0.1, 1.5, True) for i in range(1 + depth)]
    past = [Parameter(f"past {i}", -3.0, 3.0) for i in range(depth)] if frozen else []

    def make(of: Mapping[str, float]) -> Cases:
        mixture = mixtures(np.array([[of[p.name] for p in law]])).take(0)
        first, *earlier = (of[p.name] for p in steps)
        ratios = of["ratio"] * np.exp([-first, 0.0, *np.cumsum(earlier)])
        levels = [PROCESSES[family].level_at(float(r)) for r in ratios]
        data = {
            "weights": mixture.weights.tolist(),
            "means": mixture.means[:, 0].tolist(),
            "variances": mixture.spectra[:, 0].tolist(),
        }
        states = [of[p.name] * a.sigma for p, a in zip(past, levels[2:], strict=False)]
        pairs = tuple((float(a.alpha), float(a.sigma)) for a in levels)
        return HistoryCase(data, pairs, solver, tuple(states) if frozen else None)

    name = f"{solver}, {family}, {components} components"
    numbers = (*law, Parameter("ratio", 0.3, 30.0, True), *steps, *past)
    return RowSpace(check, name, 480, numbers, make)
