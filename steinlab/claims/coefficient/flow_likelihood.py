r"""The log density that a probability flow gives, and what Hutchinson's probes do to it.

Agreement: ``log p_0(x_0) - log p_T(x_T)`` is what the flow integrates between its two ends, and a
mixture knows both densities. With probes, over all ``2^d`` sign vectors, equally likely, the mean
of the estimates is the value with the exact divergence, to rounding; their variance is
``2 sum_{i != j} (M_s)_ij^2`` with ``M = int alpha D' de / e`` along the run, integrated here by
Simpson's rule over the Jacobians of a fine run. In the plane the estimates are two numbers
``2 |M_12|`` above and below the mean, so that the exponential's mean is too large by the factor
``cosh(2 |M_12|)``.

Of the trained network ``fashion-flow``, where it is installed, no density is known, but each
process and solver follows the same flow, in coordinates of its own: with the same probe, and up to
``d log(alpha)``, the volume of ``y = x / alpha``, two of them give one number.
"""

import itertools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import simpson

from analytic import GaussianMixture, NoiseLevel
from analytic.arrays import Array
from steinlab.claims.instruments.flow_network import network, network_missing, pictures
from steinlab.coefficient.rounding import EPS
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import PROCESSES
from steinlab.experiments.likelihood import log_likelihood
from steinlab.solvers import get_solver
from steinlab.solvers.inversion import invert
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Check, Claim, Effort, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.falsify.spaces import SEEDS, Space, picked
from steinlab.verification.quantities import Number, Table

SOLVERS = ("dpmpp-3s", "rk-4", "deis-log-3")
DIMS = (1, 2, 4, 8)
STATES, STEPS, FEW = 8, 64, 16
"""States a case; steps of a run, and of one whose steps do not matter."""
PICKED = 64
"""The most cases that an attack spends on a check."""
NETWORK = "a network's density"
NETWORK_RATIOS, NETWORK_STEPS = (0.4, 2.5), 12
"""``sigma / alpha`` between which the network's flow is followed, and in how many steps."""
NETWORK_FLOWS = (("flow", "vp-linear"), ("dpmpp-3s", "rk-4"))
ERRORS = 2.0
"""The largest stated errors of its states within which a case must lie."""


@dataclass(frozen=True)
class Drawn(SingleCase):
    """A random mixture with states at a process's least noisy level, run up by a solver."""

    dim: int
    process: str
    solver: str
    seed: int

    def law(self) -> GaussianMixture:
        """Return the mixture: three components, widths that differ by mode and coordinate."""
        rng = np.random.default_rng(self.seed)
        widths = rng.uniform(0.05, 0.5, (3, self.dim))
        means = rng.standard_normal((3, self.dim))
        if self.dim > 1:  # turned, so that Jacobians are not diagonal
            turn = np.linalg.qr(rng.standard_normal((3, self.dim, self.dim)))[0]
            widths = (turn * widths[:, None, :]) @ np.swapaxes(turn, 1, 2)
        return GaussianMixture(rng.dirichlet(np.full(3, 2.0)), means, widths)

    def states(self, count: int) -> np.ndarray:
        """Draw states under the mixture's forward law at the least noisy level."""
        rng, process = np.random.default_rng([self.seed, 1]), PROCESSES[self.process]
        level = process.level_at(process.ratio_min)
        return np.asarray(level.noised(self.law().sample(count, rng), rng))


class Rule(NamedTuple):
    """The sign of the divergence; what scales variance, the exponential's bias and the volume."""

    sign: float = 1.0
    variance: float = 1.0
    bias: float = 1.0
    volume: float = 1.0


class Change(NamedTuple):
    """The change of the log density along the flow by a run, its error, and by the two ends."""

    case: Drawn
    found: np.ndarray
    error: np.ndarray
    exact: np.ndarray


def _nothing(x: Array, level: NoiseLevel) -> Array:  # noqa: ARG001
    """Leave the density at the noisy end out."""
    return np.zeros(x.shape[:-1])


