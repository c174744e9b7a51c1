"""The declared design: its rows against the sampling loop, its summaries against planted data."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from analytic import GaussianMixture, NoiseLevel
from steinlab.claims.instruments import paired_runs
from steinlab.claims.instruments.paired_runs import (
    BEST,
    CAP,
    CLIPPED,
    MEASURES,
    PUBLISHED,
    RULES,
    STACKS,
    WORSE,
    Outcome,
    Rule,
    Setup,
    Swept,
    outcome_of,
    stack_of,
)
from steinlab.claims.performance import gain_grows_with_step, gain_ratios
from steinlab.claims.performance.gain_ratios import Cells, Design, Judged, Runs, Whole, summary
from steinlab.corrections import stein, tweedie
from steinlab.diffusion.laws import problem
from steinlab.errors import InputError
from steinlab.estimates import Estimate
from steinlab.metrics import energy_distance_of_pairs, rms_distance
from steinlab.solvers import EULER, HEUN
from steinlab.solvers.loop import solve
from steinlab.solvers.step import Step
from steinlab.verification.claim import Result
from steinlab.verification.judge import effort_for
from steinlab.verification.ledger import replay
from steinlab.verification.registry import load_claim

SETUPS = [
    Setup("ring, 2-D", "edm", "euler", "karras", 4, 40, 7),
    Setup("two modes, 1-D", "flow", "dpmpp-2m", "logsnr", 6, 40, 7),
    Setup("two modes, 1-D", "edm", "heun", "karras", 4, 40, 7),
]


NAMES = STACKS[0]
COUNT = len(NAMES) - 1


def planted(ratios, setup=SETUPS[1], expansion=2.0):
    """An outcome whose rows, after the plain one, are the given ratios."""
    rows = tuple(dict.fromkeys(MEASURES, Estimate(value, 0.0)) for value in (1.0, *ratios))
    return Outcome(setup, NAMES, rows, np.zeros(len(NAMES)), expansion)


@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize(("make", "route"), [(stein, "stein"), (tweedie, "tweedie")])
def test_a_row_of_the_stack_is_a_run_of_the_correction(setup, make, route):
    bench, (plan, grid) = setup.bench(), setup.planned()
    law, x, ends = problem(setup.problem), bench.start, bench.ends
    # a first estimate of order 1e4 amplifies rounding, which differs between shapes
    kept = [(n, r) for n, r in RULES.items() if r.route == route and r.high < 10 and not r.vp]
    for name, rule in kept:
        outcome = outcome_of(setup, name)
        correction = make(gamma_min=rule.low, gamma_max=rule.high)
        end = solve(law, x, grid, plan, correction=correction)
        expected = rms_distance(end.state, ends).value
        assert outcome.value(name) == pytest.approx(expected, rel=1e-6)
        plain = solve(law, x, grid, plan).state
        assert outcome.value(outcome.names[0]) == pytest.approx(
            rms_distance(plain, ends).value, rel=1e-12
        )


def one_step(process: str, solver=HEUN):
    law, rng = problem("ring, 2-D"), np.random.default_rng(5)
    grid = Setup("ring, 2-D", process, "euler", "karras", 4, 8, 0).planned()[1]
    s, t = grid[1], grid[2]
    x = s.noised(law.sample(50, rng), rng)
    return Step.take(law, solver, x, s, t)


def apply(step, *rules):
    """The corrected states of rules, a row each."""
    rows = Step(
        step.denoiser, step.solver, np.stack([step.x] * len(rules)), step.s, step.t, (),
        step.solver.step(step.denoiser, np.stack([step.x] * len(rules)), step.s, step.t, ()),
    )  # fmt: skip
    return Swept(rules, lambda _: np.zeros_like(step.x))(rows, np.random.default_rng(0))[0]


@pytest.mark.parametrize("process", ["edm", "vp-linear", "flow"])
def test_gamma_of_one_leaves_the_step_in_either_coordinates(process):
    step = one_step(process)
    ends = apply(step, Rule("fixed", 1.0, 1.0), Rule("tweedie", 1.0, 1.0, vp=True))
    for end in ends:
        np.testing.assert_allclose(end, step.candidate.state, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("process", ["edm", "vp-linear", "flow"])
@pytest.mark.parametrize("solver", [EULER, HEUN])
def test_a_step_in_vp_coordinates_is_that_of_the_scaled_problem(process, solver):
    """Take the solver's step on ``y = x / r`` at the scaled levels, correct it there, map back."""
    step, low, high = one_step(process, solver), -math.inf, math.inf
    r, r_next = (math.sqrt(level.alpha**2 + level.sigma**2) for level in (step.s, step.t))
    s = NoiseLevel(step.s.alpha / r, step.s.sigma / r)
    t = NoiseLevel(step.t.alpha / r_next, step.t.sigma / r_next)
    y = step.x / r
    candidate, denoised = solver.step(step.denoiser, y, s, t, ()).state, step.denoiser(y, s)
    u = y - candidate
    gamma = np.mean(np.sum(u * (y - denoised), axis=1)) / np.mean(np.sum(u**2, axis=1))
    own, vp = apply(step, Rule("tweedie", low, high), Rule("tweedie", low, high, vp=True))
    np.testing.assert_allclose(vp, r_next * (y - gamma * u), rtol=1e-10, atol=1e-10)
    assert np.allclose(own, vp, rtol=1e-6) == (process == "vp-linear")


