"""The gate: its moments vanish under the law, and it keeps what helps and refuses what harms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.corrections import LawMatched, gated, local
from steinlab.corrections.gated import LEVELS, Gated, defects
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.guidance import guided
from steinlab.diffusion.processes import EDM, FLOW
from steinlab.errors import InputError
from steinlab.solvers import EULER, get_solver
from steinlab.solvers.loop import Run, solve
from steinlab.solvers.step import Diagnostics, Step
from tests.steinlab.corrections.test_fitted import GRID, Perfect, start
from tests.steinlab.solvers.cases import PLANE, Counted

MOMENTS = 2 + 3 * PLANE.dim
"""Of a level: two of the whole state, three along each axis."""


@dataclass(frozen=True)
class Scaled:
    """Stretches the states of every step; spends half an evaluation."""

    factor: float
    name: str = "scaled"

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:  # noqa: ARG002
        return self.factor * step.candidate.state, Diagnostics(1.0, evaluations=0.5)


@pytest.mark.parametrize("process", [EDM, FLOW], ids=lambda one: one.name)
@pytest.mark.parametrize("zero", [True, False])
def test_samples_of_the_law_have_no_defect_and_others_do(process: Any, zero: bool) -> None:
    """At zero noise and before it: Q of a true sample is its number of moments, in the mean."""
    grid = make_grid(process, "logsnr", 8, final_zero=zero)
    if not zero:
        grid = grid[:-3]  # an end with noise to speak of
    end, rng, found = grid[-1], np.random.default_rng(0), []
    for _ in range(20):
        x = end.noised(PLANE.sample(400, rng), rng)
        found.append(defects(Run(PLANE, x, grid, EULER, rng), x, x * 1.5))
    plain, wide = np.mean(found, axis=0)
    assert plain < 1.3 * LEVELS * MOMENTS
    assert wide > 3 * plain


def test_it_keeps_what_helps_and_refuses_what_harms() -> None:
    x = start(400)
    run = solve(PLANE, x, GRID, EULER, correction=gated())
    bare = solve(PLANE, x, GRID, EULER, correction=local())
    assert run.diagnostics[0].note.startswith("kept: round trip Q ")
    np.testing.assert_array_equal(run.state, bare.state)
    harmed = solve(PLANE, x, GRID, EULER, correction=Gated(Scaled(1.3)))
    assert harmed.diagnostics[0].note.startswith("plain: round trip Q ")
    np.testing.assert_array_equal(harmed.state, solve(PLANE, x, GRID, EULER).state)
    collapsed = solve(PLANE, x, GRID, EULER, correction=Gated(Scaled(1e-9)))
    assert collapsed.diagnostics[0].note.startswith("plain: round trip Q ")
    for name in ("stein", "pilot"):
        exact = solve(PLANE, start(100), GRID, Perfect(), correction=gated(inner=name))
        assert exact.diagnostics[0].note.startswith("plain: round trip Q ")


@dataclass(frozen=True)
class Silent:
    """Does what ``local`` does and tells nothing of it."""

    name: str = "silent"
    depth: int = 1

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:
        return local()(step, rng)[0], Diagnostics(1.0)


def test_a_correction_that_tells_no_moves_is_kept_as_it_is() -> None:
    x = start(400)
    run, bare = (solve(PLANE, x, GRID, EULER, correction=one) for one in (Gated(Silent()), local()))
    assert run.diagnostics[0].note.startswith("kept")
    np.testing.assert_array_equal(run.state, bare.state)


@pytest.mark.parametrize(("inner", "own"), [(Scaled(1.3), 2.5), (Scaled(0.9), 2.5)])
def test_the_price_is_what_is_called(inner: Scaled, own: float) -> None:
    """Five steps plain and five corrected, the correction's own, six levels of each."""
    counted, x = Counted(PLANE), start(64)
    done = solve(counted, x, GRID, EULER, correction=Gated(inner, 16)).diagnostics
    first = done[0].evaluations - (0.5 if "kept" in done[0].note else 0.0)
    assert first == pytest.approx((5 + 5 + own + 2 * LEVELS) / 4)
    assert counted.calls == 5 + 5 + 5 + 2 * LEVELS


def test_what_the_inner_correction_prepared_is_paid_once() -> None:
    x = start(64)
    bare = solve(PLANE, x, GRID, EULER, correction="pilot").diagnostics[0].evaluations
    for states, share in ((16, 0.25), (64, 1.0)):
        fix = gated(inner="pilot", states=states)
        done = solve(PLANE, x, GRID, EULER, correction=fix).diagnostics
        assert done[0].evaluations == pytest.approx(bare + share * (5 + 5 + 2 * LEVELS))
        assert not any(one.evaluations for one in done[1:])
    assert done[0].note.startswith("kept")


def test_a_trial_that_leaves_the_numbers_is_refused() -> None:
    with np.errstate(all="ignore"):
        done = solve(PLANE, start(32), GRID, EULER, correction=Gated(Scaled(1e200)))
    assert "left the finite numbers" in done.diagnostics[0].note
    assert np.isfinite(done.state).all()


def test_a_guided_denoiser_stays_plain() -> None:
    model = guided(PLANE, PLANE, 2.0)
    done = solve(model, start(32), GRID, EULER, correction=gated())
    assert done.diagnostics[0].note.startswith("declined: a guided denoiser")
    assert done.diagnostics[0].evaluations == 0.0


def test_options_are_checked() -> None:
    for inner, words in (
        ("locl", "did you mean local"),
        ("gated", "another correction than gated"),
    ):
        with pytest.raises(InputError, match=words):
            gated(inner=inner)
    with pytest.raises(ValueError, match="states must be >= 8, got 7"):
        Gated(LawMatched(), 7)
    step = Step.take(PLANE, get_solver("euler"), start(9), GRID[0], NoiseLevel(1.0, 1.0))
    with pytest.raises(TypeError, match="gated must be prepared"):
        gated()(step, np.random.default_rng(0))
