"""The public checks: judge, report, and raise one readable error where something fails."""

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np

from steinlab.errors import InputError, one_of
from steinlab.testing.adapters import as_subject
from steinlab.testing.bench import Bench, Declared
from steinlab.testing.checks import CHECKS, Unit, generate
from steinlab.testing.rows import WRONG, ConformanceError, Row, expected, named, summary, table
from steinlab.testing.subject import Subject, SubjectError
from steinlab.testing.targets import load_target
from steinlab.workers import completed, required


def rows_of(
    target: Any,
    *,
    order: int | None = None,
    evaluations: int | None = None,
    returns_denoised: bool | None = None,
    ends_at_zero: bool = True,
    law: bool = False,
    kind: str | None = None,
    xfail: Mapping[str, str] | None = None,
    seed: int = 0,
    only: Sequence[str] | None = None,
    elsewhere: tuple[Executor, str] | None = None,
) -> list[Row]:
    """Judge a sampler and return its rows; only bad input raises.

    Parameters
    ----------
    target : callable, scheduler, solver or subject
    order : int, optional
        Declared order; weak order for a stochastic subject.
    evaluations : int, optional
        Declared denoiser evaluations per step.
    returns_denoised : bool, optional
        Whether the step to zero noise returns the denoised state of the last call.
    ends_at_zero : bool
    law : bool
        Whether it draws noise, and is judged by law.
    kind : str, optional
        ``step``, ``loop``, ``scheduler``, ``velocity`` or ``solver``; by default told from its
        signature.
    xfail : mapping, optional
        ``{check: reason}`` of failures that are expected, strict.
    seed : int
        Of laws and grids.
    only : sequence of str, optional
        Ids of the checks to run.
    elsewhere : pair, optional
        What runs the checks in other processes, and the target's address
        (:func:`steinlab.testing.targets.load_target`), by which each loads it.
    """
    subject = as_subject(target, kind)
    for name in {**(xfail or {}), **dict.fromkeys(only or ())}:
        if not any(named(check.id, name) for check in CHECKS):
            one_of("check", name, [check.id for check in CHECKS])
    if order is not None and not 1 <= order <= 12:
        raise InputError(f"order must be in 1 to 12, got {order}")
    declared = Declared(order, evaluations, returns_denoised, ends_at_zero, law)
    bench = Bench(subject, declared, seed)
    require_runs(bench)
    units = list(generate(bench))
    wanted = [
        i for i, unit in enumerate(units) if only is None or any(named(unit.id, n) for n in only)
    ]
    if elsewhere is None:
        return expected([units[i]() for i in wanted], xfail or {})
    executor, address = elsewhere
    jobs = [_Job(address, kind, declared, seed, i) for i in wanted]
    rows = dict(completed(executor, _row, jobs))
    return expected([required(rows[job]) for job in jobs], xfail or {})


class _Job(NamedTuple):
    """What another process is told of a check, in plain values."""

    address: str
    kind: str | None
    declared: Declared
    seed: int
    unit: int


@functools.lru_cache(maxsize=1)
def _units(address: str, kind: str | None, declared: Declared, seed: int) -> list[Unit]:
    return list(generate(Bench(as_subject(load_target(address), kind), declared, seed)))


def _row(job: _Job) -> Row:
    return _units(*job[:-1])[job.unit]()


def require_runs(bench: Bench) -> None:
    """Run once, so that what is no sampler at all is bad input and not a failure.

    Raises
    ------
    SubjectError
        If it raises, returns no states, never calls its denoiser, or ends with NaN on easy levels.
    """
    levels = bench.grid("uneven", 6)
    x = bench.line_states(levels[0])
    run = bench.subject.run(bench.line, x, levels)
    name = bench.subject.name
    if not run.calls:
        raise SubjectError(f"{name} must call its denoiser, it did not in 6 steps")
    if not np.all(np.isfinite(run.end)):
        bad = next(
            (k + 1 for k, c in enumerate(run.calls) if not np.all(np.isfinite(c.state))), None
        )
        where = f"call {bad} of its denoiser" if bad else "its end"
        zero = bench.subject.run(bench.line, x, (*levels[:-1], bench.at(0.0)))
        if np.all(np.isfinite(zero.end)):
            return  # it can only end at zero noise
        raise SubjectError(
            f"{name} must keep finite states on 6 steps from sigma {levels[0].sigma:.3g} to "
            f"{levels[-1].sigma:.3g}, got {float(run.end.flat[0])} at {where}"
        )


def report(subject: Subject | str, rows: Sequence[Row], declared: str = "") -> str:
    """Return the report's text."""
    head = subject if isinstance(subject, str) else f"{subject.name} · {NOUNS[subject.kind]}"
    return f"{head}{declared}\n\n{table(rows)}\n\n{summary(rows)}"


NOUNS = {
    "loop": "a loop f(model, x, sigmas)",
    "step": "a step",
    "scheduler": "a scheduler",
    "velocity": "an ODE solver on a velocity",
    "solver": "a solver",
    "correction": "a correction",
    "denoiser": "a denoiser",
    "law": "a law",
}


def said(order: int | None = None, law: bool = False, **_: Any) -> str:
    """Return what was declared, for the report's head."""
    return (f" · declared order {order}" if order is not None else "") + (
        " · by law" if law else ""
    )


def check_sampler(target: Any, **options: Any) -> list[Row]:
    """Check a sampler of any kind: a loop, a step, a scheduler, a velocity solver, one of ours.

    Takes the options of :func:`rows_of`.

    Raises
    ------
    ConformanceError
        An ``AssertionError`` whose text is the report: what fails, the probable cause, the case
        that replays; ``.rows`` holds all rows.

    Examples
    --------
    >>> def euler(model, x, sigmas):
    ...     for s, t in zip(sigmas[:-1], sigmas[1:]):
    ...         x = t / s * x + (1 - t / s) * model(x, s)
    ...     return x
    >>> {row.verdict for row in check_sampler(euler, order=1)} <= {"ok", "declined"}
    True
    """
    subject = as_subject(target, options.pop("kind", None))
    rows = rows_of(subject, **options)
    remember(subject.name, rows)
    if any(row.verdict in WRONG for row in rows):
        first = next(row for row in rows if row.verdict in WRONG)
        again = (
            f'Replay: rows_of(target, only=["{first.check}"], seed={options.get("seed", 0)}, ...)'
        )
        raise ConformanceError(f"{report(subject, rows, said(**options))}\n{again}", rows)
    return rows


def check_solver(target: Any, **options: Any) -> list[Row]:
    """Check a step or a solver; see :func:`check_sampler`."""
    return check_sampler(target, **options)


def check_scheduler(factory: Any, **options: Any) -> list[Row]:
    """Check a scheduler object or a factory of it; see :func:`check_sampler`."""
    subject = factory if hasattr(factory, "own_grid") else as_subject(factory, "scheduler")
    return check_sampler(subject, **options)


REPORTS: list[tuple[str, list[Row]]] = []
"""Reports of this process, for the section that the pytest plugin adds."""


def remember(name: str, rows: list[Row]) -> None:
    """Keep a report for the section of the pytest plugin."""
    REPORTS.append((name, rows))
