"""The declared design: its rows against the sampling loop, its summaries against planted data."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from analytic import GaussianMixture, NoiseLevel
from steinlab.claims import design, gain_grows_with_step, gains
from steinlab.claims.design import (
    BEST,
    CAP,
    PLAIN,
    RULE_LABELS,
    RULES,
    WORSE,
    Outcome,
    Setup,
    Swept,
)
from steinlab.claims.gains import Cells, Design, Judged, Runs, Whole, summary
from steinlab.claims.problems import problem
from steinlab.corrections import stein
from steinlab.divergence import Step
from steinlab.metrics import energy_distance_of_pairs, rms_distance
from steinlab.sampling import solve
from steinlab.solvers import EULER, HEUN

SETUPS = [
    Setup("ring, 2-D", "edm", "euler", "karras", 4, 40, 7),
    Setup("two modes, 1-D", "flow", "dpmpp-2m", "logsnr", 6, 40, 7),
    Setup("two modes, 1-D", "edm", "heun", "karras", 4, 40, 7),
]


def planted(ratios, setup=SETUPS[1], expansion=2.0):
    """An outcome whose rows, after the plain one, are the given ratios."""
    names = (PLAIN, *RULE_LABELS, WORSE, BEST)
    errors = np.array([1.0, *ratios])
    return Outcome(setup, names, errors, errors, np.zeros(9), np.zeros((1, 9)), expansion)


@pytest.mark.parametrize("setup", SETUPS)
def test_a_row_of_the_stack_is_a_run_of_the_correction(setup):
    outcome = design.run(setup)
    x, ends = setup.start()
    # a first estimate of order 1e4 amplifies rounding, which differs between shapes
    for (low, high), name in list(zip(RULES, RULE_LABELS, strict=True))[2:]:
        correction = stein(gamma_min=low, gamma_max=high)
        end = solve(problem(setup.problem), x, setup.levels(), setup.plan(), correction=correction)
        expected = rms_distance(end.state, ends).value
        assert outcome.flow_error[outcome.names.index(name)] == pytest.approx(expected, rel=1e-6)
    plain = solve(problem(setup.problem), x, setup.levels(), setup.plan()).state
    assert outcome.flow_error[0] == pytest.approx(rms_distance(plain, ends).value, rel=1e-12)


def test_the_oracle_brings_every_step_nearest_to_the_exact_trajectory():
    setup = SETUPS[1]
    outcome = design.run(setup)
    assert outcome.ratio(BEST) < 1
    assert outcome.ratio(WORSE) > 1


def test_rows_that_leave_the_finite_numbers_are_kept_and_capped():
    setup = SETUPS[0]
    limits = np.array([1.0, 1e300])
    ends = design._ends(setup, Swept(limits, limits))
    plain = solve(problem(setup.problem), setup.start().x, setup.levels(), setup.plan()).state
    assert ends[1] is None
    np.testing.assert_allclose(ends[0], plain, rtol=1e-12)
    assert design._distances(None, plain) == (math.inf, math.inf, 0.0)
    assert planted([math.inf] * 8).ratio(RULE_LABELS[0]) == CAP
    assert planted([1e9] * 8).ratio(RULE_LABELS[0]) == CAP
    assert planted([1e-9] * 8).ratio(RULE_LABELS[0]) == 1 / CAP


def test_energy_ratios_below_the_standard_error_count_as_the_error():
    one = planted([0.5] * 8)._replace(energy=np.full(9, -1.0), floor=np.linspace(1, 9, 9))
    assert one.ratio(RULE_LABELS[1], "energy") == 3.0


@pytest.mark.parametrize("solver", [EULER, HEUN])
def test_the_largest_gain_of_a_linear_step(solver):
    law = GaussianMixture([1.0], np.zeros((1, 2)), np.array([[4.0, 0.01]]))
    s, t = NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.25)
    x = np.random.default_rng(0).standard_normal((30, 2))
    step = Step(law, solver, x, s, t, (), solver.step(law, x, s, t, ()))
    matrix = np.eye(2) - step.residual(np.eye(2), law)
    exact = np.abs(np.diag(matrix)).max()
    found = design.largest_gain(step, np.random.default_rng(1), iterations=12)
    assert found == pytest.approx(exact, rel=1e-6)
    assert design.largest_gain(step, np.random.default_rng(1)) <= exact * (1 + 1e-12)


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


def test_the_criterion_passes_gains_and_rejects_losses_and_doubt():
    def violated(values, compare=gains.compare_mean):
        runs = Runs([planted([v] * 8) for v in values], RULE_LABELS)
        return compare(runs, Judged()).violated

    assert not violated([0.5, 0.6, 0.7]).any()
    assert violated([1.2, 1.3, 1.4]).all()
    assert violated([0.2, 2.0, 1.0]).all()  # the interval holds 1
    assert not violated([0.5, 0.6, 9.9], gains.compare_cells).any()
    assert violated([0.5, 0.6, 10.1], gains.compare_cells).sum() == len(RULE_LABELS)


def test_contractive_setups_are_left_out_of_the_verdict():
    runs = Runs([*(planted([0.5] * 8) for _ in range(3)), planted([99.0] * 8, expansion=0.9)], ())
    runs = runs._replace(rules=RULE_LABELS)
    assert not gains.compare_mean(runs, Judged()).violated.any()
    assert not gains.compare_cells(runs, Judged()).violated.any()


def test_a_fraction_takes_every_problem_grid_and_budget_once():
    setups = Design("edm", gains.EVALUATIONS, 6, 2, 16, 0).setups()
    keys = {(s.problem, s.grid, s.evaluations) for s in setups}
    assert len(keys) == len(setups) == 7 * 2 * 4
    assert {s.solver for s in setups} == set(gains.SOLVERS)
    paired = Design("edm", (4, 10), 3, 0, 16, 0).setups()
    families = [(s.problem, s.solver, s.grid) for s in paired]
    assert all(families.count(f) == 2 for f in families)


def test_the_trend_compares_the_same_law_solver_and_grid():
    outcomes = []
    for k, solver in enumerate(gains.SOLVERS):
        for budget, ratio in ((4, 0.5 + 0.01 * k), (10, 0.9 + 0.01 * k)):
            setup = Setup("ring, 2-D", "edm", solver, "karras", budget, 40, 7)
            outcomes.append(planted([ratio] * 8, setup))
    trend = gain_grows_with_step.trend_of(outcomes, RULE_LABELS[0])
    expected = [(0.5 + 0.01 * k) / (0.9 + 0.01 * k) for k in range(6)]
    np.testing.assert_allclose(trend, expected)
    runs = Runs(outcomes, RULE_LABELS)
    formula = gain_grows_with_step.Formula()
    assert not gain_grows_with_step.compare_trend(runs, formula).violated.any()
    assert not gain_grows_with_step.compare_gain(runs, formula).violated.any()
    backwards = gain_grows_with_step.Formula(trend=gain_grows_with_step._reversed)
    assert gain_grows_with_step.compare_trend(runs, backwards).violated.all()


def test_cells_and_designs_come_back_from_json_to_the_last_digit():
    cells = Cells(SETUPS[1])
    first = gains.compare_cells(gains.measure_cells(cells), Judged()).measured
    design.run.cache_clear()
    stored = json.loads(json.dumps(cells.describe(2)))
    again = gains.compare_cells(gains.measure_cells(Cells.restore(stored)), Judged()).measured
    assert again.tolist() == [first[2]]
    whole = Whole(Design("edm", (4, 10), 84, 0, 16, 3))
    back = Whole.restore(json.loads(json.dumps(whole.describe(1))))
    assert back == Whole(whole.design, (RULE_LABELS[1],))
