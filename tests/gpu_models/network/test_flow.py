"""The model ``fashion-flow``: its options, its labels, and where the claims find it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from analytic import NoiseLevel
from gpu_models.models import FLOW_WEIGHTS, flow_denoiser, load_network
from gpu_models.network import fashion
from gpu_models.network.objective import OBJECTIVES, resident, resident_labels, validate
from gpu_models.network.unet import UNetConfig, parameters_of
from gpu_models.quality.classifier import load_classifier
from steinlab.claims.coefficient.guided_coefficient import CLAIM
from steinlab.claims.instruments import flow_network
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.models import load_model
from steinlab.errors import InputError
from steinlab.solvers.loop import solve
from steinlab.verification.judge import run_check

RECORD = json.loads(FLOW_WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))
LEVEL = NoiseLevel(0.4, 0.6)
CPU = torch.device("cpu")


def states(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, fashion.DIM))


def test_record_is_that_of_the_weights() -> None:
    net = load_network(FLOW_WEIGHTS)
    assert FLOW_WEIGHTS.stat().st_size < 4e6
    assert parameters_of(net) == RECORD["parameters"]
    assert RECORD["images"] == RECORD["steps"] * RECORD["settings"]["batch"]
    assert RECORD["progress"] == 1
    assert RECORD["device"] == "cpu"
    assert net.config == UNetConfig.of_json(RECORD["settings"]["config"])


def test_options_choose_class_and_guidance() -> None:
    x = states(2)
    every, boots = load_model("fashion-flow"), load_model("fashion-flow:label=9")
    strong = load_model({"name": "fashion-flow", "label": 9, "guidance": 2})
    assert every.schedule == strong.schedule == "flow"
    assert [m.name for m in (every, boots, strong)] == [
        "fashion-flow",
        "fashion-flow:label=9",
        "fashion-flow:label=9,guidance=2",
    ]
    one, all_of_them = boots.denoiser(x, LEVEL), every.denoiser(x, LEVEL)
    assert np.abs(one - all_of_them).max() > 0.01
    np.testing.assert_allclose(strong.denoiser(x, LEVEL), 2 * one - all_of_them, atol=1e-5)
    mixed = flow_denoiser([9, fashion.CLASSES])(x, LEVEL)
    np.testing.assert_allclose(mixed, [one[0], all_of_them[1]], atol=1e-5)
    assert strong.on("cpu").denoiser.guided


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("label=10", "label must be a whole number from 0 to 9, got 10"),
        ("label=1/2", "label must be a whole number from 0 to 9, got 1/2"),
        ("label=boot", "label must be a number or a fraction"),
        ("guidance=2", "guidance must come with a label, got 2 alone"),
        ("label=1,guidance=inf", "guidance must be finite, got inf"),
        ("labels=1", "did you mean label"),
    ],
)
def test_bad_options_are_one_line(options: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_model(f"fashion-flow:{options}")
    assert "\n" not in str(caught.value)


def test_data_law_is_that_of_the_class(monkeypatch: pytest.MonkeyPatch, data: object) -> None:
    monkeypatch.setenv(fashion.VARIABLE, str(data))
    boots = load_model("fashion-flow:label=9").data_law
    assert boots is not None
    assert len(boots().data) == 6000


def test_samples_from_pure_noise_are_of_their_class() -> None:
    labels = np.arange(20) % 10
    grid = make_grid("flow", "time-uniform:start=1", 8)
    assert grid[0] == NoiseLevel(0.0, 1.0)
    made = solve(flow_denoiser(labels, 2.0), states(20), grid, "dpmpp-2m").state
    pictures = torch.as_tensor(made).float().reshape(-1, *fashion.SHAPE)
    answers = load_classifier()(pictures).argmax(1).numpy()
    assert np.mean(answers == labels) > 0.6


@pytest.mark.skipif(not fashion.DEFAULT_FOLDER.is_dir(), reason="the data are not installed")
def test_shipped_weights_have_the_error_that_their_record_says() -> None:
    data, labels = (of("test", None, CPU)[:100] for of in (resident, resident_labels))
    net = load_network(FLOW_WEIGHTS)
    (found,) = validate(net, data, (0.5,), objective=OBJECTIVES["flow"], labels=labels)
    stated = {(v["part"], v["t"]): v["error"] for v in RECORD["validation"]}["test", 0.5]
    assert abs(found.error - stated) < 4 * found.standard_error


def test_claims_leave_the_network_out_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    (check,) = (check for check in CLAIM.checks if check.name == "network")
    assert check.missing() == ""
    monkeypatch.setattr(flow_network, "find_spec", lambda _name: None)
    assert check.missing() == "fashion-flow needs torch, which is not installed"
    monkeypatch.setattr(flow_network, "registered", dict)
    assert check.missing() == "fashion-flow is not registered"


def test_guided_network_rejects_tweedies_coefficient() -> None:
    (check,) = (check for check in CLAIM.checks if check.name == "network")
    result = run_check(CLAIM, check, "quick", 0)
    assert not result.comparison.violated.any()
    (control,) = (c for c in CLAIM.controls if c.name == "Tweedie with the guided network")
    assert check.compare(result.data[-1], control.formula).violated.all()
