r"""What the arguments of a property range over: levels, steps, numbers (laws: beside this module).

A strategy writes a value as JSON, of a *kind* (what is no number: a process, how many components)
and a few numbers within limits. Everything else follows: draws are uniform within the limits, the
falsifier searches them, a case is what was written, replay reads it, and shrinking moves the
numbers towards 0, 1 or fewer digits and the kind towards a smaller one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.processes import PROCESSES, Process, get_process
from steinlab.errors import InputError, one_of, quote
from steinlab.solvers import Candidate, Solver, get_solver
from steinlab.verification.falsify.spaces import Parameter

LOWEST_RATIO, HIGHEST_RATIO = 1e-3, 1e2
"""Noise-to-signal ratios of the levels drawn, unless others are asked for."""

LONGEST = 3.0
"""Longest step in ``log(sigma / alpha)``; the shortest is 0.01 of it."""

Values = tuple[float, ...]


@runtime_checkable
class Strategy(Protocol):
    """What one argument ranges over."""

    @property
    def kinds(self) -> Sequence[Any]:
        """The kinds, simplest first."""

    def parameters(self, kind: Any) -> Sequence[Parameter]:
        """Return the numbers of a kind."""

    def write(self, kind: Any, values: Values) -> Any:
        """Return a value as JSON."""

    def read(self, written: Any) -> Any:
        """Return what a property is handed, to the last digit the same wherever it is read."""

    def place(self, written: Any) -> tuple[Any, Values]:
        """Return a kind and numbers that write the same, to rounding."""

    def simpler(self, kind: Any, values: Values) -> Sequence[tuple[Any, Values]]:  # noqa: ARG002
        """Return values of smaller kinds to try instead, by default none."""
        return ()


@dataclass(frozen=True)
class Numbers(Strategy):
    """See :func:`numbers`."""

    low: float
    high: float
    log: bool = False

    @property
    def kinds(self) -> Sequence[None]:
        """The only kind."""
        return (None,)

    def parameters(self, kind: Any) -> Sequence[Parameter]:  # noqa: ARG002
        """Return the number itself."""
        return (Parameter("value", self.low, self.high, self.log),)

    def write(self, kind: Any, values: Values) -> Any:  # noqa: ARG002
        """Return it."""
        return values[0]

    def read(self, written: Any) -> float:
        """Return it."""
        return _number(written, "a number")

    def place(self, written: Any) -> tuple[Any, Values]:
        """Return it."""
        return None, (float(written),)


def numbers(low: float, high: float, *, log: bool = False) -> Numbers:
    """Range over the numbers of ``[low, high]``, evenly in the logarithm with ``log``.

    Examples
    --------
    >>> numbers(0.1, 10.0, log=True).parameters(None)[0].high
    10.0
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"numbers: low must be < high, both finite, got {low} and {high}")
    if log and low <= 0:
        raise InputError(f"numbers: low must be > 0 with log, got {low}")
    return Numbers(float(low), float(high), log)


@dataclass(frozen=True)
class Levels(Strategy):
    """See :func:`levels`."""

    processes: tuple[Process, ...]
    low: float
    high: float

    @property
    def kinds(self) -> Sequence[str]:
        """Names of the processes."""
        return [process.name for process in self.processes]

    def parameters(self, kind: str) -> Sequence[Parameter]:  # noqa: ARG002
        """Return the noise-to-signal ratio."""
        return (Parameter("ratio", self.low, self.high, True),)

    def write(self, kind: str, values: Values) -> Any:
        """Return the process's name and the ratio, in EDM the noise level itself."""
        return {"process": kind, "ratio": values[0]}

    def read(self, written: Any) -> NoiseLevel:
        """Return the level."""
        return _process(self.processes, written).level_at(_number(written["ratio"], "ratio"))

    def place(self, written: Any) -> tuple[str, Values]:
        """Return the process's name and the ratio."""
        return written["process"], (float(written["ratio"]),)


def levels(
    *processes: str | Process, low: float = LOWEST_RATIO, high: float = HIGHEST_RATIO
) -> Levels:
    """Range over the noise levels of some processes, by default of all.

    Parameters
    ----------
    processes : str or Process
    low, high : float
        Limits of ``sigma / alpha``, ``0 < low < high``.

    Examples
    --------
    >>> levels("flow").read({"process": "flow", "ratio": 3.0})
    NoiseLevel(alpha=0.25, sigma=0.75)
    """
    if not 0 < low < high < math.inf:
        raise InputError(f"levels: low must be in (0, high), got {low} and high {high}")
    return Levels(_processes(processes or tuple(PROCESSES)), float(low), float(high))


