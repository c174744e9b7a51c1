r"""The gap between the Stein and the Tweedie coefficient measures the score error along ``u``.

Under any law ``q`` of the states, for any model and any step whose residual ``u`` is a function of
the state, Stein's identity gives

    gamma_tilde - gamma_tweedie = (sigma^2/alpha) E_q <u, s_model - s_q> / E_q |u|^2.

The left side is ``E[(1 - 1/alpha) <u,x> + (sigma^2/alpha) div u - <u, x - D>] / E|u|^2`` and never
sees ``s_q``; the right one never sees ``div u``. In one dimension both are integrated, the model's
law and the states' being two mixtures; on trained networks they are sampled under the forward law
``p`` of their data, whose exact denoiser gives ``(sigma^2/alpha)(s_model - s_p) = D_model - D``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from analytic import GaussianMixture
from analytic.memory import remembering
from analytic.quadrature import integrate, mixture_breaks
from steinlab.claims.coefficient.foreign_denoiser import SHIFTS, Shifts
from steinlab.coefficient.divergence import Exact, Hutchinson
from steinlab.coefficient.formulas import stein_numerator, tweedie_numerator
from steinlab.coefficient.rounding import EPS, ROUNDING, step_sizes
from steinlab.coefficient.step_terms import Problem, take_step
from steinlab.diffusion.grids import make_grid
from steinlab.solvers import SOLVERS
from steinlab.solvers.step import Step, inner
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Check, Claim, Effort, NegativeControl, Results
from steinlab.verification.comparison import Comparison
from steinlab.verification.quantities import Number, Table
from steinlab.verification.significance import Mean
from toy_models.claims.networks import (
    GALAXY,
    galaxies_missing,
    network,
    own_samples,
    split,
    without_galaxies,
)

FAMILIES = ("edm", "vp-linear", "flow")
SIZES = SHIFTS[1:]
STEPS, STATES = 6, 256
RUNS = (("digits-mlp", "edm"), ("grid25-mlp", "edm"), ("grid25-mlp", "vp-linear"))
GALAXY_RUN, GALAXY_STATES, GALAXY_LEVELS = (GALAXY, "edm"), 48, (1, 3, 5)
"""Where its package is installed: its traces are probed, its data are its own samples, and there
are half the levels, since each takes a second."""

FAMILY = 1000
"""Steps of networks that share the level: more than the full profile draws."""

Constant = Callable[[Any, Any], Any]
"""``(alpha, sigma)`` to the factor in front of ``E <u, s_model - s_q> / E|u|^2``."""


class Gaps(NamedTuple):
    """``gamma_tilde - gamma_tweedie``, ``E<u, s - s_q>/E|u|^2``, errors of both sides, ``(C,)``.

    ``error`` is a bound for integrals, a standard error of the difference for samples; ``skew`` of
    the difference and ``states`` are of samples alone.
    """

    alpha: np.ndarray
    sigma: np.ndarray
    gap: np.ndarray
    along: np.ndarray
    error: np.ndarray
    skew: np.ndarray | float = 0.0
    states: int = 0


def correct(alpha: Any, sigma: Any) -> Any:
    """``sigma^2 / alpha``."""
    return sigma**2 / alpha


def measure(case: Shifts) -> Gaps:
    """Integrate both sides for every size of the shift between model and states, all at once."""
    law, tests, (s, t) = case.model(), case.tests(), case.levels()
    problem = Problem(law, s, t, SOLVERS[case.solver], None)

    def integrand(index: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        states = remembering(tests.take(index))
        density = np.exp(states.log_prob(x[..., None], s))[..., None]
        values = density * _terms(x[..., None], problem, states)
        return values, np.abs(values)

    found = integrate(integrand, mixture_breaks(tests, s))
    value, size, error = (part.T for part in vars(found).values())
    rounding = ROUNDING * EPS * (value[4:] + size[:3])
    slack = error[:3] + rounding
    off = slack[0] + slack[1] + s.sigma**2 / s.alpha * slack[2]
    full = np.ones(len(case))
    gap, along = (value[0] - value[1]) / value[3], value[2] / value[3]
    return Gaps(s.alpha * full, s.sigma * full, gap, along, off / value[3])


def _terms(x: np.ndarray, problem: Problem, states: GaussianMixture) -> np.ndarray:
    """Numerators of both coefficients, ``<u, s - s_q>``, ``|u|^2``, and the first three's sizes."""
    s, step = problem.s, take_step(problem, x, None)
    u, denoised = step.candidate.residual, step.candidate.denoised
    div = np.asarray(Exact()(step, np.random.default_rng(0)))
    own, other = step.denoiser.score(x, s), states.score(x, s)  # type: ignore[attr-defined]
    size_u, size_div = step_sizes(step)
    sizes = (
        abs(1 - 1 / s.alpha) * inner(np.abs(x), size_u) + s.sigma**2 / s.alpha * size_div[..., 0],
        inner(np.abs(x - denoised), size_u) + inner(np.abs(x) + np.abs(denoised), np.abs(u)),
        inner(np.abs(own - other), size_u) + inner(np.abs(own) + np.abs(other), np.abs(u)),
    )
    values = (
        stein_numerator(x, u, div, s),
        tweedie_numerator(x, u, denoised),
        inner(own - other, u),
        inner(u, u),
    )
    return np.stack((*values, *sizes), axis=-1)


