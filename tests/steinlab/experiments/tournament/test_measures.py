"""The tournament's measures: the library's own where it has them, formulas elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analytic import EmpiricalMixture, GaussianMixture
from steinlab.experiments.tournament.measures import (
    MEASURES,
    PROJECTIONS,
    WIDE,
    QuickTruth,
    distances,
)
from steinlab.experiments.tournament.problems import load_problem
from steinlab.metrics import (
    Samples,
    Truth,
    covariance_of,
    energy_distance,
    mode_weights,
    sliced_w2,
)

RNG = np.random.default_rng(5)
TILTED = GaussianMixture(
    [0.2, 0.8], [[-3.0, 0.0], [2.0, 1.0]], [[[1.0, 0.4], [0.4, 0.5]], [[0.2, -0.1], [-0.1, 0.3]]]
)
ROWS = EmpiricalMixture(RNG.standard_normal((7, 3)), 0.3)


def measured(x: np.ndarray, truth: Truth) -> Any:
    return Samples(x, truth).measured(MEASURES)


@pytest.mark.parametrize("name", ["two-1", "few-8", "few-64", "few-512"])
def test_distances_are_the_library_s(name: str) -> None:
    law = load_problem(name).law
    x, y = law.sample(80, RNG) * 1.1, law.sample(80, RNG)
    found = measured(x, QuickTruth(y, law))
    energy = energy_distance(x, y)
    rounding = 1e-13 * np.abs(x).max() * np.sqrt(law.dim)
    assert abs(found["energy_distance"].value - energy.value) < rounding
    assert abs(found["energy_distance"].error - energy.error) < rounding
    sliced = sliced_w2(x, y, num_projections=PROJECTIONS, seed=0).value
    assert found["sliced_w2"].value == pytest.approx(sliced, rel=1e-12)


def test_near_states_keep_their_distance_in_many_dimensions() -> None:
    y = 100 + RNG.standard_normal((5, WIDE))
    found = distances(y, y + 1e-3)
    assert np.diag(found) == pytest.approx(np.full(5, 1e-3 * np.sqrt(WIDE)), rel=1e-6)


@pytest.mark.parametrize("law", [TILTED, ROWS, load_problem("few-8").law])
def test_covariances_are_those_of_samples(law: GaussianMixture | EmpiricalMixture) -> None:
    n = 40_000
    x = law.sample(n, RNG)
    exact, found = covariance_of(law), np.cov(x, rowvar=False)
    centred = x - x.mean(axis=0)
    error = np.std(centred[:, :, None] * centred[:, None, :], axis=0) / np.sqrt(n)
    assert np.all(np.abs(found - exact) < 5 * error)
    assert np.any(np.abs(found - 1.05 * exact) > 5 * error)


def test_true_states_have_the_true_mode_weights() -> None:
    n = 20_000
    x = TILTED.sample(n, RNG)
    assert mode_weights(TILTED, x)[0] == pytest.approx(0.2, abs=5 * np.sqrt(0.16 / n))
    wide = GaussianMixture([0.3, 0.7], [0.0, 1.0], [1.0, 0.2])  # modes that overlap
    assert mode_weights(wide, wide.sample(n, RNG))[0] == pytest.approx(0.3, abs=0.015)
    x = x[:300]
    one = TILTED.means[0] + 0.1 * RNG.standard_normal((300, 2))  # the first mode alone
    known, told = Truth(x, TILTED), Truth(x, named=TILTED)
    assert measured(one, known)["mode_weights"].value == pytest.approx(0.8, abs=0.01)
    assert measured(x, told)["mode_weights"].value == 0.0
    rows = ROWS.sample(9, RNG)
    assert measured(rows[::-1], Truth(rows, ROWS))["mode_weights"] is None


def test_mean_and_covariance_errors_are_relative() -> None:
    x = RNG.standard_normal((50, 2))
    truth = Truth(x, GaussianMixture([1.0], [[0.0, 0.0]], 1.0))
    x = (x - x.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    found = measured(2 * x + [3.0, 0.0], truth)
    assert found["mean"].value == pytest.approx(3 / np.sqrt(2))
    assert found["covariance"].value == pytest.approx(3.0)


def test_a_ratio_has_the_error_of_its_own_cell() -> None:
    """Of runs from one start against one truth: the spread over draws is the error stated."""
    law, floor, ratios, errors = GaussianMixture([1.0], [0.0], 1.0), 0.01, [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        start, sample = rng.standard_normal((2, 100, 1))
        truth = Truth(sample, law)
        plain, moved = (truth.rows(x) for x in (1.0 + start, 0.8 + 1.1 * start))
        ratios.append((moved.distance + floor) / (plain.distance + floor))
        errors.append(moved.ratio_error(plain, ratios[-1]) / (plain.distance + floor))
    spread = np.std(ratios, ddof=1)
    # the standard deviation of 300 draws errs by 4 % itself; first order, so a fifth in all
    assert np.mean(errors) == pytest.approx(spread, rel=0.2)
    unpaired = np.hypot(moved.error, ratios[-1] * plain.error) / (plain.distance + floor)
    assert errors[-1] < 0.5 * unpaired
