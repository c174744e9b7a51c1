"""``steinlab certify``: prove or refute a statement on every point of a box."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from steinlab.cli.output import (
    JsonOption,
    ProgressOption,
    SchedulerOption,
    WorkersOption,
    completing,
    number_option,
    progress_bar,
    show,
    whole,
    write_json,
)
from steinlab.errors import InputError, Interrupted, quote
from steinlab.storage import check_target

if TYPE_CHECKING:
    from steinlab.verification.continuum.search import Found, Search

MAX_BUDGET = 10**8

SAVE_SECONDS = 20.0
"""How much of a search a killed process may lose; an interrupt loses nothing."""

IDS = "steinlab.verification.continuum.statement:statement_ids"


def certify(  # noqa: PLR0915, PLR0917
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[CLAIM]",
            help="Id of a statement or of a claim in the short form, or my.py::my_claim.",
            autocompletion=completing(IDS),
        ),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="List the statements.", show_default=False)
    ] = False,
    box: Annotated[
        str | None,
        typer.Option(metavar="NAME=LOW:HIGH,...", help="Sides of the box; NAME=VALUE holds one."),
    ] = None,
    budget: Annotated[
        int,
        number_option(whole(1, MAX_BUDGET), "Examine this number of boxes, of earlier runs too."),
    ] = 20_000,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the certificate here; continue it.")
    ] = None,
    workers: WorkersOption = 1,
    scheduler: SchedulerOption = None,
    target: JsonOption = None,
    silent: ProgressOption = False,
) -> int:
    """Prove or refute a statement on every point of a box; exit 1 if a control is not refuted."""
    from steinlab.verification.continuum.certificate import CertificateError, case_of, read, write
    from steinlab.verification.continuum.search import Search, worst_point
    from steinlab.verification.continuum.statement import load_statement, read_box, statement_ids
    from steinlab.workers import executor_for

    if listed:
        typer.echo(_listed())
        return 0
    if name is None:
        raise InputError(
            "CLAIM must be the id of a statement, got none; see steinlab certify --list"
        )
    statement = load_statement(name)
    wanted = read_box(statement, box)
    check_target(target)
    check_target(out, "--out")
    search = Search(statement, wanted)
    file = None if out is None else Path(out)
    if file is not None and file.exists():
        try:
            kept = read(file, "--out")
        except CertificateError as error:
            raise InputError(
                f"--out must be a certificate or a new file, got {file}: {error}"
            ) from None
        if (kept.statement.id, kept.box) != (statement.id, wanted):
            raise InputError(f"--out must be of this statement and box, got {file}, of another")
        search.restore(kept.root, kept.boxes)

    def save() -> None:
        if file is not None:
            write(file, search)

    own = statement.id not in statement_ids()
    with executor_for(workers, scheduler) as executor:
        try:
            stopped = _run(search, budget, executor, silent, save)
        except BaseException:
            save()
            raise
        controls = [] if stopped or not own else _controls(search, budget, executor)
    save()
    if stopped:
        kept_in = f"; {out} continues it" if out else "; --out FILE would have kept it"
        raise Interrupted(f"interrupted after {search.spent} of {budget} boxes{kept_in}")
    if search.found.decided == 0:
        raise InputError(
            f"--budget must decide a box of {statement.id}, got {budget}: none is decided"
        )
    worst = worst_point(search)
    case = None if worst is None else case_of(statement, worst[0])
    unmeasured = case is not None and not math.isfinite(case["value"])
    found = search.found
    write_json(
        target,
        {
            "statement": statement.id,
            "boxes": found.spent,
            "proved": found.proved,
            "refuted": found.refuted,
            "undecided": max(0.0, 1 - found.decided),
            "case": None if unmeasured else case,
            **({"controls": controls} if own else {}),
        },
    )
    idle = [one["name"] for one in controls if not _refuted(one)]
    verdict = f"{statement.title}: {_share(found)} after {found.spent} boxes"
    lines = ["; ".join([verdict, *(f"control {one} refuted nowhere" for one in idle)])]
    lines += [f"  proved:  {statement.says}", f"  refuted: {statement.fails}"]
    if case is not None:
        at = ", ".join(f"{key} {value:g}" for key, value in case["point"].items())
        measured = "no number there" if unmeasured else f"measured {case['value']:.6g}"
        lines.append(f"  refuted most at {at}: {measured}")
    lines += [f"  {_told(one)}" for one in controls]
    if out:
        lines.append(f"written to {quote(out)}; steinlab check-certificate checks it")
    show(Text("\n".join(lines)), target=target)
    return 1 if idle else 0


def _controls(search: Search, budget: int, executor: Executor) -> list[dict[str, Any]]:
    """Look for a point that refutes each control of a claim, and measure it."""
    from steinlab.verification.continuum.search import Search, worst_point

    out = []
    for index, control in enumerate(search.statement.controls):
        own = Search(search.statement, search.box, index)
        for _ in own.run(budget, executor):
            pass
        point = (worst_point(own) or (None, 0.0))[0]
        value = None if point is None or control.measure is None else control.measure(point)
        value = value if value is None or math.isfinite(value) else None
        out.append({"name": control.name, "point": point, "value": value})
    return out


def _refuted(control: Mapping[str, Any]) -> bool:
    """Return whether a control was refuted by what was measured."""
    return control["value"] is not None and control["value"] < 0


def _told(control: Mapping[str, Any]) -> str:
    """Return what a control of a claim came to."""
    if not _refuted(control):
        return f"control {control['name']}: refuted nowhere in this box, which may be too small"
    at = ", ".join(f"{key} {value:g}" for key, value in control["point"].items())
    return f"control {control['name']}: refuted at {at}, measured {control['value']:.6g}"


def _listed() -> str:
    from steinlab.verification.continuum.statement import load_statement, statement_ids

    lines = []
    for one in map(load_statement, statement_ids()):
        sides = ", ".join(
            f"{p.name} {float(p.low):g}" + (f":{float(p.high):g}" if p.low < p.high else "")
            for p in one.parameters
        )
        lines.append(f"{one.id:<28} {one.title}; {sides}")
    return "\n".join(lines)


def _run(
    search: Search, budget: int, executor: Executor, silent: bool, save: Callable[[], Any]
) -> bool:
    """Search, showing the share decided; return whether the user stopped it."""
    last = time.monotonic()
    with progress_bar(silent) as tell:
        try:
            for found in search.run(budget, executor):
                tell(min(found.spent / budget, 1.0), f"{found.spent} boxes: {_share(found)}")
                if time.monotonic() - last > SAVE_SECONDS:
                    save()
                    last = time.monotonic()
        except KeyboardInterrupt:
            return True
    return False


def _share(found: Found) -> str:
    """Return the shares in words: what is decided never rounds up to all, nor the rest to none."""
    rest = max(0.0, 1 - found.decided)
    left = "under 0.01%" if 0 < rest < 1e-4 else f"{rest:.2%}"
    parts = {"decided": found.decided, "proved": found.proved, "refuted": found.refuted}
    said = [f"{_down(part):.2%} {name}" for name, part in parts.items()]
    return f"{', '.join(said)}, {left} undecided"


def _down(share: float) -> float:
    """Return a share rounded down to 0.01 %, up to the rounding of its own sum."""
    return math.floor(1e4 * share + 1e-8) / 1e4
