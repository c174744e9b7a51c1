from __future__ import annotations

from typing import Any

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

import analytic.mixtures
from analytic import GaussianMixture, NoiseLevel
from tests.analytic.laws import FORMS, LEVEL, mixture, reference

EXACT = 1e-12
"""Relative to the largest number of the array: a thousand roundings of it."""
METHODS = ("log_prob", "score", "denoise", "divergence", "posterior_variance", "jacobian")


def close(actual: Any, expected: Any, tolerance: float = EXACT) -> None:
    expected = np.asarray(expected)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=tolerance * scale)


def states(n: int = 7, d: int = 2, seed: int = 1, scale: float = 2.0) -> np.ndarray:
    return scale * np.random.default_rng(seed).standard_normal((n, d))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("level", [LEVEL, NoiseLevel(1.0, 0.2), NoiseLevel(1e-3, 1.0)])
def test_derivatives_agree_with_autograd(form: str, level: NoiseLevel) -> None:
    law, x = mixture(form), torch.tensor(states())
    score = torch.func.vmap(torch.func.grad(lambda z: law.log_prob(z, level)))(x)
    close(law.score(x, level), score)
    close(law.denoise(x, level), (x + level.sigma**2 * score) / level.alpha)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda z: law.denoise(z, level)))(x)
    close(law.jacobian(x, level), jacobian)
    close(law.divergence(x, level), torch.einsum("nii->n", jacobian))
    tangent = torch.tensor(np.random.default_rng(2).standard_normal((3, 7, 2)))
    for probe, product in zip(tangent, law.jvp(x, level, tangent), strict=True):
        expected = torch.func.jvp(lambda z: law.denoise(z, level), (x,), (probe,))[1]
        close(product, expected)


@pytest.mark.parametrize("form", FORMS)
def test_log_prob_agrees_with_scipy(form: str) -> None:
    law, x = mixture(form), states()
    density = np.zeros(len(x))
    for k, weight in enumerate(law.weights):
        basis = np.eye(2) if law.basis is None else law.basis[k]
        data = basis @ np.diag(np.broadcast_to(law.spectra[k], 2)) @ basis.T
        noised = multivariate_normal(0.6 * law.means[k], 0.36 * data + 0.49 * np.eye(2))
        density += weight * noised.pdf(x)
    close(law.log_prob(x, LEVEL), np.log(density))


@pytest.mark.parametrize(
    ("means", "variances", "x", "level"),
    [
        ([[1.0], [-2.0]], [0.5, 0.1], [1.3], NoiseLevel(1e-8, 1.0)),
        ([[1.0], [-2.0]], [0.5, 0.1], [0.3], NoiseLevel(1.0, 1e-4)),
        ([[1.0, 0.0], [-2.0, 1.0]], [0.5, 0.1], [140.0, -140.0], NoiseLevel(0.5, 1.0)),
        ([[0.0], [12.0]], [1e-2, 1e-2], [5.9], NoiseLevel(1.0, 1.0)),
        ([[0.0], [12.0]], [1e-2, 1e-2], [6.0 + 1e-9], NoiseLevel(1.0, 0.5)),
    ],
    ids=["small-alpha", "small-sigma", "200-deviations-out", "separated", "watershed"],
)
def test_delicate_cases_agree_with_fifty_digits(
    means: Any, variances: Any, x: list[float], level: NoiseLevel
) -> None:
    law, state = GaussianMixture([0.3, 0.7], means, variances), np.array(x)
    log_prob, denoised, divergence, variance = reference(law, state, level)
    got = law.moments(state, level)
    assert law.log_prob(state, level) == pytest.approx(log_prob, rel=1e-14, abs=1e-14)
    np.testing.assert_allclose(got[0], denoised, rtol=1e-12)
    # a logit l carries eps |l| of rounding, and the small responsibility with it
    tolerance = 1e-12 + 4 * np.finfo(float).eps * abs(log_prob)
    np.testing.assert_allclose(got[1:], (divergence, variance), rtol=tolerance)


def test_a_component_of_weight_zero_changes_nothing() -> None:
    with_zero = GaussianMixture([0.4, 0.0, 0.6], [-1.0, 0.1, 2.0], [0.1, 1e-9, 0.3])
    without = GaussianMixture([0.4, 0.6], [-1.0, 2.0], [0.1, 0.3])
    x = states(d=1)
    for name in METHODS:
        close(getattr(with_zero, name)(x, LEVEL), getattr(without, name)(x, LEVEL), 1e-15)


