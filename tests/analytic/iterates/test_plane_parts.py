# ruff: noqa: ARG005 - what is planted is called as what it stands for
"""The parts of the plane's distances: each against a direct sum, a difference or a closed form."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from analytic import GaussianMixture, NoiseLevel
from analytic.iterates import plane, transport
from analytic.iterates.potentials import Potential
from analytic.iterates.transport import Coupled, Enclosure, Envelope


def draws(*shape: int) -> np.ndarray:
    """The same normal numbers wherever they are asked for."""
    return np.random.default_rng(7).standard_normal(shape)


LEVEL = NoiseLevel(0.8, 0.6)
TURNED = GaussianMixture(
    [0.3, 0.7], [[-1.0, 0.3], [0.8, -0.5]], [[[0.5, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.6]]]
)
PLAIN = GaussianMixture([0.3, 0.7], [[-1.0, 0.3], [0.8, -0.5]], [[0.5, 0.4], [0.3, 0.6]])
EPS = 2.0**-52


def rule(count: int = 40, *, bend: float = 0.0) -> Coupled:
    weights, z = np.abs(draws(count)) + 0.1, draws(count, 2)
    y = z @ np.array([[1.6, 0.3], [0.3, 0.8]]) + [0.5, -0.2] + bend * np.sin(2 * z[:, ::-1])
    return Coupled(weights / weights.sum(), y, z)


# potentials


def test_a_lattice_reaches_six_widths_in_quarters() -> None:
    potential = Potential(np.zeros(7), np.array([[0.0, 1.0], [2.0, -1.0]]), 0.5)
    found = potential.lattice()
    xs, ys = np.unique(found[:, 0]), np.unique(found[:, 1])
    assert (xs[0], ys[0]) == (-3.0, -4.0)
    np.testing.assert_allclose(np.diff(xs), 0.125)
    np.testing.assert_allclose(np.diff(ys), 0.125)
    assert 5.0 - 0.126 < xs[-1] < 5.0
    assert 4.0 - 0.126 < ys[-1] < 4.0
    assert len(found) == len(xs) * len(ys)


def test_the_convexity_of_one_bump_is_at_its_center() -> None:
    """``I + f''`` at the top of a bump of height 0.3: ``1 + 0.2 - 0.3`` and ``1 - 0.3``."""
    potential = Potential(np.array([0, 0, 0.2, 0, 0, 0.3]), np.array([[1.0, 2.0]]), 0.5)
    assert potential.convexity() == pytest.approx(0.7, abs=1e-9)


# transport


def test_moments_are_weighed() -> None:
    one = rule()
    mean, covariance = transport._moments(3.0 * one.weights, one.y)
    np.testing.assert_allclose(mean, np.average(one.y, axis=0, weights=one.weights))
    expected = np.cov(one.y.T, aweights=one.weights, bias=True)
    np.testing.assert_allclose(covariance, expected, rtol=1e-12)


def test_a_root_is_symmetric_and_squares_to_its_matrix() -> None:
    matrix = np.array([[2.0, 0.7], [0.7, 0.5]])
    root = transport._root(matrix)
    np.testing.assert_allclose(root @ root, matrix, rtol=1e-12)
    np.testing.assert_allclose(root, root.T)
    np.testing.assert_allclose(transport._root(np.diag([4.0, -1e-18])), np.diag([2.0, 0.0]))


def test_gelbrichs_potential_carries_the_moments() -> None:
    """``z + grad f`` is the optimal linear map: symmetric, and it sends mean and covariance."""
    one = rule(90, bend=0.3)
    found = transport._gelbrich(one)
    gradient = found.at(one.z)[1]
    moved = one.z + gradient
    mean, covariance = transport._moments(one.weights, moved)
    np.testing.assert_allclose(mean, transport._moments(one.weights, one.y)[0], rtol=1e-9)
    np.testing.assert_allclose(covariance, transport._moments(one.weights, one.y)[1], rtol=1e-9)
    assert np.all(found.coefficients[5:] == 0)
    assert len(found.coefficients) == 5 + len(found.centers)


def test_the_lightest_nodes_are_left_out_of_the_ascent_and_of_the_centers() -> None:
    weights = np.array([1.0, 0.99e-3, 1.01e-3, 1.1e-12, 0.9e-12])
    one = Coupled(weights, np.arange(10.0).reshape(5, 2), np.arange(10.0).reshape(5, 2) ** 1.5)
    heavy = one.heavy()
    np.testing.assert_array_equal(heavy.weights, weights[:4])
    np.testing.assert_array_equal(heavy.y, one.y[:4])
    np.testing.assert_array_equal(heavy.z, one.z[:4])
    blank = transport._blank(one)
    np.testing.assert_array_equal(np.unique(blank.centers, axis=0), one.z[[0, 2]])
    assert np.all(blank.coefficients == 0)


def test_centers_are_far_from_one_another() -> None:
    """The first is nearest to the mean, each further one farthest from those before it."""
    states = draws(90, 2)
    centers, width = transport._spread(states)
    assert len(centers) == 60
    gaps = ((states - states.mean(axis=0)) ** 2).sum(axis=1)
    np.testing.assert_array_equal(centers[0], states[np.argmin(gaps)])
    for k in range(1, 60):
        nearest = np.min(np.linalg.norm(states[:, None] - centers[:k], axis=2), axis=1)
        np.testing.assert_array_equal(centers[k], states[np.argmax(nearest)])
    nearest = np.min(np.linalg.norm(states[:, None] - centers, axis=2), axis=1)
    assert width == pytest.approx(nearest.max(), rel=1e-6, abs=0)


def test_a_regression_is_the_ridge_of_both_coordinates() -> None:
    """Least squares of ``Y - Z`` by the terms' gradients, with a ridge of 1e-8 of the diagonal."""
    one = rule(bend=0.2)
    potential = Potential(np.zeros(8), draws(3, 2), 0.8)
    fields = potential.gradients(one.z)
    found = transport._regression(fields, one)
    rows = np.concatenate([np.sqrt(one.weights)[:, None] * field for field in fields])
    goal = np.concatenate([np.sqrt(one.weights) * m for m in (one.y - one.z).T])
    ridge = np.diag(np.sqrt(1e-8 * (rows**2).sum(axis=0)))
    rows, goal = np.concatenate([rows, ridge]), np.concatenate([goal, np.zeros(8)])
    np.testing.assert_allclose(found, np.linalg.lstsq(rows, goal, rcond=None)[0], rtol=1e-6)


