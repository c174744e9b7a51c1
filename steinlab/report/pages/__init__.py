"""The pages of the documentation that are made of records: every number on them is computed.

A package brings its own by an entry point of the group ``steinlab.pages``: a function of the folder
of the pages and the ledger (None where there is none), which returns pages by file name.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steinlab import plugins
from steinlab.estimates import plus_minus


def made(docs: Path, ledger: Mapping[str, Any] | None) -> dict[str, str]:
    """Return every page that can be made, by file name."""
    found: dict[str, str] = {}
    for entry in sorted(plugins.entries("steinlab.pages"), key=lambda entry: entry.name):
        found |= entry.load()(docs, ledger)
    return found


def table(head: Sequence[str], rows: Sequence[Sequence[str]], rule: str = " --- ") -> str:
    """Return a table in Markdown.

    Examples
    --------
    >>> print(table(["a", "b"], [["1", "2"]], rule="---"))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    top = "|" + "|".join(f" {cell} " if cell else " " for cell in head) + "|"
    lines = ("| " + " | ".join(cells) + " |" for cells in rows)
    return "\n".join([top, f"|{rule}" * len(head) + "|", *lines])


def number(value: float, error: float) -> str:
    """Return ``value ± error``."""
    return plus_minus(value, error).replace("+-", "±")
