"""``steinlab show``: the card of one claim, or the list of all."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.table import Table

from steinlab.cli import output
from steinlab.errors import InputError, message, one_of
from steinlab.storage import check_target

LEDGER = Path("ledger.json")
"""The ledger that is read where none is named, if it lies here."""

ROWS = 20
"""Rows of a table that a card shows."""


def show(
    claim: Annotated[
        str | None,
        typer.Argument(metavar="[CLAIM]", help="An id, or my.py::NAME; by default the list."),
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Ledger to read; by default ledger.json, if it lies here."
        ),
    ] = None,
    target: output.JsonOption = None,
) -> int:
    """Show what a claim says, what came out and by which evidence; judge it if no ledger has it."""
    check_target(target)
    path = Path(ledger) if ledger is not None else LEDGER
    stored = stored_ledger(ledger)
    if claim is None:
        if target is not None:
            raise InputError("--json must come with a CLAIM, got none")
        output.show(*map(output.styled, _list(stored, output.width())))
        return 0
    return _show(claim, stored, path, target)


def stored_ledger(path: str | None) -> Mapping[str, Any] | None:
    """Read a ledger, or without a name ledger.json where it lies here."""
    from steinlab.report.page import read_ledger

    return read_ledger(Path(path or LEDGER)) if path is not None or LEDGER.is_file() else None


def _list(stored: Mapping[str, Any] | None, width: int) -> Iterator[str]:
    """The lines of a ledger, or all registered claims with their titles."""
    from steinlab.report.terminal import listing, overview
    from steinlab.verification.registry import claim_ids, load_claim, part_of

    if stored is not None:
        return overview(stored, width)
    claims = map(load_claim, claim_ids())
    rows = [{"id": c.id, "title": c.title, "owner": c.owner, "part": part_of(c.id)} for c in claims]
    return listing(rows, width)


def _show(claim: str, stored: Mapping[str, Any] | None, path: Path, target: str | None) -> int:
    from steinlab.verification import registry
    from steinlab.verification.ledger import faults, judge_by_id

    name = registry.only(claim)
    where = registry.provenance(name).get("file")
    rows = stored["claims"] if stored is not None else []
    row = next(
        (r for r in rows if r["id"] == registry.id_of(name) and r.get("file") == where), None
    )
    found = f"from {path}"
    if row is None:
        if where is None:
            one_of("CLAIM", name, registry.claim_ids(), registry.LIST)
        found, row = "judged now, quick profile, seed 0", dict(judge_by_id(name, "quick", 0))
    case = path.parent / f"{row['id']}.case.json"
    output.write_json(target, row)
    output.show(*card_of(row, found, case if case.is_file() else None), target=target)
    problems = faults({"claims": [row]})
    for problem in problems:
        print(f"steinlab: {message(problem)}", file=sys.stderr)
    return 1 if problems else 0


def card_of(
    row: Mapping[str, Any], found: str = "judged now", case: Path | None = None
) -> list[RenderableType]:
    """Return the card of a row; ``found`` says where it comes from, ``case`` its stored case."""
    from steinlab.report.figures import figures_of
    from steinlab.report.terminal import card

    where = row.get("file")
    given = f"{where['path']} --claims {row['id']}" if where else f"--claims {row['id']}"
    replay = f"steinlab verify {given} --out out; steinlab replay out/{row['id']}.case.json"
    lines = card(
        row,
        figures=figures_of(row["id"]),
        replay=f"steinlab replay {case}" if case else replay,
        command=f"steinlab verify {given} ({found})",
        width=output.width(),
    )
    return [*map(output.styled, lines), *_table(row)]


def _table(row: Mapping[str, Any]) -> list[Table]:
    content = row.get("table")
    if not content:
        return []
    more = len(content["rows"]) - ROWS
    caption = f"{more} more rows: --json -, or steinlab report" if more > 0 else None
    columns = content["columns"]
    table = output.new_table(content["title"], columns, left=columns[:1], caption=caption)
    for cells in content["rows"][:ROWS]:
        table.add_row(*(str(cell) for cell in cells))
    return [table]
