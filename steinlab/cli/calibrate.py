"""``steinlab calibrate``: fit a table of moves for a model, a solver and a grid, and store it."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from steinlab.cli.output import SpecArgument
from steinlab.errors import InputError, one_of
from steinlab.storage import check_target


def calibrate(
    spec_file: SpecArgument,
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="Write it here.")],
    curve: Annotated[
        bool, typer.Option("--curve", help="Measure a curve for unit-speed-N instead of a table.")
    ] = False,
    linear: Annotated[
        bool, typer.Option("--linear", help="Fit a linear-table, a solver of its own, instead.")
    ] = False,
    solver: Annotated[
        str, typer.Option("--fit", metavar="SOLVER", help="Fit amed, epd, dc, pas or dpm-v3-N.")
    ] = "",
) -> None:
    """Fit the `calibrated` correction of one solver at one number of function evaluations (NFE).

    It is fitted to the SPEC's `samples` states.
    """
    from steinlab.experiments.compare import (
        Source,
        calibrate_curve,
        calibrate_solver,
        calibrate_table,
        fit_linear,
    )
    from steinlab.solvers.fitted_steps import FITTED

    check_target(out, "--out")
    if sum((curve, linear, bool(solver))) > 1:
        raise InputError("--curve, --fit and --linear must not stand together, got several")
    spec = Source(str(spec_file)).spec()
    if curve:
        found = calibrate_curve(spec)
        found.save(Path(out))
        typer.echo(f"{len(found.ratios)} levels, {found.states} states; written to {out}")
        return
    if solver:
        one_of("--fit", solver, FITTED)
        if len(spec.evaluations) != 1:
            raise InputError(f"evaluations must hold one entry, got {len(spec.evaluations)}")
        numbers = calibrate_solver(spec, solver)
        numbers.save(Path(out))
        typer.echo(
            f"{len(numbers.rows)} rows, {numbers.states} states, {numbers.evaluations:.4g} "
            f"evaluations each; written to {out}"
        )
        return
    for name in ("solvers", "evaluations"):
        if len(getattr(spec, name)) != 1:
            raise InputError(f"{name} must hold one entry, got {len(getattr(spec, name))}")
    if linear:
        made = fit_linear(spec)
        made.save(Path(out))
        typer.echo(
            f"{len(made.rows)} steps, {made.states} states, {made.spent} evaluations each; "
            f"written to {out}"
        )
        return
    table = calibrate_table(dataclasses.replace(spec, corrections=()))
    table.save(Path(out))
    kept = table.note or "it brings held-out states nearer to the flow"
    typer.echo(
        f"{len(table.steps)} steps, {table.states} states, {table.evaluations:.4g} evaluations "
        f"each: {kept}; written to {out}"
    )
