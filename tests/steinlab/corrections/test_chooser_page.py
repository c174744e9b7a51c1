"""What the page of solvers says of the chooser is what was recorded."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from steinlab.metrics import student
from tests.steinlab.corrections import chooser_record
from tests.steinlab.corrections.chooser_record import FULL, PILOTS, SEEDS

RECORD = json.loads(chooser_record.FILE.read_text())
PAGE = (chooser_record.FILE.parents[1] / "solvers.md").read_text()
CLEAR = 3.0


def logs(name: str, quantity: str) -> np.ndarray:
    """Return the mean over seeds of each cell's logarithm; a thousandth is the least ratio."""
    cells: dict[str, list[float]] = {}
    for key, row in RECORD.items():
        ratio = max(row[name][quantity], 1e-3)
        cells.setdefault(key.rsplit("/", 1)[0], []).append(math.log(ratio))
    return np.array([np.mean(seeds) for seeds in cells.values()])


def told(name: str) -> str:
    found = []
    for quantity in ("flow", "energy"):
        own = logs(name, quantity)
        half = 2 * student(len(own)) * own.std(ddof=1) / math.sqrt(len(own))
        mean, low, high, worst = np.exp(
            [own.mean(), own.mean() - half, own.mean() + half, max(own)]
        )
        found.append(f"{mean:.2f} ({low:.2f} to {high:.2f}), worst {worst:.2g}")
    z = np.array([row[name]["z"] for row in RECORD.values()])
    return " | ".join([*found, f"{np.sum(z < -CLEAR)}, {np.sum(z > CLEAR)}"])


@pytest.mark.parametrize("name", [*PILOTS, *FULL])
def test_a_row_holds_the_recorded_ratios(name: str) -> None:
    row = f"| {name} | {told(name)} |"
    assert row in PAGE, row


def test_the_page_counts_cells_and_choices() -> None:
    part = PAGE.split("## A solver that a pilot chooses")[1]
    assert f"{len(RECORD) // SEEDS} cells" in part
    kept = [
        sum(row[name]["took"] == "no candidate gains" for row in RECORD.values())
        for name in PILOTS[2:]
    ]
    assert f"declines {kept[0]} of {len(RECORD)} runs with 48 states, {kept[1]} with 96" in part


@pytest.mark.slow
def test_a_part_of_the_record_is_played_again() -> None:
    for key, row in chooser_record.played(("two-1",), (4,)).items():
        for name, found in row.items():
            assert found == pytest.approx(RECORD[key][name], rel=1e-3, abs=1e-2), key
