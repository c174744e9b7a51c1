"""Every check rejects its mutant and passes what is right."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from steinlab.testing import ConformanceError, check_sampler, from_loop, rows_of
from steinlab.testing.checks import CHECKS
from steinlab.testing.rows import Row, expected
from tests.steinlab.testing import fresh, loops

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


@pytest.mark.parametrize("name", loops.ADAPTED)
def test_adapted_subjects_conform(name: str) -> None:
    make, order = loops.ADAPTED[name]
    assert {row.verdict for row in check_sampler(make(), order=order)} <= {"ok", "declined"}


def test_a_loop_of_two_evaluations_takes_less_than_five_seconds() -> None:
    start = time.process_time()
    check_sampler(loops.heun(), order=2)
    assert time.process_time() - start < 5


def test_an_order_too_high_is_refused_by_name() -> None:
    with pytest.raises(ConformanceError, match=r"2 is declared") as caught:
        check_sampler(loops.euler, order=2)
    failed = {row.check for row in caught.value.rows if row.verdict == "fails"}
    assert failed == {"order-even", "order-uneven", "order-rough", "order-graded", "gaussian"}


def test_expected_failures_are_strict() -> None:
    rows = check_sampler(loops.euler, order=2, xfail={"order": "why", "gaussian": "why"})
    assert {row.verdict for row in rows if row.check.startswith("order")} == {"expected-failure"}
    with pytest.raises(ConformanceError, match="PASSES, though expected to fail"):
        check_sampler(loops.euler, xfail={"wasted": "why"})


def test_an_expected_failure_that_is_declined_is_no_surprise() -> None:
    rows = [Row("law", "law", "declined")]
    assert expected(rows, {"law": "why"}) == rows


def test_a_random_sampler_says_how_it_is_judged() -> None:
    rows = {row.check: row for row in rows_of(loops.ancestral())}
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
