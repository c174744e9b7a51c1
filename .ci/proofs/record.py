"""Decide every statement on its whole box and have it checked: `record.py --workers N`.

Each run leaves its certificate and a line of its record in OUT (default out/proofs): a run that was
stopped goes on where it stopped, and an accepted one is not run again. The record of all finished
runs goes to docs/results/proofs.json, to the table of docs/prove-your-bound.md and to stdout.

    record.py --workers 16                    all runs
    record.py --workers 2 --only coefficient  those whose id holds this
    record.py --check-seconds 600             leave a check that takes longer, and say so
    record.py --report                        only gather what OUT holds

A run of which OUT holds nothing keeps the line that it had.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steinlab.verification.continuum.certificate import CertificateError, check, read, write
from steinlab.verification.continuum.search import Search, worst_point
from steinlab.verification.continuum.statement import load_statement, read_box, statement_ids
from steinlab.workers import executor_for

ROOT = Path(__file__).resolve().parent.parent.parent
RECORD = ROOT / "docs" / "results" / "proofs.json"
PAGE = ROOT / "docs" / "prove-your-bound.md"
BEGIN, END = "<!-- proofs: written by .ci/proofs/record.py -->\n", "<!-- end of proofs -->\n"


@dataclass(frozen=True)
class Run:
    """A statement on a box, and how many boxes are examined."""

    statement: str
    box: str | None
    budget: int

    @property
    def name(self) -> str:
        """Name of the files it leaves."""
        held = "" if self.box is None else "-" + self.box.replace("/", "_").replace("=", "-")
        return self.statement + held


RUNS = (
    Run("contraction-edm-euler", None, 4_000),
    Run("contraction-vp-euler", None, 4_000),
    Run("contraction-edm-heun", "weight=1/2", 8_000),
    Run("contraction-edm-heun", "weight=1/5", 8_000),
    Run("bound-edm-euler", None, 12_000),
    Run("coefficient-edm-heun", None, 2_000),
    Run("coefficient-edm-heun", "threshold=10", 2_000),
    Run("coefficient-edm-heun", "threshold=1000", 2_000),
    *(
        Run(name, None, 4_000 if name.endswith("-tangent") else 2_000)
        for name in statement_ids()
        if name.startswith("gain-")
    ),
    Run("ascent-two-modes", None, 6_000),
    Run("conditioning-vp-euler", None, 500_000),
    Run("hutchinson-two-modes", None, 100_000),
    Run("coefficient-vp-euler", None, 400_000),
    Run("coefficient-vp-euler", "threshold=10", 500_000),
    Run("coefficient-vp-euler", "threshold=1000", 500_000),
    Run("clip-neutral-flow", None, 8_000),
    Run("moment-exact-nearer", None, 30_000),
)
SAVE_SECONDS = 60.0


class TooLong(Exception):
    """A check that is left."""


def controls_of(run: Run) -> list[dict[str, Any]]:
    """Return each control with a point of the same box that refutes it, and what is measured there.

    No point stands where it is refuted nowhere, no value where a control has no measurement.
    """
    statement = load_statement(run.statement)
    box, found = read_box(statement, run.box), []
    for index, control in enumerate(statement.controls):
        search = Search(statement, box, index)
        for _ in search.run(min(run.budget, 20_000)):
            pass
        point = (worst_point(search) or (None, 0.0))[0]
        value = None if point is None or control.measure is None else control.measure(point)
        found.append({"name": control.name, "point": point, "value": value})
    return found


def refuted(control: dict[str, Any]) -> bool:
    """Return whether a control is refuted at its point, by what is measured if anything is."""
    return control["point"] is not None and (control["value"] is None or control["value"] < 0)


def searched(run: Run, file: Path, executor: Executor) -> tuple[Search, float]:
    """Search, going on from the file; return the search and the seconds of this call."""
    statement = load_statement(run.statement)
    search = Search(statement, read_box(statement, run.box))
    if file.exists():
        kept = read(file)
        search.restore(kept.root, kept.boxes)
    start = last = time.monotonic()
    for _ in search.run(run.budget, executor):
        if time.monotonic() - last > SAVE_SECONDS:
            write(file, search)
            last = time.monotonic()
    write(file, search)
    return search, time.monotonic() - start


def checked(file: Path, workers: int, most: float) -> dict[str, Any]:
    """Check a certificate; say what it found and the seconds it took."""
    start, shares = time.monotonic(), [0.0]

    def tell(share: float) -> None:
        shares.append(share)
        if time.monotonic() - start > most:
            raise TooLong

    try:
        with executor_for(workers) as executor:
            found = check(read(file), tell, executor)
        verdict: dict[str, Any] = {"check": "accepted", "checked": found.decided}
    except CertificateError as error:
        verdict = {"check": f"refused: {error}"}
    except TooLong:
        verdict = {"check": "not finished", "share": round(shares[-1], 4)}
    return verdict | {"check_seconds": round(time.monotonic() - start, 1)}


def done(run: Run, out: Path, workers: int, most: float) -> dict[str, Any]:
    """Return the record of a run, made anew if the run has changed or was not finished."""
    kept, certificate = out / f"{run.name}.record.json", out / f"{run.name}.json"
    asked, before = dataclasses.asdict(run), 0.0
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        if {key: found[key] for key in asked} == asked and found["check"] == "accepted":
            return found
        before = found["search_seconds"]
    with executor_for(workers) as executor:
        search, seconds = searched(run, certificate, executor)
    controls = controls_of(run)
    found = asked | {
        "boxes": search.spent,
        "proved": search.found.proved,
        "refuted": search.found.refuted,
        "undecided": max(0.0, 1 - search.found.decided),
        "controls_refuted": all(map(refuted, controls)),
        "controls": controls,
        "search_seconds": round(before + seconds, 1),
        "workers": workers,
    }
    found |= checked(certificate, workers, most)
    kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def table(record: list[dict[str, Any]]) -> str:
    """Return the page's table: a row per run, the gains as one row by their worst."""
    lines = [
        "| statement | box | boxes | decided | proved | search, s | check | check, s | processes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    gains = [one for one in record if one["statement"].startswith("gain-")]
    lines += [
        _row(f"`{one['statement']}`", one["box"] or "its own", [one])
        for one in record
        if one not in gains
    ]
    if gains:
        lines.append(_row(f"`gain-*`, the worst of {len(gains)}", "its own", gains))
    return "\n".join(lines) + "\n"


def _row(name: str, box: str, runs: list[dict[str, Any]]) -> str:
    """Return a row: the least share decided, never rounded up; seconds of all runs together."""
    worst = max(runs, key=lambda one: one["undecided"])
    most = 100.0 if worst["undecided"] <= 1e-9 else 99.99
    decided, proved = (
        min(math.floor(1e4 * share + 1e-5) / 1e2, most)
        for share in (1 - worst["undecided"], worst["proved"])
    )
    said = sorted({one["check"].partition(":")[0] for one in runs})
    search, check = (sum(one[f"{part}_seconds"] for one in runs) for part in ("search", "check"))
    return (
        f"| {name} | {box} | {max(one['boxes'] for one in runs):,} | {decided:.2f} % "
        f"| {proved:.2f} % | {search:.0f} | {', '.join(said)} | {check:.0f} "
        f"| {max(one['workers'] for one in runs)} |"
    )


def block(page: str, record: list[dict[str, Any]]) -> str:
    """Return the page with the record's table."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + BEGIN + table(record) + END + tail


def gathered(out: Path) -> list[dict[str, Any]]:
    """Return the record of each run: what OUT holds, else what was recorded before."""
    before = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else []
    kept = {(one["statement"], one["box"]): one for one in before}
    found = []
    for run in RUNS:
        file = out / f"{run.name}.record.json"
        if file.exists():
            found.append(json.loads(file.read_text(encoding="utf-8")))
        elif (run.statement, run.box) in kept:
            found.append(kept[run.statement, run.box])
    return found


def main() -> None:
    """Run what is asked for and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--check-seconds", type=float, default=1e9)
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "proofs")
    parser.add_argument("--report", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for run in RUNS:
        if not given.report and given.only in run.name:
            found = done(run, given.out, given.workers, given.check_seconds)
            print(json.dumps(found), file=sys.stderr, flush=True)
    record = gathered(given.out)
    text = json.dumps(record, indent=1) + "\n"
    RECORD.write_text(text, encoding="utf-8")
    PAGE.write_text(block(PAGE.read_text(encoding="utf-8"), record), encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