def test_at_sigma_zero_the_denoiser_is_the_inverse_scaling() -> None:
    law, x, level = mixture("full"), states(), NoiseLevel(0.5, 0.0)
    denoised, divergence, variance = law.moments(x, level)
    close(denoised, x / 0.5)
    close(divergence, np.full(7, 2 / 0.5))
    close(variance, np.zeros(7))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(2,), (7, 2), (3, 4, 2)], ids=str)
def test_libraries_agree(form: str, shape: tuple[int, ...]) -> None:
    law, x = mixture(form), np.random.default_rng(3).standard_normal(shape)
    tangent = np.random.default_rng(4).standard_normal((2, *shape))
    for make in (torch.tensor, array_api_strict.asarray):
        for name in METHODS:
            ours = getattr(law, name)(x, LEVEL)
            theirs = getattr(law, name)(make(x), LEVEL)
            assert type(theirs) is type(make(x))
            assert tuple(theirs.shape) == ours.shape
            close(theirs, ours, 1e-14)
        close(law.jvp(make(x), LEVEL, make(tangent)), law.jvp(x, LEVEL, tangent), 1e-14)


@pytest.mark.parametrize("form", FORMS)
def test_a_stack_equals_its_members_to_the_last_digit(form: str) -> None:
    law = mixture(form, stack=(4,))
    x = np.random.default_rng(5).standard_normal((4, 6, 2))
    alpha, sigma = np.linspace(0.3, 1, 4), np.array([0.1, 0.0, 1.0, 20.0])
    level = NoiseLevel(alpha[:, None, None], sigma[:, None, None])
    tangent = np.random.default_rng(6).standard_normal((3, 4, 6, 2))
    for c in range(4):
        one, at = law.take(c), NoiseLevel(alpha[c], sigma[c])
        for name in METHODS:
            whole = getattr(law, name)(x, level)
            np.testing.assert_array_equal(whole[c], getattr(one, name)(x[c], at))
        np.testing.assert_array_equal(
            law.jvp(x, level, tangent)[:, c], one.jvp(x[c], at, tangent[:, c])
        )


