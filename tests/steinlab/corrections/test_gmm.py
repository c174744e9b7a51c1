"""Several moments, several coefficients: what one scale cannot mend, and when nothing is moved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from analytic import GaussianMixture, NoiseLevel
from steinlab.corrections import Gmm, LawMatched, gmm, local
from steinlab.corrections.directions import DIRECTIONS
from steinlab.corrections.law_matched import defect
from steinlab.corrections.moments import moments, weights
from steinlab.corrections.subspaces import wide
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import EDM
from steinlab.errors import InputError
from steinlab.solvers import EULER, Candidate, Evaluation, get_solver
from steinlab.solvers.loop import solve
from steinlab.solvers.step import Step
from tests.steinlab.solvers.cases import PLANE, Counted

S, T = NoiseLevel(0.5, 0.8), NoiseLevel(0.9, 0.4)
RNG = np.random.default_rng(0)
MODES = GaussianMixture([0.5, 0.5], [[-3.0, 0.0], [3.0, 0.0]], [[0.01, 0.01], [0.01, 0.01]])


def forward(law: GaussianMixture, level: NoiseLevel, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    clean = law.sample(n, rng)
    return np.asarray(level.noised(clean, rng))


def step_at(
    state: Any, law: Any = PLANE, denoiser: Any = None, before: Any = None, t: NoiseLevel = T
) -> Step:
    """A step whose candidate is given; ``before`` is the output one step back."""
    x = forward(law, S, len(state), seed=9)
    denoised = law(x, S)
    history: Any = () if before is None else (Evaluation(S, x, before, None),)
    if not isinstance(state, np.ndarray):
        x, denoised = torch.as_tensor(x), torch.as_tensor(denoised)
    candidate = Candidate(state, x - state, denoised, None, 1)
    return Step(denoiser or law, EULER, x, S, t, history, candidate)


def misfit(step: Step, y: np.ndarray) -> float:
    """``n g' W g`` with the weights of the states under the law."""
    basis = wide(step.candidate.denoised)
    exact = moments(step.denoiser, forward(MODES, step.t, 4000, 7), step.t, basis)
    g = moments(step.denoiser, y, step.t, basis).mean(axis=0)
    return float(len(y) * g @ weights(exact) @ g)


def test_it_mends_the_noise_and_the_spread_of_the_modes_at_once() -> None:
    """Modes 5 % too far apart with 40 % of the noise missing: one coefficient mends one of them."""
    n = 4000
    clean = MODES.sample(n, np.random.default_rng(1))
    noise = np.random.default_rng(2).standard_normal((n, 2))
    state = 1.05 * T.alpha * clean + 0.6 * T.sigma * noise
    candidate = Candidate(state, clean - state, clean, None, 1)
    step = Step(MODES, EULER, clean, S, T, (), candidate)
    ours, done = Gmm(states=n)(step, RNG)
    one, _ = LawMatched(states=n)(step, RNG)
    left, least, start = misfit(step, ours), misfit(step, one), misfit(step, state)
    assert start > 100
    assert left < 0.5 * least
    assert left < 0.05 * start
    assert set(done.move) == {"state", "noise", "slope"}
    assert done.move["noise"] > 0.5
    assert done.move["slope"] == 0.0  # no step before


@pytest.mark.parametrize("make", [Gmm, local])
def test_the_move_is_what_was_added(make: Any) -> None:
    state = 1.2 * forward(PLANE, T, 400)
    before = 0.8 * PLANE(forward(PLANE, S, 400, seed=9), S) + 0.1 * forward(PLANE, T, 400, seed=3)
    step = step_at(state, before=before)
    out, done = make(states=400)(step, RNG)
    added = sum(c * DIRECTIONS[name](step) for name, c in done.move.items())
    assert all(done.move.values())
    np.testing.assert_allclose(out, state + added, atol=1e-12)
    assert abs(defect(PLANE, out, T).value) < 0.5 * defect(PLANE, state, T).value


def test_the_local_direction_is_the_noise_weighed_by_how_far_the_output_moved() -> None:
    state = 1.2 * forward(PLANE, T, 300)
    before = PLANE(forward(PLANE, S, 300, seed=3), S)
    step = step_at(state, before=before)
    squares = ((step.candidate.denoised - before) ** 2).sum(axis=1)
    h = np.tanh((squares - squares.mean()) / squares.std())
    found = DIRECTIONS["local"](step)
    np.testing.assert_allclose(found, h[:, None] * DIRECTIONS["noise"](step), atol=1e-12)
    assert not DIRECTIONS["local"](step_at(state)).any()  # no step before
    same = step_at(state, before=step.candidate.denoised)
    assert not DIRECTIONS["local"](same).any()


def test_noise_that_is_off_where_the_output_moved_is_mended_there() -> None:
    """Too much noise in one mode, too little in the other; the scale of all is right."""
    n = 4000
    clean = MODES.sample(n, np.random.default_rng(1))
    left = clean[:, :1] < 0
    noise = np.random.default_rng(2).standard_normal((n, 2))
    state = T.noised(clean, np.where(left, 1.3, 0.6) * noise)
    before = np.where(left, clean + 2.0, clean)  # the left mode's output has moved
    candidate = Candidate(state, clean - state, clean, None, 1)
    history = (Evaluation(S, clean, before, None),)
    step = Step(MODES, EULER, clean, S, T, history, candidate)
    out, done = local(states=n)(step, RNG)
    assert done.move["local"] < -0.1
    spreads = [
        (y - T.alpha * clean)[side[:, 0]].std() for y in (state, out) for side in (left, ~left)
    ]
    assert spreads[0] / spreads[1] > 2
    assert 0.7 < spreads[2] / spreads[3] < 1.4


