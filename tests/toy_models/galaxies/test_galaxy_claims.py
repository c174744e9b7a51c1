"""Where the claims on networks look at the galaxies, and what they say where they cannot."""

import json
from pathlib import Path

import numpy as np
import pytest

from analytic import NoiseLevel
from steinlab.cli import main
from steinlab.diffusion.models import load_model
from steinlab.verification.claim import Effort
from toy_models.claims import error_budget, jacobian_symmetry, tweedie_versus_stein
from toy_models.claims.networks import GALAXY, galaxies_missing, with_galaxies

MODULES = (error_budget, jacobian_symmetry, tweedie_versus_stein)
REASON = "galaxygrad 0.2.1 is not installed: make galaxies"

installed = pytest.mark.skipif(bool(galaxies_missing()), reason=galaxies_missing() or "there")


def drawn(module, profile):
    draw = module._draw if module is error_budget else module._draw_networks
    return [c for c in draw(Effort(profile, np.random.default_rng(0))) if c.model == GALAXY]


@pytest.fixture
def missing(monkeypatch):
    for module in (error_budget, tweedie_versus_stein):
        monkeypatch.setattr(module, "galaxies_missing", lambda: REASON)
    monkeypatch.setattr("toy_models.claims.networks.galaxies_missing", lambda: REASON)


@pytest.mark.parametrize("module", MODULES)
def test_without_the_package_there_is_no_case_of_it(module, missing):
    assert drawn(module, "full") == []


def left_out(module, profile):
    checks = (*module.CLAIM.checks, *(dropped.check for dropped in module.CLAIM.dropped))
    return [check.partly(profile) for check in checks if check.partly]


@pytest.mark.parametrize("module", MODULES)
def test_without_the_package_one_check_says_how_to_get_it(module, missing):
    assert left_out(module, "full") == [{GALAXY: REASON}]
    assert with_galaxies("digits-mlp") == ("digits-mlp",)


@installed
def test_with_it_the_quick_profile_takes_what_is_cheap():
    counts = {m: (len(drawn(m, "quick")), len(drawn(m, "full"))) for m in MODULES}
    assert counts == {error_budget: (0, 2), jacobian_symmetry: (6, 6), tweedie_versus_stein: (3, 3)}
    assert [left_out(m, "full") for m in MODULES] == [[{}]] * 3
    assert "in the full profile" in left_out(error_budget, "quick")[0][GALAXY]


@installed
def test_a_level_of_the_galaxies_is_one_that_they_are_made_for():
    levels = [case.setting().grid for case in drawn(error_budget, "full")]
    assert {round(grid[-2].sigma, 12) for grid in levels} == {0.05}
    assert all(case.setting().batch == 2 for case in drawn(error_budget, "full"))


@installed
def test_the_gap_of_the_galaxies_is_their_score_error_along_u():
    case = next(case for case in drawn(tweedie_versus_stein, "quick") if case.index == 5)
    found = tweedie_versus_stein.measure_network(case)
    right = tweedie_versus_stein.compare_network(found, tweedie_versus_stein.correct)
    assert not right.violated.any()
    assert 0 < found.error[0] < 0.02


def test_probed_norms_of_a_jacobian_are_those_of_the_whole_one():
    import torch

    net = load_model("digits-mlp").denoiser.in_dtype(torch.float64)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 64))
    level = NoiseLevel(1.0, 1.0)
    whole = jacobian_symmetry._norms(net, x, level, rng)
    probed = jacobian_symmetry._probed_norms(net, x, level, rng)
    for exact, estimated in zip(whole, probed, strict=True):
        ratio = (np.asarray(estimated) / exact) ** 2
        assert ratio.mean() == pytest.approx(1.0, abs=4 * ratio.std() / np.sqrt(len(ratio)))
        assert ratio.std() < 0.6


@pytest.mark.slow
@installed
def test_the_budget_of_a_step_closes_on_a_few_states(tmp_path: Path) -> None:
    few = ["--batch", "2", "--states", "4", "--pool", "4", "--indices", "7", "--solvers", "euler"]
    file = tmp_path / "budget.json"
    assert main(["galaxy-budget", "--out", str(file), "--device", "cpu", *few]) == 0
    (step,) = json.loads(file.read_text())
    assert (step["solver"], step["index"], step["batch"]) == ("euler", 7, 2)
    assert abs(step["z"]) < 6


def test_where_the_budget_runs_is_refused_before_anything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["galaxy-budget", "--out", str(tmp_path / "x.json"), "--workers", "0"]) == 2
    line = "steinlab: --workers must be a whole number from 1 to 256, got 0\n"
    assert capsys.readouterr().err == line