def test_every_rule_has_a_stack_and_a_stack_begins_with_the_plain_run():
    assert all(stack_of(name)[0] == "plain" for name in RULES)
    assert len(CLIPPED) == 6
    assert {name for stack in STACKS for name in stack} == set(RULES)
    with pytest.raises(ValueError, match="rule must be one of"):
        stack_of("0.2 to 1")


def test_the_oracle_brings_every_step_nearest_to_the_exact_trajectory():
    setup = SETUPS[1]
    outcome = outcome_of(setup, BEST)
    assert outcome.ratio(BEST) < 1
    assert outcome.ratio(WORSE) > 1


def test_rows_that_leave_the_finite_numbers_are_kept_and_capped():
    setup = SETUPS[0]
    ends = paired_runs._ends(setup, (Rule("fixed", 1.0, 1.0), Rule("fixed", 1e300, 1e300)))
    plan, grid = setup.planned()
    plain = solve(problem(setup.problem), setup.bench().start, grid, plan).state
    assert np.isinf(ends[1]).all()
    np.testing.assert_allclose(ends[0], plain, rtol=1e-12)
    assert paired_runs._noise(np.full(3, math.inf), np.ones(3)) == 0.0
    assert planted([math.inf] * COUNT).ratio(NAMES[1]) == CAP
    assert planted([1e9] * COUNT).ratio(NAMES[1]) == CAP
    assert planted([1e-9] * COUNT).ratio(NAMES[1]) == 1 / CAP


def test_the_noise_of_a_ratio_is_its_scatter_over_batches():
    """The delta method's error of ``log(error / plain)`` against 400 batches."""
    rng = np.random.default_rng(2)
    plain = rng.chisquare(2, (400, 200))
    squares = plain * rng.chisquare(3, (400, 200))
    logs = 0.5 * np.log(squares.mean(axis=1) / plain.mean(axis=1))
    stated = np.array([paired_runs._noise(a, b) for a, b in zip(squares, plain, strict=True)])
    assert np.sqrt(np.mean(stated**2)) == pytest.approx(logs.std(ddof=1), rel=0.12)


