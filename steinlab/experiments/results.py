"""Rows of a comparison: what they hold, their JSON, and their numbers apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steinlab.estimates import Estimate, as_json, finite_or_none
from steinlab.experiments.bench import Floor, Reference
from steinlab.experiments.coefficient_noise import Noise
from steinlab.experiments.specs.compare import CorrectionSpec
from steinlab.experiments.specs.solvers import SolverSpec
from steinlab.solvers.step import Diagnostics


@dataclass(frozen=True)
class Row:
    """One run: a solver with a correction on a budget; distances are None where it stopped.

    Standard errors of corrected rows hold the noise of the estimated coefficients, ``noise``.
    ``data`` and ``data_floor`` are distances of a network's samples to the law of its data.
    """

    solver: SolverSpec
    asked: int
    spent: int
    steps: int
    correction: CorrectionSpec
    energy_distance: Estimate | None
    sliced_w2: Estimate | None
    flow_error: Estimate | None
    floor: Floor
    coefficients: tuple[Diagnostics, ...]
    reference: Reference
    note: str = ""
    stopped: str = ""
    end: str = "zero"
    noise: Noise | None = None
    data: Floor | None = None
    data_floor: Floor | None = None


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
        "energy_distance": as_json(row.energy_distance),
        "sliced_w2": as_json(row.sliced_w2),
        "flow_error": as_json(row.flow_error),
        "noise_floor": _floor(row.floor),
        "coefficients": [_coefficient(i, done) for i, done in enumerate(row.coefficients)],
        "note": row.note,
        "stopped": row.stopped or None,
        "flow_reference": {
            "kind": row.reference.kind,
            "error": finite_or_none(row.reference.error),
        },
        "coefficient_noise": _noise(row.noise),
    }
    if row.data_floor is not None:
        found = row.data
        out["data_energy_distance"] = as_json(found.energy_distance if found else None)
        out["data_sliced_w2"] = as_json(found.sliced_w2 if found else None)
        out["data_noise_floor"] = _floor(row.data_floor)
    return out


def _floor(floor: Floor) -> dict[str, Any]:
    pairs = {"energy_distance": floor.energy_distance, "sliced_w2": floor.sliced_w2}
    return {name: as_json(found) for name, found in pairs.items()}


def _noise(noise: Noise | None) -> dict[str, Any] | None:
    if noise is None:
        return None
    names = ("energy_distance", "sliced_w2", "flow_error")
    return {
        **{name: finite_or_none(getattr(noise, name)) for name in names},
        "splits": noise.splits,
    }


def _coefficient(index: int, done: Diagnostics) -> dict[str, Any]:
    found = as_json(done.estimate) if done.estimate is not None else None
    return {
        "step": index + 1,
        "applied": finite_or_none(done.gamma),
        "estimate": found,
        "note": done.note,
    }


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
