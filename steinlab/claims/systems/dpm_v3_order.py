r"""DPM-Solver-v3 combines three outputs to order three; its ``pseudo`` form of them to order two.

With ``g`` about the last level ``lam_0`` the step needs ``g'(lam_0)`` and ``g''``. Newton's first
divided difference is ``g'(lam_0) - (lam_0 - lam_1) g''/2 + ...``. Taken for the derivative it errs
by ``O(h)``, and the step by ``O(h^3)``. With the term ``(lam - lam_0)(lam - lam_1)`` of Newton's
form in full the error is ``O(h^4)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from steinlab.claims.instruments.observed_order import (
    HALF,
    Convergence,
    Observed,
    observe_runs,
    order_number,
    order_spaces,
    stated_check,
)
from steinlab.solvers import DPMPP_3M_EXACT, make_plan, matching_start
from steinlab.solvers.dpm_v3 import dpm_v3, of_gaussian
from steinlab.verification.claim import Claim, NegativeControl, Result
from steinlab.verification.quantities import Number

STATED = 3

FULL, PSEUDO = "three outputs", "three outputs, pseudo"


def _observed(pseudo: bool, case: Convergence) -> Observed:
    """Observe the method about a Gaussian of another mean and width than the law's modes."""
    solver = dpm_v3(3, of_gaussian(0.2, 0.5), pseudo=pseudo)
    start = matching_start(DPMPP_3M_EXACT)
    return observe_runs(case, lambda n: make_plan(solver, n, start=start), STATED, HALF)


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    return [
        order_number(results, FULL, "order of three outputs", "full"),
        order_number(results, PSEUDO, "order of the pseudo form", "pseudo"),
    ]


CLAIM = Claim(
    id="dpm-v3-order",
    title="Order of DPM-Solver-v3's pseudo form",
    statement="DPM-Solver-v3 of order 3 is of order 3 with pseudo derivatives too",
    latex=(
        r"\hat g' = \frac{g_0 - g_1}{\lambda_0 - \lambda_1} = g'(\lambda_0) - "
        r"\tfrac12 (\lambda_0 - \lambda_1)\, g'' + \dots \;\Rightarrow\; \text{order } 2",
    ),
    expected="refuted",
    headline="Pseudo derivatives lose an order: {pseudo:.0f}, where the full form has {full:.0f}.",
    numbers=_numbers,
    source="DPM-Solver-v3 (Zheng et al., 2023), pseudo order 3 of its predictor (p_pseudo)",
    kind="order",
    owner="peer",
    conditions=("started by single steps of order three", "a smooth denoiser"),
    formula=0,
    checks=(
        stated_check(FULL, ("dpmpp-3m-exact",), STATED, partial(_observed, False)),
        stated_check(PSEUDO, ("dpmpp-3m-exact",), STATED, partial(_observed, True)),
    ),
    controls=(
        NegativeControl("order four", 1, (FULL,)),
        NegativeControl("order two", -1, (FULL,)),
    ),
    dropped=(),
    finding="The first divided difference stands for the derivative, which costs an order. The "
    "error may still be smaller at few steps: an order says nothing of them. It does not depend on "
    "the statistics; the error does.",
    search=order_spaces,
)