def test_errors_cancel_where_more_evaluations_do_worse():
    """The cell that the claims name, and one beside it."""
    cell = Setup("Gaussian, 2-D", "edm", "dpmpp-2m", "logsnr", 6, 64, 0)
    assert paired_runs.cancels(cell)
    assert not paired_runs.cancels(Setup("Gaussian, 2-D", "edm", "dpmpp-2m", "logsnr", 4, 64, 0))
    runs = Runs([planted([99.0] * COUNT, cell)], PUBLISHED)
    assert gain_ratios.compare_cells(runs, Judged()).violated.all()
    assert not gain_ratios.compare_uncancelled(runs, Judged()).violated.any()


def test_energy_ratios_below_the_standard_error_count_as_the_error():
    rows = tuple({"paired_energy": Estimate(-1.0, 1.0 + i)} for i in range(COUNT + 1))
    one = planted([0.5] * COUNT)._replace(measured=rows)
    assert one.ratio(NAMES[2], "paired_energy") == 3.0


@pytest.mark.parametrize("solver", [EULER, HEUN])
def test_the_largest_gain_of_a_linear_step(solver):
    law = GaussianMixture([1.0], np.zeros((1, 2)), np.array([[4.0, 0.01]]))
    s, t = NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.25)
    x = np.random.default_rng(0).standard_normal((30, 2))
    step = Step.take(law, solver, x, s, t)
    matrix = np.eye(2) - step.residual(np.eye(2), law)
    exact = np.abs(np.diag(matrix)).max()
    found = paired_runs.largest_gain(step, np.random.default_rng(1), iterations=12)
    assert found == pytest.approx(exact, rel=1e-6)
    assert paired_runs.largest_gain(step, np.random.default_rng(1)) <= exact * (1 + 1e-12)


def test_energy_distance_of_pairs_by_brute_force():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((6, 2))
    y = x + 0.3 * rng.standard_normal((6, 2))
    d = lambda a, b: float(np.linalg.norm(a - b))  # noqa: E731
    pairs = [
        d(x[i], y[j]) + d(x[j], y[i]) - d(x[i], x[j]) - d(y[i], y[j])
        for i in range(6)
        for j in range(6)
        if i != j
    ]
    assert energy_distance_of_pairs(x, y).value == pytest.approx(np.mean(pairs), rel=1e-12)
    with pytest.raises(ValueError, match="y must have the shape of x"):
        energy_distance_of_pairs(x, y[:5])


def test_energy_distance_of_pairs_is_unbiased_and_its_error_calibrated():
    rng = np.random.default_rng(4)
    scores = []
    shift = 0.5
    # |N(0,2)| has mean 2/sqrt(pi); |N(m,2)| folded
    exact = 2 * stats.foldnorm.mean(shift / math.sqrt(2), scale=math.sqrt(2)) - 4 / math.sqrt(
        math.pi
    )
    for _ in range(300):
        x = rng.standard_normal((100, 1))
        y = 0.6 * x + 0.8 * rng.standard_normal((100, 1)) + shift
        found = energy_distance_of_pairs(x, y)
        scores.append((found.value - exact) / found.error)
    assert abs(np.mean(scores)) < 4 * np.std(scores) / math.sqrt(300) + 0.15
    assert 0.8 < np.std(scores) < 1.3


def test_summary_is_students_interval():
    ratios = np.exp(np.random.default_rng(0).standard_normal(12))
    found = summary(ratios)
    low, high = stats.t.interval(0.95, 11, np.log(ratios).mean(), stats.sem(np.log(ratios)))
    assert (found.low, found.high) == pytest.approx((math.exp(low), math.exp(high)))
    assert found.improved == np.mean(ratios < 1)
    assert (found.best, found.worst) == (ratios.min(), ratios.max())


def test_the_interval_by_law_takes_one_value_a_law():
    """Cells that differ by law alone are worth as many values as there are laws."""
    laws, levels = ["a", "b", "c"], np.array([0.5, 0.7, 1.1])
    found = summary(np.repeat(levels, 20), np.repeat(laws, 20).tolist())
    once = summary(levels)
    assert (found.law_low, found.law_high) == pytest.approx((once.low, once.high))
    assert found.high < 1 < found.law_high
    assert math.isnan(once.law_low)
    assert gain_ratios.cells_of(found)[3] == f"{once.low:.3g} to {once.high:.3g}"


