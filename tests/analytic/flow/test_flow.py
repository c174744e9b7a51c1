from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import kstest

from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel, exact_flow, gaussian_gain
from analytic.flow.ode import integrate_flow
from tests.analytic.laws import FORMS, mixture

NOISY, MIDDLE, CLEAN = NoiseLevel(0.1, 2.0), NoiseLevel(0.6, 0.7), NoiseLevel(0.9, 0.2)
THREE = GaussianMixture([0.3, 0.5, 0.2], [-3.0, 0.5, 3.0], [0.01, 0.1, 0.05])


def noised(law: Any, n: int, level: NoiseLevel, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    clean = law.sample(n, rng)
    return np.asarray(level.noised(clean, rng))


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(a - b, axis=-1))


def mp_distribution(law: GaussianMixture, level: NoiseLevel, y: Any, sign: int) -> tuple[Any, Any]:
    """Lower (``sign = 1``) or upper (``-1``) tail and the density, by mpmath."""
    alpha, s2 = mp.mpf(level.alpha), mp.mpf(level.sigma) ** 2
    tail = density = mp.mpf(0)
    columns = law.weights.tolist(), law.means[:, 0].tolist(), law.spectra[:, 0].tolist()
    for w, m, variance in zip(*columns, strict=True):
        std = mp.sqrt(alpha**2 * mp.mpf(variance) + s2)
        tail += w * mp.erfc(-sign * (y - alpha * m) / (std * mp.sqrt(2))) / 2
        density += w * mp.npdf(y, alpha * m, std)
    return tail, density


@pytest.mark.parametrize(("s", "t"), [(MIDDLE, CLEAN), (CLEAN, MIDDLE), (CLEAN, NoiseLevel(1, 0))])
def test_distribution_functions_to_the_last_digits(s: NoiseLevel, t: NoiseLevel) -> None:
    x = np.array([-200.0, -20.0, -2.7, -1.3, -0.6, 0.1, 1.2, 1.9, 2.7, 20.0, 200.0]) * s.sigma
    result = exact_flow(THREE, x[:, None], s, t)
    assert result.method == "cdf"
    for state, y, stated in zip(x.tolist(), result.state[:, 0].tolist(), result.error, strict=True):
        sign = 1 if state < 0 else -1
        with mp.workdps(200):
            target = mp_distribution(THREE, s, mp.mpf(state), sign)[0]
            tail, density = mp_distribution(THREE, t, mp.mpf(y), sign)
            error = float(abs(tail - target) / density)
        assert error <= stated
        assert error <= 1e-14 * max(1.0, abs(y))
        assert stated <= 1e-12 * max(1.0, abs(y))


def test_rounding_of_the_tails_governs_between_modes() -> None:
    # the state and the means are tiny at s, so only the tails near 1/2 carry an error, into a gap
    law = GaussianMixture([0.5, 0.5], [-1.0, 1.0], 1e-4)
    s, t = NoiseLevel(1e-8, 1.0), NoiseLevel(1.0, 0.15)
    errors, stated = [], []
    for x in np.linspace(1e-9, 2e-9, 9).tolist():
        result = exact_flow(law, np.array([[x]]), s, t)
        with mp.workdps(50):
            target = mp_distribution(law, s, mp.mpf(x), 1)[0]
            tail, density = mp_distribution(law, t, mp.mpf(float(result.state[0, 0])), 1)
            errors.append(float(abs(tail - target) / density))
        stated.append(float(result.error[0]))
    assert np.all(np.array(errors) <= stated)
    assert max(errors) > 1e-11


def test_where_the_flow_splits_modes_the_stated_error_says_so() -> None:
    law = GaussianMixture([0.5, 0.5], [-1.0, 1.0], 1e-6)
    result = exact_flow(law, np.array([[0.0], [1e-3]]), NoiseLevel(1.0, 2.0), NoiseLevel(1.0, 0.1))
    assert result.error[0] > 1e3 * result.error[1] > 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("target", [CLEAN, NoiseLevel(1.0, 0.0)])
def test_gaussian_closed_form_against_the_integrator(form: str, target: NoiseLevel) -> None:
    law = mixture(form, k=1, d=3)
    x = noised(law, 20, NOISY)
    closed = exact_flow(law, x, NOISY, target)
    solved = exact_flow(law, x, NOISY, target, method="integrator")
    assert (closed.method, solved.method) == ("gaussian", "integrator")
    assert closed.error.max() < 1e-12
    assert np.all(distance(closed.state, solved.state) <= closed.error + solved.error)
    assert solved.error.max() < 1e-7


def test_gaussian_closed_form_against_the_distribution_functions() -> None:
    law = GaussianMixture([1.0], [0.7], 0.3)
    x = np.linspace(-50, 50, 41)[:, None]
    closed, line = (exact_flow(law, x, NOISY, CLEAN, method=m) for m in ("gaussian", "cdf"))
    assert np.all(distance(closed.state, line.state) <= closed.error + line.error)


