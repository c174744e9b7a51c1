r"""The contractivity trap: where a first-order step contracts, and what refining the grid does.

With ``T' = kappa + beta D'`` and ``D' >= 0`` (:mod:`steinlab.claims.contraction.lipschitz_bound`),

    L_T < 1   iff   L_D < (1 - kappa) / beta,

which is 1 whatever the step where ``beta = 1 - kappa`` (EDM, VE, rectified flow), and in VP runs
from ``alpha`` for a small step to 1 for a step to zero noise. At a state ``x`` in EDM coordinates,

    (T' - 1) / (1 - kappa) = D' - 1 = lim (Phi' - 1) / (1 - kappa),

``Phi`` the exact flow, whose derivative in one dimension is a ratio of densities,
``Phi'(x) = f_s(x) / f_t(Phi(x))``: step and flow expand at the same states. On the ridge between
two modes at ``+-R``, ``x = 0``, the product of the steps' ``T'`` tends to ``Phi'`` as the grid is
refined.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.exact import exact_flow
from steinlab.claims.contraction.two_mode_ridges import (
    NUDGE,
    Refined,
    Ridge,
    flow_log_slope,
    grid_maxima,
    measure_refined,
    ridge_slope,
)
from steinlab.claims.instruments.enclosed_bounds import (
    compare_threshold,
    enclosed_constants,
    proved_constants,
)
from steinlab.claims.instruments.random_steps import (
    StepCases,
    draw_law,
    draw_levels,
    log_uniform,
    stacked,
)
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.coefficient.step_terms import Problem
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import EULER, first_order
from steinlab.verification.claim import Check, Claim, Effort, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number, Table

FAMILIES = ("edm", "flow", "vp-linear")


class Edge(NamedTuple):
    """Where ``C`` steps stop contracting: the sensitivity ``alpha R^2 / sigma^2`` found there."""

    s: NoiseLevel
    t: NoiseLevel
    found: np.ndarray


HALVINGS = 64


def find_edge(cases: StepCases) -> Edge:
    """Move the modes apart until the step's slope on the ridge reaches 1, by bisection."""
    s, t = cases.problem.s, cases.problem.t
    unit = (s.sigma / np.sqrt(s.alpha))[:, 0, 0]
    low, high = np.full(len(cases), np.log(1e-6)), np.full(len(cases), np.log(1e6))
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        beyond = ridge_slope(unit * np.exp(middle), s, t) > 1
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    return Edge(s, t, np.exp(2 * 0.5 * (low + high)))


class Formula(NamedTuple):
    """The threshold, the growth of a step and flow at a state, and the limit of a refined grid."""

    threshold: Callable[[Edge], np.ndarray]
    growth: Callable[[np.ndarray], np.ndarray]
    limit: Callable[[Ridge], float]


def threshold(data: Edge) -> np.ndarray:
    """``(1 - kappa) / beta``."""
    step = first_order(data.s, data.t)
    return np.asarray(step.one_minus_kappa / step.betas[0])[:, 0, 0]


def compare_edge(data: Edge, formula: Formula) -> Comparison:
    """Compare the sensitivity at which the step stops contracting with the threshold."""
    predicted = formula.threshold(data)
    step = first_order(data.s, data.t)
    gain = np.asarray(1 / (step.betas[0] * data.found[:, None, None]))[:, 0, 0]
    slip = NUDGE**2 + ROUNDING * EPS / NUDGE + ROUNDING * EPS * gain
    return Comparison(data.found, predicted, slip * data.found)


class Growth(NamedTuple):
    """``(T' - 1)/(1 - kappa)`` and its limit for the flow at states ``(C,)``, with its error."""

    slope: np.ndarray
    step: np.ndarray
    flow: np.ndarray
    error: np.ndarray


SHRINK = (4e-3, 2e-3, 1e-3)
"""Relative steps from which the flow's limit is extrapolated."""


