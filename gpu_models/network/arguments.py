"""Command lines of this package: bad input is one line on stderr and exit code 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from gpu_models.network import fashion
from steinlab.errors import InputError


class Parser(argparse.ArgumentParser):
    """A parser with the options that all commands share."""

    def __init__(self, prog: str, description: str | None) -> None:
        super().__init__(prog=prog, description=description)
        self.add_argument("--data", help=f"folder of the IDX files ({fashion.HOW})")
        self.add_argument("--device", help="cpu or cuda; by default a GPU where there is one")

    def error(self, message: str) -> NoReturn:
        """Raise ``InputError`` in place of printing the usage."""
        raise InputError(message)


def answer(prog: str, work: Callable[[], None]) -> int:
    """Do the work of a command and return its exit code."""
    try:
        work()
    except InputError as error:
        print(f"{prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0
