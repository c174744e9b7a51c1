"""Every check rejects its mutant and passes what is right."""

from __future__ import annotations

import itertools
import math
import time
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from analytic import NoiseLevel
from steinlab.testing import ConformanceError, check_sampler, from_loop, rows_of
from steinlab.testing.adapters import _level_of
from steinlab.testing.checks import CHECKS
from steinlab.testing.rows import Row, expected, summary, table
from steinlab.testing.subject import Bridge, SubjectError
from tests.steinlab.testing import fresh, loops
from tests.steinlab.testing.told import held

OWN = {check.id for check in CHECKS if check.of == "own"}


def row_of(check: str, target: Any, **declared: Any) -> Row:
    (row,) = (row for row in rows_of(target, only=[check], **declared) if row.check == check)
    return row


def test_a_loop_may_work_on_the_models_answer_in_place() -> None:
    def euler(model: Any, x: Any, sigmas: Any) -> Any:
        for s, t in itertools.pairwise(sigmas):
            step = model(x, s)
            step -= x
            step *= 1 - t / s
            x = x + step
        return x

    assert row_of("end-at-zero", euler).text == "returns D"


def test_every_check_has_a_mutant() -> None:
    adaptive = {check for _, check, _ in fresh.WRONG.values()} & {"tolerance", "rejected"}
    assert {check.id for check in CHECKS} == set(loops.MUTANTS) | adaptive | OWN


@pytest.mark.parametrize("check", loops.MUTANTS)
def test_a_check_rejects_its_mutant(check: str) -> None:
    target, declared = loops.MUTANTS[check]
    row = row_of(check, target, **declared)
    assert row.verdict == "fails", row
    assert row.case["check"] == check
    held(f"mutant: {check}", [row])


@pytest.mark.slow
@pytest.mark.parametrize("check", loops.MUTANTS)
def test_a_check_rejects_its_mutant_on_drawn_laws_and_grids(check: str) -> None:
    target, declared = loops.MUTANTS[check]
    for seed in range(1, 12):
        assert row_of(check, target, seed=seed, **declared).verdict == "fails", seed


@pytest.mark.parametrize("name", loops.RIGHT)
def test_right_loops_conform(name: str) -> None:
    target, declared = loops.RIGHT[name]
    rows = check_sampler(target, **declared)
    assert {row.verdict for row in rows} <= {"ok", "declined"}
    held(f"right: {name}", rows)


@pytest.mark.parametrize("name", loops.ADAPTED)
def test_adapted_subjects_conform(name: str) -> None:
    make, order = loops.ADAPTED[name]
    rows = check_sampler(make(), order=order)
    assert {row.verdict for row in rows} <= {"ok", "declined"}
    held(f"adapted: {name}", rows)


def test_a_loop_of_two_evaluations_takes_less_than_five_seconds() -> None:
    start = time.process_time()
    check_sampler(loops.heun(), order=2)
    assert time.process_time() - start < 5


def test_an_order_too_high_is_refused_by_name() -> None:
    with pytest.raises(ConformanceError, match=r"2 is declared") as caught:
        check_sampler(loops.euler, order=2)
    held("euler, order=2", caught.value.rows)
    failed = {row.check for row in caught.value.rows if row.verdict == "fails"}
    assert failed == {"order-even", "order-uneven", "order-rough", "order-graded", "gaussian"}


def test_expected_failures_are_strict() -> None:
    few = {"order": 2, "only": ["order", "gaussian"]}
    rows = check_sampler(loops.euler, xfail={"order": "why", "gaussian": "why"}, **few)
    assert {row.verdict for row in rows if row.check.startswith("order")} == {"expected-failure"}
    with pytest.raises(ConformanceError, match="PASSES, though expected to fail"):
        check_sampler(loops.euler, xfail={"wasted": "why"}, only=["wasted"])


def test_an_expected_failure_that_is_declined_is_no_surprise() -> None:
    rows = [Row("law", "law", "declined")]
    assert expected(rows, {"law": "why"}) == rows


