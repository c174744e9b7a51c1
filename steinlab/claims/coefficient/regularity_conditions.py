r"""The review's first objection: which conditions the coefficient's derivation needs.

Theorem 4.7 rewrites ``E<u, x - x_star>`` by integration by parts over the noise. Each condition of
that step is dropped in turn on its own. What is *not* a condition: a bound on the step or on a
Lipschitz constant. To show it, a denoiser ``D + A tanh(x / w)`` makes the step's slope as large as
``beta A / w``, up to 1e6, at a state that carries mass; ``w -> 0`` at last makes a jump, whose
derivative almost everywhere is zero, and the identity is lost.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from steinlab.claims.coefficient.broken_conditions import (
    TWO_SCALES,
    Sides,
    SteepCases,
    SteepMeasured,
    Still,
    Tail,
    count_minima,
    draw_steep,
    integrate_coupled,
    integrate_steep,
    integrate_tail,
)
from steinlab.claims.coefficient.multistep_cases import HistoryCase, draw_histories, integrate_case
from steinlab.claims.coefficient.multistep_hypothesis import compare_independent
from steinlab.claims.instruments.linear_forms import (
    Identity,
    compare_integrated,
    reference,
    stein,
    stein_wrong_sign,
)
from steinlab.claims.instruments.random_steps import StepCases, drawing, log_uniform
from steinlab.claims.instruments.step_checks import quadrature_check
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.processes import PROCESSES
from steinlab.verification.claim import Check, Claim, Dropped, Effort, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number


def compare_steep(data: SteepMeasured, identity: Identity) -> Comparison:
    """Compare the coefficient by reference with Theorem 4.7's."""
    return compare_integrated(data.measured, identity)


def compare_tail(data: Sides, identity: Identity) -> Comparison:
    """Compare the two numerators."""
    values = {"u_x": data.u_x, "u_ref": data.u_ref, "div": data.div}
    left, right = (
        sum(c * values[name] for name, c in form(data.alpha, data.sigma).items())
        for form in identity
    )
    return single(left, right, ROUNDING * EPS * data.size)


def _draw_tails(effort: Effort) -> list[Tail]:
    ratios = log_uniform(effort.rng, 0.3, 3.0, effort.count(6))
    levels = [PROCESSES["vp-linear"].level_at(float(r)) for r in ratios]
    return [Tail(a.alpha, a.sigma, float(0.2 + effort.rng.random())) for a in levels]


_draw_line = drawing(60, solvers=("euler", "heun"))


def compare_unique(count: int, identity: Identity) -> Comparison:  # noqa: ARG001
    """Check that one coefficient alone is best."""
    return single(count, 1.0, 0.0)


def _draw_still(effort: Effort) -> list[Still]:
    ratios = log_uniform(effort.rng, 0.1, 10.0, 6).tolist()
    return [Still(r, 0.5 * r, int(effort.rng.integers(2**32))) for r in ratios]


def _numbers(results: Results) -> list[Number]:
    slopes = np.concatenate([d.slope for d in results["steep slopes"].data])
    bent, large = (results[name].comparison for name in ("steep slopes", "large steps"))
    gap, off = (
        np.abs(c.measured - c.predicted) / np.maximum(np.abs(c.measured), 1.0)
        for c in (bent, large)
    )
    steep = bent.decided & (slopes > 1e4)
    return [
        Number("relative gap on steep slopes, largest", gap[steep].max(), key="gap"),
        Number("steepest slope", slopes[bent.decided].max(), key="slope"),
        Number("steps with slopes above 1e4", steep.sum()),
        Number("relative gap on large steps, largest", off[large.decided].max()),
        Number("steps down to zero noise", large.decided.sum()),
    ]


def _no_divergence(alpha: Any, sigma: Any) -> Mapping[str, Any]:  # noqa: ARG001
    return {"u_x": 1 - 1 / alpha, "div": 0.0 * alpha}


CONDITIONS: tuple[tuple[str, str, Any, Any, Any, Any], ...] = (
    (
        "jump",
        "weak differentiability: a denoiser with a jump",
        partial(draw_steep, count=45),
        partial(integrate_steep, jump=True),
        compare_steep,
        SteepCases.restore,
    ),
    (
        "tails",
        "integrability: a residual that grows as the density falls",
        _draw_tails,
        integrate_tail,
        compare_tail,
        Tail.restore,
    ),
    (
        "no residual",
        "E|u|^2 > 0: the exact flow of standard normal data in VP",
        _draw_still,
        count_minima,
        compare_unique,
        Still.restore,
    ),
    (
        "two-scale noise",
        "Gaussian noise: two scales, variance 1",
        _draw_line,
        partial(integrate_coupled, factors=TWO_SCALES),
        compare_integrated,
        StepCases.restore,
    ),
    (
        "1.1 sigma",
        "forward coupling: states with 1.1 sigma",
        _draw_line,
        partial(integrate_coupled, factors=(1.1,)),
        compare_integrated,
        StepCases.restore,
    ),
    (
        "shared history",
        "independent history: past states that share the noise of x",
        partial(draw_histories, shared=True),
        integrate_case,
        compare_independent,
        HistoryCase.restore,
    ),
)
"""Conditions dropped one by one: check, what is dropped, draw, measure, compare, restore."""

CLAIM = Claim(
    id="regularity-conditions",
    title="Conditions of the derivation (objection 1)",
    statement="Theorem 4.7 needs u weakly differentiable in x, E|u|^2 and E|div u| finite, "
    "E|u|^2 > 0, Gaussian noise, the forward coupling and a history independent of x; it "
    "needs no bound on the step or on a Lipschitz constant",
    latex=(
        r"u \in W^{1,1}_{\mathrm{loc}}, \quad 0 < \mathbb{E}\|u\|^2 < \infty, \quad "
        r"\mathbb{E}|\nabla\cdot u| < \infty, \quad \varepsilon \sim N(0, I)",
    ),
    source="The review's first objection; proof of Theorem 4.7",
    kind="identity",
    owner="review",
    conditions=(
        "u weakly differentiable with E|u|^2 and E|div u| finite",
        "E|u|^2 > 0",
        "eps standard normal, independent of x_star",
        "x = alpha x_star + sigma eps at the level that the formula uses",
        "history, if any, independent of the noise of x",
    ),
    formula=Identity(reference, stein),
    checks=(
        replace(quadrature_check(400), name="large steps"),
        Check(
            "steep slopes",
            "quadrature",
            SteepCases,
            draw=partial(draw_steep, count=180),
            measure=integrate_steep,
            compare=compare_steep,
        ),
    ),
    controls=(
        NegativeControl(
            "wrong sign of the divergence", Identity(reference, stein_wrong_sign), ("large steps",)
        ),
        NegativeControl(
            "the divergence left out", Identity(reference, _no_divergence), ("steep slopes",)
        ),
        NegativeControl(
            "wrong sign, steep", Identity(reference, stein_wrong_sign), ("steep slopes",)
        ),
    ),
    dropped=tuple(
        Dropped(
            why, Check(name, "quadrature", restore, draw=draw, measure=measure, compare=compare)
        )
        for name, why, draw, measure, compare, restore in CONDITIONS
    ),
    headline="Theorem 4.7 needs no bound on step or slope: it holds to {gap} where slopes "
    "reach {slope}.",
    numbers=_numbers,
    finding="Objection 1 asks which regularity the derivation needs, and whether it holds where "
    "steps are large. The step's length and its Lipschitz constant do not matter. Each stated "
    "condition does: without weak differentiability, integrability, E|u|^2 > 0, Gaussian noise, "
    "the forward coupling or an independent history the formula fails.",
)
