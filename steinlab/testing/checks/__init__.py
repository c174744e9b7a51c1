"""The checks: each one a function of a bench that returns a row, and the generator of them all.

Nothing here knows of pytest, nor of what kind of thing the subject was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from steinlab.solvers import get_solver
from steinlab.testing.bench import Bench
from steinlab.testing.causes import explain
from steinlab.testing.checks import calls, conduct, exactness, orders, own_grids, stochastic
from steinlab.testing.methods import identity_of
from steinlab.testing.rows import Row
from steinlab.testing.subject import SubjectError


@dataclass(frozen=True)
class Check:
    """A unit: its id and title, what it measures, whom it concerns, and what it must reject."""

    id: str
    title: str
    measure: Callable[[Bench], dict[str, Any]]
    of: str
    rejects: str


CHECKS: tuple[Check, ...] = (
    Check("order-even", "order, even grid", orders.even, "path", "a coefficient 5 % off"),
    Check("order-uneven", "order, uneven grid", orders.uneven, "path", "a coefficient 5 % off"),
    Check("order-rough", "order, steps 1:3:2", orders.rough, "path", "fixed weights"),
    Check(
        "order-graded",
        "order behind its start",
        orders.graded,
        "path",
        "a third term without its factor",
    ),
    Check("gaussian", "Gaussian data", orders.gaussian, "path", "a coefficient 0.5 % off"),
    Check(
        "one-point",
        "constant denoiser",
        exactness.one_point,
        "path",
        "weights that do not sum to one",
    ),
    Check("scale", "scale equivariance", exactness.scale, "path", "a clip at 1"),
    Check("end-at-zero", "end at zero", exactness.end_at_zero, "any", "a logarithm of zero"),
    Check(
        "evaluations", "evaluations", calls.evaluations, "any", "an evaluation more than declared"
    ),
    Check("wasted", "wasted evaluations", calls.wasted, "path", "a level asked twice"),
    Check("levels", "levels asked", calls.levels, "path", "the next level in place of the middle"),
    Check("method", "known method", calls.method, "path", "a last step with another coefficient"),
    Check(
        "deterministic",
        "deterministic, reusable",
        conduct.deterministic,
        "any",
        "state kept between runs",
    ),
    Check("batch", "each state alone", conduct.batch, "path", "a mean over the batch"),
    Check("midway", "starts midway", conduct.midway, "path", "a history that is not there"),
    Check("dtype", "dtype kept", conduct.dtype, "any", "a float64 state rounded to float32"),
    Check("float32", "float32", conduct.float32, "path", "coefficients by cancellation"),
    Check("law", "law", stochastic.moments, "law", "noise 20 % too small"),
    Check(
        "law-distance", "law, energy distance", stochastic.distance, "law", "noise 20 % too small"
    ),
    Check(
        "network-level",
        "level told to the network",
        own_grids.network,
        "own",
        "sigma at an integer time",
    ),
    Check("own-grid", "its own grid", own_grids.linted, "own", "a repeated level"),
    Check("own-finite", "finite on its own grid", own_grids.finite, "own", "a logarithm of zero"),
    Check(
        "own-levels",
        "levels reached on its own grid",
        own_grids.levels,
        "own",
        "a step past its level",
    ),
    Check(
        "own-float32",
        "float32 on its own grid",
        own_grids.drift,
        "own",
        "coefficients by cancellation",
    ),
    Check(
        "own-midway",
        "starts midway on its own grid",
        own_grids.midway,
        "own",
        "a history that is not there",
    ),
)
"""Every check of a sampler, in the order of the report."""


@dataclass(frozen=True, eq=False)
class Unit:
    """One check of one bench: calling it gives the row."""

    check: Check
    bench: Bench

    @property
    def id(self) -> str:
        """The check's id, by which ``xfail`` and cases name it."""
        return self.check.id

    def __call__(self) -> Row:
        """Measure; what cannot be measured is declined with the reason."""
        check, bench = self.check, self.bench
        assert bench.process is not None
        case = {"check": check.id, "seed": bench.seed, "process": bench.process.name}
        reason = self._declined
        found = {"verdict": "declined", "text": reason} if reason else self._measured()
        row = Row(check.id, check.title, **found, case=case)
        if row.verdict == "fails" and getattr(bench.subject, "clips", False):
            return replace(
                row, cause="it is told to clip what is denoised: clip_sample, thresholding"
            )
        if row.verdict == "fails" and not row.cause:
            row = replace(row, cause=cause_of(bench, order=check.id.startswith(("order", "gauss"))))
        return row

    def _measured(self) -> dict[str, Any]:
        try:
            return self.check.measure(self.bench)
        except SubjectError as error:
            return {"verdict": "fails", "text": str(error)}

    @cached_property
    def _declined(self) -> str:
        kind, check_id, bench = self.check.of, self.check.id, self.bench
        if kind == "path" and bench.stochastic:
            return "draws noise: judged by law"
        if check_id.startswith(("order", "gaussian", "method", "batch")) and bench.adaptive:
            return f"chooses its own steps: {bench.spent}"
        if kind == "law" and not bench.stochastic:
            return "draws no noise: judged by path"
        if kind == "own" and bench.subject.own_grid(8) is None:
            return "levels are given"
        return ""


def cause_of(bench: Bench, *, order: bool) -> str:
    """Return the cause that the levels asked or the coefficients suggest, empty if neither does.

    Coefficients are split into steps by the levels asked, so a misplaced one comes first. A method
    that is known cannot explain more than its order.
    """
    try:
        misplaced = calls.levels(bench).get("cause")
        reading = bench.reading
        found = identity_of(bench, reading)
        assert bench.process is not None
        if misplaced or found is None or not (found.known or found.mostly):
            return str(misplaced or explain(reading, found, bench.process))
        if not order:
            return ""
        if found.name != "euler" and found.steps[-1] == "euler":
            return f"the last step is Euler's, the others {found.name}'s: lower order at the end"
        if found.known:
            solver = get_solver(found.name, bench.process)
            return f"the method is {found}, of order {solver.order} when it starts by itself"
        return ""
    except SubjectError:
        return ""


def generate(bench: Bench) -> Iterator[Unit]:
    """Yield the checks of a bench; those on a scheduler's own grids only where it makes any."""
    for check in CHECKS:
        if check.of == "own" and bench.subject.kind != "scheduler":
            continue
        if check.of == "law" and not (bench.stochastic or bench.declared.law):
            continue
        yield Unit(check, bench)