def measure_change(case: Drawn) -> Change:
    """Integrate the divergence, and subtract the law's own densities at both ends."""
    law, x, process = case.law(), case.states(STATES), PROCESSES[case.process]
    options: dict[str, Any] = {"solver": case.solver, "steps": STEPS}
    found = log_likelihood(law, x, process, prior=_nothing, **options)
    grid = make_grid(process, "karras", STEPS, final_zero=False)
    end = invert(law, x, grid, get_solver(case.solver, process)).state
    exact = law.log_prob(x, grid[-1]) - law.log_prob(end, grid[0])
    return Change(case, np.asarray(found.value), np.asarray(found.error), np.asarray(exact))


def compare_change(data: Change, rule: Rule) -> Comparison:
    """Compare at the state that is farthest off; one state's error alone may vanish by chance."""
    predicted = rule.sign * data.exact
    worst = int(np.argmax(np.abs(data.found - predicted)))
    at, tolerance = slice(worst, worst + 1), np.array([ERRORS * data.error.max()])
    return Comparison(data.found[at], predicted[at], tolerance, sampled=True, grade=AGREEMENT_GRADE)


AGREEMENT_GRADE, SPREAD_GRADE = 5e-3, 0.03
"""Relative errors that some case exposes: of the change, and of what the probes scatter."""


class Probed(NamedTuple):
    """Estimates by every sign vector with their errors, and the value without probes."""

    case: Drawn
    values: np.ndarray
    error: float
    exact: float


class Spread(NamedTuple):
    """Estimates by every sign vector with their errors, and the variance by the formula."""

    case: Drawn
    values: np.ndarray
    error: float
    formula: float
    formula_error: float


def _signed(case: Drawn, steps: int) -> tuple[np.ndarray, float]:
    """Run with every sign vector from one state; the error is of the steps alone."""
    law, process = case.law(), PROCESSES[case.process]
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=case.dim)))
    rows, probes = np.repeat(case.states(1), len(signs), axis=0), signs[None]
    options: dict[str, Any] = {"solver": case.solver, "steps": steps, "probes": probes}
    found = log_likelihood(law, rows, process, **options)
    return np.asarray(found.value), float(np.max(found.error))


def measure_mean(case: Drawn) -> Probed:
    """Run with every sign vector, and with the exact divergence."""
    options: dict[str, Any] = {"solver": case.solver, "steps": FEW}
    exact = log_likelihood(case.law(), case.states(1), PROCESSES[case.process], **options)
    return Probed(case, *_signed(case, FEW), float(exact.value[0]))


def measure_spread(case: Drawn) -> Spread:
    """Run with every sign vector, and integrate the Jacobian."""
    law, process = case.law(), PROCESSES[case.process]
    grid = make_grid(process, "logsnr", STEPS, final_zero=False)
    run = invert(law, case.states(1), grid, get_solver("dpmpp-3s"), keep_trajectory=True)
    levels = grid[::-1]
    drives = np.array(
        [s.alpha * law.jacobian(y, s)[0] for s, y in zip(levels, run.trajectory, strict=True)]
    )
    logs = np.log([level.ratio for level in levels])
    fine, coarse = (_variance(simpson(drives[::k], x=logs[::k], axis=0)) for k in (1, 2))
    return Spread(case, *_signed(case, STEPS), fine, abs(fine - coarse))


def _variance(total: np.ndarray) -> float:
    """``2 sum_{i != j} (M_s)_ij^2``."""
    symmetric = 0.5 * (total + total.T)
    return float(2 * (symmetric**2).sum() - 2 * (np.diag(symmetric) ** 2).sum())


def compare_mean(data: Probed, rule: Rule) -> Comparison:  # noqa: ARG001
    """Compare the mean over all sign vectors with the value without probes."""
    size = np.abs(data.values).max() + FEW * data.case.dim
    return single(data.values.mean(), data.exact, 100 * FEW * EPS * size)


def compare_variance(data: Spread, rule: Rule) -> Comparison:
    """Compare the variance over all sign vectors with the formula."""
    found = data.values.var()
    slack = 2 * ERRORS * data.error * np.sqrt(found) + data.formula_error
    return _close(found, rule.variance * data.formula, slack)