def test_gain_of_pure_noise_and_of_certain_data() -> None:
    assert gaussian_gain(0.0, NOISY, CLEAN) == pytest.approx(0.1, rel=1e-15)
    np.testing.assert_allclose(gaussian_gain([1.0, 3.0], NoiseLevel(1, 0), NoiseLevel(0.5, 0)), 0.5)
    with pytest.raises(ValueError, match=r"^variance must be >= 0, got -1.0"):
        gaussian_gain(-1.0, NOISY, CLEAN)
    with pytest.raises(ValueError, match=r"^variance must be > 0 where the flow starts at sigma"):
        gaussian_gain(0.0, NoiseLevel(1.0, 0.0), CLEAN)


@pytest.mark.parametrize(
    ("s", "t"),
    [
        (NOISY, CLEAN),
        (CLEAN, NOISY),
        (NoiseLevel(1.0, 80.0), NoiseLevel(1.0, 0.0)),
        (NoiseLevel(1e-8, 1.0), MIDDLE),
    ],
    ids=["down", "up", "to-data", "small-alpha"],
)
def test_integrator_states_its_error(s: NoiseLevel, t: NoiseLevel) -> None:
    x = noised(THREE, 300, s)
    line = exact_flow(THREE, x, s, t)
    for rtol in (1e-4, 1e-7, 1e-10):
        solved = exact_flow(THREE, x, s, t, rtol=rtol, method="integrator")
        assert np.all(distance(line.state, solved.state) <= line.error + solved.error)
        assert np.median(solved.error) < 2000 * rtol


def test_a_hard_state_keeps_its_accuracy_in_a_large_batch() -> None:
    # far states move by a smooth map; among 5,000 of them one that passes between modes counts
    s, t = NoiseLevel(1.0, 5.0), NoiseLevel(1.0, 0.05)
    hard, easy = np.array([[-1.2]]), 40 + np.linspace(0, 1, 5000)[:, None]
    exact = exact_flow(THREE, hard, s, t).state
    alone = exact_flow(THREE, hard, s, t, rtol=1e-6, method="integrator")
    among = exact_flow(THREE, np.concatenate([hard, easy]), s, t, rtol=1e-6, method="integrator")
    assert distance(among.state[:1], exact) <= 3 * distance(alone.state, exact) + 1e-9
    assert distance(among.state[:1], exact) <= among.error[0]


@pytest.mark.parametrize(
    ("law", "tolerance"),
    [(THREE, 1e-11), (mixture("full", k=1, d=3), 1e-13), (mixture("full", k=3, d=2), 1e-7)],
    ids=["cdf", "gaussian", "integrator"],
)
def test_flows_compose_and_return(law: GaussianMixture, tolerance: float) -> None:
    x = noised(law, 30, NOISY)
    middle = exact_flow(law, x, NOISY, MIDDLE).state
    straight = exact_flow(law, x, NOISY, CLEAN).state
    scale = np.abs(x).max()
    composed = exact_flow(law, middle, MIDDLE, CLEAN).state
    np.testing.assert_allclose(composed, straight, rtol=0, atol=tolerance * scale)
    back = exact_flow(law, straight, CLEAN, NOISY).state
    np.testing.assert_allclose(back, x, rtol=0, atol=tolerance * scale)
    stay = exact_flow(law, x, NOISY, NOISY).state
    np.testing.assert_allclose(stay, x, rtol=0, atol=1e-14 * scale)


@pytest.mark.parametrize(("s", "t"), [(NOISY, CLEAN), (CLEAN, NOISY)])
def test_the_flow_pushes_the_law_forward(s: NoiseLevel, t: NoiseLevel) -> None:
    law = mixture("full", k=3, d=2)
    moved = exact_flow(law, noised(law, 3000, s), s, t, rtol=1e-5).state
    fresh = noised(law, 3000, t, seed=1)
    for direction in np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]):
        line = GaussianMixture(law.weights, law.means @ direction, _along(law, direction))

        def distribution(y: np.ndarray, line: GaussianMixture = line) -> np.ndarray:
            stds = np.sqrt(t.alpha**2 * line.spectra[:, 0] + t.sigma**2)
            return np.asarray(ndtr((y[:, None] - t.alpha * line.means[:, 0]) / stds) @ line.weights)

        for sample in (moved, fresh):
            assert kstest(sample @ direction, distribution).pvalue > 1e-4
        assert kstest(1.2 * moved @ direction + 0.2, distribution).pvalue < 1e-4


def _along(law: GaussianMixture, direction: np.ndarray) -> np.ndarray:
    assert law.basis is not None
    return np.asarray((law.spectra * np.einsum("kij,i->kj", law.basis, direction) ** 2).sum(axis=1))


