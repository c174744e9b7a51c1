"""Integration error on a network: r.m.s. distance to the network's own flow, from the same starts.

The paper's rule, the coefficient clipped from below only, is what the verdict is about; clipped to
[0.1, 1] and as a calibrated table it stands in the finding and the table beside it. See
:mod:`gpu_models.claims.gains` for the criterion and :mod:`gpu_models.study.pairs` for the errors.
"""

from __future__ import annotations

from collections.abc import Mapping

from gpu_models.claims.gains import AS_STATED, TWINS, checks, study
from gpu_models.claims.words import COUNTED, WHERE, WHOSE, scope, sentence, table
from steinlab.verdicts import Claim, Result

QUANTITIES = {"flow_error": "flow error"}


def _finding(results: Mapping[str, Result]) -> str:
    return (
        f"fashion-edm, {scope(study())}; corrected over plain, geometric mean: "
        f"{sentence(results['mean'].data[0].pairs, QUANTITIES)}"
    )


CLAIM = Claim(
    id="neural-integration-error",
    title="Integration error on a neural denoiser",
    statement="on a trained network the correction reduces the distance to the network's own flow",
    source="Section 5; abstract of the conference page, not of arXiv v1",
    kind="empirical",
    owner="paper",
    conditions=(
        WHERE,
        WHOSE,
        "reduces: the geometric mean ratio's 95 % interval over setups lies below 1, and no cell "
        "is worse beyond its joint error",
        COUNTED,
        "errors of the two runs are joined as if independent: conservative, since they share "
        "their start states",
    ),
    formula=AS_STATED,
    checks=checks(tuple(QUANTITIES)),
    twins=TWINS,
    dropped=(),
    finding=_finding,
    table=table(QUANTITIES),
    search=lambda _claim: [],
)
