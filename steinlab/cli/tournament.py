"""``steinlab tournament``: every correction on many problems, against the plain solver."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from steinlab.cli.output import WorkersOption, worker_count
from steinlab.errors import InputError, one_of


def tournament(  # noqa: PLR0917
    profile: Annotated[str, typer.Option(help="quick or full.")] = "quick",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep finished cells here, and resume.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Replace the tables of this page.")
    ] = None,
    workers: WorkersOption = "auto",
    minutes: Annotated[
        float, typer.Option(metavar="M", help="Begin no cell after them.", show_default=False)
    ] = math.inf,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what was played here, and resume from it."),
    ] = None,
    note: Annotated[
        str, typer.Option(metavar="TEXT", help="Say in the record where it was played.")
    ] = "",
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="PATH", help="Read a record or an --out, play nothing."),
    ] = None,
) -> None:
    """Play the tournament of corrections, resume it, write its record and its page."""
    from steinlab.experiments.tournament.run import PROFILES
    from steinlab.experiments.tournament.session import Wish, sitting

    one_of("--profile", profile, PROFILES)
    if math.isnan(minutes):
        raise InputError("--minutes must be a number, got nan")
    count = worker_count(workers)
    print(sitting(Wish(profile, out, page, count, minutes, record, note, source)))
