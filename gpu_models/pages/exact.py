"""Print the tables of docs/gpu.md from what bench-exact wrote: ``steinlab gpu-table FILE``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu_models.exact.benchmark import WAYS, run_ratios
from steinlab.cli.parser import Parser
from steinlab.report.pages import table
from steinlab.storage.schemas import read_stored

PRECISIONS = {
    "tf32": "TF32",
    "bf16": "bf16",
    "tf32x3": "TF32x3",
    "float32": "float32",
    "float64": "float64",
}
ROWS = {
    "two products": "two products",
    "fused": "fused",
    "folded": "folded",
    "split": "split",
    "plain": "plain streaming",
    "analytic on the device": "`analytic` on the device",
    "softmax alone, no divergence": "softmax, no divergence",
    "vjp, one probe": "one probe, vjp",
    "jvp, one probe": "one probe, jvp",
}


def cell(rows: list[dict[str, Any]]) -> str:
    """Return the fastest row's median and, unless it is the unit, both ratios."""
    if not rows:
        return ""
    row = min(rows, key=lambda row: row["median"])
    time = f"{row['median']:.3g} [{row['min']:.3g}, {row['max']:.3g}], {row['queued']:.3g}"
    if row["name"] == "two products":
        return time
    return f"{time}: **{row['ratio']:.2f}, {row['queued_ratio']:.2f}**"


def table_of(record: dict[str, Any]) -> str:
    """Return medians [fastest, slowest] alone, then in a row, in ms, and ratios of both.

    Those of a method are of its largest chunk.
    """

    def chosen(precision: str, name: str) -> list[dict[str, Any]]:
        rows = [
            row for row in record["rows"] if (row["precision"], row["name"]) == (precision, name)
        ]
        most = max((row.get("chunk_mib", 0) for row in rows), default=0)
        return [row for row in rows if row.get("chunk_mib", 0) == most]

    names = precisions(record["rows"])
    found = {words: [chosen(name, row) for name in names] for row, words in ROWS.items()}
    rows = [[words, *map(cell, cells)] for words, cells in found.items() if any(cells)]
    return table(["", *(PRECISIONS[name] for name in names)], rows, rule="---")


def precisions(rows: list[dict[str, Any]]) -> list[str]:
    """Return those that rows name, in the order of the tables."""
    return [name for name in PRECISIONS if any(row["precision"] == name for row in rows)]


def levels_of(record: dict[str, Any]) -> str:
    """Return a run's levels: the products in ms, the call over them, the rows that it evaluates."""
    levels = record["levels"]
    names = precisions(levels)
    rows = []
    for sigma in dict.fromkeys(row["sigma"] for row in levels):
        cells = []
        for name in names:
            (row,) = (r for r in levels if (r["precision"], r["sigma"]) == (name, sigma))
            ratio, every = (row[way] / row["products"] for way in WAYS)
            cells.append(f"{row['products']:.3g}: {ratio:.2f} ({every:.2f}), {row['rows']:,}")
        rows.append([f"{sigma:.3g}", *cells])
    whole = run_ratios(levels)
    run = [f"**{whole[name][WAYS[0]]:.2f}** ({whole[name][WAYS[1]]:.2f})" for name in names]
    rows.append(["the run", *run])
    return table(["noise", *(PRECISIONS[name] for name in names)], rows, rule="---")


def growth_of(record: dict[str, Any]) -> str:
    """Return times in ms by the number of rows, where all count and where few do."""
    rows = [
        [
            f"{row['count']:,}"
            + (f", {row['at_once']:,} at once" if row["at_once"] else "")
            + (", codes" if row.get("storage") == "codes" else ""),
            *(f"{row[k]:.3g}" if row[k] < 1000 else f"{row[k]:,.0f}" for k in ("wide", "narrow")),
            f"{row['memory_gib']:.3g}",
        ]
        for row in record["growth"]
    ]
    return table(["rows", "noise 10", "noise 0.1", "GiB on a device"], rows, rule="---")


def main(args: Sequence[str]) -> int:
    """Print the tables."""
    parser = Parser("gpu-table", "Print the tables of docs/gpu.md from what bench-exact wrote.")
    parser.add_argument("file", type=Path, nargs="?", default=Path("docs/gpu-exact.json"))
    record = read_stored(parser.parse_args(args).file, "timings", "FILE")
    for part, tabled in (("rows", table_of), ("levels", levels_of), ("growth", growth_of)):
        if record.get(part):
            print(tabled(record))
    return 0