def test_a_random_sampler_says_how_it_is_judged() -> None:
    rows = {row.check: row for row in rows_of(loops.ancestral(), only=["law", "order-even"])}
    assert rows["order-even"].text == "draws noise: judged by law"
    assert rows["law"].verdict == "ok"


def test_draws_of_a_scale_of_their_own_are_seen() -> None:
    row = row_of("law", from_loop(loops.noisy_end), law=True)
    assert row.verdict == "fails"


def test_a_case_replays_to_the_last_digit() -> None:
    first, second = (row_of("gaussian", loops.dpmpp_2m(weight=1.005), seed=3) for _ in range(2))
    assert (first.measured, first.case) == (second.measured, second.case)
    assert first.measured != row_of("gaussian", loops.dpmpp_2m(weight=1.005), seed=4).measured


def test_draws_that_nobody_answers_are_judged_by_distance() -> None:
    only = ["law", "deterministic", "order-even"]
    rows = {row.check: row for row in rows_of(loops.of_its_own_source, law=True, only=only)}
    assert rows["law"].verdict == rows["order-even"].verdict == "declined"
    assert rows["law-distance"].verdict == "ok"
    rows = {row.check: row for row in rows_of(loops.of_its_own_source, only=["deterministic"])}
    assert "law=True" in rows["deterministic"].cause


def test_an_adaptive_loop_has_no_order() -> None:
    rows = {
        row.check: row for row in rows_of(loops.adaptive, only=["order", "one-point", "levels"])
    }
    assert rows["order-even"].verdict == "declined"
    assert rows["order-even"].text.startswith("chooses its own steps: error ")
    assert rows["one-point"].verdict == "ok"


def test_the_weak_order_tells_whether_a_stage_shares_the_noise_of_its_step() -> None:
    """Exact moments on a Brownian path: order two with its increments, one with fresh numbers."""
    right = row_of("law", loops.stochastic_midpoint(), law=True, order=2)
    assert right.verdict == "ok"
    assert right.measured == pytest.approx(2.0, abs=0.15)
    wrong = row_of("law", loops.stochastic_midpoint(independent=True), law=True, order=2)
    assert wrong.verdict == "fails"
    assert wrong.measured == pytest.approx(1.0, abs=0.15)
    assert wrong.cause == "a draw inside the step is independent of the step's, or is used twice"
    first = row_of("law", loops.stochastic_midpoint(independent=True), law=True, order=1)
    assert first.verdict == "ok"


def ancestral(draw: Any) -> Any:
    def loop(model: Any, x: Any, sigmas: Any) -> Any:
        rng = np.random.default_rng(0)
        for s, t in itertools.pairwise(sigmas):
            up = (t**2 * (s**2 - t**2) / s**2) ** 0.5
            down = (t**2 - up**2) ** 0.5
            x = x + (x - model(x, s)) / s * (down - s)
            x = x + up * draw(rng, x)
        return x

    return loop


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, x: torch.from_numpy(rng.standard_normal(tuple(x.shape))),
        lambda rng, x: torch.from_numpy(rng.normal(0.0, 1.0, tuple(x.shape))),
    ],
)
def test_a_generator_made_in_a_run_is_answered_even_where_it_is_seeded(draw: Any) -> None:
    rows = {row.check: row for row in rows_of(ancestral(draw), only=["law", "order-even"])}
    assert rows["law"].verdict == "ok"
    assert rows["order-even"].text == "draws noise: judged by law"


def test_one_draw_for_a_whole_batch_is_named() -> None:
    shared = ancestral(lambda _rng, x: torch.randn(1, *x.shape[1:], dtype=x.dtype))
    assert "shared by all states" in row_of("law-distance", shared).cause


