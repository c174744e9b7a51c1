"""The report: one self-contained HTML page of a ledger, its findings and its figures."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from steinlab.report.words import (
    MEANING,
    SHORT,
    WHOSE,
    Row,
    attacked,
    case_name,
    contradicted,
    counted,
    counts,
    grouped,
    labels,
    mathml,
    meaning,
    measured,
    nearest,
    not_looked_at,
    number,
    owner_of,
    rejected,
    rerun,
)
from steinlab.storage.html import render
from steinlab.storage.schemas import read_stored
from steinlab.verification.ledger import stored_case

COLUMNS = (
    ("claim", "text"),
    ("verdict", "text"),
    ("cases", "number"),
    ("nearest to limit", "number"),
    ("controls", "number"),
    ("whose", "text"),
)


ASSETS = ("page.html", "page.css", "page.js")

ABSENT: Row = {
    **dict.fromkeys(("headline", "tried", "kind"), ""),
    **dict.fromkeys(("latex", "conditions", "numbers"), ()),
    **dict.fromkeys(("cases", "undecided", "detects", "worst", "table")),
}
"""What a row holds where an older ledger says nothing."""


@dataclass(frozen=True)
class Picture:
    """A rendered figure: its name, what it shows, the claims it illustrates, the PNG."""

    name: str
    title: str
    claims: frozenset[str]
    png: bytes

    @classmethod
    def read(cls, folder: Path, name: str) -> Picture:
        """Read what ``steinlab figures`` wrote."""
        record = read_stored(folder / f"{name}.json", "figure", name)
        png = (folder / f"{name}.png").read_bytes()
        return cls(name, record["title"], frozenset(record["claims"]), png)

    @property
    def data(self) -> str:
        """The picture as base64 digits."""
        return base64.b64encode(self.png).decode("ascii")


def read_ledger(path: Path) -> dict[str, Any]:
    """Read a ledger; raise ``InputError`` unless it conforms to the schema that ships."""
    ledger: dict[str, Any] = read_stored(path, "ledger", "--ledger")
    return ledger


TITLE = "Which claims on diffusion-ODE solvers hold?"
SUBTITLE = (
    "Each claim with what was found, the evidence, the controls that had to be rejected and the "
    "worst case."
)


def page(
    ledger: Mapping[str, Any],
    pictures: Sequence[Picture] = (),
    title: str = TITLE,
    subtitle: str = SUBTITLE,
) -> str:
    """Return the report as HTML: no script, style, font or picture from anywhere else.

    Parameters
    ----------
    ledger : mapping
        Of version 1, as ``steinlab verify --json`` writes it.
    pictures : sequence of Picture
    title, subtitle : str
        What the page asks, and what it shows.
    """
    assets = {one: (files("steinlab.report") / one).read_text("utf-8") for one in ASSETS}
    given: list[Row] = [{**ABSENT, **row} for row in ledger["claims"]]
    rows = [row for by in grouped(given).values() for group in by.values() for row in group]
    verdicts = [row["verdict"] for row in rows]
    return render(
        assets["page.html"],
        assets["page.css"],
        assets["page.js"],
        ledger=ledger,
        rows=rows,
        ids={row["id"] for row in rows},
        title=title,
        subtitle=subtitle,
        opening=_opening(ledger, rows),
        chips=[(v, MEANING[v], verdicts.count(v)) for v in MEANING if v in verdicts],
        findings=_findings(rows),
        left_out=not_looked_at(rows),
        columns=COLUMNS,
        worst={row["id"]: stored_case(row) for row in rows if row["worst"]},
        pictures=pictures,
        provenance={
            "profile": ledger.get("profile"),
            "seed": ledger.get("seed"),
            "wall time": f"{ledger.get('wall_seconds', '-')} s",
            **ledger.get("environment", {}),
        },
        whose=WHOSE,
        short=SHORT,
        **{one.__name__.lstrip("_"): one for one in SAID},
    )


def _findings(rows: Sequence[Row]) -> list[tuple[str, str, Mapping[str, Sequence[Row]]]]:
    """Return every owner, how many of whose claims came to which verdict, and the rows by it."""
    lines = zip(grouped(rows).items(), counts(rows), strict=True)
    return [(who, line.removeprefix(f"{WHOSE[who]}: "), by) for (who, by), line in lines]


def _opening(ledger: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, str]:
    """Return the lines that the page opens with: answer, date, commit, how to rerun."""
    about, verdicts = ledger.get("environment", {}), [row["verdict"] for row in rows]
    found = [counted(verdicts.count(one), one) for one in MEANING if one in verdicts]
    cases = sum(row["cases"] or 0 for row in rows)
    tried = f"{number(cases)} cases, {rejected(rows)} controls rejected"
    noun = "claim" if len(rows) == 1 else "claims"
    return {
        "Answer": f"{len(rows)} {noun}: {', '.join(found)} ({tried})",
        "Date": str(about.get("date", "not recorded")),
        "Code": f"steinlab {about.get('steinlab', '-')}"
        + (f", commit {about['commit']}" if about.get("commit") else ""),
        "Rerun": f"{rerun(ledger)} --json ledger.json && steinlab report",
    }


def _said(row: Row) -> str:
    """Return what was found, in a sentence; an older ledger has only the finding."""
    return str(row["headline"] or row["finding"])


def _sentence(text: str) -> str:
    return text if text.endswith(".") else text + "."


def _cells(row: Row) -> list[tuple[str, str, Any]]:
    """Return the columns of a row: name, what it shows, what it is sorted by."""
    words, share = nearest(row)
    owner = owner_of(row)
    cells = (
        ("", row["title"]),
        ("", row["verdict"]),
        (number(row["cases"]), row["cases"] or 0),
        (words, share if math.isfinite(share) else 1e308),
        (rejected([row]), len(row["controls"])),
        (SHORT[owner], owner),
    )
    return [(name, *cell) for (name, _), cell in zip(COLUMNS, cells, strict=True)]


def _remarks(row: Row) -> dict[str, str]:
    """What else the row says about how it was judged, by name; empty where it says nothing."""
    left = "; ".join(f"{where}: {reason}" for reason, where in not_looked_at([row]))
    detects = f"a relative error of {number(row['detects'])} in the formula"
    return {
        "Tried": row["tried"],
        "Detects": detects if row["detects"] is not None else "",
        "Contradicted": contradicted(row),
        "Attacked": attacked(row),
        "Not looked at": left,
    }


def _found(row: Row) -> list[tuple[str, str, str]]:
    return [(one["name"], measured(one), one["better"]) for one in row["numbers"]]


def _evidence(row: Row) -> list[list[Any]]:
    keys = ("method", "check", "cases", "undecided", "violations", "worst_over_tolerance")
    return [[entry.get(key, "") for key in keys] for entry in row["evidence"]]


def _controls(row: Row) -> list[tuple[str, str, Any]]:
    return [
        (c["name"], "yes" if c["rejected"] else "NO", c.get("measured")) for c in row["controls"]
    ]


def _numbers(row: Row, case: Mapping[str, Any]) -> str:
    named = {label: case[key] for key, label in labels(row["kind"]).items()}
    return ", ".join(f"{n} {number(named[n])}" for n in ("measured", "bound", "tolerance"))


def _pretty(case: Mapping[str, Any]) -> str:
    return json.dumps(case, indent=1)


SAID = (
    *(number, rejected, meaning, owner_of, mathml, case_name),
    *(_sentence, _said, _cells, _remarks, _found, _evidence, _controls, _numbers, _pretty),
)
"""What the template calls, by name."""
