"""The error budget: it closes, it is calibrated, and a wrong formula leaves a gap."""

import numpy as np
import pytest
import torch

import steinlab.coefficient.error_budget
from analytic import GaussianMixture
from steinlab.coefficient.error_budget import PARTS, Setting, error_budget, of_law, of_model
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import EDM, VP_LINEAR
from steinlab.solvers import DPMPP_2M, EULER, HEUN
from tests.steinlab.network_toys import toy_model

WEIGHTS, MEANS = np.array([0.5, 0.5]), np.array([[-1.0, -1.0], [1.0, 1.0]])
TRUE, WIDE = (GaussianMixture(WEIGHTS, MEANS, v) for v in (0.3, 0.5))
GRID = make_grid(VP_LINEAR, "karras", 6)


def budget(index=3, seed=0, solver=HEUN, **changes):
    options = {"batch": 16, "states": 20_000, "seed": seed, **changes}
    return error_budget(of_law(WIDE, TRUE), Setting(GRID, index, solver, EULER, **options))


def test_it_closes_at_every_level_and_its_errors_are_those_of_the_scatter():
    squares = [budget(i, seed, states=2000).z ** 2 for i in range(6) for seed in range(20)]
    assert np.mean(squares) == pytest.approx(1.0, abs=4 * np.sqrt(2 / len(squares)))
    assert max(squares) < 4.5**2


def test_an_exact_model_has_neither_score_error_nor_residual():
    found = error_budget(of_law(TRUE, TRUE), Setting(GRID, 3, HEUN, EULER)).parts
    assert set(found) == set(PARTS)
    assert found["score"].value == found["residual"].value == 0.0
    wrong = budget(states=60_000).parts
    assert abs(wrong["score"].value) > 20 * wrong["score"].error
    assert abs(wrong["residual"].value) > 10 * wrong["residual"].error


def test_a_first_order_step_of_edm_leaves_no_residual():
    grid = make_grid(EDM, "karras", 6)
    found = error_budget(of_law(WIDE, TRUE), Setting(grid, 4, EULER, EULER))
    assert abs(found.parts["residual"].value) < 1e-14
    assert found.exact.value == pytest.approx(1 / (1 - grid[5].sigma / grid[4].sigma))


@pytest.mark.parametrize("part", ["score", "residual", "stein"])
def test_a_wrong_formula_leaves_a_gap(monkeypatch, part):
    real = getattr(steinlab.coefficient.error_budget._Chain, part)

    def wrong(self, *args):
        found = real(self, *args)
        flip = 1.1 if part == "stein" else -1.0
        return type(found)(flip * found.value, found.error)

    monkeypatch.setattr(steinlab.coefficient.error_budget._Chain, part, wrong)
    assert max(abs(budget(index, states=60_000).z) for index in range(2, 6)) > 6


def test_a_network_without_a_law_is_judged_by_its_long_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("STEINLAB_CACHE", str(tmp_path))
    model = toy_model(error=1.0, data_law=False)
    grid = make_grid(model.process(), "karras", 5)
    found = error_budget(of_model(model), Setting(grid, 3, EULER, EULER, batch=16, states=600))
    assert "residual" not in found.parts
    assert abs(found.z) < 4.5
    assert 0 < abs(found.parts["rounding"].value) < 1e-4


def test_a_solver_with_history_and_a_step_beyond_the_grid_are_refused():
    with pytest.raises(ValueError, match="solver must use no history, got dpmpp-2m"):
        Setting(GRID, 0, DPMPP_2M, EULER)
    with pytest.raises(ValueError, match="index must be in 0 to 5, got 6"):
        Setting(GRID, 6, EULER, EULER)


def test_another_dtype_is_the_same_network():
    from analytic import NoiseLevel
    from steinlab.diffusion.networks import edm_denoiser

    torch.manual_seed(0)
    net = torch.nn.Linear(2, 2)
    single = edm_denoiser(lambda x, _s: net(x), [2])
    assert single.dtype == torch.float32

    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = net

        def forward(self, x, _sigma):
            return self.linear(x)

    wrapped = edm_denoiser(Plain(), [2])
    x, level = np.array([[0.1, 0.7]]), NoiseLevel(1.0, 1.0)
    double = wrapped.in_dtype(torch.float64)
    exact = x @ net.weight.detach().double().numpy().T + net.bias.detach().double().numpy()
    assert abs(double(x, level) - exact).max() < 1e-15
    assert 1e-10 < abs(wrapped(x, level) - exact).max() < 1e-6
    assert net.weight.dtype == torch.float32
