"""The figures of the study: what they draw is the record, and what it lacks they name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gpu_models.figures import coefficients, lipschitz, runs
from gpu_models.study.pairs import CALIBRATED, LARGEST, RULE
from tests.gpu_models.studies import actual, complete, tiny, write
from tests.steinlab.report.figures.test_registered import check

FIGURES = (coefficients, lipschitz, runs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = complete(actual())
    study.found[f"euler/4/karras/{RULE}/0"].clear()
    study.found[f"euler/4/karras/{RULE}/0"].update({"spent": 4, "stopped": "state"})
    return write(study, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("figure", FIGURES)
def test_a_complete_study_is_drawn_whole(figure, whole) -> None:
    data = figure.compute(0, folder=whole)
    assert data.skipped == ()
    assert data.config["devices"] == actual().devices
    check(figure.FIGURE, data)


@pytest.mark.parametrize("figure", FIGURES)
def test_no_study_is_said_in_a_line(figure, tmp_path) -> None:
    data = figure.compute(0, folder=tmp_path)
    assert data.arrays == {}
    assert all("not in the stored study, which steinlab study" in line for line in data.skipped)
    assert len(data.skipped) == len(set(data.skipped)) >= 1
    check(figure.FIGURE, data)


def test_what_has_not_run_is_left_out(tmp_path) -> None:
    study = complete(actual())
    for key in [key for key in study.found if f"/{CALIBRATED}/" in key or key.startswith("unipc")]:
        del study.found[key]  # type: ignore[attr-defined]
    data = runs.compute(0, folder=write(study, tmp_path))
    told = [line.split(":")[0] for line in data.skipped]
    assert told == ["panels of unipc-2", "curves of calibrated"]
    check(runs.FIGURE, data)


def test_curves_are_means_over_seeds(whole) -> None:
    data = runs.compute(0, folder=whole)
    study = complete(actual())
    spent, value, error = data.arrays["euler.calibrated.flow_error"]
    own = [study.found[f"euler/6/karras/calibrated/{seed}"]["flow_error"] for seed in range(3)]
    (at,) = np.flatnonzero(spent == 6)
    assert value[at] == pytest.approx(np.mean([row["value"] for row in own]), rel=1e-12)
    assert error[at] == pytest.approx(own[0]["error"] / np.sqrt(3), rel=1e-12)
    stopped = data.arrays[f"euler.{RULE}.flow_error"]
    rest = [study.found[f"euler/4/karras/{RULE}/{s}"]["flow_error"]["value"] for s in (1, 2)]
    assert stopped[1][stopped[0] == 4] == pytest.approx((LARGEST + sum(rest)) / 3, rel=1e-12)


def test_lipschitz_constants_are_the_record(tmp_path) -> None:
    folder = write(tiny(), tmp_path)
    data = lipschitz.compute(0, folder=folder)
    rows = tiny().rows("lipschitz")
    assert data.config["budgets"] == [3]
    assert data.arrays["step_3"][2].tolist() == [row["step_bound"]["largest"] for row in rows]
    assert data.config["above"] == {"3": 2}
    for figure in FIGURES:
        check(figure.FIGURE, figure.compute(0, folder=folder))
