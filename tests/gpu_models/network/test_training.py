"""Training: the loss, the average, memory, resumption, and any number of processes."""

from __future__ import annotations

import dataclasses
import io
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gpu_models.network import fashion
from gpu_models.network.objective import (
    OBJECTIVES,
    average,
    draw,
    loss_of,
    power_of,
    validate,
)
from gpu_models.network.parallel import Group
from gpu_models.network.run import Run
from gpu_models.network.trainer import PRESETS, Preset, Settings, Trainer, learning_rate
from gpu_models.network.unet import UNetConfig
from steinlab.errors import InputError
from steinlab.storage import read_sealed

ALONE = Group(0, 1, torch.device("cpu"))
SETTINGS = Settings(
    UNetConfig(channels=(8, 8), blocks=1, embedding=8, sigma_data=0.577),
    batch=8,
    rate=4e-3,
    warmup=2,
)
PRESET = Preset(SETTINGS, steps=6, log_every=4, save_every=60.0, validated=4, levels=(1.0,))
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def pictures() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (64, 1, 28, 28), dtype=torch.uint8, generator=generator)


def linear(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The best linear denoiser of independent uniform bytes, of deviation 0.5796."""
    s = bytes_deviation()
    return x * (s**2 / (s**2 + sigma**2))[:, None, None, None]


def bytes_deviation() -> float:
    return float((np.arange(256) / 127.5 - 1).std())


def trained(pictures: torch.Tensor, out: Path, settings: Settings = SETTINGS) -> Run:
    run = Run(Trainer(settings, pictures, ALONE), PRESET, out, pictures, {})
    run.go()
    return run


def same(a: Trainer, b: Trainer) -> bool:
    pairs = zip((a.net, a.mean), (b.net, b.mean), strict=True)
    return all(
        torch.equal(x, y)
        for one, two in pairs
        for x, y in zip(one.parameters(), two.parameters(), strict=True)
    )


def test_weighted_loss_of_the_best_linear_denoiser_is_one_at_every_level() -> None:
    generator = torch.Generator().manual_seed(1)
    data = torch.randint(256, (2000, 1, 28, 28), dtype=torch.uint8, generator=generator)
    batch = draw(data, 2000, 0, 0, slice(None))
    each = loss_of(linear, batch, bytes_deviation(), OBJECTIVES["edm"])
    z = (each.mean() - 1) / (each.std() / math.sqrt(len(each)))
    assert abs(float(z)) < 4
    logs = batch.level.log()
    assert abs(float(logs.mean()) + 1.2) < 4 * 1.2 / math.sqrt(2000)
    assert abs(float(logs.std()) - 1.2) < 4 * 1.2 / math.sqrt(4000)


def test_validation_is_the_closed_form(pictures: torch.Tensor) -> None:
    s = bytes_deviation()
    for found in validate(linear, pictures, (0.1, 1.0, 10.0)):
        exact = found.level**2 * s**2 / (found.level**2 + s**2)
        assert abs(found.error - exact) < 5 * found.standard_error
    again = validate(linear, pictures, (0.1,))
    assert again == validate(linear, pictures, (0.1,))


def best_velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The best linear guess of ``eps - x0`` for independent uniform bytes."""
    s, time = bytes_deviation(), t[:, None, None, None]
    return x * (time - (1 - time) * s**2) / ((1 - time) ** 2 * s**2 + time**2)


def test_error_of_the_best_linear_velocity_is_the_closed_form(pictures: torch.Tensor) -> None:
    s = bytes_deviation()
    levels = (0.0, 0.1, 0.5, 0.9, 1.0)
    for found in validate(best_velocity, pictures, levels, objective=OBJECTIVES["flow"]):
        exact = s**2 / ((1 - found.level) ** 2 * s**2 + found.level**2)
        assert abs(found.error - exact) < 5 * found.standard_error


def test_times_are_uniform_and_a_share_of_the_labels_is_withheld(pictures: torch.Tensor) -> None:
    labels = torch.arange(64) % 10
    flow = {"objective": OBJECTIVES["flow"], "labels": labels, "dropped": 0.1}
    batch = draw(pictures, 4000, 0, 0, slice(None), **flow)
    assert float(batch.level.min()) >= 0
    assert float(batch.level.max()) < 1
    assert abs(float(batch.level.mean()) - 0.5) < 4 * math.sqrt(1 / 12 / 4000)
    none = (batch.labels == fashion.CLASSES).double()
    assert abs(float(none.mean()) - 0.1) < 4 * math.sqrt(0.09 / 4000)
    kept = batch.labels < fashion.CLASSES
    clean = (batch.clean[kept] * 127.5 + 127.5).round().to(torch.uint8)
    rows = (clean[:, None] == pictures[None]).flatten(2).all(2).int().argmax(1)
    assert torch.equal(labels[rows], batch.labels[kept])
    again = draw(pictures, 4000, 0, 0, slice(5, 9), **flow)
    assert torch.equal(again.labels, batch.labels[5:9])


def test_labels_and_objective_reach_the_network(pictures: torch.Tensor) -> None:
    config = dataclasses.replace(SETTINGS.config, objective="flow", classes=10, patch=2)
    settings = dataclasses.replace(SETTINGS, config=config, batch=64, dropped=0.5)
    labels = torch.arange(64) % 10
    trainer = Trainer(settings, pictures, ALONE, labels=labels)
    before = trainer.net.net.label.weight.clone()
    for _ in range(3):
        trainer.advance(0.0)
    moved = (trainer.net.net.label.weight - before).abs().sum(1)
    assert bool((moved > 0).all())


def test_batch_depends_on_seed_and_step_alone(pictures: torch.Tensor) -> None:
    whole = draw(pictures, 10, 3, 5, slice(None))
    parts = [draw(pictures, 10, 3, 5, Group(r, 3, ALONE.device).share(10)) for r in range(3)]
    for index in range(3):
        assert torch.equal(whole[index], torch.cat([part[index] for part in parts]))
    for seed, step in ((4, 5), (3, 6)):
        assert not torch.equal(whole.noise, draw(pictures, 10, seed, step, slice(None)).noise)


def test_average_weighs_time_by_a_power() -> None:
    power, steps = 6.0, 50
    mean = [torch.zeros((), dtype=torch.float64)]
    for t in range(1, steps + 1):
        average(mean, [torch.tensor(float(t**2), dtype=torch.float64)], t, power)
    t = np.arange(steps + 1) / steps
    weights = np.diff(t ** (power + 1))
    expected = float(weights @ np.arange(1, steps + 1) ** 2)
    assert float(mean[0]) == pytest.approx(expected, rel=1e-12)


def test_power_has_the_width_that_was_asked_for() -> None:
    for width in (0.05, 0.1, 0.25):
        t = np.linspace(0, 1, 200001)
        density = t ** power_of(width)
        centre = np.average(t, weights=density)
        assert math.sqrt(np.average((t - centre) ** 2, weights=density)) == pytest.approx(
            width, rel=1e-4
        )


def test_rate_rises_and_falls() -> None:
    rates = [learning_rate(SETTINGS, step, step / 100) for step in range(101)]
    assert rates[0] == pytest.approx(SETTINGS.rate / 2)
    assert max(rates) <= SETTINGS.rate
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-12)


