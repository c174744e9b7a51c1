"""Where results go: a table on the terminal, JSON in a file or on stdout."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from steinlab.storage import STDOUT, write_whole

_INTEGER = re.compile(r"[+-]?\d{1,30}", re.ASCII)

WIDTH = 140
"""Columns of a table that goes to a file or a pipe."""

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
MAX_WORKERS = 256
WorkersOption = Annotated[str, typer.Option(metavar="N", help="Processes; auto is one a core.")]
JsonOption = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the result here; - is stdout."),
]


def whole_number(value: str, option: str, at_least: int, at_most: int) -> int:
    """Return an option's value as an integer within the limits; raise ``InputError`` otherwise.

    Options that are numbers are declared as text and read here, since typer's own message does not
    show the value.
    """
    from steinlab.experiments.specs.fields import integer

    return integer(int(value) if _INTEGER.fullmatch(value) else value, option, at_least, at_most)


def worker_count(value: str) -> int:
    """Return the number of processes that ``--workers`` asks for, ``auto`` being one a core."""
    if value != "auto":
        return whole_number(value, "--workers", 1, MAX_WORKERS)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write_json(target: str | None, result: Any) -> None:
    """Write the result whole or not at all (to a temporary file, then renamed)."""
    if target is None:
        return
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    if target == STDOUT:
        sys.stdout.write(text)
        return
    write_whole(Path(target), lambda out: out.write(text.encode("utf-8")))


def _console(target: str | None) -> Console:
    """Return stdout, or stderr when stdout carries the JSON."""
    console = Console(stderr=target == STDOUT)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH
    return console


def width(target: str | None = None) -> int:
    """Return the columns that :func:`show` has: the terminal's, those of ``COLUMNS``, or 140."""
    return _console(target).width


def show(*parts: RenderableType, target: str | None = None) -> None:
    """Print on stdout, or on stderr when stdout carries the JSON."""
    console = _console(target)
    for part in parts:
        console.print(part)


def styled(line: str) -> Text:
    """Return a line; one that opens with a verdict in its colour."""
    return Text(line, COLOURS.get(line[:16].strip().lower().replace(" ", "-"), ""))


@contextmanager
def progress_bar() -> Iterator[Callable[[float, str], None]]:
    """A bar on stderr where that is a terminal, else nothing; told the fraction done and what."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda done, what: bar.update(task, completed=done, description=what)


def significant(value: float, error: float) -> str:
    """Return ``value`` with the digits that its error leaves, one more, 15 at most.

    Examples
    --------
    >>> significant(2.0, 1e-9), significant(-0.123456, 0.002)
    ('2', '-0.1235')
    """
    if not (error > 0 and value) or not math.isfinite(value / error):
        return f"{value:.15g}"
    digits = math.floor(math.log10(abs(value))) - math.floor(math.log10(error)) + 2
    return f"{value:.{min(max(digits, 1), 15)}g}"


def plus_minus(value: float, error: float, digits: int = 2) -> str:
    """Return ``value +- error`` with the error to two digits and the value to the same place.

    Examples
    --------
    >>> plus_minus(0.123456, 0.0021), plus_minus(2.0, 0.0), plus_minus(12345.6, 210.0)
    ('0.1235 +- 0.0021', '2', '12350 +- 210')
    """
    if not 0 < error < math.inf:
        return f"{value:.4g}"
    exponent = int(f"{error:e}".split("e")[1])
    if exponent < -9 or exponent > 6 or abs(value) > 1e9:
        return f"{value:.3g} +- {error:.1e}"
    places = digits - 1 - exponent
    return f"{round(value, places):.{max(places, 0)}f} +- {round(error, places):.{max(places, 0)}f}"
