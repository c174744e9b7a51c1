"""Decay along a trajectory, collapse and shifted laws: the pieces against independent routes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from analytic import NoiseLevel
from steinlab.claims.coefficient import shift_adaptation
from steinlab.claims.coefficient.foreign_denoiser import Foreign, Shifts
from steinlab.claims.coefficient.shift_adaptation import gammas
from steinlab.claims.error_bounds import trajectory_decay
from steinlab.claims.error_bounds.trajectories import Trajectory, measure
from steinlab.claims.instruments import posterior_mean_collapse
from steinlab.claims.instruments.linear_forms import Identity, reference, stein, tweedie
from steinlab.claims.instruments.random_steps import draw_steps
from steinlab.solvers import EULER
from steinlab.verification.claim import Effort

FORMULA = trajectory_decay.CLAIM.formula
RUN = Trajectory("ring, 2-D", "edm", "euler", "reference", 11)


def test_reference_coefficients_decay_to_what_the_start_leaves_open():
    path = measure(RUN)
    assert not trajectory_decay.compare_decay(path, FORMULA).violated.any()
    assert np.all(np.diff(path.after) <= 1e-9)
    assert path.after[0] == pytest.approx(path.floor, rel=0.1)  # the batch's own scatter
    assert path.variance < 0.1


def test_estimated_coefficients_agree_at_the_first_step_alone():
    path = measure(replace(RUN, choice="stein"))
    agree = ~trajectory_decay.compare_coefficient(path, FORMULA).violated
    assert agree[0]
    assert not agree[1]
    assert trajectory_decay.compare_growth(path, FORMULA).violated.any()


def test_a_step_comes_back_from_json_to_the_last_digit():
    path = measure(RUN)
    all_steps = trajectory_decay.compare_decay(path, FORMULA)
    case = Trajectory.restore(json.loads(json.dumps(RUN.describe(3))))
    one = trajectory_decay.compare_decay(measure(case), FORMULA)
    assert one.measured.tolist() == [all_steps.measured[3]]
    assert one.predicted.tolist() == [all_steps.predicted[3]]


@pytest.mark.parametrize(("family", "fits"), [("edm", True), ("flow", True), ("vp-linear", False)])
def test_the_collapse_is_of_processes_with_beta_one_minus_kappa(family, fits):
    cases = draw_steps(np.random.default_rng(0), 30, solvers=("euler",), families=(family,))
    for batch in cases:
        found = posterior_mean_collapse.compare_collapse(
            posterior_mean_collapse.measure_collapse(batch), posterior_mean_collapse.posterior_mean
        )
        assert found.violated.any() == (not fits)


def test_a_foreign_solver_ignores_the_denoiser_it_is_offered():
    case = Shifts("edm", "euler", 5)
    law, other = case.model(), case.tests().take(2)
    x, s, t = np.array([[0.3], [-1.0]]), NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.5)
    found = Foreign(EULER, law).step(other, x, s, t, ())
    np.testing.assert_array_equal(found.state, EULER.step(law, x, s, t, ()).state)
    assert found.linear is None


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_shifted_coefficients_against_samples(solver):
    case = Shifts("vp-linear", solver, 2, (0.7,))
    data = shift_adaptation.measure(case)
    law, test, (s, t) = case.model(), case.tests().take(0), case.levels()
    rng = np.random.default_rng(0)
    x_star = test.sample(200_000, rng)
    x = s.noised(x_star, rng)
    u = shift_adaptation.SOLVERS[solver].step(law, x, s, t, ()).residual
    power = np.mean(u**2)
    for name, numerator in (("optimum", u * (x - x_star)), ("tweedie", u * (x - law(x, s)))):
        sampled = np.mean(numerator) / power
        spread = np.std(numerator - sampled * u**2) / power / np.sqrt(len(u))
        assert abs(gammas(data)[name][0] - sampled) < 4 * spread


def test_the_shift_check_separates_the_estimates():
    data = shift_adaptation.measure(Shifts("flow", "euler", 3))
    right = shift_adaptation.compare(data, Identity(reference, stein))
    wrong = shift_adaptation.compare(data, Identity(reference, tweedie))
    assert not right.violated.any()
    assert not wrong.violated[0]  # no shift, no difference
    assert wrong.violated[1:].all()
    stored = json.loads(json.dumps(data.case.describe(4)))
    again = shift_adaptation.compare(
        shift_adaptation.measure(Shifts.restore(stored)), Identity(reference, stein)
    )
    assert again.measured.tolist() == [right.measured[4]]


def test_claims_draw_from_the_effort_alone():
    for check in (*trajectory_decay.CLAIM.checks, *shift_adaptation.CLAIM.checks):
        one, two = (check.draw(Effort("quick", np.random.default_rng(1))) for _ in range(2))
        assert [b.describe(0) for b in one] == [b.describe(0) for b in two]
