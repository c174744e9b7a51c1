"""Print the tables of docs/study.md from the stored study.

Usage: python docs/study_table.py [gpu_models/results]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

Record = dict[str, Any]
RULES = {
    "none": "plain",
    "stein-from-below": "stein, from 0.1",
    "stein-clipped": "stein, 0.1 to 1",
    "calibrated": "calibrated",
}


def pieces(folder: Path) -> dict[str, Record]:
    """Return every finished piece of a study by key."""
    found: dict[str, Record] = {}
    for file in sorted(folder.glob("study-*.jsonl")):
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        found |= {line["key"]: line["value"] for line in lines[1:]}
    return found


def table(columns: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def pair(record: Record | None, digits: int = 4) -> str:
    """Return ``value +- error``."""
    if record is None:
        return "-"
    return f"{record['value']:.{digits}g} +- {record['error']:.1g}"


def denoiser(found: dict[str, Record]) -> str:
    """Return mean squares a pixel: network, exact denoiser, and between them."""
    rows = []
    for row in found["denoiser"]["rows"]:
        exact, wide = row["exact_0"], row["exact_0.2"]
        rows.append(
            [
                f"{row['sigma']:.3g}",
                row["pictures"],
                f"{row['network_to_picture']['value']:.3g}",
                f"{exact['to_picture']['value']:.3g}",
                f"{exact['network_to_exact']['value']:.3g}",
                f"{wide['to_picture']['value']:.3g}",
                f"{exact['divergence']['value']:.2g}",
            ]
        )
    head = [
        "sigma",
        "pictures",
        "network",
        "exact",
        "network - exact",
        "exact, b = 0.2",
        "div exact",
    ]
    return table(head, rows)


def coefficients(found: dict[str, Record]) -> str:
    """Return the coefficient by every route, and the bound."""
    rows = []
    for row in found["coefficients"]["rows"]:
        gamma = row["gamma"]
        bound = [f"{row['bound']:.2g}", f"{row['tightness']:.2g}"] if "bound" in row else ["-", "-"]
        deviation = f"{row['deviation']['value']:.2g}" if "deviation" in row else "-"
        routes = ("reference", "stein, 1 rademacher", "stein, 5 gaussian", "tweedie")
        step = f"{row['from']:.3g} to {row['to']:.3g}"
        rows.append([row["solver"], step, *(pair(gamma[r]) for r in routes), deviation, *bound])
    head = ["solver", "step", "reference", "stein, m = 1", "stein, m = 5", "tweedie"]
    return table([*head, "stein - tweedie", "bound", "tightness"], rows)


def cells(found: dict[str, Record]) -> str:
    """Return the runs: distance to the own flow, Frechet distances, artifacts."""
    rows = []
    for key, row in found.items():
        if key.count("/") != 4:
            continue
        solver, evaluations, grid, correction, _ = key.split("/")
        head = [solver, evaluations, grid, RULES[correction]]
        if "stopped" in row:
            rows.append([*head, f"not finite: {row['stopped'].split(' (')[0]}", "-", "-", "-"])
            continue
        artifacts = {k: 100 * row["artifacts"][k] for k in ("value", "error")}
        measured = [
            pair(row.get(name), 3) for name in ("flow_error", "FD-classifier", "FD-EffLite0")
        ]
        rows.append([*head, *measured, pair(artifacts, 3)])
    head = ["solver", "evaluations", "grid", "correction"]
    return table([*head, "flow error", "FD-classifier", "FD-EffLite0", "artifacts, %"], rows)


def speeds(folder: Path) -> str:
    """Return pictures a second in training and evaluation on one card and on two."""
    rows = []
    for file in sorted(folder.glob("speed-*.json")):
        row = json.loads(file.read_text(encoding="utf-8"))
        numbers = (f"{row[k]['images_per_second']:,.0f}" for k in ("train", "evaluate"))
        rows.append([str(row["processes"]), str(row["micro_batch"]), *numbers])
    return table(
        ["processes", "pictures a card", "training, a second", "evaluation, a second"], rows
    )


def main(folder: Path) -> list[str]:
    """Return all tables."""
    found = pieces(folder)
    return [denoiser(found), coefficients(found), cells(found), speeds(folder)]


if __name__ == "__main__":
    default = Path(__file__).resolve().parent.parent / "gpu_models" / "results"
    print("\n\n".join(main(Path(sys.argv[1]) if len(sys.argv) > 1 else default)))
