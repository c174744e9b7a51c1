"""Steps in latents, seen through a linear decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from analytic import NoiseLevel, decoded
from steinlab.claims.instruments.patches import turned_mixture
from steinlab.solvers import SOLVERS
from steinlab.verification.cases import SingleCase

KEPT, BLIND, OTHER = "lengths kept", "Euler in EDM", "lengths not kept"
QUANTITIES = COEFFICIENT, DECAY, BOUND = "coefficient", "decay", "bound"
LATENTS, PIXELS, STATES = 3, 8, 256
SPREAD = 4.0
"""Longest over shortest direction of a decoder that does not keep lengths."""
ALPHAS: Mapping[str, Callable[[float], float]] = {
    "edm": lambda _: 1.0,
    "vp-linear": lambda ratio: (1 + ratio**2) ** -0.5,
    "flow": lambda ratio: 1 / (1 + ratio),
}
"""``alpha`` of a level by ``sigma / alpha``."""
FAMILIES = tuple(ALPHAS)


@dataclass(frozen=True)
class Decoded(SingleCase):
    """A latent step from ``sigma / alpha = ratio`` to ``left`` times that, and a decoder."""

    kind: str
    what: str
    family: str
    solver: str
    ratio: float
    left: float
    seed: int

    def decoder(self) -> np.ndarray:
        """Return ``A``."""
        rng = np.random.default_rng([self.seed, 1])
        frame, _ = np.linalg.qr(rng.standard_normal((PIXELS, LATENTS)))
        turned, _ = np.linalg.qr(rng.standard_normal((LATENTS, LATENTS)))
        spread = 1.0 if self.kind == KEPT else SPREAD
        return np.asarray(frame * np.geomspace(1, spread, LATENTS) @ turned)


class Moves(NamedTuple):
    """Residuals, errors, and how far the denoisers of the law and of an iterate's are apart."""

    residual: np.ndarray
    error: np.ndarray
    apart: np.ndarray

    def of(self, metric: np.ndarray) -> tuple[float, float, float]:
        """Return ``E<u, M e>``, ``E<u, M u>`` and ``E<e, M e>``."""
        pairs = ((self.residual, self.error), (self.residual,) * 2, (self.error,) * 2)
        first, second, third = (float(((a @ metric) * b).sum(1).mean()) for a, b in pairs)
        return first, second, third

    def value(self, what: str, metric: np.ndarray) -> float:
        """Return the coefficient, the decay or the bound."""
        along, power, err = self.of(metric)
        if what == COEFFICIENT:
            return along / power
        if what == DECAY:
            return along**2 / (power * err)
        return float(((self.apart @ metric) * self.apart).sum(1).mean() ** 0.5)


class Measured(NamedTuple):
    """The case, the moves of latents and of pictures, and the decoder."""

    case: Decoded
    latent: Moves
    picture: Moves
    decoder: np.ndarray


def measure(case: Decoded) -> Measured:
    """Take the step in the latents; where lengths are kept, in pixels too.

    Where they are not, errors are averaged over ``z_star`` given ``z``: ``z - D``.
    """
    rng, a = np.random.default_rng([case.seed, 0]), case.decoder()
    law, iterate = turned_mixture(rng, LATENTS, 3), turned_mixture(rng, LATENTS, 2)
    ratios = (case.ratio, case.left * case.ratio)
    s, t = (NoiseLevel(ALPHAS[case.family](r), r * ALPHAS[case.family](r)) for r in ratios)
    z_star = law.sample(STATES, rng)
    z, kept = s.noised(z_star, rng), case.kind == KEPT
    solver = SOLVERS[case.solver]

    def moves(one: Any, other: Any, x: np.ndarray, target: np.ndarray) -> Moves:
        return Moves(solver.step(one, x, s, t, ()).residual, x - target, one(x, s) - other(x, s))

    latent = moves(law, iterate, z, z_star if kept else law(z, s))
    if kept:
        pixels = moves(decoded(law, a), decoded(iterate, a), z @ a.T, z_star @ a.T)
    else:
        pixels = Moves(*(part @ a.T for part in latent))
    return Measured(case, latent, pixels, a)
