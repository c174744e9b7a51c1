"""Tables of linear steps: the solvers they stand for, what is fitted, and their files."""

import json
import re

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from steinlab.cli import main
from steinlab.diffusion.grids import make_grid
from steinlab.errors import InputError
from steinlab.solvers import DPMPP_3M, EULER, get_solver, lowered, make_plan
from steinlab.solvers.linear_family import LinearTable, as_table, fit_table
from steinlab.solvers.loop import solve
from steinlab.solvers.reference_flow import trajectory

LAW = GaussianMixture([0.3, 0.7], [[-2.0, 0.0], [2.0, 1.0]], [0.04, 0.16])
SPEC = {
    "data": {"weights": [0.3, 0.7], "means": [[-2, 0], [2, 1]], "stds": [0.2, 0.4]},
    "evaluations": [4],
    "corrections": ["none"],
    "samples": 300,
}


def starts(grid, count=200, seed=0):
    rng = np.random.default_rng(seed)
    return grid[0].noised(LAW.sample(count, rng), rng)


@pytest.mark.parametrize("process", ["edm", "vp-linear", "flow"])
@pytest.mark.parametrize("name", ["unipc-3-noise", "ipndm-4", "dpmpp-2m"])
def test_a_table_takes_the_steps_of_its_solver(name, process):
    grid = make_grid(process, "logsnr", 6, final_zero=False)
    solver, x = get_solver(name), starts(grid, 8)
    ends = [solve(LAW, x, grid, one).state for one in (solver, as_table(solver, grid))]
    np.testing.assert_allclose(*ends, atol=1e-11)


def test_a_plan_is_a_point_too():
    grid = make_grid("edm", "karras", 5)
    plan = make_plan(DPMPP_3M, 5, finish=lowered(DPMPP_3M, 2, 1))
    x = starts(grid, 8)
    ends = [solve(LAW, x, grid, one).state for one in (plan, as_table(plan, grid))]
    np.testing.assert_allclose(*ends, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("heun", "must evaluate the denoiser once per step, got heun with 7 evaluations in 4"),
        ("unit-speed-1", "solver must take each state alone for a table of its numbers"),
    ],
)
def test_others_are_refused(name, message):
    with pytest.raises(InputError, match=re.escape(message)):
        as_table(get_solver(name), make_grid("edm", "karras", 4))


def test_a_fit_is_no_worse_than_any_member_in_its_first_step():
    grid = make_grid("edm", "karras", 4)
    x = starts(grid)
    targets = trajectory(LAW, x, grid)[1:]
    table = fit_table(LAW, x, grid, targets)
    first, euler = (
        np.linalg.norm(one.step(LAW, x, *grid[:2], ()).state - targets[0]) for one in (table, EULER)
    )
    assert first < euler
    ends = [
        np.linalg.norm(solve(LAW, x, grid, one).state - targets[-1])
        for one in (table, get_solver("dpmpp-2m"))
    ]
    assert ends[0] < 0.5 * ends[1]


def test_files_are_read_back_and_checked(tmp_path):
    grid, file = make_grid("edm", "karras", 3), tmp_path / "table.json"
    table = as_table(EULER, grid)
    table.save(file)
    assert LinearTable.load(file) == LinearTable("euler", table.levels, table.rows)
    kept = json.loads(file.read_text())
    del kept["sum"]
    for change, message in (
        ({"kind": "curve"}, "kind must be linear-table, got curve, in "),
        ({"rows": [[1.0, 2.0], [1.0, 2.0]]}, "numbers in its steps, got [2, 2]"),
        (
            {"rows": [[1.0, float("inf")], *kept["rows"][1:]]},
            "numbers must be finite",
        ),
        ({"rows": None}, "rows must be a list, got null, in "),
    ):
        file.write_text(json.dumps({**kept, **change}))
        with pytest.raises(InputError, match=re.escape(message)):
            LinearTable.load(file)
    with pytest.raises(InputError, match=r"table must be a readable JSON file, got .*none"):
        LinearTable.load(tmp_path / "none.json")
    other = (NoiseLevel(1.0, 70.0), *grid[1:])
    with pytest.raises(ValueError, match="it has sigma 80 where the run has 70"):
        solve(LAW, starts(other), other, table)
    with pytest.raises(ValueError, match="where the run has"):  # a run from the middle
        table.step(LAW, starts(grid), grid[1], grid[2], ())
    for model, levels, message in (
        ("other", grid, "table must be of the model other, got euler"),
        ("euler", grid[:3], "table must be of 2 steps, got 3"),
    ):
        with pytest.raises(InputError, match=message):
            table.require(model, levels)


def test_calibrate_fits_one_and_compare_runs_it(tmp_path, capsys):
    file, table, out = (tmp_path / name for name in ("s.json", "t.json", "o.json"))
    file.write_text(json.dumps({**SPEC, "solvers": ["euler"]}))
    assert main(["calibrate", str(file), "--linear", "--out", str(table)]) == 0
    assert "4 steps, 300 states, 197 evaluations each" in capsys.readouterr().out
    entry = {"name": "linear-table", "table": table.name}
    file.write_text(json.dumps({**SPEC, "solvers": [entry, "dpmpp-2m"], "seed": 1}))
    assert main(["compare", str(file), "--json", str(out), "--no-progress"]) == 0
    fitted, plain = json.loads(out.read_text())
    assert fitted["table"] == str(table)
    assert fitted["flow_error"]["value"] < plain["flow_error"]["value"]
    capsys.readouterr()
    for change, message in (
        ({"evaluations": [5]}, "table must be of this grid"),
        ({"solvers": ["linear-table"]}, "solvers[0] must be an object, got linear-table"),
        ({"solvers": [{"name": "linear-table"}]}, "solvers[0].table is missing"),
    ):
        file.write_text(json.dumps({**SPEC, "solvers": [entry], **change}))
        assert main(["compare", str(file)]) == 2
        assert message in capsys.readouterr().err
    assert main(["calibrate", str(file), "--linear", "--curve", "--out", str(table)]) == 2
