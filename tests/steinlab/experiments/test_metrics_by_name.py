"""A metric is one function and a name, and then every bench measures it."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from analytic import GaussianMixture
from steinlab import metrics
from steinlab.claims.instruments import paired_runs
from steinlab.cli import main
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import EDM
from steinlab.estimates import Estimate
from steinlab.experiments.bench import Request, Subject
from steinlab.experiments.compare import compare
from steinlab.experiments.specs.compare import CompareSpec
from steinlab.experiments.tournament.play import arena
from steinlab.metrics import rms_distance
from steinlab.solvers import get_solver
from steinlab.solvers.inversion import round_trip
from steinlab.solvers.loop import solve


@pytest.fixture
def reach():
    """A metric of one function and one line, gone after the test."""

    @metrics.metric("reach", "reach")
    def _reach(found):
        return Estimate(float(np.abs(found.x).max()), 0.5)

    yield "reach"
    del metrics._METRICS["reach"]


DATA = {"weights": [1], "means": [[0, 1]], "stds": [1]}


def test_a_new_metric_is_measured_by_compare_under_its_name(reach, spec_file, capsys):
    spec = {"data": DATA, "solvers": ["euler"], "evaluations": [3], "samples": 30}
    spec |= {"metrics": [reach, "flow_error", "mode_weights"]}
    assert main(["compare", spec_file(spec), "--json", "-"]) == 0
    out, table = capsys.readouterr()
    for row in json.loads(out):
        assert 1 < row[reach]["value"] < 100
        assert row["flow_error"]["value"] > 0
        assert row["mode_weights"] == {"value": 0.0, "error": None}
        assert set(row["noise_floor"]) == {reach, "mode_weights"}
        assert "energy_distance" not in row
    assert json.loads(out)[1]["coefficient_noise"][reach] >= 0
    assert reach in table


def test_a_new_metric_is_there_in_the_other_benches(reach):
    bench = paired_runs.bench_of("ring, 2-D", "edm", 20, 0)
    assert replace(bench, metrics=(reach,)).measured(bench.ends)[reach].value < 10
    own = arena("ring-2", "edm", 0, 20)
    assert own.samples(own.ends).measured([reach])[reach].value < 10


def test_metrics_of_a_specification_are_known_names(spec_file, refused):
    spec = {"data": DATA, "solvers": ["euler"], "evaluations": [3], "metrics": ["flow_eror"]}
    line = refused("compare", spec_file(spec))
    assert "metrics[0] must be one of " in line
    assert "did you mean flow_error?" in line
    assert ", got flow_eror, in " in line


@pytest.mark.parametrize(("end", "solver"), [("zero", "euler"), ("least", "heun")])
def test_the_round_trip_of_a_run_is_that_of_its_end_states(end, solver):
    spec = {"data": DATA, "solvers": [solver], "evaluations": [9], "samples": 30, "end": end}
    spec |= {"metrics": ["round_trip"], "corrections": ["none", "tweedie"]}
    plain, corrected = compare(CompareSpec.from_json(spec))
    law = GaussianMixture([1.0], [[0.0, 1.0]], 1.0)
    grid = make_grid("edm", "karras", plain.steps, final_zero=end == "zero")
    start = Request(0, 30, grid[0], grid[-1], end).starts(Subject.of_law(law, EDM), "start")
    x = solve(law, start, grid, solver).state
    if end == "least":
        assert plain.measured["round_trip"] == round_trip(law, x, grid, solver)
    noise = x
    for s, t in itertools.pairwise([level for level in reversed(grid) if level.sigma]):
        noise = get_solver(solver).step(law, noise, s, t, ()).state
    expected = rms_distance(x, solve(law, noise, grid, solver).state)
    assert plain.measured["round_trip"].value == pytest.approx(expected.value, rel=1e-9)
    assert corrected.measured["round_trip"].value != plain.measured["round_trip"].value
    assert corrected.measured["round_trip"].error > 0


def test_one_step_to_zero_noise_has_no_way_back():
    spec = {"data": DATA, "solvers": ["euler"], "evaluations": [1], "samples": 30}
    row = next(compare(CompareSpec.from_json({**spec, "metrics": ["round_trip"]})))
    assert row.measured == {"round_trip": None}
    assert row.floor == {}
