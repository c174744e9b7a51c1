"""A scale a subspace: both defects vanish, each scale is found, in 1-D it is law matching."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from steinlab.corrections import LawMatched, LawMatchedSubspaces
from steinlab.corrections.subspaces import defects, wide
from steinlab.solvers import EULER, Candidate
from steinlab.solvers.step import Step
from tests.steinlab.solvers.cases import Counted

S, T = NoiseLevel(1.0, 1.5), NoiseLevel(1.0, 0.5)
SPECTRUM = np.array([[4.0, 3.0, 0.02, 0.01, 0.01]])
LONG = GaussianMixture([1.0], np.zeros((1, 5)), SPECTRUM)


def forward(law: GaussianMixture, level: NoiseLevel, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(law.sample(n, rng) + level.sigma * rng.standard_normal((n, law.dim)))


def step_at(state: np.ndarray, law: Any = LONG, denoiser: Any = None) -> Step:
    x = forward(law, S, len(state), seed=4)
    candidate = Candidate(state, x - state, law(x, S), None, 1)
    return Step(denoiser or law, EULER, x, S, T, (), candidate)


def test_the_wide_subspace_is_found() -> None:
    basis = wide(LONG(forward(LONG, S, 4000), S))
    assert basis.shape == (2, 5)
    np.testing.assert_allclose(basis @ basis.T, np.eye(2), atol=1e-12)
    assert np.abs(basis[:, 2:]).max() < 0.05


def test_a_direction_counts_by_its_variance() -> None:
    ten, two = np.array([[10.0, 0.0], [-10.0, 0.0]]), np.array([[0.0, 2.0], [0.0, -2.0]])
    assert wide(np.concatenate([ten, two])).shape == (1, 2)  # 100 of 104, as deviations 10 of 12
    assert wide(np.concatenate([ten, 2 * two])).shape == (2, 2)


def test_each_subspace_is_scaled_back_by_its_own_factor() -> None:
    state = forward(LONG, T, 6000)
    off = state * np.array([1.1, 1.1, 0.85, 0.85, 0.85])
    step = step_at(off)
    out, done = LawMatchedSubspaces(states=6000)(step, np.random.default_rng(0))
    ratio = out.std(axis=0) / state.std(axis=0)
    np.testing.assert_allclose(ratio, 1.0, atol=0.04)
    basis = wide(step.candidate.denoised)
    before, errors = defects(step, off, basis)
    after, _ = defects(step, out, basis)
    assert np.all(np.abs(before) > 3 * errors)
    assert np.all(np.abs(after) < errors)
    assert "wide subspace (2 axes)" in done.note
    one, _ = LawMatched(part="state", states=6000)(step, np.random.default_rng(0))
    assert np.abs(one.std(axis=0) / state.std(axis=0) - 1).max() > 0.1  # one scale cannot


def test_one_dimension_is_law_matching_of_the_state() -> None:
    law = GaussianMixture([0.4, 0.6], [-1.0, 1.5], [0.3, 0.5])
    step = step_at(1.2 * forward(law, T, 500), law)
    rng = np.random.default_rng(0)
    ours, theirs = LawMatchedSubspaces()(step, rng)[0], LawMatched(part="state")(step, rng)[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10)


def test_the_solver_keeps_its_coefficient() -> None:
    off, exact = step_at(1.2 * forward(LONG, T, 400)), step_at(forward(LONG, T, 400))
    clean = Step(LONG, EULER, off.x, S, NoiseLevel(1.0, 0.0), (), off.candidate)
    for step, said in ((off, "scales"), (exact, "within their errors"), (clean, "declined")):
        done = LawMatchedSubspaces(significance=6.0)(step, np.random.default_rng(0))[1]
        assert said in done.note
        assert done.gamma == 1.0


def test_evaluations_are_counted_and_bad_options_named() -> None:
    counted = Counted(LONG)
    step = step_at(1.2 * forward(LONG, T, 400), denoiser=counted)
    _, done = LawMatchedSubspaces(states=100)(step, np.random.default_rng(0))
    assert done.evaluations == pytest.approx(counted.calls / 4)
    exact = step_at(forward(LONG, T, 400))
    state, done = LawMatchedSubspaces(significance=6.0)(exact, np.random.default_rng(0))
    assert state is exact.candidate.state
    assert done.note.startswith("declined")
    assert done.evaluations == 1.0
    with pytest.raises(ValueError, match="states must be >= 3, got 2"):
        LawMatchedSubspaces(states=2)
