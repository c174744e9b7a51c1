"""Rectified flow: which of the paper's statements carry over.

There ``alpha = 1 - t``, ``sigma = t`` and ``beta = 1 - kappa`` as in EDM, so the coefficient's
identity holds, with its drift term, and the optimum of a first-order step collapses to the
posterior mean (:mod:`steinlab.claims.instruments.posterior_mean_collapse`). The runs are those of
:mod:`steinlab.claims.performance.integration_error`, of the published rule on the flow's levels
from ``t = 0.999``; the definition's coefficient clipped from both sides has a claim of its own
(:mod:`steinlab.claims.performance.clipped_gain_flow`).
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from steinlab.claims.instruments.linear_forms import Identity, no_drift, reference, stein
from steinlab.claims.instruments.posterior_mean_collapse import (
    SlackFormula,
    collapse_check,
    posterior_mean,
)
from steinlab.claims.instruments.step_checks import on_field, quadrature_check
from steinlab.claims.performance.gain_ratios import AS_STATED, CLUSTERED, OVERSHOT, Judged
from steinlab.claims.performance.integration_error import checks, design, numbers, table
from steinlab.diffusion.processes import FLOW
from steinlab.verification.claim import Claim, NegativeControl

THEOREM = Identity(reference, stein)


@dataclass(frozen=True)
class Formula:
    """The identity of the coefficient, the collapse, and which row of the runs is judged."""

    identity: Identity = THEOREM
    collapse: SlackFormula = posterior_mean
    judged: Judged = AS_STATED


CLAIM = Claim(
    id="other-ode-samplers",
    beside="clipped-gain-flow",
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
        "gain: the geometric mean ratio's 95 % interval lies below 1, and no run gets 10 times "
        "worse",
        CLUSTERED,
    ),
    formula=Formula(),
    checks=(
        on_field(
            replace(quadrature_check(240, families=(FLOW.name,)), name="coefficient"), "identity"
        ),
        collapse_check(FLOW.name, 160),
        *(on_field(check, "judged") for check in checks(partial(design, process=FLOW.name))),
    ),
    controls=(
        NegativeControl(
            "drift term dropped", Formula(Identity(reference, no_drift)), ("coefficient",)
        ),
        NegativeControl("gamma* = 1", Formula(collapse=np.ones_like), ("collapse",)),
        NegativeControl("gamma = 1.5 instead of the rule", Formula(judged=OVERSHOT), ("mean",)),
        NegativeControl("gamma = 1.5 instead of the oracle", Formula(judged=OVERSHOT), ("oracle",)),
    ),
    headline="Theorem 4.7 carries over to rectified flow, its gain does not: the published rule "
    "multiplies the error by {rule}.",
    numbers=numbers,
    finding="The identity of Theorem 4.7 and gamma* = 1/(1 - kappa) carry over within rounding. "
    "The gain does not: clipped from below only, the published rule worsens most runs that have a "
    "step with L_T > 1, as in EDM. Take the definition's coefficient clipped at 1 instead "
    "(clipped-gain-flow).",
    table=table,
)
