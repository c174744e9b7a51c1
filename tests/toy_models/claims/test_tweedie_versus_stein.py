"""The gap between two coefficients, integrated for all sizes of a shift at once."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from analytic.quadrature import expect
from steinlab.claims.coefficient.foreign_denoiser import Shifts
from steinlab.coefficient.step_terms import Problem
from steinlab.solvers import SOLVERS
from toy_models.claims import tweedie_versus_stein as claim


@pytest.mark.parametrize("family", claim.FAMILIES)
@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_sizes_at_once_are_sizes_one_by_one(family: str, solver: str) -> None:
    case = Shifts(family, solver, 5, claim.SIZES)
    together, (s, t) = claim.measure(case), case.levels()
    problem = Problem(case.model(), s, t, SOLVERS[solver], None)
    for i in range(len(case)):
        states = case.tests().take(i)
        found = expect(partial(claim._terms, problem=problem, states=states), states, s)
        stein, tweedie, along, power = found.value[0, :4]
        assert together.gap[i] == pytest.approx((stein - tweedie) / power, rel=1e-12, abs=1e-14)
        assert together.along[i] == pytest.approx(along / power, rel=1e-12)
    assert np.all(together.error > 0)
