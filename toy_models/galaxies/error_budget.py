r"""Compute the error budget of a galaxy network, a model without a law: ``steinlab galaxy-budget``.

The law of the network's data is not known, so it is judged against itself: ``p`` is the forward law
of ``POOL`` end points of its own flow, followed in float64
(:mod:`steinlab.solvers.reference_flow`), drawn with replacement. Stein's identity holds under the
forward law of any law, so that the parts must add up for every network. ``score`` is then the
network's inconsistency: how far its denoiser is from that of the samples that it generates.

Exact traces of the batch are all ``d`` Jacobian products of a state (1,024 for 32 x 32 pixels).
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from steinlab.cli.parser import Parser, where
from steinlab.coefficient.error_budget import (
    PARTS,
    Budget,
    Setting,
    Subject,
    error_budget,
    of_model,
)
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.models import Model, load_model
from steinlab.solvers import EULER, SOLVERS
from steinlab.solvers.reference_flow import LongRun, long_run
from steinlab.storage import write_text
from steinlab.workers import completed, executor_for, required
from toy_models.claims.networks import GALAXY, Pool

SOLVER_NAMES, STEPS = ("euler", "heun"), 8
BATCH, STATES, POOL = 16, 2048, 1024


@dataclass(frozen=True)
class Job:
    """One step of one solver and what is spent on it."""

    solver: str
    index: int
    device: str = "cpu"
    batch: int = BATCH
    states: int = STATES
    pool: int = POOL
    seed: int = 0
    model: str = GALAXY


@functools.lru_cache(maxsize=1)
def model_on(name: str, device: str) -> Model:
    """Return the network on a device."""
    return load_model(name).on(device)


@functools.lru_cache(maxsize=1)
def own_flow(name: str, device: str, count: int, seed: int) -> LongRun:
    """Return where the network's own flow takes ``count`` start states, followed in float64."""
    import torch

    model = model_on(name, device)
    network: Any = model.denoiser
    process = model.process()
    noisy = process.level_at(process.ratio_max)
    start = model.start(noisy, count, np.random.default_rng([seed, *b"pool"]))
    return long_run(network.in_dtype(torch.float64), start, process)


def budget_of(job: Job) -> Budget:
    """Return the budget of one step."""
    model = model_on(job.model, job.device)
    ends = own_flow(job.model, job.device, job.pool, job.seed).state
    subject: Subject = of_model(model, Pool(ends).sample)
    grid = make_grid(model.process(), "karras", STEPS)
    options = {"batch": job.batch, "states": job.states, "seed": job.seed}
    return error_budget(subject, Setting(grid, job.index, SOLVERS[job.solver], EULER, **options))


def record(job: Job) -> dict[str, Any]:
    """Return the budget of one step as JSON, numbers to six digits."""
    budget = budget_of(job)
    flow = own_flow(job.model, job.device, job.pool, job.seed)
    s, t = make_grid(model_on(job.model, job.device).process(), "karras", STEPS)[job.index :][:2]
    return {
        **{key: value for key, value in asdict(job).items() if key != "device"},
        "sigma": [_six(s.sigma), _six(t.sigma)],
        "estimated": _six(budget.estimated),
        "exact": _pair(budget.exact),
        "parts": {name: _pair(budget.parts[name]) for name in PARTS if name in budget.parts},
        "explained": _six(budget.explained),
        "total": _pair(budget.total),
        "z": _six(budget.z),
        "pool_error": _six(flow.rms_error),
    }


def _pair(found: Any) -> dict[str, float]:
    return {"value": _six(found.value), "error": _six(found.error)}


def _six(value: float) -> float:
    return float(f"{value:.6g}")


def main(args: Sequence[str]) -> int:
    """Compute every level of both solvers, the file written anew as each is done."""
    parser = Parser("galaxy-budget", __doc__)
    parser.add_target("--out", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_workers()
    for name, value in (("batch", BATCH), ("states", STATES), ("pool", POOL)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--indices", type=int, nargs="*", default=range(STEPS))
    parser.add_argument("--solvers", nargs="*", default=SOLVER_NAMES)
    given = parser.parse_args(args)
    place = where(given)
    spent = {name: getattr(given, name) for name in ("device", "batch", "states", "pool")}
    jobs = [Job(solver, i, **spent) for solver in given.solvers for i in given.indices]
    own_flow(GALAXY, given.device, given.pool, jobs[0].seed)  # once, for all processes: the cache
    found: dict[Job, dict[str, Any]] = {}
    with executor_for(*place) as pool:
        for job, answer in completed(pool, record, jobs):
            out = found[job] = required(answer)
            lines = ",\n ".join(json.dumps(found[one]) for one in jobs if one in found)
            write_text(given.out, f"[\n {lines}\n]\n")
            print(f"{job.solver} {job.index}: z {out['z']:.2f}", flush=True)
    return 0