def test_parts_of_a_batch_give_the_gradient_of_the_whole(pictures: torch.Tensor) -> None:
    gradients = []
    for micro in (8, 3):
        trainer = Trainer(SETTINGS, pictures, ALONE)
        trainer.micro = micro
        loss = trainer.advance(0.0)
        gradients.append([float(loss), *(p.grad.norm() for p in trainer.net.parameters())])
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-6)


def test_running_out_of_memory_halves_the_part(
    pictures: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, tight = (Trainer(SETTINGS, pictures, ALONE) for _ in range(2))
    loss = tight._loss

    def limited(batch: torch.Tensor) -> torch.Tensor:
        if len(batch.level) > 3:
            raise torch.OutOfMemoryError
        return loss(batch)

    monkeypatch.setattr(tight, "_loss", limited)
    plain.micro = 2
    for _ in range(2):
        plain.advance(0.0)
        tight.advance(0.0)
    assert tight.micro == 2
    assert same(plain, tight)

    def none(_: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(tight, "_loss", none)
    with pytest.raises(InputError, match="memory must hold one picture's step"):
        tight.advance(0.0)


def test_resumed_run_is_the_uninterrupted_one(pictures: torch.Tensor, tmp_path: Path) -> None:
    whole = trained(pictures, tmp_path / "whole")
    first = Run(Trainer(SETTINGS, pictures, ALONE), PRESET, tmp_path / "parts", pictures, {})
    first.go(halt_at=3)
    assert first.trainer.step == 3
    second = Run(Trainer(SETTINGS, pictures, ALONE), PRESET, tmp_path / "parts", pictures, {})
    second.resume()
    second.go()
    assert second.trainer.step == whole.trainer.step == 6
    assert same(second.trainer, whole.trainer)
    assert second.validation == whole.validation
    files = [tmp_path / name / "fashion-edm.safetensors" for name in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_comparison_of_runs_would_notice_another_step(
    pictures: torch.Tensor, tmp_path: Path
) -> None:
    whole = trained(pictures, tmp_path / "whole")
    first = Run(Trainer(SETTINGS, pictures, ALONE), PRESET, tmp_path / "parts", pictures, {})
    first.go(halt_at=3)
    second = Run(Trainer(SETTINGS, pictures, ALONE), PRESET, tmp_path / "parts", pictures, {})
    second.resume()
    second.trainer.step = 2
    second.go()
    assert not same(second.trainer, whole.trainer)


def test_training_lowers_the_loss_on_what_it_saw(data: Path) -> None:
    from gpu_models.network.objective import resident

    pictures = resident("test", str(data), ALONE.device)[:64]
    settings = dataclasses.replace(SETTINGS, batch=16, rate=1e-2)
    trainer = Trainer(settings, pictures, ALONE)
    before = validate(trainer.net, pictures, (0.5,))[0]
    for _ in range(15):
        trainer.advance(0.0)
    after = validate(trainer.net, pictures, (0.5,))[0]
    assert after.error < before.error - 5 * (before.standard_error + after.standard_error)


def test_non_finite_loss_stops_the_run(pictures: torch.Tensor, tmp_path: Path) -> None:
    run = Run(Trainer(SETTINGS, pictures, ALONE), PRESET, tmp_path, pictures, {})
    with torch.no_grad():
        next(run.trainer.net.parameters()).fill_(math.nan)
    with pytest.raises(FloatingPointError, match="loss is not finite by step 4"):
        run.go()


@pytest.mark.parametrize(
    ("change", "words"),
    [({"seed": 1}, "seed must be that of the checkpoint, 0, got 1"), ({"batch": 4}, "batch")],
)
def test_checkpoint_of_another_run_is_refused(
    pictures: torch.Tensor, tmp_path: Path, change: dict[str, int], words: str
) -> None:
    Run(Trainer(SETTINGS, pictures, ALONE), PRESET, tmp_path, pictures, {}).save()
    other = dataclasses.replace(SETTINGS, **change)
    run = Run(Trainer(other, pictures, ALONE), PRESET, tmp_path, pictures, {})
    with pytest.raises(InputError, match=words):
        run.resume()


def test_truncated_checkpoint_is_refused(pictures: torch.Tensor, tmp_path: Path) -> None:
    run = Run(Trainer(SETTINGS, pictures, ALONE), PRESET, tmp_path, pictures, {})
    run.save()
    path = tmp_path / "checkpoint.pt"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (whole[:5000], flipped):
        path.write_bytes(content)
        with pytest.raises(InputError, match="must be a whole checkpoint"):
            run.resume()


def start(rank: int, size: int, port: int, data: Path, out: Path) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    words = ["--preset", "tiny", "--steps", "3", "--batch", "7", "--device", "cpu"]
    command = [sys.executable, "-m", "gpu_models.train", *words]
    return subprocess.Popen(
        [*command, "--data", str(data), "--out", str(out)],
        env=environment,
        text=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def test_two_processes_train_what_one_trains(data: Path, tmp_path: Path) -> None:
    from gpu_models.network.train import main

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [start(rank, 2, port, data, tmp_path / "two") for rank in range(2)]
    words = ["--preset", "tiny", "--steps", "3", "--batch", "7", "--device", "cpu"]
    assert main([*words, "--data", str(data), "--out", str(tmp_path / "one")]) == 0
    printed = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    assert printed[1][0] == ""
    one, two = (
        torch.load(io.BytesIO(read_sealed(tmp_path / name / "checkpoint.pt")), weights_only=True)
        for name in ("one", "two")
    )
    assert one["curve"][-1]["loss"] == pytest.approx(two["curve"][-1]["loss"], rel=1e-5)
    # three steps of Adam move a weight by the rate each; rounding moves it a thousandth of that
    moved = 3 * PRESETS["tiny"].settings.rate
    for name, weight in one["net"].items():
        assert float((weight - two["net"][name]).abs().max()) < 1e-3 * moved, name
