"""The claim on a correction that worsens no cell: a cell is judged by its own noise."""

from __future__ import annotations

import numpy as np

from steinlab.claims.performance.correction_tournament import (
    CLAIM,
    ENTRANTS,
    MEASURE,
    compare_cells,
    compare_mean,
)
from steinlab.experiments.tournament.design import Cell
from steinlab.experiments.tournament.play import play
from steinlab.experiments.tournament.summary import HURTS, ratio
from steinlab.verification.claim import Result


def test_a_number_says_how_much_worse_a_cell_may_be() -> None:
    """A check as blunt as its noise says so: the largest ratio that it lets pass."""
    played = (play(CELL, states=300, entrants=ENTRANTS),)
    whole, single = CLAIM.checks
    results = {
        "mean": Result(whole, [], [played], compare_mean(played, CLAIM.formula)),
        "cells": Result(single, [], [played], compare_cells(played, CLAIM.formula)),
    }
    found = results["cells"].comparison
    allowed = found.predicted[0] + found.tolerance[0]
    assert allowed > HURTS
    numbers = {number.name: number.value for number in CLAIM.numbers(results)}
    assert numbers["largest ratio that noise can explain"] == allowed


CELL = Cell("two-1", "flow", "time-uniform", "dpmpp-3m", 10, 0)


def test_a_ratio_above_the_limit_by_noise_alone_refutes_nothing() -> None:
    """With 300 states 1.16, known to 1 only; the same ratio known well, or a harmful rule, does."""
    one = play(CELL, states=300, entrants=ENTRANTS)
    found, plain = (one["results"][name] for name in ("calibrated", "none"))
    value = ratio(found, plain, one["floor"][MEASURE], MEASURE)
    assert HURTS < value < HURTS + found["ratio_error"]
    assert not compare_cells([one], "calibrated").violated.any()
    known = {**one, "results": {**one["results"], "calibrated": {**found, "ratio_error": 0.01}}}
    assert compare_cells([known], "calibrated").violated.all()
    stopped = {**one, "results": {**one["results"], "calibrated": {"stopped": "at step 2"}}}
    assert compare_cells([stopped], "calibrated").violated.all()
    assert np.isfinite(compare_cells([stopped], "calibrated").tolerance).all()
