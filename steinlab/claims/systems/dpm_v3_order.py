r"""DPM-Solver-v3 combines three outputs to order three; its ``pseudo`` forms of them to order two.

With ``g`` about the last level ``lam_0`` the step needs ``g'(lam_0)`` and ``g''``. Newton's first
divided difference is ``g'(lam_0) - (lam_0 - lam_1) g''/2 + ...``. Taken for the derivative it errs
by ``O(h)``, and the step by ``O(h^3)``. With the term ``(lam - lam_0)(lam - lam_1)`` of Newton's
form in full the error is ``O(h^4)``. The corrector's first difference is that to the new level: its
pseudo form errs as much, from whichever predictor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from steinlab.claims.instruments.observed_order import (
    HALF,
    observing,
    order_number,
    order_spaces,
    stated_check,
)
from steinlab.solvers import DPMPP_3M_EXACT, matching_start
from steinlab.solvers.dpm_v3 import dpm_v3, of_gaussian
from steinlab.verification.claim import Check, Claim, NegativeControl, Result
from steinlab.verification.quantities import Number

FORMS: Mapping[str, tuple[int, Mapping[str, Any]]] = {
    "three outputs": (3, {}),
    "three outputs, pseudo": (2, {"pseudo": True}),
    "three outputs, corrector": (3, {"corrector": "full"}),
    "three outputs, pseudo corrector": (2, {"corrector": "pseudo"}),
}
"""Order and options of the full and the pseudo predictor, and of correctors of the full one."""


def _check(name: str) -> Check:
    """Observe a form about a Gaussian of another mean and width than the law's modes."""
    order, options = FORMS[name]
    solver = dpm_v3(3, of_gaussian(0.2, 0.5), **options)
    solver = replace(solver, starters=matching_start(DPMPP_3M_EXACT))
    steps = [n // 2 for n in HALF] if "corrector" in options else HALF
    observed = observing(lambda *_: solver, order, steps)
    return stated_check(name, ("dpmpp-3m-exact",), order, observed)


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    labels = ("three outputs", "the pseudo form", "its corrector", "the pseudo corrector")
    keys = ("full", "pseudo", "corrector", "pseudo_corrector")
    forms = zip(FORMS, labels, keys, strict=True)
    return [order_number(results, name, f"order of {label}", key) for name, label, key in forms]


CLAIM = Claim(
    id="dpm-v3-order",
    title="Order of DPM-Solver-v3's pseudo form",
    statement="DPM-Solver-v3 with three outputs is of order 3, its pseudo predictor and its pseudo "
    "corrector of order 2",
    latex=(
        r"\hat g' = \frac{g_0 - g_1}{\lambda_0 - \lambda_1} = g'(\lambda_0) - "
        r"\tfrac12 (\lambda_0 - \lambda_1)\, g'' + \dots \;\Rightarrow\; \text{order } 2",
    ),
    headline="Pseudo derivatives lose an order: {pseudo:.0f}, where the full form has {full:.0f}.",
    numbers=_numbers,
    source="DPM-Solver-v3 (Zheng et al., 2023), pseudo order 3 of its predictor and corrector "
    "(p_pseudo, c_pseudo)",
    kind="order",
    owner="laboratory",
    conditions=("started by single steps of order three", "a smooth denoiser"),
    formula=0,
    checks=tuple(map(_check, FORMS)),
    controls=(
        NegativeControl("orders one higher, the pseudo forms of order three", 1),
        NegativeControl("orders one lower", -1),
    ),
    dropped=(),
    finding="The first divided difference stands for the derivative, which costs an order. The "
    "name says as much, and the authors advise it for five steps alone, of which an order says "
    "nothing. For their corrector they advise it in most cases: it takes a predictor of order "
    "three down to two, where the full corrector keeps three. The order does not depend on the "
    "statistics; the error does.",
    search=order_spaces,
)
