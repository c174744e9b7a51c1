"""``steinlab report``: one self-contained HTML page of the ledger, its figures and findings."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from steinlab.cli.output import show
from steinlab.storage import make_folder, write_text

if TYPE_CHECKING:
    from steinlab.report.page import Picture

DEFAULT_FOLDER, DEFAULT_LEDGER, DEFAULT_FIGURES = "out/report", "ledger.json", "out/figures"

COLOURS = 32
"""Of a claim's own figure in the page, a third as large for it."""


def report(  # noqa: PLR0917
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE.py]...", help="Judge these and report, without figures."),
    ] = None,
    out: Annotated[
        str, typer.Option(metavar="DIR", help="Write report.html here.")
    ] = DEFAULT_FOLDER,
    ledger: Annotated[
        str, typer.Option(metavar="FILE", help="Read what steinlab verify --json wrote.")
    ] = DEFAULT_LEDGER,
    figures: Annotated[
        str,
        typer.Option(
            metavar="DIR", help="Take what steinlab figures wrote; missing ones are drawn."
        ),
    ] = DEFAULT_FIGURES,
    without_figures: Annotated[
        bool, typer.Option("--without-figures", help="Leave the figures out.")
    ] = False,
    title: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Head the page with this question.")
    ] = None,
    subtitle: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Say this below the title.")
    ] = None,
) -> None:
    """Write report.html: the ledger as a table, findings, figures; no network needed to read it."""
    from steinlab.report.page import SUBTITLE, TITLE, Picture, page, read_ledger
    from steinlab.verification.ledger import run
    from steinlab.verification.registry import chosen

    folder = make_folder(out)
    found = run(chosen(files, None, [])[0]) if files else read_ledger(Path(ledger))
    pictures: list[Picture] = []
    if not (without_figures or files):
        drawn = make_folder(figures)
        pictures = [Picture.read(drawn, name) for name in _drawn(drawn)]
        pictures += _own(found["claims"], ledger)
    target = folder / "report.html"
    write_text(target, page(found, pictures, title or TITLE, subtitle or SUBTITLE))
    size = target.stat().st_size / 2**20
    said = f"{target}: {len(found['claims'])} claims, {len(pictures)} figures, {size:.1f} MiB"
    show(Text(said))


def _own(rows: Sequence[Mapping[str, Any]], ledger: str) -> Iterator[Picture]:
    """Draw the claims that no other figure shows."""
    from PIL import Image

    from steinlab.report.figures.claim import of_rows
    from steinlab.report.figures.render import pictures
    from steinlab.report.page import Picture

    for figure in of_rows(rows):
        png, small = pictures(figure, figure.compute(0), ("png",))["png"], io.BytesIO()
        image = Image.open(io.BytesIO(png)).convert("RGB")
        image.quantize(COLOURS, Image.Quantize.MAXCOVERAGE).save(small, "png")
        words = f"{figure.name} --ledger {shlex.quote(ledger)}"
        yield Picture(words, figure.title, frozenset(figure.claims), small.getvalue())


def _drawn(folder: Path) -> list[str]:
    """Return the names of all figures, drawing those that the folder lacks."""
    from steinlab.report.figures import figure_names, load_figure
    from steinlab.report.figures.render import render

    for name in figure_names():
        if not all((folder / f"{name}.{suffix}").exists() for suffix in ("png", "json")):
            show(f"drawing {name}")
            render(load_figure(name), 0, folder)
    return figure_names()
