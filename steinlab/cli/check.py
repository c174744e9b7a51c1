"""``steinlab check``: conformance of anyone's sampler, scheduler, denoiser, correction or law."""

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from steinlab.cli.output import (
    CsvOption,
    JsonOption,
    SchedulerOption,
    TexOption,
    WorkersOption,
    number_option,
    show,
    whole,
    write_json,
)
from steinlab.errors import InputError, one_of
from steinlab.storage import STDOUT, check_folder, check_target, write_text
from steinlab.storage.sheets import check_sheets, write_sheet

DEFAULT_OUT = "out/check"


def check(  # noqa: PLR0917
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="module:object or file.py:object.")
    ],
    order: Annotated[int | None, number_option(whole(1, 12), "Judge it by this order.")] = None,
    law: Annotated[bool, typer.Option("--law", help="It draws noise: judge it by law.")] = False,
    kind: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="KIND",
            help="step, loop, scheduler, velocity, denoiser, correction or law.",
        ),
    ] = None,
    xfail: Annotated[
        list[str] | None,
        typer.Option(metavar="CHECK=REASON", help="A failure that is expected; strict."),
    ] = None,
    target_json: JsonOption = None,
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the report as a page here.")
    ] = None,
    case: Annotated[
        str | None, typer.Option(metavar="FILE", help="Run one stored case again.")
    ] = None,
    out: Annotated[
        str, typer.Option(metavar="DIR", help="Where cases of failures go.")
    ] = DEFAULT_OUT,
    workers: WorkersOption = 1,
    scheduler: SchedulerOption = None,
    csv: CsvOption = None,
    tex: TexOption = None,
) -> int:
    """Check a sampler against exact laws; exit 1 if it does not conform."""
    from steinlab.testing.adapters import kind_of
    from steinlab.testing.check import report
    from steinlab.testing.checks import CHECKS
    from steinlab.testing.rows import sheet
    from steinlab.testing.subject import KINDS
    from steinlab.testing.targets import load_target, options_of
    from steinlab.workers import SerialExecutor, executor_for

    check_target(target_json)
    check_target(html, "--html")
    check_sheets(csv, tex)
    check_folder(out)
    found = load_target(target)
    if kind is not None:
        one_of("--as", kind, KINDS)
    chosen = kind or kind_of(found)
    if case is not None:
        return _again(found, chosen, Path(case), target_json)
    known = [one.id for one in CHECKS] if chosen in SAMPLERS else None
    expected = options_of(xfail, known or [one.partition("=")[0] for one in xfail or []])
    with executor_for(workers, scheduler) as executor:
        elsewhere = None if isinstance(executor, SerialExecutor) else (executor, target)
        name, head, rows = _judged(found, chosen, expected, order, law, elsewhere=elsewhere)
    head_json = {"version": 1, "target": target, "kind": chosen}
    text, first = report(head, rows), ""
    for row in (row for row in rows if row.verdict == "fails" and row.case):
        file = Path(out) / re.sub(r"[^\w-]+", "_", name) / f"{row.check}.json"
        first = first or f"\nReplay: steinlab check {target} --case {file}"
        declared = {"order": order, "law": law}
        write_json(
            file, {**head_json, "declared": declared, "case": dict(row.case), "row": row.as_json()}
        )
    print(text + first, file=sys.stderr if target_json == STDOUT else sys.stdout)
    write_json(target_json, {**head_json, "rows": [row.as_json() for row in rows]})
    write_sheet(sheet(head, rows), csv, tex)
    if html is not None:
        from steinlab.testing.page import page

        write_text(Path(html), page(head, rows))
    return int(any(row.verdict in ("fails", "passes-unexpectedly") for row in rows))


SAMPLERS = ("step", "loop", "scheduler", "velocity", "solver")


def _judged(
    found: Any, kind: str, xfail: dict[str, str], order: int | None, law: bool, *, elsewhere: Any
) -> tuple[str, str, list[Any]]:
    from steinlab.testing.adapters import as_subject
    from steinlab.testing.check import NOUNS, rows_of, said
    from steinlab.testing.components import check_correction, check_denoiser
    from steinlab.testing.laws import check_law
    from steinlab.testing.rows import ConformanceError

    if kind in SAMPLERS:
        subject = as_subject(found, kind)
        rows = rows_of(found, kind=kind, order=order, law=law, xfail=xfail, elsewhere=elsewhere)
        return subject.name, f"{subject.name} · {NOUNS[subject.kind]}{said(order, law)}", rows
    judges: dict[str, Any] = {
        "denoiser": check_denoiser,
        "correction": check_correction,
        "law": check_law,
    }
    try:
        rows = judges[kind](found, xfail=xfail)
    except ConformanceError as error:
        rows = list(error.rows)
    name = str(getattr(found, "__name__", type(found).__name__))
    return name, f"{name} · {NOUNS[kind]}", rows


def _again(found: Any, kind: str, file: Path, target: str | None) -> int:
    """Run a stored case again; exit 1 if a digit differs."""
    from steinlab.storage.schemas import read_stored
    from steinlab.testing.adapters import as_subject
    from steinlab.testing.check import rows_of
    from steinlab.testing.rows import table

    obj = read_stored(file, "failure", "CASE")
    if kind not in SAMPLERS:
        raise InputError(f"CASE must be one of a sampler, got a {kind}")
    declared, only = obj["declared"], obj["case"]["check"]
    rows = rows_of(
        as_subject(found, kind),
        order=declared.get("order"),
        law=declared.get("law", False),
        seed=obj["case"]["seed"],
        only=[only],
    )
    if not rows:
        raise InputError(f"case.check must be one that TARGET has, got {only}, in {file}")
    row = rows[0]
    now, then = row.as_json()["measured"], obj["row"].get("measured")
    same = now == then
    differs = f"NOT reproduced: {then} stored, {now} now"
    closing = "reproduced to the last digit" if same else differs
    show(Text(f"{table(rows)}\n\n{closing}"), target=target)
    write_json(target, {**row.as_json(), "reproduced": same})
    return int(not same)
