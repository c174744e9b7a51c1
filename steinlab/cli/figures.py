"""``steinlab figures``: paper figures and the data behind each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from steinlab.cli.output import (
    SchedulerOption,
    SeedOption,
    WorkersOption,
    completing,
    id_option,
    new_table,
    show,
)
from steinlab.errors import one_of
from steinlab.storage import make_folder

if TYPE_CHECKING:
    from steinlab.report.figures.base import Figure

DEFAULT_FOLDER = "out/figures"


def figures(  # noqa: PLR0917
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Draw these, or claim-ID, any claim's own; by default all but claims' own.",
            autocompletion=completing("steinlab.report.figures:known_names"),
        ),
    ] = None,
    list_them: Annotated[bool, typer.Option("--list", help="Name them and stop.")] = False,
    out: Annotated[
        str, typer.Option(metavar="DIR", help="Write PDF, PNG, npz and json here.")
    ] = DEFAULT_FOLDER,
    seed: SeedOption = 0,
    workers: WorkersOption = "auto",
    scheduler: SchedulerOption = None,
    formats: Annotated[
        str, typer.Option("--format", metavar="KIND,KIND", help="Write pdf, png or svg.")
    ] = "pdf,png",
    ledger: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Draw claims' own from what verify --json wrote, by default judged now; without "
            "a NAME, all, and the own of each claim that no other shows.",
        ),
    ] = None,
    width: Annotated[
        str | None,
        typer.Option(metavar="column|page", help="Span this; by default what suits the figure."),
    ] = None,
    solvers: Annotated[
        str | None,
        id_option(
            "steinlab.solvers:SOLVER_IDS",
            "Show these solvers only, where a figure shows a choice.",
            metavar="ID,ID",
        ),
    ] = None,
) -> None:
    """Compute figures and write each as PDF and PNG, with its data (npz) and configuration (json).

    A rerun with the same seed writes the same bytes, whatever the number of processes.
    """
    from steinlab.report.figures import LIST, figure_names, known_names, load_figure
    from steinlab.report.figures.claim import of_row, of_rows

    rows = _rows(ledger)
    known = list(dict.fromkeys((*known_names(), *rows)))
    every = [*figure_names(), *(own.name for own in of_rows(rows.values()))]
    wanted = dict.fromkeys(one_of("figure", name, known, LIST) for name in names or every)
    if list_them:
        _list(of_row(rows[name]) if name in rows else load_figure(name) for name in wanted)
        return
    from steinlab.report.figures.render import NO_DATES, WIDTHS, Job, draw_job
    from steinlab.workers import completed, executor_for, number_of, required

    kinds = tuple(one_of("--format", kind, NO_DATES) for kind in formats.split(","))
    if width is not None:
        one_of("--width", width, WIDTHS)
    shown = tuple(_known(solvers))
    there = Path(out).absolute()
    jobs = [Job(name, seed, there, kinds, width, shown, rows.get(name)) for name in wanted]
    for job in jobs:
        job.figure  # noqa: B018 - refuses solvers where they are fixed, before any is drawn
    folder = make_folder(out)
    with executor_for(min(number_of(workers), len(jobs)), scheduler) as executor:
        for job, answer in completed(executor, draw_job, jobs):
            drawn = required(answer)
            files = ", ".join(f".{kind}" for kind in (*kinds, "npz", "json"))
            show(Text(f"{folder / job.name}{files} in {drawn.seconds:.1f} s"))
            for line in drawn.skipped:
                show(Text(f"  left out: {line}"))


def _rows(ledger: str | None) -> dict[str, Mapping[str, Any]]:
    """Return the rows of a ledger by the names of their figures."""
    from steinlab.report.figures import CLAIM
    from steinlab.report.page import read_ledger

    rows = read_ledger(Path(ledger))["claims"] if ledger else []
    return {f"{CLAIM}{row['id']}": row for row in rows}


def _known(solvers: str | None) -> list[str]:
    """Return the ids of solvers that exist."""
    from steinlab.diffusion.processes import EDM
    from steinlab.solvers import get_solver
    from steinlab.solvers.fitted_steps import NEED_TABLE

    names = solvers.split(",") if solvers else []
    for name in (one for one in names if one not in NEED_TABLE):
        get_solver(name, EDM, field="--solvers")
    return names


def _list(figures: Iterable[Figure]) -> None:
    columns = ("name", "what it shows", "claims")
    table = new_table("Figures", columns, left=columns)
    for figure in figures:
        table.add_row(figure.name, figure.title, ", ".join(figure.claims))
    show(table)
