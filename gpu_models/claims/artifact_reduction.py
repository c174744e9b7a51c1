"""Artifacts and Frechet distance of a network's samples, corrected and plain.

An artifact is a sample farther from the training set, in a classifier's features, than 99 % of the
test pictures are. FD-EffLite0 is measured in the headline runs alone, FD-classifier in all; neither
is FID. The criterion is that of :mod:`gpu_models.claims.gains`.
"""

from gpu_models.claims import gains
from gpu_models.study.pairs import RULE
from steinlab.verification.claim import Results
from steinlab.verification.quantities import Number

QUANTITIES = {
    "artifacts": "artifact rate",
    "FD-classifier": "FD-classifier",
    "FD-EffLite0": "FD-EffLite0",
}


def _numbers(results: Results) -> list[Number]:
    pairs = results["mean"].data[0].pairs
    (artifacts, words), *distances = QUANTITIES.items()
    return [
        *gains.judged(pairs, artifacts, words),
        *gains.fair_span(pairs, artifacts),
        *gains.ratios(pairs, dict(distances), (RULE,)),
    ]


def _finding(results: Results) -> str:
    rates = [run["artifacts"] for run in gains.study().runs.values() if "artifacts" in run]
    floor = f"; test pictures themselves: {rates[0]['floor']:.2%} +- {rates[0]['floor_error']:.1%}"
    pairs = results["mean"].data[0].pairs
    return (
        f"fashion-edm, {gains.scope(gains.study())}{floor}{gains.counted(pairs, QUANTITIES)}"
        f"{gains.absent(pairs, QUANTITIES)}"
    )


CLAIM = gains.gain_claim(
    id="artifact-reduction",
    title="Artifacts and Frechet distance on a neural denoiser",
    statement="the correction reduces severe artifacts and the Frechet distance of the samples",
    latex=(
        r"\mathrm{rate}(\hat\gamma) < \mathrm{rate}(1), \qquad \mathrm{FD}(\hat\gamma) < "
        r"\mathrm{FD}(1)",
    ),
    expected="not-reproduced",
    headline="On a Fashion U-Net the published rule multiplies artifacts by {rule}; Tweedie's "
    "clipped coefficient hardly changes them.",
    numbers=_numbers,
    source="arXiv v1, abstract ('mitigates severe artifacts') and Section 5",
    conditions=(
        gains.WHERE,
        gains.WHOSE,
        "reduces: the geometric mean ratio's 95 % interval over setups lies below 1 for each of "
        "the three quantities, and no cell is worse beyond its joint error",
        gains.COUNTED,
        "equal numbers of samples on both sides, so that the Frechet distances' biases are alike",
    ),
    checks=gains.checks(tuple(QUANTITIES), tuple(QUANTITIES)),
    controls=gains.FAIR_CONTROLS,
    finding=_finding,
    table=gains.table(QUANTITIES),
)
