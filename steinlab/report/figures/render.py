"""Files of a figure: PDF, PNG, the arrays and their configuration, the same bytes on a rerun."""

import io
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from steinlab.report.figures import load_figure
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.style import styled
from steinlab.storage import write_bytes
from steinlab.workers import thread_limits

NO_DATES = {
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "png": {"Software": None},
}
SUFFIXES = ("pdf", "png", "npz", "json")


def draw(figure: Figure, data: FigureData) -> Canvas:
    """Return the drawn figure; call inside :func:`steinlab.report.figures.style.styled`."""
    canvas = Canvas()
    FigureCanvasAgg(canvas)
    axes = canvas.subplots(figure.rows, figure.columns, squeeze=False)
    figure.plot(tuple(axes.flat), data)
    return canvas


def render(figure: Figure, seed: int, folder: Path) -> FigureData:
    """Compute a figure and write ``NAME.pdf``, ``.png``, ``.npz`` and ``.json``, all or none.

    Parameters
    ----------
    figure : Figure
    seed : int
    folder : Path
        Exists.

    Returns
    -------
    FigureData
        What was drawn.
    """
    data = figure.compute(seed)
    made = {kind: io.BytesIO() for kind in SUFFIXES}
    with styled(figure):
        canvas = draw(figure, data)
        for kind, metadata in NO_DATES.items():
            canvas.savefig(made[kind], format=kind, metadata=metadata)
    arrays: dict[str, Any] = {key: np.asarray(value) for key, value in data.arrays.items()}
    np.savez_compressed(made["npz"], **arrays)
    record = json.dumps(_record(figure, seed, data), indent=1, sort_keys=True)
    made["json"].write(record.encode() + b"\n")
    for kind, content in made.items():
        write_bytes(folder / f"{figure.name}.{kind}", content.getvalue())
    return data


class Job(NamedTuple):
    """A figure to be drawn by a worker."""

    name: str
    seed: int
    folder: Path


class Drawn(NamedTuple):
    """Seconds that a figure took, and what was left out."""

    seconds: float
    skipped: tuple[str, ...]


def draw_job(job: Job) -> Drawn:
    """Render a registered figure with one thread, so that sums do not depend on their number."""
    from threadpoolctl import threadpool_limits

    begin = time.perf_counter()
    with thread_limits(), threadpool_limits(1):
        data = render(load_figure(job.name), job.seed, job.folder)
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
