"""Integrals under mixtures: closed forms, mpmath, sharp cases, breaks and tensor rules."""

from __future__ import annotations

import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from analytic.quadrature import (
    REACH,
    _panels,
    expect,
    gauss_legendre,
    integrate,
    marginal_variances,
    mixture_breaks,
    tensor_nodes,
)

CLEAN = NoiseLevel(1.0, 0.0)
LEVEL = NoiseLevel(0.6, 0.7)
TIGHT = 1e-13

SMOOTH = GaussianMixture([0.3, 0.7], [-1.0, 1.5], [0.16, 0.49])
SHARP = GaussianMixture([0.4, 0.6], [0.3, -1.0], [1e-6, 4.0])
"""A mode of deviation 1e-3 on the shoulder of one of deviation 2."""
APART = GaussianMixture([0.1, 0.5, 0.4], [-500.0, 0.0, 800.0], [1e-4, 0.25, 9.0])
LAWS = pytest.mark.parametrize("law", [SMOOTH, SHARP, APART], ids=["smooth", "sharp", "apart"])


def raw_moment(law: GaussianMixture, level: NoiseLevel, power: int) -> float:
    """``E x^power`` by the recursion ``m_k = mu m_(k-1) + (k-1) v m_(k-2)``, in mpmath."""
    total = mp.mpf(0)
    columns = law.weights.tolist(), law.means[:, 0].tolist(), law.spectra[:, 0].tolist()
    for w, m, variance in zip(*columns, strict=True):
        mu = mp.mpf(level.alpha) * m
        v = mp.mpf(level.alpha) ** 2 * variance + mp.mpf(level.sigma) ** 2
        moments = [mp.mpf(1), mu]
        for k in range(2, power + 1):
            moments.append(mu * moments[-1] + (k - 1) * v * moments[-2])
        total += w * moments[power]
    return float(total)


def pieces(law: GaussianMixture, level: NoiseLevel) -> list[Any]:
    return [mp.mpf(b) for b in np.unique(mixture_breaks(law, level)).tolist()]


def mp_density(law: GaussianMixture, level: NoiseLevel, x: Any) -> Any:
    columns = law.weights.tolist(), law.means[:, 0].tolist(), law.spectra[:, 0].tolist()
    a, s2 = mp.mpf(level.alpha), mp.mpf(level.sigma) ** 2
    return mp.fsum(
        w * mp.npdf(x, a * m, mp.sqrt(a**2 * v + s2)) for w, m, v in zip(*columns, strict=True)
    )


@pytest.mark.parametrize("level", [CLEAN, LEVEL], ids=["clean", "noisy"])
@LAWS
def test_moments(law: GaussianMixture, level: NoiseLevel) -> None:
    powers = np.arange(9)
    got = expect(lambda x: x**powers, law, level)
    exact = np.array([raw_moment(law, level, int(k)) for k in powers])
    assert got.value.shape == (1, 9)
    np.testing.assert_array_less(np.abs(got.value[0] - exact), TIGHT * got.size[0] + 1e-300)
    np.testing.assert_array_less(np.abs(got.value[0] - exact), got.error[0] + TIGHT * got.size[0])
    assert np.all(got.error <= TIGHT * got.size), "smooth integrands settle"


@LAWS
def test_an_entropy_like_integral_against_mpmath(law: GaussianMixture) -> None:
    """``E log p(x)`` and ``E tanh(x / 3)^2``, at 30 digits."""
    got = expect(
        lambda x: np.concatenate([law.log_prob(x, LEVEL)[:, None], np.tanh(x / 3) ** 2], axis=1),
        law,
        LEVEL,
    )
    with mp.workdps(30):
        marks = pieces(law, LEVEL)

        def log_part(x: Any) -> Any:
            p = mp_density(law, LEVEL, x)
            return p * mp.log(p)

        exact = [
            float(mp.quad(log_part, marks)),
            float(mp.quad(lambda x: mp_density(law, LEVEL, x) * mp.tanh(x / 3) ** 2, marks)),
        ]
    np.testing.assert_allclose(got.value[0], exact, rtol=TIGHT)


