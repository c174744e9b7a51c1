"""``steinlab sample``: samples from a named model, as a picture or as numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from steinlab.cli.output import (
    ProgressOption,
    SeedOption,
    decimal,
    id_option,
    new_table,
    number_option,
    progress_bar,
    show,
    whole,
)
from steinlab.errors import InputError
from steinlab.estimates import plus_minus
from steinlab.experiments.specs.fields import MAX_EVALUATIONS, MAX_SAMPLES
from steinlab.storage import check_target, write_whole

if TYPE_CHECKING:
    from steinlab.experiments.sample import SampleRun, Samples

SUFFIXES = (".png", ".npy", ".npz")

MAX_PICTURES = 1024
"""Samples on one picture."""


def sample(  # noqa: PLR0917 - typer calls it by name
    model: Annotated[
        str, id_option("steinlab.diffusion.models:registered", "One that `steinlab models` lists.")
    ],
    solver: Annotated[str, id_option("steinlab.solvers:KNOWN_IDS", "dpmpp-2m, heun, euler, ...")],
    evaluations: Annotated[
        int | None,
        number_option(
            whole(1, MAX_EVALUATIONS), "Spend this number of function evaluations (NFE) per sample."
        ),
    ] = None,
    correction: Annotated[
        str, id_option("steinlab.corrections:CORRECTIONS", "none, stein, tweedie, ...")
    ] = "none",
    gamma_min: Annotated[
        float | None, number_option(decimal, "Clip the coefficient from below.")
    ] = None,
    gamma_max: Annotated[
        float | None,
        number_option(decimal, "Clip it from above; by default at 1, with inf as published."),
    ] = None,
    grid: Annotated[
        str, id_option("steinlab.diffusion.grids:GRIDS", "karras, logsnr, karras:rho=5, ...")
    ] = "karras",
    process: Annotated[
        str,
        id_option(
            "steinlab.diffusion.processes:PROCESSES",
            "By default the model's.",
            "--process",
            "--schedule",
        ),
    ] = "",
    end: Annotated[
        str, typer.Option(metavar="WHERE", help="zero (noise), or the least noisy level.")
    ] = "",
    init: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Start from these rows (.npy), noised to the grid's start."
        ),
    ] = None,
    samples: Annotated[int, number_option(whole(1, MAX_SAMPLES), "Draw this number.")] = 16,
    seed: SeedOption = 0,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write them here: .png, .npy or .npz.")
    ] = None,
    silent: ProgressOption = False,
) -> None:
    """Draw samples from a named model: a sheet of pictures, or an array."""
    from steinlab.experiments.sample import SampleRun, draw

    check_target(out, "--out")
    run = SampleRun.of(
        model,
        solver,
        evaluations,
        correction=correction,
        gamma_min=gamma_min,
        gamma_max=gamma_max,
        schedule=process,
        grid=grid,
        end=end,
        samples=samples,
        seed=seed,
        init=init,
    )
    if (line := run.promise()) and not silent:
        typer.echo(f"steinlab: {line}", err=True)
    writer = None if out is None else _writer(Path(out), run)
    with progress_bar(silent) as progress:
        done = draw(run, progress)
    if out is not None and writer is not None:
        write_whole(Path(out), lambda stream: writer(done, stream))
    corrected = run.correction.name != "none"
    show(_table(run, done, out), *([_steps(run, done)] if corrected else []))


def _writer(file: Path, run: SampleRun) -> Callable[[Samples, IO[bytes]], object]:
    """Return what writes such a file; raise ``InputError`` where the model has no such samples."""
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"--out must end in {', '.join(SUFFIXES)}, got {file}")
    if suffix != ".png":
        return lambda done, stream: _write_arrays(run, done, stream, suffix)
    if run.samples > MAX_PICTURES:
        raise InputError(
            f"--samples must be at most {MAX_PICTURES} for a picture, got {run.samples}"
        )
    if run.model.shape:
        return lambda done, stream: _write_sheet(run, done, stream)
    if run.model.dim != 2:
        raise InputError(
            f"--out must end in .npy or .npz for states of {run.model.dim} coordinates that are "
            f"no pictures, got {file}"
        )
    return _write_scatter


def _write_arrays(run: SampleRun, done: Samples, stream: IO[bytes], suffix: str) -> None:
    """Write samples, in ``.npz`` with all that is needed to draw them again."""
    import numpy as np

    states = done.states.reshape(run.samples, *(run.model.shape or (run.model.dim,)))
    if suffix == ".npy":
        np.save(stream, states)
        return
    np.savez_compressed(
        stream,
        samples=states,
        model=run.model.name,
        solver=run.solver,
        correction=run.correction.label,
        schedule=run.schedule,
        grid=run.grid_name,
        levels=np.array([(level.alpha, level.sigma) for level in run.grid]),
        gammas=np.array([step.gamma for step in done.diagnostics]),
        evaluations=done.evaluations,
        seed=run.seed,
    )


def _write_sheet(run: SampleRun, done: Samples, stream: IO[bytes]) -> None:
    from PIL import Image

    from steinlab.diffusion.pictures import sheet

    Image.fromarray(sheet(done.states, run.model.shape, run.model.display)).save(stream, "PNG")


def _write_scatter(done: Samples, stream: IO[bytes]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot(aspect="equal")
    axes.scatter(done.states[:, 0], done.states[:, 1], s=8, linewidths=0)
    axes.set_xlabel("x1")
    axes.set_ylabel("x2")
    figure.savefig(stream, format="png", metadata={"Software": None})


def _table(run: SampleRun, done: Samples, out: str | None) -> Table:
    picture = out is not None and out.lower().endswith(".png") and bool(run.model.shape)
    notes = [
        "spent: the solver's evaluations; extra: the correction's, Jacobian products with them",
        *([f"grey: {run.model.display.words}"] if picture else []),
        *(["nothing is written: --out FILE.png, .npy or .npz keeps them"] if out is None else []),
    ]
    first = run.grid[0].ratio
    last = run.grid[-2 if run.grid[-1].sigma == 0 else -1]
    title = (
        f"{run.samples} samples of {run.model.name}, {run.schedule}, {run.grid_name}, "
        f"sigma/alpha {first:.4g} to {last.ratio:.3g}"
        f"{', then 0' if run.grid[-1].sigma == 0 else ''}, seed {run.seed}"
    )
    columns = ("solver", "correction", "asked", "spent", "extra", "steps", "seconds", "written")
    left, caption = ("solver", "correction", "written"), Text("\n".join(notes))
    table = new_table(Text(title), columns, left=left, caption=caption, box=box.SIMPLE_HEAD)
    table.add_row(
        run.solver,
        Text(run.correction.label),
        str(run.asked),
        str(done.evaluations),
        f"{sum(step.evaluations + step.products for step in done.diagnostics):g}",
        str(len(run.grid) - 1),
        f"{done.seconds:.1f}",
        Text(out or ""),
    )
    return table


def _steps(run: SampleRun, done: Samples) -> Table:
    """The coefficient of each step, applied and as it was estimated."""
    columns = ("step", "from sigma/alpha", "to", "gamma", "estimate", "note")
    table = new_table("step by step", columns, left=("note",), box=box.SIMPLE_HEAD)
    steps = itertools.pairwise(level.ratio for level in run.grid)
    for i, (step, (s, t)) in enumerate(zip(done.diagnostics, steps, strict=True)):
        raw, others = step.estimate, (one for one in step.move.items() if one[0] != "residual")
        moves = ", ".join(f"{name} {size:+.3g}" for name, size in others)
        table.add_row(
            str(i + 1),
            f"{s:.4g}",
            f"{t:.4g}",
            f"{step.gamma:.4g}",
            "" if raw is None else plus_minus(raw.value, raw.error),
            "; ".join(filter(None, [moves, step.note])),
        )
    return table
