r"""The perturbation bound with its constant, in both readings of "optimum".

Under the sampler's law ``q`` the reference-free coefficient ``gamma_tilde`` differs from an optimum
by at most ``C sqrt F``, ``C = sigma^2 / (alpha |u|_{L2(q)})``. For the optimum under ``q`` for the
model's own denoiser this is Stein's identity and Cauchy-Schwarz. For the optimum under ``p`` it is
false with this constant, and with any constant that does not know how far apart the modes are.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from analytic import GaussianMixture
from steinlab.claims.error_bounds.iterate_cases import (
    IterateCases,
    draw_runs_of_all,
    measure_iterates,
)
from steinlab.claims.error_bounds.perturbation import (
    BOUNDS,
    FALSE_BOUNDS,
    PairCases,
    Perturbed,
    coefficient_bound,
    compare_bounds,
    compare_optimum,
    draw_pairs,
    measure_pairs,
    measure_uniform,
    quiet,
    ratios,
    vp_step,
)
from steinlab.claims.error_bounds.spaces import pair_spaces
from steinlab.claims.instruments.enclosed_bounds import proved_bound, proved_perturbations
from steinlab.coefficient.step_terms import Problem
from steinlab.diffusion.processes import VP_LINEAR
from steinlab.solvers import SOLVERS
from steinlab.verification.claim import Check, Claim, Dropped, Effort, NegativeControl, Results
from steinlab.verification.quantities import Number, Table

POPULATION, GENERATIONS = 24, 6
SEPARATION = 2.0
"""Modes of the searched laws stay at least this many deviations apart: no Gaussian in disguise."""


def _draw_search(effort: Effort) -> list[PairCases]:
    """Search two-mode laws for the tightest pair: keep the best quarter, vary it, repeat."""
    rng = effort.rng
    genes = rng.standard_normal((effort.count(POPULATION), 10))
    for _ in range(GENERATIONS):
        fitness = ratios(measure_pairs(_grown(genes)))
        parents = genes[np.argsort(-fitness)[: len(genes) // 4]]
        children = parents[rng.integers(len(parents), size=len(genes) - len(parents))]
        genes = np.concatenate((parents, children + 0.3 * rng.standard_normal(children.shape)))
    return [_grown(genes)]


def _grown(genes: np.ndarray) -> PairCases:
    """Return pairs of two-mode laws with a VP step from 10 numbers each."""
    columns = np.clip(genes, -3, 3).T
    ratio = np.exp(columns[8])[:, None, None]
    s, t = (
        VP_LINEAR.level_at(r) for r in (ratio, ratio * np.exp(-np.exp(columns[9, :, None, None])))
    )
    p, q = _two_modes(*columns[:4]), _two_modes(*columns[4:8])
    return PairCases(Problem(p, s, t, SOLVERS["euler"], None), q)


def _two_modes(
    share: np.ndarray, center: np.ndarray, gap: np.ndarray, bias: np.ndarray
) -> GaussianMixture:
    weight = 1 / (1 + np.exp(-share))
    std = np.exp(0.5 * np.stack((bias, -bias), axis=-1))
    half = 0.5 * SEPARATION * std.sum(axis=-1) * np.exp(np.abs(gap))
    means = center[:, None] + half[:, None] * np.array([-1.0, 1.0])
    return GaussianMixture(np.stack((weight, 1 - weight), axis=-1), means, std**2)


def _draw_iterates(effort: Effort) -> list[IterateCases]:
    """Draw runs whose composed map does not fold."""
    runs = [cases.take(cases.folds == 0) for cases in draw_runs_of_all(effort, 72)]
    return [cases for cases in runs if len(cases)]


HALF_GAPS = (1.0, 2.0, 3.0, 4.0, 5.0)
VARIANCES = (0.09, 0.25)


def _draw_reweighted(effort: Effort) -> list[PairCases]:  # noqa: ARG001
    """One VP step from 0.95 to 0.99, modes at ``+-R`` of unequal width, reweighted 0.5 to 0.6."""
    count = len(HALF_GAPS)
    means = np.array(HALF_GAPS)[:, None] * np.array([-1.0, 1.0])
    variances = np.tile(VARIANCES, (count, 1))
    p, q = (GaussianMixture(np.tile((w, 1 - w), (count, 1)), means, variances) for w in (0.5, 0.6))
    s, t = vp_step(0.95, 0.99, count)
    return [PairCases(Problem(p, s, t, SOLVERS["euler"], None), q)]


def _table(results: Results) -> Table:
    data = results["optimum under p"].data[0]
    assert isinstance(data, Perturbed)
    off = np.abs(data.tilde / data.power - data.optimum)
    rows = [
        [gap, *(quiet(float(v)) for v in row)]
        for gap, *row in zip(
            HALF_GAPS,
            off,
            data.gap,
            coefficient_bound(data),
            off / coefficient_bound(data),
            strict=True,
        )
    ]
    return Table(
        "two modes at +-R reweighted 0.5 to 0.6, VP 0.95 to 0.99",
        ("R", "off the optimum under p", "off the optimum under q", "C sqrt F", "ratio (p)"),
        rows,
    )


def _numbers(results: Results) -> list[Number]:
    random, searched, exact = (
        np.concatenate([ratios(d) for d in results[name].data])
        for name in ("pairs", "search", "iterates")
    )
    pairs = zip(results["pairs"].batches, results["pairs"].data, strict=True)
    mixtures = [ratios(d).max() for cases, d in pairs if _components(cases) > 1]
    return [
        Number("tightest random mixtures, none Gaussian", max(mixtures), unit="%"),
        Number("tightest two-mode laws searched", searched.max(), unit="%"),
        Number("tightest exact iterates", exact.max(), unit="%"),
        Number("median tightness, random laws", np.median(random), unit="%"),
        Number("median tightness, exact iterates", np.median(exact), unit="%"),
        *(
            Number(f"off the optimum under p over the bound, modes at +-{gap:g}", ratio)
            for gap, *_, ratio in _table(results).rows[2::2]
        ),
        *proved_bound(results),
    ]


def _components(cases: Any) -> int:
    return int(cases.other.weights.shape[1])


def _lowered(data: Perturbed) -> np.ndarray:
    return np.asarray((1 - 1e-9) * coefficient_bound(data))


PAIRS = Check(
    "pairs",
    "quadrature",
    PairCases,
    draw=partial(draw_pairs, count=120, components=(1, 2, 3, 4)),
    measure=measure_pairs,
    compare=compare_bounds,
)

CLAIM = Claim(
    id="perturbation-bound",
    title="Perturbation bound",
    statement="|gamma_tilde - gamma*| <= C S(q, p) with C = sigma^2 / (alpha |u|_{L2(q)}) and "
    "S = sqrt(E_q|s_model - s_q|^2); in state form |(gamma_tilde - gamma*) u|_{L2(q)} <= "
    "(sigma^2/alpha) S",
    latex=(
        r"|\tilde\gamma - \gamma^{\star}| \le C\, \mathcal{S}(q, p), \qquad C = "
        r"\frac{\sigma^2}{\alpha\, \|u\|_{L^2(q)}}, \qquad \mathcal{S} = "
        r"\sqrt{\mathbb{E}_q\|s_{\mathrm{model}} - s_q\|^2}",
        r"\|(\tilde\gamma - \gamma^{\star})\, u\|_{L^2(q)} \le \frac{\sigma^2}{\alpha}\, "
        r"\mathcal{S}",
    ),
    expected="conditional",
    headline="The bound holds and is attained under the sampler's own law; against the data's "
    "optimum it fails.",
    numbers=_numbers,
    source="Perturbation bound, section 4; constant by Stein's identity under q",
    kind="tight",
    owner="paper",
    conditions=(
        "unstated: gamma* is the optimum under q for the model's own denoiser, not under p",
        "q has a weakly differentiable density, E_q|u|^2 > 0, F finite",
    ),
    formula=BOUNDS,
    checks=(
        PAIRS,
        replace(PAIRS, name="search", draw=_draw_search),
        Check(
            "iterates",
            "quadrature",
            IterateCases,
            draw=_draw_iterates,
            measure=measure_iterates,
            compare=compare_bounds,
        ),
        proved_perturbations(lambda bounds: bounds.coefficient),
    ),
    controls=(
        *(NegativeControl(name, bounds) for name, bounds in FALSE_BOUNDS.items()),
        NegativeControl(
            "constant lowered by 1e-9", BOUNDS._replace(coefficient=_lowered), ("certified",)
        ),
    ),
    dropped=(
        Dropped(
            "gamma* read as the optimum under p",
            replace(PAIRS, name="optimum under p", draw=_draw_reweighted, compare=compare_optimum),
            unstated=True,
        ),
        Dropped(
            "q uniform: its density jumps, its score is 0 almost everywhere",
            replace(PAIRS, name="uniform", measure=measure_uniform),
        ),
    ),
    finding="C = sigma^2 / (alpha |u|) bounds the distance to the optimum under q for the "
    "model's own denoiser, and Gaussians attain it. For the optimum under p it fails for two "
    "modes reweighted 0.5 to 0.6, the more the farther apart they are: no constant free of their "
    "distance would do. Read gamma* as the optimum under the sampler's own law.",
    table=_table,
    search=pair_spaces,
)
