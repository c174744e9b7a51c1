"""``steinlab compare``: solvers x corrections x evaluations on one data law or model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from steinlab.cli.output import (
    CsvOption,
    JsonOption,
    ProgressOption,
    SchedulerOption,
    SpecArgument,
    TexOption,
    WorkersOption,
    new_table,
    number_option,
    progress_bar,
    sheet_of,
    show,
    whole,
    write_json,
)
from steinlab.errors import InputError, Interrupted
from steinlab.estimates import plus_minus
from steinlab.storage import MAX_SEED, STDOUT, check_target, is_stream, make_folder
from steinlab.storage.sheets import check_sheets, write_sheet

if TYPE_CHECKING:
    from steinlab.experiments.bench import Progress
    from steinlab.experiments.compare import Row, Source
    from steinlab.experiments.paired import Paired
    from steinlab.experiments.specs.compare import CompareSpec
    from steinlab.solvers.step import Diagnostics

MOST_SEEDS = 1000

DATA = "data_energy_distance"
"""The column that networks have besides, where the law of their data is known."""

FLOW = ("flow_error", "paired_energy")
"""The columns that compare with the flow's ends, which a solver that draws noise does not follow:
the cell then says by law."""

BEFORE = ", of searches and fits in a batch of 10,000"


def compare(  # noqa: PLR0917
    spec_file: SpecArgument,
    target: JsonOption = None,
    seed: Annotated[
        int | None, number_option(whole(0, MAX_SEED), "Seed, instead of the SPEC's own.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="DIR", help="Keep finished rows here and resume from them."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="SOLVER[+CORRECTION]",
            help="Say of every row whether it is better, worse or undecided, over several seeds.",
        ),
    ] = None,
    seeds: Annotated[
        int | None, number_option(whole(2, MOST_SEEDS), "Seeds of --against; by default 5.")
    ] = None,
    workers: WorkersOption = 1,
    scheduler: SchedulerOption = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="Evaluate the network there: cuda, say.")
    ] = None,
    silent: ProgressOption = False,
    csv: CsvOption = None,
    tex: TexOption = None,
) -> None:
    """Compare solvers and corrections by number of function evaluations (NFE) on a law or model.

    The flow error is the root mean square distance to the ends of the exact probability-flow ODE.
    """
    from steinlab.experiments.compare import Source, promises, to_json
    from steinlab.experiments.paired import SEEDS, Twin, against_of, paired
    from steinlab.experiments.paired import to_json as paired_json
    from steinlab.workers import SerialExecutor, executor_for

    check_target(target)
    check_sheets(csv, tex)
    folder = None if out is None else make_folder(out)
    source = Source(str(spec_file), seed, device)
    spec = source.spec()
    if against is None and seeds is not None:
        raise InputError(f"--seeds must be left out without --against, got {seeds}")
    for line in () if silent else promises(spec):
        typer.echo(f"steinlab: {line}", err=True)
    told = source._replace(file=str(spec_file.absolute()))  # as other processes find it
    with executor_for(workers, scheduler) as executor:
        if against is not None:
            other, here = against_of(against, spec), isinstance(executor, SerialExecutor)
            run = None if here else (executor, Twin(told, against))
            with progress_bar(silent) as progress:
                pairs = paired(spec, other, seeds or SEEDS, progress, folder=folder, elsewhere=run)
            table = _answers(pairs, spec)
            show(table, target=target)
            write_json(target, paired_json(pairs))
            write_sheet(sheet_of(table), csv, tex)
            return
        found: dict[int, Row] = {}
        interrupted = False
        with progress_bar(silent) as progress:
            try:
                for index, row in _found(spec, executor, told, folder, progress):
                    found[index] = row
                    if target not in {None, STDOUT} and not is_stream(Path(str(target))):
                        write_json(target, [to_json(found[i]) for i in sorted(found)])
            except KeyboardInterrupt:
                interrupted = True
        rows = [found[index] for index in sorted(found)]
        if rows:
            end = "" if spec.end == "zero" else ", ends at the least noisy level"
            title = f"{spec.schedule}, {spec.grid}, {spec.samples} samples, seed {spec.seed}{end}"
            corrected = [row for row in rows if row.correction.name != "none" or row.stopped]
            details = [_coefficients(corrected)] if corrected else []
            table = _table(rows, title)
            show(table, *details, target=target)
            write_sheet(sheet_of(table), csv, tex)
        if rows or not interrupted:
            write_json(target, [to_json(row) for row in rows])
        if interrupted:
            where = "stdout" if target == STDOUT else target
            kept = f", written to {where}" if target and rows else ""
            raise Interrupted(f"interrupted after {len(rows)} rows{kept}")


def _answers(found: Paired, spec: CompareSpec) -> Table:
    """One row per answer: ratios with their intervals, the verdict, what it spends besides."""
    from steinlab.metrics import METRICS

    text = ("solver", "correction", "verdict")
    measures = [METRICS[name].title for name in found.metrics]
    columns = ("asked", *text[:2], *measures, "verdict", "spent besides")
    solver, fix = found.against
    beside = "" if fix.name == "none" else f" + {fix.label}"
    title = (
        f"{spec.schedule}, {spec.grid}, {len(found.seeds)} seeds of {spec.samples} paired starts: "
        f"ratios to {solver.label}{beside}"
    )
    caption = (
        f"95 % intervals that hold together for {found.comparisons} comparisons; spent besides: "
        f"evaluations per state{BEFORE if any(one.row.price for one in found.answers) else ''}"
    )
    table = new_table(title, columns, left=text, caption=caption, box=box.SIMPLE_HEAD)
    for one in found.answers:
        row, colour = one.row, {"better": "bold green", "worse": "red"}.get(one.verdict, "dim")
        ratios = (
            "" if r is None else f"{r.value:.3g} ({r.low:.3g} to {r.high:.3g})"
            for r in one.ratios.values()
        )
        stopped = f", stopped in {one.stopped} seeds" if one.stopped else ""
        label, spent = escape(row.correction.label), _besides(one.extra, row)
        verdict = f"[{colour}]{one.verdict}{stopped}[/]"
        table.add_row(str(row.asked), row.solver.label, label, *ratios, verdict, spent)
    return table


def _found(
    spec: CompareSpec, executor: Executor, told: Source, folder: Path | None, progress: Progress
) -> Iterator[tuple[int, Row]]:
    """Yield rows with their places in the table, as they are finished."""
    from steinlab.experiments.compare import Comparison, rows_elsewhere
    from steinlab.experiments.compare import compare as compare_rows
    from steinlab.workers import SerialExecutor

    if isinstance(executor, SerialExecutor):
        return enumerate(compare_rows(spec, progress, folder=folder))
    works = {told: Comparison(spec, folder)}
    return ((index, row) for _, index, row in rows_elsewhere(works, executor, progress))


def _table(rows: list[Row], title: str) -> Table:
    """One section per number of evaluations; the best of each section's columns stands out."""
    from steinlab.metrics import METRICS

    measures = {name: METRICS[name].title for name in rows[0].measured if name in METRICS}
    if DATA in rows[0].measured:
        measures[DATA] = "energy d. to data"
    text = ("solver", "correction")
    besides = ("besides",) * any(row.price for row in rows)
    columns = ("asked", "spent", *besides, *text, *measures.values())
    told = f"; besides: evaluations per state{BEFORE}" if besides else ""
    options: dict[str, Any] = {"caption": _caption(rows[0]) + told, "box": box.SIMPLE_HEAD}
    table = new_table(title, columns, left=text, **options)
    for column in table.columns:
        column.no_wrap = column.header not in text
    for asked, group in itertools.groupby(rows, key=lambda row: row.asked):
        block = list(group)
        best = {name: _best(block, name) for name in measures}
        for i, row in enumerate(block):
            first = str(asked) if i == 0 else ""
            cells = [first, str(row.spent), *[_besides(0.0, row) for _ in besides]]
            table.add_row(*cells, *_cells(row, best), end_section=i == len(block) - 1)
    return table


