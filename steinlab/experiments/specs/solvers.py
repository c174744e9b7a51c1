"""Solvers as a SPEC.json gives them: an id, how the run starts and what its last steps combine."""

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from steinlab.diffusion.grids import Grid
from steinlab.diffusion.processes import Process
from steinlab.errors import InputError, one_of
from steinlab.experiments.specs.fields import at, each, integer, mapping, text
from steinlab.solvers import SOLVERS, LinearMultistep, Solver, get_solver, matching_start
from steinlab.solvers.base import noises
from steinlab.solvers.fitted_steps import NEED_TABLE, Numbers
from steinlab.solvers.linear_family import NAME as TABLE
from steinlab.solvers.linear_family import LinearTable
from steinlab.solvers.step import Step
from steinlab.solvers.stochastic import PosteriorNoise
from steinlab.solvers.unit_speed import Curve, UnitSpeed

STARTS = ("own", "matching")
ENDS = ("zero", "least")

MOST_OUTPUTS = max(getattr(solver, "width", 1) for solver in SOLVERS.values())
"""Denoiser outputs that any solver combines."""


def require_beginning(solver: Solver, grid: Grid, path: str) -> None:
    """Raise ``InputError`` where a grid begins at ``alpha = 0`` and the solver cannot."""
    if grid[0].alpha > 0:
        return
    noise = (np.zeros((1, 1)),) * noises(solver)
    try:
        Step.take(lambda x, _: 0 * x, solver, np.zeros((1, 1)), *grid[:2], noise=noise)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


@dataclass(frozen=True)
class Options:
    """How a run begins and ends.

    Parameters
    ----------
    start : {"own", "matching"}
        Whether a multistep solver takes its first steps itself, at lower order, or leaves them to
        single steps of matching order, whose evaluations are counted.
    final : tuple of int
        How many outputs a multistep solver combines at most in each of the last steps, the very
        last one last; ``(1,)`` ends with a first-order step. Empty: the solver's own rule.
        Single-step solvers combine no past outputs and have neither option.
    """

    start: str = "own"
    final: tuple[int, ...] = ()


@dataclass(frozen=True)
class SolverSpec:
    """A solver on a process with the options of its run; ``name`` is the id as it was written."""

    name: str
    solver: Solver
    start: tuple[Solver, ...] = ()
    finish: tuple[Solver, ...] = ()
    file: str = ""
    numbers: Numbers | None = None

    @property
    def kind(self) -> str:
        """What its file holds."""
        return "table" if self.numbers or isinstance(self.solver, LinearTable) else "curve"

    @property
    def options(self) -> Options:
        """The options in effect: the defaults where the solver does not have them."""
        outputs = tuple(one.width for one in self.finish if isinstance(one, LinearMultistep))
        return Options("matching" if self.start else "own", outputs)

    @property
    def digests(self) -> tuple[str, ...]:
        """Of the file that it names: what it held, for the keys of stored rows."""
        return (hashlib.sha256(Path(self.file).read_bytes()).hexdigest(),) if self.file else ()

    @property
    def label(self) -> str:
        """``dpmpp-3m``, or ``dpmpp-3m start=matching final=2,1`` with options."""
        words = [self.name, *([f"{self.kind}={Path(self.file).name}"] if self.file else [])]
        words += ["start=matching"] if self.start else []
        final = ",".join(str(count) for count in self.options.final)
        return " ".join([*words, *([f"final={final}"] if final else [])])


def options_from_json(fields: dict[str, Any], path: str, default: Options) -> Options:
    """Return the options that ``start`` and ``final`` give, the rest as in ``default``."""
    start, final = default.start, default.final
    if "start" in fields:
        start = one_of(at(path, "start"), text(fields["start"], at(path, "start")), STARTS)
    if "final" in fields:
        few = partial(integer, at_least=1, at_most=MOST_OUTPUTS)
        final = each(fields["final"], at(path, "final"), few) if fields["final"] != [] else ()
    return Options(start, final)


def solver_from_json(
    obj: Any, path: str, *, process: Process, default: Options, end: str, folder: Path = Path()
) -> SolverSpec:
    """Return the solver that ``"euler"`` or ``{"name": "euler", "start", "final"}`` names.

    An object may name the file of a ``curve``, or of the ``table`` that a fitted solver needs.

    Parameters
    ----------
    obj : str or dict
    path : str
    process : Process
    default : Options
        Of the comparison as a whole; an object's own come first.
    end : {"zero", "least"}
        Where the grid ends.
    folder : Path
        Where the file of a ``curve``, or of the ``table`` of a fitted solver, is looked up.

    Raises
    ------
    InputError
        Naming the field; also where the grid ends at zero noise and the solver cannot.
    """
    options, curve, place, table, numbers = default, "", at(path, "curve"), "", None
    if obj == TABLE or (isinstance(obj, dict) and obj.get("name") == TABLE):
        fields = mapping(obj, path, ["name", "table"])
        table = str(folder / text(fields["table"], at(path, "table")))
        return SolverSpec(TABLE, LinearTable.load(Path(table), at(path, "table")), file=table)
    if isinstance(obj, dict):
        fields = mapping(obj, path, ["name"], ["start", "final", "curve", "table"])
        options = options_from_json(fields, path, default)
        curve, table = (
            str(folder / text(fields[key], at(path, key))) if key in fields else ""
            for key in ("curve", "table")
        )
        obj, path = fields["name"], at(path, "name")
    name = text(obj, path)
    if table:
        place = at(path, "table").replace(".name.", ".")
        numbers = Numbers.load(Path(table), place)
        if numbers.solver != name:
            raise InputError(f"{place} must be of {name}, got one of {numbers.solver}")
        solver = numbers.make(process)
    elif name in NEED_TABLE:
        raise InputError(
            f"{path}: a table must be given for {name}, "
            f'{{"name": "{name}", "table": FILE}} of `steinlab calibrate --fit {name}`, got none'
        )
    else:
        solver = get_solver(name, process, field=path)
    if curve:
        if not isinstance(solver, UnitSpeed | PosteriorNoise):
            raise InputError(f"{place} must be left out for {name}, which takes none")
        solver = replace(solver, curve=Curve.load(Path(curve), place))
    start = matching_start(solver) if options.start == "matching" else ()
    finish: tuple[Solver, ...] = ()
    if isinstance(solver, LinearMultistep):
        finish = tuple(solver.narrowed(min(count, solver.width)) for count in options.final)
        finish = finish if any(one is not solver for one in finish) else ()
    if end == "zero" and not (finish or (solver,))[-1].ends_at_zero:
        raise InputError(
            f"{path}: {name} cannot step to sigma = 0; give a first-order last step, "
            f'"final": [1], or stop at the least noisy level, "end": "least"'
        )
    return SolverSpec(name, solver, start, finish, table or curve, numbers)
