"""What a command of another package parses its arguments by: bad input is one line, exit code 2."""

import argparse
import re
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import typer

from steinlab.cli.output import BOTH, SCHEDULER, WORKERS, read_workers
from steinlab.errors import InputError
from steinlab.storage import check_folder, check_target

MARKS = re.compile(r"(?::\w+:)?(`+)(?P<name>[^`]+)\1")
"""What reStructuredText sets in code or links: a docstring's marks, which a terminal shows bare."""


class Parser(argparse.ArgumentParser):
    """Parse the arguments of ``steinlab NAME``.

    Parameters
    ----------
    name : str
        The command.
    description : str, optional
        What it does; paragraphs are kept apart.
    prog : str, optional
        What a part of a command is called in its help.
    """

    def __init__(self, name: str = "", description: str | None = None, prog: str = "") -> None:
        self._written: dict[str, Callable[[str], Any]] = {}
        words = MARKS.sub(r"\g<name>", description or "")
        paragraphs = words.strip().split("\n\n")
        super().__init__(
            prog=prog or f"steinlab {name}",
            description="\n\n".join(textwrap.fill(text, 80) for text in paragraphs),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def add_workers(self) -> None:
        """Add the options of where work runs; :func:`where` reads them."""
        self.add_argument("--workers", help=f"{WORKERS} (default: 1)")
        self.add_argument("--scheduler", metavar="ADDRESS", help=SCHEDULER)

    def add_folder(self, option: str = "--out", **more: Any) -> None:
        """Add an option that names a folder to write into, which must be one that can be made."""
        self.add_argument(option, type=Path, **more)
        self._written[option] = partial(check_folder, option=option)

    def add_target(self, option: str, **more: Any) -> None:
        """Add an option that names a file to write, in a folder that may have to be made."""
        self.add_argument(option, type=Path, **more)
        self._written[option] = partial(_check_file, option=option)

    def parse_args(self, args: Sequence[str] | None = None) -> argparse.Namespace:  # type: ignore[override]
        """Return what was given; raise ``InputError`` for bad input."""
        given = super().parse_args(args)
        for option, ready in self._written.items():
            found = getattr(given, option.lstrip("-"))
            if found is not None:
                ready(str(found))
        return given

    def error(self, message: str) -> NoReturn:
        """Raise ``InputError`` in place of printing the usage."""
        raise InputError(message)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:  # noqa: ARG002
        """End the command, not the process."""
        raise typer.Exit(status)


def _check_file(name: str, option: str) -> None:
    folder = Path(name).parent
    if folder.is_dir():
        check_target(name, option)
    else:
        check_folder(str(folder), option)


def where(given: argparse.Namespace) -> tuple[int, str | None]:
    """Return the number of processes and the Dask scheduler that were asked for.

    Raises
    ------
    InputError
        For another number, or where both are given.
    """
    if given.workers is not None and given.scheduler is not None:
        raise InputError(BOTH)
    return read_workers(given.workers or "1", "--workers"), given.scheduler
