r"""A first-order step in EDM or flow has one optimal coefficient, whatever the law.

There ``T - x = -(1 - k)(x - D)`` with ``k = sigma' / sigma``, and the optimum
``E<u, x - x_star> / E|u|^2`` is ``1/(1 - k)``
(:mod:`steinlab.claims.instruments.posterior_mean_collapse`): a number of the grid. It knows neither
modes nor widths nor dimension, so that it cannot adapt to them, and need not be estimated. In VP
coordinates, and for steps of more evaluations, the optimum does depend on the law.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from steinlab.claims.derivations import DERIVATIONS, symbolic_check, symbolic_controls
from steinlab.claims.instruments.posterior_mean_collapse import (
    SlackFormula,
    collapse_check,
    posterior_mean,
)
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Results
from steinlab.verification.quantities import Number, Table

DERIVATION = DERIVATIONS["collapse"]


class Formula(NamedTuple):
    """``gamma*`` as a function of ``1 - k``."""

    collapse: SlackFormula = posterior_mean


def _departures(results: Results, name: str) -> np.ndarray:
    """``|gamma* (1 - k) - 1|`` of the decided cases."""
    c = results[name].comparison
    return np.asarray(np.abs(c.measured / c.predicted - 1)[c.decided])


COMMON = (1e-2, 1e2)
"""Ratios at which steps begin in VP; beyond, both its ``sigma`` round to 1."""

_HEUN = collapse_check("edm", 24, solver="heun", name="Heun", ratios=COMMON)

FAMILIES = ("edm", "flow")
OTHERS = {"VP": "an Euler step in VP", "Heun": "a Heun step in EDM"}


def _numbers(results: Results) -> list[Number]:
    inside = np.concatenate([_departures(results, name) for name in FAMILIES])
    return [
        Number("largest departure of gamma* (1 - k) from 1", inside.max(), key="off"),
        *(
            Number(f"median departure in {what}", np.median(_departures(results, name)), unit="%")
            for name, what in OTHERS.items()
        ),
        Number("steps", len(inside)),
    ]


def _table(results: Results) -> Table:
    rows = []
    for name in (*FAMILIES, *OTHERS):
        found = np.quantile(_departures(results, name), (0.5, 0.9, 1.0))
        rows.append([OTHERS.get(name, f"an Euler step in {name}"), *(f"{q:.1e}" for q in found)])
    title = "|gamma* (1 - k) - 1| over random laws and steps"
    return Table(title, ["step", "median", "nine in ten below", "largest"], rows)


def _wrong(formula: Callable[[Any], Any]) -> Formula:
    return Formula(lambda slack: np.asarray(formula(slack)))


CLAIM = Claim(
    id="geometry-blindness",
    title="The coefficient does not see the law",
    statement="for a first-order step in EDM or rectified flow gamma* = 1/(1 - k), k = sigma'/"
    "sigma, for every data law: the optimal coefficient is a number of the grid",
    latex=(
        r"\alpha' - k\,\alpha = 1 - k, \quad k = \sigma'/\sigma: \qquad "
        r"\gamma^{\star} = \frac{1}{1 - k} \text{ for every law}",
    ),
    expected="proved",
    source="the optimum of Theorem 4.7 where beta = 1 - kappa",
    kind="identity",
    owner="laboratory",
    conditions=(
        "a first-order step: one evaluation of the exact denoiser, no history",
        "EDM or rectified flow",
        "x under the forward coupling",
    ),
    formula=Formula(),
    checks=(
        collapse_check("edm", 60, name="edm"),
        collapse_check("flow", 60, name="flow"),
        symbolic_check(DERIVATION, covers=True),
    ),
    controls=(
        NegativeControl("gamma* = 1", _wrong(np.ones_like)),
        NegativeControl("k twice: 1/(1 - k^2)", _wrong(lambda slack: 1 / (slack * (2 - slack)))),
        *symbolic_controls(DERIVATION),
    ),
    dropped=(
        Dropped("VP coordinates", collapse_check("vp-linear", 24, name="VP", ratios=COMMON)),
        Dropped("a second evaluation", _HEUN),
    ),
    headline="Fixes gamma* by the grid alone: in EDM and flow a first-order step's optimum does "
    "not see the data law.",
    numbers=_numbers,
    finding="In EDM and rectified flow the optimum of a first-order step is a function of the grid "
    "alone, whatever the law: one mode or four, narrow or wide, in one dimension or sixty-four. "
    "What is estimated there is known beforehand. In VP, and for Heun's step, the optimum depends "
    "on the law.",
    table=_table,
)