@given(
    st.floats(-50, 50), st.floats(0.05, 1), st.floats(0.05, 9), st.floats(0.05, 1), st.floats(0, 9)
)
def test_the_map_of_a_line_is_increasing_and_returns(
    x: float, a: float, e: float, b: float, f: float
) -> None:
    s, t = NoiseLevel(a, e), NoiseLevel(b, f)
    y = exact_flow(THREE, np.array([[x], [x + 0.1]]), s, t)
    assert y.state[1, 0] - y.state[0, 0] >= -y.error.sum()
    back = exact_flow(THREE, y.state, t, s)
    steepest = np.abs(back.state[:, 0] - np.array([x, x + 0.1]))
    assert np.all(steepest <= 1e-11 * (1 + abs(x)) + 2 * back.error)


def test_empirical_laws() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, 1))
    x = noised(EmpiricalMixture(rows), 20, MIDDLE)
    twin = GaussianMixture(np.full(40, 1 / 40), rows, 0.04)
    kernel = EmpiricalMixture(rows, 0.2)
    line = exact_flow(kernel, x, MIDDLE, CLEAN)
    np.testing.assert_allclose(line.state, exact_flow(twin, x, MIDDLE, CLEAN).state, rtol=1e-13)
    points = exact_flow(EmpiricalMixture(rows), x, MIDDLE, CLEAN)
    narrow = exact_flow(EmpiricalMixture(rows, 1e-9), x, MIDDLE, CLEAN)
    assert (points.method, narrow.method) == ("integrator", "cdf")
    assert np.all(distance(points.state, narrow.state) <= points.error + narrow.error)
    one = exact_flow(EmpiricalMixture(np.ones((1, 2)), 0.5), np.zeros((3, 2)), NOISY, CLEAN)
    assert one.method == "gaussian"


def test_from_pure_noise_what_is_left_out_adds_nothing_to_the_error() -> None:
    law = GaussianMixture([0.4, 0.6], [[-1.0, 0.3], [1.0, 0.0]], [0.2, 0.4])
    x = np.array([[1.0, 2.0], [-0.5, 0.1]])
    assert exact_flow(law, x, NoiseLevel(0.0, 1.0), MIDDLE).error.max() < 5e-9


def test_shapes_and_progress() -> None:
    law, seen = mixture("full"), list[float]()
    x = np.ones((2, 3, 2))
    result = exact_flow(law, x, NOISY, CLEAN, rtol=1e-4, progress=seen.append)
    assert result.state.shape == x.shape
    assert result.error.shape == (2, 3)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    single = exact_flow(law, x[0, 0], NOISY, CLEAN, rtol=1e-4)
    assert single.state.shape == (2,)
    assert single.error.shape == ()
    assert exact_flow(law, x[:, :0], NOISY, CLEAN).state.shape == (2, 0, 2)


def test_bad_arguments_are_named() -> None:
    law, x = mixture("full"), np.zeros((3, 2))
    points = EmpiricalMixture(np.eye(2))
    stack = mixture("full", stack=(4,))
    cases: list[tuple[str, Any]] = [
        (
            r"^t.sigma must be > 0 for a law with smallest_variance 0",
            (points, x, NOISY, NoiseLevel(1, 0)),
        ),
        (
            r"^s.sigma must be > 0 for a law with smallest_variance 0",
            (points, x, NoiseLevel(1, 0), NOISY),
        ),
        (r"^law must be single, got a stack of shape \(4,\)", (stack, x, NOISY, CLEAN)),
        ("^x must have 2 coordinates", (law, np.zeros((3, 3)), NOISY, CLEAN)),
        ("^x must be a NumPy array of float64", (law, x.astype(np.float32), NOISY, CLEAN)),
        ("^x must be a NumPy array of float64, got list", (law, [[0.0, 0.0]], NOISY, CLEAN)),
        ("^x must be finite, got nan", (law, x + np.nan, NOISY, CLEAN)),
        ("^s must hold numbers", (law, x, NoiseLevel(np.ones(3), np.ones(3)), CLEAN)),
    ]
    for message, arguments in cases:
        with pytest.raises(ValueError, match=message):
            exact_flow(*arguments)
    with pytest.raises(ValueError, match=r"^rtol must be in \[1e-13, 1e-2\], got 0.5"):
        exact_flow(law, x, NOISY, CLEAN, rtol=0.5)
    for method in ("cdf", "gaussian", "euler"):
        with pytest.raises(ValueError, match=r"^method must be one that applies to this law"):
            exact_flow(law, x, NOISY, CLEAN, method=method)  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [1.0, 1e9], ids=["on-the-way", "at-once"])
def test_a_law_that_leaves_the_numbers_stops_the_run(limit: float) -> None:
    class Broken:
        dim, smallest_variance = 1, 1.0

        def mean(self) -> np.ndarray:
            return np.zeros(1)

        def second_moment(self) -> np.ndarray:
            return np.asarray(1.0)

        def score(self, x: Any, level: NoiseLevel) -> Any:
            return -x if level.sigma > limit else x * np.nan

    with pytest.raises(ArithmeticError, match=r"^score must be finite, is not at sigma / alpha = "):
        integrate_flow(Broken(), np.ones((2, 1)), NOISY, CLEAN, rtol=1e-6)
