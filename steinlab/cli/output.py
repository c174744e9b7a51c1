"""What commands share: numbers and ids on the command line, progress, tables, JSON."""

import copy
import io
import itertools
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from steinlab.errors import InputError
from steinlab.storage import MAX_SEED, STDOUT, is_stream, write_text
from steinlab.storage.sheets import Sheet

_INTEGER = re.compile(r"[+-]?\d{1,30}", re.ASCII)

WIDTH = 140
"""Columns of a table that goes to a file or a pipe, unless ``COLUMNS`` says otherwise."""

WORD = 24
"""Letters of a word that stay on one line: a table too narrow for them is shown as a list."""

SECONDS_TO_READ = 1.0
"""What is done so soon was kept from an earlier run, and says nothing of what is left."""

SECONDS_BETWEEN_LINES = 10.0
"""How often a command says on the way what it is at, where there is no terminal."""

MAX_WORKERS = 256
CLAIM_IDS = "steinlab.verification.registry:claim_ids"
"""What lists the claims."""

COLOURS = {
    "proved": "bold green",
    "certified": "bold green",
    "holds": "green",
    "conditional": "yellow",
    "refuted": "red",
    "not-reproduced": "magenta",
    "not-run": "dim",
    "failed": "bold red",
}
"""How a line that opens with a verdict is shown."""

SpecArgument = Annotated[Path, typer.Argument(metavar="SPEC.json", help="What to compute.")]


def _target(value: str | None) -> str | None:
    """Return ``-`` for another name of stdout: its tables must not stand in the JSON."""
    if value is not None and is_stream(Path(value)):
        with suppress(OSError, ValueError):
            if os.path.samestat(Path(value).stat(), os.fstat(sys.stdout.fileno())):
                return STDOUT
    return value


JsonOption = Annotated[
    str | None,
    typer.Option(
        "--json", metavar="FILE", help="Write the result here; - is stdout.", callback=_target
    ),
]
CsvOption = Annotated[
    str | None, typer.Option("--csv", metavar="FILE", help="Write the table here as CSV.")
]
TexOption = Annotated[
    str | None,
    typer.Option("--tex", metavar="FILE", help="Write the table here as LaTeX (booktabs)."),
]
ProgressOption = Annotated[
    bool, typer.Option("--no-progress", help="Say nothing on the way.", show_default=False)
]


def completing(where: str) -> Callable[[str], list[str]]:
    """Return what completes an id, or the last of several with commas between.

    ``where`` names what lists the ids, ``module:name``; it is imported when a shell asks.
    """

    def complete(incomplete: str) -> list[str]:
        found = resolve_name(where)
        head, comma, last = incomplete.rpartition(",")
        names = found() if callable(found) else found
        return [head + comma + name for name in names if name.startswith(last)]

    return complete


def id_option(where: str, help: str, *names: str, metavar: str = "ID") -> Any:
    """Return an option that is one of the ids that ``where`` lists; see :func:`completing`."""
    return typer.Option(*names, metavar=metavar, help=help, autocompletion=completing(where))


def number_option(read: Callable[[str, str], Any], help: str, *names: str) -> Any:
    """Return an option that is a number: ``read`` is told the text and the option's name."""

    def parse(context: typer.Context, param: typer.CallbackParam, value: str | None) -> Any:
        _alone(context, param)
        return None if value is None else read(value, param.opts[0])

    return typer.Option(*names, metavar="N", help=help, parser=str, callback=parse)


def whole(at_least: int, at_most: int) -> Callable[[str, str], int]:
    """Return what reads a whole number within limits; it raises ``InputError`` otherwise."""

    def read(value: str, option: str) -> int:
        from steinlab.experiments.specs.fields import integer

        number = int(value) if _INTEGER.fullmatch(value) else value
        return integer(number, option, at_least, at_most)

    return read


def decimal(value: str, option: str) -> float:
    """Read a number, a fraction or an infinity; raise ``InputError`` otherwise."""
    from steinlab.experiments.specs.fields import number

    if value.lower() in ("inf", "-inf"):
        return float(value)
    return float(number(value, option))


WORKERS = "Use this number of processes; auto is one per core."
SCHEDULER = "Use the workers of this Dask scheduler."
BOTH = "--workers must be left out with --scheduler, got both"


def read_workers(value: str, option: str) -> int:
    """Read a number of processes; raise ``InputError`` otherwise."""
    from steinlab.workers import AUTO

    return AUTO if value == "auto" else whole(1, MAX_WORKERS)(value, option)


WorkersOption = Annotated[Any, number_option(read_workers, WORKERS)]


def _alone(context: typer.Context, param: typer.CallbackParam, value: Any = None) -> Any:
    """Refuse an option beside the one that says the same otherwise."""
    names = ("workers", "scheduler")
    given = [str(context.get_parameter_source(name)).endswith("COMMANDLINE") for name in names]
    if param.name in names and all(given):
        raise InputError(BOTH)
    return value


SchedulerOption = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help=SCHEDULER, callback=_alone)
]
SeedOption = Annotated[int, number_option(whole(0, MAX_SEED), "Seed all that is drawn.")]


def write_json(target: str | Path | None, result: Any) -> None:
    """Write the result whole or not at all; ``-`` is stdout."""
    if target is None:
        return
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    if target == STDOUT:
        sys.stdout.write(text)
        return
    write_text(Path(target), text)


