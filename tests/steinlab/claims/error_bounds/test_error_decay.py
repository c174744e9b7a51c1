"""The decay of the mean-square error by hand, and a run against a plain loop."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from steinlab.claims.coefficient.optimal_coefficient import settled
from steinlab.claims.error_bounds import error_decay as decay
from steinlab.claims.instruments.linear_forms import Measured
from steinlab.claims.instruments.random_steps import draw_law
from steinlab.coefficient.step_terms import Integrated, Terms
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import SOLVERS
from tests.steinlab.claims.gaussians import UNIT


def terms(count: int = 5, seed: int = 0, **changes: Any) -> Terms:
    """Terms of ``E|x - gamma u - x_star|^2``, a parabola with the given three numbers."""
    rng = np.random.default_rng(seed)
    parts = {name: rng.uniform(0.5, 2.0, count) for name in Terms.names()}
    parts["u_ref"] = rng.uniform(-0.4, 0.4, count)
    parts |= changes
    parts["gap"] = parts["err"] - 2 * parts["u_ref"] + parts["u_u"]
    parts["mirror"] = parts["err"] + 2 * parts["u_ref"] + parts["u_u"]
    return Terms(**parts)


def measured(size: float, error: float, **changes: Any) -> Measured:
    value = terms(**changes)
    rng = np.random.default_rng(7)
    parts = [Terms(*(rng.uniform(0.5, 1.5, 5) * s for _ in Terms.names())) for s in (size, error)]
    return Measured(np.ones(5), np.ones(5), Integrated(value, *parts))


def test_rho_is_the_squared_correlation() -> None:
    rng = np.random.default_rng(0)
    u, off = rng.standard_normal((2, 40))
    zero = np.zeros(1)
    means = [np.array([(a * b).mean()]) for a, b in ((u, u), (u, off), (off, off))]
    whole = Terms(zero, zero, means[0], means[1], zero, means[2], zero, zero, zero)
    cosine = (u @ off) / np.linalg.norm(u) / np.linalg.norm(off)
    assert decay.rho(whole)[0] == pytest.approx(cosine**2, rel=1e-13, abs=0)
    assert decay.lowest(np.array([[0.3, 0.1, 0.2], [0.5, 0.9, 0.4]])).tolist() == [0.1, 0.4]


@pytest.mark.parametrize("error", [1e-6, 1.0])
def test_one_steps_decay_by_hand(error: float) -> None:
    data = measured(1.0 / UNIT * error, error, u_u=np.array([0.2, 1.0, 1.5, 2.0, 90.0]))
    got = decay.compare_step(data, decay.Formula(decay.rho, decay.lowest))
    value, slip = settled(data)
    np.testing.assert_array_equal(got.scale, np.ones(5))
    decided = 0
    for i in range(5):
        part, own = ({n: float(getattr(v, n)[i]) for n in Terms.names()} for v in (value, slip))
        rho = part["u_ref"] ** 2 / (part["u_u"] * part["err"])
        assert got.measured[i] == pytest.approx(1 - rho, rel=1e-9, abs=0)
        assert got.predicted[i] == pytest.approx(1 - rho, rel=1e-13, abs=0)
        slope, bend = 4 * part["u_ref"], 2 * part["u_u"]
        slope_error = own["mirror"] + own["gap"]
        bend_error = slope_error + 2 * own["err"]
        if bend <= bend_error:
            assert got.tolerance[i] == np.inf
            continue
        decided += 1
        most = (abs(slope) + slope_error) ** 2 / (8 * (bend - bend_error) * part["err"])
        expected = most - rho + rho * own["err"] / part["err"]
        expected += 2 * abs(part["u_ref"]) * own["u_ref"] / (part["u_u"] * part["err"])
        expected += rho * (own["u_u"] / part["u_u"] + 2 * own["err"] / part["err"]) + UNIT
        assert got.tolerance[i] == pytest.approx(expected, rel=1e-7, abs=0)
    assert decided == (5 if error < 1 else 1)


def test_one_steps_decay_without_any_error_is_known_to_rounding() -> None:
    data = measured(0.0, 0.0)
    assert isinstance(data.terms, Integrated)
    value = data.terms.value
    got = decay.compare_step(data, decay.CLAIM.formula)
    assert np.all(got.tolerance >= UNIT)
    own = decay.compare_range(data, decay.CLAIM.formula)
    assert own.upper
    np.testing.assert_allclose(own.measured, decay.rho(value), rtol=1e-14)
    np.testing.assert_array_equal(own.predicted, np.ones(5))


def test_range_of_rho_and_its_tolerance() -> None:
    data = measured(1e-3 / UNIT, 1e-3, u_ref=np.array([-0.3, 0.0, 0.2, 1e-5, 0.4]))
    got = decay.compare_range(data, decay.CLAIM.formula)
    value, slip = settled(data)
    for i in range(5):
        part, own = ({n: float(getattr(v, n)[i]) for n in Terms.names()} for v in (value, slip))
        rho = part["u_ref"] ** 2 / (part["u_u"] * part["err"])
        # 2 |u_ref| delta, not 2 delta / |u_ref| of nothing
        expected = 2 * abs(part["u_ref"]) * own["u_ref"] / (part["u_u"] * part["err"])
        expected += rho * (own["u_u"] / part["u_u"] + own["err"] / part["err"])
        assert got.tolerance[i] == pytest.approx(expected, rel=1e-12, abs=0)
        assert got.measured[i] == pytest.approx(rho, rel=1e-14, abs=0)


def run_of(factors: list[float], *, off: float = 0.0) -> decay.Decay:
    """A finished run with the given ``rho``, whose end is off the product by a share ``off``."""
    share = np.array([factors])
    one = np.ones_like(share)
    whole = Terms(one, one, one, np.sqrt(share), one, one, one, one, one)
    return decay.Decay(whole, 4.0, 4.0 * float((1 - share).prod()) * (1 + off), 9.0)


@pytest.mark.parametrize("factors", [[0.3], [0.3, 0.5], [0.1, 0.9, 0.25]])
def test_a_runs_product_and_bound_by_hand(factors: list[float]) -> None:
    run = run_of(factors, off=1e-3)
    product = math.prod(1 - f for f in factors)
    got = decay.compare_product(run, decay.CLAIM.formula)
    assert got.measured[0] == pytest.approx(product * 1.001, rel=1e-14, abs=0)
    assert got.predicted[0] == pytest.approx(product, rel=1e-14, abs=0)
    assert got.scale is not None
    assert got.scale[0] == got.measured[0]
    slip = math.sqrt(9.0 * run.end) / 4.0 + run.end / 4.0
    assert got.tolerance[0] == pytest.approx(UNIT * len(factors) * (1 + slip), rel=1e-13, abs=0)
    bound = decay.compare_bound(run, decay.CLAIM.formula)
    assert bound.upper
    assert bound.measured[0] == pytest.approx(product, rel=1e-14, abs=0)
    above = (1 - min(factors)) ** len(factors)
    assert bound.predicted[0] == pytest.approx(above, rel=1e-14, abs=0)
    assert bound.tolerance[0] == pytest.approx(
        UNIT * len(factors) * (product + above), rel=1e-13, abs=0
    )


def test_a_run_is_the_solver_with_the_batchs_own_coefficient() -> None:
    run = decay.Run("vp-linear", "karras", 4, "euler", "random", 11)
    got = decay.measure_run(run)
    rng = np.random.default_rng(11)
    law = draw_law(rng, 1, 3, 6, "full").take(0)
    grid = make_grid(PROCESSES["vp-linear"], "karras", 4)
    star = law.sample(256, rng)
    x = grid[0].noised(star, rng)
    sizes = [(v**2).sum(axis=1).mean() for v in (x, star)]
    assert got.size == pytest.approx(max(sizes), rel=1e-14, abs=0)
    errors = [((x - star) ** 2).sum(axis=1).mean()]
    for k, (s, t) in enumerate(itertools.pairwise(grid)):
        u = np.asarray(SOLVERS["euler"].step(law, x, s, t, ()).residual)
        means = ((u**2).sum(axis=1).mean(), (u * (x - star)).sum(axis=1).mean(), errors[-1])
        for name, mean in zip(("u_u", "u_ref", "err"), means, strict=True):
            assert getattr(got.terms, name)[0, k] == pytest.approx(mean, rel=1e-10, abs=0)
        for name in ("u_x", "div", "u_tweedie", "gap", "mirror", "x_x"):  # not met
            assert getattr(got.terms, name)[0, k] == 0
        x = x - means[1] / means[0] * u
        errors.append(((x - star) ** 2).sum(axis=1).mean())
    assert got.start == pytest.approx(errors[0], rel=1e-13, abs=0)
    assert got.end == pytest.approx(errors[-1], rel=1e-10, abs=0)
    assert got.terms.u_u.shape == (1, 4)


def test_a_run_on_the_digits() -> None:
    got = decay.measure_run(decay.Run("edm", "karras", 2, "euler", "digits", 3))
    assert got.end < 0.2 * got.start
    assert got.size > 80**2 * 32  # the start's noise, not a random law of dimension 6
