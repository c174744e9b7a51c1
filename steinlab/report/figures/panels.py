"""Panels of figures that draw a record: one that has nothing to show, and axes of few decades."""

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from steinlab.report.figures.style import GREY


def say(ax: Axes, line: str) -> None:
    """Write in an empty panel what is missing."""
    place: dict[str, Any] = {"ha": "center", "va": "center", "transform": ax.transAxes}
    ax.text(0.5, 0.5, textwrap.fill(line, 32), color=GREY, fontsize="small", **place)
    ax.set(xticks=[], yticks=[])


def plain_ticks(ax: Axes) -> None:
    """Label a logarithmic axis of few decades by 1, 2, 5."""
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(NullLocator())


def legend_below(axes: Sequence[Axes], handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Set one legend below all panels, which hides no curve, in as many columns as have room.

    An entry takes as much as its longest label: half a font's size per letter, and three sizes for
    the line before it.
    """
    canvas = axes[0].get_figure(root=True)
    assert canvas is not None
    entry = rcParams["legend.fontsize"] * (0.5 * max(map(len, labels)) + 3.0) / 72.0
    columns = max(1, min(len(labels), int(canvas.get_figwidth() / entry)))
    rows = -(-len(labels) // columns)
    canvas.legend(handles, labels, loc="outside lower center", ncols=-(-len(labels) // rows))


def take_away(axes: Sequence[Axes]) -> None:
    """Remove panels that have nothing to show."""
    for ax in axes:
        ax.remove()
