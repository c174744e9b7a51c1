"""Bounded, manifold-supported and heavy-tailed laws against high precision, at random cases."""

from __future__ import annotations

from typing import Any

import array_api_strict
import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import analytic.laws
from analytic import GaussianMixture, NoiseLevel, exact_flow
from analytic.laws import Box, Circle, Segment, student

EPS = 2.0**-52

LAWS = {
    "box": Box(np.array([0.0, -1.0]), np.array([1.0, 2.0])),
    "segment": Segment(np.array([0.0, 0.0, 1.0]), np.array([1.0, 2.0, -1.0])),
    "circle": Circle(2.0, (1.0, 0.0)),
    "student": student(5.0, 0.5, 2.0),
}
WITHOUT_DENSITY = ("segment", "circle")
NAMES = pytest.mark.parametrize("name", LAWS)
exponents = st.floats(-6, 6)
signals = st.one_of(st.just(1.0), st.floats(-6, 0).map(lambda e: 10.0**e))


def close(found: Any, expected: Any, tolerance: float) -> None:
    assert abs(float(found) - float(expected)) <= tolerance, (float(found), float(expected))


def truncated(y: Any, low: Any, high: Any, alpha: Any, sigma: Any) -> tuple[Any, Any, Any]:
    """Log density, mean and variance of a coordinate of a box, by error functions."""
    y, low, high, alpha, sigma = (mp.mpf(float(v)) for v in (y, low, high, alpha, sigma))
    tau, z = sigma / alpha, y / alpha
    a, b = (low - z) / tau, (high - z) / tau
    root = mp.sqrt(2)
    if a > 0:
        mass = (mp.erfc(a / root) - mp.erfc(b / root)) / 2
    elif b < 0:
        mass = (mp.erfc(-b / root) - mp.erfc(-a / root)) / 2
    else:
        mass = (mp.erf(b / root) - mp.erf(a / root)) / 2
    at_a, at_b = mp.npdf(a), mp.npdf(b)
    mean = (at_a - at_b) / mass
    spread = 1 + (a * at_a - b * at_b) / mass - mean**2
    return mp.log(mass / (alpha * (high - low))), z + tau * mean, tau**2 * spread


@given(
    exponents,
    signals,
    st.tuples(st.floats(-3, 3), st.floats(-2, 2)),
    st.tuples(st.floats(0, 1), st.floats(-100, 100)),
)
def test_a_box_is_a_truncated_normal(
    noise: float, alpha: float, side: tuple[float, float], at: tuple[float, float]
) -> None:
    (low, width), (place, far) = side, at
    sigma, high = 10.0**noise, low + 10.0**width
    y = alpha * (low + place * (high - low)) + sigma * far
    law, level = Box(np.array([low]), np.array([high])), NoiseLevel(alpha, sigma)
    with mp.workdps(200):
        log_prob, mean, spread = truncated(y, low, high, alpha, sigma)
    x, size = np.array([y]), abs(low) + abs(high) + (high - low)
    # the way to an end, in units of the noise, is off by a rounding of x and of the end
    beyond = (max(alpha * low - y, y - alpha * high, 0.0) / sigma) + 1
    shift = 4 * EPS * (abs(y) + alpha * size) / sigma
    # rows whose width is below the noise feel a shift of x the less
    close(law.log_prob(x, level), log_prob, 1e-13 + shift * beyond + 8 * EPS * abs(float(log_prob)))
    close(law(x, level)[0], mean, 1e-14 * size)
    found = float(law.divergence(x, level))
    expected = float(alpha / mp.mpf(sigma) ** 2 * spread)
    close(found, expected, expected * (1e-12 + 8 * shift * min(1.0, 1 / beyond) + 4 * shift))


def bessel(kappa: Any) -> tuple[Any, Any]:
    """``I_0`` and ``I_1`` times ``exp(-kappa)``, by their expansion where ``kappa`` is large."""
    if kappa < 1e4:
        return mp.besseli(0, kappa) * mp.exp(-kappa), mp.besseli(1, kappa) * mp.exp(-kappa)
    out = []
    for n in (0, 1):
        term = total = mp.mpf(1)
        for j in range(1, 24):
            term *= -mp.mpf(4 * n * n - (2 * j - 1) ** 2) / (8 * j * kappa)
            total += term
        out.append(total / mp.sqrt(2 * mp.pi * kappa))
    return out[0], out[1]


