"""``steinlab verify``: judge claims and write the ledger."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from steinlab.cli.output import (
    CLAIM_IDS,
    CsvOption,
    JsonOption,
    ProgressOption,
    SchedulerOption,
    SeedOption,
    TexOption,
    WorkersOption,
    id_option,
    progress_bar,
    show,
    styled,
    width,
    write_json,
)
from steinlab.cli.show import card_of, stored_ledger
from steinlab.errors import InputError, Interrupted, message, one_of
from steinlab.storage import STDOUT, check_target, in_file, make_folder
from steinlab.storage.schemas import read_stored
from steinlab.storage.sheets import check_sheets, write_sheet

if TYPE_CHECKING:
    from steinlab.verification.shards import Shards

OWN = "claims"
"""What ``--expect`` takes for the verdicts that the claims themselves expect."""


def verify(  # noqa: PLR0917
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE.py]...", help="Judge the claims of these files."),
    ] = None,
    profile: Annotated[str, typer.Option(help="quick or full.")] = "quick",
    claims: Annotated[
        str | None,
        id_option(
            CLAIM_IDS, "Judge these claims; by default all, or all of the files.", metavar="ID,ID"
        ),
    ] = None,
    only: Annotated[
        str | None,
        id_option(
            "steinlab.solvers:SOLVER_IDS",
            "Judge solver-order on these solvers alone, other packages' too.",
            metavar="ID,ID",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Write ledger.json and a replayable case per claim: the worst, or the smallest "
            "that violates it.",
        ),
    ] = None,
    target: JsonOption = None,
    expect: Annotated[
        str | None,
        typer.Option(
            metavar="claims|FILE",
            help="Exit 1 unless the verdicts come out that the claims themselves expect, or those "
            "of this JSON, by id.",
        ),
    ] = None,
    workers: WorkersOption = "auto",
    seed: SeedOption = 0,
    scheduler: SchedulerOption = None,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Print the whole traceback of a check that crashed.")
    ] = False,
    list_them: Annotated[
        bool, typer.Option("--list", help="Name the claims, one per line, and stop.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only what is not as it should be.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print the card of every claim.")
    ] = False,
    silent: ProgressOption = False,
    csv: CsvOption = None,
    tex: TexOption = None,
) -> int:
    """Judge claims: evidence, controls, verdicts. Exit 1 when the laboratory is not trustworthy."""
    from steinlab.report.terminal import overview, sheet
    from steinlab.verification.claim import PROFILES
    from steinlab.verification.ledger import claim_ids, run
    from steinlab.verification.registry import chosen, narrowed
    from steinlab.verification.shards import Shards

    one_of("--profile", profile, PROFILES)
    wanted, known = chosen(files or [], claims, claim_ids())
    wanted = narrowed(wanted, only)
    shown = {"--list": list_them, "--quiet": quiet, "--verbose": verbose}
    if sum(shown.values()) > 1:
        one, other = [name for name, on in shown.items() if on][-2:]
        raise InputError(f"{one} must be given without {other}, got both")
    if list_them:
        _list(wanted)
        return 0
    check_target(target)
    check_sheets(csv, tex)
    folder = None if out is None else make_folder(out)
    expected = _expected(expect, known) if expect != OWN else None
    shards = Shards(folder / "shards") if folder else None
    judged = itertools.count(1)
    with progress_bar(silent or quiet) as tell:

        def count(name: str, _row: object) -> None:
            done, total = next(judged), len(wanted)
            tell(done / total, f"{done} of {total} claims judged, the last of them {name}")

        ledger = run(
            wanted,
            profile=profile,
            seed=seed,
            workers=workers,
            scheduler=scheduler,
            shards=shards,
            progress=count,
        )
    write_json(target, ledger)
    write_sheet(sheet(ledger), csv, tex)
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
        print(f"steinlab: {message(problem)}", file=sys.stderr)
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
    from steinlab.verification.registry import LIST

    content: dict[str, str] = read_stored(Path(path), "expect", "--expect")
    with in_file(Path(path)):
        for claim_id, verdict in content.items():
            one_of("--expect claim", claim_id, known, LIST)
            one_of(f"--expect {claim_id}", verdict, VERDICTS)
    return content


def _list(names: Sequence[str]) -> None:
    """Print one id per line with its headline, folded where the terminal's width is known."""
    from steinlab.report.terminal import answer, entry
    from steinlab.report.words import headlines
    from steinlab.verification.registry import load_claim

    columns, shipped = width(unknown=10_000), headlines()
    rows = {row["id"]: row for row in (stored_ledger(None) or {"claims": []})["claims"]}
    for claim in map(load_claim, names):
        own = claim.title if "{" in claim.headline else claim.headline or claim.title
        said = answer(rows[claim.id]) if claim.id in rows else shipped.get(claim.id, own)
        print(*entry(claim.id, said, columns, lead=""), sep="\n")


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