@pytest.mark.parametrize("form", FORMS)
def test_row_chunks_change_nothing(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    law, x = mixture(form), np.random.default_rng(7).standard_normal((2, 9, 2))
    tangent = np.random.default_rng(8).standard_normal((3, 2, 9, 2))
    whole = [getattr(law, name)(x, LEVEL) for name in METHODS] + [law.jvp(x, LEVEL, tangent)]
    monkeypatch.setattr(analytic.mixtures, "CHUNK_BYTES", 8 * 3 * 2 * 2 * 4)
    parts = [getattr(law, name)(x, LEVEL) for name in METHODS] + [law.jvp(x, LEVEL, tangent)]
    for a, b in zip(whole, parts, strict=True):
        close(b, a, 1e-15)


def test_a_chunk_holds_as_many_rows_as_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight bytes a number, ``K`` components, and the widest argument's numbers a row."""
    law, asked = mixture("full"), []

    def by_rows(function: Any, num_rows: int, *args: Any) -> Any:
        asked.append(num_rows)
        return function(*args)

    monkeypatch.setattr(analytic.mixtures, "by_rows", by_rows)
    for bytes_, shape, probes in (
        (2**20, (9, 2), 1),
        (2**20, (9, 2), 5),
        (2**20, (4, 9, 2), 1),
        (2**20, (0, 2), 1),
        (2**20, (1, 2), 1),
        (7, (9, 2), 1),
    ):
        if bytes_ != 2**20:  # a mebibyte, unless told otherwise
            monkeypatch.setattr(analytic.mixtures, "CHUNK_BYTES", bytes_)
        x, numbers = np.zeros(shape), 2 * (4 if len(shape) == 3 else 1)
        law.jvp(x, LEVEL, np.zeros((probes, *shape)))
        width = numbers * probes if shape[-2] else 1
        assert asked[-1] == max(1, bytes_ // (8 * 3 * width))
        law(x, LEVEL)
        assert asked[-1] == max(1, bytes_ // (8 * 3 * (numbers if shape[-2] else 1)))
    asked.clear()
    mixture("full", stack=(4,))(np.zeros((4, 9, 2)), LEVEL)
    for alpha, sigma in ((np.full((1, 1), 0.6), 0.7), (0.6, np.full((1, 1), 0.7))):
        law(np.zeros((9, 2)), NoiseLevel(alpha, sigma))
    assert asked == [], "stacks of laws or levels are left whole"


@pytest.mark.parametrize("form", FORMS)
def test_samples_have_the_moments(form: str) -> None:
    law, n = mixture(form, d=3), 40_000
    x = law.sample(n, np.random.default_rng(9))
    z = (x.mean(axis=0) - law.mean()) / (x.std(axis=0) / np.sqrt(n))
    assert np.abs(z).max() < 5
    squares = (x**2).sum(axis=1)
    assert abs(squares.mean() - law.second_moment()) < 5 * squares.std() / np.sqrt(n)
    score = law.score(x, NoiseLevel(1.0, 0.0))  # Stein's identity, E x score' = -I
    products = x[:, :, None] * score[:, None, :]
    z = (products.mean(axis=0) + np.eye(3)) / (products.std(axis=0) / np.sqrt(n))
    assert np.abs(z).max() < 5


@pytest.mark.parametrize("form", FORMS)
def test_moments_and_samples_of_a_stack_are_its_members(form: str) -> None:
    law, n = mixture(form, d=3, stack=(4,)), 10_000
    x = law.sample(n, np.random.default_rng(10))
    assert x.shape == (4, n, 3)
    for c in range(4):
        one = law.take(c)
        close(law.mean()[c], one.mean(), 1e-15)
        close(law.second_moment()[c], one.second_moment(), 1e-15)
        close(law.variance()[c], one.variance(), 1e-15)
        close(one.variance(), one.second_moment() - (one.mean() ** 2).sum(), 1e-13)
        trace = np.broadcast_to(one.spectra, one.means.shape).sum(axis=1)
        close(one.second_moment(), one.weights @ ((one.means**2).sum(axis=1) + trace), 1e-14)
        z = (x[c].mean(axis=0) - one.mean()) / (x[c].std(axis=0) / np.sqrt(n))
        assert np.abs(z).max() < 5
        basis = np.eye(3) if one.basis is None else one.basis
        spread = (basis * np.broadcast_to(one.spectra, one.means.shape)[:, None]) @ np.swapaxes(
            basis, -1, -2
        )
        own = one.means[:, :, None] * one.means[:, None, :] + spread
        products = x[c][:, :, None] * x[c][:, None, :]
        z = products.mean(axis=0) - (one.weights[:, None, None] * own).sum(axis=0)
        assert np.abs(z / (products.std(axis=0) / np.sqrt(n))).max() < 5
    first, second = ((x[c, :, 0] - x[c, :, 0].mean()) / x[c, :, 0].std() for c in (0, 1))
    assert abs((first * second).mean()) < 5 / np.sqrt(n), "members are drawn independently"


def test_tangents_of_a_single_state() -> None:
    law, x = mixture("full"), states(1)[0]
    tangent = np.random.default_rng(11).standard_normal((3, 2))
    jacobian = law.jacobian(x, LEVEL)
    assert jacobian.shape == (2, 2)
    close(law.jvp(x, LEVEL, tangent), tangent @ jacobian, 1e-14)
    close(law.jvp(x, LEVEL, tangent[0]), jacobian @ tangent[0], 1e-14)


def test_what_a_law_shows_is_what_it_was_given() -> None:
    shown = repr(mixture("full"))
    assert "weights=" in shown
    assert "spectra" not in shown
    assert "basis" not in shown


@pytest.mark.parametrize(
    ("weights", "means", "covariances", "message"),
    [
        ([0.5, 0.6], [0.0, 1.0], 1.0, "weights must sum to 1, got a sum of 1.1"),
        ([1.5, -0.5], [0.0, 1.0], 1.0, "weights must be >= 0, got -0.5"),
        ([], [], 1.0, r"weights must hold at least one component, got \[\]"),
        ([0.5, np.nan], [0.0, 1.0], 1.0, "weights must be finite, got nan"),
        ([1.0], [[0.0], [1.0]], 1.0, r"means must hold one mean per weight: 1 weights, .*\(2, 1\)"),
        ([1.0], [np.inf], 1.0, "means must be finite, got inf"),
        ([1.0], [0.0], -1.0, "covariances must be positive definite, got the eigenvalue -1.0"),
        ([1.0], [0.0], [1.0, 2.0], r"covariances must be one number, or of shape .* got \(2,\)"),
        ([1.0], [[0.0, 0.0]], [[[1.0, 0.5], [0.0, 1.0]]], "covariances must be symmetric, got"),
    ],
)
def test_bad_parameters_are_named(weights: Any, means: Any, covariances: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        GaussianMixture(weights, means, covariances)


def test_bad_states_are_named() -> None:
    law = mixture("one")
    for bad in (np.zeros((4, 3)), np.zeros(3), np.array(0.0)):
        with pytest.raises(ValueError, match=r"^x must have 2 coordinates in its last axis, got"):
            law(bad, LEVEL)
    with pytest.raises(ValueError, match=r"^x must have a real floating dtype, got int64"):
        law(np.zeros((4, 2), dtype=int), LEVEL)


LEVELS = st.builds(NoiseLevel, st.floats(0.05, 1.0), st.floats(0.1, 20.0))
CASES = st.tuples(st.sampled_from(FORMS), st.integers(1, 4), st.integers(1, 3), st.integers(0, 999))


@given(CASES, LEVELS)
def test_jacobian_is_symmetric_positive_semidefinite_and_the_covariance(
    case: tuple[str, int, int, int], level: NoiseLevel
) -> None:
    form, k, d, seed = case
    law, x = mixture(form, k, d, seed), states(5, d, seed + 1000, level.sigma + 1)
    jacobian = law.jacobian(x, level)
    scale = np.abs(jacobian).max()
    close(jacobian, np.swapaxes(jacobian, 1, 2), 1e-14)
    assert np.linalg.eigvalsh(jacobian).min() >= -1e-14 * scale
    _, divergence, variance = law.moments(x, level)
    close(divergence, np.trace(jacobian, axis1=1, axis2=2))
    np.testing.assert_allclose(divergence, level.alpha / level.sigma**2 * variance, rtol=1e-12)


@given(CASES, LEVELS)
def test_translation_and_rotation_equivariance(
    case: tuple[str, int, int, int], level: NoiseLevel
) -> None:
    form, k, d, seed = case
    law, x = mixture(form, k, d, seed), states(5, d, seed + 1000, level.sigma + 1)
    rng = np.random.default_rng(seed)
    shift, (q, _) = rng.standard_normal(d), np.linalg.qr(rng.standard_normal((d, d)))
    basis = np.eye(d) if law.basis is None else law.basis
    spectra = np.broadcast_to(law.spectra, law.means.shape)
    turned = q @ (basis * spectra[:, None, :] @ np.swapaxes(basis, -1, -2)) @ q.T
    other = GaussianMixture(law.weights, (law.means + shift) @ q.T, turned)
    y = (x + level.alpha * shift) @ q.T
    close(other(y, level), (law(x, level) + shift) @ q.T, 1e-11)
    close(other.divergence(y, level), law.divergence(x, level), 1e-11)
    close(other.log_prob(y, level), law.log_prob(x, level), 1e-11)


@pytest.mark.parametrize("theta", [0.3, 1.0, 1.9, 2.0])
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 999), LEVELS)
def test_mean_shift_ascends(theta: float, k: int, d: int, seed: int, level: NoiseLevel) -> None:
    law, x = mixture("one", k, d, seed), states(5, d, seed + 1000, level.sigma + 1)
    before, score = law.log_prob(x, level), law.score(x, level)
    slack = 1e-13 * (1 + np.abs(before))
    moved = x - theta * (x - level.alpha * law(x, level))
    assert np.all(law.log_prob(moved, level) >= before - slack)
    # sharper: 2 v along the score ascends, of which sigma^2 score = alpha D - x is a part
    v = level.alpha**2 * 0.3 + level.sigma**2
    assert np.all(law.log_prob(x + theta * v * score, level) >= before - slack)
    if k == 1 and theta == 2.0:  # and 2 is the limit: a Gaussian is reflected in its mean
        assert np.all(law.log_prob(x + 1.01 * theta * v * score, level) < before)


def test_no_states_give_no_values() -> None:
    law = mixture("full")
    assert law.log_prob(np.zeros((0, 2)), LEVEL).shape == (0,)
    assert law(np.zeros((0, 2)), LEVEL).shape == (0, 2)


def test_the_variance_of_a_distant_law_keeps_its_digits() -> None:
    law = GaussianMixture([0.5, 0.5], [[1e8, 0.0], [1e8 + 2, 0.0]], 0.25)
    assert law.variance() == 1.5  # E|x|^2 - |E x|^2 is off by its rounding, 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_far_below_its_widths_a_law_is_the_identity(form: str, dtype: Any) -> None:
    """``D = x + sigma^2 s`` to first order, ``s`` the data's score: no rounding over sigma^2."""
    law, x = mixture(form), states().astype(dtype)
    eps, sigmas = float(np.finfo(dtype).eps), (1e-7, 1e-12, 1e-16, 1e-20, 1e-100, 1e-170)
    each = NoiseLevel(np.ones((7, 1)), np.array([*sigmas, 0.3])[:, None])
    together = law.divergence(x, each)
    for i, sigma in enumerate(sigmas):
        level = NoiseLevel(1.0, sigma)
        close(law.divergence(x, level), np.full(7, 2.0), 20 * eps + 1e-10)
        close(law.jacobian(x, level), np.broadcast_to(np.eye(2), (7, 2, 2)), 20 * eps + 1e-10)
        close(together[i], law.divergence(x, level)[i], 4 * eps)
    close(together[-1], law.divergence(x, NoiseLevel(1.0, 0.3))[-1], 4 * eps)
