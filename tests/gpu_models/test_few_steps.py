"""Few-step runs on the U-Net: kept, told, and drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analytic import NoiseLevel
from gpu_models.figures import few_step_methods
from gpu_models.study.few_steps import Asked, main
from gpu_models.study.stored import read
from steinlab.errors import InputError


def test_states_that_agree_in_float32_are_asked_about_once() -> None:
    asked: list[float] = []

    def denoiser(x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        asked.append(level.sigma)
        return 0 * x

    known, x = Asked(denoiser), np.ones((2, 3))
    for y, sigma in ((x, 1.0), (x + 1e-12, 1.0), (x, 2.0), (x + 1e-3, 1.0)):
        known(y, NoiseLevel(1.0, sigma))
    assert asked == [1.0, 2.0, 1.0]


def test_runs_are_kept_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--out", str(tmp_path), "--states", "2", "--device", "cpu", "--steps", "1"]
    assert main([*common, "--solvers", "euler", "--evaluations", "2"]) == 0
    before = (tmp_path / "study-0.jsonl").read_text()
    assert main([*common, "--solvers", "euler,dpmpp-3s", "--evaluations", "2"]) == 0
    assert (tmp_path / "study-0.jsonl").read_text().startswith(before)
    assert "dpmpp-3s/2/karras" in capsys.readouterr().out
    study = read(tmp_path)
    assert study is not None
    assert (study.head["config"]["device"], study.head["config"]["states"]) == ("cpu", 2)
    assert study.found["flow"]["steps"] == 2
    small = {"laws": ("two-1",), "budgets": (2,), "states": 50}
    found = few_step_methods.compute(0, folder=tmp_path, solvers=("euler", "seeds-1"), **small)
    at = found.config["solvers"].index("euler")
    run = study.found["euler/2/karras/none/0"]["flow_error"]["value"]
    assert found.arrays["network"][at, 0] == run
    assert found.arrays["network"][1 - at, 0] == 0
    absent = few_step_methods.compute(0, folder=tmp_path / "none", solvers=("euler",), **small)
    assert absent.skipped == ("panel of fashion-edm: no stored runs",)
    ends = np.load(tmp_path / "ends.npy")
    for other, told in ((ends[:1], "the shape"), (ends * np.inf, "must be finite")):
        np.save(tmp_path / "ends.npy", other)
        with np.errstate(invalid="ignore"), pytest.raises(InputError, match=rf"ends.npy .*{told}"):
            main([*common, "--solvers", "euler", "--evaluations", "2"])
    with pytest.raises(InputError, match="--states must be >= 2, got 1"):
        main(["--states", "1", "--out", str(tmp_path)])
