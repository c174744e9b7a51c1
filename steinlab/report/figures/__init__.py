"""Figures by name, found through the entry points ``steinlab.figures`` and loaded on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steinlab import plugins
from steinlab.errors import one_of

if TYPE_CHECKING:
    from steinlab.report.figures.base import Figure

GROUP = "steinlab.figures"
"""The entry-point group: ``name = "package.module:FIGURE"``."""


LIST = "steinlab figures --list"
"""What lists the figures."""


def figure_names() -> list[str]:
    """Return the names of all registered figures, in alphabetical order; nothing is loaded."""
    return sorted({entry.name for entry in plugins.entries(GROUP)})


def load_figure(name: str) -> Figure:
    """Return a registered figure; raise ``InputError`` naming the nearest for an unknown name."""
    entries = {entry.name: entry for entry in plugins.entries(GROUP)}
    one_of("figure", name, sorted(entries), LIST)
    figure: Figure = entries[name].load()
    return figure
