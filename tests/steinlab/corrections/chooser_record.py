"""Errors of what a pilot chooses, fits and declines, paired with the best plain solver's by state.

``python -m tests.steinlab.corrections.chooser_record`` plays all of it anew, in three minutes.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from steinlab.corrections import CORRECTIONS
from steinlab.corrections.pilot import STATES as PILOTED
from steinlab.corrections.pilot import SUBSTEPS
from steinlab.diffusion.grids import Grid
from steinlab.experiments.bench import rng_of
from steinlab.experiments.tournament.design import RECORDED
from steinlab.experiments.tournament.play import Arena, arena
from steinlab.metrics import energy_distance_of_pairs
from steinlab.solvers import get_solver
from steinlab.solvers.loop import solve
from steinlab.solvers.plans import run_within
from steinlab.solvers.reference_flow import trajectory
from steinlab.solvers.step import Diagnostics, Step

FILE = Path(__file__).parents[3] / "docs" / "results" / "chooser.json"
LAWS = ("two-1", "three-1", "ring-2", "few-8", "few-64")
PATHS = (("edm", "karras"), ("edm", "logsnr"), ("vp-linear", "logsnr"), ("flow", "time-uniform"))
BUDGETS = (4, 6, 8, 10)
PILOTS = ("ipndm-3+pilot", "unit-speed-3+pilot", "ipndm-3+chooser", "ipndm-3+chooser-96")
FULL = ("ipndm-3+full", "ipndm-3+full-moment")
SEEDS, STATES, SEEN = 3, 600, 96
RIDGE = 1e-3

Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Full:
    """Full coefficients per step, fitted to a fine run of the first states: tried, not shipped.

    ``m = argmin |gap - F m|^2 + RIDGE sum_k |F_k|^2 m_k^2`` with the gap from the solver's own step
    to the fine run and ``F`` the state and the outputs of this step and two before, all about their
    means; so ``m = 0`` is the solver's own. With ``moment`` the states are then scaled about their
    mean to the fine run's second moment.
    """

    grid: Grid
    fine: tuple[np.ndarray, ...]
    moment: bool
    name: str = "full"
    depth: int = 2

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[np.ndarray, Diagnostics]:  # noqa: ARG002
        """Return the fitted states."""
        goal, state = self.fine[self.grid.index(step.t)], step.candidate.state
        n = len(goal)
        past = [one.denoised for one in step.history[: self.depth]]
        fields = [one - one[:n].mean(axis=0) for one in (step.x, step.candidate.denoised, *past)]
        rows = np.stack([one[:n].ravel() for one in fields], axis=1)
        gap = goal - state[:n]
        square = rows.T @ rows + RIDGE * np.diag(np.sum(rows**2, axis=0) + 1e-30)
        move = np.linalg.solve(square, rows.T @ (gap - gap.mean(axis=0)).ravel())
        state = state + sum(m * one for m, one in zip(move, fields, strict=True))
        mean, rest = goal.mean(axis=0), state - state[:n].mean(axis=0)
        if self.moment:
            rest = rest * np.sqrt(np.sum((goal - mean) ** 2) / np.sum(rest[:n] ** 2))
        return mean + rest, Diagnostics(1.0)


def run(own: Arena, grid: str, name: str, budget: int) -> tuple[np.ndarray, float, str]:
    """Return squared distances to the flow's ends, the energy distance, and what was chosen."""
    solver, _, fix = name.partition("+")
    subject, ends = own.subject, np.asarray(own.ends)[SEEN:]
    levels: Grid
    plan, levels = run_within(get_solver(solver, subject.process), subject.process, grid, budget)
    correction: Any
    if fix.startswith("full"):
        fine = trajectory(subject.denoiser, own.start[:PILOTED], levels, SUBSTEPS)
        correction = Full(levels, tuple(map(np.asarray, fine)), fix == "full-moment")
    else:
        fix, _, states = fix.partition("-")
        options = {"states": int(states)} if states else {}
        correction = CORRECTIONS[fix or "none"](**options)
    try:
        done = solve(
            subject.denoiser, own.start, levels, plan, correction=correction, rng=rng_of(0, name)
        )
    except FloatingPointError:
        return np.full(len(ends), math.inf), math.inf, ""
    x = np.asarray(done.state)[SEEN:]
    note = done.diagnostics[0].note.split(" on ")[0].removeprefix("chose ")
    return np.sum((x - ends) ** 2, axis=1), energy_distance_of_pairs(x, ends).value, note


def played(laws: tuple[str, ...] = LAWS, budgets: tuple[int, ...] = BUDGETS) -> Rows:
    """Return by cell and seed what each entrant's errors are over the best plain solver's.

    ``flow`` and ``energy`` are ratios of the root mean square distance to the flow's ends and of
    the paired energy distance, to the least of the seven plain solvers', each in hindsight; ``z``
    is the difference of squared distances over its standard error, paired by state. All are of
    states that no pilot saw. ``took`` says what was chosen.
    """
    out: Rows = {}
    for law, (process, grid), seed in itertools.product(laws, PATHS, range(SEEDS)):
        own = arena(law, process, seed, STATES)
        for budget in budgets:
            plain = [run(own, grid, name, budget) for name in RECORDED]
            best = min((one[0] for one in plain), key=lambda one: float(one.mean()))
            energy = min(one[1] for one in plain)
            row = {}
            for name in (*PILOTS, *FULL):
                far, distance, note = run(own, grid, name, budget)
                gap = far - best
                row[name] = {
                    "flow": round(math.sqrt(far.mean() / best.mean()), 4),
                    "energy": round(distance / energy, 4),
                    "z": round(gap.mean() / max(gap.std(), 1e-300) * math.sqrt(len(gap)), 2),
                    **({"took": note} if "chooser" in name else {}),
                }
            out[f"{law}/{process}/{grid}/{budget}/{seed}"] = row
    return out


if __name__ == "__main__":
    lines = (f"{json.dumps(key)}: {json.dumps(row)}" for key, row in played().items())
    FILE.write_text("{" + ",\n".join(lines) + "}\n")
