"""Rows of a comparison: what they hold, their JSON, and finished ones kept in a folder."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
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
        text = json.dumps({"key": key, "row": packed(row)}, indent=1) + "\n"
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


_PAIRS = ("energy_distance", "sliced_w2", "flow_error")
_PLAIN = ("asked", "spent", "steps", "note", "stopped", "end")


def packed(row: Row) -> dict[str, Any]:
    """Return every number of a row, to the last digit; not the solver and the correction."""
    return {
        **{name: getattr(row, name) for name in _PLAIN},
        **{name: _both(getattr(row, name)) for name in _PAIRS},
        **{name: _sample(getattr(row, name)) for name in ("floor", "data", "data_floor")},
        "coefficients": [[d.gamma, _both(d.estimate), d.note] for d in row.coefficients],
        "reference": list(vars(row.reference).values()),
        "noise": row.noise and list(vars(row.noise).values()),
    }


def _both(found: Any) -> list[float] | None:
    return None if found is None else [float(found.value), float(found.error)]


def _sample(floor: Floor | None) -> list[Any] | None:
    return None if floor is None else [_both(floor.energy_distance), _both(floor.sliced_w2)]


def restored(stored: Mapping[str, Any], solver: SolverSpec, fix: CorrectionSpec) -> Row:
    """Return the row of what :func:`packed` returned."""

    def maybe(make: Callable[..., Any], found: Any) -> Any:
        return None if found is None else make(*found)

    def floor(found: Any) -> Floor | None:
        return None if found is None else Floor(*(Estimate(*pair) for pair in found))

    own = floor(stored["floor"])
    assert own is not None
    return Row(
        solver=solver,
        correction=fix,
        **{name: stored[name] for name in _PLAIN},
        **{name: maybe(Estimate, stored[name]) for name in _PAIRS},
        floor=own,
        data=floor(stored["data"]),
        data_floor=floor(stored["data_floor"]),
        coefficients=tuple(
            Diagnostics(gamma, maybe(Estimate, found), note)
            for gamma, found, note in stored["coefficients"]
        ),
        reference=Reference(*stored["reference"]),
        noise=maybe(Noise, stored["noise"]),
    )