@LAWS
def test_sizes_are_absolute_integrals_and_the_mass_is_one(law: GaussianMixture) -> None:
    got = expect(lambda x: np.concatenate([np.ones_like(x), x, -np.abs(x)], axis=1), law, LEVEL)
    assert got.value[0, 0] == pytest.approx(1, abs=TIGHT)
    assert got.size[0, 1] == pytest.approx(got.size[0, 2], rel=1e-6)
    assert got.value[0, 2] == pytest.approx(-got.size[0, 2], rel=1e-15)


def test_sizes_are_computed_where_they_are_asked_for() -> None:
    """The first panels need values alone, their halves both."""
    counts = {"values": 0, "sizes": 0}

    def eager(case: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Any]:
        counts["values"] += x.shape[0]
        return (values := np.cos(x)[..., None]), 2 + np.abs(values)

    def lazy(case: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Any]:
        values, found = eager(case, x)

        def sizes() -> np.ndarray:
            counts["sizes"] += len(found)
            return np.asarray(found)

        return values, sizes

    breaks = np.array([[0.0, 1.0, 3.0]])
    plain, asked = integrate(eager, breaks), integrate(lazy, breaks)
    assert (plain.value, plain.size, plain.error) == (asked.value, asked.size, asked.error)
    assert counts["sizes"] == counts["values"] // 2 - 2


def test_a_discontinuity_as_a_break() -> None:
    jump = 0.123
    exact = sum(
        float(w) * 0.5 * math.erfc((jump - 0.6 * m) / math.sqrt(2 * (0.36 * v + 0.49)))
        for w, m, v in zip([0.3, 0.7], [-1.0, 1.5], [0.16, 0.49], strict=True)
    )
    inside = expect(lambda x: (x > jump) * 1.0, SMOOTH, LEVEL, breaks=np.array([jump, 1e9]))
    assert inside.value[0, 0] == pytest.approx(exact, rel=TIGHT)
    blind = expect(lambda x: (x > jump) * 1.0, SMOOTH, LEVEL)
    assert abs(blind.value[0, 0] - exact) > 1e-10, "the break is what makes it exact"
    assert abs(blind.value[0, 0] - exact) <= blind.error[0, 0], "and the error says so"


def test_a_kink_is_refined_within_its_reported_error() -> None:
    got = expect(lambda x: np.abs(x - 0.1234), SMOOTH, LEVEL)
    exact = expect(lambda x: np.abs(x - 0.1234), SMOOTH, LEVEL, breaks=np.array([0.1234]))
    assert abs(got.value - exact.value) <= got.error + 1e-15
    assert abs(got.value - exact.value) < 1e-8