def test_what_the_moments_do_not_determine_stays_small() -> None:
    """At large noise the state and the noise are nearly collinear: no large opposite moves."""
    loud = NoiseLevel(1.0, 50.0)
    _, done = Gmm(states=500)(step_at(1.2 * forward(PLANE, loud, 500), t=loud), RNG)
    assert sum(done.move.values()) == pytest.approx(1 / 1.2 - 1, abs=0.05)
    assert max(map(abs, done.move.values())) < 0.25


def test_secants_end_at_the_root_of_the_scalar_defect() -> None:
    step = step_at(1.2 * forward(PLANE, T, 400))
    search = gmm._Search(step, ("state", "noise"))
    start = search.trial(np.zeros(2))
    trials = gmm._secants(search, start)
    assert abs(start.defect) > 4 * start.error
    assert abs(trials[-1].defect) <= 0.1 * start.error
    assert [trial.c[0] for trial in trials] == [0.0] * len(trials)


def drawn(c: float, means: tuple[float, float], spreads: tuple[float, float]) -> Any:
    sample = np.random.default_rng(0).standard_normal((200, 2))
    sample = (sample - sample.mean(axis=0)) / sample.std(axis=0)
    return gmm._Trial(np.array([c]), np.array(means) + np.array(spreads) * sample)


def test_trials_are_compared_by_the_weights_of_the_least_scatter() -> None:
    wide_one, narrow = drawn(0.0, (1.0, 0.2), (10.0, 0.1)), drawn(0.0, (0.2, 1.0), (0.1, 5.0))
    assert gmm._least([wide_one, narrow]) is narrow
    near, far = drawn(0.1, (1.0, 1.0), (1.0, 1.0)), drawn(0.9, (1.0, 1.0), (1.0, 1.0))
    assert gmm._least([far, near]) is near


@pytest.mark.parametrize("make", [Gmm, local])
def test_neutral_for_exact_states(make: Any) -> None:
    """Twenty batches under the law: most decline, the others move by a few standard errors."""
    declined, sizes = 0, []
    for seed in range(20):
        state = forward(PLANE, T, 500, seed + 1)
        out, done = make(states=500)(step_at(state), RNG)
        declined += done.note.startswith("declined")
        sizes.append(np.sqrt(np.mean((out - state) ** 2)) / T.sigma)
    assert declined >= 14
    assert max(sizes) < 5 / np.sqrt(500)


def test_it_declines_with_the_reason() -> None:
    state = forward(PLANE, T, 200)
    clean = step_at(state, t=NoiseLevel(1.0, 0.0))
    for step, words in ((clean, "zero noise"), (step_at(state[:2]), "3 states or more")):
        out, done = Gmm()(step, RNG)
        assert out is step.candidate.state
        assert words in done.note
        assert (done.move, done.evaluations) == ({}, 0.0)
    out, done = Gmm(significance=1e9)(step_at(1.2 * state), RNG)
    assert done.note == "declined: the moments are within their standard errors"
    assert done.evaluations == 1.0
    still = step_at(np.zeros((50, 2)))
    assert "of no scatter" in Gmm()(still, RNG)[1].note


def test_it_declines_what_no_move_can_mend() -> None:
    """Nearly all noise gone: twice what is left is no help."""
    law = GaussianMixture([1.0], [[0.0, 0.0]], [[0.01, 0.01]])
    state = 1e-3 * forward(law, T, 500)
    step = step_at(state, law)
    step = replace(step, candidate=replace(step.candidate, denoised=state / T.alpha))
    out, done = Gmm()(step, RNG)
    assert out is state
    assert done.note == "declined: no trial brings the moments down"


def test_every_evaluation_is_counted() -> None:
    counted = Counted(PLANE)
    step = step_at(1.2 * forward(PLANE, T, 200), denoiser=counted)
    _, done = Gmm(states=50)(step, RNG)
    assert counted.calls >= 4
    assert done.evaluations == pytest.approx(counted.calls * 50 / 200)


@pytest.mark.parametrize("make", [Gmm, local])
def test_torch_agrees(make: Any) -> None:
    grid = make_grid(EDM, "logsnr", 6)
    x = grid[0].sigma * np.random.default_rng(3).standard_normal((300, 2))
    solver = get_solver("euler")
    ours = solve(PLANE, x, grid, solver, correction=make())
    theirs = solve(PLANE, torch.as_tensor(x), grid, solver, correction=make())
    assert sum(bool(done.move) for done in ours.diagnostics) >= 2
    np.testing.assert_allclose(theirs.state.numpy(), ours.state, rtol=1e-7, atol=1e-8)


def test_bad_options_are_named() -> None:
    with pytest.raises(InputError, match=r"directions must be one of .*, got up"):
        Gmm(("up",))
    with pytest.raises(ValueError, match="directions must differ"):
        Gmm(("state", "state"))
    with pytest.raises(ValueError, match="states must be >= 3, got 2"):
        Gmm(states=2)
    with pytest.raises(ValueError, match="significance must be >= 0, got nan"):
        local(significance=float("nan"))
