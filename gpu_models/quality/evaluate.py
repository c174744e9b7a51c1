"""Draw samples from a weights file and measure them: ``steinlab evaluate --out DIR``.

Writes ``measures.json`` and one picture of samples per run. Under ``torchrun`` every process draws
its share of the same samples.
"""

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gpu_models.models import DISPLAY, FASHION_WEIGHTS, network_denoiser
from gpu_models.network import fashion
from gpu_models.network.arguments import fashion_parser
from gpu_models.network.objective import resident
from gpu_models.network.parallel import Group, group_of
from gpu_models.network.weights import command_line
from gpu_models.quality.features import EXTRACTORS, confidence
from gpu_models.quality.measures import Bench, ConfidenceBench, measure
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.pictures import sheet
from steinlab.diffusion.processes import EDM
from steinlab.errors import InputError, one_of
from steinlab.solvers import evaluations_on, get_solver
from steinlab.solvers.loop import solve
from steinlab.solvers.plans import run_within
from steinlab.storage import write_json, write_whole

ROWS = 2500
"""States in one run of the solver."""


def draw_samples(
    denoiser: Denoiser,
    solver: str,
    evaluations: int,
    count: int,
    *,
    seed: int,
    group: Group,
    grid: str,
) -> tuple[torch.Tensor, int]:
    """Return samples ``(count, 784)`` in float64 and the evaluations spent.

    Runs start from ``80 eps``, EDM's custom, with noise that seed and count determine: the same
    in any number of processes.
    """
    plan, levels = run_within(get_solver(solver, EDM), EDM, grid, evaluations)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, fashion.DIM, generator=generator, dtype=torch.float64)
    start = levels[0].sigma * noise[group.share(count)].to(group.device)
    ends = [solve(denoiser, part, levels, plan).state for part in torch.split(start, ROWS)]
    return group.gather(torch.cat(ends), count), evaluations_on(plan, levels)


def main(args: Sequence[str]) -> int:
    """Sample, measure and write; return the exit code."""
    wanted = _parser().parse_args(args)
    with group_of(wanted.device) as group:
        _work(wanted, group)
    return 0


def _work(wanted: argparse.Namespace, group: Group) -> None:
    from PIL import Image

    benches, missing = _benches(wanted, group)
    denoiser = network_denoiser(wanted.weights, device=str(group.device), rows=ROWS)
    record: dict[str, Any] = {
        "command": command_line(),
        "device": torch.cuda.get_device_name(group.device) if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
        "not_run": missing,
        "held_out": {bench.name: bench.floor() for bench in benches},
        "runs": [],
    }
    for evaluations in wanted.evaluations:
        began = time.monotonic()
        states, spent = draw_samples(
            denoiser,
            wanted.solver,
            evaluations,
            wanted.samples,
            seed=wanted.seed,
            group=group,
            grid=wanted.grid,
        )
        seconds = time.monotonic() - began
        if not group.leads:
            continue
        run = {"solver": wanted.solver, "evaluations": spent, "samples": len(states)}
        run |= {"grid": wanted.grid, "seed": wanted.seed, "sampling_seconds": round(seconds, 2)}
        run["measures"] = measure(states, benches)
        record["runs"].append(run)
        write_json(wanted.out / "measures.json", record, indent=1, sort_keys=True)
        pictures = sheet(states[:128].cpu().numpy(), fashion.SHAPE, DISPLAY, columns=16)
        image, file = Image.fromarray(pictures), wanted.out / f"{wanted.solver}-{spent}.png"
        write_whole(file, partial(image.save, format="PNG"))
        print(run, flush=True)


def _benches(
    wanted: argparse.Namespace, group: Group
) -> tuple[list[Bench | ConfidenceBench], dict[str, str]]:
    """Return what can measure here, and why the rest cannot."""
    extractors, missing = {}, {}
    for name in [
        one_of("measures", name, EXTRACTORS) for name in wanted.measures.split(",") if name
    ]:
        try:
            extractors[name] = EXTRACTORS[name](group.device)
        except InputError as error:
            missing[name] = str(error)
    parts = [resident(part, wanted.data, torch.device("cpu")) for part in ("train", "test")]
    train, test = (p.reshape(len(p), -1)[: wanted.reference].float() / 127.5 - 1 for p in parts)
    benches: list[Bench | ConfidenceBench] = [
        Bench.of(extractor, train, test) for extractor in extractors.values()
    ]
    if "classifier" in extractors:
        benches.append(ConfidenceBench.of(confidence(group.device), test))
    return benches, missing


def _parser() -> argparse.ArgumentParser:
    parser = fashion_parser("evaluate", "Draw samples from a weights file and measure them.")
    parser.add_argument("--weights", type=Path, default=FASHION_WEIGHTS)
    parser.add_folder(required=True)
    parser.add_argument("--solver", default="dpmpp-2m")
    parser.add_argument("--grid", default="karras")
    parser.add_argument("--evaluations", type=_numbers, default=[18], metavar="N,N")
    parser.add_argument("--samples", type=int, default=10000)
    parser.add_argument("--reference", type=int, help="real pictures of each part; default all")
    parser.add_argument("--measures", default=",".join(EXTRACTORS), metavar="NAME,NAME")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]
