"""Distances in the plane against closed forms, one dimension, and an exact transport solver."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.special import ive

from analytic import FlowResult, GaussianMixture, NoiseLevel, exact_flow
from analytic.iterates import distances as line
from analytic.iterates.jets import Jet, identity
from analytic.iterates.line import LineIterate, LineJet
from analytic.iterates.plane import energy
from analytic.iterates.space import SpaceIterate, Starts
from analytic.iterates.transport import Coupled, _envelope, best_potential, wasserstein
from analytic.quadrature import tensor_nodes
from steinlab.diffusion.grids import given_grid
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import SOLVERS
from steinlab.solvers.iterate_laws import line_iterate, space_iterate

HALF = NoiseLevel(1.0, 0.5**0.5)
NORMAL = GaussianMixture([1.0], [[0.0, 0.0]], 0.5)  # N(0, I) at HALF
TARGET = GaussianMixture([1.0], [[0.3, -0.2]], [[[1.2, 0.4], [0.4, 0.5]]])


def linear(matrix: list[list[float]], shift: list[float]) -> SpaceIterate:
    a, b = np.array(matrix), np.array(shift)

    def jet(x: np.ndarray) -> Jet:
        one = identity(x)
        return Jet(x @ a.T + b, a @ one.first, one.second)

    return SpaceIterate(NORMAL, HALF, jet)


MAPS = [
    ([[1.0, 0.0], [0.0, 1.0]], [4.0, 0.0]),
    ([[1.0, 0.0], [0.0, 1.0]], [1e-3, 0.0]),
    ([[2.0, 0.5], [0.5, 1.0]], [0.0, 1.0]),
    ([[0.1, 0.0], [0.0, 3.0]], [-1.0, 0.2]),
    ([[0.4, -1.0], [0.7, 0.2]], [0.0, 0.0]),
]


@pytest.mark.parametrize(("matrix", "shift"), MAPS)
def test_the_energy_is_the_mean_of_its_projections(matrix, shift) -> None:
    """In the plane it is pi/2 times the mean over directions of the projections' distances."""
    found = energy(linear(matrix, shift), TARGET, HALF)
    a, b, parts = np.array(matrix), np.array(shift), []
    for angle in np.pi * np.arange(48) / 48:
        e = np.array([math.cos(angle), math.sin(angle)])
        gain, move = float(np.linalg.norm(a.T @ e)), float(b @ e)
        flat = LineIterate(
            GaussianMixture([1.0], [0.0], 0.5), HALF,
            lambda x, g=gain, m=move: LineJet(g * x + m, g + 0 * x, 0 * x),
        )  # fmt: skip
        mean, variance = TARGET.means[0] @ e, e @ TARGET.covariances[0] @ e
        parts.append(line.energy(flat, GaussianMixture([1.0], [mean], [variance]), HALF).value)
    assert found.value == pytest.approx(0.5 * math.pi * np.mean(parts), abs=found.error + 1e-13)
    thin = np.linalg.svd(a, compute_uv=False).min() < 0.2  # its waves fill a narrow wedge
    assert found.error < (1e-2 if thin else 1e-6) * found.value


def mean_norm(shift: float, variance: float) -> float:
    """``E|N(m, v I)|`` in the plane (Rice)."""
    x = shift**2 / (4 * variance)
    root = math.sqrt(0.5 * math.pi * variance)
    return float(root * ((1 + 2 * x) * ive(0, x) + 2 * x * ive(1, x)))


@pytest.mark.parametrize(("gain", "shift"), [(1.0, 4.0), (1.0, 0.0), (0.1, 1.0), (2.5, 0.5)])
def test_the_energy_of_round_gaussians(gain: float, shift: float) -> None:
    found = energy(linear([[gain, 0.0], [0.0, gain]], [shift, 0.0]), NORMAL, HALF)
    expected = 2 * mean_norm(shift, 1 + gain**2) - mean_norm(0, 2 * gain**2) - mean_norm(0, 2.0)
    assert abs(found.value - expected) <= found.error + 1e-14
    assert found.error < 1e-7


@pytest.mark.parametrize(("matrix", "shift"), MAPS)
def test_gelbrich_and_bures(matrix, shift) -> None:
    """Both bounds enclose Bures' distance; they meet where the coupling is a symmetric map."""
    law, a, b = linear(matrix, shift), np.array(matrix), np.array(shift)
    found = wasserstein(law, HALF)
    own = a @ a.T
    bures = np.trace(own) + 2 - 2 * np.trace(sqrtm(own).real)
    exact = math.sqrt(float(b @ b + bures))
    assert found.lower <= exact <= found.upper
    assert found.lower == pytest.approx(exact, rel=1e-5)
    symmetric = np.allclose(a, a.T) and np.linalg.eigvalsh(a).min() >= 0
    assert (found.upper == pytest.approx(exact, rel=1e-5)) == symmetric


