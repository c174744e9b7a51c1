"""Measures against closed forms, scipy's matrix root, and repeated draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from gpu_models.quality.measures import (
    Moments,
    artifact_rate,
    frechet,
    frechet_estimate,
    frechet_influence,
    nearest,
    precision_recall,
)

EPS = float(np.finfo(np.float64).eps)


def normal(count: int, dim: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, dtype=torch.float64, generator=generator)


def law(mean: np.ndarray, covariance: np.ndarray, count: int = 1000) -> Moments:
    scatter = torch.as_tensor(covariance) * (count - 1)
    return Moments(count, torch.as_tensor(mean), scatter)


def random_law(dim: int, seed: int) -> Moments:
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(dim, dim))
    return law(rng.normal(size=dim), factor @ factor.T)


def test_moments_merge_exactly_in_any_split() -> None:
    rows = normal(2500, 5, 0) @ normal(5, 5, 1) + 1000
    whole = Moments.of(rows)
    expected = np.cov(rows.numpy().T)
    # products of entries of size 1 after centring; the mean, of size 1000, is rounded
    np.testing.assert_allclose(whole.covariance, expected, rtol=1e-11, atol=1e-11)
    for cut in (1, 700, 2499):
        merged = Moments.of(rows[:cut]) + Moments.of(rows[cut:])
        assert merged.count == whole.count
        torch.testing.assert_close(merged.mean, whole.mean, rtol=4 * EPS, atol=0)
        torch.testing.assert_close(merged.scatter, whole.scatter, rtol=1e-10, atol=1e-8)


def test_distance_of_commuting_gaussians_is_the_closed_form() -> None:
    a, b = np.array([1.0, 4.0, 0.0]), np.array([9.0, 4.0, 0.25])
    found = frechet(law(np.zeros(3), np.diag(a)), law(np.array([1.0, 2.0, 0.0]), np.diag(b)))
    expected = 5 + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
    assert found == pytest.approx(expected, abs=64 * EPS * 30)


@pytest.mark.parametrize("dim", [2, 20])
def test_distance_is_scipys(dim: int) -> None:
    a, b = random_law(dim, 0), random_law(dim, 1)
    c1, c2 = a.covariance.numpy(), b.covariance.numpy()
    shift = (a.mean - b.mean).numpy()
    root = scipy.linalg.sqrtm(c1 @ c2).real
    expected = shift @ shift + np.trace(c1 + c2 - 2 * root)
    assert frechet(a, b) == pytest.approx(expected, rel=1e-8)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-10)


def test_distance_of_a_law_to_itself_is_rounding() -> None:
    a = random_law(20, 2)
    # the root of an eigenvalue's rounding, eps^(1/2), times the trace
    assert abs(frechet(a, a)) < math.sqrt(EPS) * float(a.covariance.trace())


def test_jackknife_and_influence_give_the_spread_of_repeated_draws() -> None:
    dim, count, repeats = 3, 1000, 200
    factor = normal(dim, dim, 3)
    reference = random_law(dim, 4)
    values = [
        frechet(Moments.of(normal(count, dim, 10 + i) @ factor), reference) for i in range(repeats)
    ]
    spread = float(np.std(values, ddof=1))
    rows = normal(count, dim, 5) @ factor
    estimate = frechet_estimate(rows, reference)
    influence = float(frechet_influence(rows, reference).std()) / math.sqrt(count)
    # a deviation from 20 groups is known to 1 / sqrt(38), four of which are allowed
    assert abs(estimate.error / spread - 1) < 4 / math.sqrt(38)
    assert abs(influence / spread - 1) < 0.25
    assert estimate.value == pytest.approx(frechet(Moments.of(rows), reference), rel=1e-12)


def test_influence_is_the_derivative() -> None:
    rows, reference = normal(200, 3, 6), random_law(3, 7)
    psi = frechet_influence(rows, reference)
    total = Moments.of(rows)
    one, share = Moments.of(rows[:1]), 1e-6

    def mixed(weight: float) -> float:
        shift = one.mean - total.mean
        mean = total.mean + weight * shift
        spread = (1 - weight) * total.scatter / total.count
        spread = spread + weight * (1 - weight) * torch.outer(shift, shift)
        return frechet(Moments(2, mean, spread), reference)

    slope = (mixed(share) - mixed(-share)) / (2 * share)
    # psi uses the covariance over n - 1
    assert float(psi[0]) == pytest.approx(slope, rel=0.02)


def test_jackknife_removes_most_of_the_bias() -> None:
    dim = 8
    reference = law(np.zeros(dim), np.eye(dim))
    found = [frechet_estimate(normal(200, dim, i), reference, groups=10) for i in range(40)]
    plain = np.mean([each.value for each in found])
    corrected = np.array([each.unbiased for each in found])
    error = corrected.std(ddof=1) / math.sqrt(len(corrected))
    assert plain > 10 * error
    assert abs(corrected.mean()) < 0.2 * plain + 5 * error


def test_precision_and_recall_by_hand() -> None:
    # radii for k = 1 on a line: 1 for 0 and 1, 9 for 10
    reference = torch.tensor([[0.0], [1.0], [10.0]])
    samples = torch.tensor([[0.5], [-1.5], [18.0], [40.0]])
    precision, recall = precision_recall(samples, reference, k=1)
    assert precision.value == 0.5
    # radii of the samples: 2, 2, 17.5, 22, so that 10 is in the third's ball
    assert recall.value == 1.0


def test_precision_sees_outliers_and_recall_sees_lost_modes() -> None:
    reference = normal(400, 2, 11) + torch.tensor([8.0, 0.0]) * (torch.arange(400)[:, None] % 2)
    one_mode = normal(400, 2, 12)
    precision, recall = precision_recall(one_mode, reference)
    assert precision.value > 0.9
    assert recall.value < 0.6
    noisy = torch.cat((reference + 0.01 * normal(400, 2, 13), normal(400, 2, 14) + 100))
    precision, recall = precision_recall(noisy, reference)
    assert precision.value == pytest.approx(0.5, abs=0.02)
    assert recall.value > 0.95


def test_nearest_is_the_least_distance() -> None:
    x, y = normal(50, 4, 15), normal(70, 4, 16)
    torch.testing.assert_close(nearest(x, y), torch.cdist(x, y).amin(1))
    assert float(nearest(y, y).max()) < 1e-6


def test_artifact_rate_of_the_law_itself_is_its_floor() -> None:
    found = artifact_rate(normal(4000, 1, 17)[:, 0], normal(8000, 1, 18)[:, 0], 0.99)
    for rate, error in ((found.rate, found.error), (found.floor, found.floor_error)):
        assert abs(rate - 0.01) < 4 * error
        assert error == pytest.approx(math.sqrt(2 * 0.01 * 0.99 / 4000), rel=0.3)
    shifted = artifact_rate(normal(4000, 1, 17)[:, 0] + 2, normal(8000, 1, 18)[:, 0], 0.99)
    assert shifted.rate == pytest.approx(0.37, abs=0.05)  # P(N(2, 1) > 2.326)


def test_bad_arguments_are_named() -> None:
    rows = normal(10, 2, 0)
    with pytest.raises(ValueError, match=r"groups must be in 2 to 5, got 6"):
        frechet_estimate(rows, random_law(2, 0), groups=6)
    with pytest.raises(ValueError, match=r"k must be in 1 to 9, got 10"):
        precision_recall(rows, rows, k=10)
    with pytest.raises(ValueError, match=r"quantile must be in \(0, 1\), got 1"):
        artifact_rate(rows[:, 0], rows[:, 0], 1.0)
    with pytest.raises(ValueError, match=r"rows must have shape"):
        Moments.of(rows[0])
