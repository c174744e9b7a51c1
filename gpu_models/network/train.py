"""Train the U-Net on Fashion-MNIST: ``steinlab train-fashion --preset tiny --out DIR``.

On several GPUs ``torchrun --nproc-per-node 2 -m steinlab train-fashion ...``: the same training,
step by step, up to rounding, one process per GPU. ``--out`` receives ``checkpoint.pt`` (all that
resumes the run), ``fashion-edm.safetensors`` (the averaged weights in half precision) and
``fashion-edm.json`` (their provenance), each written whole or not at all.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from gpu_models.network import fashion
from gpu_models.network.arguments import fashion_parser
from gpu_models.network.benchmark import benchmark
from gpu_models.network.objective import resident
from gpu_models.network.parallel import Group, group_of
from gpu_models.network.presets import PRESETS, Preset
from gpu_models.network.run import Run
from gpu_models.network.trainer import Trainer
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
    trainer = Trainer(preset.settings, data, group, compiled=compiled)
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
    parser.add_argument("--batch", type=int, help="pictures a step over all processes")
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
