"""``steinlab trace``: which step of a run contributes what to its final error."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from steinlab.cli.output import JsonOption, SpecArgument, show, write_json
from steinlab.errors import one_of
from steinlab.storage import check_target, in_file, write_whole

MAX_STEPS, MAX_SAMPLES, DEFAULT_SAMPLES = 1000, 100_000, 200
FIGURES = (".png", ".pdf")
KEYS = ("data", "process", "grid", "steps")
OPTIONAL = ("solver", "target", "samples", "seed", "final_zero")


def trace(
    spec: SpecArgument,
    target: JsonOption = None,
    figure: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw the shares here (png, pdf).")
    ] = None,
) -> int:
    """Carry the local error of every step to the end of the run by the exact flow.

    SPEC: data, process, grid, steps, and a solver's id or a target (file.py:object); samples, seed,
    final_zero are optional.
    """
    from steinlab.testing.step_trace import trace as trace_run

    check_target(target)
    check_target(figure, "--figure")
    if figure is not None:
        one_of("the ending of --figure", Path(figure).suffix, FIGURES)
    with in_file(spec):
        subject, law, levels, x = _read(spec)
    found = trace_run(subject, law, levels, x)
    show(Text(str(found)), target=target)
    head = {"version": 1, "name": found.name, "total": found.total, "error": found.error}
    write_json(target, {**head, "steps": [one.as_json() for one in found.steps]})
    if figure is not None:
        _draw(found, Path(figure))
    return 0


def _read(file: Path) -> tuple[Any, Any, Any, Any]:
    import numpy as np

    from steinlab.diffusion.grids import make_grid
    from steinlab.diffusion.laws import completed
    from steinlab.diffusion.processes import PROCESSES
    from steinlab.errors import InputError
    from steinlab.experiments.specs.fields import integer, mapping, text
    from steinlab.experiments.specs.grids import grid_for
    from steinlab.experiments.specs.laws import data_from_json
    from steinlab.solvers import ALIASES, KNOWN_IDS, get_solver
    from steinlab.solvers.base import require_path
    from steinlab.storage import MAX_SEED, read_json
    from steinlab.testing.adapters import as_subject, from_solver
    from steinlab.testing.targets import load_target

    fields = mapping(read_json(file), "", KEYS, OPTIONAL)
    law = completed(data_from_json(fields["data"], "data", file.parent).law())
    process = PROCESSES[one_of("process", text(fields["process"], "process"), PROCESSES)]
    grid = grid_for(fields["grid"], lambda: law, process)
    steps = integer(fields["steps"], "steps", 1, MAX_STEPS)
    samples = integer(fields.get("samples", DEFAULT_SAMPLES), "samples", 1, MAX_SAMPLES)
    seed = integer(fields.get("seed", 0), "seed", 0, MAX_SEED)
    if ("solver" in fields) == ("target" in fields):
        raise InputError("SPEC must hold a solver or a target, one of the two")
    if "solver" in fields:
        known = [*KNOWN_IDS, *ALIASES]
        name = one_of("solver", text(fields["solver"], "solver"), known, "docs/solvers.md")
        require_path(get_solver(name, process), "a trace to the flow's end")
        subject = from_solver(name, process)
    else:
        subject = as_subject(load_target(text(fields["target"], "target")))
    zero = fields.get("final_zero", True)
    if not isinstance(zero, bool):
        raise InputError(f"final_zero must be true or false, got {zero}")
    if zero and law.smallest_variance == 0:
        raise InputError("data must have a density for an exact flow to zero noise")
    levels = make_grid(process, grid, steps, final_zero=zero)
    rng = np.random.default_rng(seed)
    return subject, law, levels, levels[0].noised(law.sample(samples, rng), rng)


def _draw(found: Any, file: Path) -> None:
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(5.0, 3.0), layout="constrained")
    axes = drawn.add_subplot()
    numbers, carried = zip(*((one.step, one.carried) for one in found.steps), strict=True)
    axes.plot(numbers, [one.local for one in found.steps], "o--", label="local error")
    axes.plot(numbers, carried, "s-", label="what is left of it at the end")
    title = f"{found.name}: {found.total:.2e}"
    axes.set(xlabel="step", ylabel="root mean square", yscale="log", title=title)
    axes.legend()
    write_whole(file, lambda out: drawn.savefig(out, dpi=150, format=file.suffix[1:]))