CLUSTERED_CLAIMS = (
    "clipped-gain",
    "clipped-gain-flow",
    "few-evaluations-gain",
    "gain-grows-with-step",
    "integration-error",
    "other-ode-samplers",
)


@pytest.mark.parametrize("claim_id", CLUSTERED_CLAIMS)
def test_a_claim_on_the_design_says_that_cells_of_one_law_are_alike(claim_id):
    conditions = load_claim(claim_id).conditions
    assert any("runs on one law have more in common than it knows" in c for c in conditions)
    chosen = any("chosen after seeing these setups" in c for c in conditions)
    assert chosen == ("gain" in claim_id)


@pytest.mark.parametrize("claim_id", ["few-evaluations-gain", "integration-error"])
def test_a_table_holds_the_interval_of_one_value_per_law(claim_id):
    claim = load_claim(claim_id)
    found = {}
    for check in (*claim.checks, *(d.check for d in claim.dropped)):
        batches = check.draw(effort_for(claim_id, check.name, "quick", 0))
        if isinstance(batches[0], Whole):
            batches = [replace(b, design=replace(b.design, states=8)) for b in batches]
            data = [check.measure(b) for b in batches]
            comparison = check.compare(data[0], claim.formula)
            found[check.name] = Result(check, batches, data, comparison)
    table = claim.table(found)
    column = table.columns.index("95 %, one value per law")
    assert all(" to " in row[column] for row in table.rows if int(row[2]) > 20)
    if claim_id == "few-evaluations-gain":
        for rule in CLIPPED:
            assert {f"{rule}, heun", f"{rule}, without heun"} <= {row[0] for row in table.rows}
        assert any("Heun and 3M that gain" in text for text in claim.conditions)


def test_the_criterion_passes_gains_and_rejects_losses_and_doubt():
    def violated(values, compare=gain_ratios.compare_mean):
        runs = Runs([planted([v] * COUNT) for v in values], PUBLISHED)
        return compare(runs, Judged()).violated

    assert not violated([0.5, 0.6, 0.7]).any()
    assert violated([1.2, 1.3, 1.4]).all()
    assert violated([0.2, 2.0, 1.0]).all()  # the interval holds 1
    assert not violated([0.5, 0.6, 9.9], gain_ratios.compare_cells).any()
    assert violated([0.5, 0.6, 10.1], gain_ratios.compare_cells).sum() == len(PUBLISHED)
    noisy = planted([12.0] * COUNT)._replace(noise=np.full(COUNT + 1, 0.1))
    assert not gain_ratios.compare_cells(Runs([noisy], PUBLISHED), Judged()).violated.any()


def test_contractive_setups_are_left_out_of_the_verdict():
    runs = Runs(
        [*(planted([0.5] * COUNT) for _ in range(3)), planted([99.0] * COUNT, expansion=0.9)], ()
    )
    runs = runs._replace(rules=PUBLISHED)
    assert not gain_ratios.compare_mean(runs, Judged()).violated.any()
    assert not gain_ratios.compare_cells(runs, Judged()).violated.any()


def test_a_fraction_takes_every_problem_grid_and_budget_once():
    setups = Design("edm", gain_ratios.EVALUATIONS, 6, 2, 16, 0).setups()
    keys = {(s.problem, s.grid, s.evaluations) for s in setups}
    assert len(keys) == len(setups) == 7 * 2 * 4
    assert {s.solver for s in setups} == set(gain_ratios.SOLVERS)
    paired = Design("edm", (4, 10), 3, 0, 16, 0).setups()
    families = [(s.problem, s.solver, s.grid) for s in paired]
    assert all(families.count(f) == 2 for f in families)