def compare(data: Gaps, constant: Constant) -> Comparison:
    """Compare the gap with the score error along ``u``, within quadrature and rounding."""
    predicted = constant(data.alpha, data.sigma) * data.along
    return Comparison(data.gap, predicted, data.error)


@dataclass(frozen=True)
class NetworkSteps(SingleCase):
    """One step of one network at forward states of its data: a case."""

    model: str
    process: str
    index: int
    seed: int


def measure_network(case: NetworkSteps) -> Gaps:
    """Sample both sides on the same states, the network in float64.

    Where the data's law is known, traces are exact and ``D`` is its denoiser; for the galaxies
    traces are probed and ``x_star`` stands for ``D``, which has the same mean.
    """
    import torch

    model: Any = network(case.model)
    net = model.denoiser.in_dtype(torch.float64)
    law: Any = model.data_law() if model.data_law else own_samples()
    grid = make_grid(model.process(case.process), "karras", STEPS)
    s, t = grid[case.index], grid[case.index + 1]
    rng = np.random.default_rng([case.seed, case.index])  # levels of a run share no noise
    states = STATES if model.data_law else GALAXY_STATES
    x_star = law.sample(states, rng)
    x = s.noised(x_star, rng)
    step = Step.take(net, SOLVERS["euler"], x, s, t)
    candidate = step.candidate
    u, div = candidate.residual, (Exact() if model.data_law else Hutchinson(mode="vjp"))(step, rng)
    left = stein_numerator(x, u, div, s) - tweedie_numerator(x, u, candidate.denoised)
    right = inner(candidate.denoised - (law(x, s) if model.data_law else x_star), u)
    power = float(np.mean(inner(u, u)))
    along = float(np.mean(right)) / power * s.alpha / s.sigma**2
    between = Mean.of(left - right).per(power)
    entries = (s.alpha, s.sigma, float(np.mean(left)) / power, along, between.error, between.skew)
    alpha, sigma, gap, score, error, skew = (np.array([entry]) for entry in entries)
    return Gaps(alpha, sigma, gap, score, error, skew, states)


def compare_network(data: Gaps, constant: Constant) -> Comparison:
    """Compare within the sampling error of the difference."""
    predicted = constant(data.alpha, data.sigma) * data.along
    off = Mean(data.gap - predicted, data.error, data.skew, data.states)
    tolerance = off.limit(off.value, FAMILY)
    return Comparison(data.gap, predicted, tolerance, sampled=True, grade=0.1)


def _draw(effort: Effort) -> Sequence[Shifts]:
    return [
        Shifts(family, solver, int(effort.rng.integers(2**32)), SIZES)
        for family in FAMILIES
        for solver in ("euler", "heun")
        for _ in range(effort.count(2))
    ]


