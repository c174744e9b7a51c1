"""How figures look: conference widths, fonts that ship with matplotlib, colours for every eye."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
from tueplots import axes, figsizes, fontsizes

from steinlab.report.figures.base import Figure

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, BLACK = "#CC79A7", "#56B4E9", "#F0E442", "#000000"
GREY = "#777777"

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

SEQUENTIAL, DIVERGING = "cividis", "PuOr"
"""Colour maps that a colour-blind reader can follow."""


class Look(NamedTuple):
    """A colour with its marker, so that a curve is told apart without colour."""

    color: str
    marker: str


LOOKS: tuple[Look, ...] = tuple(
    Look(color, marker)
    for color, marker in zip(
        (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK, GREY), MARKERS, strict=True
    )
)
"""Curves in order (Okabe and Ito's palette)."""


def look(index: int) -> dict[str, Any]:
    """Return the keywords of the ``index``-th curve for ``Axes.plot``."""
    return LOOKS[index % len(LOOKS)]._asdict()


def _settings(figure: Figure) -> dict[str, Any]:
    size = figsizes.icml2024_full if figure.wide else figsizes.icml2024_half
    return {
        **axes.lines(base_width=0.5, line_base_ratio=2.0),
        **axes.tick_direction(x="in", y="in"),
        **fontsizes.icml2024(),
        **size(nrows=figure.rows, ncols=figure.columns, height_to_width_ratio=figure.aspect),
        "font.family": "STIXGeneral",
        "mathtext.fontset": "stix",
        "axes.grid": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "lines.markersize": 3.0,
        "legend.frameon": False,
        "legend.handlelength": 1.6,
        "pdf.fonttype": 42,
        "savefig.dpi": 300,
        "svg.hashsalt": "steinlab",
    }


@contextmanager
def styled(figure: Figure) -> Iterator[None]:
    """Draw in the house style, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        settings: Any = _settings(figure)
        mpl.rcParams.update(settings)
        yield


def band(ax: Any, x: Any, value: Any, error: Any, **keywords: Any) -> None:
    """Draw a measurement with its band of two standard errors."""
    ax.plot(x, value, linestyle="none", **keywords)
    ax.fill_between(
        x, value - 2 * error, value + 2 * error, color=keywords["color"], alpha=0.2, linewidth=0
    )
