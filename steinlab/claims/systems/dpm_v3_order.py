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

ORDERS = {False: 3, True: 2}
"""Of the full and of the pseudo form."""

FULL, PSEUDO = "three outputs", "three outputs, pseudo"


def _observed(pseudo: bool, case: Convergence) -> Observed:
    """Observe the method about a Gaussian of another mean and width than the law's modes."""
    solver = dpm_v3(3, of_gaussian(0.2, 0.5), pseudo=pseudo)
    start = matching_start(DPMPP_3M_EXACT)
    return observe_runs(case, lambda n: make_plan(solver, n, start=start), ORDERS[pseudo], HALF)


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    return [
        order_number(results, FULL, "order of three outputs", "full"),
        order_number(results, PSEUDO, "order of the pseudo form", "pseudo"),
    ]


CLAIM = Claim(
    id="dpm-v3-order",
    title="Order of DPM-Solver-v3's pseudo form",
    statement="DPM-Solver-v3 with three outputs is of order 3, its pseudo form of order 2",
    latex=(
        r"\hat g' = \frac{g_0 - g_1}{\lambda_0 - \lambda_1} = g'(\lambda_0) - "
        r"\tfrac12 (\lambda_0 - \lambda_1)\, g'' + \dots \;\Rightarrow\; \text{order } 2",
    ),
    headline="Pseudo derivatives lose an order: {pseudo:.0f}, where the full form has {full:.0f}.",
    numbers=_numbers,
    source="DPM-Solver-v3 (Zheng et al., 2023), pseudo order 3 of its predictor (p_pseudo)",
    kind="order",
    owner="laboratory",
    conditions=("started by single steps of order three", "a smooth denoiser"),
    formula=0,
    checks=(
        stated_check(FULL, ("dpmpp-3m-exact",), ORDERS[False], partial(_observed, False)),
        stated_check(PSEUDO, ("dpmpp-3m-exact",), ORDERS[True], partial(_observed, True)),
    ),
    controls=(
        NegativeControl("orders one higher, the pseudo form of order three", 1),
        NegativeControl("orders one lower", -1),
    ),
    dropped=(),
    finding="The first divided difference stands for the derivative, which costs an order. The "
    "name says as much, and the authors advise it for five steps alone, of which an order says "
    "nothing. For their corrector they advise it in most cases, with the same loss. The order does "
    "not depend on the statistics; the error does.",
    search=order_spaces,
)
