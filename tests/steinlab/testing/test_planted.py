"""Planted faults in a two-step loop are found and named by one call without options."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from steinlab.testing import ConformanceError, check_sampler, check_solver
from tests.steinlab.testing import loops
from tests.steinlab.testing.told import held

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
        "method",
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


def heun_at_one_level(model: Any, x: Any, sigmas: Any) -> Any:
    for s, t in itertools.pairwise(sigmas):
        slope = (x - model(x, s)) / s
        ahead = x + (t - s) * slope
        x = x + (t - s) * (slope + (ahead - model(ahead, s)) / t) / 2 if t > 0 else ahead
    return x


def two_middles(model: Any, x: Any, sigmas: Any) -> Any:
    for s, t in itertools.pairwise(sigmas):
        slope, middle = (x - model(x, s)) / s, (s + t) / 2
        if t > 0:
            inside = x + ((s * t) ** 0.5 - s) * slope
            slope = (inside - model(inside, middle)) / middle
        x = x + (t - s) * slope
    return x


def divided_by_the_next_level(model: Any, x: Any, sigmas: Any) -> Any:
    for s, t in itertools.pairwise(sigmas):
        x = x + (t - s) * (x - model(x, s)) / (t if t > 0 else s)
    return x


def one_step_short(model: Any, x: Any, sigmas: Any) -> Any:
    for s, t in itertools.pairwise(sigmas[:-1]):
        x = t / s * x + (1 - t / s) * model(x, s)
    return x


def signal_twice(denoise: Any, x: Any, s: Any, t: Any) -> Any:
    return t.sigma / s.sigma * x + t.alpha * denoise(x, s)


PLANTED |= {
    "Heun's second evaluation at the first level": (
        heun_at_one_level,
        "levels",
        r"Probable cause: the model is asked at sigma \(sigmas\[i\]\) for a state that has moved "
        r"on to sigma_next \(sigmas\[i\+1\]\)\.",
    ),
    "two different middles": (
        two_middles,
        "levels",
        r"Probable cause: evaluation 2 asks at \(sigma \+ sigma_next\) / 2, its state is at sqrt",
    ),
    "the slope divided by sigma_next": (
        divided_by_the_next_level,
        "midway",
        r"Probable cause: the slope is .* / sigma\[i\+1\] where .* / sigma\[i\] is due\.",
    ),
    "the signal counted twice": (
        signal_twice,
        "one-point",
        r"Probable cause: the outputs are weighed by alpha_next .*: the signal in x is counted",
    ),
    "one step short": (one_step_short, "one-point", r"the run ends at sigmas\[-2\]"),
}
PLANTED["sigma_next asked for sigma"] = (at_sigma_next, "levels", r"sigma_next \(sigmas\[i\+1\]\)")


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found_and_named(fault: str) -> None:
    target, check, cause = PLANTED[fault]
    with pytest.raises(ConformanceError, match=cause) as caught:
        (check_solver if target is signal_twice else check_sampler)(target)
    assert check in {row.check for row in caught.value.rows if row.verdict == "fails"}
    held(f"planted: {fault}", caught.value.rows)
