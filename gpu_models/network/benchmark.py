"""Speed of training and sampling for the number of processes at hand, as JSON."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from gpu_models.network.parallel import Group
from gpu_models.network.trainer import Trainer

WINDOWS = 5
"""Intervals whose median is the speed and whose extremes are its spread."""
WARM_UP = 10


def benchmark(trainer: Trainer, seconds: float) -> dict[str, Any]:
    """Return pictures a second in training and in the averaged network's evaluations.

    Every process works on its own share of one batch, which keeps its size.

    Parameters
    ----------
    trainer : Trainer
    seconds : float
        For both together, compilation not counted.
    """
    group, batch = trainer.group, trainer.settings.batch
    share = group.share(batch)
    x = torch.randn(share.stop - share.start, *trainer.data.shape[1:], device=group.device)
    sigma = torch.ones(len(x), device=group.device)

    def train() -> None:
        trainer.advance(0.0)

    def evaluate() -> None:
        with torch.no_grad():
            trainer.mean(x, sigma)

    return {
        "processes": group.size,
        "device": torch.cuda.get_device_name(group.device) if _on_gpu(group) else "cpu",
        "torch": torch.__version__,
        "batch": batch,
        "micro_batch": trainer.micro,
        "train": _speed(train, group, batch, 0.7 * seconds),
        "evaluate": _speed(evaluate, group, batch, 0.3 * seconds),
        "memory_bytes": torch.cuda.max_memory_allocated(group.device) if _on_gpu(group) else None,
    }


def _speed(work: Callable[[], None], group: Group, batch: int, seconds: float) -> dict[str, float]:
    for _ in range(WARM_UP):
        work()
    _wait(group)
    began = time.monotonic()
    work()
    _wait(group)
    once = max(time.monotonic() - began, 1e-6)
    rounds = max(1, int(group.agree(seconds / WINDOWS / once)))
    speeds = []
    for _ in range(WINDOWS):
        _wait(group)
        began = time.monotonic()
        for _ in range(rounds):
            work()
        _wait(group)
        speeds.append(rounds * batch / (time.monotonic() - began))
    return {
        "images_per_second": statistics.median(speeds),
        "lowest": min(speeds),
        "highest": max(speeds),
    }


def _wait(group: Group) -> None:
    if _on_gpu(group):
        torch.cuda.synchronize(group.device)
    group.agree(0.0)


def _on_gpu(group: Group) -> bool:
    return group.device.type == "cuda"
