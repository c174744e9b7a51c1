"""``steinlab export``: the ledger as a reproduction logbook, or as metadata that machines read."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from steinlab.cli.output import show, write_json
from steinlab.errors import one_of
from steinlab.storage import check_target, make_folder, write_text

FORMATS = ("logbook", "croissant")

DEFAULT_OUT = {"logbook": "out/logbook", "croissant": "croissant.json"}


def export(
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="logbook|croissant",
            help="A Trackio logbook, a page per claim; or Croissant Tasks as JSON-LD.",
        ),
    ] = FORMATS[0],
    ledger: Annotated[
        str, typer.Option(metavar="FILE", help="Read what steinlab verify --json wrote.")
    ] = "ledger.json",
    out: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Write here: a folder (out/logbook), or a file (croissant.json; - is stdout).",
        ),
    ] = None,
) -> None:
    """Write the ledger for others: a reproduction logbook, or metadata that machines read."""
    from steinlab.report.exports import PAGES, croissant, logbook
    from steinlab.report.page import read_ledger

    one_of("--format", form, FORMATS)
    target = out or DEFAULT_OUT[form]
    if form == "croissant":
        check_target(target, "--out")
        found = read_ledger(Path(ledger))
        write_json(target, croissant(found))
        said = f"{target}: {len(found['claims'])} claims as Croissant Tasks"
    else:
        found = read_ledger(Path(ledger))
        folder = make_folder(target)
        for name, text in logbook(found).items():
            make_folder(str((folder / name).parent))
            write_text(folder / name, text)
        said = f"{folder / PAGES / 'index.md'}: {len(found['claims'])} claims, a page each"
    show(Text(said), target=target)
