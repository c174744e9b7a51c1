"""Margins, slopes and sizes inside the theory that move no result: each against its own formula."""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from analytic.certified import affine
from analytic.flow import line, rectified
from analytic.flow.exact import _gaussian_flow, gaussian_gain
from analytic.flow.line import Line, increasing_root, line_flow
from analytic.iterates import distances

EPS = 2.0**-52
TWO = GaussianMixture([0.3, 0.7], [-1.0, 1.5], [0.2, 0.6])
HIGH, LOW = NoiseLevel(0.6, 0.8), NoiseLevel(0.9, 0.3)


# root finders


def functions(module: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every function whose root a module seeks, with its bracket."""
    taken: list[Any] = []

    def noted(function: Any, low: Any, high: Any, *, unit: Any) -> Any:
        taken.append((function, low, high))
        return increasing_root(function, low, high, unit=unit)

    monkeypatch.setattr(module, "increasing_root", noted)
    return taken


SEEKERS = {
    "flow": (line, lambda x: line_flow(Line.of(TWO), x, HIGH, LOW)),
    "reflow": (rectified, lambda x: rectified.Reflow(TWO)(x[:, None], HIGH)),
    "quantile": (
        distances,
        lambda x: distances.quantile(TWO, HIGH, 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(x))),
    ),
}


@pytest.mark.parametrize("name", SEEKERS)
def test_newtons_slopes_are_differences(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong slope costs steps and no accuracy: the search is guarded by bisection."""
    module, seek = SEEKERS[name]
    taken = functions(module, monkeypatch)
    x = np.array([-2.5, -0.7, 0.1, 0.9, 2.2])
    seek(x)
    function = taken[0][0]
    for y in (x, 0.5 * x + 0.3):
        step = 1e-6
        ahead, behind = function(y + step)[0], function(y - step)[0]
        np.testing.assert_allclose(function(y)[1], (ahead - behind) / (2 * step), rtol=2e-7)


@pytest.mark.parametrize("name", SEEKERS)
def test_a_root_is_found_in_newtons_steps(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, seek = SEEKERS[name]
    calls: list[int] = []

    def noted(function: Any, low: Any, high: Any, *, unit: Any) -> Any:
        def counted(y: Any) -> Any:
            calls.append(1)
            return function(y)

        return increasing_root(counted, low, high, unit=unit)

    monkeypatch.setattr(module, "increasing_root", noted)
    seek(np.array([-2.5, -0.7, 0.1, 0.9, 2.2]))
    assert len(calls) <= 25  # of the slowest of five


def test_brackets_hold_the_quantiles_of_every_component() -> None:
    """Between the least and the greatest of ``m_k + s_k z``, a millionth wider."""
    one = Line.of(TWO)
    x = np.array([-2.5, 0.1, 2.2])
    low, high = line._bracket(one.at(HIGH), one.at(LOW), x[:, None])
    nothing = np.zeros((3, 2), dtype=bool)
    z = line.ndtri_exp(one.at(HIGH).split(x[:, None], nothing).right_cdf)
    ends = one.at(LOW).means + one.at(LOW).stds * z[:, None]
    slack = 1e-6 * (np.abs(ends).max(axis=1) + one.at(LOW).stds.max())
    np.testing.assert_allclose(low, ends.min(axis=1) - slack, rtol=1e-12)
    np.testing.assert_allclose(high, ends.max(axis=1) + slack, rtol=1e-12)


# errors that are stated


@pytest.mark.parametrize("dim", [1, 3])
def test_the_rounding_of_a_gaussians_flow(dim: int) -> None:
    """``eps ((4 + d) gain (|x| + alpha |m|) + alpha' |m| + |y|)``."""
    law = GaussianMixture([1.0], [[0.5] * dim], 0.7)
    x = np.array([[2.0] * dim, [-1.0] * dim])
    state, error = _gaussian_flow(law, x, HIGH, LOW)
    gain = math.sqrt((0.81 * 0.7 + 0.09) / (0.36 * 0.7 + 0.64))
    mean = 0.5 * math.sqrt(dim)
    size = np.array([2.0, 1.0]) * math.sqrt(dim) + 0.6 * mean
    expected = (4 + dim) * gain * size + 0.9 * mean + np.linalg.norm(state, axis=1)
    np.testing.assert_allclose(error, EPS * expected, rtol=1e-12)
    assert gaussian_gain(np.array([0.7]), HIGH, LOW)[0] == pytest.approx(gain, rel=1e-6, abs=0)


@pytest.mark.parametrize("left_out", [-0.1, 1.0, 1.5, math.nan])
def test_a_share_left_out_is_below_one(left_out: float) -> None:
    with pytest.raises(ValueError, match=r"left_out must be in \[0, 1\)"):
        GaussianMixture([1.0], [0.0], 1.0, left_out=left_out)


# affine forms


def form(low: float, high: float) -> Any:
    return affine.sides(np.array([[low]]), np.array([[high]]))[0]


def test_a_tangent_has_room_for_four_units_of_its_value_and_argument() -> None:
    """``3 x`` on [1, 3]: ``4 SLIP (6 + 3 (1 + 2 SLIP))``, and ``3 rest`` of the side's own."""
    x = form(1.0, 3.0)
    found = affine.smooth(x, lambda v: 3 * v, lambda v: 3.0 + 0 * v, lambda low, _: 0 * low)
    slip = 4 * affine.SLIP * (6 + 3 * (x.radius + 2 * affine.SLIP))
    assert affine.SLIP == 16 * EPS
    assert found.rest == pytest.approx(3 * x.rest + slip, rel=1e-6, abs=0)
    assert found.parts[0][0] == pytest.approx(3.0, rel=1e-6, abs=0)
    assert found.centre[0] == pytest.approx(6.0, rel=1e-6, abs=0)


@pytest.mark.parametrize("curve", [0.5, 2.0])
def test_a_tangent_has_room_for_half_the_curvature(curve: float) -> None:
    x = form(1.0, 1.5)
    found = affine.smooth(
        x, lambda v: 9 * v + curve / 2 * (v - 1.25) ** 2, lambda v: 9 + curve * (v - 1.25),
        lambda low, _: curve + 0 * low,
    )  # fmt: skip
    assert found.rest[0] == pytest.approx(0.5 * curve / 16, rel=1e-9, abs=0)


def test_ends_stand_where_a_tangent_is_wider() -> None:
    """The root on [0, 1]: its curvature is infinite at 0, and its ends are 0 and 1."""
    x = form(0.0, 1.0)
    found = affine.smooth(
        x, lambda v: np.sqrt(np.maximum(v, 0)), lambda v: 0.5 / np.sqrt(v),
        lambda low, _: np.where(low > 1e-9, 0.25, np.inf),
    )  # fmt: skip
    assert found.parts[0][0] == 0.0
    assert found.centre[0] == pytest.approx(0.5, rel=1e-6, abs=0)
    assert found.rest[0] == pytest.approx(0.5, rel=1e-9, abs=0)
    assert found.rest[0] >= 0.5 + 2 * affine.SLIP


def test_a_form_is_nowhere_inside_what_it_stands_for() -> None:
    """Many operations on points: the exact fraction of each result lies in its bounds."""
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.5, 3, (2, 500))
    x, y = affine.sides(np.stack([a, b], axis=1), np.stack([a, b], axis=1))
    results = {
        "add": (x + y, lambda p, q: p + q),
        "subtract": (x - y, lambda p, q: p - q),
        "multiply": (x * y, lambda p, q: p * q),
        "divide": (x / y, lambda p, q: p / q),
        "square": (affine.square(x), lambda p, _: p * p),
        "mixed": (x * y - 3.0 / x, lambda p, q: p * q - 3 / p),
    }
    for name, (found, exact) in results.items():
        low, high = affine.bounds(found)
        for i in range(500):
            value = exact(Fraction(a[i]), Fraction(b[i]))
            assert Fraction(low[i]) <= value <= Fraction(high[i]), name
        scale = np.abs([float(exact(Fraction(p), Fraction(q))) for p, q in zip(a, b, strict=True)])
        assert np.all(high - low <= 400 * affine.SLIP * (1 + scale)), name


# far away


def test_a_suppressed_component_falls_along_its_ray() -> None:
    """``2 W + (b + 2 C R) (P + W R) < 0`` and ``exp(a + b R + C R^2)`` small, at ``R = 2``.

    ``P = 1``, ``W = 1/2``, ``C = -1/10``: from ``b = -1/10`` on.
    """
    pytest.importorskip("flint")
    from analytic.certified import far
    from analytic.certified.balls import ball, precision

    def found(b: str, curve: str = "-1/10", a: int = -60) -> Any:
        pair = SimpleNamespace(
            constant=ball(a), slope=[ball(Fraction(b))], curve=ball(Fraction(curve)),
            base=[ball(1)], gain=ball(Fraction(1, 2)),
        )  # fmt: skip
        field: Any = SimpleNamespace(pairs=[[None, pair], [None, None]])
        ray: Any = SimpleNamespace(
            shift=[ball(0)], direction=[ball(1)], scale=ball(1), radius=ball(2)
        )
        return far._suppressed(field, 0, ray)

    with precision(64):
        assert found("-0.099") is None
        mass, drift = found("-0.101")
        value = math.exp(-60 - 0.202 - 0.4) * 2
        assert float(mass.mid()) == pytest.approx(value, rel=1e-6, abs=0)
        assert float(drift.mid()) == pytest.approx(2 * value, rel=1e-6, abs=0)
        assert found("-3", curve="1/1000") is None
        assert found("-3", a=3) is not None  # exp(3 - 6 - 0.4), below exp(-3)
        assert found("-3", a=4) is None
