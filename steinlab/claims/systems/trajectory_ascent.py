r"""A step towards the denoiser's output raises the density, by a known amount, up to twice as far.

In EDM coordinates ``D - x = sigma^2 grad log p``. ``p`` is a mean of Gaussians around ``x_star``,
and by Jensen's inequality under the posterior of ``x_star`` given ``x``

    log p(x + l (D - x)) - log p(x) >= sigma^2 |grad log p|^2 l (1 - l/2)   for every real l,

with equality where the data are one atom. The right side is >= 0 for ``l`` in ``[0, 2]``. Euler's
step to ``sigma'`` has ``l = 1 - sigma'/sigma``, the denoiser's output ``l = 1``: both ascend, as
Chen et al. (2024) say for data sets, and a corrected step with ``gamma (1 - sigma'/sigma) <= 2``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from steinlab.claims.derivations import DERIVATIONS, symbolic_check, symbolic_controls
from steinlab.claims.instruments.density_gains import ATOM, Gained, Move, gain_of
from steinlab.claims.instruments.ranges import Ranges, between
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Result
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number

LAWS = (ATOM, "atoms-2", "two-1", "grid25-2", "few-8", "student-1", "box-2", "circle-2")
EVERY = "every law"


def right_side(length: float) -> float:
    """``l (1 - l/2)``."""
    return length * (1 - length / 2)


def compare(data: Gained, formula: Callable[[float], float]) -> Comparison:
    """Bound the right side, ``sigma^2 |score|^2`` times a function of ``l``, by the gain."""
    scale = np.array([1 + abs(data.gain)])
    bound = data.power * formula(data.length)
    return single(bound, data.gain, data.rounding, upper=True, scale=scale)


def compare_ascent(data: Gained, formula: Callable[[float], float]) -> Comparison:  # noqa: ARG001
    """Bound 0 by the gain."""
    return compare(data, lambda _: 0.0)


WAYS = between(log=True, sigma=(0.05, 20.0)) + between(length=(-1.0, 3.0))
MOVES = Ranges(Move, {"law": LAWS}, WAYS, method="property")
OTHER = {"law": "few-8", "denoiser": "many-8", "sigma": 0.2, "length": 1.0}
ANOTHER = MOVES.check("another's", 8, gain_of, compare, **OTHER)
FARTHER = MOVES.check("l = 2.5", 8, gain_of, compare_ascent, law=ATOM, length=2.5)


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
        MOVES.check(EVERY, 96, gain_of, compare),
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
