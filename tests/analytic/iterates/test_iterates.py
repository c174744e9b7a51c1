from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import chi2, kstest, norm

from analytic import GaussianMixture, NoiseLevel
from analytic.iterates.branches import LineJet, find_branches
from analytic.iterates.distances import (
    energy,
    fisher_divergence,
    fisher_rate,
    kl_divergence,
    quantile,
    truncated_fisher,
    wasserstein,
)
from analytic.iterates.line import LineIterate

HALF = NoiseLevel(1.0, 0.5**0.5)
NORMAL = GaussianMixture([1.0], [0.0], 0.5)  # N(0, 1) at HALF


def affine(a: float, b: float) -> LineIterate:
    return LineIterate(NORMAL, HALF, lambda x: LineJet(a * x + b, a + 0 * x, 0 * x))


def square() -> LineIterate:
    return LineIterate(NORMAL, HALF, lambda x: LineJet(x**2, 2 * x, 2 + 0 * x))


@pytest.mark.parametrize(("a", "b"), [(2.0, 0.5), (-0.3, -1.0), (1.0, 0.0), (1e-3, 4.0)])
def test_gaussian_closed_forms(a: float, b: float) -> None:
    target = GaussianMixture([1.0], [0.7], 1.5)  # N(0.7, 2) at HALF
    law, v, w, m = affine(a, b), a * a, 2.0, b - 0.7
    fisher = fisher_divergence(law, target, HALF)
    assert abs(fisher.value - ((1 / w - 1 / v) ** 2 * v + (m / w) ** 2)) <= fisher.error * 4
    kl = kl_divergence(law, target, HALF)
    assert abs(kl.value - 0.5 * (math.log(w / v) + (v + m * m) / w - 1)) <= kl.error * 4
    w2 = wasserstein(law, target, HALF)
    assert w2.value == pytest.approx(math.hypot(m, abs(a) - math.sqrt(w)), abs=1e-13 + w2.error)
    distance = energy(law, target, HALF)

    def mean_abs(mu: float, s: float) -> float:
        return float(2 * s * norm.pdf(mu / s) + mu * (1 - 2 * norm.cdf(-mu / s)))

    expected = 2 * mean_abs(m, math.sqrt(v + w)) - mean_abs(0, abs(a) * 2**0.5) - mean_abs(0, 2.0)
    assert distance.value == pytest.approx(expected, abs=1e-14 + distance.error)
    assert max(fisher.error / fisher.value if fisher.value else 0, w2.error) < 1e-6


def test_square_of_a_normal_is_chi_square() -> None:
    law, y = square(), np.array([1e-6, 0.01, 0.5, 1.0, 4.0, 30.0])
    assert [round(fold.x, 12) for fold in law.folds] == [0.0]
    got = law.log_density(y)
    np.testing.assert_allclose(got.log, chi2.logpdf(y, 1), atol=1e-12)
    np.testing.assert_allclose(got.score, -0.5 - 0.5 / y, rtol=1e-9)
    below, above = law.distribution(y)
    np.testing.assert_allclose(below, chi2.cdf(y, 1), rtol=1e-12)
    np.testing.assert_allclose(above, chi2.sf(y, 1), rtol=1e-12)
    nothing = law.log_density(np.array([-1.0]))
    assert nothing.log[0] == -np.inf
    assert math.isnan(nothing.score[0])
    assert law.folded_mass() == pytest.approx(0.5, abs=1e-15)


def test_distances_of_the_chi_square() -> None:
    law, target = square(), GaussianMixture([1.0], [1.0], 0.5)  # N(1, 1)
    kl = kl_divergence(law, target, HALF)
    z = 0.5 * math.log(2 * math.pi)
    # E log q = -(log(2 pi) + E log y + E y) / 2, E log chi2_1 = -gamma - log 2
    entropy = -0.5 * (math.log(2 * math.pi) - np.euler_gamma - math.log(2) + 1)
    assert abs(kl.value - (entropy + z + 0.5 * 2)) <= kl.error
    assert kl.error < 1e-6
    w2 = wasserstein(law, target, HALF)
    product = quad(lambda u: chi2.ppf(u, 1) * norm.ppf(u), 0, 1, epsabs=1e-10, limit=400)[0]
    assert w2.value**2 == pytest.approx(3 + 2 - 2 * (product + 1), abs=1e-7)
    got = energy(law, target, HALF)
    low = quad(lambda y: 2 * norm.cdf(y - 1) ** 2, -12, 0, epsabs=1e-13)[0]
    high = quad(lambda y: 2 * (chi2.cdf(y, 1) - norm.cdf(y - 1)) ** 2, 0, 60, limit=400)[0]
    assert got.value == pytest.approx(low + high, abs=1e-8)


