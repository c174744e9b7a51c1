"""Rectified flow: which of the paper's statements carry over.

There ``alpha = 1 - t``, ``sigma = t`` and ``beta = 1 - kappa`` as in EDM, so the coefficient's
identity holds, with its drift term, and the optimum of a first-order step collapses to the
posterior mean (:mod:`steinlab.claims.instruments.posterior_mean_collapse`). The runs are those of
:mod:`steinlab.claims.performance.integration_error`, of the published rule on the flow's levels
from ``t = 0.999``; the definition's coefficient clipped from both sides has a claim of its own
(:mod:`steinlab.claims.performance.clipped_gain_flow`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from steinlab.claims.instruments.linear_forms import (
    Identity,
    Measured,
    compare_integrated,
    reference,
    stein,
)
from steinlab.claims.instruments.paired_runs import BEST, PUBLISHED
from steinlab.claims.instruments.posterior_mean_collapse import (
    SlackFormula,
    collapse_check,
    posterior_mean,
)
from steinlab.claims.instruments.step_checks import quadrature_check
from steinlab.claims.performance.gain_ratios import (
    AS_STATED,
    CLUSTERED,
    OVERSHOT,
    Design,
    Judged,
    Runs,
    expansive,
    over,
)
from steinlab.claims.performance.integration_error import (
    SHOWN,
    checks,
    design,
    outcomes_of,
    sentence,
    table,
)
from steinlab.diffusion.processes import FLOW
from steinlab.verification.claim import (
    Check,
    Claim,
    Effort,
    NegativeControl,
    Number,
    Result,
)
from steinlab.verification.comparison import Comparison

THEOREM = Identity(reference, stein)


@dataclass(frozen=True)
class Formula:
    """The identity of the coefficient, the collapse, and which row of the runs is judged."""

    identity: Identity = THEOREM
    collapse: SlackFormula = posterior_mean
    judged: Judged = AS_STATED


def _compare_identity(data: Measured, formula: Formula) -> Comparison:
    return compare_integrated(data, formula.identity)


def _on_runs(check: Check) -> Check:
    """The check with this claim's formula."""

    def compare(runs: Runs, formula: Formula) -> Comparison:
        found: Comparison = check.compare(runs, formula.judged)
        return found

    return replace(check, compare=compare)


def _design(effort: Effort) -> Design:
    return design(effort, FLOW.name)


def _no_drift(alpha: np.ndarray, sigma: np.ndarray) -> Mapping[str, np.ndarray]:
    return {"div": sigma**2 / alpha}


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    kept = expansive(outcomes_of(results))
    found = {rule: over(kept, rule) for rule in (*SHOWN, BEST)}
    rule = found[PUBLISHED[0]]
    return [
        Number(
            "flow error over plain, published rule, mean", rule.mean, better="lower", key="rule"
        ),
        Number("its 95 % interval, from", rule.low),
        Number("its 95 % interval, to", rule.high),
        Number("setups that it improves", rule.improved, unit="%", better="higher"),
        *(
            Number(f"flow error over plain, gamma {name}, mean", found[name].mean, better="lower")
            for name in SHOWN[1:]
        ),
        Number("the same, chosen by the exact flow", found[BEST].mean, better="lower"),
        Number("setups", len(kept)),
    ]


def _finding(results: Mapping[str, Result]) -> str:
    identity, collapse = (results[name].comparison for name in ("coefficient", "collapse"))
    within = [f"{int((~c.violated).sum())} of {len(c.measured)}" for c in (identity, collapse)]
    return (
        f"Theorem 4.7 is met within rounding in {within[0]} steps, gamma* = 1/(1 - kappa) in "
        f"{within[1]}. The runs: {sentence(outcomes_of(results))}"
    )


CLAIM = Claim(
    id="other-ode-samplers",
    title="Rectified flow",
    statement="the coefficient and the gain of the correction as published (clipped from below "
    "only) carry over to rectified flow",
    latex=(r"\alpha = 1 - t, \quad \sigma = t: \qquad \gamma^{\star} = \frac{1}{1-\kappa}",),
    expected="refuted",
    source="Theorem 4.7 at alpha = 1 - t, sigma = t; a question of the review",
    kind="empirical",
    owner="review",
    conditions=(
        "an exact denoiser; laws, solvers, grids and evaluations of integration-error",
        "the published rule: the divergence of x alone, also for multistep candidates, whose past "
        "shares the noise of x; gamma clipped from below only, at 0.1 or 0.5",
        "gain: the geometric mean ratio's 95 % interval lies below 1, and no cell gets 10 times "
        "worse",
        CLUSTERED,
    ),
    formula=Formula(),
    checks=(
        replace(
            quadrature_check(240, families=(FLOW.name,)),
            name="coefficient",
            compare=_compare_identity,
        ),
        collapse_check(FLOW.name, 160),
        *(_on_runs(check) for check in checks(_design)),
    ),
    controls=(
        NegativeControl(
            "drift term dropped", Formula(Identity(reference, _no_drift)), ("coefficient",)
        ),
        NegativeControl("gamma* = 1", Formula(collapse=np.ones_like), ("collapse",)),
        NegativeControl("gamma = 1.5 instead of the rule", Formula(judged=OVERSHOT), ("mean",)),
        NegativeControl("gamma = 1.5 instead of the oracle", Formula(judged=OVERSHOT), ("oracle",)),
    ),
    dropped=(),
    headline="Theorem 4.7 carries over to rectified flow, its gain does not: the published rule "
    "multiplies the error by {rule:.1f}.",
    numbers=_numbers,
    finding=_finding,
    table=table,
)
