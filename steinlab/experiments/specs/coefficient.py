"""The SPEC.json of ``steinlab coefficient``: one step of one solver on one mixture or model."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Self

from analytic import NoiseLevel
from steinlab.diffusion.laws import Law
from steinlab.diffusion.models import Model, load_model
from steinlab.errors import InputError, quote
from steinlab.experiments.specs.fields import Level, items, level, mapping, text
from steinlab.experiments.specs.laws import (
    LawSpec,
    MixtureSpec,
    law_from_json,
    mixture_from_json,
)
from steinlab.solvers import ON_PROCESS, SOLVERS, LinearMultistep, Solver, get_solver


@dataclass(frozen=True)
class CoefficientSpec:
    """One step: the data law or the model, the levels, the solver and what it passed before.

    Levels are exact fractions ``(alpha, sigma)``; the properties give them in double precision.
    ``history`` runs from noise to data, like a grid: its last level comes right before ``start``.
    There is no process: stages of single-step solvers lie where ``log alpha`` and ``log sigma``
    are interpolated, and ``deis-tab-N``, whose formula needs one, is refused. Of UniPC the step is
    the predictor's: the state where it begins is given, so nothing corrects it.
    """

    data: MixtureSpec | LawSpec | None
    start: Level
    end: Level
    solver_id: str
    history: tuple[Level, ...] = ()
    model: Model | None = None

    @classmethod
    def from_json(cls, obj: Any) -> Self:
        """Parse ``{"data", "from", "to", "solver", "history"}``; the last may be absent.

        In place of ``data`` may stand ``"model": "name"``; ``data`` is a mixture, or
        ``{"law": "name"}``.

        Raises
        ------
        InputError
            Naming the field, the requirement and the value.
        """
        kind = "model" if isinstance(obj, dict) and "model" in obj else "data"
        fields = mapping(obj, "", [kind, "from", "to", "solver"], ["history"])
        data, model = None, None
        if kind == "data":
            named = isinstance(fields["data"], dict) and "law" in fields["data"]
            data = (law_from_json if named else mixture_from_json)(fields["data"], "data")
        else:
            model = load_model(text(fields["model"], "model"))
        name = text(fields["solver"], "solver")
        solver = _without_process(name)
        start, end = level(fields["from"], "from"), level(fields["to"], "to")
        _require_noise(start, "from")
        _require_less_noise(start, end, "to", "from")
        spec = cls(data, start, end, name, _history(fields.get("history", []), start), model)
        if end[1] == 0 and not solver.ends_at_zero:
            raise InputError(
                f"to: sigma must be > 0 for {name}, got 0; "
                "a run ends at 0 with a first-order step (euler)"
            )
        if len(spec.history) > spec.most_history:
            raise InputError(
                f"history must hold at most {spec.most_history} levels for {name}, "
                f"got {len(spec.history)}"
            )
        return spec

    @property
    def law(self) -> Law | Model:
        """The data law in double precision, or the model."""
        if self.data is not None:
            return self.data.law()
        assert self.model is not None
        return self.model

    @property
    def solver(self) -> Solver:
        """The solver, aliases resolved."""
        return get_solver(self.solver_id)

    @property
    def most_history(self) -> int:
        """Past levels that a step of the solver combines at most."""
        return self.solver.width - 1 if isinstance(self.solver, LinearMultistep) else 0

    @property
    def s(self) -> NoiseLevel:
        """Level where the step begins."""
        return _as_level(self.start)

    @property
    def t(self) -> NoiseLevel:
        """Level where it ends."""
        return _as_level(self.end)

    @property
    def past(self) -> tuple[NoiseLevel, ...]:
        """Levels passed before, newest first as solvers take them."""
        return tuple(_as_level(entry) for entry in reversed(self.history))


def _without_process(name: str) -> Solver:
    if name in ON_PROCESS and name not in SOLVERS:
        family, _, nodes = name.rpartition("-")
        other = f"; deis-rho-{nodes} integrates in sigma / alpha" if family == "deis-tab" else ""
        raise InputError(
            f"solver: {name} integrates in a process's time, and SPEC gives levels without one"
            + other
        )
    return get_solver(name)


def _history(obj: Any, start: Level) -> tuple[Level, ...]:
    entries = items(obj, "history") if obj != [] else []
    levels = tuple(level(entry, f"history[{i}]") for i, entry in enumerate(entries))
    for i, entry in enumerate(levels):
        _require_noise(entry, f"history[{i}]")
    names = [*(f"history[{i}]" for i in range(len(levels))), "from"]
    for (noisy, clean), (before, after) in zip(
        itertools.pairwise([*levels, start]), itertools.pairwise(names), strict=True
    ):
        _require_less_noise(noisy, clean, after, before)
    return levels


def _require_noise(entry: Level, path: str) -> None:
    if entry[1] == 0:
        raise InputError(f"{path}: sigma must be > 0, got 0")


def _require_less_noise(noisy: Level, clean: Level, path: str, other: str) -> None:
    before, after = noisy[1] / noisy[0], clean[1] / clean[0]
    if after >= before:
        raise InputError(
            f"{path} must be less noisy than {other}: sigma/alpha must be < {quote(before)}, "
            f"got {quote(after)}"
        )


def _as_level(entry: Level) -> NoiseLevel:
    return NoiseLevel(float(entry[0]), float(entry[1]))