def test_the_trend_compares_the_same_law_solver_and_grid():
    outcomes = []
    for k, solver in enumerate(gain_ratios.SOLVERS):
        for budget, ratio in ((4, 0.5 + 0.01 * k), (10, 0.9 + 0.01 * k)):
            setup = Setup("ring, 2-D", "edm", solver, "karras", budget, 40, 7)
            outcomes.append(planted([ratio] * COUNT, setup))
    trend = gain_grows_with_step.trend_of(outcomes, PUBLISHED[0])
    expected = [(0.5 + 0.01 * k) / (0.9 + 0.01 * k) for k in range(6)]
    np.testing.assert_allclose(trend, expected)
    runs = Runs(outcomes, PUBLISHED)
    formula = gain_grows_with_step.Formula()
    assert not gain_grows_with_step.compare_trend(runs, formula).violated.any()
    assert not gain_grows_with_step.compare_gain(runs, formula).violated.any()
    backwards = gain_grows_with_step.Formula(trend=gain_grows_with_step._reversed)
    assert gain_grows_with_step.compare_trend(runs, backwards).violated.all()


def test_cells_and_designs_come_back_from_json_to_the_last_digit():
    cells = Cells(SETUPS[1], STACKS[0][1:])
    first = gain_ratios.compare_cells(gain_ratios.measure_cells(cells), Judged()).measured
    paired_runs.run.cache_clear()
    stored = json.loads(json.dumps(cells.describe(2)))
    again = gain_ratios.compare_cells(
        gain_ratios.measure_cells(Cells.restore(stored)), Judged()
    ).measured
    assert again.tolist() == [first[2]]
    whole = Whole(Design("edm", (4, 10), 84, 0, 16, 3), PUBLISHED)
    back = Whole.restore(json.loads(json.dumps(whole.describe(1))))
    assert back == Whole(whole.design, (PUBLISHED[1],))


@pytest.mark.parametrize("rule", ["0.1 to 2", "0.5 to 2", "0.1 to 1", "0.5 to 1"])
def test_cases_stored_before_the_rules_were_split_still_replay(rule):
    cell = Cells(SETUPS[1], (rule,)).describe(0)
    now = replay({"claim": "integration-error", "check": "cells", "case": cell})
    assert now["measured"] == outcome_of(SETUPS[1], rule).ratio(rule)
    whole = Whole(Design("edm", (4, 10), 6, 0, 16, 3), (rule,)).describe(0)
    for check in ("gain", "trend"):
        again = replay({"claim": "gain-grows-with-step", "check": check, "case": whole})
        assert math.isfinite(again["measured"])
    oracle = {**whole, "rule": BEST}
    assert replay({"claim": "gain-grows-with-step", "check": "oracle", "case": oracle})
    unknown = {**cell, "rule": "0.2 to 1"}
    with pytest.raises(InputError, match="rule must be one of"):
        replay({"claim": "integration-error", "check": "cells", "case": unknown})


def test_a_step_is_retaken_with_the_denoiser_of_both_ends() -> None:
    law = GaussianMixture(np.ones(1), np.zeros(1), np.full(1, 0.5))
    x, s, t = np.array([[1.0], [-2.0]]), NoiseLevel(1.0, 2.0), NoiseLevel(1.0, 1.0)
    step = Step.take(law, EULER, x, s, t)
    there = step.candidate.state
    np.testing.assert_allclose(paired_runs.ahead(step), there * 0.5 / 1.5)
    mean = 0.5 * (x * 0.5 / 4.5 + there * 0.5 / 1.5)
    np.testing.assert_allclose(paired_runs.retaken(step), 0.5 * x + 0.5 * mean)
    last = Step.take(law, EULER, x, s, NoiseLevel(1.0, 0.0))
    np.testing.assert_array_equal(paired_runs.ahead(last), last.candidate.state)