def new_table(
    title: str | Text, columns: Sequence[str], *, left: Container[str] = (), **options: Any
) -> Table:
    """Return an empty table; ``left`` names the columns of text, all others hold numbers."""
    table = Table(title=title, title_justify="left", caption_justify="left", **options)
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right")
    return table


def sheet_of(table: Table) -> Sheet:
    """Return a table for a file: its title is the caption, bold cells are the best ones."""

    def read(cell: Any) -> Text:
        return cell if isinstance(cell, Text) else Text.from_markup(str(cell))

    columns = [[read(cell) for cell in column.cells] for column in table.columns]
    names = tuple(read(column.header).plain for column in table.columns)
    left = (column.justify == "left" for column in table.columns)
    best = {
        (i, j)
        for j, cells in enumerate(columns)
        for i, cell in enumerate(cells)
        if any("bold" in str(span.style) for span in cell.spans)
    }
    return Sheet(
        caption=read(table.title or "").plain,
        columns=names,
        rows=tuple(zip(*([cell.plain for cell in cells] for cells in columns), strict=True)),
        text=frozenset(itertools.compress(names, left)),
        best=frozenset(best),
    )


def _console(target: str | None, unknown: int = WIDTH) -> Console:
    """Return stdout, or stderr when stdout carries the JSON."""
    console = Console(stderr=target == STDOUT)
    if isinstance(console.file, io.TextIOWrapper):  # a file's name may hold what no encoding has
        console.file.reconfigure(errors="replace")
    if not (console.is_terminal or os.environ.get("COLUMNS", "").isdigit()):
        console.width = unknown
    return console


def width(target: str | None = None, unknown: int = WIDTH) -> int:
    """Return the columns of a terminal or those of ``COLUMNS``; where neither is known, others."""
    return _console(target, unknown).width


def show(*parts: RenderableType, target: str | None = None) -> None:
    """Print on stdout, or on stderr when stdout carries the JSON.

    Strings are read as rich's markup: what a user has named goes in as ``Text``.
    """
    console = _console(target)
    for part in parts:
        console.print(_fitting(part, console) if isinstance(part, Table) else part)


def _fitting(table: Table, console: Console) -> Table:
    """Return a table whose cells are folded, never cut, or a list where it is too narrow."""
    roomy = console.options.update(max_width=10_000)

    def longest_word(column: Column) -> int:
        cells = (
            console.render_str(cell) if isinstance(cell, str) else cell
            for cell in (column.header, *column.cells)
        )
        return max(Measurement.get(console, roomy, cell).minimum for cell in cells)

    probe, out = copy.copy(table), copy.copy(table)
    probe.columns = [
        column if column.no_wrap else replace(column, width=min(longest_word(column), WORD))
        for column in table.columns
    ]
    out.columns = [
        column if column.no_wrap else replace(column, overflow="fold") for column in table.columns
    ]
    least = Measurement.get(console, roomy, probe).minimum
    return out if least <= console.width else _listed(table)


def _listed(table: Table) -> Table:
    """Return a table as a list: one line per cell that is not empty, a blank one after each row."""
    out = Table(title=table.title, caption=table.caption, box=None, show_header=False)
    out.title_justify, out.caption_justify = table.title_justify, table.caption_justify
    out.add_column(style="dim")
    out.add_column(overflow="fold")
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        for column, cell in zip(table.columns, cells, strict=True):
            if cell:
                out.add_row(column.header, cell)
        out.add_row()
    return out


def styled(line: str) -> Text:
    """Return a line; one that opens with a verdict in its colour."""
    return Text(line, COLOURS.get(line[:16].strip().lower().replace(" ", "-"), ""))


@contextmanager
def progress_bar(silent: bool = False) -> Iterator[Callable[[float, str], None]]:
    """Give what is told the fraction done and what is at hand, and says so on stderr.

    On a terminal that is a bar, elsewhere a line every ten seconds at most; both say about how long
    the rest takes, if it goes on as it did here.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if console.is_terminal and not silent:
        columns = (TextColumn("{task.description}", markup=False), BarColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
            task = bar.add_task("", total=1.0)
            yield lambda done, what: bar.update(task, completed=done, description=what)
        return
    began = last = time.monotonic()
    kept = 0.0

    def tell(done: float, what: str) -> None:
        nonlocal last, kept
        now = time.monotonic()
        if now - began < SECONDS_TO_READ:
            kept = done
        if not silent and done < 1 and now - last >= SECONDS_BETWEEN_LINES:
            last = now
            rest = (now - began) * (1 - done) / (done - kept) if done > kept else None
            left = "" if rest is None else f"; {_duration(rest)} left"
            print(f"steinlab: {done:.0%} done, {what}{left}", file=sys.stderr)

    yield tell


def _duration(seconds: float) -> str:
    """Return about how long.

    Examples
    --------
    >>> [_duration(seconds) for seconds in (8, 100, 8000)]
    ['about 10 s', 'about 2 min', 'about 2.2 h']
    """
    if seconds < 60:
        return f"about {10 * math.ceil(seconds / 10)} s"
    return f"about {seconds / 60:.0f} min" if seconds < 6000 else f"about {seconds / 3600:.1f} h"
