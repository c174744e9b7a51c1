"""Weak orders and posterior noise: the claims fall with the solver's own formula."""

from __future__ import annotations

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from steinlab.claims.systems.analytic_variance import solver_for
from steinlab.claims.systems.weak_order import ORDERS, Setting, error_of
from steinlab.diffusion.processes import EDM
from steinlab.solvers import STOCHASTIC
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
