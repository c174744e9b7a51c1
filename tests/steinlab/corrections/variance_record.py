"""Energy distances of the corrections by variance on a few cells: the record of a page.

``python -m tests.steinlab.corrections.variance_record`` plays all of it anew, in four minutes.
"""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

from steinlab.experiments.tournament.design import Cell
from steinlab.experiments.tournament.play import play
from steinlab.experiments.tournament.run import rounded

FILE = Path(__file__).parents[3] / "docs" / "results" / "variance-corrections.json"
LAWS = ("two-1", "ring-2", "few-8", "few-64")
PATHS = (("edm", "karras"), ("vp-linear", "logsnr"), ("flow", "time-uniform"))
SOLVERS = ("euler", "heun", "dpmpp-2m", "ipndm-3")
BUDGETS = (4, 6, 10)
ENTRANTS = ("none", "epsilon-scale", "time-shift", "law-matched", "flow-oracle", "span-floor")
STATES = 600

Cells = dict[str, dict[str, float]]


def played(laws: tuple[str, ...] = LAWS, budgets: tuple[int, ...] = BUDGETS) -> Cells:
    """Return each correction's energy distance to the law, and the floor, by cell."""
    out = {}
    for law, (process, grid), solver, budget in itertools.product(laws, PATHS, SOLVERS, budgets):
        cell = Cell(law, process, grid, solver, budget, 0)
        found = play(cell, states=STATES, entrants=ENTRANTS)
        row = {"floor": found["floor"]["energy_distance"]}
        for name, one in found["results"].items():
            row[name] = one.get("energy_distance", math.inf)
        out[f"{law}/{process}/{solver}/{budget}"] = row
    kept: Cells = rounded(out)
    return kept


if __name__ == "__main__":
    FILE.write_text(json.dumps(played(), indent=1) + "\n")