class Product(SpaceIterate):
    """A law of independent coordinates, whose flow is that of its lines: exact and fast."""

    lines: tuple[GaussianMixture, ...]

    def back(self, z: np.ndarray, level: NoiseLevel) -> FlowResult:
        flows = [
            exact_flow(one, z[:, i : i + 1], level, self.level) for i, one in enumerate(self.lines)
        ]
        states = np.concatenate([f.state for f in flows], axis=1)
        return FlowResult(states, np.hypot(*(f.error for f in flows)), "cdf")


def product(law: SpaceIterate, *lines: GaussianMixture) -> SpaceIterate:
    out = Product(law.base, law.level, law.jet, (6, 8))
    object.__setattr__(out, "lines", lines)
    return out


LINE = GaussianMixture([0.3, 0.7], [-2.0, 1.5], [0.09, 0.09])
PLANE = GaussianMixture([0.3, 0.7], [[-2.0, 0.5], [1.5, 0.5]], [0.09, 0.09])
ACROSS = GaussianMixture([1.0], [0.5], [0.09])


@pytest.mark.parametrize(("solver", "steps", "tight"), [("heun", 3, 0.9), ("euler", 1, 0.97)])
def test_a_product_law_has_the_distances_of_its_factors(solver, steps, tight) -> None:
    """Modes in a row: the run splits into one along them and one across, and so does W2^2."""
    grid = given_grid(PROCESSES["edm"], list(np.geomspace(3.0, 0.3, steps + 1)))
    law = product(space_iterate(PLANE, grid, SOLVERS[solver]), LINE, ACROSS)
    parts = [(one, line_iterate(one, grid, SOLVERS[solver])) for one in (LINE, ACROSS)]
    exact = math.hypot(*(line.wasserstein(run, one, grid[-1]).value for one, run in parts))

    found = wasserstein(law, grid[-1])
    assert found.lower <= exact <= found.upper
    assert found.upper == pytest.approx(exact, rel=1e-3)
    assert found.lower > tight * exact
    middle, half = found.distance()[:2]
    assert abs(middle - exact) <= half


def test_the_bounds_enclose_an_exact_solver_on_the_same_nodes() -> None:
    """Duality holds for the discrete law of any rule, and POT solves that exactly."""
    for backend in ("PYTORCH", "JAX", "TENSORFLOW", "CUPY"):
        os.environ.setdefault(f"POT_BACKEND_DISABLE_{backend}", "1")
    import ot

    x, weights = tensor_nodes(PLANE, HALF, nodes=2)
    kept = weights > 1e-7
    x, weights = x[kept], weights[kept] / weights[kept].sum()
    turn = np.array([[0.8, -0.3], [0.2, 0.7]])
    rule = Coupled(weights, x @ turn.T + 0.3 * np.sin(2 * x[:, ::-1]), x)
    costs = ((rule.y[:, None] - rule.z) ** 2).sum(axis=-1)
    exact = ot.emd2(weights, weights, costs, numItermax=10**6)
    lower = 2 * _envelope(best_potential(rule), rule).value
    assert 0.8 * exact < lower <= exact + 1e-12
    assert exact < weights @ np.diag(costs)


def test_only_planes() -> None:
    flat = GaussianMixture([1.0], [0.0], 0.5)
    law = SpaceIterate(flat, HALF, identity)
    with pytest.raises(ValueError, match="law must be two-dimensional, got 1 dimensions"):
        energy(law, NORMAL, HALF)
    with pytest.raises(ValueError, match="target must be two-dimensional, got 1 dimensions"):
        energy(linear(*MAPS[0]), flat, HALF)
    with pytest.raises(ValueError, match="law must be two-dimensional"):
        wasserstein(law, HALF)


class Doubtful(SpaceIterate):
    """A law whose start states are known to 0.01."""

    def starts(self, level: NoiseLevel, nodes: int) -> Starts:
        return super().starts(level, nodes)._replace(error=np.array(0.01))


def test_an_error_of_the_starts_moves_both_bounds_outward() -> None:
    law = linear([[2.0, 0.0], [0.0, 2.0]], [3.0, 0.0])
    plain = wasserstein(law, HALF)
    wide = wasserstein(Doubtful(law.base, law.level, law.jet), HALF)
    slack = 0.01 * math.sqrt(8)  # |diag(2, 2)|
    assert plain.lower - wide.lower == pytest.approx(slack, rel=1e-6)
    assert wide.upper - plain.upper == pytest.approx(slack, rel=1e-6)
