"""Weak orders and posterior noise: the claims fall with the solver's own formula."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from steinlab.claims.systems.analytic_variance import solver_for
from steinlab.claims.systems.weak_order import LAW, ORDERS, Setting, error_of
from steinlab.diffusion.processes import EDM
from steinlab.solvers import STOCHASTIC
from steinlab.solvers.gaussian_runs import gaussian_run
from tests.steinlab.claims.small import break_source, judged, shrink

STOCHASTIC_FILE = "steinlab.solvers.stochastic"


def test_every_solver_that_draws_noise_has_its_order_judged() -> None:
    assert {name: solver.order for name, solver in STOCHASTIC.items()} == ORDERS


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("ReverseSde.step", "exp(-(c - b) * h) * path", "path"),
        ("ReverseSde.step", "noise[i]", "noise[0]"),
        ("ReverseSde.step", "decaying_moments(2 * c * h, i + 1)", "decaying_moments(c * h, i + 1)"),
        ("Churn.step", "(g * (2 + g)) ** 0.5", "g"),
    ],
)
def test_a_broken_solver_has_another_order(
    monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str
) -> None:
    """Posterior noise is not among them: without noise it is Euler's step, of order one too."""
    shrink(monkeypatch)
    assert judged("weak-order", "orders")["verdict"] == "holds"
    break_source(monkeypatch, STOCHASTIC_FILE, name, old=old, new=new)
    assert judged("weak-order", "orders")["verdict"] == "refuted"


def test_a_broken_posterior_noise_misses_the_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)
    assert judged("analytic-variance", "cases")["verdict"] == "holds"
    break_source(
        monkeypatch, STOCHASTIC_FILE, "PosteriorNoise.step", old="fresh = (", new="fresh = 0.99 * ("
    )
    assert judged("analytic-variance", "cases")["verdict"] == "refuted"


def test_an_error_by_hand() -> None:
    """One step of ``seeds-1`` on ``N(0, v)``: ``(k^2 + (1 - k^2) a)^2 p + t^2 (1 - k^2)``."""
    case = Setting("seeds-1", "edm", 1.0, np.log(2), 0.0)
    k2, t2, v = 0.25, 0.25, np.array([0.02, 0.3, 1.0, 4.0])
    variance = (k2 + (1 - k2) * v / (v + 1)) ** 2 * (v + 1) + t2 * (1 - k2)
    assert error_of(case, 1) == pytest.approx(np.abs(variance / (v + t2) - 1).max(), rel=1e-12)


def test_from_the_forward_law_the_mean_is_exact() -> None:
    """The order is the variance's alone; the numbers are the page's."""
    levels = [EDM.level_at(ratio) for ratio in np.geomspace(5.0, 0.1, 9)]
    for solver in STOCHASTIC.values():
        if solver.name != "posterior-noise":  # it takes the spread of a batch
            end = gaussian_run(LAW, solver, levels).output
            np.testing.assert_allclose(end.mean, LAW.means[0], rtol=1e-13)
    stated = {"seeds-3": 4.7e-5, "seeds-2": 4.6e-4, "sde-dpmpp-2m": 2.8e-4}
    for name, error in stated.items():
        found = error_of(Setting(name, "edm", 5.0, np.log(50.0), 0.0), 128)
        assert found == pytest.approx(error, rel=0.02), name


@pytest.mark.parametrize(("name", "order"), [("seeds-1", 1), ("seeds-2", 2), ("seeds-3", 2)])
def test_the_orders_are_those_of_two_modes_too(name: str, order: int) -> None:
    """``u(x) = E u(step(x, z))`` backwards from ``x^2``, by quadrature over the step's normals."""
    law = GaussianMixture([0.4, 0.6], [-1.0, 1.5], [0.3, 0.5])
    solver, reach, count = STOCHASTIC[name], 9.0, 160
    roots, mass = np.polynomial.hermite_e.hermegauss(5)
    normals = np.array(list(itertools.product(roots, repeat=solver.noises)))
    weights = np.prod(list(itertools.product(mass / mass.sum(), repeat=solver.noises)), axis=1)
    points = np.polynomial.chebyshev.chebpts1(count)
    fit = np.linalg.inv(np.polynomial.chebyshev.chebvander(points, count - 1))
    x = np.repeat(reach * points, len(weights))[:, None]
    z = [np.tile(column, count)[:, None] for column in normals.T]

    def value(at: np.ndarray, found: np.ndarray) -> np.ndarray:
        return np.polynomial.chebyshev.chebval(np.clip(at / reach, -1, 1), fit @ found)

    def error(steps: int) -> float:
        levels = [EDM.level_at(ratio) for ratio in np.geomspace(1.0, 0.3, steps + 1)]
        found = (reach * points) ** 2
        for s, t in reversed(list(itertools.pairwise(levels))):
            ends = solver.step(law, x, s, t, (), noise=tuple(z)).state.ravel()
            found = value(ends, found).reshape(count, -1) @ weights
        nodes, p = np.polynomial.hermite_e.hermegauss(60)
        starts = law.means + np.sqrt(law.spectra + levels[0].sigma ** 2) * nodes
        mean = float(law.weights @ (value(starts, found) @ (p / p.sum())))
        return abs(mean - float(law.variance() + law.mean()[0] ** 2) - levels[-1].sigma ** 2)

    assert np.log2(error(16) / error(32)) == pytest.approx(order, abs=0.3)


def test_two_moments_of_a_mixture_in_the_plane() -> None:
    """Total variance, by quadrature over the components: several dimensions, off the line."""
    law = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [1.0, -0.2]], [[0.2, 0.4], [0.3, 0.1]])
    s, t = NoiseLevel(1.0, 0.8), EDM.level_at(0.3)
    nodes, mass = np.polynomial.hermite_e.hermegauss(60)
    plane = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    weights = np.outer(mass, mass).ravel() / (2 * np.pi)
    x = np.concatenate(
        [m + np.sqrt(v + s.sigma**2) * plane for m, v in zip(law.means, law.spectra, strict=True)]
    )
    p = np.concatenate([w * weights for w in law.weights])
    variance = s.sigma**2 - p @ ((x - law(x, s)) ** 2).sum(axis=1) / 2
    solver = solver_for(float(variance), float(s.ratio))
    ends = [solver.step(law, x, s, t, (), noise=(z * np.ones_like(x),)).state for z in (-1.0, 1.0)]
    mean = p @ (ends[0] + ends[1]) / 2
    np.testing.assert_allclose(mean, law.mean(), rtol=1e-9)
    total = sum(p @ ((end - mean) ** 2).sum(axis=1) for end in ends) / 2
    assert total == pytest.approx(float(law.variance()) + 2 * t.sigma**2, rel=1e-9)
