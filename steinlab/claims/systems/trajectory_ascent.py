r"""A step towards the denoiser's output raises the density, by a known amount, up to twice as far.

In EDM coordinates ``D - x = sigma^2 grad log p``, and ``p`` is a mean of Gaussians around
``x_star``. The bound is Jensen's inequality under the posterior of ``x_star`` given ``x``, with
equality where the data are one atom. The denoiser's output has ``l = 1``, Euler's step to
``sigma'`` has ``l = 1 - sigma'/sigma``, a corrected one ``gamma`` times that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from analytic import EmpiricalMixture, NoiseLevel
from steinlab.claims.derivations import DERIVATIONS, symbolic_check, symbolic_controls
from steinlab.claims.instruments.ranges import Ranges, between
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.laws import load_law
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Result
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number

ATOM = "one atom"
LAWS = (ATOM, "atoms-2", "two-1", "grid25-2", "few-8", "student-1", "box-2", "circle-2")
EVERY = "every law"


@dataclass(frozen=True)
class Move(SingleCase):
    """A state of a law, moved ``length`` times the way to its denoiser's output, or another's."""

    law: str
    sigma: float
    length: float
    seed: int
    denoiser: str = ""


class Measured(NamedTuple):
    """The gain in log density, ``sigma^2 |score|^2``, the length and the rounding."""

    gain: float
    power: float
    length: float
    rounding: float


@cache
def _law(name: str) -> Any:
    return EmpiricalMixture(np.array([[0.5, -1.0]])) if name == ATOM else load_law(name)


def measure(case: Move) -> Measured:
    """Move the state."""
    rng, level, law = np.random.default_rng(case.seed), NoiseLevel(1.0, case.sigma), _law(case.law)
    x = level.noised(law.sample(1, rng), rng)
    way = np.asarray(_law(case.denoiser or case.law)(x, level)) - x
    before, after = (np.asarray(law.log_prob(y, level)).item() for y in (x, x + case.length * way))
    power = float((way**2).sum()) / case.sigma**2
    size = 1 + abs(before) + abs(after) + (1 + case.length**2) * power
    reach = float((x**2).sum()) / case.sigma**2
    return Measured(after - before, power, case.length, ROUNDING * EPS * (size + reach))


def right_side(length: float) -> float:
    """``l (1 - l/2)``."""
    return length * (1 - length / 2)


def compare(data: Measured, formula: Callable[[float], float]) -> Comparison:
    """Bound the right side, ``sigma^2 |score|^2`` times a function of ``l``, by the gain."""
    scale = np.array([1 + abs(data.gain)])
    bound = data.power * formula(data.length)
    return single(bound, data.gain, data.rounding, upper=True, scale=scale)


WAYS = between(log=True, sigma=(0.05, 20.0)) + between(length=(-1.0, 3.0))
MOVES = Ranges(Move, {"law": LAWS}, WAYS, method="property")
OTHER = {"law": "few-8", "denoiser": "many-8", "sigma": 0.2, "length": 1.0}
ANOTHER = MOVES.check("another's", 8, measure, compare, **OTHER)
FARTHER = MOVES.check(
    "l = 2.5", 8, measure, lambda data, _: compare(data, lambda _: 0.0), law=ATOM, length=2.5
)


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    over = [
        data.gain / (data.power * right_side(data.length))
        for data in results[EVERY].data
        if 0 < data.length < 2 and data.power > data.rounding**0.5
    ]
    return [
        Number("laws", len(LAWS)),
        Number("gain over its bound for l in [0, 2], median", np.median(over)),
        Number("largest", max(over)),
    ]


CLAIM = Claim(
    id="trajectory-ascent",
    title="Steps towards the denoiser's output climb the density",
    statement="log p(x + l (D - x)) - log p(x) >= sigma^2 |grad log p|^2 l (1 - l/2) for every law "
    "and every real l; for l in [0, 2] the density rises",
    latex=(r"\log p(x + l\,(D - x)) - \log p(x) \ge \sigma^2 |\nabla \log p|^2\; l\,(1 - l/2)",),
    expected="proved",
    source="the ascent of Chen et al., On the trajectory regularity of ODE-based diffusion "
    "sampling (2024), for l in [0, 1] on data sets",
    kind="lower",
    owner="peer",
    conditions=("EDM coordinates", "the law's own score", "0 <= l <= 2 for ascent"),
    formula=right_side,
    checks=(
        MOVES.check(EVERY, 96, measure, compare),
        symbolic_check(DERIVATIONS["trajectory-ascent"], covers=True),
    ),
    controls=(
        NegativeControl("right side l (1 - l/4)", lambda by: by * (1 - by / 4), (EVERY,)),
        *symbolic_controls(DERIVATIONS["trajectory-ascent"]),
    ),
    dropped=(
        Dropped("0 <= l <= 2: ascent at l = 2.5 on one atom", FARTHER),
        Dropped("the law's own score", ANOTHER),
    ),
    headline="Each Euler step climbs the density of every law, as does every step less than twice "
    "as far.",
    numbers=_numbers,
    finding="The density rises along every step of Euler and at the denoiser's output, for every "
    "law, by at least what one atom shows. A corrected Euler step climbs as long as gamma (1 - k) "
    "is at most 2. It says nothing of the law's other moments: the posterior mean has a high "
    "density too.",
    search=lambda _: [MOVES.space(EVERY)],
)
