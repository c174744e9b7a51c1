"""The aims that the second edition was played for, and how near its record comes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steinlab.experiments.tournament.summary import (
    HURTS,
    SURE,
    Played,
    geometric,
    line,
    markdown,
    ratio,
)

PILOTS = ("pilot", "pilot, 96 states")
FREE = "unit-speed-3"
"""A solver that sees the batch alone: no reference, no fine run, and nothing spent on either."""

MEASURE = "energy_distance"

GAIN = 0.10
"""The ratio to the same plain solver that was asked for, at equal evaluations."""


@dataclass(frozen=True)
class Aim:
    """A number that was asked for, at most (or, with ``least``, at least), and those found."""

    what: str
    asked: float
    found: Mapping[str, float]
    digits: str = ".3f"
    least: bool = False

    @property
    def met(self) -> bool:
        """Whether one of those who were to meet it does."""
        best = (max if self.least else min)(self.found.values())
        return best >= self.asked if self.least else best <= self.asked

    def row(self) -> list[str]:
        """Return its row of the table."""
        found = "; ".join(f"{name}: {value:{self.digits}}" for name, value in self.found.items())
        asked = f"{self.asked:.0%}" if "%" in self.digits else f"{self.asked:g}"
        bound = f"at {'least' if self.least else 'most'} {asked}"
        return [self.what, bound, found, "met" if self.met else "missed"]


def aims(played: Sequence[Played]) -> str:
    """Return the aims as a table and what stands in the way; nothing where no pilot competed."""
    found = of_the_pilot(played)
    if not found:
        return ""
    found += without_a_fine_run(played)
    head = ["aim", "asked", "found", "verdict"]
    table = markdown(head, [one.row() for one in found])
    return f"### The aims, on these cells\n\n{table}\n\n{in_the_way(played)}"


def of_the_pilot(played: Sequence[Played]) -> list[Aim]:
    """Return the aims of a default that spends a little, everything it spends counted."""
    lines = {name: line(name, played) for name in PILOTS if name in played[0]["results"]}
    if PILOTS[0] not in lines:
        return []
    above = {name: float(sum(_beyond(name, one) for one in played)) for name in lines}
    return [
        Aim(
            "energy distance over the same solver's, at equal evaluations",
            GAIN,
            {name: one.equal for name, one in lines.items()},
        ),
        Aim(
            f"cells above {HURTS} beyond noise, at the budget before the price",
            0,
            {name: one.beyond * one.cells for name, one in lines.items()},
            ".0f",
        ),
        Aim(f"cells above {HURTS} beyond noise, at equal evaluations", 0, above, ".0f"),
        Aim(
            "better than the best plain solver in hindsight, at equal evaluations",
            0.80,
            {name: one.equal_beats for name, one in lines.items()},
            ".0%",
            least=True,
        ),
        Aim(
            "energy distance over that best plain solver's",
            0.50,
            {name: one.equal_best for name, one in lines.items()},
        ),
    ]


def _beyond(name: str, one: Played) -> bool:
    """Whether an entrant is worse than plain at equal evaluations beyond its own noise."""
    found, plain, floor = one["results"][name], one["results"]["none"], one["floor"][MEASURE]
    rival = found.get("equal", plain)
    size = ratio(found, rival, floor, MEASURE)
    if "stopped" in found or "stopped" in rival:
        return size > HURTS
    error = found["energy_error"] / (max(rival[MEASURE], 0.0) + floor)
    return bool(size - SURE * error > HURTS)


def without_a_fine_run(played: Sequence[Played]) -> list[Aim]:
    """Return the aims of a method that spends nothing, each path, budget and seed counted once."""
    once = {tuple(v for k, v in one["cell"].items() if k != "solver"): one for one in played}
    if not all(FREE in one.get("plain", {}) for one in once.values()):
        return []
    euler = [_over(one, one["plain"]["euler"]) for one in once.values()]
    best = [_over(one, best_other(one)) for one in once.values()]
    hurt = float(np.mean(np.array(euler) > HURTS))
    return [
        Aim("reference-free: energy distance over Euler's", 0.12, {FREE: geometric(euler)}),
        Aim("over the best other plain solver's", 0.65, {FREE: geometric(best)}),
        Aim(f"cells above {HURTS} times Euler's", 0.03, {FREE: hurt}, ".1%"),
    ]


def _over(one: Played, rival: Mapping[str, Any]) -> float:
    return ratio(one["plain"][FREE], rival, one["floor"][MEASURE], MEASURE)


def best_other(one: Played) -> Mapping[str, Any]:
    """Return the best plain solver but :data:`FREE`, with hindsight."""
    others = (found for name, found in one["plain"].items() if name != FREE)
    return min(others, key=lambda found: found.get(MEASURE, math.inf))


def in_the_way(played: Sequence[Played]) -> str:
    """Return in a sentence what keeps the pilot from the aims."""
    name = PILOTS[0]
    own = [one for one in played if one["cell"]["solver"] == one["best_plain"]["solver"]]
    told = (
        "What stands in the way: a pilot is given its solver, which is the best plain one in "
        f"{len(own) / len(played):.0%} of the cells, and the {line(name, played).extra:.2f} "
        "evaluations that it spends count as a whole one"
    )
    if not own:
        return f"{told}."
    best = line(name, own)
    return (
        f"{told}; where it is given the best solver, it has {best.mean:.2f} of that one's distance "
        f"at the same budget and {best.equal_best:.2f} of the best one's at equal evaluations."
    )