def test_fisher_divergence_is_infinite_where_the_map_folds() -> None:
    law = square()
    found = fisher_divergence(law, NORMAL, HALF)
    assert found.value == np.inf
    assert "folds at x = " in found.reason
    assert "c^(-3/2)" in found.reason
    for cut in (1e-1, 1e-3, 1e-5):
        part = truncated_fisher(law, NORMAL, HALF, cut)
        expected = quad(
            lambda t: np.exp(t) * chi2.pdf(np.exp(t), 1) * (np.exp(t) - 0.5 - 0.5 / np.exp(t)) ** 2,
            math.log(cut), math.log(90), epsabs=0, epsrel=1e-10, limit=500,
        )[0]  # fmt: skip
        assert part.value == pytest.approx(expected, rel=1e-8)
        rough = truncated_fisher(law, NORMAL, HALF, cut, tolerance=1e-5)
        assert rough.value == pytest.approx(expected, rel=1e-4)
    # A: p0(0) / (3 sqrt(2 * 2)), twice the half-line's share
    assert fisher_rate(law.folds) == pytest.approx(norm.pdf(0) / 6, rel=1e-12)
    assert part.value * cut**1.5 == pytest.approx(fisher_rate(law.folds), rel=0.01)
    windowed = truncated_fisher(law, NORMAL, HALF, cut, window=(-0.1, 0.1))
    assert 0.99 * part.value < windowed.value < part.value


def test_folds_are_found_where_nodes_are_sparse() -> None:
    def ripple(x: np.ndarray) -> LineJet:  # X' = 1 + 1.5 cos(20 x) on [0, 1]
        return LineJet(x + 0.075 * np.sin(20 * x), 1 + 1.5 * np.cos(20 * x), -30 * np.sin(20 * x))

    found = find_branches(ripple, np.linspace(0.0, 1.0, 4))
    angle = math.acos(-1 / 1.5)
    roots = [(s * angle + 2 * math.pi * k) / 20 for k in range(-1, 5) for s in (-1, 1)]
    np.testing.assert_allclose(found.folds, sorted(r for r in roots if 0 < r < 1), atol=1e-13)
    assert found.signs.tolist() == [(-1.0) ** i for i in range(len(found.signs))]


def test_a_narrow_fold_between_nodes_is_found() -> None:
    width = 1e-4  # X' = 1 - 3 exp(-(x - c)^2 / 2 w^2): a dip far narrower than the nodes' distance

    def dip(x: np.ndarray) -> LineJet:
        z = (x - 0.31) / width
        bell = 3 * np.exp(-0.5 * z**2)
        area = 3 * width * math.sqrt(2 * math.pi)
        return LineJet(x - area * norm.cdf(z), 1 - bell, bell * z / width)

    # no node and no first middle sees the dip; the increment of X does
    found = find_branches(dip, np.linspace(0.0, 1.0, 42))
    expected = 0.31 + width * math.sqrt(2 * math.log(3)) * np.array([-1, 1])
    np.testing.assert_allclose(found.folds, expected, atol=1e-12)


def test_constant_maps_and_wrong_laws_are_refused() -> None:
    flat = LineIterate(NORMAL, HALF, lambda x: LineJet(0 * x, 0 * x, 0 * x))
    with pytest.raises(ArithmeticError, match="constant on a branch"):
        _ = flat.branches
    broken = LineIterate(NORMAL, HALF, lambda x: LineJet(np.log(x), 1 / x, -1 / x**2))
    with np.errstate(all="ignore"), pytest.raises(ArithmeticError, match="not finite at x"):
        _ = broken.branches
    with pytest.raises(ValueError, match="base must be one law in one dimension"):
        LineIterate(GaussianMixture([1.0], [[0.0, 0.0]], 1.0), HALF, square().jet)


