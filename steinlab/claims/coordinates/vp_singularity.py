r"""Section 4.5: what is singular in VP as ``alpha -> 0``, at what rate, along which path.

Rates are exponents ``e`` of ``quantity ~ alpha^e``, measured between two small ``alpha``. Paths:

    fixed     the step ends at a fixed level, (1/2, sqrt(3)/2)
    ratio     alpha' / alpha = 2 is kept, on a law whose mean is not zero
    centred   the same on a law whose mean is zero

Quantities: the coefficient ``gamma*``; the drift term ``(1 - 1/alpha) E<u,x> / E|u|^2`` and the
condition number of the sum it enters, ``(|drift| + |divergence term|) / |gamma*|``; the standard
deviation per state of ``gamma_hat`` by Theorem 4.7 (``sampling``) and by Tweedie (``tweedie``),
and that of Theorem 4.7 for the same step in EDM coordinates (``edm``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from steinlab.claims.coordinates.singular_paths import (
    RATE_TOLERANCE,
    RATES,
    Path,
    Rates,
    measure_path,
    rate,
)
from steinlab.claims.derivations import DERIVATIONS, symbolic_check, symbolic_controls
from steinlab.claims.instruments.linear_forms import Identity
from steinlab.claims.instruments.step_checks import on_field, quadrature_check
from steinlab.verification.claim import Check, Claim, Dropped, Effort, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number


@dataclass(frozen=True)
class Measured:
    """Values by quantity, with their path."""

    path: str
    values: Mapping[str, tuple[float, float]]


def measure(path: Path) -> Measured:
    """Measure a path."""
    return Measured(path.path, measure_path(path))


def compare(data: Measured, formula: Formula) -> Comparison:
    """Compare measured exponents with the stated ones."""
    rates = formula.rates[data.path]
    measured = np.array([rate(data.path, data.values[name]) for name in rates])
    predicted = np.array([float(value) for value in rates.values()])
    return Comparison(
        measured, predicted, np.full(len(measured), RATE_TOLERANCE), sampled=True, grade=0.05
    )


def _draw_paths(effort: Effort) -> Sequence[Path]:
    return [Path(path, int(effort.rng.integers(2**32))) for path in RATES]


def _cancels(alpha: Any, sigma: Any) -> Mapping[str, Any]:
    """``<u,x> - sigma^2 div u``."""
    return {"u_x": 1.0 + 0 * alpha, "div": -(sigma**2)}


def _remainder(alpha: Any, sigma: Any) -> Mapping[str, Any]:  # noqa: ARG001
    """``alpha <u, x_star>``."""
    return {"u_x": alpha, "u_ref": -alpha}


def _numbers(results: Results) -> list[Number]:
    values = {d.path: d.values for d in results["rates"].data}
    fixed, ratio = values["fixed"], values["ratio"]
    return [
        Number(
            "power of alpha, sampling error towards a fixed level",
            rate("fixed", fixed["sampling"]),
            RATE_TOLERANCE,
            key="sampling",
        ),
        Number("the same for either term", rate("fixed", fixed["drift"]), RATE_TOLERANCE),
        Number("the same in EDM coordinates", rate("fixed", fixed["edm"]), RATE_TOLERANCE),
        Number("the same for Tweedie's estimate", rate("fixed", fixed["tweedie"]), RATE_TOLERANCE),
        Number(
            "power of alpha, gamma* at a fixed ratio", rate("ratio", ratio["gamma"]), RATE_TOLERANCE
        ),
        Number("gamma* towards a fixed level", fixed["gamma"][1]),
        Number("part of gamma* that float64 loses", fixed["rounding"][1]),
    ]


IDENTITY = Identity(_cancels, _remainder)


@dataclass(frozen=True)
class Formula:
    """What the claim says: the rates, and that the diverging terms cancel."""

    rates: Rates
    identity: Identity


def _with(path: str, **changes: float) -> Formula:
    return Formula({**RATES, path: {**RATES[path], **changes}}, IDENTITY)


def _half(alpha: Any, sigma: Any) -> Mapping[str, Any]:
    return {name: 0.5 * c for name, c in _remainder(alpha, sigma).items()}


def _compare_finite(data: Measured, formula: Formula) -> Comparison:  # noqa: ARG001
    """Whether ``gamma*`` stays finite on a path: its exponent against 0."""
    exponent = rate(data.path, data.values["gamma"])
    return single(exponent, 0.0, RATE_TOLERANCE, sampled=True)


class _GammaPath(Path):
    """A path of which only ``gamma*``, its first quantity, is looked at."""

    def __len__(self) -> int:
        return 1


def _draw_ratio_paths(effort: Effort) -> Sequence[Path]:
    return [_GammaPath(p, int(effort.rng.integers(2**32))) for p in ("ratio", "centred")]


DERIVATION = DERIVATIONS["vp-singularity"]

CLAIM = Claim(
    id="vp-singularity",
    title="The singularity of VP",
    statement="in VP (1 - 1/alpha) -> -inf as alpha -> 0; the coefficient's terms diverge, their "
    "sum is finite; the estimate becomes numerically unstable",
    latex=(
        r"1 - \frac{1}{\alpha} \to -\infty \text{ as } \alpha \to 0, \qquad \mathbb{E}\langle "
        r"u, x\rangle - \sigma^2\, \mathbb{E}[\nabla\cdot u] = \alpha\, \mathbb{E}\langle u, "
        r"x_{\star}\rangle",
    ),
    expected="conditional",
    source="Section 4.5",
    kind="limit",
    owner="paper",
    conditions=(
        "unstated: the path to the limit; the sum is finite towards a fixed level only",
        "unstated: the instability is of sampling, not of float64",
    ),
    formula=Formula(RATES, IDENTITY),
    checks=(
        Check("rates", "quadrature", Path, draw=_draw_paths, measure=measure, compare=compare),
        on_field(
            replace(quadrature_check(600, families=("vp-linear",)), name="cancellation"), "identity"
        ),
        symbolic_check(DERIVATION, covers=False),
    ),
    controls=(
        NegativeControl(
            "gamma* diverges towards a fixed level", _with("fixed", gamma=-1), ("rates",)
        ),
        NegativeControl(
            "sampling error like 1/alpha at fixed ratio", _with("ratio", sampling=-1), ("rates",)
        ),
        NegativeControl("EDM coordinates diverge too", _with("fixed", edm=-1), ("rates",)),
        NegativeControl(
            "cancellation leaves half", Formula(RATES, Identity(_cancels, _half)), ("cancellation",)
        ),
        *symbolic_controls(DERIVATION),
    ),
    dropped=(
        Dropped(
            "alpha'/alpha kept: gamma* finite all the same",
            Check(
                "gamma at fixed ratio",
                "quadrature",
                _GammaPath,
                draw=_draw_ratio_paths,
                measure=measure,
                compare=_compare_finite,
            ),
            unstated=True,
        ),
    ),
    headline="VP's diverging terms cancel towards a fixed level; what grows, like "
    "alpha^{sampling:.0f}, is the sampling error.",
    numbers=_numbers,
    finding="Towards a fixed level the two terms diverge and cancel, which float64 carries well. "
    "What diverges is the sampling error: estimate by Tweedie, or in EDM coordinates, whose "
    "errors stay bounded. With alpha'/alpha kept the coefficient itself diverges, faster for "
    "centred data, so the path to the limit is part of the claim.",
)