@given(exponents, signals, st.floats(-2, 2), st.floats(0, 1), st.floats(-30, 30))
def test_a_circle_is_von_mises(
    noise: float, alpha: float, log_radius: float, place: float, far: float
) -> None:
    sigma, radius = 10.0**noise, 10.0**log_radius
    rho = abs(alpha * radius * place + sigma * far)
    law, level, x = Circle(radius), NoiseLevel(alpha, sigma), np.array([rho, 0.0])
    with mp.workdps(80):
        a, s, r, p = (mp.mpf(float(v)) for v in (alpha, sigma, radius, rho))
        kappa = a * r * p / s**2
        zeroth, first = bessel(kappa)
        ratio = first / zeroth
        tangential = ratio / kappa if kappa else mp.mpf(1) / 2
        radial = 1 - tangential - ratio**2
        log_prob = mp.log(zeroth) - ((p - a * r) / s) ** 2 / 2 - mp.log(2 * mp.pi * s**2)
        slopes = [float(a * r**2 / s**2 * part) for part in (radial, tangential)]
    shift = EPS * (rho + alpha * radius) / sigma
    beyond = 1 + abs(rho - alpha * radius) / sigma
    allowed = 1e-13 + 8 * shift * beyond + 8 * EPS * abs(float(log_prob))
    close(law.log_prob(x, level), log_prob, allowed)
    close(law(x, level)[0], radius * ratio, 1e-14 * radius)
    columns = [law.jvp(x, level, e) for e in np.eye(2)]
    for k, slope in enumerate(slopes):
        close(columns[k][k], slope, 1e-12 * slope)
        assert abs(columns[k][1 - k]) <= 1e-13 * max(slopes)
    close(law.divergence(x, level), sum(slopes), 1e-12 * sum(slopes))


@given(exponents, signals, st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_a_segment_is_a_box_along_and_noise_across(
    noise: float, alpha: float, dim: int, seed: int
) -> None:
    rng, sigma = np.random.default_rng(seed), 10.0**noise
    turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    half, level = float(rng.uniform(0.1, 3)), NoiseLevel(alpha, sigma)
    law = Segment(-half * turn[0], half * turn[0])
    flat = alpha * half * rng.uniform(-1, 1) * np.eye(dim)[0] + sigma * rng.standard_normal(dim)
    box, x = Box(np.array([-half]), np.array([half])), flat @ turn
    along = float(x @ turn[0])
    one = np.array([along])
    close(law(x, level) @ turn[0], box(one, level)[0], 1e-13 * half)
    assert np.abs(law(x, level) - turn[0] * (law(x, level) @ turn[0])).max() <= 1e-14 * half
    expected = float(box.divergence(one, level))
    shift = EPS * dim * (np.abs(x).max() + alpha * half) / sigma
    close(law.divergence(x, level), expected, expected * (1e-12 + 8 * shift))
    rest = float((x - along * turn[0]) @ (x - along * turn[0])) / sigma**2
    across = -0.5 * rest - 0.5 * (dim - 1) * np.log(2 * np.pi * sigma**2)
    total = float(box.log_prob(one, level)) + across
    close(law.log_prob(x, level), total, 1e-12 * (1 + abs(total)) + 32 * shift * (1 + rest**0.5))


def scale_mixture(freedom: float, y: Any, level: NoiseLevel) -> tuple[Any, Any, Any]:
    """Density, mean and variance of ``x_star`` of Student's law, by a finer rule, in 60 digits."""
    half, step = mp.mpf(freedom) / 2, mp.mpf("0.08")
    sums, alpha = [mp.mpf(0)] * 3, mp.mpf(float(level.alpha))
    noise, y = mp.mpf(float(level.sigma)) ** 2, mp.mpf(float(y))
    for j in range(-80, 900):
        u = j * step
        v = mp.exp(u)
        wide = alpha**2 * v + noise
        mass = step * mp.exp(-half * u - half / v - y**2 / (2 * wide)) / mp.sqrt(2 * mp.pi * wide)
        mean = alpha * v * y / wide
        terms = (mass, mass * mean, mass * (mean**2 + v * noise / wide))
        sums = [total + term for total, term in zip(sums, terms, strict=True)]
    mean = sums[1] / sums[0]
    return sums[0] * half**half / mp.gamma(half), mean, sums[2] / sums[0] - mean**2


@pytest.mark.parametrize("freedom", [3.0, 5.0, 30.0])
@pytest.mark.parametrize("alpha", [1.0, 1e-3])
@pytest.mark.parametrize("sigma", [1e-6, 0.5, 1e6])
@pytest.mark.parametrize("far", [0.3, 40.0, 1e6])
def test_student_is_its_scale_mixture(
    freedom: float, alpha: float, sigma: float, far: float
) -> None:
    y, level = far * (alpha if sigma < alpha * far else min(sigma, 1.0)), NoiseLevel(alpha, sigma)
    with mp.workdps(60):
        density, mean, spread = scale_mixture(freedom, y, level)
        expected = float(mp.log(density))
    law, x = student(freedom), np.array([y])
    close(law.log_prob(x, level), expected, 1e-13 * (1 + abs(expected)))
    close(law(x, level)[0], mean, 1e-13 * abs(float(mean)))
    rounding = (8 * EPS * float(mean)) ** 2  # of the components' means about theirs
    close(law.posterior_variance(x, level), spread, 1e-12 * float(spread) + rounding)


def test_student_without_noise_is_scipys() -> None:
    from scipy.stats import t

    law, x = student(4.0, 1.0, 2.0), np.array([[-1e7], [-3.0], [1.0], [50.0], [1e5]])
    found = law.log_prob(x, NoiseLevel(1.0, 0.0))
    np.testing.assert_allclose(found, t(4.0, 1.0, 2.0).logpdf(x[:, 0]), rtol=1e-13)


@NAMES
@pytest.mark.parametrize("level", [NoiseLevel(1.0, 0.5), NoiseLevel(0.3, 1e-3), NoiseLevel(0.7, 9)])
def test_derivatives_agree_with_autograd(name: str, level: NoiseLevel) -> None:
    law, rng = LAWS[name], np.random.default_rng(3)
    x = torch.tensor(level.noised(law.sample(6, rng), rng))
    score = torch.func.vmap(torch.func.grad(lambda z: law.log_prob(z, level)))(x)
    np.testing.assert_allclose(law.score(x, level), score, rtol=1e-7, atol=1e-7 / level.sigma)
    tweedie = (x + level.sigma**2 * score) / level.alpha
    size = float(abs(x).max()) / level.alpha
    np.testing.assert_allclose(law(x, level), tweedie, atol=1e-9 * size)
    eye = torch.eye(law.dim, dtype=torch.float64)
    for e in eye:
        expected = torch.func.jvp(lambda z: law(z, level), (x,), (e.expand_as(x),))[1]
        found = law.jvp(x, level, e.expand_as(x))
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8 / level.alpha)


