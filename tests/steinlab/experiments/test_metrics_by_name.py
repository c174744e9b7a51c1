"""A metric is one function and a name, and then every bench measures it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from steinlab import metrics
from steinlab.claims.instruments import paired_runs
from steinlab.cli import main
from steinlab.estimates import Estimate
from steinlab.experiments.tournament.play import arena


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
    assert line.endswith(", got flow_eror")
