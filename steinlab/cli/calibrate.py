"""``steinlab calibrate``: fit a table of moves for a model, a solver and a grid, and store it."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from steinlab.cli.output import SpecArgument
from steinlab.errors import InputError
from steinlab.storage import check_target


def calibrate(
    spec_file: SpecArgument,
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="Write it here.")],
    curve: Annotated[
        bool, typer.Option("--curve", help="Measure a curve for unit-speed-N instead of a table.")
    ] = False,
) -> None:
    """Fit the `calibrated` correction of one solver at one number of function evaluations (NFE).

    It is fitted to the SPEC's `samples` states.
    """
    from steinlab.experiments.compare import calibrate_curve, calibrate_table
    from steinlab.experiments.specs.compare import CompareSpec
    from steinlab.storage import read_json

    check_target(out, "--out")
    spec = CompareSpec.from_json(read_json(spec_file), spec_file.parent)
    if curve:
        found = calibrate_curve(spec)
        found.save(Path(out))
        typer.echo(f"{len(found.ratios)} levels, {found.states} states; written to {out}")
        return
    for name in ("solvers", "evaluations"):
        if len(getattr(spec, name)) != 1:
            raise InputError(f"{name} must hold one entry, got {len(getattr(spec, name))}")
    table = calibrate_table(dataclasses.replace(spec, corrections=()))
    table.save(Path(out))
    kept = table.note or "it brings held-out states nearer to the flow"
    typer.echo(
        f"{len(table.steps)} steps, {table.states} states, {table.evaluations:.4g} evaluations "
        f"each: {kept}; written to {out}"
    )
