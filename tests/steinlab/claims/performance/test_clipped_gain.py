"""The advice on the paper's coefficient says what the design of its claims gives."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steinlab.claims.instruments.paired_runs import CLIPPED, Outcome, Setup, outcome_of
from steinlab.claims.performance.clipped_gain import CLAIM, SURE, numbers
from steinlab.claims.performance.few_evaluations_gain import without_heun
from steinlab.claims.performance.gain_ratios import (
    AS_STATED,
    EVALUATIONS,
    SOLVERS,
    STATES,
    WORST,
    Cells,
    Design,
    Summary,
    Whole,
    compare_mean,
    measure_cells,
    measure_whole,
    over,
)
from steinlab.verification.claim import Result

PAGE = (Path(__file__).parents[4] / "docs" / "corrections-evidence.md").read_text(encoding="utf-8")
SECTION = " ".join(
    PAGE.split("## Where the paper's coefficient works")[1].split("\n## ")[0].split()
)
VP = "tweedie 0.1 to 1, VP"
FRACTIONS = {"edm": 1, "flow": 3}


@cache
def outcomes(process: str) -> list[Outcome]:
    """The quick profile's design of the claims, seed 0."""
    setups = Design(process, EVALUATIONS, FRACTIONS[process], 2, STATES, 0).setups()
    return [outcome_of(setup, CLIPPED[0]) for setup in setups]


def of(process: str, rule: str, **where: Any) -> Summary:
    kept = (
        o
        for o in outcomes(process)
        if all(getattr(o.setup, name) == value for name, value in where.items())
    )
    return over(list(kept), rule)


@pytest.mark.parametrize(("process", "word"), [("edm", "EDM"), ("flow", "flow")])
@pytest.mark.parametrize("rule", CLIPPED)
def test_the_table_is_the_designs(process: str, word: str, rule: str) -> None:
    limits, _, vp = rule.removeprefix("tweedie ").partition(", ")
    low, high = limits.split(" to ")
    s = of(process, rule)
    solvers = " | ".join(f"{of(process, rule, solver=name).mean:.2f}" for name in SOLVERS)
    assert (
        f"| {word}, {vp or 'own'}, [{low}, {high}] | {s.mean:.2f} ({s.low:.2f} to {s.high:.2f}) | "
        f"{s.worst:.1f} | {solvers} |"
    ) in SECTION


def test_where_it_works() -> None:
    three = [
        f"{of('edm', 'tweedie 0.5 to 1', solver=name).mean:.2f}"
        for name in ("dpmpp-3m", "dpmpp-2m", "unipc-2")
    ]
    assert f"{three[0]}, {three[1]} and {three[2]} of the plain error with [0.5, 1]" in SECTION
    for process, rule in (("edm", VP), ("flow", "tweedie 0.1 to 1")):
        means = {name: of(process, rule, solver=name).mean for name in SOLVERS}
        assert min(means, key=lambda name: means[name]) == "heun"
    few, many = (of("edm", VP, evaluations=n).mean for n in (4, 10))
    assert f"at 4 evaluations {few:.2f} of the plain error" in SECTION
    assert f"at 10 it is {many:.2f}" in SECTION


def test_which_solvers_gain_at_the_largest_steps() -> None:
    means = {name: of("edm", VP, evaluations=4, solver=name).mean for name in SOLVERS}
    assert {name for name, mean in means.items() if mean < 0.95} == {"heun", "dpmpp-3m"}
    said = {name: f"{mean:.2f}" for name, mean in means.items()}
    assert (
        "at the largest steps, and it is Heun and 3M that gain "
        f"({said['heun']} and {said['dpmpp-3m']}); 2M and UniPC do not ({said['dpmpp-2m']} and "
        f"{said['unipc-2']})"
    ) in SECTION
    few = [o for o in outcomes("edm") if o.setup.evaluations == 4]
    rest = over(without_heun(few), VP)
    assert (
        f"without Heun the mean is {rest.mean:.2f} ({rest.low:.2f} to {rest.high:.2f})" in SECTION
    )


def test_two_clips_are_not_told_from_1_by_law() -> None:
    spans = {}
    for rule in CLIPPED:
        s = of("edm", rule)
        if s.law_low <= 1 <= s.law_high:
            spans[rule] = f"{s.law_low:.2f} to {s.law_high:.2f}"
    assert set(spans) == {VP, "tweedie 0.5 to 1, VP"}
    assert f"not distinguished from 1 ({'; '.join(spans.values())})" in SECTION


def test_where_it_does_not() -> None:
    grid = of("edm", VP, solver="ipndm-3", problem="25-mode grid, 2-D")
    assert f"{grid.mean:.1f} of the plain error with [0.1, 1] in VP" in SECTION
    own = np.array([o.ratio("tweedie 0.1 to 1") for o in outcomes("edm")])
    worst = outcomes("edm")[int(own.argmax())].setup
    assert (worst.problem, worst.solver) == ("Gaussian, 2-D", "dpmpp-2m")
    assert (worst.grid, worst.evaluations) == ("logsnr", 6)
    assert (own > WORST).sum() == 1
    assert f"own coordinates is {own.max():.1f} times worse" in SECTION
    cell = Setup("Gaussian, 2-D", "flow", "unipc-2", "logsnr", 8, SURE, 0)
    lost = outcome_of(cell, CLIPPED[0]).ratio("tweedie 0.9 to 1")
    assert f"8 evaluations), {lost:.0f} times worse even with [0.9, 1]" in SECTION
    below = [of(process, "tweedie from 0.1").mean for process in ("edm", "flow")]
    assert f"only it has {below[0]:.2f} in EDM and {below[1]:.2f} in flow" in SECTION
    assert f"up to 1.1 {of('edm', 'tweedie 0.1 to 1.1').mean:.2f} in EDM" in SECTION
    fixed = [of(process, "gamma 0.9").mean for process in ("edm", "flow")]
    assert f"(0.9: {fixed[0]:.2f})" in SECTION
    assert f"as well ({fixed[1]:.2f})" in SECTION


def test_the_numbers_say_which_part_of_the_design_was_played() -> None:
    """A cell 30 times worse lies outside the third that ``clipped-gain-flow`` plays."""
    whole = Whole(Design("flow", (4,), 6, 2, 8, 0), CLIPPED)
    check = next(c for c in CLAIM.checks if c.name == "interval")
    runs = measure_whole(whole)
    one = next(d.check for d in CLAIM.dropped if d.check.name == "cells, cancelling")
    cell = Cells(runs.outcomes[0].setup, (whole.rules[0],))
    alone = measure_cells(cell)
    found = numbers(
        {
            "interval": Result(check, [whole], [runs], compare_mean(runs, AS_STATED)),
            one.name: Result(one, [cell], [alone], one.compare(alone, AS_STATED)),
        }
    )
    assert {n.name: n.value for n in found}["setups played"] == len(runs.outcomes) < 84


def test_corrected_heun_is_no_match_for_plain_euler() -> None:
    def cells(solver: str, row: str) -> dict[tuple[str, str, int], float]:
        kept = (o for o in outcomes("edm") if o.setup.solver == solver)
        return {(o.setup.problem, o.setup.grid, o.setup.evaluations): o.value(row) for o in kept}

    heun, euler = cells("heun", VP), cells("euler", "plain")
    factor = np.exp(np.mean([np.log(heun[key] / euler[key]) for key in euler]))
    assert f"still {factor:.1f} times plain Euler's" in SECTION
