"""The SPEC.json of ``steinlab compare``: solvers x corrections x evaluations on one law."""

import hashlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from steinlab.corrections import correction_factory
from steinlab.diffusion.denoisers import HasDivergence
from steinlab.diffusion.grids import given_steps, grid_name, make_grid
from steinlab.diffusion.models import Model, load_model
from steinlab.diffusion.processes import PROCESSES
from steinlab.errors import InputError, one_of, quote
from steinlab.experiments.bench import DEFAULT_METRICS
from steinlab.experiments.specs.fields import (
    MAX_EVALUATIONS,
    MAX_SAMPLES,
    at,
    each,
    integer,
    mapping,
    number,
    text,
)
from steinlab.experiments.specs.grids import grid_for
from steinlab.experiments.specs.laws import DataSpec, data_from_json, read_rows
from steinlab.experiments.specs.solvers import (
    ENDS,
    Options,
    SolverSpec,
    options_from_json,
    solver_from_json,
)
from steinlab.metrics import METRICS
from steinlab.solvers.base import noises
from steinlab.solvers.step import Correction
from steinlab.storage import MAX_SEED

DEFAULT_SAMPLES = 10_000
FILES = ("table",)
"""Options of corrections that name a file."""

WORD = "Divergence | str | None"
"""Annotation of an option that a word names, and in Python an object too."""


@dataclass(frozen=True)
class CorrectionSpec:
    """A correction's id and the options given to it, the rest at their defaults."""

    name: str
    options: tuple[tuple[str, float | int | str], ...] = ()

    def make(self) -> Correction:
        """Return the correction."""
        made: Correction = correction_factory(self.name)(**dict(self.options))
        return made

    @property
    def label(self) -> str:
        """``stein``, or ``stein gamma_min=0.1`` with options."""
        words = (f"{key}={v if isinstance(v, str) else f'{v:g}'}" for key, v in self.options)
        return " ".join([self.name, *words])

    @property
    def digests(self) -> tuple[str, ...]:
        """Of the files that the options name: what they held, for the keys of stored rows."""
        files = (Path(str(value)) for key, value in self.options if key in FILES)
        return tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)


@dataclass(frozen=True)
class CompareSpec:
    """A comparison; exactly one of ``data`` and ``model`` is given."""

    data: DataSpec | None
    model: Model | None
    schedule: str
    grid: str
    solvers: tuple[SolverSpec, ...]
    evaluations: tuple[int | None, ...]
    corrections: tuple[CorrectionSpec, ...]
    samples: int = DEFAULT_SAMPLES
    seed: int = 0
    end: str = "zero"
    metrics: tuple[str, ...] = DEFAULT_METRICS
    init: Path | None = None

    @classmethod
    def from_json(cls, obj: Any, folder: Path = Path()) -> Self:
        """Parse a comparison.

        ``solvers``, ``evaluations`` and one of ``data`` and ``model`` are required; ``process``
        (or ``schedule``) is the model's or ``edm``, ``grid`` (a name, an object with options, or a
        list of levels, :func:`steinlab.diffusion.grids.grid_name`) is ``karras``, ``corrections``
        are ``none`` and ``stein``, ``samples`` 10,000 and ``seed`` 0 unless given. A list of levels
        is run whole and needs no ``evaluations``; its last level is the ``end``.

        ``init`` is an array file of rows that a model's runs start from, noised to the grid's
        first level.

        How a run begins and ends: ``start`` is ``own`` or ``matching``, ``final`` a list such as
        ``[2, 1]`` (:class:`~steinlab.experiments.specs.solvers.Options`), for every solver or, in
        an object ``{"name": ..., "start": ..., "final": ...}``, for one. ``end`` is ``zero``
        (noise) or ``least``, the process's least noisy level, where rows are then measured. A
        solver that cannot step to zero noise needs ``"final": [1]`` or ``"end": "least"``.

        A solver whose steps draw noise has rows without correction only, measured by law.

        ``metrics`` are names in :data:`steinlab.metrics.METRICS`, by default
        :data:`DEFAULT_METRICS`. ``round_trip`` runs up the noise and down again once more.

        ``device`` is where a model's network is evaluated, such as ``cuda``.

        Relative file names are looked up in ``folder``, that of the SPEC.json.

        Raises
        ------
        InputError
            Naming the field, the requirement and the value.
        """
        optional = ["data", "model", "process", "schedule", "grid", "corrections", "samples"]
        optional += ["seed", "start", "final", "end", "device", "metrics", "init"]
        grid = grid_name(obj.get("grid", "karras") if isinstance(obj, dict) else "karras")
        whole = given_steps(grid) is not None
        required = ["solvers"] if whole else ["solvers", "evaluations"]
        fields = mapping(obj, "", required, [*optional, *(["evaluations"] if whole else [])])
        data, model = _law_or_model(fields, folder)
        if "process" in fields and "schedule" in fields:
            raise InputError("process and schedule are two names of one field, got both")
        key = "process" if "process" in fields else "schedule"
        schedule = fields.get(key, model.schedule if model else "edm")
        schedule = one_of(key, text(schedule, key), PROCESSES)
        place = model.process(schedule) if model else PROCESSES[schedule]
        grid = grid_for(grid, lambda: data.law() if data else model, place)
        end = fields.get("end", "zero")
        if whole:
            last = "zero" if make_grid(schedule, grid)[-1].sigma == 0 else "least"
            end = fields.get("end", last)
            if end != last:
                raise InputError(f"end must be {last}, where the given grid ends, got {quote(end)}")
        end = one_of("end", text(end, "end"), ENDS)
        given = fields.get("corrections", ["none", "stein"])
        corrections = each(given, "corrections", partial(correction_from_json, folder=folder))
        if model is not None:
            _require_exact(corrections, model)
        default = options_from_json(fields, "", Options())
        how: Any = {"process": PROCESSES[schedule], "default": default}
        how |= {"end": end, "folder": folder}
        solver = partial(solver_from_json, **how)
        budget = partial(integer, at_least=1, at_most=MAX_EVALUATIONS)
        found = cls(
            data,
            model,
            schedule,
            grid,
            each(fields["solvers"], "solvers", solver),
            each(fields["evaluations"], "evaluations", budget)
            if "evaluations" in fields
            else (None,),
            corrections,
            integer(fields.get("samples", DEFAULT_SAMPLES), "samples", 2, MAX_SAMPLES),
            integer(fields.get("seed", 0), "seed", 0, MAX_SEED),
            end,
            each(
                fields.get("metrics", list(DEFAULT_METRICS)),
                "metrics",
                lambda name, path: one_of(path, text(name, path), METRICS),
            ),
            _init(fields, model, folder),
        )
        for one in found.solvers:
            if not found.corrections_of(one):
                raise InputError(
                    f"corrections must hold none for {one.name}, whose step draws noise, "
                    f"got {', '.join(each.name for each in corrections)}"
                )
        return found

    def corrections_of(self, entry: SolverSpec) -> tuple[CorrectionSpec, ...]:
        """Return the corrections that apply to a solver: to one that draws noise, none does."""
        drawn = noises(entry.solver) > 0
        return tuple(one for one in self.corrections if not drawn or one.name == "none")


