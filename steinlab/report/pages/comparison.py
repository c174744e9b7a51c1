"""Markdown tables of what ``steinlab compare SPEC.json --json FILE`` wrote.

The rows of all files stand in one table per distance: one line per solver, one column per number of
evaluations and a correction, the best of each column in bold. Solvers whose numbers agree in every
column (on the EDM process several are the same method) share a line.
"""

from collections.abc import Sequence
from typing import Any

from steinlab.report.pages import number, table

DISTANCES = {"energy_distance": "Energy distance", "flow_error": "Flow error"}

Row = dict[str, Any]


def name_of(row: Row) -> str:
    """Return the solver with what is not default about its run."""
    words = [row["solver"]]
    if row["start"] != "own":
        words.append(f"{row['start']} start")
    if row["final"]:
        words.append(f"final {row['final']}")
    return f"`{words[0]}`" + (f" ({', '.join(words[1:])})" if words[1:] else "")


def cells_of(rows: Sequence[Row], distance: str) -> dict[str, dict[tuple[int, str], str]]:
    """Return ``solver -> (evaluations, correction) -> text``, the best of each column in bold."""
    best: dict[tuple[int, str], float] = {}
    for row in rows:
        if row[distance] is not None:
            column = row["evaluations"]["asked"], row["correction"]
            best[column] = min(best.get(column, float("inf")), row[distance]["value"])
    cells: dict[str, dict[tuple[int, str], str]] = {}
    for row in rows:
        column, found = (row["evaluations"]["asked"], row["correction"]), row[distance]
        text = "stopped" if found is None else number(found["value"], found["error"])
        spent = row["evaluations"]["spent"]
        if found is not None and spent < column[0]:
            text += f" [{spent}]"
        if found is not None and found["value"] == best[column]:
            text = f"**{text}**"
        cells.setdefault(name_of(row), {})[column] = text
    return cells


def table_of(rows: Sequence[Row], distance: str) -> str:
    """Return the Markdown table of one distance."""
    columns = sorted({(row["evaluations"]["asked"], row["correction"]) for row in rows})
    lines: dict[tuple[str, ...], list[str]] = {}
    for name, found in cells_of(rows, distance).items():
        lines.setdefault(tuple(found.get(column, "") for column in columns), []).append(name)
    heads = [f"{asked}" if kind == "none" else f"{asked} {kind}" for asked, kind in columns]
    cells = [[", ".join(names), *line] for line, names in lines.items()]
    return table(["solver", *heads], cells, rule="---")


def render(rows: Sequence[Row]) -> str:
    """Return the tables of both distances and the floor."""
    floor = rows[0]["noise_floor"]["energy_distance"]
    floor_text = number(floor["value"], floor["error"])
    parts = [f"Energy distance of two samples of the law itself: {floor_text}."]
    parts += [f"{title}:\n\n{table_of(rows, name)}" for name, title in DISTANCES.items()]
    return "\n\n".join(parts)
