"""``steinlab compare`` on networks: own flow and law, the data's law, resumed runs, errors."""

import json

import numpy as np
import pytest
import torch

import steinlab.experiments.bench
import steinlab.experiments.compare
from analytic import EmpiricalMixture, GaussianMixture
from analytic.flow.exact import exact_flow
from steinlab import storage
from steinlab.cli import main
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.laws import load_digits
from steinlab.diffusion.processes import EDM
from steinlab.experiments.bench import DEFAULT_METRICS, Bench, Request, Subject
from steinlab.experiments.coefficient_noise import SPLITS, coefficient_noise
from steinlab.experiments.compare import compare, to_json
from steinlab.solvers.reference_flow import fingerprint, long_run
from tests.steinlab.network_toys import MODES, as_spec, toy_model

SUBJECT = Subject.of_law(MODES, EDM)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STEINLAB_CACHE", str(tmp_path / "cache"))


def test_a_long_run_ends_where_the_exact_flow_does_within_its_error():
    law = EmpiricalMixture(load_digits()[:300], 0.2)
    x = 80 * np.random.default_rng(1).standard_normal((40, 64))
    run = long_run(law, x, EDM)
    grid = make_grid(EDM, "karras", 2)
    flow = exact_flow(law, x, grid[0], grid[1], rtol=1e-7)
    true = np.linalg.norm(run.state - law(flow.state, grid[1]), axis=1)
    ratio = run.error / true
    assert 0.3 < np.median(ratio) < 4  # an estimate of the error, neither blind nor vacuous
    assert np.sqrt(np.mean(true**2)) < 3 * run.rms_error < 0.05


def test_long_runs_are_kept_and_found_again_chunk_by_chunk(monkeypatch):
    model, calls = toy_model(), []
    x = 20 * np.random.default_rng(0).standard_normal((300, 2))
    process = model.process()
    first = long_run(model.denoiser, x, process)
    monkeypatch.setattr("steinlab.solvers.reference_flow.solve", lambda *_a, **_k: calls.append(1))
    again = long_run(model.denoiser, x, process)
    assert (again.state == first.state).all()
    assert (again.error == first.error).all()
    assert not calls
    other = toy_model(error=1e-3)
    assert fingerprint(other.denoiser, 2, process) != fingerprint(model.denoiser, 2, process)
    with pytest.raises(AttributeError):  # it runs anew: the stand-in for solve returns None
        long_run(other.denoiser, x, process)


def test_an_entry_that_cannot_be_read_is_computed_again():
    model = toy_model()
    x = 20 * np.random.default_rng(0).standard_normal((3, 2))
    first = long_run(model.denoiser, x, model.process())
    for file in (storage.cache_folder() / "long-runs").iterdir():
        file.write_bytes(file.read_bytes()[:50])
    assert (long_run(model.denoiser, x, model.process()).state == first.state).all()


def test_a_network_is_compared_with_itself_and_with_its_data():
    spec = as_spec(toy_model(), evaluations=[40], corrections=["none"], samples=400)
    (row,) = compare(spec)
    out = to_json(row)
    assert set(out) >= {"data_energy_distance", "data_sliced_w2", "data_noise_floor"}
    assert out["flow_reference"]["kind"].startswith("long run of the same network")
    assert 0 < out["flow_reference"]["error"] < out["flow_error"]["value"] < 0.1
    for name in ("energy_distance", "data_energy_distance"):  # exact up to float32: all one law
        assert abs(out[name]["value"]) < 5 * out[name]["error"]
    wrong = as_spec(toy_model(error=3.0), evaluations=[40], corrections=["none"], samples=400)
    (row,) = compare(wrong)
    assert (
        abs(row.measured["energy_distance"].value) < 5 * row.measured["energy_distance"].error
    )  # its own law still
    assert (
        row.measured["data_energy_distance"].value > 5 * row.measured["data_energy_distance"].error
    )
    (row,) = compare(as_spec(toy_model(data_law=False), corrections=["none"]))
    assert not any(name.startswith("data") for name in to_json(row))


def test_grids_keep_within_the_models_range_and_start_as_the_model_says(monkeypatch):
    seen = []
    real = steinlab.experiments.bench.solve

    def spy(denoiser, x, grid, *args, **kwargs):
        seen.append((grid[0].sigma, grid[-2].sigma, x.std()))
        return real(denoiser, x, grid, *args, **kwargs)

    monkeypatch.setattr(steinlab.experiments.bench, "solve", spy)
    list(compare(as_spec(toy_model(data_law=False), corrections=["none"], samples=800)))
    ((top, least, spread),) = seen
    assert top == pytest.approx(20.0)
    assert least == pytest.approx(0.02)
    assert spread == pytest.approx(20.0, rel=0.1)


