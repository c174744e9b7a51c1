"""The checks: each one a function of a bench that returns a row, and the generator of them all.

Nothing here knows of pytest, nor of what kind of thing the subject was.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from steinlab.solvers import get_solver
from steinlab.testing.bench import Bench
from steinlab.testing.causes import explain
from steinlab.testing.checks import (
    adaptive,
    calls,
    conduct,
    exactness,
    orders,
    own_grids,
    stochastic,
)
from steinlab.testing.methods import identity_of
from steinlab.testing.rows import Row
from steinlab.testing.subject import SubjectError


@dataclass(frozen=True)
class Check:
    """A unit: its id and title, what it measures, and whom it concerns."""

    id: str
    title: str
    measure: Callable[[Bench], dict[str, Any]]
    of: str


CHECKS: tuple[Check, ...] = (
    Check("order-even", "order, even grid", orders.even, "path"),
    Check("order-uneven", "order, uneven grid", orders.uneven, "path"),
    Check("order-rough", "order, steps 1:3:2", orders.rough, "path"),
    Check("order-graded", "order behind its start", orders.graded, "path"),
    Check("gaussian", "Gaussian data", orders.gaussian, "path"),
    Check("tolerance", "error against tolerance", adaptive.tolerance, "tolerance"),
    Check("rejected", "rejected steps", adaptive.rejected, "tolerance"),
    Check("one-point", "constant denoiser", exactness.one_point, "path"),
    Check("scale", "scale equivariance", exactness.scale, "path"),
    Check("end-at-zero", "end at zero", exactness.end_at_zero, "any"),
    Check("evaluations", "evaluations", calls.evaluations, "any"),
    Check("wasted", "wasted evaluations", calls.wasted, "path"),
    Check("levels", "levels asked", calls.levels, "any"),
    Check("method", "known method", calls.method, "path"),
    Check("deterministic", "deterministic, reusable", conduct.deterministic, "any"),
    Check("batch", "each state alone", conduct.batch, "path"),
    Check("midway", "starts midway", conduct.midway, "path"),
    Check("dtype", "dtype kept", conduct.dtype, "any"),
    Check("float32", "float32", conduct.float32, "path"),
    Check("law", "law", stochastic.moments, "law"),
    Check("law-distance", "law, energy distance", stochastic.distance, "law"),
    Check("network-level", "level told to the network", own_grids.network, "own"),
    Check("own-grid", "its own grid", own_grids.linted, "own"),
    Check("own-finite", "finite on its own grid", own_grids.finite, "own"),
    Check("own-levels", "levels reached on its own grid", own_grids.levels, "own"),
    Check("own-float32", "float32 on its own grid", own_grids.drift, "own"),
    Check("own-midway", "starts midway on its own grid", own_grids.midway, "own"),
)
"""Every check of a sampler, in the order of the report."""


STEPWISE = ("order", "gaussian", "scale", "method", "batch", "midway", "float32")
"""Checks of a subject that steps as it is told, not as its error estimate says."""

ALONE = ("one-point", "wasted", "method", "batch")
"""Checks that take states of a batch for independent ones, each with its own datum or answer."""


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
        if row.verdict == "fails" and not row.cause and not bench.stochastic:
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
        path = kind == "path" or check_id in ("own-levels", "own-float32", "own-midway")
        if path and bench.stochastic:
            return "draws noise: judged by law"
        if reason := _inapplicable(check_id, bench):
            return reason
        if kind == "law" and not bench.stochastic:
            return "draws no noise: judged by path"
        if kind == "tolerance" and not bench.takes_tolerance:
            return "takes no tolerance"
        if kind == "own" and bench.subject.own_grid(8) is None:
            return "levels are given"
        return ""


def _inapplicable(check_id: str, bench: Bench) -> str:
    if check_id in ALONE and bench.couples_batch:
        return "its step depends on the whole batch, as it declares"
    if check_id.startswith(STEPWISE) and bench.adaptive:
        return f"chooses its own steps: {bench.spent}"
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
        others = set(found.steps[:-1])
        if others == {found.name} and found.steps[-1] == "euler" != found.name:
            return f"the last step is Euler's, the others {found.name}'s: lower order at the end"
        if "euler" in others and others != {"euler"}:
            return f"the steps are of several methods: {found}"
        solver = get_solver(found.name, bench.process)
        whole = f"the method is {found}, of order {solver.order} when it starts by itself"
        return whole if found.known else ""
    except SubjectError:
        return ""


def generate(bench: Bench) -> Iterator[Unit]:
    """Yield the checks of a bench; those on a scheduler's own grids only where it makes any."""
    for check in CHECKS:
        if check.of == "tolerance" and not bench.takes_tolerance:
            continue
        if check.of == "own" and bench.subject.kind != "scheduler":
            continue
        if check.of == "law" and not (bench.stochastic or bench.declared.law):
            continue
        yield Unit(check, bench)
