"""Searched grids against brute force, and where they are asked for by name."""

import itertools
import json
import re

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from steinlab.cli import main
from steinlab.diffusion.grids import grid_name, make_grid
from steinlab.diffusion.processes import EDM, FLOW
from steinlab.errors import InputError
from steinlab.solvers import EULER, get_solver, make_plan
from steinlab.solvers.gaussian_runs import flow_distance
from steinlab.solvers.searched_grids import (
    Task,
    cheapest,
    followed,
    missed,
    search_grid,
    step_costs,
)

DEVIATIONS = np.array([0.05, 0.5, 2.0])
LAW = GaussianMixture([1.0], np.zeros((1, 3)), DEVIATIONS[None] ** 2)
START = np.sqrt(DEVIATIONS**2 + 80.0**2)[None]
"""One state whose squares are the forward law's variances: its distances are root mean squares."""


def task(steps=4, count=12, law=LAW, start=START):
    levels = make_grid(EDM, "karras", count - 1, final_zero=False)
    return Task(law, start, EDM, levels, make_plan(EULER, steps))


def searched(grid, steps=4, solver=EULER, **options):
    options = {"final_zero": False, **options}
    return search_grid(grid, LAW, START, EDM, make_plan(solver, steps), **options)


@pytest.mark.parametrize("g", [1.0, 1.15, 0.8])
def test_dynamic_programming_finds_what_enumeration_finds(g):
    costs = step_costs(followed(task(), "ipndm-4"), task().levels)
    last = len(costs) - 1

    def total(path):
        return sum(g**k * costs[i, j] for k, (i, j) in enumerate(itertools.pairwise(path)))

    paths = [(0, *inner, last) for inner in itertools.combinations(range(1, last), 3)]
    assert tuple(cheapest(costs, 4, g)) == min(paths, key=total)


def test_published_figures_of_the_three_scales():
    for grid, error in (("gits:g=1", 0.580), ("gits", 0.621), ("descent", 0.579)):
        assert flow_distance(LAW, EULER, searched(grid).grid) == pytest.approx(error, abs=6e-4)


def test_deviations_see_nothing_where_trajectories_are_straight():
    law, x = GaussianMixture([1.0], np.zeros((1, 2)), 0.25), np.array([[60.0, -30.0]])
    one = task(law=law, start=x)
    costs = step_costs(followed(one, "ipndm-4"), one.levels, "deviation")
    assert np.abs(costs[np.isfinite(costs)]).max() < 1e-11
    assert step_costs(followed(one, "ipndm-4"), one.levels)[0, -1] > 0.1


def test_costs_do_not_depend_on_the_process():
    x = START / 80.0 * EDM.ratio_max
    grid = make_grid(EDM, "karras:sigma_max=40,sigma_min=0.01", 9, final_zero=False)
    flow = tuple(FLOW.level_at(level.ratio) for level in grid)
    plan = make_plan(EULER, 3)
    found = [
        step_costs(followed(Task(LAW, levels[0].alpha * x, process, levels, plan), "euler"), levels)
        for process, levels in ((EDM, grid), (FLOW, flow))
    ]
    np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["dpmpp-2m", "heun"])
def test_searches_follow_the_student(name):
    solver, karras = get_solver(name), make_grid(EDM, "karras", 4, final_zero=False)
    plain = flow_distance(LAW, solver, karras)
    for grid in ("oss:levels=31", "descent:levels=31"):
        found = searched(grid, 4, solver, final_zero=False).grid
        assert len(found) == 5
        assert flow_distance(LAW, solver, found) < plain


def test_prices_are_counted():
    assert searched("gits:levels=21,teacher=heun").evaluations == 40
    assert searched("oss:levels=21").evaluations == 20 + 1 + 17 + 17 + 17


def test_names_and_bad_input(tmp_path, capsys):
    assert grid_name({"name": "gits", "g": 1}) == "gits:g=1"
    for grid, message in (
        ("gits:h=1", "grid gits: option must be one of levels, teacher, g, cost"),
        ("karras", "grid must be one of gits, oss, descent, got karras"),
        ("oss:levels=4", "grid oss: levels must be > 4, the steps, got 4"),
        ("gits:cost=size", "cost must be one of distance, deviation, got size"),
        ("gits:teacher=nobody", "teacher must be one of"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            searched(grid)
    with pytest.raises(InputError, match="grid gits must be searched on a law or model"):
        make_grid("edm", "gits", 4)


def test_a_comparison_searches_and_says_the_price(tmp_path, monkeypatch):
    monkeypatch.setenv("STEINLAB_CACHE", str(tmp_path / "cache"))
    spec = {
        "data": {"weights": [1], "means": [[0, 0]], "stds": [0.5]},
        "solvers": ["euler"],
        "evaluations": [4],
        "corrections": ["none"],
        "samples": 200,
        "grid": "oss:levels=16",
    }
    file, out = tmp_path / "spec.json", tmp_path / "rows.json"
    file.write_text(json.dumps(spec))
    texts = []
    for _ in range(2):  # the second time from the cache
        assert main(["compare", str(file), "--json", str(out), "--no-progress"]) == 0
        texts.append(out.read_text())
    assert texts[0] == texts[1]
    row = json.loads(texts[0])[0]
    found = row["searched_grid"]
    assert (found["states"], found["evaluations"], len(found["sigmas"])) == (256, 52, 5)
    assert row["price"] == {"evaluations": 52 * 256, "per_state_of_10000": 1.3312}
    file.write_text(json.dumps({**spec, "grid": found["sigmas"]}))
    assert main(["compare", str(file), "--json", str(out), "--no-progress"]) == 0
    assert json.loads(out.read_text())[0]["flow_error"] == row["flow_error"]


def test_what_a_grid_misses_is_measured_at_its_end():
    """An Euler run to ``sigma`` ends at ``x sigma / s`` for ``D = 0``, measured in ``z``."""
    levels = [NoiseLevel(a, b) for a, b in ((0.5, 1.0), (0.8, 0.6), (0.9, 0.3))]
    x, goal = np.array([[2.0, -4.0]]), np.array([[1.0, 1.0]])
    one = Task(lambda y, _level: 0.0 * y, x, FLOW, levels, make_plan(EULER, 2))
    z = x * 0.3 / 0.9
    assert missed(one, levels, goal) == pytest.approx(np.sqrt(np.mean(np.sum((z - goal) ** 2, -1))))