def compare_exponential(data: Spread, rule: Rule) -> Comparison:
    """Compare ``log E exp(l) - E l`` in the plane with ``log cosh``, of the formula."""
    root = np.sqrt(data.formula)
    found = np.log(np.mean(np.exp(data.values - data.values.mean())))
    slack = np.tanh(root) * (ERRORS * data.error + data.formula_error / (2 * root))
    predicted = rule.bias * np.log(np.cosh(root))
    return _close(found, predicted, slack)


def _close(found: float, predicted: float, slack: float) -> Comparison:
    seen, stated, tolerance = (np.array([value]) for value in (found, predicted, slack))
    return Comparison(seen, stated, tolerance, sampled=True, grade=SPREAD_GRADE)


@dataclass(frozen=True)
class Flows(SingleCase):
    """The network's density at one noised picture, by two processes with a solver each."""

    processes: tuple[str, str]
    solvers: tuple[str, str]
    seed: int


class Densities(NamedTuple):
    """Log densities by two processes with the errors of their steps, and their volumes' difference.

    ``volume`` is ``d log(alpha / alpha')`` at the state.
    """

    values: tuple[float, float]
    error: float
    volume: float


def measure_flows(case: Flows) -> Densities:
    """Follow the flow twice with one probe, doubled so that the error is of the steps alone.

    The stored numbers are of two probes: products for one differ by the network's rounding.
    """
    rng, (low, high) = np.random.default_rng(case.seed), NETWORK_RATIOS
    picture = pictures(1)
    noise, sign = rng.standard_normal(picture.shape), rng.choice([-1.0, 1.0], picture.shape)
    options: dict[str, Any] = {"probes": np.stack([sign, sign]), "steps": NETWORK_STEPS}
    options |= {"grid": f"karras:sigma_max={high},sigma_min={low}"}
    runs = []
    for name, solver in zip(case.processes, case.solvers, strict=True):
        level = PROCESSES[name].level_at(low)
        x = level.alpha * picture + level.sigma * noise
        runs.append(log_likelihood(network(), x, name, solver=solver, **options))
    one, other = runs
    volume = one.dim * np.log(one.level.alpha / other.level.alpha)
    error = float(one.error[0] + other.error[0])
    return Densities((float(one.value[0]), float(other.value[0])), error, float(volume))


def compare_flows(data: Densities, rule: Rule) -> Comparison:
    """Compare both densities in one process's coordinates, within their steps' errors."""
    one, other = data.values
    predicted, slack = other - rule.volume * data.volume, ERRORS * data.error
    return single(one, predicted, slack, sampled=True, grade=AGREEMENT_GRADE)


def _drawn(dims: tuple[int, ...], count: int, effort: Effort) -> list[Drawn]:
    names, picks = sorted(PROCESSES), range(effort.count(count))
    return [
        Drawn(
            dims[i % len(dims)],
            names[i % len(names)],
            SOLVERS[i % len(SOLVERS)],
            int(effort.rng.integers(2**32)),
        )
        for i in picks
    ]


def _check(name: str, count: int, dims: tuple[int, ...], measure: Any, compare: Any) -> Check:
    return Check(
        name,
        "quadrature",
        Drawn,
        draw=lambda effort: _drawn(dims, count, effort),
        measure=measure,
        compare=compare,
    )


def _spaces(_: Claim) -> list[Space]:
    """Return the seeds of every dimension, process and solver; an agreement with errors is left."""
    dims = {MEAN: (2, 3), VARIANCE: (2, 3), EXPONENTIAL: (2,)}
    fixed = {"process": sorted(PROCESSES), "solver": SOLVERS}
    return [picked(c, PICKED, {"dim": d, **fixed}, Drawn, SEEDS) for c, d in dims.items()]


CHANGE, MEAN, VARIANCE, EXPONENTIAL = "the mixture's density", "mean", "variance", "exponential"


def _rows(results: Results, name: str) -> list[Any]:
    return list(results[name].data)


