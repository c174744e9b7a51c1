"""Tables of moves: they reproduce the run that made them, and refuse what they do not fit."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steinlab.corrections import CORRECTIONS, stein, tweedie
from steinlab.corrections.calibrated import Calibrated, Table, table_of
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import EDM
from steinlab.errors import InputError
from steinlab.solvers import get_solver
from steinlab.solvers.loop import solve, steps
from tests.steinlab.solvers.cases import PLANE

GRID = make_grid(EDM, "karras", 5)
X = GRID[0].sigma * np.random.default_rng(0).standard_normal((200, PLANE.dim))


def run(correction: Any, solver: str = "dpmpp-2m", grid: Any = GRID) -> Any:
    return solve(PLANE, X, grid, get_solver(solver), correction=correction)


def table(states: int = 50) -> tuple[Table, np.ndarray]:
    correction = stein(gamma_max=1.0, states=states)
    taken = list(steps(PLANE, X, GRID, "dpmpp-2m", correction=correction))
    return table_of(taken, model="plane", correction=correction.name), taken[-1].state


def test_a_table_repeats_its_run_and_costs_nothing(tmp_path: Path) -> None:
    made, end = table()
    file = tmp_path / "table.json"
    made.save(file)
    again = run(Calibrated(Table.load(file, model="plane")))
    np.testing.assert_allclose(again.state, end, rtol=1e-12, atol=1e-12)
    assert any(entry.move["residual"] != 0 for entry in made.steps)
    assert sum(d.evaluations + d.products for d in again.diagnostics) == 0
    assert made.evaluations == pytest.approx(5 * 50 / 200)  # one divergence a step on a quarter


def test_a_table_of_another_model_solver_or_grid_is_refused(tmp_path: Path) -> None:
    made, _ = table()
    file = tmp_path / "table.json"
    made.save(file)
    with pytest.raises(InputError, match="table must be of the model digits, got plane"):
        Table.load(file, model="digits")
    with pytest.raises(InputError, match="table must be of the model zebras, got plane"):
        Table.load(file, model="zebras")
    with pytest.raises(InputError, match="table must be of the solver euler, got dpmpp-2m"):
        run(Calibrated(made), "euler")
    with pytest.raises(InputError, match="table must be of this grid"):
        run(Calibrated(made), grid=make_grid(EDM, "karras", 6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version must be 1, got 2"),
        ({"steps": [{"solver": "euler"}]}, r"steps\[0\] must hold start, got only solver"),
        (
            {"steps": [], "sum": "0"},
            "table must be as it was written, got .*: its checksum differs",
        ),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    file = tmp_path / "table.json"
    table()[0].save(file)
    found = json.loads(file.read_text())
    del found["sum"]
    file.write_text(json.dumps({**found, **change}))
    with pytest.raises(InputError, match=message):
        Table.load(file)


def test_an_unknown_direction_or_an_infinite_move_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    table()[0].save(file)
    found = json.loads(file.read_text())
    del found["sum"]
    for move, message in (
        ({"sideways": 0.1}, "move of a table must be one of .*, got sideways"),
        ({"residual": float("inf")}, "numbers must be finite, got Infinity"),
    ):
        found["steps"][0]["move"] = move
        file.write_text(json.dumps(found))
        with pytest.raises(InputError, match=message):
            Table.load(file)


def test_every_flipped_bit_of_a_number_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    made = table()[0]
    made.save(file)
    whole = file.read_bytes()
    start = whole.index(b'"move"')
    for place in range(8 * start, 8 * whole.index(b"}", start)):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << (place % 8)
        file.write_bytes(damaged)
        with suppress(InputError):
            assert Table.load(file) == made  # the same number in other words, say


def test_a_missing_file_and_garbage_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a readable JSON file"):
        Table.load(tmp_path / "none.json")
    (tmp_path / "garbage.json").write_text("{")
    with pytest.raises(InputError, match="table must be valid JSON"):
        Table.load(tmp_path / "garbage.json")


def test_a_sub_batch_estimates_from_the_first_states_alone() -> None:
    part = run(tweedie(states=50)).diagnostics[0]
    alone = solve(PLANE, X[:50], GRID, get_solver("dpmpp-2m"), correction=tweedie())
    assert part.estimate == alone.diagnostics[0].estimate
    assert part.estimate != run(tweedie()).diagnostics[0].estimate
    ahead = run(CORRECTIONS["stein-lookahead"](states=50)).diagnostics[0]
    assert ahead.evaluations == 50 / 200


def test_a_target_error_stops_at_the_smallest_sub_batch_that_reaches_it() -> None:
    first = run(stein(target_error=1e9)).diagnostics[0]
    assert first.products == pytest.approx(64 / 200)
    never = run(stein(target_error=1e-12)).diagnostics[0]
    assert never.products == pytest.approx((64 + 128 + 200) / 200)
    assert never.estimate == run(stein()).diagnostics[0].estimate