def measure_growth(cases: StepCases) -> Growth:
    """Measure the growth of the step over its own length and of the flow over a vanishing one."""
    p = cases.problem
    rngs = [np.random.default_rng([seed, 0]) for seed in cases.seeds]
    x_star = np.stack([p.law.take(i).sample(1, rng) for i, rng in enumerate(rngs)])
    x = p.s.noised(x_star, np.stack([rng.standard_normal((1, 1)) for rng in rngs]))
    step = first_order(p.s, p.t)
    slope = p.law.divergence(x, p.s)[:, 0]
    kappa = np.asarray(step.one_minus_kappa)[:, 0, 0]
    t_slope = -(kappa - np.asarray(step.betas[0])[:, 0, 0] * slope) / kappa
    flows = [_flow_growth(p.law.take(i), x[i], float(p.s.sigma[i, 0, 0])) for i in range(len(x))]
    limit, error = np.array(flows).T
    return Growth(slope, t_slope, limit, error)


def _flow_growth(law: GaussianMixture, x: np.ndarray, sigma: float) -> tuple[float, float]:
    """Extrapolate ``(Phi' - 1)/(1 - kappa)`` to a vanishing step; the error is the last change."""
    s, values, rounding = NoiseLevel(1.0, sigma), [], 0.0
    for share in SHRINK:
        t = NoiseLevel(1.0, sigma * (1 - share))
        end = exact_flow(law, x, s, t)
        logs = float(law.log_prob(x, s)[0]), float(law.log_prob(end.state, t)[0])
        values.append(np.expm1(logs[0] - logs[1]) / share)
        score = abs(float(law.score(end.state, t)[0, 0]))
        size = EPS * ROUNDING * (1 + abs(logs[0]) + abs(logs[1])) + score * float(end.error[0])
        rounding = size / share
    first, second = 2 * values[1] - values[0], 2 * values[2] - values[1]
    return second, abs(second - first) + 3 * rounding


def compare_growth(data: Growth, formula: Formula) -> Comparison:
    """Compare the step's growth with ``D' - 1``."""
    predicted = formula.growth(data.slope)
    return Comparison(data.step, predicted, ROUNDING * EPS * (1 + data.slope))


def compare_flow(data: Growth, formula: Formula) -> Comparison:
    """Compare the exact flow's growth with ``D' - 1``."""
    return Comparison(data.flow, formula.growth(data.slope), data.error, sampled=True, grade=0.05)


def compare_refined(data: Refined, formula: Formula) -> Comparison:
    """Compare the refined grids' limit with the exact flow's expansion."""
    return single(data.limit, formula.limit(data.ridge), data.error, sampled=True)


def _draw(effort: Effort, *, count: int, families: Sequence[str]) -> list[StepCases]:
    rng, size = effort.rng, effort.count(count) // len(families)
    out = []
    for family in families:
        s, t, _ = draw_levels(rng, size, family, final_zero=False)
        law = draw_law(rng, size, 2, 1, "scalar")
        problem = Problem(law, s, t, EULER, None)
        out.append(StepCases(problem, rng.integers(2**32, size=size), np.ones(size, dtype=int)))
    return out


def _draw_ridges(effort: Effort) -> list[Ridge]:
    rng = effort.rng
    return [
        Ridge(process, half, half * float(log_uniform(rng, 0.05, 0.5)), 20 * half, 0.05 * half)
        for process in FAMILIES
        for half in log_uniform(rng, 0.5, 4.0, effort.count(4)).tolist()
    ]


SENSITIVITIES = (0.5, 0.9, 1.1, 2.0, 10.0)
STEPS = (0.01, 0.3, 1.0, 3.0)
START = 1.0
"""Noise-to-signal ratio at which the map's steps begin."""


def _table(results: Results) -> Table:  # noqa: ARG001
    rows = []
    for name in ("edm", "flow", "vp-linear"):
        for length in STEPS:
            start, end = (PROCESSES[name].level_at(r) for r in (START, START * np.exp(-length)))
            s, t = stacked(start), stacked(end)
            half = (np.array([np.sqrt(d * start.sigma**2 / start.alpha)]) for d in SENSITIVITIES)
            slopes = [float(ridge_slope(r, s, t)[0]) for r in half]
            edge = float(threshold(Edge(s, t, np.ones(1)))[0])
            rows.append([name, f"{length:g}", f"{edge:.4f}", *(f"{v:.4g}" for v in slopes)])
    columns = ["process", "h", "threshold of L_D", *(f"L_T, L_D = {d:g}" for d in SENSITIVITIES)]
    title = f"L_T of the first-order step from sigma/alpha = {START:g}, h in log(alpha/sigma)"
    return Table(title, columns, rows)


