"""The study's second part: paired errors, the best baseline, the table; the energy distance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from gpu_models.quality.measures import paired_energy_rows
from gpu_models.study.cells import _entry
from gpu_models.study.design import SIZES, as_json, cells
from gpu_models.study.entrants import BASELINES, against_best, table
from gpu_models.study.pairs import Pair
from gpu_models.study.stored import Stored
from steinlab.metrics import energy_distance_of_pairs

SIZE = SIZES["entrants"]


def made() -> Stored:
    """Every run of the design: entrants err by 0.8 of the baselines' ``1 + place``, per seed."""
    found: dict[str, Any] = {}
    rng = np.random.default_rng(0)
    for cell in cells(SIZE):
        plain = cell.solver in BASELINES and cell.correction == "none"
        error = 1.0 + BASELINES.index(cell.solver) if plain else 0.8
        shared = np.random.default_rng(cell.seed).standard_normal(50)
        own = 0.01 * rng.standard_normal(50)
        entry = {"value": error, "error": 0.3, "groups": [*(shared + own)]}
        found[cell.key] = {"spent": cell.evaluations, "extra": 0.5, "flow_error": entry}
    return Stored({"version": 1, "config": {"size": as_json(SIZE)}}, found)


def test_entrants_are_held_against_the_best_baseline_with_what_pairs_share_left_out() -> None:
    study = made()
    pairs = against_best(study, "ipndm-3+pilot", "flow_error")
    assert len(pairs) == 16
    assert {pair.ratio("flow_error") for pair in pairs} == {0.8}
    scores = [pair.z("flow_error") for pair in pairs]
    error = 0.01 * math.sqrt(2 / 50)
    assert scores == pytest.approx([-0.2 / error] * 16, rel=0.4)
    for record in study.found.values():
        del record["flow_error"]["groups"]
    assert pairs[0].z("flow_error") == pytest.approx(-0.2 / math.hypot(0.3, 0.3))
    del study.found["euler/4/karras/none/0"]["flow_error"]
    assert len(against_best(study, "ipndm-3+pilot", "flow_error")) == 15


def test_the_table_tells_the_better_grid_and_every_entrant() -> None:
    study = made()
    for cell, record in study.runs.items():
        if cell.grid == "logsnr":
            record["flow_error"]["value"] *= 2
    lines = table(study).splitlines()
    assert lines[1].split() == ["best", "baseline", "1", "1", "1", "1"]
    assert lines[2].startswith("unit-speed-3 (+0.50)")
    assert lines[2].split("  ")[-1] == "0.800 (0.800 to 0.800); 16 better, 0 worse of 16"
    assert len(lines) == 2 + len(SIZE.entrants) - len(BASELINES)  # of the one quantity there is


def test_groups_hold_the_influences_of_paired_runs() -> None:
    influence = torch.arange(100.0, dtype=torch.float64) - 49.5
    entry = _entry(3.0, influence)
    assert entry["groups"] == [2.0 * i - 49.0 for i in range(50)]
    assert entry["error"] == pytest.approx(float(influence.std()) / 10)
    other = {**entry, "value": 4.0}
    pair = Pair(cells(SIZE)[0], {"flow_error": entry}, {"flow_error": other}, 0.0)
    assert pair.z("flow_error") > 1e100  # nothing but the value differs


def test_the_energy_distance_is_that_of_pairs() -> None:
    rng = np.random.default_rng(1)
    x = 5 + rng.standard_normal((40, 6))
    y = x + 0.3 * rng.standard_normal((40, 6))
    known = energy_distance_of_pairs(x, y)
    rows = paired_energy_rows(torch.from_numpy(x), torch.from_numpy(y))
    assert float(rows.mean()) == pytest.approx(known.value, rel=1e-6)
    error = 2 * float(rows.std()) / math.sqrt(40)
    assert error == pytest.approx(known.error, rel=0.1)
