"""``steinlab figures``: paper figures and the data behind each."""

from __future__ import annotations

from typing import Annotated

import typer

from steinlab.cli.output import WorkersOption, show, whole_number, worker_count
from steinlab.errors import one_of
from steinlab.storage import MAX_SEED, make_folder

DEFAULT_FOLDER = "out/figures"


def figures(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Figures; by default all.")
    ] = None,
    list_them: Annotated[bool, typer.Option("--list", help="Name them and stop.")] = False,
    out: Annotated[
        str, typer.Option(metavar="DIR", help="Where PDF, PNG, npz and json go.")
    ] = DEFAULT_FOLDER,
    seed: Annotated[str, typer.Option(metavar="N")] = "0",
    workers: WorkersOption = "auto",
) -> None:
    """Compute figures and write each as PDF and PNG, with its data (npz) and configuration (json).

    A rerun with the same seed writes the same bytes, whatever the number of processes.
    """
    from steinlab.report.figures import figure_names

    known = figure_names()
    wanted = [one_of("figure", name, known) for name in names or known]
    if list_them:
        _list(wanted)
        return
    number = whole_number(seed, "--seed", 0, MAX_SEED)
    count = worker_count(workers)
    folder = make_folder(out)
    assert folder is not None
    from steinlab.report.figures.render import Job, draw_job
    from steinlab.workers import completed, executor_for

    jobs = [Job(name, number, folder) for name in dict.fromkeys(wanted)]
    with executor_for(min(count, len(jobs))) as executor:
        for job, drawn in completed(executor, draw_job, jobs):
            if isinstance(drawn, Exception):
                raise drawn
            show(f"{folder / job.name}.pdf, .png, .npz, .json in {drawn.seconds:.1f} s")
            for line in drawn.skipped:
                show(f"  left out: {line}")


def _list(names: list[str]) -> None:
    from rich.table import Table

    from steinlab.report.figures import load_figure

    table = Table(title="Figures", title_justify="left")
    for column in ("name", "what it shows", "claims"):
        table.add_column(column)
    for name in names:
        figure = load_figure(name)
        table.add_row(name, figure.title, ", ".join(figure.claims))
    show(table)
