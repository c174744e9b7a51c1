"""Law matching: its equation is solved, it is neutral, it declines, it counts what it spends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from analytic import NoiseLevel
from steinlab.corrections import LawMatched, stein_lookahead
from steinlab.corrections.directions import DIRECTIONS
from steinlab.corrections.law_matched import LARGEST, Secants, defect, measured_defect, secants
from steinlab.errors import InputError
from steinlab.solvers import EULER, Candidate, get_solver
from steinlab.solvers.step import Step
from tests.steinlab.solvers.cases import PLANE, Counted

S, T = NoiseLevel(0.5, 0.8), NoiseLevel(0.9, 0.4)
RNG = np.random.default_rng(0)


def forward(level: NoiseLevel, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(level.noised(PLANE.sample(n, rng), rng))


def step_at(state: Any, denoiser: Any = PLANE, t: NoiseLevel = T) -> Step:
    """A step whose candidate is given."""
    x = forward(S, len(state), seed=9)
    denoised = PLANE(x, S)
    if not isinstance(state, np.ndarray):
        x, denoised = torch.as_tensor(x), torch.as_tensor(denoised)
    return Step(denoiser, EULER, x, S, t, (), Candidate(state, x - state, denoised, None, 1))


@pytest.mark.parametrize("part", ["state", "noise"])
def test_the_defect_ends_at_its_target(part: str) -> None:
    state = 1.2 * forward(T, 400)
    step = step_at(state)
    out, done = LawMatched(part=part, states=400)(step, RNG)
    before, after = defect(PLANE, state, T), defect(PLANE, out, T)
    assert before.value > 4 * before.error
    assert abs(after.value) <= 0.1 * before.error
    assert set(done.move) == {part}
    np.testing.assert_allclose(out, state + done.move[part] * DIRECTIONS[part](step), atol=1e-13)


SCALES = (0.3, 0.8, 1.0, 1.02, 1.25, 3.0, np.nan)
"""Of batches: clipped, matched, as they are, and one that is no number."""


@pytest.mark.parametrize("significance", [0.0, 2.0])
@pytest.mark.parametrize("part", ["state", "noise"])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_a_stack_is_matched_batch_by_batch(part: str, kind: Any, significance: float) -> None:
    batches = [scale * forward(T, 300, seed) for seed, scale in enumerate(SCALES)]
    alone = [secants(step_at(kind(b)), part, 0.1, significance) for b in batches]
    x = np.stack([forward(S, 300, seed=9)] * len(batches))
    x, state = kind(x), kind(np.stack(batches))
    candidate = Candidate(state, x - state, kind(PLANE(np.asarray(x), S)), None, 1)
    found = secants(Step(PLANE, EULER, x, S, T, (), candidate), part, 0.1, significance)
    for name in Secants._fields:
        one_by_one = np.concatenate([getattr(one, name) for one in alone])
        np.testing.assert_allclose(getattr(found, name), one_by_one, rtol=1e-9, err_msg=name)
    assert len(set(found.trials.tolist())) > 1  # some end before others


def test_a_scaled_law_is_scaled_back() -> None:
    state = forward(T, 20_000)
    for scale in (0.8, 1.25):
        out, done = LawMatched(part="state", states=20_000)(step_at(scale * state), RNG)
        assert done.estimate is not None
        assert abs(1 + done.move["state"] - 1 / scale) < 5 * done.estimate.error < 0.1
        assert abs(out.std() / state.std() - 1) < 0.05


def test_neutral_for_exact_states() -> None:
    """Twenty batches under the exact law: most decline, and no move is beyond its own error."""
    declined = 0
    for seed in range(20):
        _, done = LawMatched(part="state", states=500)(step_at(forward(T, 500, seed + 1)), RNG)
        declined += done.note.startswith("declined")
        if done.move:
            assert done.estimate is not None
            assert abs(done.move["state"]) < 4.5 * done.estimate.error
    assert declined >= 8


def test_it_declines_with_the_reason() -> None:
    state = forward(T, 200)
    clean = step_at(state, t=NoiseLevel(1.0, 0.0))
    for step, words in ((clean, "zero noise"), (step_at(state[:1]), "at least 2")):
        out, done = LawMatched()(step, RNG)
        assert out is step.candidate.state
        assert words in done.note
        assert (done.move, done.evaluations) == ({}, 0.0)
    out, done = LawMatched(significance=1e9)(step_at(1.2 * state), RNG)
    assert "within its standard error" in done.note
    assert done.evaluations == 1.0


def test_no_move_exceeds_the_largest_and_the_note_says_so() -> None:
    _, done = LawMatched(part="state")(step_at(0.2 * forward(T, 400)), RNG)
    assert abs(done.move.get("state", 0.0)) <= LARGEST


def test_every_evaluation_is_counted() -> None:
    counted = Counted(PLANE)
    _, done = LawMatched(states=50)(step_at(1.2 * forward(T, 200), counted), RNG)
    assert counted.calls >= 2
    assert done.evaluations == pytest.approx(counted.calls * 50 / 200)


def test_it_can_match_a_denoisers_own_defect() -> None:
    """A denoiser that is off by a factor violates the identity on its own law: leave it alone."""

    def off(x: Any, level: NoiseLevel) -> Any:
        return 0.8 * PLANE(x, level)

    state = forward(T, 2000)
    target = measured_defect(off, PLANE.sample(20_000, np.random.default_rng(5)))
    assert target(T) > 0.1
    moved = LawMatched(part="state", states=2000)(step_at(state, off), RNG)[1]
    left = LawMatched(part="state", states=2000, target=target)(step_at(state, off), RNG)[1]
    assert abs(moved.move["state"]) > 0.03
    assert abs(left.move.get("state", 0.0)) < 0.02


def test_the_part_follows_the_noise_level() -> None:
    loud, quiet = NoiseLevel(1.0, 5.0), NoiseLevel(1.0, 0.02)
    for level, part in ((loud, "state"), (quiet, "noise")):
        state = 1.2 * forward(level, 300)
        assert LawMatched()._part(step_at(state, t=level)) == part


def test_bad_options_are_named() -> None:
    with pytest.raises(InputError, match="part must be one of auto, state, noise"):
        LawMatched(part="all")
    with pytest.raises(ValueError, match="states must be >= 2, got 1"):
        LawMatched(states=1)
    with pytest.raises(ValueError, match="significance must be >= 0, got nan"):
        LawMatched(significance=float("nan"))


def test_torch_agrees() -> None:
    state = 1.2 * forward(T, 300)
    ours, done = LawMatched()(step_at(state), RNG)
    theirs, said = LawMatched()(step_at(torch.as_tensor(state)), RNG)
    np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-9, atol=1e-10)
    assert said.move == pytest.approx(done.move, rel=1e-8)


def test_lookahead_asks_the_denoiser_at_the_candidate() -> None:
    x = forward(S, 300)
    heun = get_solver("heun")
    step = Step.take(PLANE, heun, x, S, T)
    _, done = stein_lookahead(gamma_min=-9.0, states=100)(step, RNG)
    u = step.candidate.residual[:100]
    ahead = PLANE(step.candidate.state[:100], T)
    assert done.gamma == pytest.approx((u * (x[:100] - ahead)).sum() / (u * u).sum(), rel=1e-12)
    assert done.evaluations == pytest.approx(1 / 3)
    end = NoiseLevel(1.0, 0.0)
    last = Step.take(PLANE, EULER, x, S, end)
    assert stein_lookahead()(last, RNG)[1].gamma == pytest.approx(1.0, rel=1e-12)
