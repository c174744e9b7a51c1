"""The study's design and its records: order, shares, resuming, other studies refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpu_models.study.cells import _correction
from gpu_models.study.design import (
    CORRECTIONS,
    ENTRANTS,
    FAIR,
    FAIR_EVALUATIONS,
    SIZES,
    Cell,
    as_json,
    cells,
    competitor,
)
from gpu_models.study.stored import Records
from steinlab.corrections.coordinates import InVP
from steinlab.diffusion.processes import EDM
from steinlab.errors import InputError
from steinlab.solvers import HEUN
from steinlab.solvers.plans import run_within

CONFIG = {"size": [1, 2]}


def test_every_cell_once_the_headline_first() -> None:
    found = cells(SIZES["full"])
    assert len({cell.key for cell in found}) == len(found)
    found = [cell for cell in found if cell.correction not in FAIR]
    headline = [cell.headline and cell.seed == 0 for cell in found]
    count = sum(headline)
    assert count == 4 * 4 * len(CORRECTIONS)
    assert headline == [True] * count + [False] * (len(found) - count)
    assert sum(cell.headline for cell in found) == 3 * count


def test_the_fair_rules_come_last_and_in_whole_groups() -> None:
    """All solvers and grids of a rule at the first budgets, rule by rule; then other budgets."""
    every, size = cells(SIZES["full"]), SIZES["full"]
    fair = [cell for cell in every if cell.correction in FAIR]
    assert every[-len(fair) :] == fair
    plain = {replace(c, correction="none") for c in every if c.correction == "none" and not c.seed}
    for rule in FAIR:
        own = {replace(c, correction="none") for c in fair if c.correction == rule}
        assert own == plain
    first = len(size.solvers) * len(size.grids) * len(FAIR_EVALUATIONS)
    for i, rule in enumerate(FAIR):
        group = fair[i * first : (i + 1) * first]
        assert {c.correction for c in group} == {rule}
        assert {c.evaluations for c in group} == set(FAIR_EVALUATIONS)
    assert [(c.low, c.coordinates) for c in FAIR.values()] == [
        (low, where) for where in ("own", "vp") for low in (0.1, 0.5, 0.9)
    ]


def test_the_second_part_has_its_entrants_alone_budget_by_budget() -> None:
    size = SIZES["entrants"]
    found, count = cells(size), len(ENTRANTS)
    assert len({cell.key for cell in found}) == len(found) == count * 4 * 2 * 2
    for i in range(0, len(found), count):
        group = found[i : i + count]
        assert len({(cell.evaluations, cell.grid, cell.seed) for cell in group}) == 1
        assert [(cell.solver, cell.correction) for cell in group] == [*map(competitor, ENTRANTS)]
    assert "entrants" in as_json(size)
    assert "entrants" not in as_json(SIZES["full"])  # records of the first part resume


@pytest.mark.parametrize("rule", FAIR)
def test_a_fair_rule_is_the_correction_that_its_name_says(rule: str) -> None:
    plan, grid = run_within(HEUN, EDM, "karras", 3)
    made: Any = _correction(None, Cell("heun", 3, "karras", rule, 0), plan, grid)[0]  # type: ignore[arg-type]
    assert isinstance(made, InVP) == rule.endswith("-vp")
    own = made.correction if isinstance(made, InVP) else made
    assert f"tweedie-{own.gamma_min:g}" == rule.removesuffix("-vp")
    assert (own.name, own.gamma_max, own.states) == ("tweedie", 1.0, 0)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_shares_cover_the_cells_and_keep_setups_together(parts: int) -> None:
    found = cells(SIZES["full"])
    shares = {cell.key: cell.share(parts) for cell in found}
    assert set(shares.values()) == set(range(parts))
    setups: dict[tuple[str, int, str], set[int]] = {}
    for cell in found:
        key = (cell.solver, cell.evaluations, cell.grid)
        setups.setdefault(key, set()).add(cell.share(parts))
    assert all(len(owners) == 1 for owners in setups.values())


def test_records_resume_from_every_share(tmp_path: Path) -> None:
    first = Records(tmp_path, 0, CONFIG)
    assert first.get("a", lambda: {"x": 1}) == {"x": 1}
    other = Records(tmp_path, 1, CONFIG)
    assert other.get("a", lambda: {"x": 2}) == {"x": 1}  # found in the other share's file
    assert other.get("b", lambda: {"x": 3}) == {"x": 3}
    assert set(Records(tmp_path, 0, CONFIG).found) == {"a", "b"}


def test_a_line_cut_off_in_writing_is_made_again(tmp_path: Path) -> None:
    records = Records(tmp_path, 0, CONFIG)
    records.get("a", lambda: {"x": 1})
    with records.path.open("a") as file:
        file.write('{"key": "b", "val')
    before = records.path.read_bytes()
    again = Records(tmp_path, 0, CONFIG)
    assert records.path.read_bytes() == before  # another process may be at it
    assert set(again.found) == {"a"}
    assert again.get("b", lambda: {"x": 2}) == {"x": 2}
    assert records.path.read_bytes().startswith(before + b'\n{"key": "b", ')


@pytest.mark.parametrize(("old", "new"), [(b'"x": 1', b'"x": 3'), (b'"x"', b'"\xff"')])
def test_a_damaged_piece_is_named_and_made_again(
    old: bytes, new: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = Records(tmp_path, 0, CONFIG)
    records.get("a", lambda: {"x": 1})
    records.path.write_bytes(records.path.read_bytes().replace(old, new))
    again = Records(tmp_path, 0, CONFIG)
    assert again.found == {}
    assert "study-0.jsonl, line 2 is left out" in capsys.readouterr().err
    assert again.get("a", lambda: {"x": 2}) == {"x": 2}
    assert Records(tmp_path, 0, CONFIG).found == {"a": {"x": 2}}


def test_another_study_is_refused_and_left_alone(tmp_path: Path) -> None:
    Records(tmp_path, 0, CONFIG)
    before = (tmp_path / "study-0.jsonl").read_bytes()
    with pytest.raises(InputError, match="--out must hold no study or one of this configuration"):
        Records(tmp_path, 0, {"size": [3]})
    assert (tmp_path / "study-0.jsonl").read_bytes() == before