def _numbers(results: Results) -> list[Number]:
    *_, (steps, top, expansive) = grid_maxima()
    edm, flow_edges, vp = (d.found for d in results["triangle"].data)
    flat = np.concatenate((edm, flow_edges))
    states = results["flow at a state"].data
    slope, flow = (np.concatenate([getattr(d, k) for d in states]) for k in ("slope", "flow"))
    both = (slope > 1) == (flow > 0)
    return [
        Number("largest L_T of the finest grid", top, better="lower", key="top"),
        Number("steps of the finest grid", steps, key="steps"),
        Number("expansive steps of the finest grid", expansive),
        Number("threshold of L_D in EDM and flow", np.median(flat), np.abs(flat - 1).max()),
        Number("threshold of L_D in VP, least", vp.min()),
        Number("threshold of L_D in VP, largest", vp.max()),
        Number("states where step and flow both expand or both do not", both.mean(), unit="%"),
        *enclosed_constants(results),
    ]


FORMULA = Formula(threshold, lambda slope: slope - 1, flow_log_slope)


def _stiff(data: Edge) -> np.ndarray:
    """A threshold of ``1 / h``: contraction bought with smaller steps."""
    return np.asarray(1 / np.log(data.s.ratio / data.t.ratio))[:, 0, 0]


def _lost(data: Edge) -> np.ndarray:
    step = first_order(data.s, data.t)
    return np.asarray((1 + step.kappa) / step.betas[0])[:, 0, 0]


AT_A_STATE = Check(
    "step at a state",
    "property",
    StepCases,
    draw=partial(_draw, count=100, families=("edm",)),
    measure=measure_growth,
    compare=compare_growth,
)

CLAIM = Claim(
    id="contractivity-trap",
    title="The contractivity trap",
    statement="large steps, an expressive denoiser (large L_D) and strict contraction (L_T < 1) "
    "cannot be had together: L_T < 1 iff L_D < (1 - kappa)/beta; refining the grid does not "
    "remove it",
    latex=(r"L_T < 1 \iff L_D < \frac{1-\kappa}{\beta}",),
    source="Section 3, the stability triangle and Fig. 4",
    kind="identity",
    owner="paper",
    conditions=("a first-order step", "an exact denoiser"),
    formula=FORMULA,
    checks=(
        Check(
            "triangle",
            "property",
            StepCases,
            draw=partial(_draw, count=300, families=FAMILIES),
            measure=find_edge,
            compare=compare_edge,
        ),
        AT_A_STATE,
        replace(AT_A_STATE, name="flow at a state", method="quadrature", compare=compare_flow),
        Check(
            "refined grid",
            "quadrature",
            Ridge,
            draw=_draw_ridges,
            measure=measure_refined,
            compare=compare_refined,
        ),
        proved_constants(lambda formula: formula.threshold, compare_threshold),
    ),
    controls=(
        NegativeControl(
            "smaller steps buy contraction: L_D < 1/h", FORMULA._replace(threshold=_stiff)
        ),
        NegativeControl("(1 + kappa)/beta", FORMULA._replace(threshold=_lost), ("triangle",)),
        NegativeControl(
            "(1 + kappa)/beta, enclosed", FORMULA._replace(threshold=_lost), ("certified",)
        ),
        NegativeControl(
            "the flow never expands",
            FORMULA._replace(growth=lambda d: np.minimum(d - 1, 0.0)),
            ("flow at a state",),
        ),
        NegativeControl(
            "growth D' + 1", FORMULA._replace(growth=lambda d: d + 1), ("step at a state",)
        ),
        NegativeControl(
            "refining the grid cures it", FORMULA._replace(limit=lambda _: 0.0), ("refined grid",)
        ),
    ),
    headline="Refining the grid does not restore contraction: L_T still reaches {top} with "
    "{steps} steps.",
    numbers=_numbers,
    finding="The step expands where the exact flow expands, and on refined grids the product of "
    "its slopes becomes the flow's own. Separating modes needs that expansion: do not ask a "
    "solver for L_T < 1. The largest L_D that a contracting step allows is 1 in EDM and rectified "
    "flow whatever the step; in VP longer steps allow more.",
    table=_table,
)
