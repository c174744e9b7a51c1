"""What is claimed of every law, tried on bounded, thin, discrete and heavy-tailed ones.

Theorem 4.7 and Stein's identity hold for any field under the forward coupling; Tweedie's formula
for the law's own denoiser. The claims try mixtures; this tries the others, sampled, at the level of
a sampled check of the ledger.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import steinlab as sl
from analytic import NoiseLevel
from analytic.memory import remembering
from steinlab.coefficient.divergence import Exact
from steinlab.coefficient.formulas import stein_numerator, tweedie_numerator
from steinlab.coefficient.routes import coupled_step
from steinlab.diffusion.guidance import guided
from steinlab.diffusion.laws import OTHER_LAWS, load_law
from steinlab.experiments.bench import flow_ends
from steinlab.solvers import get_solver
from steinlab.solvers.step import inner
from steinlab.verification.significance import Mean, critical

STATES = 4000
LEVELS = [
    (NoiseLevel(0.9, 0.7), NoiseLevel(1.0, 0.2)),
    (NoiseLevel(0.2, 0.98), NoiseLevel(0.6, 0.8)),
    (NoiseLevel(1.0, 4.0), NoiseLevel(1.0, 0.0)),
    (NoiseLevel(1.0, 0.05), NoiseLevel(1.0, 0.01)),
]


def gaps(law: Any, denoiser: Any, solver: str, numerators: str) -> list[float]:
    """Return how far the mean difference of both sides is from 0, over its limit, per step."""
    out = []
    for k, (s, t) in enumerate(LEVELS):
        if t.sigma == 0 and not get_solver(solver).ends_at_zero:
            continue
        rng = np.random.default_rng(k)
        x_star = law.sample(STATES, rng)
        one = get_solver(solver)
        step = coupled_step(remembering(denoiser), one, (s, t, ()), x_star, rng)
        u = step.candidate.residual
        if numerators == "stein":
            own = stein_numerator(step.x, u, Exact()(step, rng), s)
        else:
            own = tweedie_numerator(step.x, u, step.candidate.denoised)
        mean = Mean.of((inner(step.x - x_star, u) - own)[None])
        out.append(float((np.abs(mean.value) / mean.limit(mean.value, len(LEVELS)))[0]))
    return out


@pytest.mark.parametrize("name", OTHER_LAWS)
@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp-2s"])
@pytest.mark.parametrize("route", ["stein", "tweedie"])
def test_both_routes_give_the_optimum(name: str, solver: str, route: str) -> None:
    law = load_law(name)
    assert max(gaps(law, law, solver, route)) < 1


@pytest.mark.parametrize("name", ["box-2", "circle-2", "atoms-2"])
def test_a_foreign_denoiser_breaks_tweedies_route_alone(name: str) -> None:
    """The control: guided by another law, and the same states."""
    law = load_law(name)
    other = load_law("ring-2")
    field = guided(law, other, 3.0)
    assert max(gaps(law, field, "euler", "stein")) < 1
    assert max(gaps(law, field, "euler", "tweedie")) > 2


# a third of this file's time is the integral over the heavy tail, which the sampled test has too
HEAVY = [pytest.param(n, marks=[pytest.mark.slow] * (n == "student-1")) for n in OTHER_LAWS]


@pytest.mark.parametrize("name", HEAVY)
def test_three_routes_side_by_side(name: str) -> None:
    found = sl.coefficients(load_law(name), *LEVELS[0], "euler", samples=STATES)
    assert {"reference", "stein", "tweedie"} <= set(found)
    limit = critical(len(OTHER_LAWS) * 2)
    for route in ("stein", "tweedie"):
        spread = np.hypot(found[route].error, found["reference"].error)
        assert abs(found[route].value - found["reference"].value) <= limit * spread


class Bare:
    """A law without derivatives, mean or score: uniform on a box, by our denoiser."""

    dim = 2
    law: Any = load_law("box-2")

    def __call__(self, x: Any, level: Any) -> Any:
        return self.law(x, level)

    def sample(self, n: int, rng: Any) -> Any:
        return self.law.sample(n, rng)


def test_a_bare_law_has_the_routes_that_need_no_derivative() -> None:
    found = sl.coefficients(Bare(), *LEVELS[0], "euler", samples=500)
    assert set(found) == {"reference", "tweedie"}
    whole = sl.coefficients(load_law("box-2"), *LEVELS[0], "euler", samples=500)
    assert {route: found[route] for route in found} == {route: whole[route] for route in found}


def test_the_flow_of_a_bare_law_is_that_of_the_law() -> None:
    law, s, t = load_law("box-2"), NoiseLevel(1.0, 5.0), NoiseLevel(1.0, 0.0)
    x = s.noised(law.sample(20, np.random.default_rng(0)), np.random.default_rng(1))
    (ends, error), (own, _) = flow_ends(Bare(), x, s, t), flow_ends(law, x, s, t)
    np.testing.assert_allclose(ends, own, atol=5e-4)
    assert np.all(error < 1e-2)
    assert np.all(np.abs(ends - law.mean()) <= [1.0, 1.0] + error[:, None])


def test_where_the_flow_of_thin_laws_ends() -> None:
    """On the circle the flow is radial; atoms take what is nearest to them in the end."""
    s, zero = NoiseLevel(1.0, 3.0), NoiseLevel(1.0, 0.0)
    rng = np.random.default_rng(2)
    circle = load_law("circle-2")
    x = s.noised(circle.sample(50, rng), rng)
    ends, _ = flow_ends(circle, x, s, zero)
    off = x - [0.5, 0.0]
    np.testing.assert_allclose(
        ends, [0.5, 0.0] + 1.5 * off / np.linalg.norm(off, axis=1)[:, None], atol=1e-3
    )
    atoms = load_law("atoms-2")
    ends, error = flow_ends(atoms, s.noised(atoms.sample(50, rng), rng), s, zero)
    nearest = np.linalg.norm(ends[:, None] - atoms.data, axis=-1).min(axis=1)  # type: ignore[attr-defined]
    assert np.all(nearest <= error + 1e-9)
