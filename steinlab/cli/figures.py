"""``steinlab figures``: paper figures and the data behind each."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from steinlab.cli.output import make_folder, show, whole_number
from steinlab.errors import one_of
from steinlab.specs.reading import MAX_SEED

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
) -> None:
    """Compute figures and write each as PDF and PNG, with its data (npz) and configuration (json).

    A rerun with the same seed writes the same bytes.
    """
    from steinlab.figures import figure_names, load_figure

    known = figure_names()
    wanted = [one_of("figure", name, known) for name in names or known]
    if list_them:
        _list(wanted)
        return
    number = whole_number(seed, "--seed", 0, MAX_SEED)
    folder = make_folder(out)
    assert folder is not None
    from steinlab.figures.render import render

    for name in wanted:
        begin = time.perf_counter()
        data = render(load_figure(name), number, folder)
        show(f"{folder / name}.pdf, .png, .npz, .json in {time.perf_counter() - begin:.1f} s")
        for line in data.skipped:
            show(f"  left out: {line}")


def _list(names: list[str]) -> None:
    from rich.table import Table

    from steinlab.figures import load_figure

    table = Table(title="Figures", title_justify="left")
    for column in ("name", "what it shows", "claims"):
        table.add_column(column)
    for name in names:
        figure = load_figure(name)
        table.add_row(name, figure.title, ", ".join(figure.claims))
    show(table)
