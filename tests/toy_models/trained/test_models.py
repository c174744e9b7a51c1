"""What is registered: the packaged weights, what they were trained on, and how well they sample."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from analytic import NoiseLevel  # noqa: E402
from steinlab import storage  # noqa: E402
from steinlab.diffusion.denoisers import HasDivergence, HasJvp, HasVjp  # noqa: E402
from steinlab.diffusion.grids import make_grid  # noqa: E402
from steinlab.diffusion.models import describe, load_model  # noqa: E402
from steinlab.diffusion.processes import EDM  # noqa: E402
from steinlab.errors import InputError  # noqa: E402
from steinlab.metrics import energy_distance  # noqa: E402
from steinlab.solvers import get_solver, make_plan  # noqa: E402
from steinlab.solvers.loop import solve  # noqa: E402
from toy_models.trained import models, presets, training  # noqa: E402
from toy_models.trained.data import DATA  # noqa: E402
from toy_models.trained.network import ToyNet  # noqa: E402
from toy_models.trained.presets import PRESETS  # noqa: E402
from toy_models.trained.weights import read  # noqa: E402

KNOWN = ("ring-mlp", "grid25-mlp", "digits-mlp")
DIALLED = ("grid25-fourier", "grid25-oversmoothed", "digits-ripple")


@pytest.mark.parametrize("name", PRESETS)
def test_the_packaged_weights_are_those_of_the_preset(name):
    preset, file = PRESETS[name], presets.packaged_file(PRESETS[name])
    note = json.loads(presets.provenance_file(file).read_text())
    assert file.stat().st_size < 1_000_000
    assert (note["digest"], note["complete"], note["steps"]) == (preset.digest, True, preset.steps)
    assert note["seconds_of_last_run"]["cpu"] < 100
    assert note["retrain"] == f"python -m toy_models.train {name}"
    assert note["loss_curve"][-1][1] < note["loss_curve"][0][1]
    run = training.begin(preset)
    run.net.load_state_dict(read(file, preset, run.net.state_dict()))
    with torch.no_grad():
        loss = float(training._loss(run.net, *training._held_out(run)))
    assert loss == pytest.approx(note["validation_loss"], rel=1e-4)
    assert loss < float(training._loss(ToyNet(preset), *training._held_out(run)).detach())


@pytest.mark.parametrize("name", PRESETS)
def test_a_model_says_what_it_is(name):
    model, preset = load_model(name), PRESETS[name]
    assert (model.name, model.dim, model.schedule) == (name, preset.dim, "edm")
    assert model.exact_law is None
    assert (model.data_law is not None) == (name in KNOWN)
    assert model.shape == ((1, 8, 8) if name == "digits-mlp" else ())
    assert isinstance(model.denoiser, HasJvp)
    assert isinstance(model.denoiser, HasVjp)


@pytest.mark.parametrize("name", KNOWN)
def test_it_comes_near_the_exact_denoiser(name):
    """At noise as large as the data's spread, in units of the posterior's own spread."""
    model = load_model(name)
    law, rng = model.data_law(), np.random.default_rng(0)
    x_star = law.sample(500, rng)
    level = NoiseLevel(1.0, float(np.sqrt(x_star.var(axis=0).mean())))
    x = x_star + level.sigma * rng.standard_normal(x_star.shape)
    off = ((model.denoiser(x, level) - law(x, level)) ** 2).sum(axis=-1).mean()
    limit = {"ring-mlp": 0.05, "grid25-mlp": 0.05, "digits-mlp": 0.9}[name]
    assert np.sqrt(off / law.posterior_variance(x, level).mean()) < limit


@pytest.mark.parametrize("name", PRESETS)
def test_its_samples_are_those_of_the_data(name):
    """Energy distance to held-out data, and that of what the network knows without training."""
    model, data = load_model(name), DATA[PRESETS[name].data]
    count, rng = 2000, np.random.default_rng(0)
    truth = data.sample(count, np.random.default_rng(1))
    start = 80 * rng.standard_normal((count, model.dim))
    plan, grid = make_plan(get_solver("dpmpp-2m", EDM), 20), make_grid(EDM, "karras", 20)
    found = energy_distance(solve(model.denoiser, start, grid, plan).state, truth)
    assert found.value < 4 * found.error
    normal = truth.mean(axis=0) + truth.std(axis=0) * rng.standard_normal(truth.shape)
    control = energy_distance(normal, truth)
    assert control.value > 4 * control.error


@pytest.mark.parametrize("name", DIALLED)
def test_a_dialled_model_is_off_by_what_it_says(name):
    model = load_model(name)
    law, level = model.data_law(), NoiseLevel(1.0, 0.5)
    rng = np.random.default_rng(0)
    x_star = law.sample(2000, rng)
    x = x_star + level.sigma * rng.standard_normal(x_star.shape)
    squares = ((model.denoiser(x, level) - law(x, level)) ** 2).sum(axis=-1)
    own = model.denoiser.l2(level)
    slack = 5 * squares.std() / np.sqrt(len(x)) + 2 * own.value * own.error
    assert squares.mean() == pytest.approx(own.value**2, abs=slack)
    if name != "grid25-oversmoothed":
        assert own.value == pytest.approx(0.1 * 0.5, rel=1e-12)
    assert isinstance(model.denoiser, HasDivergence)
    assert model.exact_law is None


def test_the_list_names_them_all():
    records = {record["name"]: record for record in describe()}
    for name in (*PRESETS, *DIALLED):
        assert (records[name]["state"], records[name]["exact"]) == ("available", False)


def test_without_weights_it_says_how_to_make_them(monkeypatch, tmp_path):
    monkeypatch.setenv(storage.CACHE_VARIABLE, str(tmp_path))
    preset = PRESETS["ring-mlp"].with_seed(7)
    model = models.toy_model(preset)
    command = "steinlab train ring-mlp --seed 7"
    assert model.missing == f"no weights of hash {preset.digest}, run {command}"
    monkeypatch.setattr(presets, "packaged_file", lambda _: tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="model ring-mlp is not available: no weights of hash"):
        load_model("ring-mlp")


def test_a_corrupt_packaged_file_is_one_line(monkeypatch, tmp_path):
    real = presets.packaged_file(PRESETS["ring-mlp"])
    copy = tmp_path / real.name
    copy.write_bytes(real.read_bytes()[:-100])
    presets.provenance_file(copy).write_text(presets.provenance_file(real).read_text())
    monkeypatch.setattr(presets, "packaged_file", lambda _: copy)
    with pytest.raises(InputError, match="expected a whole safetensors file"):
        _ = load_model("ring-mlp").denoiser


@pytest.mark.parametrize("name", DATA)
def test_data_are_drawn_as_described(name):
    x = DATA[name].sample(20_000, np.random.default_rng(0))
    assert np.isfinite(x).all()
    assert (x == DATA[name].sample(20_000, np.random.default_rng(0))).all()
    if name == "checkerboard":
        cell = np.floor(x + 2).astype(int)
        assert ((cell >= 0) & (cell < 4)).all()
        assert (cell.sum(axis=1) % 2 == 0).all()
        assert len({tuple(each) for each in cell.tolist()}) == 8
    elif name == "moons":
        radius = np.linalg.norm(x - np.where(x[:, 1:] > 0, (-0.5, -0.25), (0.5, 0.25)), axis=1)
        assert np.median(np.abs(radius - 1)) < 0.1
        assert abs(x.mean(axis=0)).max() < 5 * x.std() / np.sqrt(len(x)) + 0.02
    elif name == "spirals":
        assert np.linalg.norm(x, axis=1).max() < 3 + 6 * 0.1
