# ruff: noqa: ARG002, ARG005 - what is planted is called as what it stands for
"""The checks of laws, denoisers and schedulers print what a planted error amounts to, derived here.

A law is a normal one in the plane whose statements are wrong by a known amount; each check's number
is then known in closed form, up to the truncation of its differences.
"""

from __future__ import annotations

import math
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from analytic import NoiseLevel
from steinlab.testing import ConformanceError, check_correction, check_denoiser, laws
from steinlab.testing.bench import PLANE, PLANE_STATES
from steinlab.testing.checks import orders
from steinlab.testing.components import _off
from steinlab.testing.schedulers import Scheduled, flow, ve, vp
from steinlab.testing.subject import Own, SubjectError
from steinlab.verification.significance import Mean

MEANS, VARIANCES = np.array([0.5, -1.0]), np.array([0.25, 2.0])
LEVEL = NoiseLevel(0.8, 0.6)


class Normal:
    """``N(MEANS, diag VARIANCES)``, each of its statements moved by what is planted."""

    dim = 2

    def __init__(self, **planted: Any):
        self.planted = planted

    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        drawn = MEANS + np.sqrt(VARIANCES) * rng.standard_normal((count, 2))
        return self.planted.get("sample", lambda x, rng: x)(drawn, rng)

    def __call__(self, x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        a = level.alpha * VARIANCES / (level.alpha**2 * VARIANCES + level.sigma**2)
        found = MEANS + a * (x - level.alpha * MEANS)
        return found + self.planted.get("denoised", lambda x, level: 0.0)(x, level)

    def log_prob(self, x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        v = level.alpha**2 * VARIANCES + level.sigma**2
        exact = -0.5 * ((x - level.alpha * MEANS) ** 2 / v + np.log(2 * np.pi * v)).sum(axis=1)
        return exact + self.planted.get("density", lambda x, level: 0.0)(x, level)

    def score(self, x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        v = level.alpha**2 * VARIANCES + level.sigma**2
        return -(x - level.alpha * MEANS) / v + self.planted.get("score", 0.0)

    def mean(self) -> np.ndarray:
        return MEANS + self.planted.get("mean", 0.0)

    def second_moment(self) -> float:
        return float(VARIANCES.sum() + (MEANS**2).sum() + self.planted.get("second", 0.0))

    def variance(self) -> float:
        return float(VARIANCES.sum() + self.planted.get("variance", 0.0))

    def covariance(self) -> np.ndarray:
        return np.diag(VARIANCES) + self.planted.get("covariance", 0.0)


def tried(count: int = 400, **planted: Any) -> Any:
    law: Any = Normal(**planted)
    return laws._Tried(law, "normal", count, 0)


def number(found: Any) -> float:
    """The first number of a check's text."""
    return float(found[1].split()[0])


def states(one: Any, level: NoiseLevel = LEVEL) -> np.ndarray:
    return np.asarray(one._noised(level)[:32])


def test_levels_preserve_the_variance() -> None:
    for ratio in (0.05, 5.0):
        found = laws._level(ratio)
        assert found.alpha**2 + found.sigma**2 == pytest.approx(1.0, rel=1e-6, abs=0)
        assert found.ratio == pytest.approx(ratio, rel=1e-6, abs=0)


@pytest.mark.parametrize("off", [2e-4, 1.1e-6, 5e-7])
def test_tweedies_gap_counts_in_millionths_of_sigma_over_alpha(off: float) -> None:
    """A denoiser that is ``off`` beside the gradient of its own density."""
    one = tried(denoised=lambda x, level: off)
    density = np.abs(one._density(states(one), LEVEL)).max()
    allowed = 0.6 / 0.8 * (1e-6 + 8 * 2.0**-52 * density / 1e-4)
    found = one.tweedie([LEVEL])
    assert number(found) == pytest.approx(off / allowed, rel=0.04, abs=0)
    assert found[0] == (off < allowed)
    assert number(one.tweedie([NoiseLevel(0.8, 6e-3), LEVEL])) > 50 * off / allowed  # the worst


@pytest.mark.parametrize(("side", "fine"), [(0.99, True), (1.01, False)])
def test_a_score_is_stated_to_1e_9_of_the_states(side: float, fine: bool) -> None:
    one = tried()
    scale = np.abs(states(one)).max() + one.size
    planted = tried(score=side * 1e-9 * scale / 0.36)
    assert planted.score([LEVEL])[0] == fine
    assert one.score([LEVEL])[0]
    assert one.size == pytest.approx(np.sqrt((one.data**2).sum(axis=1)).max(), rel=1e-6, abs=0)


def parts_of_the_heat_equation(x: np.ndarray) -> tuple[np.ndarray, float]:
    """``div score`` and ``|score|^2``, times sigma, of the normal law: the terms of d log p."""
    v = 0.64 * VARIANCES + 0.36
    squares = (((x - 0.8 * MEANS) / v) ** 2).sum(axis=1)
    return 0.6 * squares, float(-0.6 * (1 / v).sum())


def rounding_of(one: Any, x: np.ndarray) -> float:
    return float(2.0**-52 * (np.abs(one._density(x, LEVEL)) + 2 * (1 + one.size / 0.6)).max())


@pytest.mark.parametrize("slope", [1e-3, 2e-5, 4e-6, 2e-6, 1e-6])
def test_densities_follow_the_heat_equation_in_sigma(slope: float) -> None:
    """``log p`` off by ``slope sigma``, at a ratio that the second comparison leaves as it is."""

    def density(x: np.ndarray, level: NoiseLevel) -> float:
        return slope * float(level.sigma / level.alpha)

    one = tried(density=density)
    x = states(one)
    squares, trace = parts_of_the_heat_equation(x)
    allowed = 1e-6 * (np.abs(trace) + squares + 2 / 0.6) + 16 * rounding_of(one, x) / (1e-4 * 0.6)
    expected = float(np.max(slope / 0.8 / allowed))
    found = one.between([LEVEL])
    assert number(found) == pytest.approx(expected, rel=0.04, abs=0)
    assert found[0] == (expected <= 1)


@pytest.mark.parametrize("off", [1e-6, 3e-10])
def test_densities_scale_with_the_level(off: float) -> None:
    """A density that is off by a constant at ``alpha = 0.8`` and not at ``alpha = 1``."""
    one = tried(density=lambda x, level: off if level.alpha == LEVEL.alpha else 0.0)
    expected = off / (64 * rounding_of(one, states(one)) + 1e-9)
    found = one.between([LEVEL])
    assert found[0] == (expected <= 1)
    if off > 1e-9:
        assert number(found) == pytest.approx(expected, rel=0.04, abs=0)


def test_densities_are_normalised_to_the_limit_of_their_mean() -> None:
    one = tried(density=lambda x, level: 0.05)
    found = one.normalised(1.1)
    level = laws._level(1.1 * math.sqrt(2))
    x = one._noised(level)
    centre = level.alpha * one.data.mean(axis=0)
    q = np.exp(-((x - centre) ** 2).sum(axis=1) / (2 * level.sigma**2)) / (
        2 * math.pi * level.sigma**2
    )
    ratio = q / np.exp(one._density(x, level))
    mean = Mean.of(ratio[None] - 1)
    excess = abs(mean.value[0]) / (mean.limit(mean.value, 1)[0] + 1e-9)
    assert found[1] == f"mean ratio {ratio.mean():.4f}, {excess:.2f} of the limit"


def excess(values: np.ndarray, cases: int, size: float) -> float:
    mean = Mean.of(values)
    return float(np.max(np.abs(mean.value) / (mean.limit(mean.value, cases) + 1e-9 * size)))


def test_stated_moments_are_held_to_the_limits_of_their_samples() -> None:
    one = tried(mean=0.1, second=0.3, covariance=0.2)
    data, off = one.data, one.data - one.data.mean(axis=0)
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1)]
    stated = np.diag(VARIANCES) + 0.2
    products = np.stack([off[:, j] * off[:, k] - stated[j, k] for j, k in pairs])
    for found, expected in (
        (one.mean(), excess((data - MEANS - 0.1).T, 2, one.size)),
        (
            one.second_moment(),
            excess(((data**2).sum(axis=1) - 3.5 - 0.3)[None], 1, one.size**2),
        ),
        (one.covariance(), excess(products, 4, one.size**2)),
    ):
        assert found[1] == f"{expected:.2f} of the limit from the samples"
        assert found[0] == (expected <= 1)


@pytest.mark.parametrize(("side", "fine"), [(0.99, True), (1.01, False)])
def test_a_variance_is_the_second_moment_less_the_squared_mean(side: float, fine: bool) -> None:
    assert tried(variance=side * 1e-9 * 3.5).variance()[0] == fine


def test_a_variance_alone_is_held_against_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    one = tried(variance=0.4)
    monkeypatch.setattr(one.law, "second_moment", None, raising=False)
    squares = ((one.data - MEANS) ** 2).sum(axis=1) - 2.65
    expected = excess(squares[None], 1, one.size**2)
    with monkeypatch.context() as patch:
        patch.delattr(Normal, "second_moment")
        patch.delattr(one.law, "second_moment")
        assert one.variance()[1] == f"{expected:.2f} of the limit from the samples"
        patch.delattr(Normal, "mean")
        centred = ((one.data - one.data.mean(axis=0)) ** 2).sum(axis=1) - 2.65
        expected = excess(centred[None], 1, one.size**2)
        assert one.variance()[1] == f"{expected:.2f} of the limit from the samples"


def test_zero_noise_is_held_to_the_mean_square_of_the_noise() -> None:
    """Off by three times ``sigma / alpha = 1e-3 size`` in one coordinate; the noise is in both."""
    size = 1.3
    one = tried(denoised=lambda x, level: 3e-3 * size * np.array([1.0, 0.0]))
    level = NoiseLevel(0.8, 0.8e-3 * size)
    rest = ((one.data - one._denoised(one._noised(level), level)) ** 2).sum(axis=1)
    share = math.sqrt(rest.mean() / (2e-6 * size**2))
    found = one.zero_noise(size)
    assert found == (False, f"r.m.s. error {share:.2f} of that of x / alpha")
    assert share == pytest.approx(math.sqrt(5.5), rel=0.1, abs=0)
    assert tried().zero_noise(size)[0]


@pytest.mark.parametrize(("side", "fine"), [(0.99, True), (1.01, False)])
def test_pure_noise_gives_the_mean(side: float, fine: bool) -> None:
    """Relative to the size and the largest mean, 1.1 and 1."""
    off = side * 1e-9 * (1.1 + 1.0)
    assert tried(denoised=lambda x, level: off).pure_noise(1.1)[0] == fine


def test_without_a_stated_mean_pure_noise_is_compared_with_the_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(Normal, "mean")
    one = tried(denoised=lambda x, level: 0.3)
    expected = excess((one.data - MEANS - 0.3).T, 2, one.size)
    assert one.pure_noise(1.1)[1] == f"{expected:.2f} of the limit from the samples"
    bent = tried(denoised=lambda x, level: 1e-6 * x)
    assert bent.pure_noise(1.1)[0] is False


@pytest.mark.parametrize("turn", [1e-3, 1.5, 0.9])
def test_a_jacobian_is_symmetric_to_a_millionth(turn: float) -> None:
    """``D' = diag(a) + turn [[0, 1], [-1, 0]]``: ``<u, D' v> - <v, D' u> = 2 turn u x v``."""
    rotation = np.array([[0.0, 1.0], [-1.0, 0.0]])
    turn *= 1.0 if turn < 0.1 else _unit_of_turns()
    one = tried(denoised=lambda x, level: turn * x @ rotation.T)
    jacobian = np.diag(0.8 * VARIANCES / (0.64 * VARIANCES + 0.36)) + turn * rotation
    u, v = np.random.default_rng([0, 8]).standard_normal((2, 32, 2))
    cross = 2 * turn * np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    sizes = [np.linalg.norm(one_, axis=1) for one_ in (u, v, v @ jacobian.T, u @ jacobian.T)]
    rounding = 2.0**-52 * np.abs(one.data).max() * math.sqrt(2) / (1e-4 * 0.6)
    allowed = 1e-6 * (sizes[0] * sizes[2] + sizes[1] * sizes[3])
    allowed += 16 * rounding * (sizes[0] + sizes[1])
    expected = float((cross / allowed).max())
    found = one.symmetric([LEVEL])
    assert number(found) == pytest.approx(expected, rel=0.04, abs=0)
    assert found[0] == (expected <= 1)


def _unit_of_turns() -> float:
    """The turn whose asymmetry is the tolerance: found by the ratio at a small one."""
    rotation = np.array([[0.0, 1.0], [-1.0, 0.0]])
    one = tried()
    a = 0.8 * VARIANCES / (0.64 * VARIANCES + 0.36)
    u, v = np.random.default_rng([0, 8]).standard_normal((2, 32, 2))
    rounding = 2.0**-52 * np.abs(one.data).max() * math.sqrt(2) / (1e-4 * 0.6)
    lengths = [np.linalg.norm(w, axis=1) for w in (u, v, v * a, u * a)]
    allowed = 1e-6 * (lengths[0] * lengths[2] + lengths[1] * lengths[3])
    allowed += 16 * rounding * (lengths[0] + lengths[1])
    return float(1 / (2 * np.abs((u * (v @ rotation.T)).sum(axis=1)) / allowed).max())


@pytest.mark.parametrize(("side", "fine"), [(0.98, True), (1.02, False)])
def test_a_denoiser_is_monotone_to_1e_9_of_the_sizes(side: float, fine: bool) -> None:
    """``D = -c x``: the least product over the sizes is ``-c`` times the longest ``|x - y|``."""
    one = tried()
    x = one._noised(LEVEL)
    longest = max(np.linalg.norm(x - np.roll(x, k, axis=0), axis=1).max() for k in (1, 7))
    c = side * 1e-9 * np.abs(one.data).max() / longest
    planted = tried()
    planted.law = lambda x, level: -c * x
    found = planted.monotone([LEVEL])
    assert found[0] == fine
    assert found[1] == f"least product {-side * 1e-9:.0e} of the sizes"


def test_draws_are_told_from_copies_and_from_runs_of_one_number() -> None:
    assert tried().drawn() == (True, "400 states")
    wrong = {
        "not finite": lambda x, rng: np.where(x > 2, np.nan, x),
        "the same generator draws others": lambda x, rng: x + np.random.default_rng().random(),
        "another generator draws the same": lambda x, rng: np.arange(2.0 * len(x)).reshape(-1, 2),
        "states depend on others": lambda x, rng: np.repeat(x[::2], 2, axis=0),
    }
    for text, sample in wrong.items():
        assert tried(sample=sample).drawn() == (False, text)
    halves = tried(sample=lambda x, rng: np.concatenate([x[: len(x) // 2]] * 2))
    assert halves.drawn() == (False, "states depend on others")


def test_a_regression_sees_a_twentieth_of_the_deviation() -> None:
    """The residual has the posterior's variance; ``0.05 tanh`` more of it follows a feature."""
    levels = [laws._level(r) for r in laws.RATIOS]
    assert tried(20_000).regression(levels)[0]
    deviation = np.sqrt(VARIANCES * 0.36 / (0.64 * VARIANCES + 0.36))
    moved = tried(20_000, denoised=lambda x, level: 0.06 * deviation * np.tanh(x))
    found = moved.regression([LEVEL])
    z_of = moved._noised(LEVEL)
    z = (z_of - z_of.mean(axis=0)) / z_of.std(axis=0)
    rest = moved.data - moved._denoised(z_of, LEVEL)
    features = (np.ones_like(z), np.tanh(z), np.sin(2 * z), np.cos(z))
    rows = np.stack([f[:, j] * rest[:, k] for f in features for j in (0, 1) for k in (0, 1)])
    expected = excess(rows, 16, moved.size)
    assert found[1] == f"{expected:.2f} of the limit, 1 levels"
    assert found[0] == (expected <= 1)


def test_the_largest_excess_is_kept_even_where_it_is_no_number() -> None:
    assert laws._larger(1.0, 2.0) == 2.0
    assert laws._larger(2.0, 1.0) == 2.0
    assert math.isnan(laws._larger(math.nan, 1.0))
    assert math.isnan(laws._larger(1.0, math.nan))
    constant = np.full((1, 50), 3e-9)
    assert laws._excess(constant, 1, 3.0) == pytest.approx(1.0, rel=1e-6, abs=0)
    assert laws._excess(constant, 1, 6.0) == pytest.approx(0.5, rel=1e-6, abs=0)


@pytest.mark.parametrize(("side", "fine"), [(0.99, True), (1.01, False)])
def test_samples_without_scatter_are_held_to_rounding(side: float, fine: bool) -> None:
    """All states at (30, 40), of size 50: 1e-9 of it, of its square for second moments."""

    class Point:
        dim = 2

        def sample(self, count: int, rng: Any) -> np.ndarray:
            return np.tile([30.0, 40.0], (count, 1))

        def mean(self) -> np.ndarray:
            return np.array([30.0, 40.0 + side * 5e-8])

        def covariance(self) -> np.ndarray:
            return np.diag([0.0, side * 2.5e-6])

        def second_moment(self) -> float:
            return 2500 + side * 2.5e-6

    class Alone(Point):
        mean = second_moment = None  # type: ignore[assignment]

        def variance(self) -> float:
            return side * 2.5e-6

    one: Any = laws._Tried(Point(), "point", 400, 0)  # type: ignore[arg-type]
    for found in (one.mean(), one.covariance(), one.second_moment()):
        assert found[0] == fine
        assert found[1] == f"{side:.2f} of the limit from the samples"
    law: Any = Alone()
    alone = laws._Tried(law, "alone", 400, 0)
    assert alone.variance()[0] == fine  # type: ignore[index]


# denoisers


def test_a_gap_is_relative_to_the_largest_exact_value() -> None:
    assert _off(np.array([1.0, 5.0]), np.array([1.0, 4.0])) == 0.25
    assert _off(np.array([1.0, 5.0]), np.array([1.0, 4.0]), 1.0) == 0.2


class Linear:
    """``D(x) = c x``, ``c`` such that a product counts for half, and planted errors."""

    def __init__(self, **planted: float):
        self.planted = planted
        self.c = 1e-3 / np.abs(np.random.default_rng(0).standard_normal((6, 2))).max()

    def __call__(self, x: Any, level: Any) -> Any:
        return (self.c * x).astype(x.dtype)

    def jvp(self, x: Any, level: Any, v: Any) -> Any:
        share = self.planted.get("several" if v.ndim == 3 else "one", 0.0)
        return self.c * v * (1 + share)

    def divergence(self, x: Any, level: Any) -> Any:
        return np.full(len(x), 2 * self.c + self.planted.get("divergence", 0.0))


@pytest.mark.parametrize(
    ("planted", "check"),
    [({"several": 2e-5}, "jvp"), ({"one": 2e-5}, "jvp"), ({"divergence": None}, "divergence")],
)
@pytest.mark.parametrize("side", [0.98, 1.02])
def test_products_are_held_to_1e_5_of_their_size_and_a_thousandth(
    planted: dict[str, Any], check: str, side: float
) -> None:
    """``c v`` off by a share of 2e-5, where its size and 1e-3 are one: 1e-5 of their sum."""
    both = 1e-5 * (2 * Linear().c + 1e-3)
    errors = {key: side * (both if share is None else share) for key, share in planted.items()}
    if side < 1:
        assert {row.verdict for row in check_denoiser(Linear(**errors))} == {"ok"}
    else:
        with pytest.raises(ConformanceError) as caught:
            check_denoiser(Linear(**errors))
        assert {row.check for row in caught.value.rows if row.verdict == "fails"} == {check}


@pytest.mark.parametrize(("side", "verdict"), [(0.9, "ok"), (1.1, "fails")])
def test_a_told_coefficient_is_held_to_1e_12(side: float, verdict: str) -> None:
    """The state is off by ``1e-12 (1 + largest)`` on one of four steps."""
    from steinlab.solvers.step import Diagnostics

    def half(step: Any, rng: Any) -> Any:
        state = step.x - 0.5 * step.candidate.residual
        gap = side * 1e-12 * (1 + np.abs(state).max())
        return state + gap * (step.s.sigma == 0.5), Diagnostics(0.5)

    half.name = "half"  # type: ignore[attr-defined]
    try:
        rows = check_correction(half)
    except ConformanceError as error:
        rows = list(error.rows)
    assert next(row for row in rows if row.check == "told-coefficient").verdict == verdict


def test_a_correction_is_tried_on_long_short_and_last_steps() -> None:
    seen = []

    def none(step: Any, rng: Any) -> Any:
        from steinlab.solvers.step import Diagnostics

        seen.append((step.s.sigma, step.t.sigma))
        return step.candidate.state, Diagnostics(0.0)

    none.name = "none"  # type: ignore[attr-defined]
    with suppress(ConformanceError):
        check_correction(none)
    assert set(seen) == {(5.0, 2.0), (1.0, 0.5), (0.5, 0.49), (0.1, 0.0)}


def test_the_plane_in_which_cases_are_stored() -> None:
    """A stored case holds a seed alone: other states would make it another case."""
    np.testing.assert_array_equal(PLANE.weights, [0.3, 0.7])
    np.testing.assert_array_equal(PLANE.means, [[-1.0, 0.3], [0.8, -0.5]])
    covariances = [
        basis @ np.diag(spectrum) @ basis.T
        for basis, spectrum in zip(PLANE.basis, PLANE.spectra, strict=True)  # type: ignore[arg-type]
    ]
    np.testing.assert_allclose(
        covariances, [[[0.5, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.6]]], rtol=1e-12
    )
    assert PLANE_STATES.tolist() == [[-1.5, 1.0], [-0.4, -1.2], [0.3, 0.8], [1.1, -0.2], [2.0, 1.5]]


@pytest.mark.parametrize(("side", "read"), [(0.99, False), (1.01, True)])
def test_an_order_is_read_above_a_hundred_roundings_and_the_flows_error(
    side: float, read: bool
) -> None:
    """The floor is 3e-11 + 1e-11; the errors of line and plane are 3 and 4 parts of 5."""
    from steinlab.testing.adapters import as_subject
    from steinlab.testing.bench import Bench
    from tests.steinlab.testing import loops

    bench: Any = Bench(as_subject(loops.euler))
    bench.__dict__ |= {"above": None, "reading": None, "calls_per_step": 1.0}
    bench.grid = lambda name, n: n
    size = side * 100 * 4e-11

    def error(n: int) -> float:
        return size * 128.0 / n

    bench.floor = lambda n: 3e-11
    bench.line_error = lambda subject, n: 0.6 * error(n)
    bench.plane_error = lambda subject, n: 0.8 * error(n)
    found = orders._on(bench, "even")
    assert (found["verdict"] == "ok") == read
    if read:
        assert found["measured"] == pytest.approx(1.0, rel=1e-6, abs=0)


# schedulers


def scheduled(name: str, config: dict[str, Any] | None = None, **own: Any) -> Any:
    """A scheduler of a class of this name."""

    def set_timesteps(self: Any, steps: int) -> None:
        self.steps = steps

    kind = type(
        name, (), {"set_timesteps": set_timesteps, "step": None, "config": config or {}, **own}
    )
    kind.from_config = classmethod(lambda cls, config, **more: cls._made(more))
    kind._made = classmethod(lambda cls, more: _with(cls(), more))
    return Scheduled(kind)


def _with(one: Any, more: dict[str, Any]) -> Any:
    one.made_with = more
    return one


def test_levels_of_the_coordinates_that_schedulers_work_in() -> None:
    assert (vp(0.75).alpha, vp(0.75).sigma) == pytest.approx((0.8, 0.6), rel=1e-6, abs=0)
    assert (ve(3.0).alpha, ve(3.0).sigma) == (1.0, 3.0)
    assert (flow(0.25).alpha, flow(0.25).sigma) == (0.75, 0.25)
    assert flow(1.0).alpha == 1e-12


@pytest.mark.parametrize("sigma", [0.02, 1.0, 80.0])
def test_edms_network_is_told_a_quarter_of_log_sigma(sigma: float) -> None:
    assert scheduled("EDMx")._told_ratio(None, math.log(sigma) / 4) == pytest.approx(
        sigma, rel=1e-6, abs=0
    )
    flowing = scheduled("FlowX")
    assert flowing._told_ratio(None, 400.0) == pytest.approx(0.4 / 0.6, rel=1e-6, abs=0)
    short = scheduled("FlowX", {"num_train_timesteps": 50})
    assert short._told_ratio(None, 20.0) == pytest.approx(0.4 / 0.6, rel=1e-6, abs=0)
    assert scheduled("Other")._told_ratio(SimpleNamespace(), 1.0) is None


def test_between_entries_a_network_is_told_the_geometric_mean() -> None:
    """Powers 1/2 and 1/5: ratios 1 and 2, half way ``sqrt 2``."""
    table = SimpleNamespace(alphas_cumprod=np.array([0.5, 0.2]))
    assert scheduled("Other")._told_ratio(table, 0.5) == pytest.approx(
        math.sqrt(2), rel=1e-6, abs=0
    )
    assert scheduled("Other")._told_ratio(table, 1.0) == pytest.approx(2.0, rel=1e-6, abs=0)


@pytest.mark.parametrize("data", [0.5, 1.3])
@pytest.mark.parametrize("told", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", ["EDMx", "CosineX"])
def test_edms_network_answers_what_is_left_of_the_preconditioning(
    data: float, told: str, name: str
) -> None:
    """``D = c_skip x + c_out F``; a velocity has the other sign (Karras et al. 2022, table 1)."""
    one = scheduled(name, {"sigma_data": data, "prediction_type": told})
    x, x0, sigma = np.array([[2.0, -1.0]]), np.array([[0.3, 0.4]]), 1.7
    found = one._predicted(x, NoiseLevel(1.0, sigma), lambda x, level: x0)
    power = sigma**2 + data**2
    rest = (x0 - data**2 / power * x) * math.sqrt(power) / (sigma * data)
    np.testing.assert_allclose(found, -rest if told == "v_prediction" else rest, rtol=1e-12)


def predicted(name: str, told: str, level: NoiseLevel) -> Any:
    one = scheduled(name, {"prediction_type": told})
    return one._predicted(np.array([[2.0]]), level, lambda x, level: np.array([[0.5]]))


def test_what_networks_predict() -> None:
    """``x = 2``, ``D = 0.5``."""
    level = NoiseLevel(0.8, 0.6)
    eps = (2.0 - 0.8 * 0.5) / 0.6
    assert predicted("Other", "sample", level) == 0.5
    assert predicted("Other", "epsilon", level) == pytest.approx(eps, rel=1e-6, abs=0)
    assert predicted("Other", "v_prediction", level) == pytest.approx(
        0.8 * eps - 0.6 * 0.5, rel=1e-6, abs=0
    )
    assert predicted("FlowX", "epsilon", NoiseLevel(0.75, 0.25)) == pytest.approx(
        (2.0 - 0.375) / 0.25 - 0.5, rel=1e-6, abs=0
    )
    exploding = next(iter(_exploding()))
    eps = (2.0 - 0.5) / 0.75
    assert predicted(exploding, "v_prediction", NoiseLevel(1.0, 0.75)) == pytest.approx(
        0.8 * eps - 0.6 * 0.5, rel=1e-6, abs=0
    )


def _exploding() -> tuple[str, ...]:
    from steinlab.testing.schedulers import VARIANCE_EXPLODING

    return VARIANCE_EXPLODING


def test_levels_are_given_as_a_table_of_powers() -> None:
    """``1 / (1 + ratio^2)``, the quietest first; PNDM's table holds the middles, too."""
    levels = [vp(r) for r in (4.0, 2.0, 0.5, 0.1)]
    one = scheduled("Tabled", {"num_train_timesteps": 1, "steps_offset": 9, "other": 1})
    made = one._given(levels)
    np.testing.assert_allclose(made.alphas_cumprod, [1 / 1.25, 1 / 5, 1 / 17])
    assert float(made.final_alpha_cumprod) == pytest.approx(1 / 1.01, rel=1e-6, abs=0)
    assert made.made_with == {"num_train_timesteps": 3, "steps_offset": 0}
    assert made.steps == 3
    middle = scheduled("PNDMx")._given(levels)
    ratios = [0.5, 1.0, 2.0, math.sqrt(8.0), 4.0, 4.0]
    np.testing.assert_allclose(middle.alphas_cumprod, 1 / (1 + np.array(ratios) ** 2))


def test_levels_are_given_as_sigmas_with_their_middles() -> None:
    def sigmas(self: Any, steps: int) -> None:
        import torch

        self.sigmas = torch.arange(steps + 1.0).flip(0)
        if self.twice:
            self.sigmas = torch.cat(
                [self.sigmas[:1], self.sigmas[1:-1].repeat_interleave(2), self.sigmas[-1:]]
            )
        self.sigmas_interpol = None

    levels = [vp(r) for r in (4.0, 2.0, 0.5, 0.1)]
    for twice in (False, True):
        made = scheduled("Plain", twice=twice, sigmas=None, set_timesteps=sigmas)._given(levels)
        ratios, middles = np.array([4.0, 2.0, 0.5, 0.1]), np.sqrt([0.4, 8.0, 1.0, 0.05])
        if twice:
            ratios = ratios[[0, 1, 1, 2, 2, 3]]
            middles = np.array([4.0, *middles[[1, 1, 2, 2, 3, 3]], 0.1])
        np.testing.assert_allclose(made.sigmas, ratios)
        np.testing.assert_allclose(made.sigmas_interpol, middles)
    made = scheduled("FlowX", twice=False, sigmas=None, set_timesteps=sigmas)._given(
        [flow(s) for s in (0.9, 0.5, 0.1)]
    )
    np.testing.assert_allclose(made.sigmas, [0.9, 0.5, 0.1])


def test_an_own_grid_ends_at_the_tables_end_if_that_is_quieter() -> None:
    """Times of a table of powers; repeated and rising ones are no levels."""
    own = {
        "alphas_cumprod": [0.9, 0.8, 0.5, 0.2, 0.1], "timesteps": [4, 2, 2, 3, 0],
        "final_alpha_cumprod": 0.99,
    }  # fmt: skip
    grid = scheduled("Other", **own).own_grid(5)
    assert isinstance(grid, Own)
    powers = [0.1, 0.5, 0.9, 0.99]
    np.testing.assert_allclose([one.alpha**2 for one in grid], powers)
    np.testing.assert_allclose([one.sigma**2 for one in grid], 1 - np.array(powers))
    assert (grid.steps, grid.begin) == (5, 0)
    short = scheduled("Other", **{**own, "final_alpha_cumprod": 0.9}).own_grid(5, begin=1)
    np.testing.assert_allclose([one.alpha**2 for one in short], [0.5, 0.9])
    assert short.begin == 1


@pytest.mark.parametrize(
    ("sigmas", "interleaved"),
    [
        ([9, 4, 4, 1, 1, 0], True),
        ([9, 4, 4, 0], True),
        ([9, 4, 1, 0], False),
        ([9, 4, 0], False),
        ([9, 4, 4, 1, 0], False),
        ([9, 0], False),
        ([9, 4, 4, 1, 2, 0], False),
    ],
)
def test_interleaved_sigmas_stand_twice(sigmas: list[float], interleaved: bool) -> None:
    assert Scheduled._interleaved(SimpleNamespace(sigmas=sigmas)) == interleaved


def test_a_scheduler_says_what_it_needs() -> None:
    with pytest.raises(SubjectError, match="must return a scheduler with set_timesteps, got dict"):
        Scheduled(dict)
    assert scheduled("Other", {"clip_sample": True}).clips
    assert scheduled("Other", {"thresholding": True}).clips
    assert not scheduled("Other").clips