def test_the_nearest_gradient_field_is_shrunk_until_it_is_convex(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "BUMPS", 10)
    one = rule(90, bend=1.5)
    zero = transport._blank(one)
    fields = zero.gradients(one.z)
    quadratic = np.zeros(fields.shape[-1])
    quadratic[:5] = transport._regression(fields[..., :5], one)
    full = transport._regression(fields, one)
    for k in range(10):
        expected = quadratic + 0.5**k * (full - quadratic)
        if Potential(expected, zero.centers, zero.width).convexity() >= 1e-3:
            break
    assert 0 < k < 9
    np.testing.assert_allclose(transport._nearest(one).coefficients, expected, rtol=1e-9)
    linear = rule(90)
    found = transport._nearest(linear).coefficients
    np.testing.assert_allclose(found[:5], [0.5, -0.2, 0.6, 0.3, -0.2], atol=1e-4)


def bumpy() -> Potential:
    heights = np.array([0.3, -0.2, 0.25])
    coefficients = np.concatenate(([0.2, -0.1, 0.5, 0.1, -0.2], heights))
    return Potential(coefficients, np.array([[0.0, 0.0], [1.0, -0.5], [-0.8, 0.7]]), 0.9)


def test_an_inversion_solves_for_the_state_whose_gradient_reaches() -> None:
    one, potential = rule(bend=0.5), bumpy()
    z = transport._invert(potential, one.y, one.z)
    residual = one.y - z - potential.at(z)[1]
    assert np.abs(residual).max() < 1e-11
    far = transport._invert(potential, 50.0 * one.y, one.z)
    assert np.abs(50.0 * one.y - far - potential.at(far)[1]).max() < 1e-9


