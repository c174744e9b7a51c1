"""Files of a figure: PDF, PNG, the arrays and their configuration, the same bytes on a rerun."""

import inspect
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from steinlab.errors import InputError
from steinlab.report.figures import load_figure
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.claim import of_row
from steinlab.report.figures.style import styled
from steinlab.storage import write_bytes
from steinlab.workers import thread_limits

NO_DATES = {
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}
FORMATS = ("pdf", "png")
"""Pictures that are written unless others are asked for."""

SUFFIXES = (*FORMATS, "npz", "json")

WIDTHS = ("column", "page")
"""What a figure may span, instead of what it was made for."""


def draw(figure: Figure, data: FigureData) -> Canvas:
    """Return the drawn figure; call inside :func:`steinlab.report.figures.style.styled`."""
    canvas = Canvas()
    FigureCanvasAgg(canvas)
    axes = canvas.subplots(figure.rows, figure.columns, squeeze=False)
    figure.plot(tuple(axes.flat), data)
    return canvas


def spanning(figure: Figure, width: str) -> Figure:
    """Return a figure for another width.

    In a column its panels stand below each other, unless :attr:`Figure.column` says otherwise.

    Parameters
    ----------
    figure : Figure
    width : {"column", "page"}
    """
    if width == "page":
        return replace(figure, wide=True)
    below: Mapping[str, Any] = {"rows": figure.rows * figure.columns, "columns": 1}
    return replace(figure, wide=False, **(figure.column or below))


def chosen(figure: Figure, solvers: Sequence[str]) -> Figure:
    """Return a figure that shows these solvers only; raise ``InputError`` where it shows no choice.

    Parameters
    ----------
    figure : Figure
    solvers : sequence of str
        Ids.
    """
    if "solvers" not in inspect.signature(figure.compute).parameters:
        raise InputError(f"--solvers must be left out for {figure.name}, whose solvers are fixed")
    compute: Any = figure.compute
    return replace(figure, compute=lambda seed: compute(seed, solvers=tuple(solvers)))


def render(figure: Figure, seed: int, folder: Path, formats: Sequence[str] = FORMATS) -> FigureData:
    """Compute a figure and write its pictures, ``NAME.npz`` and ``NAME.json``, all or none.

    Parameters
    ----------
    figure : Figure
    seed : int
    folder : Path
        Exists.
    formats : sequence of {"pdf", "png", "svg"}

    Returns
    -------
    FigureData
        What was drawn.
    """
    data = figure.compute(seed)
    made = {kind: io.BytesIO() for kind in (*formats, "npz", "json")}
    for kind, picture in pictures(figure, data, formats).items():
        made[kind].write(picture)
    arrays: dict[str, Any] = {key: np.asarray(value) for key, value in data.arrays.items()}
    np.savez_compressed(made["npz"], **arrays)
    record = json.dumps(_record(figure, seed, data), indent=1, sort_keys=True)
    made["json"].write(record.encode() + b"\n")
    for kind, content in made.items():
        write_bytes(folder / f"{figure.name}.{kind}", content.getvalue())
    return data


def pictures(figure: Figure, data: FigureData, formats: Sequence[str]) -> dict[str, bytes]:
    """Return a figure's pictures by format."""
    made = {kind: io.BytesIO() for kind in formats}
    with styled(figure):
        canvas = draw(figure, data)
        for kind, file in made.items():
            canvas.savefig(file, format=kind, metadata=NO_DATES[kind])
    return {kind: file.getvalue() for kind, file in made.items()}


class Job(NamedTuple):
    """A figure to be drawn by a worker; ``row`` is what a claim's own is drawn from, if given."""

    name: str
    seed: int
    folder: Path
    formats: tuple[str, ...] = FORMATS
    width: str | None = None
    solvers: tuple[str, ...] = ()
    row: Mapping[str, Any] | None = None

    @property
    def figure(self) -> Figure:
        """The figure as it was asked for."""
        found = of_row(self.row) if self.row else load_figure(self.name)
        if self.solvers:
            found = chosen(found, self.solvers)
        return spanning(found, self.width) if self.width else found


class Drawn(NamedTuple):
    """Seconds that a figure took, and what was left out."""

    seconds: float
    skipped: tuple[str, ...]


def draw_job(job: Job) -> Drawn:
    """Render a registered figure with one thread, so that sums do not depend on their number."""
    from threadpoolctl import threadpool_limits

    begin = time.perf_counter()
    with thread_limits(), threadpool_limits(1):
        data = render(job.figure, job.seed, job.folder, job.formats)
    return Drawn(time.perf_counter() - begin, data.skipped)


def _record(figure: Figure, seed: int, data: FigureData) -> dict[str, Any]:
    return {
        "name": figure.name,
        "title": figure.title,
        "seed": seed,
        "claims": list(figure.claims),
        "config": dict(data.config),
        "skipped": list(data.skipped),
        "arrays": {key: list(np.shape(value)) for key, value in data.arrays.items()},
    }
