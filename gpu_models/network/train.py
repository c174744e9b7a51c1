"""Train the U-Net on Fashion-MNIST: ``steinlab train-fashion --preset tiny --out DIR``.

On several GPUs ``torchrun --nproc-per-node 2 -m steinlab train-fashion ...``: the same training,
step by step, up to rounding, one process per GPU. ``--out`` receives ``checkpoint.pt`` (all that
resumes the run), ``fashion-edm.safetensors`` (the averaged weights in half precision) and
``fashion-edm.json`` (their provenance), each written whole or not at all; ``fashion-flow`` in their
place for the presets whose name begins with ``flow``.
"""

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from gpu_models.network import fashion
from gpu_models.network.arguments import fashion_parser
from gpu_models.network.objective import resident, resident_labels
from gpu_models.network.parallel import Group, group_of
from gpu_models.network.run import Run
from gpu_models.network.trainer import PRESETS, Preset, Trainer
from steinlab.errors import InputError, one_of


def main(args: Sequence[str]) -> int:
    """Train, resume or measure the speed; return the exit code."""
    wanted = _parser().parse_args(args)
    preset = _preset(wanted)
    with group_of(wanted.device) as group:
        _work(wanted, preset, group)
    return 0


def _work(wanted: argparse.Namespace, preset: Preset, group: Group) -> None:
    torch.backends.cuda.matmul.allow_tf32 = True
    data = resident("train", wanted.data, group.device)
    compiled = group.device.type == "cuda" and not wanted.eager
    labels = resident_labels("train", wanted.data, group.device)
    trainer = Trainer(preset.settings, data, group, compiled=compiled, labels=labels)
    if wanted.benchmark is not None:
        found = benchmark(trainer, wanted.benchmark)
        if group.leads:
            print(json.dumps(found))
        return
    run = Run(
        trainer=trainer,
        preset=preset,
        out=Path(wanted.out),
        held_out=resident("test", wanted.data, group.device),
        held_out_labels=resident_labels("test", wanted.data, group.device),
        checksums=fashion.checksums(wanted.data) if group.leads else {},
        steps=wanted.steps,
        minutes=wanted.minutes,
    )
    if wanted.resume:
        run.resume()
    run.go(halt_at=wanted.halt_at)


def _preset(wanted: argparse.Namespace) -> Preset:
    preset = PRESETS[one_of("preset", wanted.preset, PRESETS)]
    if wanted.benchmark is None and wanted.out is None:
        raise InputError("out must name a folder, got nothing (--out DIR)")
    if wanted.minutes is not None and wanted.steps is not None:
        raise InputError("the budget must be minutes or steps, got both")
    for name in ("minutes", "steps", "batch", "benchmark"):
        value = getattr(wanted, name)
        if value is not None and not value > 0:
            raise InputError(f"{name} must be > 0, got {value}")
    changes = {name: getattr(wanted, name) for name in ("batch", "seed")}
    given = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(preset, settings=dataclasses.replace(preset.settings, **given))


def _parser() -> argparse.ArgumentParser:
    parser = fashion_parser("train-fashion", "Train the U-Net on Fashion-MNIST.")
    parser.add_argument("--preset", default="full", help=", ".join(PRESETS))
    parser.add_argument("--out", help="folder of checkpoint, weights and provenance")
    parser.add_argument("--minutes", type=float, help="budget of time, in place of steps")
    parser.add_argument("--steps", type=int, help="budget of steps")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in out")
    parser.add_argument("--halt-at", type=int, help="save and stop at this step, to resume later")
    parser.add_argument("--batch", type=int, help="pictures per step over all processes")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--eager", action="store_true", help="do not compile on a GPU")
    parser.add_argument(
        "--benchmark",
        type=float,
        nargs="?",
        const=30.0,
        metavar="SECONDS",
        help="measure images/s for this many seconds and print JSON, no training",
    )
    return parser


WINDOWS = 5
"""Intervals whose median is the speed and whose extremes are its spread."""
WARM_UP = 10


def benchmark(trainer: Trainer, seconds: float) -> dict[str, Any]:
    """Return pictures per second in training and in the averaged network's evaluations.

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
    level = torch.ones(len(x), device=group.device)
    given = () if trainer.labels is None else (trainer.labels[: len(x)],)

    def train() -> None:
        trainer.advance(0.0)

    def evaluate() -> None:
        with torch.no_grad():
            trainer.mean(x, level, *given)

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

    def timed(rounds: int) -> float:
        _wait(group)
        began = time.monotonic()
        for _ in range(rounds):
            work()
        _wait(group)
        return time.monotonic() - began

    rounds = max(1, int(group.agree(seconds / WINDOWS / max(timed(1), 1e-6))))
    speeds = [rounds * batch / timed(rounds) for _ in range(WINDOWS)]
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