def _besides(extra: float, row: Row) -> str:
    """What a state pays besides the run, with its part of what was spent before."""
    from steinlab.experiments.bench import BATCH

    spent = extra + row.price / BATCH
    return f"{spent:.2g}" if spent else ""


def _caption(row: Row) -> str:
    from steinlab.experiments.bench import EXACT_FLOW

    of = "the law itself" if row.reference.kind == EXACT_FLOW else "the network's long runs"
    text = f"asked, spent: denoiser evaluations; two samples of {of}: {_floor(row)}"
    if data := _floor(row, "data_"):
        text += f"; of the data: {data}"
    if row.reference.kind != EXACT_FLOW:
        text += f"; flow error: to a {row.reference.kind}, itself off by {row.reference.error:.1e}"
    return text


def _floor(row: Row, kind: str = "") -> str:
    from steinlab.metrics import METRICS

    found = ((metric.title, row.floor.get(kind + name)) for name, metric in METRICS.items())
    return ", ".join(f"{title} {plus_minus(e.value, e.error)}" for title, e in found if e)


def _best(block: list[Row], name: str) -> float:
    found = (row.measured[name] for row in block)
    return min((entry.value for entry in found if entry is not None), default=float("nan"))


def _cells(row: Row, best: dict[str, float]) -> list[str]:
    from steinlab.solvers.base import noises

    cells = [row.solver.label, escape(row.correction.label)]
    if row.stopped:
        return [*cells, "[red]stopped[/]", *[""] * (len(best) - 1)]
    for name, value in best.items():
        entry = row.measured[name]
        absent = "by law" if noises(row.solver.solver) and name in FLOW else ""
        text = absent if entry is None else plus_minus(entry.value, entry.error)
        cells.append(f"[bold green]{text}[/]" if entry and entry.value == value else text)
    return cells


def _coefficients(rows: list[Row]) -> Table:
    """The coefficients applied, step by step, with the raw estimate where it was not applied."""
    columns = ("asked", "solver", "correction", "gamma")
    title = "gamma and other moves, step by step"
    table = new_table(title, columns, left=columns, box=box.SIMPLE_HEAD)
    for asked, group in itertools.groupby(rows, key=lambda row: row.asked):
        first = str(asked)
        for row in group:
            steps = "  ".join(_gamma(done) for done in row.coefficients)
            stop = f"  [red]{escape(row.stopped)}[/]" if row.stopped else ""
            table.add_row(first, row.solver.label, escape(row.correction.label), steps + stop)
            first = ""
        table.add_section()
    return table


def _gamma(done: Diagnostics) -> str:
    """The coefficient of the residual and, beside it, the moves along other directions."""
    others = [f" {k} {c:+.3g}" for k, c in done.move.items() if c and k != "residual"]
    raw = done.estimate if not others else None
    told = "" if raw is None or raw.value == done.gamma else f" (raw {raw.value:.3g})"
    return f"{done.gamma:.3g}" + told + "".join(others)
