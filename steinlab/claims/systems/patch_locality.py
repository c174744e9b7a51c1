r"""Denoisers of patches make the denoiser of the whole where the patches are independent.

A denoiser that sees a patch alone is ``E[x_star_P | x_P]`` at best. Put together, the patches'
denoisers ``D_l`` are ``D`` for a product law, and for no other: their excess loss is the slope, in
``g = (alpha/sigma)^2``, of what a level's patches tell of each other,

    KL(p_g, prod_P p_g,P) = 1/2 int_0^g E|D - D_l|^2 dg,

by the I-MMSE relation for the whole and for each patch. Noise makes no dependent patches
independent, so that the integral vanishes, at any level, for product laws only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel, Product, marginal
from analytic.quadrature import gauss_legendre
from steinlab.claims.instruments.ranges import Ranges
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.laws import load_digits
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Claim, Dropped, NegativeControl, Result
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.falsify.spaces import Parameter
from steinlab.verification.quantities import Number

PRODUCT, EXCESS, PAIRS, DIGITS = "independent patches", "excess loss", "dependent pairs", "digits"
SIGMAS = (0.3, 3.0)
STATES, NODES = 256, (6, 9)
REACH, STEP = 7.5, 0.35
"""The plane's grid: how far beyond the means, and its step, in deviations."""


def draw(rng: np.random.Generator, dim: int, components: int) -> GaussianMixture:
    """Draw a mixture with variances from 0.3 to 1 in any directions."""
    turned, _ = np.linalg.qr(rng.standard_normal((components, dim, dim)))
    spectra = rng.uniform(0.3, 1.0, (components, 1, dim))
    covariances = turned * spectra @ np.swapaxes(turned, 1, 2)
    means = rng.uniform(-1, 1, (components, dim))
    symmetric = (covariances + np.swapaxes(covariances, 1, 2)) / 2
    return GaussianMixture(rng.dirichlet(np.full(components, 5.0)), means, symmetric)


def together(a: GaussianMixture, b: GaussianMixture) -> GaussianMixture:
    """Return two independent laws as one mixture, of all pairs of components."""
    pairs = list(itertools.product(range(len(a.weights)), range(len(b.weights))))
    covariances = np.zeros((len(pairs), a.dim + b.dim, a.dim + b.dim))
    for k, (i, j) in enumerate(pairs):
        for law, c, at in ((a, i, slice(a.dim)), (b, j, slice(a.dim, None))):
            turned = np.eye(law.dim) if law.basis is None else law.basis[c]
            covariances[k, at, at] = turned * law.spectra[c] @ turned.T
    means = np.array([np.concatenate([a.means[i], b.means[j]]) for i, j in pairs])
    return GaussianMixture(np.outer(a.weights, b.weights).ravel(), means, covariances)


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
            parts = draw(rng, 2, self.components), draw(rng, 3, self.components)
            return together(*parts), Product(parts)
        law = draw(rng, 2, self.components)
        return law, Product((marginal(law, slice(0, 1)), marginal(law, slice(1, 2))))


class Measured(NamedTuple):
    """What is predicted of what was integrated, and the error of both."""

    value: float
    integral: float
    error: float


def measure_loss(case: Patches) -> Measured:
    """Return the denoising losses of the whole and of its patches, on one and the same states."""
    law, patches = case.laws()
    rng, level = np.random.default_rng([case.seed, 1]), NoiseLevel(1.0, case.sigma)
    x_star = law.sample(STATES, rng)
    x = level.noised(x_star, rng)
    losses = [float(((x_star - one(x, level)) ** 2).sum(axis=1).mean()) for one in (law, patches)]
    return Measured(losses[0], losses[1], ROUNDING * EPS * 2**8 * max(losses))


def _grid(law: GaussianMixture, sigma: float) -> tuple[np.ndarray, float]:
    """Return a grid of the plane at a level, and the area of its cells."""
    deviations = np.sqrt(np.array([law.spectra.min(), law.spectra.max()]) + sigma**2)
    reach, step = np.abs(law.means).max() + REACH * deviations[1], STEP * deviations[0]
    line = np.arange(-reach, reach + step, step)
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2), step**2


