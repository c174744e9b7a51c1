"""The tournament's tables as Markdown."""

from __future__ import annotations

import collections
import itertools
import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from steinlab.errors import InputError
from steinlab.experiments.tournament.aims import aims
from steinlab.experiments.tournament.design import BUDGETS, FEW, SOLVERS
from steinlab.experiments.tournament.entrants import REFERENCES
from steinlab.experiments.tournament.measures import MEASURES
from steinlab.experiments.tournament.summary import HURTS, Line, Played, line, markdown
from steinlab.storage import write_text
from steinlab.storage.sheets import Sheet

BEGIN, END = "<!-- tournament: begin -->", "<!-- tournament: end -->"
GROUPS = ((3,), (4, 5), (6, 8, 10), (15, 20))
SHOWN = ("law-matched", "local", "pilot", "calibrated", "flow-oracle")
"""Entrants of the table by solver and budget."""


def tables(played: Sequence[Played], told: str) -> str:
    """Return one line per entrant, the aims and the best plain solvers; all else is folded."""

    def half(name: str, *, few: bool) -> list[Played]:
        own = (one for one in played if one["half"] == name)
        return [one for one in own if (one["cell"]["evaluations"] <= FEW) == few]

    shown, words = half("report", few=True), f"{FEW} evaluations or fewer"
    parts = [told]
    if shown:
        parts.append(f"### Half `report`, {words}: {len(shown)} cells\n\n" + short(shown))
        parts.append(aims(shown))
    parts.append("### The best plain solver of each budget, both halves\n\n" + best_plain(played))
    parts.append(price(played))
    later, other = half("report", few=False), half("develop", few=True)
    folded = {
        f"Half `report`, {words}: {len(shown)} cells, every number": shown and whole(shown),
        f"Half `report`, 15 and 20 evaluations: {len(later)} cells": later and whole(later),
        f"Half `develop`, {words}: {len(other)} cells": other and whole(other),
        "By solver and evaluations, both halves": by_solver(played),
        f"By problem, {words}, both halves": by_problem(played),
        f"Other measures, {words}, both halves": others(played),
    }
    parts += [_folded(title, table) for title, table in folded.items() if table]
    return "\n\n".join(part for part in parts if part) + "\n"


def _folded(title: str, table: str) -> str:
    """Return a table that a reader opens; HTML has no backticks."""
    shown = re.sub("`([^`]*)`", "<code>\\1</code>", title)
    return f"<details><summary>{shown}</summary>\n\n{table}\n\n</details>"


HEAD = (
    *("correction", "energy distance over plain (95 %)", "better", "hurt", "beyond noise"),
    *("worst", "spends", "at equal evaluations", "better than the best plain"),
    "over the best plain",
)
"""Columns of the table that fits a screen."""


def short(played: Sequence[Played]) -> str:
    """Return one row per correction that fits a screen, the largest gain first."""
    return markdown([*HEAD], [_brief(one) for one in _ranked(played)])


def sheet(played: Sequence[Played]) -> Sheet:
    """Return that table for a file: half ``report`` at few evaluations, else all cells."""
    few = [one for one in played if one["half"] == "report" and one["cell"]["evaluations"] <= FEW]
    shown = few or played
    return Sheet(
        caption=f"{len(shown)} cells" + f", at most {FEW} evaluations" * bool(few),
        columns=HEAD,
        rows=tuple(tuple(_brief(one)) for one in _ranked(shown)),
        text=frozenset(HEAD[:1]),
    )


def _ranked(played: Sequence[Played]) -> list[Line]:
    return sorted(_lines(played), key=lambda one: one.mean)


def _lines(played: Sequence[Played]) -> list[Line]:
    return [line(name, played) for name in played[0]["results"] if name != "none"]


def _brief(one: Line) -> list[str]:
    best = (_or_dash(one.equal_beats, ".0%"), _or_dash(one.equal_best, ".3g"))
    return [
        one.entrant,
        f"{one.mean:.3f} ({one.low:.3f} to {one.high:.3f})",
        f"{one.improved:.0%}",
        f"{one.hurt:.1%}",
        _or_dash(one.beyond, ".1%"),
        f"{one.worst:.3g}",
        f"{one.extra:.2g}",
        _equal(one),
        *(("-", "-") if one.entrant in REFERENCES else best),
    ]


def _or_dash(value: float, digits: str) -> str:
    return "-" if math.isnan(value) else f"{value:{digits}}"


def _equal(one: Line) -> str:
    return "-" if one.entrant in REFERENCES else f"{one.equal:.3g}"


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


def whole(played: Sequence[Played]) -> str:
    """Return one row per correction: energy distance over the plain solver's."""
    head = [
        *("correction", "ratio (95 %)", "at equal evaluations", "improved"),
        *(f"hurt by > {HURTS - 1:.0%}", "worst", "where", "beats the best plain solver"),
        *("evaluations spent", "factor between seeds"),
    ]
    return markdown(head, [_row(one) for one in _lines(played)])


def _row(one: Line) -> list[str]:
    spread = f"{one.mean:.3g} ({one.low:.2g} to {one.high:.2g})"
    shares = (f"{one.improved:.0%}", f"{one.hurt:.0%}", f"{one.worst:.3g}", one.worst_cell)
    beats, seeds = f"{one.beats_best:.0%}", _or_dash(one.seeds, ".3g")
    return [one.entrant, spread, _equal(one), *shares, beats, f"{one.extra:.2g}", seeds]


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
    return markdown(["solver", "evaluations", "cells", *shown], rows)


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
    return markdown(["problem", "cells", *shown], rows)


def best_plain(played: Sequence[Played]) -> str:
    """Return how often each plain solver is the best of its path and budget."""
    rows = []
    for budget in BUDGETS:
        chosen = [one for one in played if one["cell"]["evaluations"] == budget]
        count = collections.Counter(one["best_plain"]["solver"] for one in chosen)
        words = ", ".join(f"{name} {n / len(chosen):.0%}" for name, n in count.most_common())
        if chosen:
            rows.append([str(budget), str(len(chosen)), words])
    return markdown(["evaluations", "cells", "the best plain solver, share of the cells"], rows)


def others(played: Sequence[Played]) -> str:
    """Return the geometric mean ratio in every measure, over the cells that have it."""
    few = [one for one in played if one["cell"]["evaluations"] <= FEW]
    counts = {key: sum(key in one["floor"] for one in few) for key in MEASURES}
    shown = [key for key in MEASURES if counts[key]]
    titles = [f"{key.replace('_', ' ')} ({counts[key]} cells)" for key in shown]
    names = [name for name in played[0]["results"] if few and name != "none"]
    rows = [[n, *(f"{line(n, few, measure).mean:.3g}" for measure in shown)] for n in names]
    return markdown(["correction", *titles], rows)


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
