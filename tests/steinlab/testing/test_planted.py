"""Planted faults in a two-step loop are found and named by one call without options."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from steinlab.testing import ConformanceError, check_sampler
from tests.steinlab.testing import loops

PLANTED: dict[str, tuple[Any, str, str]] = {
    "wrong coefficient in the last step": (
        loops.dpmpp_2m(last=lambda _x, d, old: 1.5 * d - 0.5 * old),
        "method",
        r"the last step is not dpmpp-2m's, .*: the weight of D 1\.5 where 1 is due",
    ),
    "half the last step": (
        loops.dpmpp_2m(last=lambda x, d, _old: 0.5 * (x + d)),
        "one-point",
        r"the last step is not dpmpp-2m's",
    ),
    "order one for two": (
        loops.dpmpp_2m(weight=2.0),
        "order-even",
        r"2 times that of dpmpp-2m at every step: the step ratio r is off .* 0\.5",
    ),
    "the wrong sign": (loops.dpmpp_2m(weight=-1.0), "order-even", "wrong sign"),
    "sigma for sigma_next in the ratio": (
        loops.dpmpp_2m(ratio=lambda _b, s, t, _a: (s / t).log() / (s / t).log()),
        "order-rough",
        "the step ratio is missing: fixed weights as on even steps",
    ),
    "the next step's length for the one before": (
        loops.dpmpp_2m(ratio=lambda _b, s, t, a: (t / a).log() / (s / t).log() if a < t else 1.0),
        "order-rough",
        "the step ratio takes the next step's length for the one before",
    ),
    "the ratio upside down": (
        loops.dpmpp_2m(ratio=lambda b, s, t, _a: (s / t).log() / (b / s).log()),
        "order-rough",
        "upside down",
    ),
    "sigma for sigma_next in the scale": (
        loops.dpmpp_2m(scale=lambda b, s, _t: s / b),
        "one-point",
        r"x is scaled by sigma\[i\] / sigma\[i-1\] where sigma\[i\+1\] / sigma\[i\] is due",
    ),
    "sigma for sigma_next in the weights": (
        loops.dpmpp_2m(sum_=lambda b, s, _t: 1 - s / b),
        "one-point",
        r"weighed by 1 - sigma\[i\] / sigma\[i-1\] where 1 - sigma\[i\+1\] / sigma\[i\] is due",
    ),
    "weights 1 % too small": (
        loops.dpmpp_2m(sum_=lambda _b, s, t: 0.99 * (1 - t / s)),
        "one-point",
        r"the weights sum to 0\.99 times what is due",
    ),
    "the next level in place of the middle": (
        loops.midpoint(at_next=True),
        "levels",
        "the next level in place of the middle",
    ),
    "half a percent": (loops.dpmpp_2m(weight=1.005), "gaussian", r"1\.005 times that of dpmpp-2m"),
    "a history kept between runs": (
        loops.remembering(),
        "deterministic",
        "history between runs|history kept between runs",
    ),
}


def at_sigma_next(model: Any, x: Any, sigmas: Any) -> Any:
    for s, t in itertools.pairwise(sigmas):
        x = t / s * x + (1 - t / s) * model(x, t)
    return x


PLANTED["sigma_next asked for sigma"] = (at_sigma_next, "levels", r"sigma_next \(sigmas\[i\+1\]\)")


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found_and_named(fault: str) -> None:
    target, check, cause = PLANTED[fault]
    with pytest.raises(ConformanceError, match=cause) as caught:
        check_sampler(target)
    assert check in {row.check for row in caught.value.rows if row.verdict == "fails"}
