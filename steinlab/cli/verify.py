"""``steinlab verify``: judge claims and write the ledger."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from steinlab.cli.output import (
    JsonOption,
    WorkersOption,
    show,
    whole_number,
    worker_count,
    write_json,
)
from steinlab.errors import InputError, Interrupted, one_of
from steinlab.storage import MAX_SEED, check_target, make_folder, read_json

if TYPE_CHECKING:
    from steinlab.verification.shards import Shards

COLOURS = {
    "proved": "bold green",
    "certified": "bold green",
    "holds": "green",
    "conditional": "yellow",
    "refuted": "red",
    "not-reproduced": "magenta",
    "not-run": "dim",
}


FilesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FILE.py]...", help="Files whose claims are judged; by default none."),
]
ProfileOption = Annotated[str, typer.Option(help="quick or full.")]
ClaimsOption = Annotated[
    str | None,
    typer.Option(metavar="ID,ID", help="Claims to judge; by default all, or all of the files."),
]
OnlyOption = Annotated[
    str | None,
    typer.Option(
        metavar="ID,ID",
        help="Subjects to judge the claims on, solvers of other packages too (solver-order).",
    ),
]
FolderOption = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="Write ledger.json and a replayable case a claim: the worst, or the smallest that "
        "violates it.",
    ),
]
ExpectOption = Annotated[
    str | None, typer.Option(metavar="FILE", help="JSON of id and verdict that must come out.")
]
SeedOption = Annotated[str, typer.Option(metavar="N")]
TracebackOption = Annotated[
    bool, typer.Option("--traceback", help="Print the whole traceback of a check that crashed.")
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Use the workers of this Dask scheduler."),
]


def verify(  # noqa: PLR0917
    files: FilesArgument = None,
    profile: ProfileOption = "quick",
    claims: ClaimsOption = None,
    only: OnlyOption = None,
    out: FolderOption = None,
    target: JsonOption = None,
    expect: ExpectOption = None,
    workers: WorkersOption = "auto",
    seed: SeedOption = "0",
    scheduler: SchedulerOption = None,
    traceback: TracebackOption = False,
) -> int:
    """Judge claims: evidence, controls, verdicts. Exit 1 when the laboratory is not trustworthy."""
    from steinlab.verification.claim import PROFILES
    from steinlab.verification.ledger import claim_ids, run
    from steinlab.verification.registry import chosen, narrowed
    from steinlab.verification.shards import Shards

    one_of("--profile", profile, PROFILES)
    wanted, known = chosen(files or [], claims, claim_ids())
    wanted = narrowed(wanted, only)
    count = worker_count(workers)
    number = whole_number(seed, "--seed", 0, MAX_SEED)
    check_target(target)
    folder = make_folder(out)
    expected = _expected(expect, known)
    shards = Shards(folder / "shards") if folder else None
    with _bar(len(wanted)) as advance:
        ledger = run(
            wanted,
            profile=profile,
            seed=number,
            workers=count,
            scheduler=scheduler,
            shards=shards,
            progress=advance,
        )
    write_json(target, ledger)
    _store(folder, ledger)
    show(*_report(ledger), *(_tables(ledger) if claims or files else ()), target=target)
    _tell_of_shards(ledger, shards, len(wanted), target)
    return _trusted(ledger, expected, traceback)


def _tell_of_shards(
    ledger: dict[str, Any], shards: Shards | None, wanted: int, target: str | None
) -> None:
    """Say what was reused, and after an interrupt what is kept."""
    if shards and shards.reused:
        checks = "check" if shards.reused == 1 else "checks"
        show(f"{shards.reused} finished {checks} reused from {shards.folder}", target=target)
    if ledger["interrupted"]:
        done = len(ledger["claims"])
        kept = f"; finished checks are in {shards.folder}" if shards else ""
        raise Interrupted(f"interrupted after {done} of {wanted} claims; those are kept{kept}")


def _trusted(ledger: dict[str, Any], expected: dict[str, str], traceback: bool) -> int:
    """Print what is wrong with the ledger; return the exit code."""
    from steinlab.verification.ledger import differences, faults

    problems = [*faults(ledger), *differences(ledger, expected)]
    for problem in problems:
        print(f"steinlab: {problem}", file=sys.stderr)
    crashes = [row["crash"] for row in ledger["claims"] if "crash" in row]
    if traceback:
        print(*crashes, sep="\n", end="", file=sys.stderr)
    elif crashes:
        print("steinlab: --traceback prints the whole traceback", file=sys.stderr)
    return 1 if problems else 0


def _expected(path: str | None, known: list[str]) -> dict[str, str]:
    if path is None:
        return {}
    from steinlab.verification.ledger import VERDICTS

    content = read_json(Path(path), "--expect")
    if not isinstance(content, dict):
        raise InputError(f"--expect must hold an object of claim ids and verdicts, got {path}")
    for claim_id, verdict in content.items():
        one_of("--expect claim", claim_id, known)
        one_of(f"--expect {claim_id}", str(verdict), VERDICTS)
    return content


class _bar:
    """A progress bar on stderr, where that is a terminal."""

    def __init__(self, total: int) -> None:
        console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.task = self.progress.add_task("judging claims", total=total)

    def __enter__(self) -> Any:
        self.progress.start()
        return self.advance

    def advance(self, claim_id: str, row: dict[str, Any]) -> None:  # noqa: ARG002
        """Count a claim that is judged."""
        self.progress.update(self.task, advance=1, description=f"judged {claim_id}")

    def __exit__(self, *error: object) -> None:
        self.progress.stop()


def _store(folder: Path | None, ledger: dict[str, Any]) -> None:
    if folder is None:
        return
    from steinlab.verification.ledger import stored_case

    write_json(str(folder / "ledger.json"), ledger)
    for row in ledger["claims"]:
        case = stored_case(row)
        if case:
            write_json(str(folder / f"{row['id']}.case.json"), case)


def _report(ledger: dict[str, Any]) -> list[Any]:
    from steinlab.report.words import contradicted, counts, grouped, not_looked_at

    rows = ledger["claims"]
    table = Table(title=f"Claims, {ledger['profile']} profile, seed {ledger['seed']}")
    for name, justify in (
        ("claim", "left"),
        ("whose", "left"),
        ("verdict", "left"),
        ("cases", "right"),
        ("undecided", "right"),
        ("nearest to limit", "right"),
        ("detects", "right"),
        ("on data", "right"),
        ("controls", "right"),
        ("s", "right"),
    ):
        whole = name in {"claim", "whose", "verdict"}  # the others wrap where there is no room
        table.add_column(name, justify=justify, no_wrap=whole)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*_cells(row))
    findings = Table(box=None, show_header=False, padding=(0, 1), title="Findings", min_width=60)
    findings.add_column(style="bold", no_wrap=True)
    findings.add_column()
    for line, group in zip(counts(rows), grouped(rows).values(), strict=True):
        findings.add_row("", f"[italic]{line}[/]")
        for row in (row for same in group.values() for row in same):
            broken = contradicted(row)
            lead = f"[red]{broken}:[/] " if broken else ""
            findings.add_row(row["id"], lead + escape(row["finding"]))
    cases = sum(row["cases"] for row in rows)
    rejected = sum(c["rejected"] for row in rows for c in row["controls"])
    controls = sum(len(row["controls"]) for row in rows)
    return [
        table,
        findings,
        *(escape(f"not looked at: {reason}; in {where}") for reason, where in not_looked_at(rows)),
        *counts(rows),
        f"{cases:,} cases and {rejected} of {controls} controls rejected "
        f"in {ledger['wall_seconds']:.0f} s",
    ]


def _tables(ledger: dict[str, Any]) -> list[Table]:
    """The tables of claims that were asked for by name."""
    out = []
    for content in (row.get("table") for row in ledger["claims"]):
        if content:
            table = Table(title=content["title"], title_justify="left")
            for i, column in enumerate(content["columns"]):
                table.add_column(column, justify="right" if i else "left")
            for cells in content["rows"]:
                table.add_row(*(str(cell) for cell in cells))
            out.append(table)
    return out


def _cells(row: dict[str, Any]) -> list[str]:
    from steinlab.report.words import SHORT, nearest, owner_of

    colour = COLOURS[row["verdict"]]
    verdict = f"[{colour}]{row['verdict']}[/]"
    if "crash" in row:
        return [row["id"], "", "[bold red]crashed[/]", *[""] * 6, f"{row['seconds']:.1f}"]
    real = sum(e["dataset_cases"] for e in row["evidence"])
    rejected = sum(c["rejected"] for c in row["controls"])
    words, _ = nearest(row)
    return [
        row["id"],
        SHORT[owner_of(row)],
        verdict,
        f"{row['cases']:,}",
        f"{row['undecided']:,}",
        f"[red]{words}[/]" if words.startswith("violated") else words,
        "" if row["detects"] is None else f"{row['detects']:.0e}",
        f"{real}" if real else "",
        f"{rejected} of {len(row['controls'])}",
        f"{row['seconds']:.1f}",
    ]
