"""Laws of two patches, whole and as if the patches were independent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel, Product, marginal
from analytic.composed import product_mixture
from analytic.quadrature import gauss_legendre
from steinlab.diffusion.laws import load_digits
from steinlab.verification.cases import SingleCase

PRODUCT, PAIRS, DIGITS = "independent patches", "dependent pairs", "digits"
"""Kinds of laws."""
STATES = 256
"""Drawn for a loss."""
REACH, STEP = 7.5, 0.35
"""The plane's grid: how far beyond the means, and its step, in deviations."""


def turned_mixture(rng: np.random.Generator, dim: int, components: int) -> GaussianMixture:
    """Draw a mixture with variances from 0.3 to 1 in any directions."""
    turned, _ = np.linalg.qr(rng.standard_normal((components, dim, dim)))
    spectra = rng.uniform(0.3, 1.0, (components, 1, dim))
    covariances = turned * spectra @ np.swapaxes(turned, 1, 2)
    means = rng.uniform(-1, 1, (components, dim))
    symmetric = (covariances + np.swapaxes(covariances, 1, 2)) / 2
    return GaussianMixture(rng.dirichlet(np.full(components, 5.0)), means, symmetric)


@dataclass(frozen=True)
class Patches(SingleCase):
    """A law of two patches, and a level ``(1, sigma)``."""

    kind: str
    components: int
    sigma: float
    seed: int

    def laws(self) -> tuple[Any, Product]:
        """Return the law of the whole, and that of its patches as if they were independent."""
        rng = np.random.default_rng(self.seed)
        if self.kind == DIGITS:  # left and right halves
            rows = load_digits().reshape(-1, 8, 2, 4).swapaxes(1, 2).reshape(-1, 64)
            halves = [EmpiricalMixture(rows[:, at], 0.1) for at in (slice(32), slice(32, 64))]
            return EmpiricalMixture(rows, 0.1), Product(tuple(halves))
        if self.kind == PRODUCT:
            parts = turned_mixture(rng, 2, self.components), turned_mixture(rng, 3, self.components)
            return product_mixture(*parts), Product(parts)
        law = turned_mixture(rng, 2, self.components)
        return law, Product((marginal(law, slice(0, 1)), marginal(law, slice(1, 2))))

    def losses(self) -> tuple[float, float]:
        """Return denoising losses of the whole and of its patches, on one and the same states."""
        law, patches = self.laws()
        rng, level = np.random.default_rng([self.seed, 1]), NoiseLevel(1.0, self.sigma)
        x_star = law.sample(STATES, rng)
        x = level.noised(x_star, rng)
        whole, apart = (
            float(((x_star - one(x, level)) ** 2).sum(axis=1).mean()) for one in (law, patches)
        )
        return whole, apart

    def told(self) -> float:
        """Return what patches in the plane tell of each other: ``KL(p, prod_P p_P)``."""
        (law, patches), level = self.laws(), NoiseLevel(1.0, self.sigma)
        return plane_mean(law, level, lambda x: law.log_prob(x, level) - patches.log_prob(x, level))


def plane_mean(
    law: GaussianMixture, level: NoiseLevel, of: Callable[[np.ndarray], np.ndarray]
) -> float:
    """Return the mean of a function of states ``(N, 2)`` under a law of the plane at a level."""
    deviations = np.sqrt(np.array([law.spectra.min(), law.spectra.max()]) + level.sigma**2)
    reach, step = np.abs(law.means).max() + REACH * deviations[1], STEP * deviations[0]
    line = np.arange(-reach, reach + step, step)
    x = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    return float(step**2 * (np.exp(law.log_prob(x, level)) @ of(x)))


def excess_loss(law: GaussianMixture, patches: Product, sigma: float, count: int) -> float:
    """Return ``int_0^g E|D - D_l|^2 dg`` up to ``g = 1/sigma^2``, by Gauss's rule in ``g/(1 + g)``.

    ``D`` and ``D_l`` are the denoisers of a law in the plane and of its patches.
    """

    def excess(w: float) -> float:  # g = w / (1 - w)
        level = NoiseLevel(1.0, ((1 - w) / w) ** 0.5)
        gap = plane_mean(law, level, lambda x: ((law(x, level) - patches(x, level)) ** 2).sum(1))
        return gap / (1 - w) ** 2

    end, (nodes, weights) = 1 / (1 + sigma**2), gauss_legendre(count)
    return float(end / 2 * (weights @ [excess(end * (1 + node) / 2) for node in nodes]))