def _biases(results: Results) -> np.ndarray:
    """By how much the exponential's mean is too large, a share."""
    return np.asarray(np.cosh(np.sqrt([d.formula for d in _rows(results, EXPONENTIAL)])) - 1)


def _numbers(results: Results) -> list[Number]:
    changes = _rows(results, CHANGE)
    gaps = np.concatenate([np.abs(data.found - data.exact) for data in changes])
    errors = np.concatenate([data.error for data in changes])
    bias, within = _biases(results), float(np.mean(gaps < 2 * errors))
    one = "bias of the density by one probe"
    found = [
        Number("largest distance to the mixture's log density", gaps.max(), unit="nats", key="gap"),
        Number("states within two errors", within, unit="%", key="within"),
        Number(f"{one}, median", float(np.median(bias)), unit="%", key="bias"),
        Number(f"{one}, largest", bias.max(), unit="%", key="most"),
    ]
    if NETWORK in results:
        (data,) = results[NETWORK].data
        gap = abs(data.values[0] - data.values[1] + data.volume)
        found.append(Number("distance of a network's densities by two flows", gap, unit="nats"))
    return found


def _table(results: Results) -> Table:
    rows = [
        [
            d.case.dim,
            d.case.process,
            d.case.solver,
            f"{np.abs(d.found - d.exact).max():.1e}",
            f"{d.error.max():.1e}",
        ]
        for d in _rows(results, CHANGE)
    ]
    return Table(
        "Change of the log density, in nats", ["d", "process", "solver", "off", "error"], rows
    )


CLAIM = Claim(
    id="flow-likelihood",
    title="Likelihood by the flow",
    statement="the probability flow's change of log density is that of the law; with Rademacher "
    "probes its logarithm has no bias and the variance 2 sum_{i != j} (M_s)_ij^2 a probe, M = int "
    "alpha D' de/e; its exponential has a bias, by the factor cosh(2 |M_12|) in the plane",
    latex=(
        r"\log p_0(x_0) = \log p_T(x_T) + d \log \frac{\sigma_T}{\sigma_0} - \int \alpha "
        r"\operatorname{div} D \, d\lambda",
        r"\operatorname{Var}(v^{\top} M v) = 2 \sum_{i \ne j} (M_s)_{ij}^2, \qquad \mathbb{E} "
        r"e^{\hat\ell} = e^{\ell} \cosh(2 |M_{12}|) \text{ in the plane}",
    ),
    headline="The flow's log density is the mixture's own; one probe leaves it unbiased, its "
    "exponential {most} too large at most.",
    numbers=_numbers,
    source="steinlab/experiments/likelihood.py; Song et al. (2021), section 4.3; Hutchinson (1990)",
    kind="identity",
    owner="laboratory",
    conditions=("a smooth law", "the same probe along the whole run"),
    formula=Rule(),
    checks=(
        _check(CHANGE, 4, DIMS, measure_change, compare_change),
        _check(MEAN, 3, (2, 3), measure_mean, compare_mean),
        _check(VARIANCE, 4, (2, 3), measure_spread, compare_variance),
        _check(EXPONENTIAL, 3, (2,), measure_spread, compare_exponential),
        Check(
            NETWORK,
            "neural",
            Flows,
            draw=lambda effort: [Flows(*NETWORK_FLOWS, int(effort.rng.integers(2**32)))],
            measure=measure_flows,
            compare=compare_flows,
            available=network_missing,
            seconds=5.0,
        ),
    ),
    controls=(
        NegativeControl("wrong sign of the divergence", Rule(sign=-1.0), (CHANGE,)),
        NegativeControl("half the variance", Rule(variance=0.5), (VARIANCE,)),
        NegativeControl("no bias of the exponential", Rule(bias=0.0), (EXPONENTIAL,)),
        NegativeControl("the volume left out", Rule(volume=0.0), (NETWORK,)),
    ),
    finding="Averaged over all sign vectors, Hutchinson's estimate is the value without probes, "
    "and its variance the formula's. The density itself, the exponential of one probe's estimate, "
    "is too large: report log densities, or take more probes.",
    table=_table,
    search=_spaces,
)
