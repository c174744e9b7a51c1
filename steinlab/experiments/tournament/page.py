"""The tournament's tables as Markdown."""

from __future__ import annotations

import collections
import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from steinlab.errors import InputError
from steinlab.experiments.tournament.design import BUDGETS, FEW, SOLVERS
from steinlab.experiments.tournament.entrants import REFERENCES
from steinlab.experiments.tournament.measures import MEASURES
from steinlab.experiments.tournament.summary import HURTS, Line, Played, line
from steinlab.storage import write_text

BEGIN, END = "<!-- tournament: begin -->", "<!-- tournament: end -->"
GROUPS = ((3,), (4, 5), (6, 8, 10), (15, 20))
SHOWN = ("law-matched", "local", "calibrated", "flow-oracle")
"""Entrants of the table by solver and budget."""


def tables(played: Sequence[Played], told: str) -> str:
    """Return every table, for the cells of the reporting half and for the rest."""
    parts = [told + " " + price(played)]
    for half in ("report", "develop"):
        for few, words in ((True, f"{FEW} evaluations or fewer"), (False, "15 and 20 evaluations")):
            chosen = [
                one
                for one in played
                if one["half"] == half and (one["cell"]["evaluations"] <= FEW) == few
            ]
            if chosen and (few or half == "report"):
                parts.append(f"### Half `{half}`, {words}: {len(chosen)} cells\n\n" + whole(chosen))
    parts.append("### By solver and evaluations, both halves\n\n" + by_solver(played))
    parts.append("### By problem, 10 evaluations or fewer, both halves\n\n" + by_problem(played))
    parts.append("### The best plain solver of each budget, both halves\n\n" + best_plain(played))
    parts.append("### Other measures, 10 evaluations or fewer, both halves\n\n" + others(played))
    return "\n\n".join(parts) + "\n"


def price(played: Sequence[Played]) -> str:
    """Return the price of the tables, in words, and how many were kept."""
    found = [one["results"].get("calibrated", {}) for one in played]
    found = [one for one in found if "price" in one]
    if not found:
        return ""
    prices = [float(one["price"]) for one in found]
    kept = sum(one["kept"] for one in found)
    return (
        f"A calibrated table cost {min(prices):.0f} to {max(prices):.0f} evaluations (median "
        f"{statistics.median(prices):.0f}) for each of as many calibration states, once; "
        f"{kept} of {len(found)} were kept, the others found no gain and left the plain solver."
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def whole(played: Sequence[Played]) -> str:
    """Return one row per correction: energy distance over the plain solver's."""
    head = [
        *("correction", "ratio (95 %)", "at equal evaluations", "improved"),
        *(f"hurt by > {HURTS - 1:.0%}", "worst", "where", "beats the best plain solver"),
        *("evaluations spent", "factor between seeds"),
    ]
    names = [name for name in played[0]["results"] if name != "none"]
    return _table(head, [_row(line(name, played)) for name in names])


def _row(one: Line) -> list[str]:
    equal = "-" if one.entrant in REFERENCES else f"{one.equal:.3g}"
    spread = f"{one.mean:.3g} ({one.low:.2g} to {one.high:.2g})"
    seeds = "-" if math.isnan(one.seeds) else f"{one.seeds:.3g}"
    shares = (f"{one.improved:.0%}", f"{one.hurt:.0%}", f"{one.worst:.3g}", one.worst_cell)
    return [one.entrant, spread, equal, *shares, f"{one.beats_best:.0%}", f"{one.extra:.2g}", seeds]


def _ratios(shown: Sequence[str], chosen: Sequence[Played]) -> list[str]:
    """Return how many cells there are, and each entrant's mean ratio and worst."""
    found = (line(name, chosen) for name in shown)
    return [str(len(chosen)), *(f"{one.mean:.3g} ({one.worst:.3g})" for one in found)]


def by_solver(played: Sequence[Played]) -> str:
    """Return geometric mean ratios (and the worst) by solver and group of budgets."""
    assert {budget for group in GROUPS for budget in group} == set(BUDGETS)
    shown, rows = _shown(played), []
    solvers = dict.fromkeys((*SOLVERS, *(one["cell"]["solver"] for one in played)))
    for solver, group in itertools.product(solvers, GROUPS):
        cells = ((one, one["cell"]) for one in played)
        chosen = [one for one, c in cells if c["solver"] == solver and c["evaluations"] in group]
        if chosen:
            rows.append([solver, ", ".join(map(str, group)), *_ratios(shown, chosen)])
    return _table(["solver", "evaluations", "cells", *shown], rows)


def _shown(played: Sequence[Played]) -> tuple[str, ...]:
    """The entrants of :data:`SHOWN` that competed, or all but the plain solver."""
    names = tuple(played[0]["results"])
    return tuple(n for n in SHOWN if n in names) or tuple(n for n in names if n != "none")


def by_problem(played: Sequence[Played]) -> str:
    """Return geometric mean ratios (and the worst) by problem."""
    shown = _shown(played)
    by: dict[str, list[Played]] = {}
    for one in (one for one in played if one["cell"]["evaluations"] <= FEW):
        by.setdefault(one["cell"]["problem"], []).append(one)
    rows = [[problem, *_ratios(shown, chosen)] for problem, chosen in by.items()]
    return _table(["problem", "cells", *shown], rows)


def best_plain(played: Sequence[Played]) -> str:
    """Return how often each plain solver is the best of its path and budget."""
    rows = []
    for budget in BUDGETS:
        chosen = [one for one in played if one["cell"]["evaluations"] == budget]
        count = collections.Counter(one["best_plain"]["solver"] for one in chosen)
        words = ", ".join(f"{name} {n / len(chosen):.0%}" for name, n in count.most_common())
        if chosen:
            rows.append([str(budget), str(len(chosen)), words])
    return _table(["evaluations", "cells", "the best plain solver, share of the cells"], rows)


def others(played: Sequence[Played]) -> str:
    """Return the geometric mean ratio in every measure, over the cells that have it."""
    few = [one for one in played if one["cell"]["evaluations"] <= FEW]
    counts = {key: sum(key in one["floor"] for one in few) for key in MEASURES}
    shown = [key for key in MEASURES if counts[key]]
    titles = [f"{key.replace('_', ' ')} ({counts[key]} cells)" for key in shown]
    names = [name for name in played[0]["results"] if few and name != "none"]
    rows = [[n, *(f"{line(n, few, measure).mean:.3g}" for measure in shown)] for n in names]
    return _table(["correction", *titles], rows)


def around(file: Path) -> tuple[str, str]:
    """Return what stands before and after a page's markers; raise ``InputError`` without them."""
    page = file.read_text(encoding="utf-8") if file.is_file() else ""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise InputError(f"--page must hold {BEGIN} and {END} once each, got {file}")
    head, rest = page.split(BEGIN)
    tail = rest.split(END)[1]
    return head, tail


def write(file: Path, text: str) -> None:
    """Replace what stands between the markers of a page."""
    head, tail = around(file)
    write_text(file, f"{head}{BEGIN}\n\n{text}\n{END}{tail}")
