"""``steinlab verify``: judge claims and write the ledger."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from steinlab.cli.output import (
    JsonOption,
    WorkersOption,
    show,
    styled,
    whole_number,
    width,
    worker_count,
    write_json,
)
from steinlab.errors import InputError, Interrupted, one_of
from steinlab.storage import MAX_SEED, STDOUT, check_target, make_folder, read_json

if TYPE_CHECKING:
    from steinlab.verification.shards import Shards

FilesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FILE.py]...", help="Files whose claims are judged; by default none."),
]
ProfileOption = Annotated[str, typer.Option(help="quick or full.")]
ClaimsOption = Annotated[
    str | None,
    typer.Option(metavar="ID,ID", help="Claims to judge; by default all, or all of the files."),
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
    out: FolderOption = None,
    target: JsonOption = None,
    expect: ExpectOption = None,
    workers: WorkersOption = "auto",
    seed: SeedOption = "0",
    scheduler: SchedulerOption = None,
    traceback: TracebackOption = False,
) -> int:
    """Judge claims: evidence, controls, verdicts. Exit 1 when the laboratory is not trustworthy."""
    from steinlab.report.terminal import overview
    from steinlab.verification.claim import PROFILES
    from steinlab.verification.ledger import claim_ids, run
    from steinlab.verification.registry import chosen
    from steinlab.verification.shards import Shards

    one_of("--profile", profile, PROFILES)
    wanted, known = chosen(files or [], claims, claim_ids())
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
    show(*map(styled, overview(ledger, width(target))), _closing(folder, target), target=target)
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


def _closing(folder: Path | None, target: str | None) -> str:
    """Where the ledger lies, and what to type next."""
    to_file = target if target != STDOUT else None
    written = to_file or (str(folder / "ledger.json") if folder else "")
    lead = f"written to {written}; " if written else ""
    return f"{lead}steinlab show CLAIM tells more; steinlab report draws it"
