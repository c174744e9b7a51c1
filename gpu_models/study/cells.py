"""One cell: run it, measure its distance to the network's own flow and the samples' quality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gpu_models.quality.measures import (
    Bench,
    Moments,
    frechet,
    frechet_influence,
    paired_energy_rows,
)
from gpu_models.study.design import CORRECTIONS, FAIR, FAIR_EVALUATIONS, Cell, cells
from gpu_models.study.lab import Lab
from steinlab.coefficient.divergence import Hutchinson
from steinlab.corrections import get_correction, stein, tweedie
from steinlab.corrections.calibrated import Calibrated, Table
from steinlab.corrections.fitted import calibrate
from steinlab.diffusion.grids import Grid
from steinlab.diffusion.processes import EDM
from steinlab.estimates import as_json
from steinlab.experiments.bench import played
from steinlab.metrics import Samples, Truth
from steinlab.solvers import Plan, evaluations_on, get_solver
from steinlab.solvers.loop import Run, Solution
from steinlab.solvers.plans import run_within
from steinlab.solvers.step import Correction

CALIBRATION_SEED = 10_000
"""Seed of the tables' start states, which no run uses."""

GROUPS = 50
"""Groups of states whose means an entrant's record keeps, for paired comparisons."""

NEIGHBOURS_ROWS = 5000
"""Rows that precision and recall use at most."""


def run_cell(
    lab: Lab, cell: Cell, benches: Sequence[Bench], metrics: Sequence[str] = ()
) -> dict[str, Any]:
    """Run a cell and return its measures; a run that left the finite numbers says where.

    ``metrics`` are further names in :data:`steinlab.metrics.METRICS`, against the test pictures and
    the flow's ends, in pixel units as they are.
    """
    plan, grid = run_within(get_solver(cell.solver, EDM), EDM, cell.grid, cell.evaluations)
    record: dict[str, Any] = {"spent": evaluations_on(plan, grid), "steps": len(grid) - 1}
    correction, facts = _correction(lab, cell, plan, grid)
    record |= facts
    rng = np.random.default_rng([cell.seed, 5])
    start = lab.start(cell.seed)
    run, stop = played(lab.fast, start, grid, plan, correction=correction, rng=rng)
    if stop is not None:
        return record | {"stopped": str(stop)}
    done = run.diagnostics
    record |= {"note": done[0].note, "extra": sum(one.evaluations for one in done)}
    found = measured(lab, cell.seed, run.state, metrics) | quality(run.state, benches)
    return record | _gammas(run) | distances(lab, cell.seed, run.state) | found


def again(lab: Lab) -> list[dict[str, Any]]:
    """Repeat the plain runs of one budget; return their flow errors.

    They agree exactly on the same device and compiler. On another they measure how well runs that
    were recorded on both compare.
    """
    budgets = [n for n in FAIR_EVALUATIONS if n in lab.size.evaluations] or lab.size.evaluations
    chosen = [
        cell
        for cell in cells(lab.size)
        if (cell.correction, cell.evaluations, cell.seed) == ("none", budgets[0], 0)
    ]
    return [{"run": cell.key, **run_cell(lab, cell, ())} for cell in chosen]


def _correction(lab: Lab, cell: Cell, plan: Plan, grid: Grid) -> tuple[Correction, dict[str, Any]]:
    if cell.correction == "calibrated":
        table = _table(lab, cell, plan, grid)
        price = table.evaluations * table.states
        return Calibrated(table), {
            "table": {"note": table.note, "moves": [dict(step.move) for step in table.steps]},
            "price_evaluations": price,
        }
    if cell.correction in FAIR:
        clip = FAIR[cell.correction]
        return tweedie(gamma_min=clip.low, gamma_max=1.0, coordinates=clip.coordinates), {}
    if cell.correction not in CORRECTIONS or cell.correction == "none":
        return get_correction(cell.correction), {}
    top = 1.0 if cell.correction == "stein-clipped" else math.inf
    reverse = Hutchinson(mode="vjp")  # half the time of forward mode on an H100
    return stein(divergence=reverse, gamma_max=top, states=lab.size.estimate), {}


def _table(lab: Lab, cell: Cell, plan: Plan, grid: Grid) -> Table:
    """Fit a table on start states of its own; the seeds of a cell share it."""
    key = ("table", cell.solver, cell.evaluations, cell.grid)
    if key not in lab.cache:
        run = Run(lab.fast, lab.start(CALIBRATION_SEED, lab.size.calibration), grid, plan)
        lab.cache[key] = calibrate(run, model="fashion-edm", substeps=lab.size.substeps)
    found: Table = lab.cache[key]
    return found


def _gammas(run: Solution) -> dict[str, Any]:
    steps = run.diagnostics
    estimates = [[d.estimate.value, d.estimate.error] if d.estimate else None for d in steps]
    return {"gamma": [d.gamma for d in steps], "estimates": estimates}


def distances(lab: Lab, seed: int, state: torch.Tensor) -> dict[str, Any]:
    """Return the r.m.s. distance per pixel to the flow's ends, and the energy distance to them."""
    ends, error = lab.ends(seed)
    squares, rows = (state - ends).square().sum(1) / lab.dim, paired_energy_rows(state, ends)
    value = math.sqrt(float(squares.mean()))
    gap = _entry(value, (squares - squares.mean()) / (2 * max(value, 1e-300)))
    gap["error"] = math.hypot(gap["error"], error / math.sqrt(lab.dim))
    mean = rows.mean()
    return {"flow_error": gap, "energy": _entry(float(mean), 2 * (rows - mean))}


def _entry(value: float, influence: torch.Tensor) -> dict[str, Any]:
    """Return a measure with its error and ``groups``: its influence's means over groups of states.

    Runs of one seed start from the same states, so that the differences of two runs' groups tell
    the error of the difference (:meth:`gpu_models.study.pairs.Pair.z`).
    """
    parts = torch.tensor_split(influence, min(GROUPS, len(influence) // 2))
    groups = [float(f"{float(part.mean()):.6g}") for part in parts]
    error = float(influence.std()) / math.sqrt(len(influence))
    return {"value": value, "error": error, "groups": groups}


def measured(
    lab: Lab, seed: int, state: torch.Tensor, metrics: Sequence[str]
) -> dict[str, dict[str, float | None] | None]:
    """Return metrics by name, of the end states against the test pictures and the flow's ends."""
    if not metrics:
        return {}
    ends, error = lab.ends(seed)
    x, flow, test = (part.double().cpu().numpy() for part in (state, ends, lab.test))
    found = Samples(x, Truth(test), flow, error).measured(metrics)
    return {name: as_json(entry) for name, entry in found.items()}


def quality(state: torch.Tensor, benches: Sequence[Bench]) -> dict[str, Any]:
    """Return the Frechet distances with their errors, and the rest on the first bench."""
    measures: dict[str, Any] = {}
    for i, bench in enumerate(benches):
        rows = bench.extractor(state)
        distance = frechet(Moments.of(rows), bench.moments)
        measures[bench.name] = _entry(distance, frechet_influence(rows, bench.moments))
        if i == 0:
            shares = bench.shares(rows, NEIGHBOURS_ROWS)
            rate = shares["artifacts"]
            kept = {key: rate[key] for key in ("error", "floor", "floor_error")}
            measures |= shares | {"artifacts": {"value": rate["rate"], **kept}}
    return measures
