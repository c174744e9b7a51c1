"""What a state of a law gains in log density on its way to a denoiser's output, in EDM."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from analytic import EmpiricalMixture, NoiseLevel
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.laws import load_law
from steinlab.verification.cases import SingleCase

ATOM = "one atom"
"""The name of a law beside those of :func:`~steinlab.diffusion.laws.load_law`."""


@dataclass(frozen=True)
class Move(SingleCase):
    """A state of a law, moved ``length`` times the way to its denoiser's output, or another's."""

    law: str
    sigma: float
    length: float
    seed: int
    denoiser: str = ""


class Gained(NamedTuple):
    """The gain in log density, ``sigma^2 |score|^2``, the length and the rounding."""

    gain: float
    power: float
    length: float
    rounding: float


@cache
def _law(name: str) -> Any:
    return EmpiricalMixture(np.array([[0.5, -1.0]])) if name == ATOM else load_law(name)


def gain_of(case: Move) -> Gained:
    """Move the state; return what it gains, and the rounding."""
    rng, level, law = np.random.default_rng(case.seed), NoiseLevel(1.0, case.sigma), _law(case.law)
    x = level.noised(law.sample(1, rng), rng)
    way = np.asarray(_law(case.denoiser or case.law)(x, level)) - x
    before, after = (np.asarray(law.log_prob(y, level)).item() for y in (x, x + case.length * way))
    power = float((way**2).sum()) / case.sigma**2
    size = 1 + abs(before) + abs(after) + (1 + case.length**2) * power
    reach = float((x**2).sum()) / case.sigma**2
    return Gained(after - before, power, case.length, ROUNDING * EPS * (size + reach))
