"""Rows of a comparison: what they hold, their JSON, and finished ones kept in a folder."""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steinlab.estimates import Estimate, as_json, finite_or_none
from steinlab.experiments.bench import DATA, Measured, Reference
from steinlab.experiments.coefficient_noise import Noise
from steinlab.experiments.specs.compare import CorrectionSpec
from steinlab.experiments.specs.solvers import SolverSpec
from steinlab.metrics import METRICS
from steinlab.solvers.step import Diagnostics


@dataclass(frozen=True)
class Row:
    """One run: a solver with a correction on a budget; its metrics are None where it stopped.

    Standard errors of corrected rows hold the noise of the estimated coefficients, ``noise``.
    Metrics and floors with ``data_`` are those of a network's samples to the law of its data.
    """

    solver: SolverSpec
    asked: int
    spent: int
    steps: int
    correction: CorrectionSpec
    measured: Measured
    floor: Measured
    coefficients: tuple[Diagnostics, ...]
    reference: Reference
    note: str = ""
    stopped: str = ""
    end: str = "zero"
    noise: Noise | None = None


def to_json(row: Row) -> dict[str, Any]:
    """Return a row as the JSON of ``steinlab compare``; what is not a finite number is null."""
    out = {
        "solver": row.solver.name,
        "start": row.solver.options.start,
        "final": list(row.solver.options.final),
        "end": row.end,
        "evaluations": {"asked": row.asked, "spent": row.spent},
        "steps": row.steps,
        "correction": row.correction.name,
        "options": {
            key: value if isinstance(value, str) else finite_or_none(value)
            for key, value in row.correction.options
        },
        **_metrics(row.measured),
        "noise_floor": _metrics({k: v for k, v in row.floor.items() if not k.startswith(DATA)}),
        "coefficients": [_coefficient(i, done) for i, done in enumerate(row.coefficients)],
        "note": row.note,
        "stopped": row.stopped or None,
        "flow_reference": {
            "kind": row.reference.kind,
            "error": finite_or_none(row.reference.error),
        },
        "coefficient_noise": _noise(row),
    }
    if data := {k[len(DATA) :]: v for k, v in row.floor.items() if k.startswith(DATA)}:
        out["data_noise_floor"] = _metrics(data)
    return out


def _metrics(found: Measured) -> dict[str, Any]:
    return {name: as_json(entry) for name, entry in found.items()}


def _noise(row: Row) -> dict[str, Any] | None:
    if row.noise is None:
        return None
    names = [name for name in row.measured if not name.startswith(DATA)]
    added = {name: finite_or_none(row.noise.added.get(name, math.nan)) for name in names}
    return {**added, "splits": row.noise.splits}


def _coefficient(index: int, done: Diagnostics) -> dict[str, Any]:
    found = as_json(done.estimate) if done.estimate is not None else None
    return {
        "step": index + 1,
        "applied": finite_or_none(done.gamma),
        "estimate": found,
        "note": done.note,
    }


class RowStore:
    """Finished rows in a folder, each in a file named for it and with the key of its numbers.

    A file of another key, or one that cannot be read, is not read but replaced. ``reused`` counts
    those that were read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reused = 0

    def get(self, label: str, key: str, solver: SolverSpec, fix: CorrectionSpec) -> Row | None:
        """Return the row, if it is there."""
        try:
            stored = json.loads(self._file(label).read_text(encoding="utf-8"))
            row = restored(stored["row"], solver, fix) if stored["key"] == key else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        self.reused += row is not None
        return row

    def put(self, label: str, key: str, row: Row) -> None:
        """Keep a row, whole or not at all."""
        text = json.dumps({"key": key, "row": to_json(row)}, indent=1) + "\n"
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=".row.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                out.write(text)
            Path(name).replace(self._file(label))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _file(self, label: str) -> Path:
        return self.folder / (re.sub(r"[^a-z0-9.=-]+", "-", label.lower()).strip("-") + ".row.json")


def restored(stored: Mapping[str, Any], solver: SolverSpec, fix: CorrectionSpec) -> Row:
    """Return the row of what :func:`to_json` returned; NaN stands for what is null there."""
    noise, data = stored["coefficient_noise"], stored.get("data_noise_floor", {})
    floor = {**stored["noise_floor"], **{DATA + name: entry for name, entry in data.items()}}
    measured = {k: v for k, v in stored.items() if k.removeprefix(DATA) in METRICS}
    spent, reference = stored["evaluations"], stored["flow_reference"]
    return Row(
        solver=solver,
        asked=spent["asked"],
        spent=spent["spent"],
        steps=stored["steps"],
        correction=fix,
        measured=_estimates(measured),
        floor=_estimates(floor),
        coefficients=tuple(
            Diagnostics(_number(one["applied"]), _estimate(one["estimate"]), one["note"])
            for one in stored["coefficients"]
        ),
        reference=Reference(reference["kind"], _number(reference["error"])),
        note=stored["note"],
        stopped=stored["stopped"] or "",
        end=stored["end"],
        noise=noise and Noise({k: _number(noise.get(k)) for k in measured}, noise["splits"]),
    )


def _number(found: float | None) -> float:
    return math.nan if found is None else found


def _estimate(found: Mapping[str, Any] | None) -> Estimate | None:
    return None if found is None else Estimate(_number(found["value"]), _number(found["error"]))


def _estimates(found: Mapping[str, Any]) -> Measured:
    return {name: _estimate(entry) for name, entry in found.items()}