def test_pushing_composes_maps() -> None:
    law = square().push(lambda y: LineJet(np.sin(y), np.cos(y), -np.sin(y)))
    x = np.linspace(-2, 2, 9)
    at = law.jet(x)
    np.testing.assert_allclose(at.value, np.sin(x**2))
    np.testing.assert_allclose(at.first, 2 * x * np.cos(x**2))
    np.testing.assert_allclose(at.second, 2 * np.cos(x**2) - 4 * x**2 * np.sin(x**2), atol=1e-14)
    draws = np.sin(np.random.default_rng(0).standard_normal(1000) ** 2)
    assert kstest(draws, lambda y: law.distribution(y)[0]).pvalue > 1e-3


def test_quantile_inverts_both_tails() -> None:
    law = GaussianMixture([0.3, 0.7], [-2.0, 3.0], [0.1, 0.4])
    y = np.array([-9.0, -2.0, 0.4, 3.0, 12.0])
    mean, std = law.means[:, 0], np.sqrt(law.spectra[:, 0] + 0.5)
    cdf = (law.weights * norm.cdf(y[:, None], mean, std)).sum(axis=1)
    sf = (law.weights * norm.sf(y[:, None], mean, std)).sum(axis=1)
    np.testing.assert_allclose(quantile(law, HALF, cdf, sf), y, rtol=1e-12)


def test_smooth_integrals_state_the_rounding_of_their_sums_and_no_more() -> None:
    """Sums of terms of the integrals' own sizes, 16 units each, up to what a halving moves."""
    target = GaussianMixture([1.0], [0.7], 1.5)
    for a, b in ((2.0, 0.5), (-0.3, -1.0), (1.0, 0.0)):
        for distance in (fisher_divergence, kl_divergence, wasserstein, energy):
            found = distance(affine(a, b), target, HALF)
            assert 1e-15 < found.error < 1e-13 * max(1.0, found.value), distance.__name__


def chi_square_below(top: float) -> LineIterate:
    return LineIterate(NORMAL, HALF, lambda x: LineJet(top - x**2, -2 * x, -2 + 0 * x))


@pytest.mark.parametrize("top", [0.0, 40.0, -4e3, 1e6])
def test_a_fold_far_from_the_origin_is_one_to_its_rounding(top: float) -> None:
    """``KL`` of ``top - z^2``: the entropy of a chi-square, which no shift changes."""
    target = GaussianMixture([1.0], [0.7], 1.5)  # N(0.7, 2)
    found = kl_divergence(chi_square_below(top), target, HALF)
    negative = -0.5 * (math.log(2 * math.pi) - np.euler_gamma - math.log(2) + 1)
    exact = negative + 0.5 * math.log(4 * math.pi) + ((top - 1.7) ** 2 + 2) / 4
    assert abs(found.value - exact) <= found.error
    assert found.error <= 1e-5 * max(1.0, abs(top)) ** 0.5


def test_a_fold_beyond_all_of_the_target_is_integrated_to() -> None:
    """The largest break is the fold: ``E|Y-Z|`` is the difference of the means where all of ``Z``
    lies below all of ``Y``."""
    target = GaussianMixture([1.0], [-300.0], 1.5)
    found = energy(chi_square_below(40.0), target, HALF)
    # E|Y-Y'| of two chi-squares of one degree is 4 / pi; E|Z-Z'| of N(., 2) is 2 sqrt(2 / pi)
    exact = 2 * (39.0 + 300.0) - 4 / math.pi - 2 * math.sqrt(2 / math.pi)
    assert found.value == pytest.approx(exact, rel=1e-6)
    mirrored = LineIterate(NORMAL, HALF, lambda x: LineJet(x**2 - 40, 2 * x, 2 + 0 * x))
    other = energy(mirrored, GaussianMixture([1.0], [300.0], 1.5), HALF)
    assert other.value == pytest.approx(found.value, rel=1e-12)


def test_the_windows_ends_and_the_named_folds_count() -> None:
    law = LineIterate(
        NORMAL, HALF, lambda x: LineJet(np.cos(3 * x), -3 * np.sin(3 * x), -9 * np.cos(3 * x))
    )
    found = fisher_divergence(law, NORMAL, HALF)
    shown = [float(x) for x in found.reason.split("x = ")[1].split(" and ")[0].split(", ")]
    np.testing.assert_allclose(shown, [fold.x for fold in law.folds[:4]], rtol=1e-5)
    assert f" and {len(law.folds) - 4} more:" in found.reason
