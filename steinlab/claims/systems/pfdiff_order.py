r"""PFDiff is of order two where its springboard halves the step, of order one elsewhere.

The step to ``y_(i+1)`` from ``y_i`` takes the slope at the springboard ``S = T_i + R H``, ``H =
T_(i+1) - T_i``, whose state the last slope reached with an error of ``O(h^2)``. Its local error is
``(R - 1/2) H^2 de/dS + O(h^3)``, as for any method of one slope. PFDiff-k_h, which skips ``k``
levels and springs ``h`` ahead, has ``R = h/(k + 1)``.
"""

from __future__ import annotations

from collections.abc import Mapping

from steinlab.claims.instruments.observed_order import order_number, order_spaces, stated_check
from steinlab.verification.claim import Claim, NegativeControl, Result
from steinlab.verification.quantities import Number

MIDDLE, ELSEWHERE = "1_1 and 3_2", "2_1, 2_2, 3_1 and 3_3"

FRACTIONS = {"2_1": "1/3", "2_2": "2/3", "3_1": "1/4", "3_3": "3/4"}


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    return [
        order_number(results, MIDDLE, "order of PFDiff-1_1 and 3_2", "middle"),
        order_number(results, ELSEWHERE, "order of PFDiff-2_1, 2_2, 3_1 and 3_3", "elsewhere"),
    ]


CLAIM = Claim(
    id="pfdiff-order",
    title="Order of PFDiff",
    statement="PFDiff-k_h around a first-order solver is of order 2 if h = (k + 1)/2, and else of "
    "order 1",
    latex=(
        r"z = y + R\,H\, e_{\text{last}}, \quad y' = y + H\, e(z), \quad R = \tfrac{h}{k+1}: "
        r"\text{error} = \left(R - \tfrac12\right) H^2\, \dot e + O(h^3)",
    ),
    headline="Reaches order {middle:.0f} with the springboard halfway through the step; anywhere "
    "else it has order {elsewhere:.0f}.",
    numbers=_numbers,
    source="PFDiff (Wang et al., 2025), algorithm 1 with DDIM",
    kind="order",
    owner="peer",
    conditions=("a smooth denoiser", "a smooth grid"),
    formula=0,
    checks=(
        stated_check(MIDDLE, ("pfdiff@1/2",), 2),
        stated_check(ELSEWHERE, tuple(f"pfdiff@{r}" for r in FRACTIONS.values()), 1),
    ),
    controls=(NegativeControl("orders one higher", 1), NegativeControl("orders one lower", -1)),
    dropped=(),
    finding="One evaluation per step in every form; the skipped levels are only the grid. With the "
    "springboard in the middle it is the two-step Adams-Bashforth method between springboards. "
    "Take 1_1 or 3_2: the others pay a slope off the middle with an order.",
    search=order_spaces,
)
