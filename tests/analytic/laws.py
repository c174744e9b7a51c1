"""Mixtures and high-precision references that several tests share."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np

from analytic import GaussianMixture, NoiseLevel

FORMS = ("one", "isotropic", "diagonal", "full")
LEVEL = NoiseLevel(0.6, 0.7)


def mixture(form: str, k: int = 3, d: int = 2, seed: int = 0, stack: tuple[int, ...] = ()) -> Any:
    """A random mixture with the given form of covariances."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(k), size=stack or None)
    means = 2 * rng.standard_normal((*stack, k, d))
    root = rng.standard_normal((*stack, k, d, d))
    covariances: Any = {
        "one": 0.3,
        "isotropic": rng.uniform(0.1, 2, (*stack, k)),
        "diagonal": rng.uniform(0.1, 2, (*stack, k, d)),
        "full": root @ np.swapaxes(root, -1, -2) + 0.1 * np.eye(d),
    }[form]
    return GaussianMixture(weights, means, covariances)


def reference(law: GaussianMixture, x: np.ndarray, level: NoiseLevel, digits: int = 50) -> Any:
    """``log p``, ``D``, ``div D`` and ``V`` at one state of a mixture without rotations, by mpmath.

    The covariance comes from second moments, not from the formula under test.
    """
    with mp.workdps(digits):
        a, s2 = mp.mpf(float(level.alpha)), mp.mpf(float(level.sigma)) ** 2
        d = law.dim
        spectra = np.broadcast_to(law.spectra, law.means.shape)
        density, first, second = mp.mpf(0), [mp.mpf(0)] * d, [mp.mpf(0)] * d
        columns = law.weights.tolist(), law.means.tolist(), spectra.tolist()
        for w, m, eigenvalues in zip(*columns, strict=True):
            part, posterior = mp.mpf(w), []
            for xi, mi, li in zip(
                x.tolist(), map(mp.mpf, m), map(mp.mpf, eigenvalues), strict=True
            ):
                v = a**2 * li + s2
                part *= mp.npdf(xi, a * mi, mp.sqrt(v))
                posterior.append((mi + a * li * (mp.mpf(xi) - a * mi) / v, li * s2 / v))
            density += part
            first = [f + part * mu for f, (mu, _) in zip(first, posterior, strict=True)]
            second = [s + part * (mu**2 + c) for s, (mu, c) in zip(second, posterior, strict=True)]
        mean = [f / density for f in first]
        variance = mp.fsum(s / density - m**2 for s, m in zip(second, mean, strict=True))
        return (
            float(mp.log(density)),
            np.array([float(m) for m in mean]),
            float(a / s2 * variance),
            float(variance),
        )
