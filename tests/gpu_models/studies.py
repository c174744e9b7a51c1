"""Studies to test with: the tiny one as it ran on a CPU, and a complete one that is made up."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

from gpu_models.study.cost import CHEAP
from gpu_models.study.design import FAIR, Cell, cells
from gpu_models.study.stored import RESULTS, Stored, read

TINY = Path(__file__).with_name("study-tiny.jsonl")
"""``python -m gpu_models.study --size tiny --measures classifier,efflite0`` on a CPU."""

FACTORS = {
    "none": 1.0,
    "stein-clipped": 0.9,
    "stein-from-below": 3.0,
    "calibrated": 0.3,
    **dict.fromkeys(FAIR, 0.8),
}
COSTS = {
    "plain": (1.0, 0.0),
    "tweedie": (1.01, 0.0),
    "stein, 1 rademacher, reverse mode": (3.0, 1.0),
    "stein, 5 gaussian, reverse mode": (9.0, 5.0),
    "stein, sub-batch of 256": (1.4, 0.5),
    "stein, sub-batch to 0.05": (1.05, 0.125),
    "calibrated table": (1.02, 0.0),
}


def tiny() -> Stored:
    lines = [json.loads(line) for line in TINY.read_text(encoding="utf-8").splitlines()]
    return Stored(lines[0], {line["key"]: line["value"] for line in lines[1:]})


@functools.cache
def actual() -> Stored:
    """The package's own; a test changes a copy."""
    found = read(RESULTS)
    assert found is not None
    return found


def run(cell: Cell, factors: dict[str, float]) -> dict[str, Any]:
    """A run whose errors are the plain one's times a factor a correction."""
    spent = cell.evaluations - (cell.solver == "heun" and cell.evaluations % 2 == 0)
    factor = factors[cell.correction]
    wobble = 1 + 0.03 * math.sin(7 * cell.seed + spent + len(cell.solver))
    error = factor * wobble / spent
    record: dict[str, Any] = {"spent": spent, "steps": spent, "gamma": [1.0] * spent}
    if cell.correction == "calibrated":
        record["table"] = {"note": "", "moves": [{"residual": 0.1}] * spent}
        record["price_evaluations"] = 512.0 * 20
    record["estimates"] = [[1.5, 0.01]] * spent if "stein" in cell.correction else [None] * spent
    for name, scale in (("flow_error", 1.0), ("FD-classifier", 30.0), ("FD-EffLite0", 200.0)):
        if name != "FD-EffLite0" or cell.headline:
            record[name] = {"value": scale * error, "error": 0.004 * scale}
    for name in ("precision", "recall"):
        record[name] = {"value": 0.8 / (1 + error), "error": 0.005}
    record["artifacts"] = {
        "value": 0.2 * error,
        "error": 0.003,
        "floor": 0.009,
        "floor_error": 0.002,
    }
    return record


def complete(base: Stored, factors: dict[str, float] = FACTORS) -> Stored:
    """Made up: every run of the design, costs and Lipschitz constants; the rest as stored."""
    found = {k: v for k, v in base.found.items() if k.count("/") != 4}
    found |= {cell.key: run(cell, factors) for cell in cells(base.size)}
    found["cost"] = {"rows": [cost(base.size.steps, base.size.samples)]}
    again = {"run": "euler/4/karras/none/0", **run(Cell("euler", 4, "karras", "none", 0), factors)}
    again["flow_error"] = {**again["flow_error"], "value": again["flow_error"]["value"] * 1.001}
    found["again"] = {"rows": [again] if "euler/4/karras/none/0" in found else []}
    found["lipschitz"] = {
        "rows": [lipschitz(n, i) for n in base.size.lipschitz_steps for i in range(n)]
    }
    return Stored(base.head, found)


def cost(steps: int, many: int) -> dict[str, Any]:
    few = {"states": 512, "rows": cost_rows(steps, COSTS)}
    head = {"solver": "dpmpp-2m", "steps": steps, "price_of_table": 145.0, **few}
    if many <= 512:
        return head
    thin = {name: ratio for name, (ratio, _) in COSTS.items() if name in CHEAP}
    rows = {
        name: (1 + (ratio - 1) / 20, COSTS[name][1] * 512 / many) for name, ratio in thin.items()
    }
    return {**head, "whole": {"states": many, "rows": cost_rows(steps, rows)}}


def cost_rows(steps: int, costs: dict[str, tuple[float, float]]) -> list[dict[str, Any]]:
    return [
        {
            "correction": name,
            "seconds": 0.5 * ratio,
            "ratio": ratio,
            "ratio_range": [ratio - 0.01, ratio + 0.01],
            "products": products * steps,
        }
        for name, (ratio, products) in costs.items()
    ]


def lipschitz(steps: int, index: int) -> dict[str, Any]:
    sigma = 80.0 * (1 - index / steps) ** 7
    middle = 1 + 10 / steps * math.exp(-(math.log(sigma) ** 2))
    spread = {"least": 0.8 * middle, "median": middle, "largest": 2 * middle}
    return {
        "evaluations": steps,
        "from": sigma,
        "to": 80.0 * (1 - (index + 1) / steps) ** 7,
        "denoiser": spread,
        "step_bound": spread,
        "threshold": 1.0,
    }


def write(study: Stored, folder: Path) -> Path:
    """Store a study in a folder."""
    lines = [dict(study.head), *({"key": k, "value": v} for k, v in study.found.items())]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "study-0.jsonl").write_text(text, encoding="utf-8")
    return folder