def test_newtons_steps_are_exact_on_a_quadratic(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    at = Potential.at

    def counted(self: Potential, z: np.ndarray) -> Any:
        calls.append(len(z))
        return at(self, z)

    monkeypatch.setattr(Potential, "at", counted)
    potential = Potential(np.array([0.2, -0.1, 0.5, 0.1, -0.2, 0.0]), np.zeros((1, 2)), 1.0)
    one = rule()
    z = transport._invert(potential, one.y, one.z)
    assert calls == [40, 40]
    assert np.abs(one.y - z - at(potential, z)[1]).max() < 1e-14
    monkeypatch.undo()
    calls.clear()
    monkeypatch.setattr(Potential, "at", counted)
    transport._invert(bumpy(), one.y, one.z)
    assert len(calls) <= 9
    assert calls[-1] <= calls[0]


def test_an_envelope_is_the_infimum_over_states() -> None:
    """``E inf_z (f(z) + |y - z|^2 / 2) - E f(Z)``, each infimum by another minimiser."""
    one, potential = rule(12, bend=0.5), bumpy()
    found = transport._envelope(potential, one)
    value = lambda z: float(potential.at(z[None])[0][0])  # noqa: E731
    infima = [
        minimize(lambda z, y=y: value(z) + 0.5 * ((y - z) ** 2).sum(), z, tol=1e-10).fun
        for y, z in zip(one.y, found.z, strict=True)
    ]
    expected = one.weights @ (np.array(infima) - potential.at(one.z)[0])
    assert found.value == pytest.approx(expected, abs=1e-9)
    assert found.value <= one.weights @ ((one.y - one.z) ** 2).sum(axis=1) / 2
    again = transport._envelope(potential, one, found.z)
    assert again.value == pytest.approx(found.value, abs=1e-12)


def test_an_envelopes_derivatives_are_differences() -> None:
    one, potential = rule(12, bend=0.5), bumpy()
    found = transport._envelope(potential, one)
    step = 1e-5
    for k in range(8):
        ends = []
        for sign in (1, -1):
            coefficients = potential.coefficients.copy()
            coefficients[k] += sign * step
            moved = Potential(coefficients, potential.centers, potential.width)
            ends.append(transport._envelope(moved, one))
        slope = (ends[0].value - ends[1].value) / (2 * step)
        assert slope == pytest.approx(found.slope[k], abs=1e-8)
        bend = -(ends[0].slope - ends[1].slope) / (2 * step)
        np.testing.assert_allclose(found.bend[k], bend, atol=1e-7)


def test_what_an_inversion_misses_is_taken_off_the_envelope(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``|residual|^2 / (2 mu)``, ``mu`` the least eigenvalue on the lattice or at the states."""
    one, potential = rule(12, bend=0.5), bumpy()
    monkeypatch.setattr(transport, "_invert", lambda potential, y, z: z + 0.1)
    z = one.z + 0.1
    value, slope, matrix = potential.at(z)
    for convexity in (0.02, 9.0):
        monkeypatch.setattr(Potential, "convexity", lambda self, c=convexity: c)
        mu = min(convexity, float(np.linalg.eigvalsh(matrix).min()))
        parts = value + 0.5 * ((one.y - z) ** 2).sum(axis=1)
        parts -= ((one.y - z - slope) ** 2).sum(axis=1) / (2 * mu)
        expected = one.weights @ (parts - potential.at(one.z)[0])
        assert transport._envelope(potential, one).value == pytest.approx(
            expected, rel=1e-12, abs=0
        )
    monkeypatch.setattr(Potential, "convexity", lambda self: -0.5)
    expected = one.weights @ (value + 0.5 * ((one.y - z) ** 2).sum(axis=1) - potential.at(one.z)[0])
    assert transport._envelope(potential, one).value == pytest.approx(expected, rel=1e-12, abs=0)


def test_an_ascent_improves_on_both_of_its_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the map is bent the bumps gain; it ends at a stationary point or at its bound."""
    monkeypatch.setattr(transport, "BUMPS", 10)
    one = rule(90, bend=0.5)
    starts = [
        transport._envelope(p, one).value
        for p in map(_start, ("_gelbrich", "_nearest"), (one, one))
    ]
    best = transport.best_potential(one)
    found = transport._envelope(best, one)
    assert found.value > 1.02 * max(starts)
    assert best.convexity() >= 1e-3
    step = np.linalg.solve(found.bend + 1e-6 * np.diag(np.diag(found.bend)), found.slope)
    assert found.slope @ step < 1e-6 * found.value


def _start(name: str, one: Coupled) -> Potential:
    return getattr(transport, name)(one)  # type: ignore[no-any-return]


@pytest.mark.parametrize("moved", [0.1, -0.1])
@pytest.mark.parametrize("mass", [1.0, 0.75])
def test_both_bounds_count_what_the_finer_rule_moved(
    moved: float, mass: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two states of half the mass each; costs 3.9 and 4, gains 2 and ``2 + moved``."""
    z = np.array([[0.0, 0.0], [3.0, 4.0]])
    first = np.broadcast_to(np.diag([1.0, 2.0]), (2, 2, 2))

    def starts(level: Any, nodes: int) -> Any:
        weights = np.array([0.5, 0.5]) * (mass if nodes == 12 else 1.0)
        return SimpleNamespace(weights=weights, x=z + nodes, z=z, error=np.array([0.0, 0.01]))

    def jet(x: np.ndarray) -> Any:
        nodes = x[0, 0]
        size = {5.0: 9.0, 8.0: math.sqrt(3.9), 12.0: 2.0}[nodes]
        return SimpleNamespace(value=x - nodes + [size, 0.0], first=first)

    law: Any = SimpleNamespace(
        base=TURNED, nodes=(8, 12), starts=starts, jet=jet,
    )  # fmt: skip
    monkeypatch.setattr(transport, "best_potential", lambda one: one.weights)
    gains = iter([1.0, 1.0 + moved / 2])
    empty = np.zeros(0)
    monkeypatch.setattr(
        transport, "_envelope", lambda potential, one: Envelope(next(gains), empty, empty, empty)
    )
    found = transport.wasserstein(law, LEVEL)
    squares = np.array([4.0, 25.0 + 25.0 + 4.0 + 2 * 3.0 * 2.0])
    weights = np.array([0.5, 0.5]) * mass
    lost = (1 - mass) * squares.max() + 16 * EPS * float(weights @ squares)
    slack = math.sqrt(weights[1] * 5) * 0.01
    cost = 4.0 * mass
    assert found.upper == pytest.approx(
        math.sqrt(cost + abs(cost - 3.9) + lost) + slack, rel=1e-12, abs=0
    )
    lower = 2.0 + moved - 0.1 - lost
    expected = max(math.sqrt(max(lower, 0.0)) - slack, 0.0)
    assert found.lower == pytest.approx(expected, rel=1e-12, abs=0)


def test_an_enclosures_distance_is_its_middle() -> None:
    assert Enclosure(2.0, 3.0).distance()[:2] == (2.5, 0.5)


# the energy


def test_powers_are_sums_of_waves() -> None:
    s, weights = draws(300), np.abs(draws(300, 2)[:, 1])
    found = plane._powers(s, weights, 0.3, 5)
    r = 0.3 * np.arange(1, 26)
    np.testing.assert_allclose(found, np.exp(1j * np.outer(r, s)) @ weights, rtol=1e-11)


def test_chunks_of_nodes_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    s, weights = draws(30), np.abs(draws(30, 2)[:, 1])
    whole = plane._powers(s, weights, 0.3, 3)
    for chunk in (1, 7, 30):
        monkeypatch.setattr(plane, "CHUNK", chunk)
        np.testing.assert_allclose(plane._powers(s, weights, 0.3, 3), whole, rtol=1e-12)


@pytest.mark.parametrize("law", [TURNED, PLAIN])
def test_a_mixtures_characteristic_function(law: GaussianMixture) -> None:
    """``sum w exp(i r <e, alpha m> - r^2 (alpha^2 <e, C e> + sigma^2) / 2)``."""
    e, r = np.array([0.6, -0.8]), np.array([0.0, 0.3, 1.1, 4.0])
    found = plane._characteristic(plane.Ideal(law, LEVEL), e, r)
    expected = 0.0
    for w, m, c in zip(law.weights, law.means, law.covariances, strict=True):
        full = c if c.ndim == 2 else np.diag(c)
        variance = 0.64 * e @ full @ e + 0.36
        expected = expected + w * np.exp(1j * r * 0.8 * (e @ m) - 0.5 * r**2 * variance)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("count", [8, 9, 13])
def test_a_rays_integral_is_the_trapezoidal_sum(count: int) -> None:
    """Half of the squared shift at 0, and the tail from the mean of the last quarter."""
    cloud = plane.Cloud(np.abs(draws(50)) / 40, draws(50, 2))
    ideal, angle, step = plane.Ideal(TURNED, LEVEL), 0.7, 0.4
    found = plane._line(cloud, ideal, angle, step, count)
    e = np.array([math.cos(angle), math.sin(angle)])
    r = step * np.arange(1, count + 1)
    own = np.exp(1j * np.outer(r, cloud.states @ e)) @ cloud.weights
    squares = np.abs(own - plane._characteristic(ideal, e, r)) ** 2
    shift = cloud.weights @ (cloud.states @ e) - 0.8 * TURNED.weights @ (TURNED.means @ e)
    assert len(found.values) == len(found.tails) == count
    for k in range(1, count + 1):
        value = step * (0.5 * shift**2 + sum(squares[:k] / r[:k] ** 2))
        assert found.values[k - 1] == pytest.approx(value, rel=1e-10, abs=0)
        tail = np.mean(squares[(3 * k) // 4 : k]) / r[k - 1]
        assert found.tails[k - 1] == pytest.approx(tail, rel=1e-10, abs=0)


def test_a_width_is_the_diagonal_of_a_box_about_both_laws() -> None:
    """8.5 deviations of each component's coordinates about its mean, and the nodes."""
    law = GaussianMixture([0.5, 0.5], [[-1.0, 0.0], [2.0, 1.0]], [[1.0, 0.25], [0.3, 1.0]])
    spread = 8.5 * np.sqrt(0.64 * np.array([[1.0, 0.25], [0.3, 1.0]]) + 0.36)
    centers = 0.8 * law.means
    low, high = (centers - spread).min(axis=0), (centers + spread).max(axis=0)
    inside = plane.Cloud(np.ones(2), np.array([[0.0, 0.0], [1.0, 1.0]]))
    ideal = plane.Ideal(law, LEVEL)
    assert plane._width([inside], ideal) == pytest.approx(
        np.linalg.norm(high - low), rel=1e-6, abs=0
    )
    outside = plane.Cloud(np.ones(2), np.array([[0.0, -40.0], [90.0, 1.0]]))
    low[1], high[0] = -40.0, 90.0
    assert plane._width([inside, outside], ideal) == pytest.approx(
        np.linalg.norm(high - low), rel=1e-6, abs=0
    )


def test_radii_are_taken_where_tail_and_nodes_move_least(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond 30 radii the coarse nodes go astray; the tail falls as the square of the radius."""
    asked: list[float] = []
    coarse, fine = object(), object()

    def line(cloud: Any, ideal: Any, angle: float, step: float, count: int) -> plane.Line:
        asked.append(angle)
        r = np.arange(1.0, count + 1)
        off = np.where((r > 30) & (cloud is coarse), 1e-3 * (r - 30), 0.0)
        return plane.Line(5.0 - off, 0.4 / r**2)

    monkeypatch.setattr(plane, "_line", line)
    found = plane._radii([coarse, fine], None, 1.0)  # type: ignore[arg-type, list-item]
    r = np.arange(1.0, 1025)
    errors = np.where(r > 30, 1e-3 * (r - 30), 0.0) + 0.4 / r**2
    assert found == 1 + np.argmin(errors)
    np.testing.assert_allclose(sorted(set(asked)), np.pi * (np.arange(4) + 0.3) / 4)
    assert len(asked) == 8  # 64 radii suffice

    def flat(cloud: Any, ideal: Any, angle: float, step: float, count: int) -> plane.Line:
        r = np.arange(1.0, count + 1)
        return plane.Line(5.0 + 0 * r, 1.0 / r)

    monkeypatch.setattr(plane, "_line", flat)
    assert plane._radii([coarse, fine], None, 1.0) == 32**2  # type: ignore[arg-type, list-item]

    def early(cloud: Any, ideal: Any, angle: float, step: float, count: int) -> plane.Line:
        r = np.arange(1.0, count + 1)
        return plane.Line(5.0 + (r if cloud is coarse else 0 * r), 0 * r)

    monkeypatch.setattr(plane, "_line", early)
    assert plane._radii([coarse, fine], None, 1.0) == 9  # type: ignore[arg-type, list-item]


@pytest.mark.parametrize("doublings", [1, 3])
def test_an_energys_error_adds_up(doublings: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rays of the finer nodes are worth 2, later ones 2.1, those of the coarse 0.05 less."""
    first = np.broadcast_to(np.diag([3.0, 4.0]), (2, 2, 2))
    z = np.array([[0.0, 0.0], [3.0, 4.0]])

    def starts(level: Any, nodes: int) -> Any:
        weights, error = np.array([0.25, 0.75]), np.array([0.0, 0.01])
        return SimpleNamespace(weights=weights, x=z + nodes, z=z, error=error)

    law: Any = SimpleNamespace(
        base=TURNED, nodes=(8, 12), starts=starts,
        jet=lambda x: SimpleNamespace(value=x, first=first),
    )  # fmt: skip
    monkeypatch.setattr(plane, "_width", lambda clouds, ideal: np.pi)
    monkeypatch.setattr(plane, "_radii", lambda clouds, ideal, step: 9)
    monkeypatch.setattr(plane, "DIRECTIONS", tuple(16 * 2**k for k in range(doublings)))
    seen: dict[float, int] = {}

    def line(cloud: Any, ideal: Any, angle: float, step: float, count: int) -> plane.Line:
        assert (step, count) == (2.0, 9)
        fine = cloud.states[0, 0] == 12
        if fine:
            seen[angle] = seen.get(angle, 0) + 1
        late = not np.isclose(angle * 16 / np.pi % 1, 0.0, atol=1e-9) and not np.isclose(
            angle * 16 / np.pi % 1, 1.0, atol=1e-9
        )
        value = 2.0 + 0.1 * late - 0.05 * (not fine)
        return plane.Line(np.array([9.0, value]), np.array([9.0, 0.003 if fine else 7.0]))

    monkeypatch.setattr(plane, "_line", line)
    found = plane.energy(law, TURNED, LEVEL)
    shares = [0.0, 0.5, 0.75][:doublings]  # of the directions that are new since the first set
    values = [2.0 + 0.1 * share for share in shares]
    assert found.value == pytest.approx(values[-1], rel=1e-6, abs=0)
    assert set(seen.values()) == {1}
    count = 16 * 2 ** (doublings - 1)
    np.testing.assert_allclose(sorted(seen), np.pi * np.arange(count) / count)
    slack = 4 * 0.75 * 5.0 * 0.01
    rounding = 16 * EPS * math.sqrt(values[-1] / 2.0)
    moved = abs(values[-1] - values[-2]) if doublings > 1 else np.inf
    assert found.error == pytest.approx(0.05 + moved + slack + 0.003 + rounding, rel=1e-12, abs=0)
