r"""One reflow is straight where no two of its lines cross; on a law of three scales they do.

The reflow's lines ``M_t(z) = (1 - t) T(z) + t z`` do not cross if ``M_t`` is injective. Its
derivative ``(1 - t) J + t I``, ``J = grad T``, is singular at some ``t`` in [0, 1) if and only if
an eigenvalue of ``J`` is real and ``<= 0``. ``T`` grows linearly, so that by Hadamard's theorem
``det > 0`` everywhere suffices. On the line ``J > 0`` always, and

    det((1 - t) J + t I) >= t^d

where all eigenvalues are positive. Modes in pairs at three scales, turned by 60 degrees from one to
the next, give ``J`` two negative eigenvalues in a small region, where lines cross.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from steinlab.claims.instruments.ranges import Ranges, between
from steinlab.claims.instruments.reflow import (
    PLANE,
    SCALES,
    Ended,
    Line,
    Plane,
    Slopes,
    asymmetry,
    crossing,
)
from steinlab.claims.instruments.two_modes import on_modes
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number

LINE = "on the line"


class Formula(NamedTuple):
    """The bound of the determinant, and where Euler's run on the reflow ends."""

    bound: Callable[[float], float] = lambda t: t**2
    end: Callable[[Ended], float] = lambda data: data.exact


def compare(data: Slopes, formula: Formula) -> Comparison:
    """Bound ``t^d`` by the least determinant."""
    return single(formula.bound(data.time), data.least, data.error, upper=True, sampled=True)


def compare_line(data: Ended, formula: Formula) -> Comparison:
    """Compare the end on the reflow with what it is said to be."""
    scale = np.array([1 + abs(data.exact)])
    return single(data.end, formula.end(data), data.rounding, scale=scale)


def _numbers(results: Results) -> list[Number]:
    slopes = np.concatenate([data.slopes for data in results[PLANE].data])
    folded = np.linalg.eigvals(results[SCALES].data[0].slopes)[0].real
    return [
        Number("states on laws of three modes", len(slopes)),
        Number("of them with a real eigenvalue <= 0", int(crossing(slopes).sum())),
        Number("largest asymmetry of grad T, of its size", asymmetry(slopes).max(), unit="%"),
        Number("least eigenvalue on three scales", folded.min()),
        Number("the other one", folded.max()),
    ]


ON_LINE = on_modes(Line, *between(start=(-3.0, 3.0), middle=(0.05, 0.95)))
IN_PLANE = Ranges(Plane, {"kind": (PLANE,), "time": (0.995, 0.3, 0.7)})

CLAIM = Claim(
    id="reflow-straightness",
    title="Whether one reflow is enough",
    statement="after one reflow the flow is straight, and one step of Euler is exact",
    latex=(
        r"z \mapsto (1 - t)\, T(z) + t z \text{ injective for all } t \iff \text{straight};\qquad "
        r"\nabla T \text{ without eigenvalues in } (-\infty, 0] \text{ everywhere suffices}",
    ),
    expected="conditional",
    source="'one reflow is enough' of Lee et al., Improving the training of rectified flows (2024)",
    kind="lower",
    owner="peer",
    conditions=("the exact first flow", "no training error",
                "unstated: grad T has no real eigenvalue <= 0"),
    formula=Formula(),
    checks=(ON_LINE.check(LINE, 12, Line.measure, compare_line),
            IN_PLANE.check(PLANE, 4, Plane.measure, compare)),
    controls=(
        NegativeControl("the bound t", Formula(lambda t: t), (PLANE,)),
        NegativeControl("the bound 1.1 t^2", Formula(lambda t: 1.1 * t**2), (PLANE,)),
        NegativeControl("Euler on the first flow", Formula(end=lambda data: data.first), (LINE,)),
    ),
    dropped=(
        Dropped("grad T has no real eigenvalue <= 0: three scales turned by 60 degrees",
                IN_PLANE.check(SCALES, 1, Plane.measure, compare, kind=SCALES, time=0.8),
                unstated=True),
    ),
    headline="Is straight after one reflow on the line and on few modes; on three scales turned "
    "apart, lines cross.",
    numbers=_numbers,
    finding="On the line one reflow is always straight. In the plane no state of laws with three "
    "modes violates the condition, although their maps are no gradients, so no optimal transport. "
    "It is no theorem: clusters within clusters within clusters, each turned by 60 degrees, give "
    "negative eigenvalues, so that lines cross. Random starts miss that region.",
    search=lambda _: [ON_LINE.space(LINE), IN_PLANE.space(PLANE)],
)  # fmt: skip
