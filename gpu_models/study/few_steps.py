"""Every deterministic solver at few evaluations on the U-Net: how far it ends from the flow's end.

    python -m gpu_models.study.few_steps --states 10000 --out gpu_models/results/few-steps

All runs start from the same states, on Karras's grid to zero noise. The flow is followed by Heun;
its error by halving is ``|x_2N - x_N| / 3``. States are float64 around a float32 network: it is
asked once about states that agree in float32, so that one method under two names costs one run.
Finished runs are kept and not run again.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
import time
from typing import Any

import numpy as np
import torch

from analytic import NoiseLevel
from gpu_models.models import FASHION_WEIGHTS, load_network
from gpu_models.network.parallel import pick_device
from gpu_models.study.design import FAIR_EVALUATIONS, Cell
from gpu_models.study.stored import RESULTS, Record, Records
from steinlab.cli.parser import Parser
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.networks import edm_denoiser
from steinlab.diffusion.processes import EDM
from steinlab.errors import InputError, one_of
from steinlab.estimates import richardson
from steinlab.experiments.bench import played
from steinlab.experiments.specs.laws import read_rows
from steinlab.metrics import rms_distance
from steinlab.solvers import HEUN, SOLVER_IDS, evaluations_on, get_solver
from steinlab.solvers.loop import solve
from steinlab.solvers.plans import run_within

FOLDER = RESULTS / "few-steps"
GRID, STEPS, ROWS = "karras", 16, 2500
"""Grid; steps of the coarser of Heun's runs; states that the network sees at once."""


class Asked:
    """A denoiser that keeps its answers."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.answers: dict[tuple[float, bytes], Any] = {}

    def __call__(self, x: Any, level: NoiseLevel) -> Any:
        """Return the answer kept for these states in float32, or ask."""
        digest = hashlib.blake2b(np.asarray(x, dtype=np.float32).tobytes()).digest()
        key = (float(level.sigma), digest)
        if key not in self.answers:
            self.answers[key] = self.denoiser(x, level)
        return self.answers[key]


def flow(denoiser: Denoiser, x: np.ndarray, steps: int) -> tuple[np.ndarray, Record]:
    """Return the flow's ends, and their error and size, r.m.s. per pixel."""
    grids = (make_grid(EDM, GRID, n) for n in (steps, 2 * steps))
    coarse, fine = (solve(denoiser, x, grid, HEUN).state for grid in grids)
    unit = math.sqrt(x.shape[1])
    error = richardson(rms_distance(fine, coarse).value, HEUN.order) / unit
    return fine, {"error": error, "size": float(np.sqrt(np.mean(fine**2))), "steps": 2 * steps}


def measured(denoiser: Denoiser, x: np.ndarray, ends: np.ndarray, cell: Cell) -> Record:
    """Run a cell and return its distance to the flow's ends, r.m.s. per pixel."""
    try:
        plan, grid = run_within(get_solver(cell.solver, EDM), EDM, cell.grid, cell.evaluations)
    except InputError as error:
        return {"unaffordable": str(error)}
    run, stop = played(denoiser, x, grid, plan)
    spent = {"spent": evaluations_on(plan, grid)}
    if stop is not None:
        return spent | {"stopped": str(stop)}
    gap, unit = rms_distance(run.state, ends), math.sqrt(x.shape[1])
    return spent | {"flow_error": {"value": gap.value / unit, "error": gap.error / unit}}


def main(args: list[str]) -> int:
    """Run what is missing and return the exit code."""
    parser = Parser("python -m gpu_models.study.few_steps", __doc__)
    parser.add_folder(default=FOLDER, help="folder of study-0.jsonl")
    parser.add_argument("--states", type=int, default=64)
    parser.add_argument("--device", help="cuda or cpu; by default what is there")
    parser.add_argument("--solvers", default=",".join(SOLVER_IDS), help="ids, in this order")
    parser.add_argument("--evaluations", default=",".join(map(str, FAIR_EVALUATIONS)))
    parser.add_argument("--steps", type=int, default=STEPS, help="of the coarser run to the end")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many")
    return run(parser.parse_args(args))


def run(wanted: argparse.Namespace) -> int:
    """Run what is missing; states, network and grid are the record's configuration."""
    if wanted.states < 2:
        raise InputError(f"--states must be >= 2, got {wanted.states}")
    deadline, device = time.monotonic() + 60 * wanted.minutes, pick_device(wanted.device)
    solvers = [one_of("--solvers", name, SOLVER_IDS) for name in wanted.solvers.split(",")]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    config = {
        "model": "fashion-edm",
        "weights": hashlib.sha256(FASHION_WEIGHTS.read_bytes()).hexdigest(),
        "states": wanted.states,
        "grid": GRID,
        "dtype": "float32 network, float64 states",
        "device": name,
        "torch": torch.__version__,
    }
    wanted.out.mkdir(parents=True, exist_ok=True)
    records = Records(wanted.out, 0, config)
    net: Any = load_network(device=device)
    net = net.to(memory_format=torch.channels_last)
    denoiser = edm_denoiser(net, net.config.picture, device=str(device), rows=ROWS)
    x = EDM.ratio_max * np.random.default_rng(0).standard_normal((wanted.states, denoiser.dim))
    kept = wanted.out / "ends.npy"
    if "flow" not in records.found or not kept.is_file():
        ends, told = flow(denoiser, x, wanted.steps)
        np.save(kept, ends)
        records.get("flow", lambda: told)
    ends = read_rows(kept, "ends.npy")
    if ends.shape != x.shape:
        raise InputError(f"ends.npy must have the shape {x.shape}, got {ends.shape} in {kept}")
    for budget in map(int, wanted.evaluations.split(",")):
        asked = Asked(denoiser)
        for solver in solvers:
            cell = Cell(solver, budget, GRID, "none", 0)
            if time.monotonic() > deadline:
                print("stopped by --minutes")
                return 0
            found = records.get(cell.key, lambda c=cell, d=asked: measured(d, x, ends, c))  # type: ignore[misc]
            print(cell.key, found, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
