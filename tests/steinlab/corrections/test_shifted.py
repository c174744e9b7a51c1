"""A shift by Fisher's scoring: it finds a shift, its matrix is the Jacobian, solvers need none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from steinlab.corrections import LawMatched, LawMatchedMoments
from steinlab.corrections.shifted import shift
from steinlab.corrections.subspaces import wide
from steinlab.solvers import EULER, Candidate
from steinlab.solvers.step import Step
from tests.steinlab.solvers.cases import PLANE, Counted

S, T = NoiseLevel(1.0, 1.5), NoiseLevel(1.0, 0.5)
RNG = np.random.default_rng(0)


def forward(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(PLANE.sample(n, rng) + T.sigma * rng.standard_normal((n, 2)))


def step_at(state: np.ndarray, denoiser: Any = PLANE, t: NoiseLevel = T) -> Step:
    clean = PLANE.sample(len(state), np.random.default_rng(8))
    return Step(denoiser, EULER, state, S, t, (), Candidate(state, 0 * state, clean, None, 1))


def test_the_matrix_is_the_first_moments_jacobian() -> None:
    """``E[I - alpha grad D]`` by differences against ``E r r' / sigma^2``, under the law."""
    y, e = forward(100_000), np.array([0.6, -0.8])
    h = 1e-4
    ahead, behind = (y + k * h * e - PLANE(y + k * h * e, T) for k in (1, -1))
    slope = (ahead - behind) / (2 * h)
    noise = y - PLANE(y, T)
    terms = noise * (noise @ e)[:, None] / T.sigma**2 - slope
    z = np.sqrt(len(y)) * terms.mean(axis=0) / terms.std(axis=0)
    assert np.abs(z).max() < 4
    assert np.abs(slope.mean(axis=0)).max() > 20 * terms.std(axis=0).max() / np.sqrt(len(y))


def test_one_step_undoes_a_shift() -> None:
    off = np.array([0.03, -0.05])
    found, before = shift(PLANE, forward(100_000) + off, T, np.eye(2))
    np.testing.assert_allclose(found, -off, atol=0.01)
    after = shift(PLANE, forward(100_000) + off + found, T, np.eye(2))[1]
    assert after < 0.05 * before


def test_a_shifted_batch_is_shifted_back() -> None:
    off = np.array([0.3, -0.2])
    state = forward(4000)
    out, done = LawMatchedMoments(states=4000)(step_at(state + off), RNG)
    assert "shifted by" in done.note
    assert np.abs((out - state).mean(axis=0)).max() < 0.1
    alone, _ = LawMatched(states=4000)(step_at(state + off), RNG)
    assert np.abs((alone - state).mean(axis=0)).max() > 0.15


def test_the_shift_is_shrunk_by_its_own_error() -> None:
    state = forward(500) + np.array([0.1, 0.0])
    step = step_at(state)
    out, done = LawMatchedMoments(states=500, shift_significance=0.0)(step, RNG)
    alone, _ = LawMatched(states=500)(step, RNG)
    basis = wide(step.candidate.denoised)
    whole, found = shift(PLANE, alone, T, basis)
    assert "shifted by" in done.note
    share = float((out - alone)[0] @ whole / (whole @ whole))
    assert share == pytest.approx(1 - len(basis) / found, rel=1e-9)
    assert 0.1 < share < 0.97
    assert f"shifted by {np.linalg.norm((out - alone)[0]):.3g}: chi-squared" in done.note


def test_it_scales_where_law_matching_would() -> None:
    """From two errors on, both; a defect of three errors is scaled, one of one is not."""
    assert LawMatchedMoments().significance == LawMatched().significance == 2.0
    assert LawMatchedMoments().shift_significance == 2.0


def test_neutral_for_exact_states() -> None:
    """Twenty batches under the law: the shift is mostly left out, else within its own error."""
    shifted = 0
    for seed in range(20):
        step = step_at(forward(500, seed + 1))
        out, done = LawMatchedMoments(states=500)(step, RNG)
        alone, _ = LawMatched(states=500)(step, RNG)
        shifted += "shifted" in done.note
        assert np.abs((out - alone).mean(axis=0)).max() < 4.5 * np.std(out) / np.sqrt(500)
    assert shifted <= 4


def test_a_linear_step_keeps_the_mean() -> None:
    """Why there is little to find: an Euler step over half of the noise, from states of the law."""
    rng = np.random.default_rng(5)
    law = GaussianMixture([0.3, 0.7], [[-2.0, 0.5], [2.0, -0.2]], [[0.1, 0.1], [0.2, 0.1]])
    x = law.sample(4000, rng) + S.sigma * rng.standard_normal((4000, 2))
    step = Step.take(law, EULER, x, S, T)
    scale, moved = (make(states=4000)(step, rng)[1] for make in (LawMatched, LawMatchedMoments))
    assert scale.move
    assert "shifted" not in moved.note


def test_evaluations_are_counted_and_bad_options_named() -> None:
    counted = Counted(PLANE)
    step = step_at(forward(200) + 0.5, denoiser=counted)
    _, done = LawMatchedMoments(states=50)(step, RNG)
    assert done.evaluations == pytest.approx(counted.calls / 4)
    clean = step_at(forward(200), t=NoiseLevel(1.0, 0.0))
    out, done = LawMatchedMoments()(clean, RNG)
    assert out is clean.candidate.state
    assert done.evaluations == 0.0
    with pytest.raises(ValueError, match="states must be >= 2, got 1"):
        LawMatchedMoments(states=1)
    with pytest.raises(ValueError, match=r"shift_significance must be >= 0, got -1\.0"):
        LawMatchedMoments(shift_significance=-1.0)
