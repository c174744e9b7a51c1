"""Energy distances of unit speed and of the tournament's plain solvers: the record of a page.

``python -m tests.steinlab.solvers.unit_speed_record`` plays all of it anew, in two minutes.
"""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

from steinlab.experiments.tournament.design import RECORDED, Cell
from steinlab.experiments.tournament.play import _plain, arena
from steinlab.experiments.tournament.run import rounded

FILE = Path(__file__).parents[3] / "docs" / "results" / "unit-speed.json"
LAWS = ("two-1", "three-1", "ring-2", "grid25-2", "few-8", "few-64")
PATHS = (("edm", "karras"), ("vp-linear", "logsnr"), ("flow", "time-uniform"))
BUDGETS = (3, 4, 5, 6, 8, 10)
OURS = ("unit-speed-1", "unit-speed-1c", "unit-speed-2", "unit-speed-3")
STATES = 1000

Cells = dict[str, dict[str, float]]


def played(laws: tuple[str, ...] = LAWS) -> Cells:
    """Return each solver's energy distance to the law, and the floor, by law, path and budget."""
    out = {}
    for law, (process, grid), budget in itertools.product(laws, PATHS, BUDGETS):
        row = {"floor": arena(law, process, 0, STATES).floor["energy_distance"].value}
        for solver in (*OURS, *RECORDED):
            cell = Cell(law, process, grid, solver, budget, 0)
            row[solver] = _plain(cell, STATES, budget).get("energy_distance", math.inf)
        out[f"{law}/{process}/{grid}/{budget}"] = row
    found: Cells = rounded(out)
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps(played(), indent=1) + "\n")
