"""The SPEC.json of ``steinlab coefficient``: one step of one solver on one mixture or model."""

import itertools
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Self

from analytic import NoiseLevel
from steinlab.diffusion.grids import given_steps, grid_name, make_grid
from steinlab.diffusion.laws import Law
from steinlab.diffusion.models import Model, load_model
from steinlab.diffusion.processes import PROCESSES
from steinlab.errors import InputError, one_of, quote
from steinlab.experiments.specs.fields import (
    MAX_EVALUATIONS,
    Level,
    each,
    integer,
    level,
    mapping,
    text,
)
from steinlab.experiments.specs.grids import grid_for
from steinlab.experiments.specs.laws import (
    LawSpec,
    MixtureSpec,
    law_from_json,
    mixture_from_json,
)
from steinlab.solvers import (
    ALIASES,
    ON_PROCESS,
    SOLVERS,
    STOCHASTIC,
    LinearMultistep,
    Solver,
    get_solver,
)
from steinlab.solvers.base import require_alone, require_path


@dataclass(frozen=True)
class CoefficientSpec:
    """One step: the data law or the model, the levels, the solver and what it passed before.

    Levels are exact fractions ``(alpha, sigma)``; the properties give them in double precision.
    ``history`` runs from noise to data, like a grid: its last level comes right before ``start``.
    Without a process, stages of single-step solvers lie where ``log alpha`` and ``log sigma`` are
    interpolated, and ``deis-tab-N``, whose formula needs one, is refused. Of UniPC the step is
    the predictor's: the state where it begins is given, so nothing corrects it.
    """

    data: MixtureSpec | LawSpec | None
    start: Level
    end: Level
    solver_id: str
    history: tuple[Level, ...] = ()
    model: Model | None = None
    process: str = ""

    @classmethod
    def from_json(cls, obj: Any) -> Self:
        """Parse ``{"data", "from", "to", "solver", "history"}``; the last may be absent.

        ``data`` is a mixture or ``{"law": "name"}``. In place of it may stand ``"model": "name"``,
        and in place of the levels a step of a grid: ``{"grid", "steps", "step", "process"}``, steps
        counted from 0, the process by default ``edm``, no ``steps`` for a grid of given levels. The
        levels passed before are then the history, and stages lie on the process.

        Raises
        ------
        InputError
            Naming the field, the requirement and the value.
        """
        kind = "model" if isinstance(obj, dict) and "model" in obj else "data"
        on_grid = isinstance(obj, dict) and "grid" in obj
        places = (
            (["grid", "step"], ["process", "steps"]) if on_grid else (["from", "to"], ["history"])
        )
        fields = mapping(obj, "", [kind, *places[0], "solver"], places[1])
        data, model = None, None
        if kind == "data":
            named = isinstance(fields["data"], dict) and "law" in fields["data"]
            data = (law_from_json if named else mixture_from_json)(fields["data"], "data")
        else:
            model = load_model(fields["model"])
        name = text(fields["solver"], "solver")
        require_alone(SOLVERS.get(name), "a coefficient per step")
        require_path(STOCHASTIC.get(ALIASES.get(name, name)), "a coefficient per step")
        if on_grid:
            return cls._of_grid(fields, data, model, name)
        if name in ON_PROCESS and name not in SOLVERS:
            family, _, n = name.rpartition("-")
            other = f"; deis-rho-{n} integrates in sigma / alpha" if family == "deis-tab" else ""
            raise InputError(
                f"solver: {name} integrates in a process's time, and SPEC gives levels without one"
                + other
            )
        solver = get_solver(name)
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

    @classmethod
    def _of_grid(
        cls,
        fields: dict[str, Any],
        data: MixtureSpec | LawSpec | None,
        model: Model | None,
        name: str,
    ) -> Self:
        """Return a step of a grid."""
        process = one_of("process", text(fields.get("process", "edm"), "process"), PROCESSES)
        grid, steps = grid_name(fields["grid"]), given_steps(fields["grid"])
        if steps is None:
            steps = integer(fields.get("steps"), "steps", 1, MAX_EVALUATIONS)
        elif "steps" in fields:
            raise InputError(f"steps must be left out for given levels, got {fields['steps']}")
        place = model.process(process) if model else PROCESSES[process]
        grid = grid_for(grid, lambda: data.law() if data else model, place)
        levels = make_grid(place, grid, steps)
        i = integer(fields["step"], "step", 0, steps - 1)
        exact = [(Fraction(one.alpha), Fraction(one.sigma)) for one in levels[: i + 2]]
        spec = cls(data, exact[i], exact[i + 1], name, (), model, process)
        past = exact[max(0, i - spec.most_history) : i]
        if exact[i + 1][1] == 0 and not spec.solver.ends_at_zero:
            raise InputError(f"step: {name} cannot step to zero noise, got step {i} of {steps}")
        return replace(spec, history=tuple(past))

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
        return get_solver(self.solver_id, PROCESSES[self.process] if self.process else None)

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


def _history(obj: Any, start: Level) -> tuple[Level, ...]:
    levels = each(obj, "history", level) if obj != [] else ()
    named = [(f"history[{i}]", entry) for i, entry in enumerate(levels)]
    for name, entry in named:
        _require_noise(entry, name)
    for (before, noisy), (after, clean) in itertools.pairwise([*named, ("from", start)]):
        _require_less_noise(noisy, clean, after, before)
    return levels


def _require_noise(entry: Level, path: str) -> None:
    if entry[1] == 0:
        raise InputError(f"{path}: sigma must be > 0, got 0")


def _require_less_noise(noisy: Level, clean: Level, path: str, other: str) -> None:
    if clean[1] * noisy[0] >= noisy[1] * clean[0]:
        before, after = (quote(one[1] / one[0]) if one[0] else "infinity" for one in (noisy, clean))
        raise InputError(
            f"{path} must be less noisy than {other}: sigma/alpha must be < {before}, got {after}"
        )


def _as_level(entry: Level) -> NoiseLevel:
    return NoiseLevel(float(entry[0]), float(entry[1]))
