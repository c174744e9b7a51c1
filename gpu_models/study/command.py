"""Run the study of corrections on a neural denoiser: ``steinlab study --data DIR --out DIR``.

Finished pieces are kept, so that an interrupted study resumes. Every piece draws from generators
seeded by its content, so that its numbers do not depend on the order. On several GPUs, of any
number of hosts that share ``--out``, ``torchrun --nproc-per-node 2 -m steinlab study ...``: every
process runs a share of its own, on a GPU of its own.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from gpu_models.models import FASHION_WEIGHTS, load_network
from gpu_models.network import fashion
from gpu_models.network.parallel import pick_device, ranks
from gpu_models.network.weights import command_line
from gpu_models.quality.features import EXTRACTORS
from gpu_models.quality.measures import Bench
from gpu_models.study.cells import again, run_cell
from gpu_models.study.cost import costs
from gpu_models.study.design import CORRECTIONS, FAIR, SIZES, Cell, as_json, cells
from gpu_models.study.entrants import table
from gpu_models.study.lab import Lab, denoisers
from gpu_models.study.stored import Records, read
from gpu_models.study.theory import coefficients, denoiser_errors, lipschitz
from steinlab.cli.output import progress_bar
from steinlab.cli.parser import Parser, where
from steinlab.errors import InputError, one_of
from steinlab.metrics import METRICS
from steinlab.workers import SerialExecutor, completed, executor_for, required

ROWS = (64, 512, 2500)
"""States that the network sees at once: a compiled one is asked for these numbers only."""


PIECES: dict[str, Callable[[Lab], Any]] = {
    "denoiser": denoiser_errors,
    "cost": lambda lab: [costs(lab)],
    "coefficients": coefficients,
    "lipschitz": lipschitz,
    "again": again,
}
"""Everything that is no cell, in the order in which shards take it in turn."""

RUNS = "runs"
"""What ``--only`` calls the cells."""


def main(args: Sequence[str]) -> int:
    """Run what is missing and return the exit code."""
    wanted = _parser().parse_args(args)
    until = time.time() + 60 * wanted.minutes
    only = _among("--only", wanted.only, (*PIECES, RUNS))
    part, parts = _shard(wanted.shard)
    workers, scheduler = where(wanted)
    shop = Shop(wanted)
    lab = shop.lab
    if lab.device.type != "cpu" and (workers, scheduler) != (1, None):
        raise InputError("--workers and --scheduler need --device cpu; torchrun takes several GPUs")
    only = only or ([RUNS] if lab.size.entrants else [])
    wanted.out.mkdir(parents=True, exist_ok=True)
    records = Records(wanted.out, part, _config(wanted, lab))
    environment = _environment(lab.device, args)
    key = f"environment {part}/{parts} {zlib.crc32(repr(environment).encode()):08x}"
    records.get(key, lambda: environment)
    for i, (name, piece) in enumerate(PIECES.items()):
        if name in only if only else i % parts == part:
            found = records.get(name, lambda p=piece: {"rows": p(lab)})  # type: ignore[misc]
            print(f"{name}: {len(found['rows'])} rows", flush=True)
    if only and RUNS not in only:
        return 0
    named = dict.fromkeys((*CORRECTIONS, *FAIR, *(cell.correction for cell in cells(lab.size))))
    rules = _among("--rules", wanted.rules, tuple(named))
    mine = [
        cell
        for cell in cells(lab.size)
        if cell.share(parts) == part and (not rules or cell.correction in rules)
    ]
    todo = [cell for cell in mine if cell.key not in records.found]
    left = len(todo)
    if todo and shop.benches:
        records.get("held out", lambda: {bench.name: bench.floor() for bench in shop.benches})
    alone = nullcontext(SerialExecutor())  # a GPU needs the threads of its process
    place = executor_for(workers, scheduler) if lab.device.type == "cpu" else alone
    with place as executor, progress_bar() as tell:
        here = isinstance(executor, SerialExecutor)
        run = shop.run if here else functools.partial(_run_there, tuple(args))
        for cell, answer in completed(executor, functools.partial(run, until), todo):
            record = required(answer)
            if record is not None:
                _tell(cell, records.get(cell.key, lambda found=record: found))  # type: ignore[misc]
                left -= 1
                tell(1 - left / len(mine), cell.key)
    if left:
        print(f"stopped by --minutes: {left} of {len(todo)} cells left")
    else:
        print("the study is complete")
    if lab.size.entrants and (study := read(wanted.out)):
        print(table(study))
    return 0


class Shop:
    """What runs cells in one process: the network, the data, the benches."""

    def __init__(self, wanted: argparse.Namespace) -> None:
        self.wanted = wanted
        self.lab = _lab(wanted, pick_device(wanted.device, ranks().local))

    @cached_property
    def benches(self) -> list[Bench]:
        """The extractors asked for, the first for every cell."""
        names = self.wanted.measures.split(",")
        for name in names:
            one_of("--measures", name, {**EXTRACTORS, **METRICS})
        lab, chosen = self.lab, [EXTRACTORS[name] for name in names if name in EXTRACTORS]
        return [Bench.of(extractor(lab.device), lab.train, lab.test) for extractor in chosen]

    def run(self, until: float, cell: Cell) -> dict[str, Any] | None:
        """Return a cell's record, None where the time is up."""
        if time.time() > until:
            return None
        lab, metrics = self.lab, [one for one in self.wanted.measures.split(",") if one in METRICS]
        benches = self.benches if cell.headline or lab.size.entrants else self.benches[:1]
        return run_cell(lab, cell, benches, metrics)


