"""Tables of the page on networks, from the records in docs/results/networks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from steinlab.report.pages import number, table
from toy_models.pages.networks_record import DISTANCES, FIXES, PLAIN, Record

RESULTS = Path("results") / "networks"
NAMES = ("galaxies-hsc-32", "galaxies-hsc-32-logsnr", "digits-mlp", "digits-mlp-logsnr")
BUDGET = "galaxies-budget.json"


def records(docs: Path) -> dict[str, Record]:
    """Return every record by name."""
    return {name: Record.read(docs / RESULTS / f"{name}.json") for name in NAMES}


def budget(docs: Path) -> list[dict[str, Any]]:
    """Return the steps of the error budget."""
    found: list[dict[str, Any]] = json.loads((docs / RESULTS / BUDGET).read_text(encoding="utf-8"))
    return found


def cell(record: Record, solver: str, asked: int, fix: str, distance: str) -> str:
    """Return a distance, bold where the correction gains, struck out where it loses."""
    row = record.rows.get((solver, asked, fix))
    if row is None:
        return ""
    if row["stopped"]:
        return "stopped"
    text = number(*record.value(solver, asked, fix, distance))
    if fix == PLAIN:
        return text
    marks = {"gain": "**", "loss": "~~", "even": ""}[record.outcome(solver, asked, fix, distance)]
    return marks + text + marks


def every_cell(record: Record, distance: str) -> str:
    """Return a line a solver and number of evaluations, a column a correction."""
    rows = []
    for solver, asked in sorted(record.cells, key=lambda one: one[1]):
        spent = record.rows[solver, asked, PLAIN]["spent"]
        words = f"{asked}" if spent == asked else f"{asked} [{spent}]"
        cells = [cell(record, solver, asked, fix, distance) for fix in (PLAIN, *FIXES)]
        rows.append([words, f"`{solver}`", *cells])
    return table(["evaluations", "solver", PLAIN, *FIXES], rows)


def tally(record: Record, fix: str, distance: str) -> tuple[int, int, int]:
    """Return in how many cells a correction gains, loses, and does neither."""
    found = [record.outcome(*c, fix, distance) for c in record.made(fix)]
    gains, losses, even = (found.count(word) for word in ("gain", "loss", "even"))
    return gains, losses, even


def tallies(found: Sequence[Record]) -> str:
    """Return gains, losses and the rest of every network, grid, correction and distance."""
    return by_correction(
        found,
        list(DISTANCES.values()),
        lambda record, fix: [
            "{} / {} / {}".format(*tally(record, fix, distance)) for distance in DISTANCES
        ],
    )


def by_correction(
    found: Sequence[Record], columns: Sequence[str], cells: Callable[[Record, str], list[str]]
) -> str:
    """Return a table of a line for every network, grid and correction."""
    rows = []
    for record in found:
        spec = record.content["spec"]
        rows += [[spec["model"], spec["grid"], fix, *cells(record, fix)] for fix in FIXES]
    return table(["network", "grid", "correction", *columns], rows)


def factor(value: float) -> str:
    """Return a ratio to two decimals or digits."""
    if math.isnan(value):
        return ""
    if math.isinf(value):
        return "stopped"
    if value < 10:
        return f"{value:.2f}"
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"


def ratios(found: Sequence[Record], distance: str) -> str:
    """Return the geometric mean over the solvers of corrected over plain, by evaluations."""
    budgets = sorted({n for record in found for n in record.budgets})
    return by_correction(
        found,
        list(map(str, budgets)),
        lambda record, fix: [factor(record.ratio(fix, distance, n)) for n in budgets],
    )


def parts(rows: Sequence[dict[str, Any]]) -> str:
    """Return the error budget, a line a step."""
    names = ("rounding", "probes", "batch", "drift", "score")
    lines = []
    for row in rows:
        found = [row["parts"][name] for name in names]
        cells = [
            number(part["value"], part["error"]) if part["error"] else f"{part['value']:.1e}"
            for part in found
        ]
        ends = [f"{row['estimated']:.4f}", f"{row['exact']['value']:.4f}"]
        lines.append(
            [f"`{row['solver']}`", f"{row['sigma'][0]:.3g}", *ends, *cells, f"{row['z']:.1f}"]
        )
    return table(["solver", "sigma", "estimated", "Tweedie's", *names, "z"], lines)
