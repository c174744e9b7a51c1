"""``steinlab tournament``: every correction on many problems, against the plain solver."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from steinlab.cli.output import (
    CsvOption,
    ProgressOption,
    SchedulerOption,
    TexOption,
    WorkersOption,
    decimal,
    id_option,
    number_option,
    progress_bar,
)
from steinlab.errors import one_of


def tournament(  # noqa: PLR0917
    profile: Annotated[str, typer.Option(help="quick, full or second.")] = "quick",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep finished cells here, and resume.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Replace the tables of this page.")
    ] = None,
    workers: WorkersOption = "auto",
    scheduler: SchedulerOption = None,
    minutes: Annotated[float, number_option(decimal, "Begin no cell after them.")] = math.inf,
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
    solvers: Annotated[
        str | None,
        id_option(
            "steinlab.solvers:KNOWN_IDS",
            "Play these solvers only, other packages' too.",
            metavar="ID,ID",
        ),
    ] = None,
    corrections: Annotated[
        str | None,
        id_option(
            "steinlab.experiments.tournament.entrants:ENTRANTS",
            "Set these corrections against none, other packages' too.",
            metavar="ID,ID",
        ),
    ] = None,
    silent: ProgressOption = False,
    csv: CsvOption = None,
    tex: TexOption = None,
) -> None:
    """Play the tournament of corrections, resume it, write its record and its page."""
    from steinlab.experiments.tournament.run import PROFILES
    from steinlab.experiments.tournament.session import Wish, sitting
    from steinlab.workers import executor_for

    one_of("--profile", profile, PROFILES)
    asked = Wish(profile, out, page, minutes, record, note, source, solvers, corrections)
    with executor_for(workers, scheduler) as executor, progress_bar(silent) as tell:
        print(sitting(replace(asked, csv=csv, tex=tex), executor, tell))
