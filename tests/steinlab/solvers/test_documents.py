"""The documents say what is so: the table of solvers, the tests it names, the worked example."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steinlab.diffusion.processes import EDM, VE
from steinlab.experiments.tournament.design import RECORDED
from steinlab.solvers import SOLVER_IDS, get_solver, make_plan, matching_start
from tests.steinlab.solvers import unit_speed_record
from tests.steinlab.solvers.cases import (
    GRIDS_MEASURED,
    ORDER_TOLERANCE,
    PROCESSES_MEASURED,
    observed_order,
)

ROOT = Path(__file__).parents[3]
SOLVERS_PAGE = (ROOT / "docs" / "solvers.md").read_text()
ADD_PAGE = (ROOT / "docs" / "add-a-solver.md").read_text()


def rows() -> dict[str, list[str]]:
    lines = re.findall(r"^\| `(.+?)` \|(.*)\|$", SOLVERS_PAGE, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in lines}


def test_the_table_lists_every_solver() -> None:
    assert tuple(rows()) == SOLVER_IDS


@pytest.mark.parametrize("name", SOLVER_IDS)
def test_a_row_says_what_the_solver_says(name: str) -> None:
    own, matching, evaluations, zero, _ = rows()[name]
    solver = get_solver(name, EDM)
    assert int(own.split()[0]) == solver.order
    start = matching_start(solver)
    assert matching.split()[:1] == ([str(make_plan(solver, 4, start=start).order)] if start else [])
    for declared in (own, matching):
        for seen in re.findall(r"\d\.\d\d", declared):
            assert float(seen) == pytest.approx(int(declared.split()[0]), abs=ORDER_TOLERANCE)
    inner, last = (solver.evaluations(EDM.level_at(ratio)) for ratio in (1.0, 0.0))
    assert evaluations == (str(inner) if inner == last else f"{inner}, last {last}")
    ends = (solver.ends_at_zero, get_solver(name, VE).ends_at_zero)
    assert zero == {(True, True): "yes", (True, False): "not on VE", (False, False): "no"}[ends]


def test_the_tests_it_names_exist() -> None:
    source = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", SOLVERS_PAGE))
    assert len(named) > 10
    assert {name for name in named if f"def {name}(" not in source} == set()


def test_the_worked_example_is_a_solver_of_its_order() -> None:
    (code,) = re.findall(r"```python\n(\"\"\".*?)```", ADD_PAGE, re.DOTALL)
    names: dict[str, Any] = {"__name__": "extrapolated"}
    exec(compile(code, "extrapolated.py", "exec"), names)
    solver = names["EXTRAPOLATED"]
    assert f'{solver.name} = "extrapolated:{solver.name.upper()}"' in ADD_PAGE
    for process in PROCESSES_MEASURED:
        for ratios in GRIDS_MEASURED:
            seen = observed_order(lambda _: solver, process, ratios)
            assert seen == pytest.approx(solver.order, abs=ORDER_TOLERANCE)


UNIT_SPEED = json.loads(unit_speed_record.FILE.read_text())


def over(ours: str, *plain: str, keep: Callable[[str], bool] = lambda _: True) -> str:
    """Geometric mean of the ratio to the best of the plain solvers, shares and the worst."""
    found = []
    for key, row in UNIT_SPEED.items():
        if keep(key):
            best = min(row[name] for name in plain)
            floor = row["floor"]
            found.append((max(row[ours], 0) + floor) / (max(best, 0) + floor))
    ratios = np.array(found)
    mean = float(np.exp(np.mean(np.log(ratios))))
    return f"{mean:.2f}, {np.mean(ratios < 1):.0%}, {ratios.max():.1f}".replace("%", " %")


def test_unit_speed_has_the_recorded_ratios() -> None:
    part = SOLVERS_PAGE.split("## Unit speed")[1].split("\n## ")[0]
    assert f"{len(UNIT_SPEED)} cells" in part
    for name in unit_speed_record.OURS:
        cells = [over(name, one) for one in ("euler", "dpmpp-2m", "ipndm-3")]
        cells.append(over(name, *RECORDED))
        assert f"| {name} | {' | '.join(cells)} |" in part, cells
    few = over("unit-speed-2", "ipndm-3", keep=lambda key: int(key.rpartition("/")[2]) <= 5)
    more = over("unit-speed-2", "ipndm-3", keep=lambda key: int(key.rpartition("/")[2]) > 5)
    assert f"{few.split(',')[0]} at 3 to 5 evaluations, {more.split(',')[0]} at 6 to 10" in part


@pytest.mark.slow
def test_a_part_of_the_record_is_computed_again() -> None:
    for key, row in unit_speed_record.played(("two-1",)).items():
        assert row == pytest.approx(UNIT_SPEED[key], rel=1e-3, abs=1e-5)
