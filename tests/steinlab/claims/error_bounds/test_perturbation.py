from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from analytic import GaussianMixture
from steinlab.claims.error_bounds import perturbation_bound, perturbation_bound_in_trap
from steinlab.claims.error_bounds.iterate_cases import IterateCases, draw_runs, measure_iterates
from steinlab.claims.error_bounds.perturbation import (
    PairCases,
    coefficient_bound,
    measure_pairs,
    ratios,
    state_bound,
    vp_step,
)
from steinlab.coefficient.step_terms import Problem
from steinlab.solvers import SOLVERS
from steinlab.verification.judge import effort_for
from tests.steinlab.claims.small import shrink

CLAIMS = (perturbation_bound.CLAIM, perturbation_bound_in_trap.CLAIM)


def gaussian_pair(v: float, w: float, m: float = 0.0) -> PairCases:
    s, t = vp_step(0.6, 0.8, 1)
    laws = [GaussianMixture(np.ones((1, 1)), np.full((1, 1), c), x) for c, x in ((0.0, v), (m, w))]
    return PairCases(Problem(laws[0], s, t, SOLVERS["euler"], None), laws[1])


def test_gaussians_attain_the_bound_with_the_closed_form() -> None:
    data = measure_pairs(gaussian_pair(1.0, 2.5))
    # VP with unit data: p = N(0, 1), q = N(0, 0.36 * 2.5 + 0.64); F = (1 - 1/v)^2 v
    v = 0.36 * 2.5 + 0.64
    assert data.fisher[0] == pytest.approx((1 - 1 / v) ** 2 * v, rel=1e-12)
    assert ratios(data)[0] == pytest.approx(1, rel=1e-12)
    np.testing.assert_allclose(
        state_bound(data), coefficient_bound(data) * np.sqrt(data.power), rtol=1e-14
    )


def test_a_moved_mean_leaves_the_bound_slack() -> None:
    assert ratios(measure_pairs(gaussian_pair(1.0, 1.0, m=1.0)))[0] < 1 - 1e-3


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.id)
def test_cases_round_trip_to_the_last_digit(claim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)
    checks = [*claim.checks, *(d.check for d in claim.dropped)]
    for check in checks:
        batch = check.draw(effort_for(claim.id, check.name, "quick", 0))[0]
        index = len(batch) - 1
        case = json.loads(json.dumps(batch.describe(index)))
        again = check.restore(case)
        replayed = check.compare(check.measure(again), claim.formula)
        whole = check.compare(check.measure(batch), claim.formula)
        places = [i for i in range(len(again)) if again.describe(i) == case]
        assert len(places) == 1, check.name
        for field in ("measured", "predicted"):
            assert getattr(replayed, field)[places[0]] == getattr(whole, field)[index], check.name


def test_the_law_of_a_short_run_is_nearly_the_models() -> None:
    rng = np.random.default_rng(0)
    cases = draw_runs(rng, 3, "heun", "edm", 2, lengths=(0.01, 0.02))
    data = measure_iterates(cases)
    assert np.all(data.fisher < 1e-4)
    assert isinstance(IterateCases.restore(cases.describe(1)), IterateCases)
