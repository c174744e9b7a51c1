"""Section 4.5: at ``alpha = 1`` the drift term vanishes and the coefficient is a divergence."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from steinlab.claims.coefficient.reference_free_coefficient import shared_history
from steinlab.claims.derivations import DERIVATIONS, symbolic_check, symbolic_controls
from steinlab.claims.instruments.enclosures import EDM_CASES, certified_check, proof_radius
from steinlab.claims.instruments.linear_forms import Identity, no_square, reference, wrong_sign
from steinlab.claims.instruments.step_checks import digits_check, quadrature_check, sampled_check
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Results
from steinlab.verification.quantities import Number


def geometric(alpha: Any, sigma: Any) -> Mapping[str, Any]:  # noqa: ARG001
    """``sigma^2 div u``: the drift term left out."""
    return {"div": sigma**2}


def _with_drift(alpha: Any, sigma: Any) -> Mapping[str, Any]:
    return {"u_x": 1 / alpha, "div": sigma**2}


def _numbers(results: Results) -> list[Number]:
    exact, shared = (results[k].comparison for k in ("quadrature", "shared history"))
    pool = results["digits"].pooled
    gap = np.abs(exact.measured - exact.predicted) / np.maximum(np.abs(exact.measured), 1)
    assert pool is not None
    return [
        Number("2M steps with a shared history that break it", shared.violated.sum(), key="broken"),
        Number("2M steps with a shared history", len(shared.measured), key="shared"),
        Number("relative gap, largest", gap.max(), better="lower"),
        Number("integrated steps", len(gap)),
        Number("sampled scale on digits, 1 is exact", pool.measured[0], pool.tolerance[0]),
        *proof_radius(results),
    ]


DERIVATION = DERIVATIONS["edm-drift-vanishes"]

CLAIM = Claim(
    id="edm-drift-vanishes",
    title="No drift term in EDM",
    statement="at alpha = 1: gamma* = sigma^2 E div u / E|u|^2",
    latex=(
        r"\alpha = 1: \quad \gamma^{\star} = \frac{\sigma^2\, \mathbb{E}[\nabla\cdot "
        r"u]}{\mathbb{E}\|u\|^2}",
    ),
    expected="conditional",
    source="Section 4.5",
    kind="identity",
    owner="paper",
    conditions=(
        "alpha = 1 where the step begins",
        "the conditions of Theorem 4.7",
        "unstated: the candidate depends on x alone, or on a history independent of its noise",
    ),
    formula=Identity(reference, geometric),
    checks=(
        quadrature_check(1000, families=("edm",)),
        sampled_check(750, families=("edm",)),
        digits_check(processes=("edm",)),
        certified_check(EDM_CASES),
        symbolic_check(DERIVATION, covers=True),
    ),
    controls=(
        NegativeControl("wrong sign", Identity(reference, wrong_sign)),
        NegativeControl("sigma instead of sigma^2", Identity(reference, no_square)),
        NegativeControl("a drift term E<u,x> kept", Identity(reference, _with_drift)),
        *symbolic_controls(DERIVATION),
    ),
    dropped=(
        Dropped(
            "alpha < 1: the same formula on VP levels",
            replace(quadrature_check(200, families=("vp-linear",)), name="vp"),
        ),
        shared_history("edm"),
    ),
    headline="gamma* needs a divergence alone; 2M steps whose history shares the noise break it in "
    "{broken} of {shared}.",
    numbers=_numbers,
    finding="At alpha = 1 the divergence of the residual is all that has to be estimated. The "
    "formula fails where alpha is not 1, and for 2M steps whose history shares the noise of x: "
    "there the divergence must go through the history as well.",
)
