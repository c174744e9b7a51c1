"""Print the table of docs/gpu.md from docs/gpu-exact.json: ``steinlab gpu-table``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steinlab.cli.parser import Parser
from steinlab.report.pages import table
from steinlab.storage.schemas import read_stored

PRECISIONS = {"tf32": "TF32", "bf16": "bf16", "float32": "float32", "float64": "float64"}
ROWS = {
    "two products": "two products",
    "fused": "fused, 256 MiB chunk",
    "folded": "folded, 256 MiB chunk",
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
    """Return medians [fastest, slowest] alone, then in a row, in ms, and ratios of both."""

    def chosen(precision: str, name: str) -> list[dict[str, Any]]:
        return [
            row
            for row in record["rows"]
            if (row["precision"], row["name"]) == (precision, name)
            and row.get("chunk_mib", 256) == 256
        ]

    rows = [
        [words, *(cell(chosen(precision, name)) for precision in PRECISIONS)]
        for name, words in ROWS.items()
    ]
    return table(["", *PRECISIONS.values()], rows, rule="---")


def main(args: Sequence[str]) -> int:
    """Print the table."""
    parser = Parser("gpu-table", "Print the table of docs/gpu.md from what bench-exact wrote.")
    parser.add_argument("file", type=Path, nargs="?", default=Path("docs/gpu-exact.json"))
    print(table_of(read_stored(parser.parse_args(args).file, "timings", "FILE")))
    return 0
