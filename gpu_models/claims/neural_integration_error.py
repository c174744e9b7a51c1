"""Integration error on a network: r.m.s. distance to the network's own flow, from the same starts.

The published rule is judged: Theorem 4.7 clipped from below only. The definition's coefficient with
a clip on both sides has a claim of its own (:mod:`gpu_models.claims.neural_clipped_gain`), as on
exact laws; it, Theorem 4.7 clipped to [0.1, 1] and the calibrated table are shown beside it. See
:mod:`gpu_models.claims.gains` for the criterion and :mod:`gpu_models.study.pairs` for the errors.
"""

from gpu_models.claims import gains
from gpu_models.study.pairs import CALIBRATED, CLIPPED, RULE, summary
from steinlab.verification.claim import Results
from steinlab.verification.quantities import Number

QUANTITIES = {"flow_error": "flow error"}


def _numbers(results: Results) -> list[Number]:
    pairs = results["mean"].data[0].pairs
    ((quantity, words),) = QUANTITIES.items()
    found = summary(pairs[RULE], quantity)
    assert found is not None
    return [
        *gains.judged(pairs, quantity, words),
        Number("runs", found.cells),
        Number("of these worse than plain", found.worsened, better="lower"),
        *gains.ratios(pairs, QUANTITIES, (CLIPPED, CALIBRATED)),
    ]


def _finding(results: Results) -> str:
    pairs = results["mean"].data[0].pairs
    return (
        f"fashion-edm, {gains.scope(gains.study())}; the flow is the network's own, not the data's"
        f"{gains.counted(pairs, QUANTITIES)}{gains.absent(pairs, QUANTITIES)}"
    )


CLAIM = gains.gain_claim(
    id="neural-integration-error",
    title="Integration error on a neural denoiser",
    statement="on a trained network the correction reduces the distance to the network's own flow",
    latex=(
        r"\|x_0^{\hat\gamma} - \Phi(x_N)\|_{L^2} < \|x_0^{1} - \Phi(x_N)\|_{L^2}, \quad \Phi "
        r"\text{ the flow of the network}",
    ),
    expected="not-reproduced",
    headline="On a Fashion U-Net the published rule multiplies the distance to the network's own "
    "flow by {rule} on average.",
    numbers=_numbers,
    source=(
        "conference page, abstract ('reduces integration error even when contractivity is "
        "violated'), not in arXiv v1; Section 5"
    ),
    conditions=(
        gains.WHERE,
        gains.PUBLISHED,
        "reduces: the geometric mean ratio's 95 % interval over setups lies below 1, and no cell "
        "is worse beyond its joint error",
        gains.COUNTED,
        "errors of the two runs are joined as if independent: conservative, since they share "
        "their start states",
    ),
    checks=(
        gains.mean_check("mean", (RULE,), tuple(QUANTITIES)),
        gains.cells_check("cells", (RULE,), tuple(QUANTITIES)),
        *gains.attainable(tuple(QUANTITIES)),
    ),
    controls=gains.CONTROLS,
    finding=_finding,
    table=gains.table(QUANTITIES),
)
