"""Print the table of docs/gpu.md from docs/gpu-exact.json.

Usage: python docs/gpu_table.py [FILE]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

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


def table(record: dict[str, Any]) -> str:
    """Return medians [fastest, slowest] alone, then in a row, in ms, and ratios of both."""

    def chosen(precision: str, name: str) -> list[dict[str, Any]]:
        return [
            row
            for row in record["rows"]
            if (row["precision"], row["name"]) == (precision, name)
            and row.get("chunk_mib", 256) == 256
        ]

    lines = ["| | " + " | ".join(PRECISIONS.values()) + " |", "|---" * 5 + "|"]
    for name, words in ROWS.items():
        cells = [cell(chosen(precision, name)) for precision in PRECISIONS]
        lines.append(f"| {words} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    default = Path(__file__).resolve().parent / "gpu-exact.json"
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    print(table(json.loads(path.read_text(encoding="utf-8"))))
