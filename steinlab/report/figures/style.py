"""How figures look: conference widths, fonts that ship with matplotlib, colours for every eye."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from tueplots import axes, figsizes, fontsizes

from steinlab.report.figures.base import Figure

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK, GREY = "#CC79A7", "#56B4E9", "#000000", "#777777"

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

SEQUENTIAL, DIVERGING = "cividis", "PuOr"
"""Colour maps that a colour-blind reader can follow."""


WORDS = {
    **{"edm": "EDM", "vp-linear": "VP, linear"},
    **{"karras": "Karras", "logsnr": "log-SNR", "tangent": "equal-angle"},
    **{"euler": "Euler", "heun": "Heun", "unipc-2": "UniPC-2", "ipndm-3": "iPNDM-3"},
    **{"dpmpp-2m": "DPM-Solver++(2M)", "dpmpp-3m": "DPM-Solver++(3M)"},
    **{"digits-mlp": "digits", "galaxies-hsc-32": "galaxies", "fashion-edm": "clothes"},
    **{"tweedie,": "Tweedie,", "gamma": r"$\gamma$", "<=": r"$\leq$"},
}
"""What titles call processes, grids, solvers and models, and how they write a limit."""


def worded(text: str) -> str:
    """Return a text with words in the place of ids.

    Examples
    --------
    >>> worded("dpmpp-2m"), worded("heun on the logsnr grid")
    ('DPM-Solver++(2M)', 'Heun on the log-SNR grid')
    """
    return " ".join(WORDS.get(word, word) for word in text.split())


COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK, GREY)
"""Of curves in order (Okabe and Ito's palette), each with a marker to be told apart by."""


def look(index: int) -> dict[str, Any]:
    """Return the keywords of the ``index``-th curve for ``Axes.plot``: 64 pairs, no two alike."""
    place, again = index % len(COLOURS), index // len(COLOURS)
    return {"color": COLOURS[place], "marker": MARKERS[(place + again) % len(MARKERS)]}


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
