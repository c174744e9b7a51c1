"""Solvers fitted to the flow on one grid: nearer to it there, refused elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel, exact_flow
from steinlab.cli import main
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import EDM, PROCESSES
from steinlab.errors import InputError
from steinlab.solvers.fitted_steps import FAMILIES, FITTED, Numbers, fit
from steinlab.solvers.loop import solve

LAW = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [1.0, -0.2]], [[0.2, 0.4], [0.3, 0.1]])
BEGUN = {"amed": "dpm-2", "epd": "epd-2", "epd-2": "epd-2", "dc": "dpmpp-2m", "pas": "euler"}


def starts(name: str, seed: int) -> np.ndarray:
    grid = make_grid(name, "logsnr", 4)
    rng = np.random.default_rng(seed)
    return grid[0].noised(LAW.sample(64, rng), rng)


@pytest.mark.parametrize("process", ["edm", "flow"])
@pytest.mark.parametrize("name", BEGUN)
def test_on_its_grid_it_is_nearer_to_the_flow_than_what_it_begins_from(
    name: str, process: str, tmp_path: Path
) -> None:
    grid = make_grid(process, "logsnr", 4)
    where = PROCESSES[process]
    table = fit(name, LAW, starts(process, 0), grid, where, model="m", substeps=4)
    assert table.evaluations > 12 * 4
    table.save(tmp_path / "t.json")
    assert Numbers.load(tmp_path / "t.json") == table
    x = starts(process, 1)
    exact = exact_flow(LAW, x, grid[0], grid[-1]).state
    fitted, plain = (
        float(np.mean((solve(LAW, x, grid, solver).state - exact) ** 2))
        for solver in (table.make(where), BEGUN[name])
    )
    assert fitted < (1.0 if name != "pas" else 1.05) * plain
    table.require("m", grid)
    with pytest.raises(InputError, match="table must hold a step from sigma/alpha"):
        table.require("m", make_grid(process, "logsnr", 5))
    with pytest.raises(InputError, match="table must be of the model other, got m"):
        table.require("other", grid)


def test_v3_has_a_row_per_level_and_takes_every_grid() -> None:
    law = GaussianMixture([1.0], [[1.0, -2.0]], np.diag([0.3, 4.0])[None])
    levels = make_grid("edm", "logsnr", 48, final_zero=False)
    rng = np.random.default_rng(0)
    x = levels[0].noised(law.sample(20, rng), rng)
    table = fit("dpm-v3-1", law, x, levels, EDM, model="m", substeps=4)
    assert (len(table.rows), len(table.ratios), len(table.rows[0])) == (49, 49, 6)
    table.require("m", make_grid("edm", "karras", 3))
    solver = table.make(EDM)
    assert solver.name == "dpm-v3-1"
    s, t = EDM.level_at(20.0), EDM.level_at(0.1)
    end = solver.step(law, s.sigma * x / levels[0].sigma, s, t, ()).state
    exact = exact_flow(law, s.sigma * x / levels[0].sigma, s, t).state
    np.testing.assert_allclose(end, exact, atol=1e-3)


def spec(folder: Path, **fields: object) -> str:
    data = {"weights": [0.3, 0.7], "means": [[-2, 0], [2, 1]], "stds": [0.2, 0.4]}
    told = {"data": data, "solvers": ["euler"], "evaluations": [5], "samples": 40}
    file = folder / "spec.json"
    file.write_text(json.dumps({**told, "corrections": ["none"], **fields}))
    return str(file)


def test_compare_reads_what_calibrate_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "dc.json"
    assert main(["calibrate", spec(tmp_path), "--fit", "dc", "--out", str(file)]) == 0
    assert "5 rows, 40 states, " in capsys.readouterr().out
    entry = {"name": "dc", "table": file.name}
    out = tmp_path / "rows.json"
    own = spec(tmp_path, solvers=[entry, "dpmpp-2m"], seed=3)
    assert main(["compare", own, "--json", str(out)]) == 0
    ours, base = json.loads(out.read_text())
    assert ours["table"] == str(file)
    fit = Numbers.load(file)
    assert ours["price"]["per_state_of_10000"] == fit.evaluations * 40 / 10_000
    assert "table" not in base
    assert "price" not in base
    row = next(line for line in capsys.readouterr().out.splitlines() if " dc " in line)
    assert row.split()[:4] == ["5", "5", f"{fit.evaluations * 40 / 10_000:.2g}", "dc"]
    assert ours["flow_error"]["value"] < base["flow_error"]["value"]
    capsys.readouterr()
    for fields, message in (
        ({"solvers": [entry], "evaluations": [6]}, "table must hold a step from sigma/alpha"),
        ({"solvers": ["dc"]}, "solvers[0]: a table must be given for dc, "),
        ({"solvers": [{**entry, "name": "pas"}]}, "solvers[0].table must be of pas, got one of dc"),
        (
            {"solvers": [{**entry, "table": "no.json"}]},
            "table must be a readable JSON file",
        ),
        ({"solvers": [{**entry, "table": "spec.json"}]}, "must hold kind, got only "),
    ):
        assert main(["compare", spec(tmp_path, **fields)]) == 2
        assert message in capsys.readouterr().err
    assert main(["calibrate", spec(tmp_path), "--fit", "heun", "--out", str(file)]) == 2
    assert "--fit must be one of " + ", ".join(FITTED[:3]) in capsys.readouterr().err


@pytest.mark.parametrize("sigma", [0.3, 0.0])
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "pas"])
def test_a_step_spends_what_it_says(name: str, sigma: float) -> None:
    """Where it has numbers of its own: one evaluation per slope, one at the beginning alone."""
    family, s, t = FAMILIES[name], NoiseLevel(1.0, 2.0), NoiseLevel(1.0, sigma)
    solver, calls = family.make(lambda _: family.start, EDM), []

    def counted(x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        calls.append(level)
        return LAW(x, level)

    solver.step(counted, np.ones((3, 2)), s, t, ())
    assert solver.evaluations(t) == len(calls)
