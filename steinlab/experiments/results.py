"""Rows of a comparison: what they hold, their JSON, and their numbers apart."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steinlab.estimates import as_json, finite_or_none
from steinlab.experiments.bench import BATCH, DATA, Measured, Reference
from steinlab.experiments.coefficient_noise import Noise
from steinlab.experiments.specs.compare import CorrectionSpec
from steinlab.experiments.specs.solvers import SolverSpec
from steinlab.solvers.step import Diagnostics


@dataclass(frozen=True)
class Row:
    """One run: a solver with a correction on a budget; its metrics are None where it stopped.

    Standard errors of corrected rows hold the noise of the estimated coefficients, ``noise``.
    Metrics and floors with ``data_`` are those of a network's samples to the law of its data.
    ``searched`` holds the ratios of a searched grid, and what it cost per state looked at.
    ``price`` is what was spent before: the evaluations of its search, its tables and its curve.
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
    searched: Mapping[str, Any] | None = None
    price: float = 0


def to_json(row: Row) -> dict[str, Any]:
    """Return a row as the JSON of ``steinlab compare``; what is not a finite number is null."""
    out = {
        **identity(row),
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
    if row.solver.file:
        out[row.solver.kind] = row.solver.file
    if row.searched:
        out["searched_grid"] = dict(row.searched)
    if data := {k[len(DATA) :]: v for k, v in row.floor.items() if k.startswith(DATA)}:
        out["data_noise_floor"] = _metrics(data)
    return out


def identity(row: Row) -> dict[str, Any]:
    """Return what a row is: the run and the correction."""
    price = {"evaluations": row.price, "per_state_of_10000": row.price / BATCH}
    return {
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
        **({"price": price} if row.price else {}),
    }


def _metrics(found: Measured) -> dict[str, Any]:
    return {name: as_json(entry) for name, entry in found.items()}


def _noise(row: Row) -> dict[str, Any] | None:
    if row.noise is None:
        return None
    names = [name for name in row.measured if not name.startswith(DATA)]
    added = {name: finite_or_none(row.noise.added.get(name, math.nan)) for name in names}
    return {**added, "splits": row.noise.splits}


def _coefficient(index: int, done: Diagnostics) -> dict[str, Any]:
    applied, estimate = finite_or_none(done.gamma), as_json(done.estimate)
    return {"step": index + 1, "applied": applied, "estimate": estimate, "note": done.note}


def name_of(label: str) -> str:
    """Return the name under which a row is kept."""
    return re.sub(r"[^a-z0-9.=-]+", "-", label.lower()).strip("-") + ".row"


SPECS = ("solver", "correction")
"""What a row holds beside its numbers: made anew from the specification."""


def packed(row: Row) -> dict[str, Any]:
    """Return every number of a row."""
    return {name: value for name, value in vars(row).items() if name not in SPECS}


def restored(stored: Mapping[str, Any], solver: SolverSpec, fix: CorrectionSpec) -> Row:
    """Return the row of what :func:`packed` returned."""
    return Row(solver=solver, correction=fix, **stored)
