"""Show a network's pictures, plain, corrected and by a long run: ``steinlab networks-pictures``.

The coefficients are estimated on the whole batch, of which the first pictures are shown;
``auto-v1`` is calibrated on its last states, so that none of those shown has fitted it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from steinlab.cli.parser import Parser
from steinlab.corrections import CORRECTIONS
from steinlab.corrections.calibrated import Calibrated
from steinlab.corrections.fitted import calibrate
from steinlab.diffusion.grids import GRIDS
from steinlab.diffusion.models import Model, load_model
from steinlab.diffusion.pictures import sheet
from steinlab.errors import InputError
from steinlab.experiments.bench import played
from steinlab.solvers import get_solver
from steinlab.solvers.loop import Run
from steinlab.solvers.plans import run_within
from steinlab.solvers.reference_flow import long_run
from steinlab.storage import read_archive, write_whole

SOLVERS, EVALUATIONS = ("euler", "dpmpp-2m"), (5, 8)
METHODS = {
    "plain": ("none", {}),
    "stein, as published": ("stein", {}),
    "stein in [0.1, 1]": ("stein", {"gamma_min": 0.1, "gamma_max": 1.0}),
    "auto-v1": ("auto-v1", {}),
}
LONG = "long run"
SHOWN, ACROSS, FITTING, STATES = 8, 4, 256, 512


def end_of(model: Model, x: np.ndarray, grid: str, run: tuple[str, int, str]) -> np.ndarray:
    """Return the end states of ``(solver, evaluations, method)`` from start states ``(n, d)``."""
    solver, asked, method = run
    process = model.process()
    plan, levels = run_within(get_solver(solver, process), process, grid, asked)
    name, options = METHODS[method]

    if name == "auto-v1":
        part = x[-min(FITTING, len(x) // 2) :]
        fitting = Run(model.denoiser, part, levels, plan)
        correction: Any = Calibrated(calibrate(fitting, model=model.name))
    else:
        correction = CORRECTIONS[name](**options)
    rng = np.random.default_rng(asked)
    done, stop = played(model.denoiser, x, levels, plan, correction=correction, rng=rng)
    return np.full_like(x, np.nan) if stop is not None else np.asarray(done.state)


def compute(file: Path, model: Model, grid: str, n: int) -> None:
    """Write a sheet of pictures per run, ``uint8``, with what they are."""
    process = model.process()
    noisy = process.level_at(process.ratio_max)
    x = model.start(noisy, n, np.random.default_rng(0))
    ends = {LONG: long_run(model.denoiser, x[:SHOWN], process, estimate_error=False).state}
    for solver in SOLVERS:
        for asked in EVALUATIONS:
            for method in METHODS:
                state = end_of(model, x, grid, (solver, asked, method))[:SHOWN]
                ends[f"{solver}/{asked}/{method}"] = np.nan_to_num(state)
    sheets = {k: sheet(v, model.shape, model.display, ACROSS) for k, v in ends.items()}
    words = {"model": model.name, "grid": grid, "display": model.display.words, "states": n}
    config = np.array(json.dumps(words))
    write_whole(file, lambda out: np.savez_compressed(out, config=config, **sheets))  # type: ignore[arg-type]


def draw(source: Path, target: Path) -> None:
    """Draw a row per solver and number of evaluations, a column per method, the long run last."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    sheets = read_archive(source, "SOURCE")
    if lost := {"config", LONG}.difference(sheets):
        raise InputError(f"SOURCE must be of compute, got {source} without {sorted(lost)[0]}")
    words = json.loads(str(sheets.pop("config")))
    rows = [(solver, asked) for solver in SOLVERS for asked in EVALUATIONS]
    columns = [*METHODS, LONG]
    height, width = sheets[LONG].shape[:2]
    size = 2.2
    fig, axes = plt.subplots(
        len(rows),
        len(columns),
        figsize=(size * len(columns), size * len(rows) * height / width),
        squeeze=False,
        layout="constrained",
    )
    for i, (line, (solver, asked)) in enumerate(zip(axes, rows, strict=True)):
        for ax, method in zip(line, columns, strict=True):
            name = LONG if method == LONG else f"{solver}/{asked}/{method}"
            ax.imshow(sheets[name], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            if i == 0:
                ax.set_title(method, fontsize=8)
        line[0].set_ylabel(f"{solver}, {asked}", fontsize=8)
    fig.suptitle(f"{words['model']}, {words['grid']} grid; rows: solver, evaluations", fontsize=8)
    options: dict[str, Any] = {
        "format": target.suffix[1:] or "png",
        "dpi": 100,
        "metadata": {"Software": None},
    }
    write_whole(target, lambda out: fig.savefig(out, **options))


def main(args: Sequence[str]) -> int:
    """Compute the pictures or draw them."""
    parser = Parser("networks-pictures", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("compute")
    first.add_argument("file", type=Path)
    first.add_argument("--model", default="galaxies-hsc-32")
    first.add_argument("--grid", choices=list(GRIDS), default="karras")
    first.add_argument("--device", default="cpu")
    first.add_argument("--states", type=int, default=STATES)
    second = commands.add_parser("draw")
    second.add_argument("source", type=Path)
    second.add_argument("target", type=Path)
    given = parser.parse_args(args)
    if given.command == "draw":
        draw(given.source, given.target)
    else:
        compute(given.file, load_model(given.model).on(given.device), given.grid, given.states)
    return 0
