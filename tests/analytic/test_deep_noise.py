"""Divergences and posterior variances far below the size of a law, against exact arithmetic."""

from __future__ import annotations

import warnings

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel

Components = list[tuple[float, list[float], float]]
FAR = [9.0, 9.0]


def reference(law: Components, x: list[float], level: NoiseLevel) -> tuple[float, float]:
    """Return ``div D`` and ``V`` of components ``(weight, mean, variance)`` at one state."""
    with mpmath.workdps(700):
        alpha, noise = mpmath.mpf(level.alpha), mpmath.mpf(level.sigma) ** 2
        r, means, slack, gain = [], [], [], []
        for weight, m, width in law:
            v = alpha**2 * width + noise
            off = [a - alpha * b for a, b in zip(map(mpmath.mpf, x), m, strict=True)]
            r.append(weight * mpmath.exp(-sum(a**2 for a in off) / (2 * v)) / v)
            means.append([b + alpha * width / v * a for a, b in zip(off, m, strict=True)])
            gain.append(2 * alpha * width / v)
            slack.append(2 * width * noise / v)
        r = [one / sum(r) for one in r]
        mean = [sum(a * m[i] for a, m in zip(r, means, strict=True)) for i in range(2)]
        apart = [sum((m[i] - mean[i]) ** 2 for i in range(2)) for m in means]
        spread = sum(a * b for a, b in zip(r, apart, strict=True))
        within = sum(a * b for a, b in zip(r, gain, strict=True))
        rest = sum(a * b for a, b in zip(r, slack, strict=True))
        return float(within + alpha / noise * spread), float(rest + spread)


SIGMAS = st.floats(-40, -3).map(lambda k: 10.0**k)
STATES = st.lists(st.floats(-2, 2).map(lambda v: round(v, 4)), min_size=2, max_size=2)


@given(SIGMAS, STATES, st.sampled_from([np.float64, np.float32]))
def test_of_wide_components_beside_a_narrow_one(sigma: float, x: list[float], dtype: type) -> None:
    """The narrow one is far away; the means of the wide ones differ by ``sigma^2``."""
    law: Components = [(0.3, [-1.0, 0.0], 1.0), (0.3, [1.0, 0.5], 0.5), (0.4, FAR, 1e-20)]
    weights, means, widths = zip(*law, strict=True)
    made, level = GaussianMixture(weights, means, widths), NoiseLevel(1.0, sigma)
    state = np.array([x], dtype)
    found = made.divergence(state, level)[0], made.posterior_variance(state, level)[0]
    expected = reference(law, state[0].tolist(), level)
    rtol = 1e-9 if dtype is np.float64 else 3e-4
    tiny = float(np.finfo(dtype).tiny)
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=tiny)


@given(SIGMAS, st.sampled_from([0.0, 1e-9]))
def test_of_rows_that_are_the_same_or_nearly(sigma: float, gap: float) -> None:
    rows = [[0.3, 0.7], [0.3, 0.7 + gap], [5.0, 5.0]]
    law, level = EmpiricalMixture(np.array(rows)), NoiseLevel(1.0, sigma)
    x = [0.3, 0.7]
    expected = reference([(1.0, row, 0.0) for row in rows], x, level)
    steepness = (gap / sigma) ** 2  # of a logit, which a rounding of the rows' mean moves
    if steepness < 1e6:
        found = law.divergence(np.array([x]), level)[0]
        noise = 2e-14 / sigma**2 if sigma > 5e-8 else 1e-12  # eps |m|^2 / v, or none
        assert abs(found - expected[0]) <= 1e-6 * (1 + steepness) * expected[0] + noise
    if sigma < 1e-4:
        assert law.divergence(np.array([x], np.float32), level)[0] >= 0


@pytest.mark.parametrize("sigma", [1e-6, 1e-8, 1e-15, 1e-30, 1e-100])
def test_midway_between_two_points_the_divergence_is_as_large_as_it_is(sigma: float) -> None:
    law = EmpiricalMixture(np.array([[-0.25, 0.5], [0.25, 0.5], [5, 5]]))
    x, level = np.array([[0.0, 0.5]]), NoiseLevel(1.0, sigma)
    _, divergence, variance = law.moments(x, level)
    np.testing.assert_allclose(divergence, 0.0625 / sigma**2, rtol=1e-9)
    np.testing.assert_allclose(variance, 0.0625, rtol=1e-9)
    np.testing.assert_allclose(
        law.jvp(x, level, np.array([[1.0, 1.0]])), [[0.0625 / sigma**2, 0]], rtol=1e-9
    )


@pytest.mark.parametrize("sigma", [1e-8, 1e-19, 1e-25, 1e-60])
def test_single_precision_stays_finite(sigma: float) -> None:
    rows = np.array([[0.3, 0.7], [0.3, 0.7], [5, 5]])
    state, level = np.array([[0.31, 0.7]], np.float32), NoiseLevel(1.0, sigma)
    denoised, divergence, variance = EmpiricalMixture(rows).moments(state, level)
    np.testing.assert_allclose(denoised, [[0.3, 0.7]], rtol=1e-6)
    assert (divergence, variance) == (0, 0)


@pytest.mark.parametrize("sigma", [1.0, 1e-8, 1e-20])
@pytest.mark.parametrize("rows", [False, True])
def test_states_that_require_gradients_are_answered_without_a_warning(
    sigma: float, rows: bool
) -> None:
    torch = pytest.importorskip("torch")
    points, level = [[-1.0, 0.0], [1.0, 0.5]], NoiseLevel(0.9, sigma)
    mixture = GaussianMixture([0.4, 0.6], points, [0.04, 0.1])
    law = EmpiricalMixture(np.array(points), 0.1) if rows else mixture
    x = torch.tensor([[0.3, 0.2], [1.0, 0.4]], dtype=torch.float64, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [law(x, level), law.divergence(x, level), law.log_prob(x, level)]
        found += [law.score(x, level), law.jvp(x, level, torch.ones_like(x))]
        for one in found:
            (slope,) = torch.autograd.grad(one.sum(), x, retain_graph=True)
            assert torch.isfinite(one).all()
            assert torch.isfinite(slope).all()
