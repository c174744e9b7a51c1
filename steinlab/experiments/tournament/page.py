"""The tournament's tables as Markdown."""

from __future__ import annotations

import collections
import math
import statistics
from collections.abc import Sequence
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


def whole(played: Sequence[Played]) -> str:
    """Return one row a correction: energy distance over the plain solver's."""
    head = (
        "| correction | ratio (95 %) | at equal evaluations | improved | hurt by > "
        f"{HURTS - 1:.0%} | worst | where | beats the best plain solver | evaluations spent | "
        "factor between seeds |"
    )
    rows = [head, "|---|---|---|---|---|---|---|---|---|---|"]
    rows += [_row(line(name, played)) for name in played[0]["results"] if name != "none"]
    return "\n".join(rows)


def _row(one: Line) -> str:
    equal = "-" if one.entrant in REFERENCES else f"{one.equal:.3g}"
    spread = f"{one.mean:.3g} ({one.low:.2g} to {one.high:.2g})"
    shares = (f"{one.improved:.0%}", f"{one.hurt:.0%}")
    worst = (f"{one.worst:.3g}", one.worst_cell)
    seeds = "-" if math.isnan(one.seeds) else f"{one.seeds:.3g}"
    ends = (f"{one.beats_best:.0%}", f"{one.extra:.2g}", seeds)
    return "| " + " | ".join([one.entrant, spread, equal, *shares, *worst, *ends]) + " |"


def by_solver(played: Sequence[Played]) -> str:
    """Return geometric mean ratios (and the worst) by solver and group of budgets."""
    assert {budget for group in GROUPS for budget in group} == set(BUDGETS)
    shown = _shown(played)
    rows = ["| solver | evaluations | cells | " + " | ".join(shown) + " |"]
    rows.append("|" + "---|" * (3 + len(shown)))
    for solver in dict.fromkeys((*SOLVERS, *(one["cell"]["solver"] for one in played))):
        for group in GROUPS:
            chosen = [
                one
                for one in played
                if one["cell"]["solver"] == solver and one["cell"]["evaluations"] in group
            ]
            if chosen:
                found = [line(name, chosen) for name in shown]
                cells = [f"{one.mean:.3g} ({one.worst:.3g})" for one in found]
                budgets = ", ".join(str(budget) for budget in group)
                rows.append(f"| {solver} | {budgets} | {len(chosen)} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _shown(played: Sequence[Played]) -> tuple[str, ...]:
    """The entrants of :data:`SHOWN` that competed, or all but the plain solver."""
    names = tuple(played[0]["results"])
    return tuple(n for n in SHOWN if n in names) or tuple(n for n in names if n != "none")


def by_problem(played: Sequence[Played]) -> str:
    """Return geometric mean ratios (and the worst) by problem."""
    shown = _shown(played)
    rows = ["| problem | cells | " + " | ".join(shown) + " |", "|" + "---|" * (2 + len(shown))]
    few = [one for one in played if one["cell"]["evaluations"] <= FEW]
    for problem in dict.fromkeys(one["cell"]["problem"] for one in few):
        chosen = [one for one in few if one["cell"]["problem"] == problem]
        found = [line(name, chosen) for name in shown]
        cells = [f"{one.mean:.3g} ({one.worst:.3g})" for one in found]
        rows.append(f"| {problem} | {len(chosen)} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def best_plain(played: Sequence[Played]) -> str:
    """Return how often each plain solver is the best of its path and budget."""
    rows = ["| evaluations | cells | the best plain solver, share of the cells |", "|---|---|---|"]
    for budget in BUDGETS:
        chosen = [one for one in played if one["cell"]["evaluations"] == budget]
        count = collections.Counter(one["best_plain"]["solver"] for one in chosen)
        words = ", ".join(f"{name} {n / len(chosen):.0%}" for name, n in count.most_common())
        if chosen:
            rows.append(f"| {budget} | {len(chosen)} | {words} |")
    return "\n".join(rows)


def others(played: Sequence[Played]) -> str:
    """Return the geometric mean ratio in every measure, over the cells that have it."""
    few = [one for one in played if one["cell"]["evaluations"] <= FEW]
    counts = {key: sum(key in one["floor"] for one in few) for key in MEASURES}
    shown = [key for key in MEASURES if counts[key]]
    titles = [f"{key.replace('_', ' ')} ({counts[key]} cells)" for key in shown]
    rows = ["| correction | " + " | ".join(titles) + " |", "|" + "---|" * (1 + len(shown))]
    for name in played[0]["results"] if few else ():
        if name != "none":
            means = [f"{line(name, few, measure).mean:.3g}" for measure in shown]
            rows.append("| " + " | ".join([name, *means]) + " |")
    return "\n".join(rows)


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
