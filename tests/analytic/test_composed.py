"""Laws made of other laws against mixtures that say the same."""

import itertools

import numpy as np
import pytest

from analytic import Embedded, GaussianMixture, NoiseLevel, Product, decoded, marginal

LEVEL = NoiseLevel(0.8, 0.6)


def law(rng: np.random.Generator, dim: int, components: int = 2) -> GaussianMixture:
    roots = rng.standard_normal((components, dim, dim))
    covariances = roots @ np.swapaxes(roots, 1, 2) + 0.2 * np.eye(dim)
    means = rng.standard_normal((components, dim))
    return GaussianMixture(rng.dirichlet(np.ones(components)), means, covariances)


def full(one: GaussianMixture) -> np.ndarray:
    return one.basis * one.spectra[:, None] @ np.swapaxes(one.basis, 1, 2)


def joint(a: GaussianMixture, b: GaussianMixture) -> GaussianMixture:
    """Return the mixture of all pairs of components."""
    weights, means, covariances = [], [], []
    for i, j in itertools.product(range(len(a.weights)), range(len(b.weights))):
        weights.append(a.weights[i] * b.weights[j])
        means.append(np.concatenate([a.means[i], b.means[j]]))
        covariances.append(np.zeros((a.dim + b.dim,) * 2))
        covariances[-1][: a.dim, : a.dim] = full(a)[i]
        covariances[-1][a.dim :, a.dim :] = full(b)[j]
    return GaussianMixture(weights, means, np.array(covariances))


def agree(one, other, x: np.ndarray) -> None:
    v = np.cos(np.arange(x.size)).reshape(x.shape)
    for found, expected in zip(one.moments(x, LEVEL), other.moments(x, LEVEL), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(one(x[0], LEVEL), other(x[0], LEVEL), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(one.jvp(x, LEVEL, v), other.jvp(x, LEVEL, v), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one.mean(), other.mean(), rtol=1e-12, atol=1e-13)


def test_a_product_is_the_mixture_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    a, b, x = law(rng, 2), law(rng, 1, 3), rng.standard_normal((7, 3))
    product, whole = Product((a, b)), joint(a, b)
    agree(product, whole, x)
    np.testing.assert_allclose(product.log_prob(x, LEVEL), whole.log_prob(x, LEVEL), rtol=1e-12)
    assert product.smallest_variance == pytest.approx(whole.smallest_variance, rel=1e-12)
    drawn = product.sample(20_000, rng)
    np.testing.assert_allclose(drawn.mean(axis=0), whole.mean(), atol=0.05)
    np.testing.assert_allclose(full(marginal(whole, slice(0, 2)))[::3], full(a), atol=1e-13)
    with pytest.raises(ValueError, match="must have 3 coordinates"):
        product(x[:, :2], LEVEL)


def test_a_decoded_law_is_a_mixture_nearly_flat_across() -> None:
    """A variance of 1e-12 across the decoder's columns makes it a mixture in all dimensions."""
    rng = np.random.default_rng(1)
    latent, decoder = law(rng, 2), rng.standard_normal((5, 2))
    pixels = decoded(latent, decoder)
    covariances = decoder @ full(latent) @ decoder.T + 1e-12 * np.eye(5)
    covariances = (covariances + np.swapaxes(covariances, 1, 2)) / 2
    whole = GaussianMixture(latent.weights, latent.means @ decoder.T, covariances)
    agree(pixels, whole, rng.standard_normal((6, 5)))
    spread = np.cov(pixels.sample(40_000, rng), rowvar=False)
    np.testing.assert_allclose(np.trace(spread), whole.variance(), rtol=0.05)
    with pytest.raises(ValueError, match="orthonormal columns"):
        Embedded(latent, decoder)