def measure_excess(case: Patches) -> Measured:
    """Integrate what the patches tell of each other, and the excess loss up to there."""
    law, patches = case.laws()

    def mean(sigma: float, of: Callable[[np.ndarray, NoiseLevel], np.ndarray]) -> float:
        level, (x, area) = NoiseLevel(1.0, sigma), _grid(law, sigma)
        return float(area * (np.exp(law.log_prob(x, level)) @ of(x, level)))

    def excess(w: float) -> float:  # g = w / (1 - w)
        gap = mean(((1 - w) / w) ** 0.5, lambda x, at: ((law(x, at) - patches(x, at)) ** 2).sum(1))
        return gap / (1 - w) ** 2

    told = mean(case.sigma, lambda x, at: law.log_prob(x, at) - patches.log_prob(x, at))
    end, integrals = 1 / (1 + case.sigma**2), []
    for count in NODES:
        nodes, weights = gauss_legendre(count)
        values = [excess(end * (1 + node) / 2) for node in nodes]
        integrals.append(float(end / 2 * (weights @ values)))
    error = abs(integrals[1] - integrals[0]) + ROUNDING * EPS * 2**8
    return Measured(told, integrals[1], error)


def compare_loss(data: Measured, formula: Callable[[float], float]) -> Comparison:
    """Compare the losses of the whole and of patches that tell nothing of each other."""
    return single(data.value, data.integral + formula(0.0), data.error)


def compare_excess(data: Measured, formula: Callable[[float], float]) -> Comparison:
    """Compare the divergence with half the integral."""
    return single(data.value, formula(data.integral), data.error)


LEVELS = Parameter("sigma", *SIGMAS, True)
INDEPENDENT = Ranges(Patches, {"kind": (PRODUCT,), "components": (1, 2, 3)}, (LEVELS,))
DEPENDENT = Ranges(Patches, {"kind": (PAIRS,), "components": (1, 2)}, (LEVELS,))


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    rises = np.array([one.integral / one.value - 1 for one in results[DIGITS].data])
    error = float(rises.std(ddof=1) / len(rises) ** 0.5) if len(rises) > 1 else 0.0
    rise = Number("halves of digits raise the loss at sigma = 0.3 by", float(rises.mean()), error)
    told = max(one.value for one in results[EXCESS].data)
    return [
        replace(rise, unit="%", key="rise"),
        Number("what pairs tell of each other, at most", told, unit="nats"),
        Number("half the excess loss misses it by", results[EXCESS].comparison.excess.max()),
    ]


CLAIM = Claim(
    id="patch-locality",
    title="Scores of patches",
    statement="denoisers that see one patch each make the denoiser of the whole if and only if the "
    "patches are independent: half their excess loss, over (alpha/sigma)^2, is what the patches of "
    "a level tell of each other",
    latex=(
        r"\mathrm{KL}\Big(p_g \,\Big\|\, \prod_P p_{g,P}\Big) = \tfrac12 \int_0^g "
        r"\mathbb{E}\|D - D_{\text{patches}}\|^2\, dg, \qquad g = \alpha^2/\sigma^2",
    ),
    expected="holds",
    source="patch priors (PaDIS: Hu et al., 2024); the I-MMSE relation of Guo, Shamai and Verdu "
    "(2005)",
    kind="identity",
    owner="laboratory",
    conditions=("exact denoisers of the patches' own laws", "patches that do not overlap"),
    formula=lambda integral: integral / 2,
    checks=(
        INDEPENDENT.check(PRODUCT, 9, measure_loss, compare_loss),
        DEPENDENT.check(EXCESS, 3, measure_excess, compare_excess),
    ),
    controls=(
        NegativeControl("0.01 more", lambda integral: integral / 2 + 0.01),
        NegativeControl("the whole integral", float, (EXCESS,)),
        NegativeControl("1 % less", lambda integral: 0.99 * integral / 2, (EXCESS,)),
    ),
    dropped=(
        Dropped("independence: pairs", DEPENDENT.check(PAIRS, 4, measure_loss, compare_loss)),
        Dropped(
            "independence: digits",
            DEPENDENT.check(
                DIGITS, 3, measure_loss, compare_loss, kind=DIGITS, components=1, sigma=SIGMAS[0]
            ),
        ),
    ),
    headline="Scores of patches are exact for independent patches only; halves of digits raise the "
    "loss by {rise}.",
    numbers=_numbers,
    finding="The loss of locality is information that patches share, nat for nat: at large noise "
    "it vanishes like the square of (alpha/sigma)^2, so that the first steps can be taken patch by "
    "patch and the last ones not. Overlaps, shifts of the partition and patches seen in context "
    "give back some of it; no training of a local network does.",
    search=lambda _: [INDEPENDENT.space(PRODUCT), DEPENDENT.space(EXCESS)],
)