def _init(fields: Mapping[str, Any], model: Model | None, folder: Path) -> Path | None:
    """Return the rows that runs start from; those of an exact law start under it."""
    if "init" not in fields:
        return None
    if model is None or model.law is not None:
        raise InputError(f"init needs a model whose law is not known, got {quote(fields['init'])}")
    file = folder / text(fields["init"], "init")
    init_rows(file, model, "init")
    return file


def init_rows(file: Path, model: Model, field: str) -> np.ndarray:
    """Return rows ``(n, d)`` of a file, pictures flat, that a model's runs start from."""
    rows = read_rows(file, field)
    if rows.shape[1] != model.dim:
        raise InputError(
            f"{field} must hold rows of {model.dim} numbers for {model.name}, got {rows.shape[1]}"
        )
    return rows


def _law_or_model(fields: Mapping[str, Any], folder: Path) -> tuple[DataSpec | None, Model | None]:
    if ("data" in fields) == ("model" in fields):
        found = "both" if "data" in fields else "neither"
        raise InputError(f"SPEC must hold one of data and model, got {found}")
    if "data" in fields:
        if "device" in fields:
            raise InputError(f"device needs a model, got {fields['device']} with data")
        return data_from_json(fields["data"], "data", folder), None
    model = load_model(fields["model"])
    return None, model.on(text(fields["device"], "device")) if "device" in fields else model


def correction_from_json(obj: Any, path: str, folder: Path) -> CorrectionSpec:
    """Return the correction that a name or an object with options gives."""
    if isinstance(obj, str):
        correction_factory(obj, path)
        return CorrectionSpec(obj)
    if not isinstance(obj, dict) or "name" not in obj:
        raise InputError(
            f'{path} must be a name or an object such as {{"name": "stein", "gamma_max": 1}}, '
            f"got {obj}"
        )
    name = text(obj["name"], at(path, "name"))
    allowed = _options(correction_factory(name, at(path, "name")))
    given = mapping(obj, path, ["name"], list(allowed))
    options = {
        key: _option(value, at(path, key), allowed[key], folder)
        for key, value in given.items()
        if key != "name"
    }
    spec = CorrectionSpec(name, tuple(sorted(options.items())))
    try:
        spec.make()
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    return spec


def _require_exact(corrections: Sequence[CorrectionSpec], model: Model) -> None:
    """Raise ``InputError`` if a correction asks a network for an exact divergence.

    Automatic differentiation could add it up from as many products as a state has coordinates, for
    every state and step: never what was meant.
    """
    for i, correction in enumerate(corrections):
        asked = dict(correction.options).get("divergence") == "exact"
        if asked and not isinstance(model.denoiser, HasDivergence):
            raise InputError(
                f"corrections[{i}].divergence must be hutchinson for the model {model.name}, whose "
                "denoiser has no exact divergence, got exact"
            )


def _options(factory: Callable[..., Any]) -> dict[str, str]:
    """Options of a correction that are numbers, words or files, with their types as annotated."""
    parameters = inspect.signature(factory).parameters.values()
    kinds = ("float", "int", "str", "Path | None", WORD)
    return {
        p.name: str(p.annotation) for p in parameters if p.annotation in kinds and p.name != "name"
    }


def _option(obj: Any, path: str, kind: str, folder: Path) -> float | int | str:
    """A number, a word or a file; ``null`` switches a limit off (``gamma_min``, ``gamma_max``)."""
    if kind == "int":
        return integer(obj, path, 0, MAX_EVALUATIONS)
    if kind in ("str", WORD):
        return text(obj, path)
    if kind == "Path | None":
        return str(folder / text(obj, path))
    if obj is None and path.endswith(("_min", "_max")):
        return -math.inf if path.endswith("_min") else math.inf
    return float(number(obj, path))
