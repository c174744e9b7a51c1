"""Integration error with the definition's coefficient, clipped from both sides (rectified flow).

The claim of :mod:`steinlab.claims.performance.clipped_gain` on the flow's levels, ``alpha = 1 -
t``, ``sigma = t``. There a fixed gamma of 0.9, plain damping, passes part (i) too, and so does
gamma clipped at 1.1: neither is a control here, and the table has both.
"""

from steinlab.claims.instruments.paired_runs import CLIPPED, Setup
from steinlab.claims.performance.clipped_gain import (
    CONDITIONS,
    FINDING,
    SURE,
    cells,
    interval,
    numbers,
    one_cell,
    stand_in,
    table,
    without,
)
from steinlab.claims.performance.gain_ratios import AS_STATED, OVERSHOT, cell_spaces
from steinlab.diffusion.processes import FLOW
from steinlab.verification.claim import Claim, NegativeControl

FRACTION = 3
"""Setups for one of the quick profile: the gain is larger here, so fewer show it."""


CLAIM = Claim(
    id="clipped-gain-flow",
    title="Rectified flow with the definition's coefficient, clipped at 1",
    statement="the gain of the correction with the definition's coefficient gamma*, clipped to at "
    "most 1, carries over to rectified flow",
    latex=(
        r"\alpha = 1 - t, \quad \sigma = t: \qquad \gamma = "
        r"\operatorname{clip}\!\left(\frac{\mathbb{E}\langle u, x - "
        r"D\rangle}{\mathbb{E}\|u\|^2},\, \gamma_{\min},\, 1\right)",
    ),
    expected="conditional",
    headline="Rectified flow: Tweedie's coefficient clipped to [0.5, 1] cuts flow errors by "
    "{cut} on average, mostly Heun's and 3M's.",
    numbers=numbers,
    source="the definition of gamma* at alpha = 1 - t, sigma = t; a question of the review; the "
    "clip from above is ours",
    kind="empirical",
    owner="review",
    conditions=CONDITIONS,
    formula=AS_STATED,
    checks=(interval("interval", FLOW.name, FRACTION, CLIPPED), cells(FLOW.name, CLIPPED)),
    controls=(
        NegativeControl("gamma = 1.5", OVERSHOT, ("interval",)),
        NegativeControl(
            "clipped from below only, cell by cell", stand_in("tweedie from 0.1"), ("cells",)
        ),
    ),
    dropped=without(
        FLOW.name,
        one_cell(
            "cells, cancelling",
            "tweedie 0.9 to 1",
            Setup("Gaussian, 2-D", FLOW.name, "unipc-2", "logsnr", 8, SURE, 0),
        ),
    ),
    finding=FINDING,
    table=table,
    search=cell_spaces,
)