def test_a_runge_kutta_method_in_log_sigma_is_exact_in_the_limit_only() -> None:
    def heun(model: Any, x: Any, sigmas: Any, *, order: int = 2) -> Any:
        for s, t in itertools.pairwise(sigmas):
            d = model(x, s)
            if t == 0:
                return d
            h = (s / t).log()
            slope = x - d
            ahead = x - h * slope
            stage = ahead - model(ahead, t) if order == 2 else slope
            x = x - h * (slope + stage) / 2
        return x

    rows = rows_of(heun)
    assert all(row.verdict in {"ok", "declined"} for row in rows), rows
    (one_point,) = (row for row in rows if row.check == "one-point")
    assert one_point.text.startswith("met in the limit only: ")
    assert row_of("one-point", partial(heun, order=1)).verdict == "fails"


@pytest.mark.parametrize("kept", [False, True])
def test_an_adaptive_method_in_log_sigma_conforms_unless_it_keeps_what_it_rejects(
    kept: bool,
) -> None:
    def pair(model: Any, x: Any, sigma_start: Any, sigma_end: Any, rtol: float = 1e-3) -> Any:
        s, end, h = float(sigma_start), float(sigma_end), 0.3
        while s > end * (1 + 1e-12):
            h = min(h, math.log(s / end))
            t = max(end, s * math.exp(-h))
            slope = x - model(x, s)
            ahead = x - h * slope
            y = x - h * (slope + ahead - model(ahead, t)) / 2
            error = float(abs(y - ahead).max() / (rtol * (1 + abs(x).max())))
            x, s = (y if kept or error <= 1 else x), (t if error <= 1 else s)
            h *= min(3.0, max(0.2, 0.9 / (error + 1e-12) ** 0.5))
        return x

    rows = {row.check: row for row in rows_of(pair, only=["tolerance", "rejected", "one-point"])}
    wrong = {check for check, row in rows.items() if row.verdict == "fails"}
    assert wrong == ({"tolerance", "rejected", "one-point"} if kept else set())


def test_where_two_runs_differ_no_other_cause_is_given() -> None:
    rows = [
        Row("scale", "scale", "fails", cause="a clip"),
        Row("deterministic", "deterministic", "fails", cause="it draws"),
    ]
    assert "a clip" not in table(rows) + summary(rows)
    assert summary(rows).endswith("Probable cause: it draws.")


class Bare:
    """A scheduler of no library: a plain configuration, no ``from_config``."""

    config = SimpleNamespace(prediction_type="epsilon")
    timesteps = (1, 0)

    def set_timesteps(self, steps: int) -> None:
        self.timesteps = tuple(range(steps))[::-1]

    def step(self, output: Any, _t: Any, _x: Any) -> tuple[Any]:
        return (output,)


@pytest.mark.parametrize("target", [Bare, Bare()])
def test_a_scheduler_without_from_config_is_refused_in_one_line(target: Any) -> None:
    with pytest.raises(SubjectError, match="Bare must hold its levels as sigmas, or have"):
        rows_of(target)


def test_coefficients_formed_in_float32_are_told_from_states_that_are_cast() -> None:
    def inside(model: Any, x: Any, sigmas: Any, **_: Any) -> Any:
        single = sigmas.float()
        ones = x.new_ones([x.shape[0]])
        for i in range(len(sigmas) - 1):
            ratio = (single[i + 1] / single[i]).double().to(x.dtype)
            x = ratio * x + (1 - ratio) * model(x, sigmas[i] * ones)
        return x

    (row,) = rows_of(from_loop(inside), only=["dtype"])
    assert row.verdict == "fails"
    assert row.text == "float64 in and out, but rounded to float32 inside"
    assert row.cause == "coefficients or levels are formed in float32"
    assert row.measured == 2.0**-24
    assert row.bound == 2.0**-53


@pytest.mark.parametrize("level", [(2.0, 1.0), (2.0, 2.0)])
def test_levels_of_single_states_reach_the_denoiser_row_by_row(level: tuple[float, float]) -> None:
    found = _level_of(np.array(level), lambda s: NoiseLevel(1.0, s), Bridge("numpy", "float64"), 2)
    if level[0] == level[1]:
        assert found == NoiseLevel(1.0, 2.0)
    else:
        np.testing.assert_array_equal(found.sigma, [[2.0], [1.0]])
        np.testing.assert_array_equal(found.alpha, [[1.0], [1.0]])
