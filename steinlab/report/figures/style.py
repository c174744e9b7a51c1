"""How figures look: conference widths, fonts that ship with matplotlib, colours for every eye."""

import re
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
    **{"two-1": "two modes, 1-D", "ring-2": "a ring, 2-D", "few-8": "few modes, 8-D"},
    **{"digits-mlp": "digits", "galaxies-hsc-32": "galaxies", "fashion-edm": "clothes"},
    **{"stein": "Stein", "tweedie": "Tweedie", "auto-v1": "first chooser"},
    **{"gamma": r"$\gamma$", "gamma*": r"$\gamma^\star$", "<=": r"$\leq$"},
    **{"std": "standard deviation"},
}
"""What figures call processes, grids, laws, models and corrections, and how they write a limit."""

SOLVERS = (
    (r"euler", "Euler"),
    (r"heun", "Heun"),
    (r"dpm-2", "DPM-Solver-2"),
    (r"dpmpp-(\d)m(.*)", r"DPM-Solver++(\1M)\2"),
    (r"dpmpp-(\d)s(.*)", r"DPM-Solver++(\1S)\2"),
    (r"dpm-(\d)m", r"DPM-Solver(\1M)"),
    (r"dpm-v3-(\d)", r"DPM-Solver-v3, order \1"),
    (r"unipc-(\d)(.*)", r"UniPC-\1\2"),
    (r"deis-tab-(\d)", r"DEIS-\1 in time"),
    (r"deis-rho-(\d)", r"DEIS-\1 in $\\rho$"),
    (r"deis-log-(\d)", r"DEIS-\1 in log"),
    (r"ipndm-(\d)", r"iPNDM-\1"),
    (r"ipndm-v-(\d)", r"iPNDM-\1, variable"),
    (r"unit-speed-(\w+)", r"unit speed \1"),
    (r"pfdiff", "PFDiff"),
    (r"rx-(\d)", r"RX-\1"),
    (r"epd(-\d)?", r"EPD\1"),
    (r"pndm", "PNDM"),
    (r"rk-midpoint", "midpoint rule"),
    (r"rk-(.*)", r"Runge-Kutta \1"),
    (r"seeds-(\d)", r"SEEDS-\1"),
    (r"sde-dpmpp-2m", "SDE-DPM-Solver++(2M)"),
    (r"euler-churn", "Euler, churned"),
    (r"posterior-noise", "posterior noise"),
    (r"amed", "AMED"),
    (r"dc", "DC-Solver"),
    (r"pas", "PAS"),
)
"""Ids of solvers, and what figures call them; what is left of an id follows as it is."""


def worded(text: str) -> str:
    """Return a text with words in the place of ids.

    Examples
    --------
    >>> worded("dpmpp-2m-heun"), worded("heun on the logsnr grid")
    ('DPM-Solver++(2M), heun', 'Heun on the log-SNR grid')
    """
    return " ".join(_word(word.rstrip(",")) + "," * word.endswith(",") for word in text.split())


def _word(word: str) -> str:
    for pattern, name in SOLVERS:
        found = re.fullmatch(pattern, word)
        if found:
            return found.expand(name).replace(")-", "), ")
    return WORDS.get(word, word)


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
