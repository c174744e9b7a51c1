"""Weight files: what is whole is loaded, what is not is named; and the weights that ship."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from gpu_models.models import FASHION_WEIGHTS, FOLDER, fashion_edm, load_network
from gpu_models.network import fashion
from gpu_models.network.objective import resident, validate
from gpu_models.network.parallel import Group, pick_device
from gpu_models.network.unet import ARCHITECTURE, VERSION, UNetConfig, build, parameters_of
from gpu_models.network.weights import load_weights, save_weights
from gpu_models.quality.classifier import ARCHITECTURE as CLASSIFIER
from gpu_models.quality.classifier import load_classifier
from steinlab.diffusion import models
from steinlab.errors import InputError

CPU = torch.device("cpu")
CONFIG = UNetConfig(channels=(8, 8), blocks=1, embedding=8)
LIMIT = 16 * 2**20
RECORD = json.loads(FASHION_WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))


def saved(path: Path, architecture: str = ARCHITECTURE, version: int = VERSION) -> Path:
    net = build(CONFIG, seed=2)
    save_weights(path, net.state_dict(), architecture, version, asdict(CONFIG))
    return path


def test_weights_return_rounded_to_half_precision(tmp_path: Path) -> None:
    net, again = build(CONFIG, seed=2), load_network(saved(tmp_path / "w.safetensors"))
    assert again.config == CONFIG
    for p, q in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(p.half().float(), q)
        assert not q.requires_grad
    assert (
        saved(tmp_path / "v.safetensors").read_bytes() == (tmp_path / "w.safetensors").read_bytes()
    )


@pytest.mark.parametrize(
    ("architecture", "version", "words"),
    [
        (CLASSIFIER, VERSION, f"must have architecture {ARCHITECTURE}, found {CLASSIFIER}"),
        (ARCHITECTURE, VERSION + 1, f"must have version {VERSION}, found {VERSION + 1}"),
    ],
)
def test_another_architecture_is_refused(
    tmp_path: Path, architecture: str, version: int, words: str
) -> None:
    path = saved(tmp_path / "w.safetensors", architecture, version)
    with pytest.raises(InputError, match=words):
        load_network(path)


@pytest.mark.parametrize("keep", [0, 5, 500, -1])
def test_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = saved(tmp_path / "w.safetensors")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"must be a whole safetensors file, found \d+ bytes"):
        load_network(path)


def test_missing_file_and_tensor_and_shape_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must exist, found nothing"):
        load_network(tmp_path / "nothing")
    tensors = build(CONFIG).state_dict()
    wrong = {**tensors, "net.last.bias": torch.zeros(2)}
    path = tmp_path / "w.safetensors"
    save_weights(path, wrong, ARCHITECTURE, VERSION, asdict(CONFIG))
    with pytest.raises(InputError, match=r"net.last.bias must have shape \(1,\), found \(2,\)"):
        load_network(path)
    del wrong["net.last.bias"]
    save_weights(path, wrong, ARCHITECTURE, VERSION, asdict(CONFIG))
    with pytest.raises(InputError, match=r"net.last.bias must have shape \(1,\), found None"):
        load_network(path)


def test_values_beyond_half_precision_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="w must be finite in half precision"):
        save_weights(tmp_path / "w", {"w": torch.tensor([1e6])}, "a", 1, {})
    assert not list(tmp_path.iterdir())


def test_shipped_weights_fit_their_provenance() -> None:
    net = load_network()
    assert FASHION_WEIGHTS.stat().st_size < LIMIT
    assert parameters_of(net) == RECORD["parameters"]
    assert RECORD["images"] == RECORD["steps"] * RECORD["settings"]["batch"]
    assert RECORD["progress"] == 1
    assert net.config == UNetConfig.of_json(RECORD["settings"]["config"])
    losses = [entry["loss"] for entry in RECORD["loss_curve"]]
    assert np.mean(losses[-10:]) < np.mean(losses[len(losses) // 2 :][:10])


def test_records_name_no_folder_of_any_machine() -> None:
    for path in FOLDER.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r'[ "=]/\w', text), path


def test_model_is_registered_with_its_shape_and_law(
    monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    monkeypatch.setenv(fashion.VARIABLE, str(data))
    model = models.load_model("fashion-edm")
    assert (model.dim, model.shape, model.schedule) == (784, (1, 28, 28), "edm")
    assert str(RECORD["parameters"]) in model.size
    assert model.data_law is not None
    assert model.sigma_range == (0.002, 80.0)
    monkeypatch.setenv(fashion.VARIABLE, str(FOLDER))
    assert models.load_model("fashion-edm").data_law is None


def test_absent_weights_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("gpu_models.models.FASHION_WEIGHTS", tmp_path / "fashion-edm.safetensors")
    assert "steinlab train-fashion" in fashion_edm().missing
    with pytest.raises(InputError, match="fashion-edm is not available"):
        models.load_model("fashion-edm")


def test_samples_are_clothes_to_the_classifier() -> None:
    from gpu_models.quality.evaluate import draw_samples
    from gpu_models.quality.features import confidence

    denoiser = models.load_model("fashion-edm").denoiser
    alone = Group(0, 1, CPU)
    states, spent = draw_samples(denoiser, "dpmpp-2m", 8, 12, seed=0, group=alone, grid="karras")
    assert spent == 8
    sure = confidence(CPU)
    found, noise = sure(states)[:, 0], sure(torch.randn(12, 784) * 0.7)[:, 0]
    assert float(found.median()) > 0.8
    assert float(noise.median()) < float(found.median())
    classes = load_classifier()(states.float().reshape(-1, 1, 28, 28)).argmax(1)
    assert len(classes.unique()) > 2


@pytest.mark.skipif(not fashion.DEFAULT_FOLDER.is_dir(), reason="the data are not installed")
def test_shipped_weights_denoise_as_their_record_says() -> None:
    pictures = resident("test", None, CPU)[:48]
    (found,) = validate(load_network(), pictures, (1.0,))
    (stated,) = (
        each for each in RECORD["validation"] if (each["part"], each["sigma"]) == ("test", 1.0)
    )
    assert abs(found.error - stated["error"]) < 4 * found.standard_error


def test_cuda_that_is_absent_is_refused() -> None:
    with pytest.raises(InputError, match=r"device must be one of the \d+ CUDA devices found"):
        pick_device("cuda:99")
    for name in ("tpu", "meta"):
        with pytest.raises(InputError, match=f"device must be cpu or cuda, got {name}"):
            pick_device(name)


def test_a_flipped_bit_of_a_weight_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path / "w.safetensors")
    whole = bytearray(file.read_bytes())
    for place in (-1, -100, -5000):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(InputError, match="must have content "):
            load_weights(file, ARCHITECTURE, VERSION)


def test_unknown_metadata_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=f"must have architecture {ARCHITECTURE}, found None"):
        load_weights(tmp_path / "w.safetensors", ARCHITECTURE, VERSION)


def test_listing_the_model_does_not_import_torch() -> None:
    code = "import sys, gpu_models.models as m; m.fashion_edm(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
