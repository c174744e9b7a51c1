"""``steinlab figures``: paper figures and the data behind each."""

from typing import Annotated

import typer
from rich.text import Text

from steinlab.cli.output import SeedOption, WorkersOption, completing, new_table, show
from steinlab.errors import one_of
from steinlab.storage import make_folder

DEFAULT_FOLDER = "out/figures"


def figures(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Draw these; by default all.",
            autocompletion=completing("steinlab.report.figures:figure_names"),
        ),
    ] = None,
    list_them: Annotated[bool, typer.Option("--list", help="Name them and stop.")] = False,
    out: Annotated[
        str, typer.Option(metavar="DIR", help="Write PDF, PNG, npz and json here.")
    ] = DEFAULT_FOLDER,
    seed: SeedOption = 0,
    workers: WorkersOption = "auto",
) -> None:
    """Compute figures and write each as PDF and PNG, with its data (npz) and configuration (json).

    A rerun with the same seed writes the same bytes, whatever the number of processes.
    """
    from steinlab.report.figures import LIST, figure_names

    known = figure_names()
    wanted = [one_of("figure", name, known, LIST) for name in names or known]
    if list_them:
        _list(wanted)
        return
    folder = make_folder(out)
    from steinlab.report.figures.render import Job, draw_job
    from steinlab.workers import completed, executor_for, number_of

    jobs = [Job(name, seed, folder) for name in dict.fromkeys(wanted)]
    with executor_for(min(number_of(workers), len(jobs))) as executor:
        for job, drawn in completed(executor, draw_job, jobs):
            if isinstance(drawn, Exception):
                raise drawn
            show(Text(f"{folder / job.name}.pdf, .png, .npz, .json in {drawn.seconds:.1f} s"))
            for line in drawn.skipped:
                show(Text(f"  left out: {line}"))


def _list(names: list[str]) -> None:
    from steinlab.report.figures import load_figure

    columns = ("name", "what it shows", "claims")
    table = new_table("Figures", columns, left=columns)
    for name in names:
        figure = load_figure(name)
        table.add_row(name, figure.title, ", ".join(figure.claims))
    show(table)
