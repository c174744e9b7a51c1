"""The record that the study's figures draw, and how a panel says that its piece is missing."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from gpu_models.study.stored import Stored, read, stored
from steinlab.figures.style import GREY


def study_of(folder: Path | None) -> Stored:
    """Return the study of a folder, or the package's own; an empty one where there is none."""
    found = stored() if folder is None else read(folder)
    return found or Stored({"version": 0, "config": {"size": {}}}, {})


def absent(name: str) -> str:
    """Say that a piece is not in the record."""
    return f"{name}: not in the stored study, which python -m gpu_models.study resumes"


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


def take_away(axes: Sequence[Axes]) -> None:
    """Remove panels that have nothing to show."""
    for ax in axes:
        ax.remove()
