"""Every stated range of an argument ends where it says: its ends are taken, no number beyond is.

A row is what takes the number, the message that refuses it, what is taken and what is not. An end
that belongs to the range is taken itself; one that does not is refused, and its neighbour is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import steinlab as lab
from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel, exact_flow
from analytic.certified.balls import precision
from analytic.certified.laws import ExactMixture
from analytic.certified.lipschitz import lipschitz
from analytic.certified.steps import ExactStep
from analytic.laws import FREEDOM, Circle, student
from analytic.mixtures import GaussianMixture as Mixture
from steinlab.coefficient.divergence import Hutchinson
from steinlab.coefficient.error_budget import Setting
from steinlab.corrections.epsilon_scale import EpsilonScale
from steinlab.corrections.gated import Gated
from steinlab.corrections.law_matched import LawMatched
from steinlab.corrections.scalar import ScalarCorrection
from steinlab.corrections.shifted import LawMatchedMoments
from steinlab.corrections.subspaces import check_sub_batch
from steinlab.corrections.time_shift import TimeShift
from steinlab.diffusion.grids import make_grid
from steinlab.solvers import DPMPP_3M, EULER, HEUN
from steinlab.solvers.one_step import MOST
from steinlab.solvers.one_step import student as one_step
from steinlab.solvers.plans import make_plan
from steinlab.solvers.reference_flow import follow
from steinlab.solvers.single import fraction_of
from steinlab.solvers.unit_speed import Curve
from steinlab.testing import check_law, check_sampler, lint_grid
from steinlab.verification import strategies
from steinlab.verification.expectation import Ball
from steinlab.verification.quantities import Number
from tests.steinlab.testing import loops

NORMAL = GaussianMixture([1.0], [0.0], 1.0)
X, S, T = np.array([[1.0]]), NoiseLevel(1.0, 2.0), NoiseLevel(1.0, 1.0)
GRID = make_grid("edm", "karras", 4)
TINY, BELOW_ONE, ABOVE_ONE = 5e-324, math.nextafter(1, 0), math.nextafter(1, 2)
INF, NAN = math.inf, math.nan


def certified(**options: Any) -> Any:
    pytest.importorskip("flint", reason="python-flint, an extra, is not installed")
    law = ExactMixture.of([1, 1], [-3, 3], ["1/4", "1/4"])
    return lipschitz(law, ExactStep.of("euler", (1, 2), (1, 1)), **options)


def exact_step(s: tuple[float, float], t: tuple[float, float]) -> Any:
    return ExactStep.of("euler", s, t)


def bits(n: int) -> None:
    pytest.importorskip("flint", reason="python-flint, an extra, is not installed")
    with precision(n):
        pass


def scalar(**options: Any) -> Any:
    return ScalarCorrection("none", lambda _step, _rng: np.zeros(1), **options)


def drawn(strategy: Any) -> Any:
    from hypothesis import given, settings

    @settings(max_examples=1, database=None)
    @given(strategy)
    def one(_: Any) -> None: ...

    one()
    return strategy


Row = tuple[Callable[[Any], Any], str, Sequence[Any], Sequence[Any]]
EDGES: dict[str, Row] = {
    "exact_flow, rtol": (
        lambda v: exact_flow(NORMAL, X, S, T, rtol=v), "rtol must be in",
        [1e-13, 1e-2], [0.99e-13, 1.01e-2, NAN],
    ),
    "EmpiricalMixture, bandwidth": (
        lambda v: EmpiricalMixture(X, v), "bandwidth must be", [0.0, TINY], [-TINY, INF, NAN],
    ),
    "EmpiricalMixture, chunk_bytes": (
        lambda v: EmpiricalMixture(X, chunk_bytes=v), "chunk_bytes must be > 0", [1], [0, -1],
    ),
    "EmpiricalMixture, left_out": (
        lambda v: EmpiricalMixture(X, left_out=v), "left_out must be in",
        [0.0, BELOW_ONE], [-TINY, 1.0],
    ),
    "Circle, radius": (Circle, "radius must be", [TINY], [0.0, -1.0, INF, NAN]),
    "student, freedom": (
        student, "freedom must be in", FREEDOM,
        [FREEDOM[0] * (1 - 1e-9), FREEDOM[1] * (1 + 1e-9), NAN],
    ),
    "student, scale": (lambda v: student(5.0, scale=v), "scale must be", [1e-9],
        [0.0, -1.0, INF, NAN]),
    "mixture, weights": (
        lambda v: Mixture([v, 1 - v], [0.0, 1.0], 1.0), "weights must", [0.0, 1.0],
        [-1e-9, 1 + 1e-9],
    ),
    "mixture, covariances": (
        lambda v: Mixture([1.0], [0.0], v), "covariances must", [1e-300], [0.0, -1.0, INF, NAN],
    ),
    "lipschitz, tolerance": (
        lambda v: certified(tolerance=v), "tolerance and boxes", [0.5], [0.0, -0.5],
    ),
    "lipschitz, boxes": (lambda v: certified(boxes=v), "tolerance and boxes", [1], [0]),
    "precision": (bits, "bits must be >= 24", [24], [23]),
    "ExactStep, alpha": (
        lambda v: exact_step((v, 2), (1, 1)), "must", [1], [0, -1],
    ),
    "ExactStep, sigma": (lambda v: exact_step((1, 2), (1, v)), "must", [0, 1], [-1, 2, 3]),
    "distilled@K": (
        lambda v: one_step(f"distilled@{v}"), "K must be a whole number", [2, MOST],
        [1, 0, MOST + 1],
    ),
    "NAME@R": (lambda v: fraction_of(f"dpm-2@{v}"), "R must be in", ["1e-9", 1], [0, "1.0001", -1]),
    "make_plan, steps": (lambda v: make_plan(EULER, v), "steps must be >= 1", [1], [0]),
    "narrowed": (DPMPP_3M.narrowed, "nodes must be in 1 to 3", [1, 3], [0, 4]),
    "follow, substeps": (
        lambda v: follow(NORMAL, X, S, T, v), "substeps must be >= 4", [4], [3],
    ),
    "curve, ratios": (
        lambda v: Curve("m", 9, (0.5, v), (0.9, 0.5)), "must be positive and increase",
        [math.nextafter(0.5, 1)], [0.5, 0.4, INF, NAN],
    ),
    "curve, first ratio": (
        lambda v: Curve("m", 9, (v, 2.0), (0.9, 0.5)), "must be positive and increase",
        [TINY], [0.0, -1.0],
    ),
    "curve, w": (lambda v: Curve("m", 9, (1.0, 2.0), (v, 0.5)), "w must be in", [1.0, TINY],
                 [0.0, ABOVE_ONE, NAN]),
    "Hutchinson, probes": (Hutchinson, "probes must be >= 1", [1], [0]),
    "Setting, index": (
        lambda v: Setting(GRID, v, HEUN, EULER), "index must be in 0 to 3", [0, 3], [-1, 4],
    ),
    "LawMatchedMoments, shift_significance": (
        lambda v: LawMatchedMoments(shift_significance=v), "shift_significance must be >= 0",
        [0.0], [-TINY, NAN],
    ),
    "ScalarCorrection, gamma_min": (
        lambda v: scalar(gamma_min=v, gamma_max=1.0), "gamma_min must be <=", [1.0],
        [ABOVE_ONE, NAN],
    ),
    "ScalarCorrection, states": (
        lambda v: scalar(states=v), "states must be 0", [0, 2], [1, -1],
    ),
    "ScalarCorrection, target_error": (
        lambda v: scalar(target_error=v), "target_error must be >= 0", [0.0], [-TINY, NAN],
    ),
    "Gated, states": (lambda v: Gated(scalar(), v), "states must be >= 8", [8], [7]),
    "TimeShift, deviation": (
        TimeShift, "deviation must be >= 0", [0.0], [-TINY, INF, NAN],
    ),
    "TimeShift, window": (lambda v: TimeShift(window=v), "window must be > 1", [ABOVE_ONE], [1.0]),
    "EpsilonScale, b": (lambda v: EpsilonScale(b=v), "b must be > 0", [TINY], [0.0, -1.0, NAN]),
    "EpsilonScale, k": (lambda v: EpsilonScale(v, 1.0), "b must be > 0 and k >= 0", [0.0], [-TINY]),
    "LawMatched, states": (lambda v: LawMatched(states=v), "states must be >= 2", [2], [1]),
    "LawMatched, significance": (
        lambda v: LawMatched(significance=v), "significance must be >= 0", [0.0], [-TINY, NAN],
    ),
    "sub-batch, states": (lambda v: check_sub_batch(v, 0.0), "states must be >= 3", [3], [2]),
    "sub-batch, significance": (
        lambda v: check_sub_batch(3, v), "significance must be >= 0", [0.0], [-TINY, NAN],
    ),
    "lab.numbers": (
        lambda v: lab.numbers(1.0, v), "low must be < high", [ABOVE_ONE], [1.0, 0.5, INF, NAN],
    ),
    "lab.numbers, log": (
        lambda v: lab.numbers(v, 1.0, log=True), "low must be > 0 with log", [TINY], [0.0, -1.0],
    ),
    "lab.levels, low": (
        lambda v: lab.levels(low=v, high=1.0), "low must be in", [TINY, BELOW_ONE],
        [0.0, 1.0, -1.0],
    ),
    "lab.levels, high": (lambda v: lab.levels(low=1.0, high=v), "low must be in", [2.0],
        [1.0, INF]),
    "lab.steps, low": (
        lambda v: lab.steps("edm", "euler", low=v, high=1.0), "low must be in", [BELOW_ONE],
        [0.0, 1.0],
    ),
    "lab.steps, longest": (
        lambda v: lab.steps("edm", "euler", longest=v), "longest must be > 0", [TINY],
        [0.0, INF, NAN],
    ),
    "lab.mixtures, components": (
        lambda v: lab.laws.mixtures(components=(v, 2)), "components must be", [1, 2], [0, 3],
    ),
    "lab.mixtures, farthest": (
        lambda v: lab.laws.mixtures(farthest=v), "farthest must be > 0", [TINY],
        [0.0, -1.0, INF, NAN],
    ),
    "lab.mixtures, stds": (
        lambda v: lab.laws.mixtures(stds=(v, 1.0)), "stds must be", [TINY, BELOW_ONE],
        [0.0, 1.0, 2.0],
    ),
    "lab.mixtures, highest std": (
        lambda v: lab.laws.mixtures(stds=(1.0, v)), "stds must be", [ABOVE_ONE], [1.0, INF, NAN],
    ),
    "Number, error": (
        lambda v: Number("n", 1.0, v), "error of number n must be >= 0", [0.0], [-TINY, INF, NAN],
    ),
    "Number, value": (lambda v: Number("n", v), "value of number n must be finite", [0.0],
        [INF, NAN]),
    "Ball, power": (
        lambda v: Ball(v, 0.0) ** 0.5, "needs a number >= 0", [0.0, 1.0], [-TINY],
    ),
    "check_sampler, order": (
        lambda v: check_sampler(loops.euler, order=v, only=["wasted"]), "order must be in 1 to 12",
        [1, 12], [0, 13],
    ),
    "check_law, samples": (
        lambda v: check_law("circle-2", samples=v), "samples must be >= 100", [100], [99],
    ),
    "lint_grid, levels": (
        lambda v: lint_grid([1.0, 0.0][:v]), "grid must hold at least 2", [2], [1, 0],
    ),
    "lint_grid, sigma": (
        lambda v: lint_grid([1.0, v]), "must be finite and >= 0", [0.0, TINY], [-TINY, INF, NAN],
    ),
    "strategies.grids": (
        lambda v: drawn(strategies.grids(min_steps=v, max_steps=3)), "min_steps must be in",
        [1, 3], [0, 4],
    ),
    "noise_levels": (
        lambda v: drawn(strategies.noise_levels(low=v, high=1.0)), "low must be in", [1.0],
        [0.0, ABOVE_ONE],
    ),
    "strategies.steps": (
        lambda v: drawn(strategies.steps(longest=v)), "longest must be > 0", [0.1], [0.0, -1.0],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EDGES)
def test_a_range_ends_where_it_says(name: str) -> None:
    call, message, taken, refused = EDGES[name]
    for value in taken:
        call(value)
    for value in refused:
        with pytest.raises(ValueError, match=message):
            call(value)
