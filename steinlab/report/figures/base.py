"""What a figure is: data computed once, stored beside the picture, and a pure plot of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes


@dataclass(frozen=True)
class FigureData:
    """What a figure shows.

    Parameters
    ----------
    arrays : mapping of str to array
        Goes to ``NAME.npz``.
    config : mapping
        What produced it, and single numbers: JSON, goes to ``NAME.json``.
    skipped : tuple of str
        A line for each panel or curve left out, with the reason (an optional model is missing).
    """

    arrays: Mapping[str, np.ndarray]
    config: Mapping[str, Any]
    skipped: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Figure:
    """One figure of a paper.

    Parameters
    ----------
    name : str
        Its id on the command line and its file names.
    title : str
        One sentence: what it shows.
    compute : callable
        ``seed -> FigureData``; depends on nothing else, in seconds.
    plot : callable
        ``(axes, data)``, pure: draws on the axes, in reading order, and computes nothing.
    rows, columns : int
        Panels.
    wide : bool
        Whether it spans two columns of text.
    aspect : float
        Height over width of one panel.
    claims : tuple of str
        Ids of the claims that it illustrates.
    column : mapping
        Fields that it has at the width of a column, where its panels cannot just stand below each
        other.
    """

    name: str
    title: str
    compute: Callable[[int], FigureData]
    plot: Callable[[Sequence[Axes], FigureData], None]
    rows: int = 1
    columns: int = 1
    wide: bool = True
    aspect: float = 0.62
    claims: tuple[str, ...] = ()
    column: Mapping[str, Any] = field(default_factory=dict)
