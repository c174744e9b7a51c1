"""What the law-matching claim measures, against closed forms and other routes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import brentq

from analytic import NoiseLevel
from steinlab.claims.performance import law_matching_batches as batches
from steinlab.claims.performance import law_matching_change as change
from steinlab.verification.claim import Effort


@pytest.fixture(scope="module")
def stacks() -> list[change.Batches]:
    return change.draw(Effort("quick", np.random.default_rng(3)))


def test_for_gaussian_data_the_root_is_known_and_the_bound_tight(
    stacks: list[change.Batches],
) -> None:
    cases = stacks[0]
    found = change.measure(cases)
    variance = cases.batch.spectra[:, 0, 0]
    alpha, sigma = (value[:, 0, 0] for value in (cases.level.alpha, cases.level.sigma))
    v = alpha**2 * cases.law.spectra[:, 0, 0] + sigma**2
    assert found.moved == pytest.approx(np.abs(v - variance), rel=1e-9)  # s^2 = v / variance
    assert found.defect == pytest.approx(sigma**2 * (variance / v - 1), rel=1e-6)
    assert change.slope(found) == pytest.approx(sigma**2 / v)
    compared = change.compare(found, change.slope)
    assert compared.tightness() == pytest.approx(1.0, rel=1e-9)
    assert not np.any(compared.violated)


def test_the_root_is_that_of_another_route(stacks: list[change.Batches]) -> None:
    cases = change.Batches.restore(json.loads(json.dumps(stacks[2].describe(5))))
    law, batch = cases.law.take(0), cases.batch.take(0)
    level = NoiseLevel(*(float(v[0, 0, 0]) for v in (cases.level.alpha, cases.level.sigma)))
    mean, spread = float(batch.mean()[0]), float(np.sqrt(batch.second_moment()))
    x = np.linspace(mean - 12 * spread, mean + 12 * spread, 20_001)
    weight = np.exp(batch.log_prob(x[:, None], change.CLEAN)) * (x[1] - x[0])

    def defect(s: float) -> float:
        y = mean + s * (x - mean)
        clean = level.alpha * law(y[:, None], level)[:, 0]
        return float(np.sum(weight * s * (x - mean) * (y - clean)) - level.sigma**2)

    root = brentq(defect, 1e-3, 1e3, xtol=1e-14)
    moved = change.measure(cases).moved[0]
    second = float(np.sum(weight * (x - mean) ** 2))
    assert moved == pytest.approx(second * abs(root**2 - 1), rel=1e-8)


def test_the_slope_is_the_least_of_the_posterior(stacks: list[change.Batches]) -> None:
    for cases in stacks[1:]:
        slope = change.slope(change.measure(cases))
        for i in range(len(cases)):
            law = cases.law.take(i)
            level = NoiseLevel(*(float(v[i, 0, 0]) for v in (cases.level.alpha, cases.level.sigma)))
            ends = level.alpha * law.means[:, 0]
            y = np.linspace(ends.min(), ends.max(), 400)[:, None]
            steep = 1 - level.alpha * law.divergence(y, level)
            assert steep.min() >= slope[i] * (1 - 1e-9)
            if len(law.weights) == 2 and law.weights.min() > 0.3:  # both modes at half somewhere
                assert steep.min() < 1.01 * slope[i]


def test_isotropic_gaussians_have_the_closed_variance() -> None:
    data = batches.Roots(np.zeros(2), np.ones(2), 2.0 / 3, 2.0)  # d = 3: Var f = 2 / d
    assert batches.variance(data) == pytest.approx(1 / (2 * 3 * batches.STATES))
    measured = batches.measure_roots(batches.Sampled("Gaussian, 2-D", 2.0, 7))
    # N' differs by axis, but f is a mean of squares of deviation one all the same
    assert measured.terms == pytest.approx(1.0, rel=0.05)
    assert measured.slope == pytest.approx(2.0, rel=0.02)
    assert batches.reported(measured) == pytest.approx(1.0, abs=0.05)


def test_a_moved_batch_satisfies_the_identity_and_no_other_does() -> None:
    case = batches.Sampled("ring, 2-D", 0.5, 3)
    plain, matched, twice = (batches.measure_solved(case, factor=f) for f in (0.0, 1.0, 2.0))
    assert matched.moved
    assert abs(matched.after) < 0.1
    assert abs(plain.after) > 1
    assert plain.after == plain.before == matched.before
    assert twice.after * plain.after < 0
    assert abs(twice.after) > 1