def _draw_networks(effort: Effort) -> Sequence[NetworkSteps]:
    seeds = effort.rng.integers(2**32, size=effort.count(1))
    toys = [
        NetworkSteps(*run, index, int(seed))
        for seed in seeds
        for run in RUNS
        for index in range(STEPS)
    ]
    galaxies = () if galaxies_missing() else GALAXY_LEVELS
    return [*toys, *(NetworkSteps(*GALAXY_RUN, index, int(seeds[0])) for index in galaxies)]


def _table(results: Results) -> Table:
    rows = []
    toys, galaxies = split(results["networks"])
    for case, d in [*toys[: len(RUNS) * STEPS], *galaxies]:
        numbers = (d.sigma[0] / d.alpha[0], d.gap[0], correct(d.alpha, d.sigma)[0] * d.along[0])
        rows.append([case.model, case.process, *(f"{v:.3g}" for v in numbers), f"{d.error[0]:.1g}"])
    columns = ["network", "process", "sigma/alpha", "gap", "score error along u", "standard error"]
    return Table("gamma_tilde - gamma_tweedie under p, Euler's step", columns, rows)


def _numbers(results: Results) -> list[Number]:
    lines, nets = results["mixtures"].comparison, split(results["networks"])[0]
    z = [float((d.gap - correct(d.alpha, d.sigma) * d.along)[0] / d.error[0]) for _, d in nets]
    return [
        Number("integrated cases", len(lines.measured)),
        Number("of these within rounding", int((~lines.violated & lines.decided).sum())),
        Number("steps of trained networks", len(nets)),
        Number("mean square of z there", float(np.mean(np.square(z)))),
        *(
            Number(f"most significant gap, {name}", float(d.gap[0]), float(d.error[0]))
            for name, d in _surest(nets)
        ),
    ]


def _finding(results: Results) -> str:
    where = ", ".join(
        f"{name} at sigma/alpha {float((d.sigma / d.alpha)[0]):.3g}"
        for name, d in _surest(split(results["networks"])[0])
    )
    return (
        f"gaps stand out most at {where}; elsewhere networks' gaps are mostly sampling error. In "
        "one dimension both sides are integrated, on networks sampled under the forward law of "
        "their data. No multistep candidates"
    )


def _surest(nets: Sequence[tuple[NetworkSteps, Gaps]]) -> Iterator[tuple[str, Gaps]]:
    """Of each network the step whose gap is the most standard errors from 0."""
    for name in dict.fromkeys(case.model for case, _ in nets):
        own = [d for case, d in nets if case.model == name]
        yield name, max(own, key=lambda d: abs(float(d.gap[0] / d.error[0])))


CLAIM = Claim(
    id="tweedie-versus-stein",
    title="Tweedie's coefficient against Stein's",
    statement="gamma_tilde - gamma_tweedie = (sigma^2/alpha) E<u, s_model - s_q>/E|u|^2: their "
    "gap is the model's score error along the residual",
    latex=(
        r"\tilde\gamma - \gamma_{\mathrm{Tweedie}} = \frac{\sigma^2}{\alpha}\, "
        r"\frac{\mathbb{E}\langle u, s_{\mathrm{model}} - s_q\rangle}{\mathbb{E}\|u\|^2}",
    ),
    headline="Stein's coefficient minus Tweedie's measures the model's score error along a step, "
    "without the true score.",
    numbers=_numbers,
    source="Stein's identity, Tweedie's formula; the perturbation bound, section 4",
    kind="identity",
    owner="laboratory",
    conditions=("the candidate is a function of the state", "q has a differentiable density"),
    formula=correct,
    checks=(
        Check("mixtures", "quadrature", Shifts, draw=_draw, measure=measure, compare=compare),
        Check(
            "networks",
            "neural",
            NetworkSteps,
            draw=_draw_networks,
            measure=measure_network,
            compare=compare_network,
            partly=without_galaxies,
            seconds=8.0,
        ),
    ),
    controls=(
        NegativeControl("wrong sign", lambda alpha, sigma: -(sigma**2) / alpha),
        NegativeControl("sigma instead of sigma^2", lambda alpha, sigma: sigma / alpha),
        NegativeControl("1/alpha dropped", lambda _alpha, sigma: sigma**2, ("mixtures",)),
    ),
    finding=_finding,
    table=_table,
)
