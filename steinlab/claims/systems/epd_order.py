r"""Slopes in parallel do not raise the order above two, however many they are.

Every stage of EPD-Solver starts from the one Euler slope: in Butcher's notation ``a_k1 = c_k`` and
``a_kj = 0`` for ``j > 1``, with ``c_1 = 0``. Order three needs ``sum_kj b_k a_kj c_j = 1/6``, and
here the sum is ``sum_k b_k c_k c_1 = 0``. The third-order term that remains is ``h^3/6 (f_y)^2 f``,
which no weights reach. It vanishes where the slope does not depend on the state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from analytic import NoiseLevel
from analytic.quadrature import gauss_legendre
from steinlab.claims.instruments.observed_order import (
    HALF,
    Convergence,
    Observed,
    observing,
    order_number,
    order_spaces,
    stated_check,
)
from steinlab.solvers.parallel import Parallel
from steinlab.verification.claim import Claim, NegativeControl, Result
from steinlab.verification.quantities import Number

STATED = 3
"""The least order above two."""

SERIAL = "three slopes in series"


def _even(s: NoiseLevel, t: NoiseLevel, c: float) -> NoiseLevel:
    """The level at a fraction of the step in ``sigma / alpha``, up to a scale of the state."""
    alpha = s.alpha ** (1 - c) * t.alpha**c
    return NoiseLevel(alpha, alpha * (s.ratio + c * (t.ratio - s.ratio)))


def _gauss(stages: int) -> Callable[[Convergence], Observed]:
    """Observe the step at Gauss's nodes, exact for polynomials of degree below ``2 stages``."""
    nodes, weights = (np.asarray(v, dtype=float) for v in gauss_legendre(stages))
    pairs = tuple(zip((0.5 * (1 + nodes)).tolist(), (0.5 * weights).tolist(), strict=True))
    solver = Parallel("epd", pairs, _even)
    return observing(lambda *_: solver, STATED, HALF)


def _parallel(stages: int) -> str:
    return f"{stages} slopes in parallel, Gauss's nodes"


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    return [
        order_number(results, _parallel(k), f"order of {k} slopes in parallel", f"parallel_{k}")
        for k in (2, 4)
    ] + [order_number(results, SERIAL, "order of three slopes in series", "serial")]


CLAIM = Claim(
    id="epd-order",
    title="Order of EPD-Solver",
    statement="enough slopes in parallel within a step make a method of higher order: of order 3 "
    "or more with weights that integrate cubics",
    latex=(
        r"y' = y + (S' - S) \sum_k w_k\, e\!\left(y + (S_k - S)\, e, S_k\right): \qquad "
        r"\sum_{k,j} b_k a_{kj} c_j = 0 \ne \tfrac16",
    ),
    expected="refuted",
    headline="Four parallel slopes keep order {parallel_4:.0f}, whatever their weights; three in "
    "series reach {serial:.0f}.",
    numbers=_numbers,
    source="EPD-Solver (Zhu et al., 2025): 'a higher-order approximation of the integral "
    "direction' (its README), read as an order above two",
    kind="order",
    owner="peer",
    conditions=("numbers that do not depend on the state", "a smooth denoiser"),
    formula=0,
    checks=(
        *(stated_check(_parallel(k), ("epd-2",), STATED, _gauss(k)) for k in (2, 4)),
        stated_check(SERIAL, ("dpmpp-3s",), STATED),
    ),
    controls=(
        NegativeControl("three in series of order four", 1, (SERIAL,)),
        NegativeControl("three in series of order two", -1, (SERIAL,)),
    ),
    dropped=(),
    finding="Read as an order above Euler's, or of slopes on the trajectory itself, the promise is "
    "kept. All stages start from one Euler slope, so that the state's part of the third-order "
    "term is missing for every number of stages and every weight. Stages in parallel cost no time "
    "and lower the error's constant; for a third order some stage has to wait for another.",
    search=order_spaces,
)