@dataclass(frozen=True)
class SolverStep:
    """A solver and the two levels of one of its steps, from ``s`` to the less noisy ``t``."""

    solver: Solver
    s: NoiseLevel
    t: NoiseLevel

    def candidate(self, denoiser: Denoiser, x: Array) -> Candidate:
        """Take the step: ``.state`` is ``T(x)``, ``.residual`` is ``u = x - T(x)``."""
        return self.solver.step(denoiser, x, self.s, self.t, ())


@dataclass(frozen=True)
class Steps(Strategy):
    """See :func:`steps`."""

    processes: tuple[Process, ...]
    solvers: tuple[Solver, ...]
    low: float
    high: float
    longest: float

    @property
    def kinds(self) -> Sequence[tuple[str, str]]:
        """Names of processes with names of solvers."""
        return [(p.name, solver.name) for p in self.processes for solver in self.solvers]

    def parameters(self, kind: tuple[str, str]) -> Sequence[Parameter]:  # noqa: ARG002
        """Return the ratio that the step begins at and the part of it that is left."""
        shortest, longest = (math.exp(-self.longest * part) for part in (0.01, 1))
        left = Parameter("left", longest, shortest, True)
        return Parameter("ratio", self.low, self.high, True), left

    def write(self, kind: tuple[str, str], values: Values) -> Any:
        """Return the names and both noise-to-signal ratios."""
        (process, solver), (ratio, left) = kind, values
        return {"process": process, "solver": solver, "from": ratio, "to": ratio * left}

    def read(self, written: Any) -> SolverStep:
        """Return the step."""
        process = _process(self.processes, written)
        names = {solver.name: solver for solver in self.solvers}
        solver = names[one_of("solver", written["solver"], names)]
        s, t = (process.level_at(_number(written[end], end)) for end in ("from", "to"))
        return SolverStep(solver, s, t)

    def place(self, written: Any) -> tuple[tuple[str, str], Values]:
        """Return the names, the first ratio and the part that is left."""
        ratio, kind = float(written["from"]), (written["process"], written["solver"])
        return kind, (ratio, float(written["to"]) / ratio)


def steps(
    process: str | Process | Sequence[str | Process],
    solver: str | Solver | Sequence[str | Solver],
    *,
    low: float = LOWEST_RATIO,
    high: float = HIGHEST_RATIO,
    longest: float = LONGEST,
) -> Steps:
    """Range over single steps of solvers, without history, between levels of processes.

    Parameters
    ----------
    process, solver : name or object, or several
    low, high : float
        Limits of ``sigma / alpha`` where a step begins.
    longest : float
        Longest step in ``log(sigma / alpha)``.

    Examples
    --------
    >>> step = steps("edm", "euler").read(
    ...     {"process": "edm", "solver": "euler", "from": 1.0, "to": 0.5}
    ... )
    >>> step.candidate(lambda x, level: 0.0 * x, 2.0).state
    1.0
    """
    if not 0 < low < high < math.inf:
        raise InputError(f"steps: low must be in (0, high), got {low} and high {high}")
    if not 0 < longest < math.inf:
        raise InputError(f"steps: longest must be > 0, got {longest}")
    found = tuple(get_solver(one) if isinstance(one, str) else one for one in _several(solver))
    for one in found:
        if one.depth:
            raise InputError(f"steps: solver must take a step without history, got {one.name}")
    processes = _processes(_several(process))
    return Steps(processes, found, float(low), float(high), float(longest))


def _several(names: Any) -> tuple[Any, ...]:
    return tuple(names) if isinstance(names, list | tuple) else (names,)


def _processes(names: Sequence[str | Process]) -> tuple[Process, ...]:
    return tuple(map(get_process, names))


def _process(processes: Sequence[Process], written: Mapping[str, Any]) -> Process:
    names = {process.name: process for process in processes}
    return names[one_of("process", written["process"], names)]


def _number(written: Any, what: str) -> float:
    if isinstance(written, bool) or not isinstance(written, int | float):
        raise ValueError(f"{what} must be a number, got {quote(written)}")
    return float(written)
