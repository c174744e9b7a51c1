"""``steinlab verify``: judge claims and write the ledger."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from steinlab.cli.output import (
    CLAIM_IDS,
    JsonOption,
    ProgressOption,
    SeedOption,
    WorkersOption,
    id_option,
    progress_bar,
    show,
    styled,
    width,
    write_json,
)
from steinlab.cli.show import card_of, stored_ledger
from steinlab.errors import InputError, Interrupted, one_of
from steinlab.storage import STDOUT, check_target, make_folder, read_json

if TYPE_CHECKING:
    from steinlab.verification.shards import Shards

OWN = "claims"
"""What ``--expect`` takes for the verdicts that the claims themselves expect."""

FilesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FILE.py]...", help="Judge the claims of these files."),
]
ProfileOption = Annotated[str, typer.Option(help="quick or full.")]
ClaimsOption = Annotated[
    str | None,
    id_option(
        CLAIM_IDS, "Judge these claims; by default all, or all of the files.", metavar="ID,ID"
    ),
]
OnlyOption = Annotated[
    str | None,
    id_option(
        "steinlab.solvers:SOLVER_IDS",
        "Judge solver-order on these solvers alone, other packages' too.",
        metavar="ID,ID",
    ),
]
FolderOption = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="Write ledger.json and a replayable case per claim: the worst, or the smallest that "
        "violates it.",
    ),
]
ExpectOption = Annotated[
    str | None,
    typer.Option(
        metavar="claims|FILE",
        help="Exit 1 unless the verdicts come out that the claims themselves expect, or those of "
        "this JSON, by id.",
    ),
]
ListOption = Annotated[
    bool, typer.Option("--list", help="Name the claims, one per line, and stop.")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only what is not as it should be.")
]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print the card of every claim.")
]
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
    seed: SeedOption = 0,
    scheduler: SchedulerOption = None,
    traceback: TracebackOption = False,
    list_them: ListOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    silent: ProgressOption = False,
) -> int:
    """Judge claims: evidence, controls, verdicts. Exit 1 when the laboratory is not trustworthy."""
    from steinlab.report.terminal import overview
    from steinlab.verification.claim import PROFILES
    from steinlab.verification.ledger import claim_ids, run
    from steinlab.verification.registry import chosen, narrowed
    from steinlab.verification.shards import Shards

    one_of("--profile", profile, PROFILES)
    wanted, known = chosen(files or [], claims, claim_ids())
    wanted = narrowed(wanted, only)
    if list_them:
        _list(wanted)
        return 0
    if quiet and verbose:
        raise InputError("--quiet must be given without --verbose, got both")
    check_target(target)
    folder = make_folder(out)
    expected = _expected(expect, known) if expect != OWN else None
    shards = Shards(folder / "shards") if folder else None
    judged = itertools.count(1)
    with progress_bar(silent or quiet) as tell:
        ledger = run(
            wanted,
            profile=profile,
            seed=seed,
            workers=workers,
            scheduler=scheduler,
            shards=shards,
            progress=lambda name, _: _count(tell, next(judged), len(wanted), name),
        )
    write_json(target, ledger)
    _store(folder, ledger)
    if not quiet:
        lines = [*overview(ledger, width(target)), _closing(folder, target, files=bool(files))]
        cards = map(card_of, ledger["claims"]) if verbose else ()
        show(*map(styled, lines), *itertools.chain.from_iterable(cards), target=target)
    _tell_of_shards(ledger, shards, len(wanted), target)
    return _trusted(ledger, expected, traceback)


def _tell_of_shards(
    ledger: dict[str, Any], shards: Shards | None, wanted: int, target: str | None
) -> None:
    """Say what was reused, and after an interrupt what is kept."""
    if shards and shards.reused:
        checks = "check" if shards.reused == 1 else "checks"
        show(Text(f"{shards.reused} finished {checks} reused from {shards.folder}"), target=target)
    if ledger["interrupted"]:
        done = len(ledger["claims"])
        kept = f"; finished checks are in {shards.folder}" if shards else ""
        raise Interrupted(f"interrupted after {done} of {wanted} claims; those are kept{kept}")


def _trusted(ledger: dict[str, Any], expected: dict[str, str] | None, traceback: bool) -> int:
    """Print what is wrong with the ledger; return the exit code."""
    from steinlab.verification.ledger import differences, faults

    if expected is None:
        expected = {row["id"]: row["expected"] for row in ledger["claims"] if row["expected"]}
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


def _count(tell: Callable[[float, str], None], done: int, total: int, name: str) -> None:
    tell(done / total, f"{done} of {total} claims judged, the last of them {name}")


def _list(names: Sequence[str]) -> None:
    """Print one id per line, with its headline where ledger.json lies here, or its title."""
    from steinlab.report.terminal import answer
    from steinlab.verification.registry import load_claim

    claims = [load_claim(name) for name in names]
    rows = {row["id"]: row for row in (stored_ledger(None) or {"claims": []})["claims"]}
    longest = max(len(claim.id) for claim in claims)
    for claim in claims:
        said = answer(rows[claim.id]) if claim.id in rows else claim.title
        print(f"{claim.id:{longest}}  {said}")


def _store(folder: Path | None, ledger: dict[str, Any]) -> None:
    if folder is None:
        return
    from steinlab.verification.ledger import stored_case

    write_json(str(folder / "ledger.json"), ledger)
    for row in ledger["claims"]:
        case = stored_case(row)
        if case:
            write_json(str(folder / f"{row['id']}.case.json"), case)


def _closing(folder: Path | None, target: str | None, *, files: bool) -> str:
    """Where the ledger lies, and what to type next."""
    to_file = target if target != STDOUT else None
    written = to_file or (str(folder / "ledger.json") if folder else "")
    lead, where = (f"written to {written}; ", f" --ledger {written}") if written else ("", "")
    name = "FILE.py::CLAIM" if files else "CLAIM"
    return f"{lead}steinlab show {name}{where} tells more; steinlab report{where} draws it"