@functools.lru_cache(maxsize=1)
def _shop(args: tuple[str, ...]) -> Shop:
    return Shop(_parser().parse_args(args))


def _run_there(args: tuple[str, ...], until: float, cell: Cell) -> dict[str, Any] | None:
    return _shop(args).run(until, cell)


def _among(option: str, text: str, known: Sequence[str]) -> list[str]:
    """Read ``cost,runs``: names among those known; none where nothing is given."""
    return [one_of(option, name, known) for name in text.split(",") if name]


def _shard(text: str | None) -> tuple[int, int]:
    """Read ``i/n``: the share ``i`` of ``n``, from 0; by default a process's of ``torchrun``."""
    if text is None:
        return ranks()[:2]
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and int(part) < int(parts)):
        raise InputError(f"--shard must be i/n with 0 <= i < n, got {text}")
    return int(part), int(parts)


def _lab(wanted: argparse.Namespace, device: torch.device) -> Lab:
    size = SIZES[one_of("--size", wanted.size, SIZES)]
    net: Any = load_network(wanted.weights, device)
    net = net.to(memory_format=torch.channels_last)
    train, test = (
        torch.from_numpy(fashion.load_states(part, wanted.data)).float().to(device)
        for part in ("train", "test")
    )
    if wanted.size.endswith("tiny"):
        train, test = train[:200], test[:100]
    fast, exact = denoisers(net, net.config.picture, device, ROWS, compiled=not wanted.eager)
    return Lab(size, device, fast, exact, train, test)


def _config(wanted: argparse.Namespace, lab: Lab) -> dict[str, Any]:
    import hashlib

    digest = hashlib.sha256(wanted.weights.read_bytes()).hexdigest()
    return {"size": as_json(lab.size), "weights": digest, "measures": wanted.measures}


def _environment(device: torch.device, args: Sequence[str]) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    command = command_line(["study", *args])
    return {"device": name, "torch": torch.__version__, "command": command}


def _tell(cell: Cell, record: dict[str, Any]) -> None:
    shown = [
        f"{key} {record[key]['value']:.4g}"
        for key in ("flow_error", "energy", "FD-classifier", "FD-EffLite0", "artifacts")
        if key in record
    ]
    print(cell.key, *(shown or [record.get("stopped", "")]), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = Parser("study", __doc__)
    parser.add_argument("--data", help="folder of the Fashion-MNIST files")
    parser.add_folder(required=True, help="folder of study-*.jsonl")
    parser.add_argument("--weights", type=Path, default=FASHION_WEIGHTS)
    parser.add_argument("--size", default="full", help=", ".join(SIZES))
    parser.add_argument("--device", help="cuda or cpu; by default what is there")
    parser.add_argument("--eager", action="store_true", help="do not compile on a GPU")
    parser.add_argument(
        "--shard", help="i/n: the i-th of n shares, from 0; by default that of a torchrun process"
    )
    parser.add_workers()
    names = f"{', '.join(PIECES)}, {RUNS}"
    parser.add_argument("--only", default="", help=f"compute these alone: {names}; by default all")
    names = ", ".join((*CORRECTIONS, *FAIR))
    parser.add_argument("--rules", default="", help=f"run these alone: {names}; by default all")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="stop after this many minutes"
    )
    parser.add_argument(
        "--measures",
        default="classifier,efflite0",
        help="extractors, the first in every cell, all in headline cells; metrics, in every cell",
    )
    return parser
