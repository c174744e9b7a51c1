"""Own grids in every specification: given levels, cut ranges, a start in the middle, pure noise."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from analytic import NoiseLevel
from analytic.flow.exact import exact_flow
from steinlab.cli import main
from steinlab.coefficient.routes import coefficients
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.models import Model
from steinlab.diffusion.networks import from_torch
from steinlab.diffusion.processes import EDM, FLOW
from steinlab.errors import InputError
from steinlab.experiments.bench import Request, Subject, follow_run
from steinlab.experiments.compare import compare, runs_of, subject_of
from steinlab.experiments.sample import SampleRun, draw
from steinlab.experiments.specs.coefficient import CoefficientSpec
from steinlab.experiments.specs.compare import CompareSpec
from steinlab.solvers.loop import solve
from tests.steinlab.network_toys import MODES, as_spec, shifted, toy_model

DATA = {"weights": [0.5, 0.5], "means": [-1, 1], "stds": [0.2, 0.3]}


def spec(**changes: Any) -> CompareSpec:
    obj = {"data": DATA, "solvers": ["euler", "heun"], "corrections": ["none"], "samples": 50}
    return CompareSpec.from_json({**obj, **changes})


def test_given_levels_are_run_whole() -> None:
    rows = list(compare(spec(grid=[5, 1, 0.2, 0])))
    assert [(row.asked, row.spent, row.steps, row.end) for row in rows] == [
        (3, 3, 3, "zero"),
        (5, 5, 3, "zero"),
    ]
    times = spec(process="flow", grid={"times": [1, 0.5, 0.1]}, solvers=["euler"])
    ((_, _, asked, grid),) = runs_of(times)
    assert (asked, times.end) == (2, "least")
    assert grid == make_grid("flow", {"times": [1, 0.5, 0.1]})
    ((_, plan, asked, _),) = runs_of(spec(grid=[5, 1, 0], solvers=["heun"], evaluations=[9]))
    assert (asked, len(plan.solvers)) == (9, 2)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"grid": [5, 1, 0], "evaluations": [2]}, "evaluations must be >= 3 for the 2 given steps"),
        ({"grid": [5, 1, 0], "end": "least"}, "end must be zero, where the given grid ends, got l"),
        ({"grid": [5, 6]}, "grid[1] must be less than the one before, 5, got 6"),
        ({"grid": "karras"}, "evaluations is missing"),
        ({"grid": [5, 1], "init": "x.npy"}, "init needs a model whose law is not known, got x.npy"),
        ({"grid": {"times": [2, 0]}, "process": "flow"}, "t must be in [0, 1] for flow, got 2"),
    ],
)
def test_bad_levels_are_named(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=re.escape(line)):
        list(compare(spec(**changes)))


def exact(name: str = "flow-toy") -> Model:
    """The exact network of ``MODES``, a velocity trained in flow coordinates."""

    def velocity(x: Any, t: Any) -> Any:
        start = t == 1  # where the ratio is infinite and D the mean, 0
        ratio = torch.where(start, 1.0, t / (1 - t))
        clean = shifted(x / (1 - torch.where(start, 0.0, t))[:, None], ratio, MODES, 0.0)
        clean = torch.where(start[:, None], 0.0, clean)
        return (x - clean) / t[:, None]

    def build() -> Any:
        return from_torch(
            velocity, [2], prediction="velocity", coordinates="flow", dtype=torch.float64
        )

    return Model(name, 2, "2 modes", "tests", "flow", build, data_law=lambda: MODES)


@pytest.mark.parametrize(
    ("noisy", "clean"),
    [
        (FLOW.level(1.0), NoiseLevel(1.0, 0.0)),
        (FLOW.level(0.6), NoiseLevel(1.0, 0.0)),
        (FLOW.level(0.5), FLOW.level(0.2)),
        (FLOW.level(0.0015), NoiseLevel(1.0, 0.0)),
    ],
)
def test_a_networks_reference_runs_between_the_grids_ends(
    noisy: NoiseLevel, clean: NoiseLevel
) -> None:
    """It ran from the process's noisiest level, whatever the grid's: wrong without a word."""
    subject = Subject.of_model(exact())
    request = Request(0, 40, noisy, clean, "least" if clean.sigma else "zero")
    run = follow_run(request, subject, "start")
    flow = exact_flow(MODES, request.starts(subject, "start"), noisy, clean)
    gap = np.linalg.norm(run.state - flow.state, axis=1)
    assert np.all(gap <= 5 * run.error + flow.error + 1e-6)
    assert run.rms_error < 1e-3


def test_a_start_in_the_middle_needs_data(tmp_path: Path) -> None:
    unknown = toy_model(data_law=False)
    middle = as_spec(unknown, grid="karras:sigma_max=2")
    with pytest.raises(InputError, match=r"init must be given for toy on a grid that begins in th"):
        list(runs_of(middle))
    rows = np.random.default_rng(0).normal(size=(64, 1, 2))
    np.save(tmp_path / "rows.npy", rows)
    given = dataclasses.replace(middle, init=tmp_path / "rows.npy")
    assert len(list(runs_of(given))) == 1
    level, rng = EDM.level(1e-9), np.random.default_rng(1)
    start = subject_of(given).start(level, 64, rng)
    np.testing.assert_allclose(start, rows.reshape(64, 2), atol=1e-7)
    assert subject_of(given).start(level, 5, rng).shape == (5, 2)
    with pytest.raises(
        InputError, match=r"sigma/alpha must be in 0\.02 to 20 for the model toy, g"
    ):
        list(runs_of(as_spec(toy_model(), grid=[50, 1, 0])))


def test_samples_on_own_grids(tmp_path: Path) -> None:
    run = SampleRun.of("digits", "heun", grid="[5, 1, 0]", samples=3)
    assert (run.asked, run.grid) == (3, make_grid("edm", [5, 1, 0]))
    done = draw(run)
    rng = np.random.default_rng(0).spawn(2)[0]
    x = run.model.start(run.grid[0], 3, rng)
    expected = solve(run.model.denoiser, x, run.grid, run.plan).state
    np.testing.assert_array_equal(done.states, expected)
    with pytest.raises(InputError, match=r"^--grid times: t must be in \[0, 1\] for flow, got 2"):
        SampleRun.of("digits", "heun", grid="times:2,0", schedule="flow")
    with pytest.raises(InputError, match="--evaluations must be given for the grid karras, got no"):
        SampleRun.of("digits", "heun")
    with pytest.raises(
        InputError, match="--end must be zero, where the given grid ends, got least"
    ):
        SampleRun.of("digits", "heun", grid="5,1,0".join("[]"), end="least")
    np.save(tmp_path / "rows.npy", np.ones((3, 2)))
    with pytest.raises(InputError, match="--init must hold rows of 64 numbers for digits, got 2"):
        SampleRun.of("digits", "heun", grid="[5, 1, 0]", init=str(tmp_path / "rows.npy"))


def test_a_coefficient_of_a_step_of_a_grid() -> None:
    common = {"data": DATA, "solver": "dpmpp-2m"}
    there = CoefficientSpec.from_json(
        {**common, "grid": {"times": [0.9, 0.6, 0.2, 0]}, "process": "flow", "step": 1}
    )
    grid = make_grid("flow", {"times": [0.9, 0.6, 0.2, 0]})
    assert (there.s, there.t, there.past) == (grid[1], grid[2], (grid[0],))
    named = CoefficientSpec.from_json({**common, "grid": "karras", "steps": 5, "step": 0})
    assert (named.s, named.past) == (make_grid("edm", "karras", 5)[0], ())
    deis = {**common, "solver": "deis-tab-2", "grid": "karras", "steps": 5}
    assert CoefficientSpec.from_json({**deis, "step": 2}).solver.name == "deis-tab-2"
    for obj, line in (
        (
            {**common, "grid": [5, 1, 0], "step": 2},
            "step must be a whole number from 0 to 1, got 2",
        ),
        ({**common, "grid": "karras", "step": 0}, "steps must be a whole number from 1 to"),
        ({**common, "grid": [5, 1], "step": 0, "steps": 1}, "steps must be left out for given lev"),
    ):
        with pytest.raises(InputError, match=re.escape(line)):
            CoefficientSpec.from_json(obj)


def test_a_coefficient_from_pure_noise() -> None:
    """``D = E x_star``: Tweedie's route is the reference's, Stein's divides by ``alpha = 0``."""
    pure = CoefficientSpec.from_json(
        {"data": DATA, "from": [0, 1], "to": ["1/5", "9/10"], "solver": "euler"}
    )
    found = coefficients(pure.law, pure.s, pure.t, pure.solver)
    assert set(found) == {"reference", "tweedie", "three_scalar"}
    law = pure.law
    assert not isinstance(law, Model)
    # u = (1 - 9/10) eps - (1/5) m with m = 0: E<u, x> = 1/10, E|u|^2 = 1/100
    for gamma in found.values():
        assert gamma.value == pytest.approx(10, abs=10 * gamma.error + 1e-12)
    sampled = coefficients(
        MODES, NoiseLevel(0.0, 1.0), NoiseLevel(0.2, 0.9), "dpmpp-2s", samples=500
    )
    assert set(sampled) == {"reference", "tweedie"}
    assert math.isfinite(sampled["tweedie"].value)


def test_a_network_that_has_no_pure_noise_says_so(capsys: Any, tmp_path: Path) -> None:
    out = ["--schedule", "flow", "--solver", "euler", "--out", str(tmp_path / "x.npy")]
    assert main(["sample", "--model", "ring-mlp", "--grid", "times:1,0.5,0", *out]) == 2
    assert "level: alpha must be > 0 for a network in edm coordinates" in capsys.readouterr().err
