r"""AMED-Solver is of order two where its stage lies in the middle, and of order one elsewhere.

The step ``y' = y + (S' - S) e_m`` takes the slope at ``S_m = S^(1 - r) S'^r``. Along the flow
``y' - y = (S' - S) e + (S' - S)^2/2 de/dS + O(h^3)``, and ``e_m = e + (S_m - S) de/dS + O(h^2)``
with ``S_m - S = r (S' - S) + O(h^2)``. The local error is therefore ``(r - 1/2)(S' - S)^2 de/dS +
O(h^3)``: order two if and only if ``r = 1/2 + O(h)``. A network that learns ``r`` for few steps is
free to leave 1/2; one that leaves it by a constant pays an order.
"""

from __future__ import annotations

from collections.abc import Mapping

from steinlab.claims.instruments.observed_order import (
    Convergence,
    observing,
    order_number,
    order_spaces,
    stated_check,
)
from steinlab.solvers.parallel import Parallel
from steinlab.verification.claim import Claim, NegativeControl, Result
from steinlab.verification.quantities import Number

MIDDLE, CONSTANT, TENDING = "r = 1/2", "r constant, not 1/2", "r = 1/2 + 1/N"
OTHERS = ("amed@0.4", "amed@0.6")


def _tending(case: Convergence, n: int) -> Parallel:
    """Return the solver of a run of ``n`` steps, whose stage tends to the middle."""
    return Parallel(case.solver, ((0.5 + 1 / n, 1.0),))


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    return [
        order_number(results, MIDDLE, "order for r = 1/2", "middle"),
        order_number(results, CONSTANT, "order for r = 0.4 and 0.6", "constant"),
        order_number(results, TENDING, "order for r = 1/2 + 1/N", "tending"),
    ]


CLAIM = Claim(
    id="amed-order",
    title="Order of AMED-Solver",
    statement="AMED-Solver, unscaled, is of order 2 if its stage r is 1/2 + O(h), and of order 1 "
    "for every other constant r",
    latex=(
        r"y' = y + (S' - S)\, e(y_m, S_m), \quad S_m = S^{1-r} S'^{\,r}: \qquad "
        r"\text{error} = \left(r - \tfrac12\right)(S' - S)^2\, \dot e + O(h^3)",
    ),
    headline="Reaches order {middle:.0f} only with its stage in the middle; any other constant "
    "stage has order {constant:.0f}.",
    numbers=_numbers,
    source="AMED-Solver (Zhou et al., 2024), its step for a fixed stage",
    kind="order",
    owner="peer",
    conditions=("numbers that do not depend on the state", "a smooth denoiser"),
    formula=0,
    checks=(
        stated_check(MIDDLE, ("amed@1/2",), 2),
        stated_check(CONSTANT, OTHERS, 1),
        stated_check(TENDING, ("amed@1/2",), 2, observing(_tending, 2)),
    ),
    controls=(NegativeControl("orders one higher", 1), NegativeControl("orders one lower", -1)),
    dropped=(),
    finding="With r = 1/2 the step is DPM-Solver-2. A stage that tends to the middle as fast as "
    "the step shrinks keeps order two. Learned stages serve a few large steps: with many steps "
    "they must return to the middle, or fall behind the solver they started from.",
    search=order_spaces,
)