def test_an_interrupted_comparison_resumes_with_the_same_numbers(tmp_path, monkeypatch):
    spec = as_spec(toy_model(), solvers=["euler"], evaluations=[3, 4], samples=24)
    whole = [to_json(row) for row in compare(spec)]
    rows = compare(spec, folder=tmp_path)
    first = [to_json(next(rows)) for _ in range(3)]
    rows.close()
    assert len(list(tmp_path.glob("*.row.npz"))) == 3
    runs = []
    real = steinlab.experiments.compare._run
    monkeypatch.setattr(
        steinlab.experiments.compare, "_run", lambda *args: (runs.append(1), real(*args))[1]
    )
    resumed = [to_json(row) for row in compare(spec, folder=tmp_path)]
    assert resumed == whole
    assert resumed[:3] == first
    assert len(runs) == len(whole) - 3
    (tmp_path / "euler-3-evaluations-none.row.npz").write_text("{")
    for changed in (spec, as_spec(toy_model(error=0.1), samples=24)):
        runs.clear()
        list(compare(changed, folder=tmp_path))
        assert len(runs) == (1 if changed is spec else 2)  # a torn file; another network


def test_the_excess_is_the_scatter_that_a_shared_coefficient_brings():
    """End states ``5 + mean(x)``, the mean over the part that was run: all scatter is shared."""
    n, stated, values = 64, [], []
    request = Request(0, n, *(make_grid(EDM, "karras", 1)), "zero")
    sample = request.target(*np.random.default_rng(1).standard_normal((2, n, 1)))
    for seed in range(60):
        x = np.random.default_rng(seed).standard_normal((n, 1))

        def run(index, _part, x=x):
            return np.full((len(index), 1), 5 + x[index].mean()) + 1e-6 * x[index]

        whole = run(np.arange(n), "")
        bench = Bench(SUBJECT, x, sample, 0 * x)
        noise = coefficient_noise(bench, whole, run)
        stated.append(list(noise.added.values()))
        values.append([found.value for found in bench.measured(whole).values()])
    ratio = np.sqrt(np.mean(np.square(stated), axis=0)) / np.std(values, axis=0, ddof=1)
    # 60 replicates and 4 splits each: 12 % of standard error
    np.testing.assert_allclose(ratio, 1.0, atol=0.4)


def test_coefficients_without_noise_add_nothing():
    n, rng = 64, np.random.default_rng(0)
    states = rng.standard_normal((n, 2))
    request = Request(0, n, *(make_grid(EDM, "karras", 1)), "zero")
    sample = request.target(*np.random.default_rng(1).standard_normal((2, n, 2)))
    bench = Bench(SUBJECT, states, sample, states + 1)
    noise = coefficient_noise(bench, states, lambda index, _part: states[index])
    assert noise.added == dict.fromkeys(DEFAULT_METRICS, 0.0)
    assert noise.splits == SPLITS
    few = coefficient_noise(bench, states[:9], lambda index, _part: states[index])
    assert few.note == "coefficient noise unknown: 9 samples are too few to split"


def test_halves_of_any_two_splits_are_orthogonal():
    from steinlab.experiments.coefficient_noise import GROUPS, HALVES

    signs = np.array([[1 if g in half else -1 for g in range(GROUPS)] for half in HALVES])
    np.testing.assert_array_equal(signs @ signs.T, GROUPS * np.eye(SPLITS))
    assert (signs.sum(axis=1) == 0).all()


def test_the_command_keeps_rows_where_it_is_told(spec_file, tmp_path, capsys):
    data = {"weights": [1], "means": [[0, 1]], "stds": [1]}
    spec = spec_file({"data": data, "solvers": ["euler"], "evaluations": [3], "samples": 30})
    out, json_file = tmp_path / "rows", tmp_path / "rows.json"
    assert main(["compare", spec, "--out", str(out), "--json", str(json_file)]) == 0
    first, table = json_file.read_text(), capsys.readouterr().out
    assert len(list(out.iterdir())) == 2
    assert main(["compare", spec, "--out", str(out), "--json", str(json_file)]) == 0
    assert json_file.read_text() == first
    assert capsys.readouterr().out == table
    assert json.loads(first)[1]["coefficient_noise"]["splits"] == SPLITS


def test_a_folder_that_is_a_file_is_refused(spec_file, refused, tmp_path):
    (tmp_path / "file").write_text("")
    obj = {"model": "digits", "solvers": ["euler"], "evaluations": [3]}
    line = refused("compare", spec_file(obj), "--out", tmp_path / "file")
    assert line.startswith("--out must be a folder that can be made")


def test_states_keep_float64_around_a_float32_network():
    model = toy_model(dtype=torch.float32)
    x = np.ones((3, 2))
    assert long_run(model.denoiser, x, model.process()).state.dtype == np.float64
    assert isinstance(MODES, GaussianMixture)
