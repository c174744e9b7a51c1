"""What the page of corrections says of the corrections by variance is what was recorded."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.steinlab.corrections import variance_record

RECORD = json.loads(variance_record.FILE.read_text())
PAGE = (variance_record.FILE.parents[1] / "corrections-evidence.md").read_text()


def entry(name: str, solver: str) -> str:
    found = []
    for key, row in RECORD.items():
        if key.split("/")[2] == solver or solver == "all":
            floor = row["floor"]
            found.append((max(row[name], 0) + floor) / (max(row["none"], 0) + floor))
    ratios = np.array(found)
    mean = float(np.exp(np.mean(np.log(ratios))))
    return f"{mean:.2g} ({100 * np.mean(ratios < 1):.0f} %, {ratios.max():.2g})"


@pytest.mark.parametrize("name", [name for name in variance_record.ENTRANTS if name != "none"])
def test_a_row_holds_the_recorded_ratios(name: str) -> None:
    cells = [entry(name, solver) for solver in ("all", *variance_record.SOLVERS)]
    assert f"| {name} | {' | '.join(cells)} |" in PAGE, cells
    assert f"{len(RECORD)} cells" in PAGE.split("## By the variance")[1]


@pytest.mark.slow
def test_a_part_of_the_record_is_played_again() -> None:
    for key, row in variance_record.played(("two-1",), (4,)).items():
        assert row == pytest.approx(RECORD[key], rel=1e-3, abs=1e-5)
