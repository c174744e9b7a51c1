"""Figures by name, found through the entry points ``steinlab.figures`` and loaded on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steinlab import plugins
from steinlab.errors import one_of
from steinlab.verification.registry import claim_ids

if TYPE_CHECKING:
    from steinlab.report.figures.base import Figure

GROUP = "steinlab.figures"
"""The entry-point group: ``name = "package.module:FIGURE"``."""


LIST = "steinlab figures --list"
"""What lists the figures."""


def figure_names() -> list[str]:
    """Return the names of all registered figures, in alphabetical order; nothing is loaded."""
    return sorted({entry.name for entry in plugins.entries(GROUP)})


CLAIM = "claim-"
"""What the name of a claim's own figure begins with; its id follows."""


def known_names() -> list[str]:
    """Return the names of all registered figures, then those of the claims' own."""
    return [*figure_names(), *(f"{CLAIM}{one}" for one in claim_ids())]


def figures_of(claim_id: str) -> list[str]:
    """Return the names of the figures that illustrate a claim; its own where no other does.

    A claim of a file, which is not registered, has none.
    """
    found = [name for name in figure_names() if claim_id in load_figure(name).claims]
    own = [f"{CLAIM}{claim_id}"] if claim_id in claim_ids() else []
    return found or own


def load_figure(name: str) -> Figure:
    """Return a figure; raise ``InputError`` naming the nearest for an unknown name."""
    entries = {entry.name: entry for entry in plugins.entries(GROUP)}
    if one_of("figure", name, known_names(), LIST) not in entries:
        from steinlab.report.figures.claim import of_claim

        return of_claim(name.removeprefix(CLAIM))
    figure: Figure = entries[name].load()
    return figure