@NAMES
@pytest.mark.parametrize(
    "level",
    [NoiseLevel(1.0, 0.5), NoiseLevel(0.0, 2.0), NoiseLevel(1.0, 0.0), NoiseLevel(1.0, 1e6)],
)
def test_every_array_library_gives_the_same(name: str, level: NoiseLevel) -> None:
    law, x = LAWS[name], np.random.default_rng(1).standard_normal((5, LAWS[name].dim))
    for method in ("__call__", "divergence"):
        ours = getattr(law, method)(x, level)
        for other in (torch.tensor(x), array_api_strict.asarray(x)):
            found = np.asarray(getattr(law, method)(other, level))
            np.testing.assert_allclose(found, ours, rtol=1e-13, atol=1e-13)
        single = getattr(law, method)(x.astype(np.float32), level)
        assert single.dtype == np.float32
        assert np.isfinite(single).all()
    assert law(x[0], level).shape == (law.dim,)
    assert law.jvp(x, level, np.ones((3, *x.shape))).shape == (3, *x.shape)


@NAMES
def test_a_level_a_state_and_chunks_change_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    law, x = LAWS[name], np.random.default_rng(2).standard_normal((7, LAWS[name].dim))
    sigma = np.linspace(0.1, 2.0, 7)[:, None]
    each = law(x, NoiseLevel(np.full((7, 1), 0.7), sigma))
    alone = [law(x[i], NoiseLevel(0.7, float(sigma[i, 0]))) for i in range(7)]
    np.testing.assert_allclose(each, alone, rtol=1e-14, atol=1e-15)
    whole = law(x, NoiseLevel(0.7, 0.4))
    monkeypatch.setattr(analytic.laws, "CHUNK_BYTES", 1)
    for again in (law(x, NoiseLevel(0.7, 0.4)), law(x[None], NoiseLevel(0.7, 0.4))[0]):
        np.testing.assert_allclose(again, whole, rtol=1e-14, atol=1e-14)


@NAMES
def test_the_ends_of_the_noise(name: str) -> None:
    law, rng = LAWS[name], np.random.default_rng(4)
    data, anywhere = law.sample(50, rng), rng.standard_normal((50, law.dim))
    nothing = NoiseLevel(0.0, 3.0)
    np.testing.assert_allclose(law(anywhere, nothing), np.broadcast_to(law.mean(), data.shape))
    np.testing.assert_array_equal(law.divergence(anywhere, nothing), 0.0)
    np.testing.assert_allclose(law(0.5 * data, NoiseLevel(0.5, 0.0)), data, atol=1e-13)