def integrand(case: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Case ``c`` has its own scale: some cases need many rounds, some one."""
    sharp = (10.0 ** (case % 5))[:, None]
    values = np.stack([np.exp(-sharp * x**2), np.cos(sharp * x) / (1 + x**2)], axis=-1)
    return values, np.abs(values)


def test_a_case_does_not_depend_on_its_neighbours() -> None:
    rng = np.random.default_rng(0)
    breaks = np.sort(rng.uniform(-3, 3, (300, 9)), axis=1)
    together = integrate(integrand, breaks)
    for c in (0, 1, 2, 3, 4, 150, 299):
        alone = integrate(lambda case, x, c=c: integrand(case + c, x), breaks[c : c + 1])
        np.testing.assert_array_equal(alone.value[0], together.value[c])
        np.testing.assert_array_equal(alone.size[0], together.size[c])
        np.testing.assert_array_equal(alone.error[0], together.error[c])
    order = rng.permutation(len(breaks))
    shuffled = integrate(lambda case, x: integrand(order[case], x), breaks[order])
    np.testing.assert_array_equal(shuffled.value, together.value[order])


def test_panels_of_no_width_are_skipped() -> None:
    seen = []

    def one(case: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen.append(x)
        return np.ones((*x.shape, 1)), np.ones((*x.shape, 1))

    got = integrate(one, np.array([[0.0, 0.0, 1.0, 1.0], [2.0, 2.0, 2.0, 5.0]]))
    np.testing.assert_allclose(got.value[:, 0], [1.0, 3.0], rtol=1e-15)
    assert all(np.ptp(x, axis=1).min() > 0 for x in seen)


def test_nodes_are_exact_for_their_degree() -> None:
    nodes, weights = gauss_legendre(5)
    for k in range(10):
        assert (weights * nodes**k).sum() == pytest.approx((1 + (-1) ** k) / (k + 1), abs=1e-15)
    assert abs((weights * nodes**10).sum() - 2 / 11) > 1e-4


def test_breaks_reach_ten_deviations_of_every_component_of_a_stack() -> None:
    law = GaussianMixture(
        [[0.5, 0.5], [0.1, 0.9]], [[-1.0, 1.0], [5.0, 0.0]], [[1.0, 4.0], [0.01, 9.0]]
    )
    level = NoiseLevel(np.array([0.5, 1.0])[:, None, None], np.array([0.3, 0.0])[:, None, None])
    breaks = mixture_breaks(law, level)
    assert np.all(np.diff(breaks, axis=1) >= 0)
    alphas, sigmas = (0.5, 1.0), (0.3, 0.0)
    for c, (a, s) in enumerate(zip(alphas, sigmas, strict=True)):
        for m, v in zip(law.means[c, :, 0], law.spectra[c, :, 0], strict=True):
            for step in (*-REACH, *REACH):
                mark = a * m + step * math.sqrt(a * a * v + s * s)
                assert np.abs(breaks[c] - mark).min() < 1e-14
    assert REACH[-1] == 10
    with pytest.raises(ValueError, match="law must be one-dimensional, got 2 dimensions"):
        mixture_breaks(GaussianMixture([1.0], [[0.0, 0.0]], 1.0), level)


PLANE = GaussianMixture(
    [0.3, 0.7],
    [[-1.0, 0.5], [1.0, -0.2]],
    [[[0.5, 0.3], [0.3, 0.4]], [[0.3, -0.1], [-0.1, 0.2]]],
)
SPACE = GaussianMixture(
    [1.0], [[0.3, -0.2, 0.1]], [[[0.5, 0.2, 0.1], [0.2, 0.4, 0.0], [0.1, 0, 1]]]
)


@pytest.mark.parametrize(("law", "nodes"), [(PLANE, 12), (SPACE, 8)], ids=["2-D", "3-D"])
def test_tensor_rules(law: GaussianMixture, nodes: int) -> None:
    x, w = tensor_nodes(law, LEVEL, nodes=nodes)
    assert x.shape == (len(w), law.dim)
    eye = LEVEL.sigma**2 * np.eye(law.dim)
    means = LEVEL.alpha * law.means
    covariances = LEVEL.alpha**2 * law.covariances + eye
    assert w.sum() == pytest.approx(1, abs=TIGHT)
    first = law.weights @ means
    np.testing.assert_allclose(w @ x, first, atol=TIGHT)
    second = np.einsum("k,kij->ij", law.weights, covariances)
    second += np.einsum("k,ki,kj->ij", law.weights, means, means)
    np.testing.assert_allclose((x * w[:, None]).T @ x, second, atol=TIGHT)
    a = np.array([0.7, -0.4, 0.2])[: law.dim]
    generating = law.weights @ np.exp(means @ a + 0.5 * np.einsum("i,kij,j->k", a, covariances, a))
    assert w @ np.exp(x @ a) == pytest.approx(generating, rel=TIGHT)


def test_marginal_variances_are_the_diagonals() -> None:
    diagonal = np.diagonal(PLANE.covariances, axis1=-2, axis2=-1)
    np.testing.assert_allclose(marginal_variances(PLANE), diagonal, rtol=1e-14)
    shared = GaussianMixture([0.5, 0.5], [[0.0, 1.0], [2.0, 3.0]], [0.2, 0.3])
    np.testing.assert_array_equal(marginal_variances(shared), [[0.2, 0.2], [0.3, 0.3]])


def test_large_sizes_elsewhere_do_not_excuse_a_panel() -> None:
    """A jump below the rounding of its own integral carries all the mass of its derivative."""

    def jump(case: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = (x - 0.31111) / 1e-7
        values = 1e-14 * np.stack([np.tanh(z), 1e7 / np.cosh(np.clip(z, -300, 300)) ** 2], axis=-1)
        sizes = np.abs(values)
        sizes[..., 0] += 100.0 * (x < 0.2)
        return values, sizes

    got = integrate(jump, np.array([[0.0, 0.25, 0.5, 1.0]]))
    assert got.value[0, 1] == pytest.approx(2e-14, rel=1e-10, abs=0)


def spike(case: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``g' = 1 + J sech^2((x - c) / w) / (2 w)`` between nodes, itself and its primitive ``g``."""
    z = (x - np.array([0.3137, 0.7211])[case][:, None]) / WIDTH
    slope = 1 + JUMP / (2 * WIDTH) / np.cosh(np.minimum(np.abs(z), 300)) ** 2
    primitive = x + 0.5 * JUMP * np.tanh(z)
    values = np.stack((slope, slope, primitive), axis=-1)
    return values, np.abs(values)


JUMP, WIDTH = 1e-9, 1e-5


def test_a_feature_between_the_nodes_is_seen_by_its_primitive() -> None:
    breaks = np.array([[0.0, 1.0], [0.0, 1.0]])
    blind = integrate(lambda case, x: tuple(a[..., :1] for a in spike(case, x)), breaks)
    assert np.all(np.abs(blind.value[:, 0] - 1) < 1e-15), "no node comes near it"
    assert np.all(blind.error[:, 0] < 1e-15), "and the rule does not know"
    seen = integrate(spike, breaks, watched=0)
    assert seen.value.shape == seen.size.shape == seen.error.shape == (2, 1)
    off = np.abs(seen.value[:, 0] - 1 - JUMP)
    assert np.all(off <= seen.error[:, 0] + 8 * np.finfo(float).eps * seen.size[:, 0])
    assert np.all(seen.error[:, 0] < 1e-13)


def test_what_no_halving_resolves_is_counted() -> None:
    """The rule misses all of a derivative whose primitive jumps: the jump is the error."""

    def step(case: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        primitive = x + JUMP * (x > 0.3137)
        values = np.stack((np.ones_like(x), np.ones_like(x), primitive), axis=-1)
        return values, np.abs(values)

    got = integrate(step, np.array([[0.0, 1.0]]), watched=0)
    assert got.value[0, 0] == pytest.approx(1, abs=1e-14)
    assert got.error[0, 0] >= JUMP


@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("deviations", [0.3, 6.5, 9.4, 9.9])
def test_a_break_counts_in_every_panel_the_outermost_too(side: float, deviations: float) -> None:
    """``P(side z > c)`` of a step at ``c``, relative to itself: the tails down to 1e-23."""
    law, level = GaussianMixture([1.0], [2.0], 0.25), NoiseLevel(1.0, 0.0)
    cut = 2.0 + side * 0.5 * deviations
    got = expect(lambda x: 1.0 * (side * (x - cut) > 0), law, level, breaks=np.array([cut]))
    exact = float(mp.ncdf(-deviations) - mp.ncdf(-float(REACH[-1])))
    assert got.value[0, 0] == pytest.approx(exact, rel=1e-9, abs=0)


def test_the_size_of_what_is_watched_is_that_of_its_terms() -> None:
    """Of the residual ``int g' - (g(b) - g(a))`` the size adds both ends of ``g`` in each panel."""

    def line(case: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = np.stack((np.ones_like(x), np.ones_like(x), 3 + x), axis=-1)
        return values, np.abs(values)

    value, size = _panels(line, 0, np.array([0]), np.array([0.0]), np.array([1.0]))
    np.testing.assert_allclose(value, [[1.0, 0.0]], atol=1e-14)
    np.testing.assert_allclose(size, [[1.0, 1 + 3 + 4]], rtol=1e-12)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_a_tolerance_saves_panels_and_counts_what_it_leaves(tolerance: float) -> None:
    # int_0^1 of a step at 1/3 that no break marks; sizes that exceed the values by 1e8, as noise's
    def step(x: np.ndarray) -> np.ndarray:
        return np.where(x < 1 / 3, 0.0, 1.0)

    def count(tolerance: float) -> tuple[float, float, int]:
        seen: list[int] = []

        def f(case: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            seen.append(x.size)
            return step(x)[..., None], np.full((*x.shape, 1), 1e8 * tolerance)

        value, _, error = integrate(f, np.array([[0.0, 1.0]]), tolerance=tolerance).single
        return value, error, sum(seen)

    value, error, nodes = count(tolerance)
    assert 0 < abs(value - 2 / 3) <= error <= tolerance
    assert nodes < count(0.0)[2]