@NAMES
def test_samples_have_the_moments_stated(name: str) -> None:
    law = LAWS[name]
    x = law.sample(200_000, np.random.default_rng(5))
    error = x.std(axis=0) / len(x) ** 0.5
    assert np.all(np.abs(x.mean(axis=0) - law.mean()) <= 5 * error + 1e-12)
    squares = (x**2).sum(axis=1)
    gap = abs(squares.mean() - float(law.second_moment()))
    assert gap <= 6 * squares.std() / len(x) ** 0.5
    total = float(law.variance()) + float((law.mean() ** 2).sum())
    close(law.second_moment(), total, 1e-13 * total)
    if not isinstance(law, GaussianMixture):
        np.testing.assert_allclose(np.cov(x.T), law.covariance(), atol=0.02)
        close(np.trace(law.covariance()), law.variance(), 1e-14 * total)


def test_outside_the_support_the_nearest_point_answers() -> None:
    clean, far = NoiseLevel(1.0, 0.0), np.array([[5.0, 0.5]])
    np.testing.assert_allclose(LAWS["box"](far, clean), [[1.0, 0.5]], atol=1e-15)
    found = LAWS["circle"](far, clean) - [1.0, 0.0]
    np.testing.assert_allclose(found, 2 * (far - [1.0, 0.0]) / 16.25**0.5)
    for name in WITHOUT_DENSITY:
        with pytest.raises(ValueError, match="sigma must be > 0 for a law without a density"):
            LAWS[name].log_prob(np.ones((1, LAWS[name].dim)), clean)


def test_the_flow_of_a_box_is_its_distribution_functions() -> None:
    """On a line the flow keeps ``P(X <= x)``: at zero noise that is uniform."""
    law, s, t = Box(np.array([-1.0]), np.array([1.0])), NoiseLevel(1.0, 3.0), NoiseLevel(1.0, 0.01)
    x = np.linspace(-6, 6, 9)[:, None]
    end = exact_flow(law, x, s, t, rtol=1e-9)
    assert end.method == "integrator"

    def below(y: float, sigma: float) -> Any:
        def part(z: Any) -> Any:
            return z * mp.ncdf(z) + mp.npdf(z)

        return sigma * (part((y + 1) / mp.mpf(sigma)) - part((y - 1) / mp.mpf(sigma))) / 2

    for before, after in zip(x[:, 0], end.state[:, 0], strict=True):
        close(below(float(after), 0.01), below(float(before), 3.0), 1e-7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Box(np.array([0.0]), np.array([0.0])), "high must be > low, got 0.0 and 0.0 in"),
        (lambda: Box(np.zeros(2), np.ones(3)), "low and high must be vectors of one length"),
        (lambda: Segment(np.zeros(2), np.zeros(2)), "end must differ from start"),
        (lambda: Segment(np.zeros(1), np.ones(1)), "start and end must be vectors of one length"),
        (lambda: Circle(0.0), "radius must be finite and > 0, got 0.0"),
        (lambda: Circle(1.0, (0.0, np.nan)), "centre must be finite, got nan"),
        (lambda: student(2.0), "freedom must be in 3 to 30, got 2.0"),
        (lambda: student(5.0, 0.0, -1.0), "scale must be finite and > 0, got -1.0"),
        (lambda: LAWS["box"](np.zeros((3, 3)), NoiseLevel(1.0, 1.0)), "x must have 2 coordinates"),
    ],
)
def test_bad_input_is_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (np.zeros((2, 2)), np.ones((2, 2))),
        (np.zeros(2), np.ones(3)),
        (np.zeros(1), np.ones(1)),
        (np.float64(0.0), np.float64(1.0)),
    ],
)
def test_a_segments_ends_are_two_vectors(start: np.ndarray, end: np.ndarray) -> None:
    with pytest.raises(ValueError, match="start and end must be vectors of one length >= 2"):
        Segment(start, end)


def test_a_circle_stands_at_the_origin_unless_told() -> None:
    np.testing.assert_array_equal(Circle().mean(), [0.0, 0.0])
    assert Circle().radius == 1.0


@pytest.mark.parametrize("name", [name for name in LAWS if name != "student"])
@pytest.mark.parametrize("level", [NoiseLevel(1.0, 0.7), NoiseLevel(0.6, 2.0)])
def test_posterior_variance_is_the_divergence_times_the_noise(name: str, level: NoiseLevel) -> None:
    """``div D = (alpha / sigma^2) tr Cov(x_star | x)``: the two are summed from other terms."""
    law = LAWS[name]
    x = np.random.default_rng(0).normal(size=(7, law.dim))
    found = law.posterior_variance(x, level)
    due = level.sigma**2 / level.alpha * law.divergence(x, level)
    np.testing.assert_allclose(found, due, rtol=1e-10)
